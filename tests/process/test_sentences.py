"""Where is my mail? A real sender and a real server bring each situation about, and one true sentence tells of it."""

import re
import signal
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from post_office.models import STATUS, Email

import mailqueue
from mailqueue.delivery.backends import canonical
from mailqueue.models import BackendHealth, SenderProcess
from mailqueue.ops.states import state_of
from mailqueue.queue.pauses import pause, resume
from mailqueue.testing import Silence, SmtpServer, Unanswered
from tests.support.senders import Senders, wait_until_alive
from tests.support.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

MakeSenders = Callable[..., Senders]
TIME = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"
ANN, BOB, CID = (f"{name}@example.com" for name in ("ann", "bob", "cid"))


def queue(*recipients: str, **options: Any) -> Email:
    mail = mailqueue.send(
        list(recipients or [ANN]), "shop@example.com", subject="order", message="Thank you.", **options
    )
    assert mail is not None
    return mail


def wait_for_sentence(mail: Email, pattern: str) -> None:
    """Wait until just this is said of the mail."""
    said = ""

    def says_so() -> bool:
        nonlocal said
        said = state_of(mail).detail
        return re.fullmatch(pattern, said) is not None

    try:
        wait_until(says_so)
    except AssertionError:
        raise AssertionError(f"it says {said!r}, and never {pattern!r}") from None


def test_sent_scheduled_expired_cancelled_and_held(senders: MakeSenders) -> None:
    later = timezone.now() + timedelta(days=1)
    with senders().start() as sender:
        wait_for_sentence(queue(), rf"The server took it at {TIME} and said: 250 2\.0\.0 Ok.*")
        wait_for_sentence(queue(scheduled_time=later), rf"It goes out at {TIME}\.")
        mailqueue.cancel(cancelled := queue(scheduled_time=later), by="grace")
        wait_for_sentence(cancelled, r"It was cancelled by grace\.")
        mailqueue.hold(held := queue(scheduled_time=later), by="grace", note="asked for it")
        wait_for_sentence(held, r"It is held by grace: asked for it")
        assert sender.stop() == 0
    expiring = queue(expires_in=0.2)
    with senders().start() as sender:
        wait_for_sentence(expiring, r"Its time was over before it could be sent\.")
        assert sender.stop() == 0
    interrupted = queue(scheduled_time=later)
    Email.objects.filter(pk=interrupted.pk).update(status=None)

    wait_for_sentence(interrupted, r"It was to be sent at once by post_office itself, which did not record an end\..*")


def test_retried_partly_sent_and_failed(senders: MakeSenders, server: SmtpServer) -> None:
    server.script.set("RCPT", ["451 4.7.1 greylisted"])
    with senders(RETRY_DELAYS=[3600]).start() as sender:
        wait_for_sentence(queue(), rf"Retry 1 at {TIME}, because of: 451 4\.7\.1 greylisted")
        server.script.set("RCPT", ["250 Ok", "550 5.1.1 unknown", "451 4.3.0 later"])
        wait_for_sentence(
            queue(ANN, BOB, CID),
            rf"Retry 1 at {TIME}, because of: 451 4\.3\.0 later\. These have it: {ANN}\. These wait for it: {CID}\. "
            rf"These were refused: {BOB} \(550 5\.1\.1 unknown\)\.",
        )
        server.script.set("RCPT", ["250 Ok", "550 5.1.1 unknown"])
        wait_for_sentence(
            queue(ANN, BOB),
            rf"Some recipients have it, others were refused for good\. These have it: {ANN}\. "
            rf"These were refused: {BOB} \(550 5\.1\.1 unknown\)\.",
        )
        server.script.set("RCPT", ["550 5.1.1 unknown"])
        wait_for_sentence(queue(), r"It failed: 550 5\.1\.1 unknown")
        assert sender.stop() == 0


def test_being_sent_and_unknown(senders: MakeSenders, server: SmtpServer) -> None:
    server.script.set("RCPT", Silence())
    with senders().start() as sender:
        wait_for_sentence(queue(), rf"It has been with the sender \S+ since {TIME}\.")
        server.script.set("RCPT", None)
        server.script.set("BODY", Unanswered())
        again = rf"It may have arrived: how the attempt at {TIME} ended is unknown\. It is sent once more at {TIME}\."
        wait_for_sentence(queue(), again)
        by_hand = rf"It may have arrived: how the attempt at {TIME} ended is unknown\. A person has to decide\."
        wait_for_sentence(queue(unknown_outcome="hold"), by_hand)
        sender.send(signal.SIGKILL)
        sender.wait()


def test_paused_shut_and_resting(senders: MakeSenders, server: SmtpServer) -> None:
    with senders().start() as sender:
        wait_until_alive()
        pause(canonical(""), by="grace", note="moving house", using="default")
        paused = queue()
        wait_for_sentence(
            paused,
            rf"It waits for the backend {canonical('')}, which is paused by grace since {TIME} \(moving house\)\.",
        )
        assert sender.stop() == 0
    Email.objects.update(status=STATUS.sent)
    resume(canonical(""), using="default")
    server.script.set("GREETING", "554 5.3.2 closed")
    with senders().start() as sender:
        for _ in range(3):
            shut = queue()
        wait_for_sentence(
            shut,
            rf"It waits for the backend {canonical('')}, which is shut since {TIME} \(.*554 5\.3\.2 closed.*\)\. "
            rf"Next probe: {TIME}\.",
        )
        assert sender.stop() == 0


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        ({"max_per_second": 0.05}, "whose rate is used up until {TIME}"),
        ({"max_per_second": 0.01}, "whose rate is used up until {TIME}"),
        ({"max_per_day": 1}, "which takes nothing more until {TIME}: its recipients of the day are used up"),
    ],
)
def test_what_a_backend_may_be_given_is_used_up(limit: dict[str, Any], words: str, senders: MakeSenders) -> None:
    BackendHealth.objects.create(alias=canonical(""), **limit)
    with senders().start() as sender:
        queue()
        wait_until(lambda: Email.objects.filter(status=STATUS.sent).exists())
        wait_for_sentence(queue(), rf"It waits for the backend {canonical('')}, {words.format(TIME=TIME)}\.")
        assert sender.stop() == 0


def test_behind_others_and_without_a_sender(senders: MakeSenders, server: SmtpServer) -> None:
    nobody = queue()
    wait_for_sentence(nobody, r"It is due, but no sender is alive\. To start one: python manage\.py send_queued_mail")
    server.script.set("RCPT", Silence())
    with senders(CONCURRENCY=1).start() as sender:
        server.wait_until(lambda: any("RCPT" in " ".join(s.commands) for s in server.sessions), what="a recipient")
        high = [queue(priority="high") for _ in range(5)]
        low = queue(priority="low")
        wait_for_sentence(low, r"It is due, behind \d mails of higher priority\.")
        wait_for_sentence(high[-1], r"It is due, behind \d mails? that (was|were) there before\.")
        sender.send(signal.SIGKILL)
        sender.wait()
    SenderProcess.objects.update(seen_at=timezone.now() - timedelta(minutes=2))

    wait_for_sentence(low, rf"It is due, but no sender is alive since {TIME}\.")
