"""What the caller of one mail asked for, obeyed by real senders: resend or hold when nobody knows, and discretion."""

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.core.mail import send_mail
from post_office.models import STATUS, Email

import mailqueue
from mailqueue.models import MailOptions
from mailqueue.ops.states import State
from mailqueue.testing.smtp_server import SmtpServer, Unanswered
from tests.support.secrets import SECRET, attach, make_secret_mail, traces
from tests.support.senders import Senders, subjects_of, wait_until_sent
from tests.support.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

MakeSenders = Callable[..., Senders]


def queue(subject: str, **options: Any) -> Email:
    with mailqueue.collect() as mails:
        send_mail(subject, "Thank you.", "shop@example.com", ["jane@example.com"])
    if options:
        MailOptions.objects.create(email=mails[0], **options)
    return mails[0]


def state(mail: Email) -> State:
    return mailqueue.state(mail).state


def drop_first_of_each(server: SmtpServer) -> None:
    """Take the first copy of every mail and drop the connection after the final dot."""
    seen: set[bytes] = set()

    def answer(command: Any) -> Unanswered | None:
        subject = next(line for line in command.content.splitlines() if line.startswith(b"Subject"))
        is_new = subject not in seen
        seen.add(subject)
        return Unanswered() if is_new else None

    server.script.set("BODY", answer)


@pytest.mark.parametrize("setting", ["resend", "hold"])
def test_a_lost_answer_is_treated_as_each_mail_asks(senders: MakeSenders, server: SmtpServer, setting: str) -> None:
    drop_first_of_each(server)
    held, resent = queue("held", unknown_outcome="hold"), queue("resent", unknown_outcome="resend")
    with senders(UNKNOWN_OUTCOME=setting, UNKNOWN_RESEND_AFTER=0.5).start() as sender:
        wait_until_sent(1)
        wait_until(lambda: state(held) == State.UNKNOWN and mailqueue.state(held).is_final)
        sender.stop()

    assert {"held": 1, "resent": 2} == subjects_of(server)
    assert (State.UNKNOWN, State.SENT) == (state(held), state(resent))


@pytest.mark.parametrize(("setting", "wish", "copies"), [("resend", "hold", 1), ("hold", "resend", 2)])
def test_a_killed_senders_mail_is_treated_as_it_asks(
    senders: MakeSenders, server: SmtpServer, setting: str, wish: str, copies: int
) -> None:
    server.script.set("BODY", Unanswered(drop=False))
    mail = queue("order", unknown_outcome=wish)
    make = senders(LEASE_SECONDS=1, UNKNOWN_OUTCOME=setting, UNKNOWN_RESEND_AFTER=0.5)
    with make.start() as sender:
        server.wait_for(1)
        sender.send(signal.SIGKILL)
        sender.wait()
    server.script.set("BODY", None)
    with make.start() as sender:
        wait_until(lambda: mailqueue.state(mail).is_final)
        sender.stop()

    assert ({"order": copies}, State.UNKNOWN if copies == 1 else State.SENT) == (subjects_of(server), state(mail))


def test_a_sensitive_mail_arrives_complete_and_leaves_no_trace(
    senders: MakeSenders, server: SmtpServer, settings: pytest.FixtureRequest, tmp_path: Path
) -> None:
    settings.MEDIA_ROOT = str(tmp_path / "media")
    mail = make_secret_mail()
    attach(mail)
    changed = {"MEDIA_ROOT": settings.MEDIA_ROOT, "POST_OFFICE": {**settings.POST_OFFICE, "LOG_LEVEL": 2}}
    with senders().start("--until-empty", env={"SETTINGS_JSON": json.dumps(changed)}) as sender:
        assert sender.wait() == 0
        said = sender.said()
    (accepted,) = server.messages

    parts = [part.get_payload(decode=True).strip() for part in accepted.message.walk() if not part.is_multipart()]
    assert (SECRET, [f"Code: {SECRET}".encode(), SECRET.encode()]) == (accepted.message["Subject"], parts)
    assert (set(), STATUS.sent) == (traces(), Email.objects.get().status)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [] == [path for path in files if SECRET.encode() in path.read_bytes()]
    assert SECRET not in said
