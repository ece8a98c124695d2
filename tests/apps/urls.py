"""The pages of Django's password reset, of django-allauth, and of django-helpdesk."""

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("admin/", admin.site.urls),
    path("django/", include("django.contrib.auth.urls")),
    path("accounts/", include("allauth.urls")),
    path("helpdesk/", include("helpdesk.urls")),
]
