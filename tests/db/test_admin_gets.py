"""No GET changes anything, whatever address of the admin it asks for: those that are added later too."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib import admin
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import URLPattern, reverse
from django.utils import timezone
from post_office.models import Attachment, Email, Log

from mailqueue.delivery.backends import canonical
from mailqueue.models import BackendHealth, Queue, RefusedFrom, SenderProcess
from tests.support.situations import SITUATIONS, make_sender

pytestmark = pytest.mark.django_db

MODELS = (Email, Attachment, Log, BackendHealth, RefusedFrom, SenderProcess, Queue)
READS = re.compile(r"\s*(SELECT|WITH|SAVEPOINT|RELEASE)\b")
WRITES = re.compile(r"INSERT INTO|(?<!FOR )(?<!FOR NO KEY )UPDATE |DELETE FROM")


def patterns() -> Iterator[tuple[Any, URLPattern]]:
    """Give all addresses of our part of the admin."""
    for model in MODELS:
        for pattern in admin.site.get_model_admin(model).get_urls():
            if isinstance(pattern, URLPattern) and pattern.name:
                yield model, pattern


def number_of(model: Any) -> Any:
    """Return something of this model that there is."""
    numbers = {
        Email: lambda: SITUATIONS["held"][0]().pk,
        BackendHealth: lambda: BackendHealth.objects.create(alias=canonical("")).pk,
        RefusedFrom: lambda: (
            RefusedFrom.objects.create(backend="default", from_email="a@example.com", refused_at=timezone.now()).pk
        ),
        SenderProcess: lambda: make_sender("web-1").pk,
    }
    return numbers.get(model, lambda: 1)()


def address_of(model: Any, pattern: URLPattern) -> str:
    wanted = pattern.pattern.regex.groupindex or pattern.pattern.converters  # type: ignore[attr-defined]
    values = {"content_id": "0" * 32, "attachment_pk": 1}
    number = number_of(model)
    return reverse(f"admin:{pattern.name}", kwargs={name: values.get(name, number) for name in wanted})


@pytest.mark.parametrize(("model", "pattern"), list(patterns()), ids=lambda value: getattr(value, "name", ""))
def test_a_get_changes_nothing(admin_client: Client, model: Any, pattern: URLPattern) -> None:
    address = address_of(model, pattern)
    with CaptureQueriesContext(connection) as captured:
        response = admin_client.get(address)
        b"".join(response.streaming_content) if response.streaming else b""  # type: ignore[attr-defined]
    changes = [
        query["sql"] for query in captured if not READS.match(query["sql"]) or WRITES.search(query["sql"].upper())
    ]

    assert ([], True) == (changes, response.status_code in {200, 302, 403, 404, 405, 422})


def test_there_are_addresses_to_ask_for() -> None:
    names = {pattern.name for _, pattern in patterns()}

    assert {"resend", "mailqueue_email_hold", "mailqueue_queue_changelist", "mailqueue_backendhealth_pause"} <= names
