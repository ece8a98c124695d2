"""Mail of a paused backend and of a From that its server refuses: claimed perhaps, but never started."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from post_office.models import STATUS, Email

from mailqueue.conf import Configuration
from mailqueue.delivery.backends import canonical
from mailqueue.delivery.outcomes import Blame, Outcome, Reply, Stage, Trouble, Verdict
from mailqueue.models import Attempt, BackendHealth, MailState, RefusedFrom, StopReason
from mailqueue.queue.claim import Claim
from mailqueue.queue.orders import requeue
from mailqueue.queue.start import REFUSED_SECONDS, record_refused_from, refused, start
from mailqueue.sender.options import Options
from mailqueue.sender.plan import Plan
from mailqueue.sender.turn import Turn
from tests.support.mails import SENDER, claimed, make_mail, turn

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("each_session")]

REPLY = "550 5.1.8 Sender address rejected"


def refuse(mail: Email) -> bool:
    with turn() as cursor:
        return record_refused_from(cursor, email_id=mail.pk, backend="default", reply=REPLY)


def claims() -> list[Claim]:
    with turn() as cursor:
        return claimed(cursor)


def started_ids(chosen: list[Claim]) -> set[int]:
    with turn() as cursor:
        return start(cursor, chosen, sender=SENDER, lease_seconds=60)


def a_turn() -> Turn:
    return Turn(options=Options(concurrency=1, using="default", sender=SENDER), configuration=Configuration())


def test_nothing_of_a_paused_backend_starts() -> None:
    make_mail()
    BackendHealth.objects.create(alias="default", paused_at=timezone.now())

    assert set() == started_ids(claims())


def test_a_claim_on_a_paused_backend_goes_back_to_the_queue() -> None:
    mail = make_mail()
    BackendHealth.objects.create(alias="default", paused_at=timezone.now())
    a_turn().run(Plan(starting=claims()))
    mail.refresh_from_db()

    assert (STATUS.queued, False) == (mail.status, Attempt.objects.exists())


@pytest.mark.parametrize("column", ["paused_at", "shut_at", "resting_until"])
def test_mail_of_a_backend_that_takes_nothing_is_not_even_looked_at(column: str) -> None:
    make_mail()
    later = timezone.now() + timedelta(hours=1)
    BackendHealth.objects.create(alias=canonical(""), probe_at=later, **{column: later})
    with CaptureQueriesContext(connection) as captured:
        a_turn().run(Plan(rooms={canonical(""): 10}))

    assert [] == [query["sql"] for query in captured if "INSERT INTO mailqueue_attempt" in query["sql"]]


def test_mail_of_a_refused_from_does_not_start_and_that_of_others_does() -> None:
    refuse(make_mail(from_email="bad@example.com"))
    other = make_mail(from_email="good@example.com")
    chosen = claims()

    assert {claim.attempt_id for claim in chosen if claim.email_id == other.pk} == started_ids(chosen)


def test_mail_of_a_refused_from_is_held_with_what_the_server_said() -> None:
    mail = make_mail()
    refuse(mail)
    a_turn().run(Plan(starting=claims()))
    mail.refresh_from_db()
    state = MailState.objects.get()

    assert (STATUS.failed, StopReason.HELD) == (mail.status, state.reason)
    assert REPLY in state.note


def test_only_the_refused_are_told_with_the_reply() -> None:
    mail = make_mail(from_email="bad@example.com")
    make_mail(from_email="good@example.com")
    refuse(mail)
    chosen = claims()
    with turn() as cursor:
        found = refused(cursor, chosen, sender=SENDER)

    assert {claim.attempt_id: REPLY for claim in chosen if claim.email_id == mail.pk} == found


def test_a_refusal_is_news_once_an_hour() -> None:
    mail = make_mail()
    news = [refuse(mail), refuse(mail)]
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE mailqueue_refusedfrom SET refused_at = refused_at - %s * interval '1 second'",
            [REFUSED_SECONDS + 1],
        )
    startable = started_ids(claims())
    news.append(refuse(mail))

    assert ([True, False, True], 1) == (news, len(startable))


def test_requeueing_a_mail_lets_the_server_be_asked_again_for_its_from_and_no_other() -> None:
    mail, other = make_mail(from_email="bad@example.com"), make_mail(from_email="worse@example.com")
    refuse(mail)
    refuse(other)
    requeue([mail.pk], using="default")

    assert ["worse@example.com"] == list(RefusedFrom.objects.values_list("from_email", flat=True))


def test_the_first_refusal_of_a_from_is_an_alert_and_the_next_is_not() -> None:
    for _ in range(2):
        make_mail()
    from tests.db.test_turn import job_of

    outcome = Outcome(Verdict.HOLD, Stage.MAIL, Blame.BACKEND, Trouble.SENDER, Reply(550, "no such domain", "5.1.8"))
    sender = a_turn()
    events = [sender.run(Plan(results=[(job_of(claim), outcome)])).events for claim in claims()]

    assert [["backend.refuses_from"], []] == [[event.name for event in told] for told in events]
