"""django-allauth's verification of addresses, through its pages."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from django.test import Client
from pytest_django import Settings

from mailqueue.testing.smtp_server import SmtpServer

pytestmark = pytest.mark.django_db(transaction=True, serialized_rollback=True)

LINK = re.compile(r"http://testserver(/accounts/confirm-email/[^\"<\s]+)")
HTML_TEMPLATE = "account/email/email_confirmation_signup_message.html"


@pytest.fixture
def html_template(settings: Settings, tmp_path: Path) -> None:
    """A site's own HTML for the mail: allauth brings none, but takes it where there is one."""
    file = tmp_path / "templates" / HTML_TEMPLATE
    file.parent.mkdir(parents=True)
    file.write_text('<p>Grüße, {{ user }}: <a href="{{ activate_url }}">yes, this is me</a></p>')
    (engine,) = settings.TEMPLATES
    settings.TEMPLATES = [{**engine, "DIRS": [str(tmp_path / "templates")]}]


def sign_up(client: Client) -> None:
    answer = client.post(
        "/accounts/signup/", {"username": "ann", "email": "ann@example.com", "password1": "4711 tulips"}
    )

    assert "/accounts/confirm-email/" == answer["Location"]


def content(message: Any, kind: str) -> str:
    return str(message.get_body((kind,)).get_content())


def test_the_link_in_the_mail_after_a_sign_up_confirms_the_address(
    client: Client, server: SmtpServer, deliver: Callable[[], None]
) -> None:
    sign_up(client)
    deliver()
    (accepted,) = server.messages
    (link,) = LINK.findall(accepted.message.get_content())
    client.post(link)

    assert (("ann@example.com",), "text/plain") == (accepted.recipients, accepted.message.get_content_type())
    assert "[example.com] Please Confirm Your Email Address" == accepted.message["Subject"]
    assert [("ann@example.com", True)] == list(EmailAddress.objects.values_list("email", "verified"))


def test_a_sites_own_html_arrives_beside_allauths_text(
    client: Client, server: SmtpServer, deliver: Callable[[], None], html_template: None
) -> None:
    sign_up(client)
    deliver()
    (accepted,) = server.messages
    text, html = content(accepted.message, "plain"), content(accepted.message, "html")
    client.post(LINK.findall(html)[0])

    assert "multipart/alternative" == accepted.message.get_content_type()
    assert LINK.findall(text) == LINK.findall(html)
    assert "<p>Grüße, ann: <a href=" == html[: html.index("=") + 1]
    assert EmailAddress.objects.get().verified
