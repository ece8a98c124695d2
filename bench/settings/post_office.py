"""A site with django-post-office alone, as its documentation says."""

from bench.settings.base import *  # noqa: F403
from bench.settings.base import INSTALLED_APPS, MORE, SMTP_BACKEND

INSTALLED_APPS = ["post_office", *INSTALLED_APPS]
EMAIL_BACKEND = "post_office.EmailBackend"
POST_OFFICE = {"BACKENDS": {"default": SMTP_BACKEND}}
globals().update(MORE)
