"""The project's addresses with the development inbox, as they are with DEBUG on."""

from django.urls import include, path

from project.urls import urlpatterns as project_urls

urlpatterns = [path("inbox/", include("project.dev.urls")), *project_urls]
