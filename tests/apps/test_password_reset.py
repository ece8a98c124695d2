"""django.contrib.auth's password reset, through its pages."""

import re
from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from django.test import Client

from mailqueue.testing.smtp_server import SmtpServer

pytestmark = pytest.mark.django_db(transaction=True, serialized_rollback=True)

NEW_PASSWORD = "a much better one 4711"


def test_the_link_in_the_mail_sets_a_new_password(
    client: Client, server: SmtpServer, deliver: Callable[[], None]
) -> None:
    User.objects.create_user("ann", "ann@example.com", "forgotten")
    client.post("/django/password_reset/", {"email": "ann@example.com"})
    deliver()
    (accepted,) = server.messages
    (link,) = re.findall(r"http://example\.com(/django/reset/\S+)", accepted.message.get_content())
    form = client.get(link, follow=True).redirect_chain[-1][0]
    client.post(form, {"new_password1": NEW_PASSWORD, "new_password2": NEW_PASSWORD})

    assert (("ann@example.com",), "Password reset on example.com") == (
        accepted.recipients,
        accepted.message["Subject"],
    )
    assert client.login(username="ann", password=NEW_PASSWORD)
