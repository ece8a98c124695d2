"""A site with mailqueue."""

import os
from typing import Any

from bench.settings.base import *  # noqa: F403
from bench.settings.base import INSTALLED_APPS, MORE, SMTP_BACKEND

INSTALLED_APPS = ["mailqueue", "post_office", *INSTALLED_APPS]
EMAIL_BACKEND = "mailqueue.EmailBackend"
POST_OFFICE = {"BACKENDS": {"default": SMTP_BACKEND}}
MAILQUEUE: dict[str, Any] = {"STATE_DIR": os.environ["BENCH_FOLDER"] + "/state"}
globals().update(MORE)
MAILQUEUE.update(MORE.get("MAILQUEUE_CHANGES", {}))
