"""The addresses of the development inbox."""

from django.urls import path

from project.dev import views

app_name = "inbox"
urlpatterns = [
    path("", views.mail_list, name="list"),
    path("<str:name>/", views.mail_detail, name="mail"),
    path("<str:name>/html/", views.mail_html, name="html"),
    path("<str:name>/source/", views.mail_source, name="source"),
    path("<str:name>/attachments/<int:number>/", views.mail_attachment, name="attachment"),
]
