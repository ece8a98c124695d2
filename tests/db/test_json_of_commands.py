"""The JSON of commands has just the keys that the reference describes, and numbers that people can read."""

import json
import re
from collections.abc import Iterator
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.utils import timezone

from mailqueue.models import AttemptOutcome, BackendHealth, SenderProcess, SendingMinute
from tests.support.situations import make_attempt, make_mail

pytestmark = pytest.mark.django_db

REFERENCE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "commands.md"
NAMED_BY_DATA = {"mails", "attempts[].recipients"}
"""Objects whose keys are no words of ours, but states or addresses."""
COUNTS = {"backends[].waiting"}
SPANS = ("half_within_seconds", "95_percent_within_seconds")


def json_of(command: str, *arguments: Any) -> Any:
    out = StringIO()
    call_command(command, *map(str, arguments), json=True, stdout=out)
    return json.loads(out.getvalue())


def keys_of(value: Any, path: str = "") -> Iterator[str]:
    """Give the keys of an object and of what is in it, `senders[].name`, but of counts."""
    if isinstance(value, list) and any(isinstance(item, dict) for item in value):
        yield path
        for item in value:
            yield from keys_of(item, f"{path}[]")
    elif isinstance(value, dict) and path not in NAMED_BY_DATA | COUNTS:
        for key, item in value.items():
            yield from keys_of(item, f"{path}.{key}" if path else key)
    else:
        yield path


def documented(command: str) -> set[str]:
    text = REFERENCE.read_text().partition(f"\n### JSON of {command}\n")[2].partition("\n## ")[0]
    cells = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    return {key for cell in cells for key in re.findall(r"`([^`]+)`", cell)}


def test_every_key_of_the_queue_stands_in_the_reference() -> None:
    make_mail()
    now = timezone.now()
    SenderProcess.objects.create(
        name="a/1", host="a", version="1", backends=[], connection_count=8, started_at=now, seen_at=now
    )
    BackendHealth.objects.create(alias="default")

    assert documented("mailqueue_status") == set(keys_of(json_of("mailqueue_status")))


def test_every_key_of_a_mail_stands_in_the_reference() -> None:
    mail = make_mail()
    results = {"ann@example.com": {"verdict": "retry", "code": 451, "enhanced": "4.7.1", "reply": "later"}}
    make_attempt(mail, AttemptOutcome.RETRY, recipients=results)

    assert documented("mailqueue_show") == set(keys_of(json_of("mailqueue_show", mail.pk)))


def test_every_state_that_is_counted_stands_in_the_reference() -> None:
    (line,) = [line for line in REFERENCE.read_text().splitlines() if line.startswith("| `mails` ")]

    assert set(json_of("mailqueue_status")["mails"]) <= set(re.findall(r"`(\w+)`", line))


def test_spans_are_rounded_to_milliseconds() -> None:
    make_mail()
    SendingMinute.objects.create(
        began_at=timezone.now() - timedelta(minutes=5), backend="default", accepted_count=3, within_10s=3
    )
    found = json_of("mailqueue_status")
    spans = [found["oldest_seconds"], *(found["last_hour"][key] for key in SPANS)]

    assert [] == [span for span in spans if span != round(span, 3)]
