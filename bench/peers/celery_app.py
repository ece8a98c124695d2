"""The Celery app of a site that sends its mail through django-celery-email."""

import os
from typing import Any

import django
from celery import Celery
from celery.signals import worker_ready

from bench.processes import READY

django.setup()
app = Celery("bench")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
app.set_default()


def say_ready(**_: Any) -> None:
    os.write(1, f"{READY}\n".encode())


worker_ready.connect(say_ready, weak=False)
