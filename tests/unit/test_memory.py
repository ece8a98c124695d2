"""A message that goes out many times, to some of its recipients each time, is written once."""

import smtplib

import pytest
from django.core.mail import EmailMessage
from django.core.mail.backends.smtp import EmailBackend as SmtpBackend
from hypothesis import given
from hypothesis import strategies as st

from mailqueue.delivery.letter import Letter
from mailqueue.delivery.paths import path_of
from mailqueue.delivery.wire import MANY, Memory, SealedLetter, seal
from mailqueue.outbox.identity import withhold_identity
from tests.support.letters import SENDER, message

EVERYBODY = [f"customer-{number}@example.com" for number in range(MANY + 1)]
BACKEND = SmtpBackend(alias="test", host="127.0.0.1", port=1)


def ours(to: list[str], *, body: str = "Thank you.\n", number: int = 1) -> EmailMessage:
    """Make a message with a Message-ID of ours, as the queue does for every try."""
    headers = {"Message-ID": f"<{number}.mailqueue@example.com>", "Date": "Sat, 21 Nov 2026 09:30:00 -0000"}
    made = message(to=to, body=body, headers=headers)
    withhold_identity(made)
    return made


def sealed(made: EmailMessage, memory: Memory, *, recipients: list[str]) -> SealedLetter:
    return seal(Letter(SENDER, recipients, lambda: made), BACKEND, memory)


def test_a_message_to_many_is_written_once_for_all_its_tries() -> None:
    memory = Memory()
    first = sealed(ours(EVERYBODY), memory, recipients=EVERYBODY)

    second = sealed(ours(EVERYBODY), memory, recipients=EVERYBODY[-1:])

    assert first.content is second.content
    assert [EVERYBODY[-1]] == list(second.forward_paths)


@pytest.mark.parametrize("changes", [{"body": "No, thanks.\n"}, {"number": 2}])
def test_a_mail_that_was_changed_meanwhile_is_written_anew(changes: dict[str, str]) -> None:
    memory = Memory()
    sealed(ours(EVERYBODY), memory, recipients=EVERYBODY)

    changed = ours(EVERYBODY, **changes)  # type: ignore[arg-type]

    assert seal(Letter(SENDER, EVERYBODY, lambda: changed), BACKEND).content == (
        sealed(changed, memory, recipients=EVERYBODY).content
    )


def test_a_mail_to_few_is_not_kept_in_memory() -> None:
    memory = Memory()
    few = EVERYBODY[:MANY]

    assert sealed(ours(few), memory, recipients=few).content is not sealed(ours(few), memory, recipients=few).content


@given(
    st.from_regex(r"[a-z0-9_+-]{1,9}(\.[A-Z0-9_+-]{1,9}){0,3}@[a-z0-9-]{1,9}(\.[a-z0-9-]{1,9}){0,3}", fullmatch=True)
)
def test_a_simple_address_has_the_path_that_python_gives_it(address: str) -> None:
    assert smtplib.quoteaddr(address) == path_of(address, message(), backend=BACKEND)
