"""What a backend says is quoted without its credentials, also where the text was cut in the middle of one."""

import base64
from typing import Any

import pytest
from django.core.mail.backends.base import BaseEmailBackend

from mailqueue.delivery.django_backend import DjangoCarrier
from mailqueue.delivery.tally import REASON_LENGTH
from tests.support.letters import OPEN, letter

PASSWORD = "correct-horse-battery"
PLAIN = base64.b64encode(f"\0shop\0{PASSWORD}".encode()).decode()


class Telltale(BaseEmailBackend):
    """Quotes a text in its exception."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.username, self.password, self.text = "shop", PASSWORD, text

    def send_messages(self, _email_messages: Any) -> int:
        raise ValueError(self.text)


def said(text: str) -> str:
    return DjangoCarrier(lambda: Telltale(text)).deliver(letter(), OPEN).reply.text


@pytest.mark.parametrize("secret", [PASSWORD, PLAIN])
def test_a_secret_that_is_cut_in_half_is_hidden_too(secret: str) -> None:
    for shown in range(1, len(secret)):
        before = "." * (REASON_LENGTH - shown)

        assert f"{before}***" == said(before + secret)


def test_a_nul_before_a_secret_does_not_hide_that_it_was_cut() -> None:
    before = "." * (REASON_LENGTH - 5)

    assert f"{before}***" == said(f"\0\0{before}{PASSWORD}")


def test_a_text_that_is_whole_keeps_its_last_letters() -> None:
    assert "it works for me: c" == said("it works for me: c")
