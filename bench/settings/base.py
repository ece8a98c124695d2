"""What the settings of all contestants share. The benchmark gives the rest in the environment."""

import json
import os

import environ

SECRET_KEY = "only-for-the-benchmark"  # noqa: S105 - guards nothing
USE_TZ = True
TIME_ZONE = "UTC"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
DATABASES = {"default": environ.Env.db_url_config(os.environ["BENCH_DATABASE"])}
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "APP_DIRS": True, "OPTIONS": {}}]
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "bench.orders"]
MEDIA_ROOT = os.environ["BENCH_FOLDER"] + "/media"
SMTP_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
DEFAULT_FROM_EMAIL = "shop@bench.example"
EMAIL_HOST = "127.0.0.1"
EMAIL_PORT = int(os.environ["BENCH_SMTP_PORT"])
MORE = json.loads(os.environ.get("BENCH_SETTINGS", "{}"))
"""Settings of one run alone."""
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"stderr": {"class": "logging.StreamHandler"}},
    "root": {"handlers": ["stderr"], "level": "WARNING"},
}
