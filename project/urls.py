"""Which address leads where."""

from django.conf import settings
from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("admin/", admin.site.urls),
    path("", include("project.shop.urls")),
]
if settings.DEBUG:
    urlpatterns.insert(0, path("inbox/", include("project.dev.urls")))
