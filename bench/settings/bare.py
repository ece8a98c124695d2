"""A program that sends by Django's own backend, and has no queue."""

from bench.settings.base import *  # noqa: F403
from bench.settings.base import MORE, SMTP_BACKEND

EMAIL_BACKEND = SMTP_BACKEND
globals().update(MORE)
