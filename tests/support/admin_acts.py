"""Acts in the admin, as a browser orders them: from the list, from a filter, and as an answer to a question."""

import time
from typing import Any

import pytest
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.auth.models import Permission, User
from django.core.signing import TimestampSigner, b62_encode
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse
from post_office.models import Email

LIST = "admin:post_office_email_changelist"
PAGE = "admin:post_office_email_change"


def act(client: Client, action: str, *mails: Email, **extra: str) -> HttpResponse:
    """Order something for a selection."""
    data = {"action": action, "index": "0", ACTION_CHECKBOX_NAME: [str(mail.pk) for mail in mails], **extra}
    return client.post(reverse(LIST), data, follow=True)  # type: ignore[return-value]


def act_on_all(client: Client, action: str, query: str, **extra: str) -> HttpResponse:
    """Order something for all that a filter finds; of them one number is posted, as the pages do."""
    one = Email.objects.order_by("pk").values_list("pk", flat=True)[0]
    data = {"action": action, "index": "0", "select_across": "1", ACTION_CHECKBOX_NAME: [str(one)], **extra}
    return client.post(f"{reverse(LIST)}{query}", data, follow=True)  # type: ignore[return-value]


def asked_of(response: Any) -> str:
    """Return what a question gives to be posted with the answer."""
    asked: str = response.context["asked"]
    return asked


def at_that_time(monkeypatch: pytest.MonkeyPatch, ago: float) -> None:
    """Let what is signed from here on be of some seconds ago."""
    moment = b62_encode(int(time.time() - ago))
    monkeypatch.setattr(TimestampSigner, "timestamp", lambda _: moment)


def messages_of(response: Any) -> list[str]:
    return [str(message) for message in response.context["messages"]]


def page_of(client: Client, mail: Email) -> str:
    return client.get(reverse(PAGE, args=[mail.pk])).content.decode()


def make_reader(client: Client) -> None:
    """Log somebody in who may see mail, and nothing else."""
    user = User.objects.create_user("reader", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_email"))
    client.force_login(user)


def allow(codename: str) -> None:
    User.objects.get(username="reader").user_permissions.add(Permission.objects.get(codename=codename))
