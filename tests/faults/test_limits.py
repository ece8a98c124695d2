"""A provider that limits what it takes, and one that turns everybody away: all is used, and little is refused."""

import json
import logging
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import timedelta
from itertools import pairwise

import pytest
from django.core.mail import EmailMessage
from django.utils import timezone
from post_office.models import STATUS, Email

from mailqueue.delivery.backends import canonical
from mailqueue.models import Attempt, BackendHealth, RefusedFrom, SenderProcess
from mailqueue.testing import SmtpServer
from tests import settings as given
from tests.support.senders import Senders, copies, missing, queue_mails, statuses, wait_until_alive, wait_until_sent
from tests.support.waiting import wait_until

logger = logging.getLogger(__name__)
pytestmark = pytest.mark.django_db(transaction=True)

MakeSenders = Callable[..., Senders]
BUSY = "421 4.3.2 Service not available, try again later"
LEFT_OUT = 3


def used_share(server: SmtpServer, *, rate: float) -> float:
    """Return how much of what the server allows was used from the first message to the last.

    The longest pauses are left out: a machine that stands still for a moment is not what is measured.
    """
    times = sorted(accepted.accepted_at for accepted in server.messages)
    pauses = sorted(after - before for before, after in pairwise(times))[:-LEFT_OUT]
    return len(pauses) / rate / sum(pauses)


def two_senders_at_a_limiter(
    senders: MakeSenders, server: SmtpServer, *, rate: float, count: int, **settings: object
) -> tuple[float, float]:
    """Send through a limiter; return the share of its ceiling that was used, and the share of commands refused."""
    server.limits.rate_limit = rate
    server.limits.connection_limit = 3
    subjects = queue_mails(count)
    make = senders(**settings)
    with ExitStack() as stack:
        running = [stack.enter_context(make.start()) for _ in range(2)]
        wait_until_sent(count, seconds=3 * count / rate + 60)
        assert [0, 0] == [sender.stop() for sender in running]

    assert set() == missing(subjects, server)
    assert (0, {STATUS.sent: count}) == (copies(server), dict(statuses()))
    assert not Attempt.objects.filter(is_counted=True).exists()
    return used_share(server, rate=rate), server.refused_count / server.command_count


def test_two_senders_use_what_a_limiter_allows_and_are_hardly_ever_refused(
    senders: MakeSenders, server: SmtpServer
) -> None:
    used, refused = two_senders_at_a_limiter(
        senders, server, rate=28, count=420, RATE_LIMITS={canonical(""): {"per_second": 28, "connections": 3}}
    )

    assert used > 0.85
    assert refused < 0.02


def test_senders_who_know_nothing_of_a_limiter_learn_it(senders: MakeSenders, server: SmtpServer) -> None:
    _, refused = two_senders_at_a_limiter(senders, server, rate=28, count=420)

    assert refused < 0.05
    assert 3 >= server.most_open_connections


@pytest.mark.nightly
@pytest.mark.parametrize("is_told", [True, False])
def test_two_senders_at_fourteen_recipients_a_second_and_three_connections(
    senders: MakeSenders, server: SmtpServer, is_told: bool
) -> None:
    limits = {"RATE_LIMITS": {canonical(""): {"per_second": 14, "connections": 3}}} if is_told else {}
    used, refused = two_senders_at_a_limiter(senders, server, rate=14, count=2000, **limits)
    logger.info("told: %s, used: %.1f %%, refused: %.2f %%", is_told, 100 * used, 100 * refused)

    assert used > 0.85
    assert refused < 0.02


def test_a_server_that_turns_everybody_away_is_asked_by_few_and_then_gets_everything(
    senders: MakeSenders, server: SmtpServer
) -> None:
    server.script.set("GREETING", BUSY)
    queue_mails(500)
    # A hundredth of the pauses of every day; the outage lasts for a hundredth of ten minutes.
    with senders(PROBE_DELAYS=[0.3, 0.6, 1.2, 3, 6]).start() as sender:
        sender.wait_for("backend.shut")
        end = time.monotonic() + 6
        wait_until(lambda: time.monotonic() > end, what="the end of the outage")
        refused_count = server.connect_count
        server.script.set("GREETING", None)
        wait_until_sent(500)
        assert sender.stop() == 0
        alerts = sender.said().count(" ERROR ")

    first, second = [session for session in server.sessions if session.commands][:2]
    assert refused_count <= 15
    assert 1 == alerts
    assert not Attempt.objects.filter(is_counted=True).exists()
    # The second connection is opened when the first has had its answer.
    assert min(m.accepted_at for m in server.messages if m.connection == first.number) < min(
        m.accepted_at for m in server.messages if m.connection == second.number
    )


def test_the_connections_of_all_senders_together_stay_below_what_is_allowed(
    senders: MakeSenders, server: SmtpServer
) -> None:
    server.latency = 0.01
    make = senders(RATE_LIMITS={canonical(""): {"connections": 3}})
    with make.start(), make.start():
        # Who finds another one at work has to wait for him to look up from it. These look before they begin.
        wait_until_alive(2)
        queue_mails(400)
        wait_until_sent(400)

    assert server.most_open_connections <= 3


