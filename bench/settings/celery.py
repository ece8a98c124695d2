"""A site with Celery, Redis and django-celery-email."""

import os

from bench.settings.base import *  # noqa: F403
from bench.settings.base import INSTALLED_APPS, MORE, SMTP_BACKEND

INSTALLED_APPS = ["djcelery_email", *INSTALLED_APPS]
EMAIL_BACKEND = "djcelery_email.backends.CeleryEmailBackend"
CELERY_EMAIL_BACKEND = SMTP_BACKEND
CELERY_BROKER_URL = os.environ["BENCH_BROKER"]
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
globals().update(MORE)