def test_nothing_of_a_paused_backend_is_claimed_until_it_is_resumed(senders: MakeSenders, server: SmtpServer) -> None:
    from mailqueue.queue.pauses import pause, resume

    server.latency = 0.01
    queue_mails(300)
    with senders(CONCURRENCY=2).start() as sender:
        server.wait_for(20)
        pause(canonical(""), by="Jane", note="migration of the relay", using="default")
        wait_until(lambda: not Attempt.objects.open().exists(), what="the end of what is in flight")
        while_paused = len(server.messages)
        claims_before = Attempt.objects.count()
        sender.wait_for("backend.paused")
        end = time.monotonic() + 1
        wait_until(lambda: time.monotonic() > end, what="a few looks for mail")
        assert (while_paused, claims_before) == (len(server.messages), Attempt.objects.count())
        resume(canonical(""), using="default")
        wait_until_sent(300)
        assert sender.stop() == 0


def test_a_day_s_worth_is_sent_and_the_rest_waits_for_tomorrow(senders: MakeSenders, server: SmtpServer) -> None:
    queue_mails(30)
    with senders(RATE_LIMITS={canonical(""): {"per_day": 20}}).start("--until-empty") as sender:
        assert sender.wait() == 0
        assert "takes nothing more for 86" in sender.said()

    health = BackendHealth.objects.get(alias=canonical(""))
    assert (20, 20) == (len(server.messages), health.day_count)
    assert {STATUS.sent: 20, STATUS.queued: 10} == dict(statuses())


def test_mail_of_a_refused_from_is_held_without_asking_again_and_goes_out_when_it_is_requeued(
    senders: MakeSenders, server: SmtpServer
) -> None:
    from mailqueue import requeue

    server.script.set("MAIL", "550 5.1.8 Sender address rejected: Domain not found")
    queue_mails(40)
    with senders(CONCURRENCY=1).start() as sender:
        wait_until(lambda: Email.objects.filter(status=STATUS.failed).count() == 40)
        refused = sum(command.startswith("MAIL") for session in server.sessions for command in session.commands)
        server.script.set("MAIL", None)
        requeue(Email.objects.all())
        wait_until_sent(40)
        assert sender.stop() == 0
        alerts = sender.said().count("backend.refuses_from")

    assert (1, 1) == (alerts, refused)
    assert not RefusedFrom.objects.exists()
    assert not Attempt.objects.filter(is_counted=True).exists()


def let_another_sender_have_the_only_share() -> None:
    SenderProcess.objects.create(
        name="!first",
        host="host",
        version="1",
        backends=[],
        connection_count=8,
        started_at=timezone.now(),
        seen_at=timezone.now() + timedelta(minutes=1),
    )


def test_a_sender_without_a_share_of_the_connections_may_probe(senders: MakeSenders, server: SmtpServer) -> None:
    let_another_sender_have_the_only_share()
    BackendHealth.objects.create(
        alias=canonical(""),
        failure_count=5,
        shut_at=timezone.now(),
        probe_at=timezone.now(),
        connection_limit=1,
        connections_changed_at=timezone.now(),
    )
    queue_mails(5)
    with senders().start() as sender:
        sender.wait_for("backend.opened")
        wait_until(lambda: not Attempt.objects.open().exists(), what="the end of its claims")
        assert sender.stop() == 0

    assert {STATUS.sent: 1, STATUS.queued: 4} == dict(statuses())


def test_a_sender_without_a_share_says_what_it_does_not_wait_for(senders: MakeSenders, server: SmtpServer) -> None:
    let_another_sender_have_the_only_share()
    queue_mails(5)
    with senders(RATE_LIMITS={canonical(""): {"connections": 1}}).start("--until-empty") as sender:
        assert sender.wait() == 0
        assert "backend.not_waited_for" in sender.said()


def test_the_recipients_of_a_mail_are_paid_for_once_however_many_messages_it_takes(
    senders: MakeSenders, server: SmtpServer
) -> None:
    server.limits.recipient_limit = 10
    EmailMessage("News", "Hello.", "shop@example.com", [f"r{n}@example.com" for n in range(100)]).send()
    with senders(RATE_LIMITS={canonical(""): {"per_day": 100_000}}).start() as sender:
        wait_until_sent(1)
        queue_mails(1)
        wait_until_sent(2)
        assert sender.stop() == 0

    assert (11, 101) == (len(server.messages), BackendHealth.objects.get(alias=canonical("")).day_count)


def with_hanging_backend(server: SmtpServer) -> dict[str, str]:
    """Return the environment of a sender that has a second backend, which never answers."""
    path = "tests.support.hanging_backend.EmailBackend"
    if hasattr(given, "MAILERS"):
        smtp = {**given.MAILERS["smtp"], "OPTIONS": {"host": server.host, "port": server.port}}
        return {
            "SETTINGS_JSON": json.dumps({"MAILERS": {**given.MAILERS, "smtp": smtp, "hanging": {"BACKEND": path}}})
        }
    backends = {**given.POST_OFFICE["BACKENDS"], "hanging": path}
    return {"SETTINGS_JSON": json.dumps({"POST_OFFICE": {"BACKENDS": backends}})}


def test_a_backend_that_hangs_leaves_a_connection_for_another(senders: MakeSenders, server: SmtpServer) -> None:
    queue_mails(20)
    Email.objects.update(backend_alias="hanging")
    with senders(CONCURRENCY=3).start(env=with_hanging_backend(server)) as sender:
        wait_until(lambda: Attempt.objects.open().exclude(started_at=None).count() == 2, what="two that hang")
        queue_mails(1, prefix="quick")
        server.wait_for(1)
        sender.send(signal.SIGKILL)
