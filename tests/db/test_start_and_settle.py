"""The start fence, settling, handing back and reaping, on a real Postgres."""

import json
from datetime import timedelta

import psycopg
import pytest
from django.db import connection
from django.utils import timezone
from post_office.models import STATUS, Email, Log

from mailqueue.conf import Configuration
from mailqueue.models import Attempt, AttemptOutcome, MailOptions, MailState, StopReason
from mailqueue.queue.history import read_histories
from mailqueue.queue.orders import requeue
from mailqueue.queue.reap import reap
from mailqueue.queue.release import release, release_all_but, release_unsent
from mailqueue.queue.settle import LogLevel, settle
from mailqueue.queue.start import expired, renew, start
from tests.support.mails import OTHER, SENDER, claimed, end_lease, make_mail, outcomes, settlement, turn

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("each_session")]
CONFIGURATION = Configuration()


def started(*mails: Email) -> list:
    with turn() as cursor:
        claims = claimed(cursor)
        start(cursor, claims, sender=SENDER, lease_seconds=60)
    return claims


def test_a_live_claim_starts_and_its_lease_runs_from_now() -> None:
    make_mail()
    with turn() as cursor:
        claims = claimed(cursor, lease_seconds=60)
        live = start(cursor, claims, sender=SENDER, lease_seconds=100)
    attempt = Attempt.objects.get()

    assert {attempt.pk} == live
    assert attempt.lease_until - attempt.started_at > timedelta(seconds=99)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE mailqueue_attempt SET lease_until = now()",
        "UPDATE mailqueue_attempt SET lease_until = clock_timestamp() + interval '10 seconds'",
        "UPDATE mailqueue_attempt SET sender = 'somebody else'",
        "UPDATE mailqueue_attempt SET finished_at = now(), outcome = 'unknown'",
        "DELETE FROM mailqueue_attempt",
        "UPDATE post_office_email SET status = 1",
        "UPDATE post_office_email SET expires_at = now() - interval '1 second'",
        "DELETE FROM post_office_email",
    ],
)
def test_nothing_starts_on_a_claim_that_does_not_hold_any_more(change: str) -> None:
    make_mail()
    with turn() as cursor:
        claims = claimed(cursor)
        cursor.execute(change)

        assert set() == start(cursor, claims, sender=SENDER, lease_seconds=60)


def test_a_start_whose_commit_was_not_answered_may_be_repeated() -> None:
    make_mail()
    claims = started()
    with turn() as cursor:
        assert {claims[0].attempt_id} == start(cursor, claims, sender=SENDER, lease_seconds=60)


MINUTE = timedelta(minutes=1)


@pytest.mark.parametrize("outcome", [AttemptOutcome.RETRY, AttemptOutcome.DEFERRED])
@pytest.mark.parametrize(
    ("left", "delay", "expected"),
    [
        (None, 6 * 3600.0, 360 * MINUTE),
        (60 * MINUTE, 600.0, 10 * MINUTE),
        (60 * MINUTE, 6 * 3600.0, 59 * MINUTE),
        (MINUTE / 2, 6 * 3600.0, MINUTE / 2),
        (MINUTE / 2, 5.0, MINUTE / 12),
        (-MINUTE, 600.0, -MINUTE),
    ],
)
def test_the_last_try_comes_before_the_mail_expires_and_then_no_other(
    left: timedelta | None, delay: float, expected: timedelta, outcome: AttemptOutcome
) -> None:
    mail = make_mail()
    with turn() as cursor:
        (claim,) = claimed(cursor)
        cursor.execute("SELECT now()")
        (now,) = cursor.fetchone()
        Email.objects.update(expires_at=None if left is None else now + left)
        settle(cursor, [settlement(claim, outcome, retry_after=delay)])
    mail.refresh_from_db()

    assert expected == mail.scheduled_time - now


def test_the_pause_before_an_unknown_mail_is_sent_again_is_not_made_shorter() -> None:
    mail = make_mail()
    with turn() as cursor:
        (claim,) = claimed(cursor)
        cursor.execute("SELECT now()")
        (now,) = cursor.fetchone()
        Email.objects.update(expires_at=now + 5 * MINUTE)
        settle(cursor, [settlement(claim, AttemptOutcome.UNKNOWN, retry_after=600.0)])
    mail.refresh_from_db()

    assert 10 * MINUTE == mail.scheduled_time - now


def test_what_has_expired_is_told_apart_from_what_was_cancelled() -> None:
    late, cancelled = make_mail(expires_at=timezone.now() - timedelta(hours=1)), make_mail()
    with turn() as cursor:
        claims = claimed(cursor)
        Email.objects.filter(pk=cancelled.pk).update(status=STATUS.failed)

        assert {c.attempt_id for c in claims if c.email_id == late.pk} == expired(cursor, claims, sender=SENDER)


def test_only_leases_that_are_alive_are_renewed() -> None:
    make_mail(), make_mail()
    claims = started()
    end_lease(claims[0])
    with turn() as cursor:
        ids = [claim.attempt_id for claim in claims]

        assert {ids[1]} == renew(cursor, ids, sender=SENDER, lease_seconds=60)


def test_a_sent_mail_is_sent_and_its_attempt_closed() -> None:
    mail = make_mail()
    (claim,) = started()
    with turn() as cursor:
        closed = settle(cursor, [settlement(claim, reply_code=250, reply="queued as 1")])
    mail.refresh_from_db()
    attempt = Attempt.objects.get()

    assert ({claim.attempt_id}, STATUS.sent) == (closed, mail.status)
    assert (250, "queued as 1", "sent", False) == (
        attempt.reply_code,
        attempt.reply,
        attempt.outcome,
        attempt.finished_at is None,
    )
    assert not Log.objects.exists()


def test_successes_are_logged_where_that_is_asked() -> None:
    mail = make_mail()
    (claim,) = started()
    with turn() as cursor:
        settle(cursor, [settlement(claim)], log_level=LogLevel.EVERYTHING)

    assert [(STATUS.sent, "")] == list(mail.logs.values_list("status", "message"))


def test_nothing_is_logged_where_that_is_asked() -> None:
    make_mail()
    (claim,) = started()
    with turn() as cursor:
        settle(cursor, [settlement(claim, AttemptOutcome.FAILED, stop=StopReason.FAILED)], log_level=LogLevel.NOTHING)

    assert not Log.objects.exists()


def test_a_retry_waits_in_the_queue_by_the_databases_clock() -> None:
    mail = make_mail()
    (claim,) = started()
    with connection.cursor() as cursor:
        cursor.execute("SELECT now()")
        (now,) = cursor.fetchone()
    retry = settlement(
        claim,
        AttemptOutcome.RETRY,
        is_counted=True,
        retry_after=90.5,
        reply_code=451,
        enhanced_code="4.7.1",
        reply="x",
    )
    with turn() as cursor:
        settle(cursor, [retry])
    mail.refresh_from_db()

    assert (STATUS.requeued, 1) == (mail.status, mail.number_of_retries)
    assert timedelta(seconds=90.5) == mail.scheduled_time - now
    assert [(STATUS.failed, "451 4.7.1 x")] == list(mail.logs.values_list("status", "message"))


def test_a_stop_says_why() -> None:
    mail = make_mail()
    (claim,) = started()
    with turn() as cursor:
        settle(cursor, [settlement(claim, AttemptOutcome.FAILED, stop=StopReason.FAILED, note="no such user")])
    mail.refresh_from_db()

    assert (STATUS.failed, "failed", "no such user") == (
        mail.status,
        mail.mailqueue_state.reason,
        mail.mailqueue_state.note,
    )
    assert "no such user" == mail.logs.get().message


def test_a_later_stop_overwrites_the_earlier_one() -> None:
    mail = make_mail()
    MailState.objects.create(email=mail, reason=StopReason.HELD, stopped_at=timezone.now())
    (claim,) = started()
    with turn() as cursor:
        settle(cursor, [settlement(claim, AttemptOutcome.FAILED, stop=StopReason.FAILED, error="BoomError")])

    assert "failed" == MailState.objects.get().reason
    assert "BoomError" == mail.logs.get().message


def test_what_the_backend_is_to_blame_for_leaves_the_mail_as_it_was() -> None:
    mail = make_mail()
    (claim,) = started()
    with turn() as cursor:
        settle(cursor, [settlement(claim, AttemptOutcome.DEFERRED)])
    mail.refresh_from_db()

    assert (STATUS.queued, None, None) == (mail.status, mail.scheduled_time, mail.number_of_retries)
    assert not Log.objects.exists()


def test_settling_twice_is_harmless() -> None:
    make_mail()
    (claim,) = started()
    with turn() as cursor:
        first, second = (settle(cursor, [settlement(claim)]) for _ in range(2))

    assert ({claim.attempt_id}, set(), set()) == (first, second, settle(None, []))


def test_with_another_token_nothing_is_settled() -> None:
    mail = make_mail()
    (claim,) = started()
    with turn() as cursor:
        cursor.execute("UPDATE mailqueue_attempt SET token = gen_random_uuid()")

        assert set() == settle(cursor, [settlement(claim)])
    mail.refresh_from_db()
    assert STATUS.queued == mail.status


def test_who_was_reaped_settles_nothing_but_an_acceptance() -> None:
    make_mail(), make_mail()
    refused, accepted = started()
    end_lease(refused), end_lease(accepted)
    with turn() as cursor:
        reap(cursor, configuration=CONFIGURATION)
        closed = settle(cursor, [settlement(refused, AttemptOutcome.RETRY, retry_after=1.0), settlement(accepted)])

    assert {accepted.attempt_id} == closed


def test_a_result_is_kept_also_after_the_lease_while_nobody_has_reaped_the_attempt() -> None:
    """Nobody else can have begun: the open attempt is the claim. The database may have been away for long."""
    mail = make_mail()
    (claim,) = started()
    end_lease(claim)
    with turn() as cursor:
        settle(cursor, [settlement(claim, AttemptOutcome.FAILED, stop=StopReason.FAILED, note="no such user")])
        reaped = reap(cursor, configuration=CONFIGURATION)
    mail.refresh_from_db()

    assert (STATUS.failed, ["failed"], []) == (mail.status, outcomes(mail), reaped.unknown)


def test_a_sender_does_not_reap_what_it_holds_itself() -> None:
    make_mail(), make_mail()
    held, lost = started()
    end_lease(held), end_lease(lost)
    with turn() as cursor:
        reaped = reap(cursor, configuration=CONFIGURATION, besides=[held.attempt_id])

    assert [lost.email_id] == reaped.unknown


def test_an_acceptance_that_comes_late_settles_its_own_unknown_attempt() -> None:
    mail = make_mail()
    (claim,) = started()
    end_lease(claim)
    with turn() as cursor:
        reap(cursor, configuration=CONFIGURATION)
        settle(cursor, [settlement(claim)])
    mail.refresh_from_db()

    assert (STATUS.sent, ["sent"]) == (mail.status, outcomes(mail))


def test_a_mail_that_was_deleted_meanwhile_does_no_harm() -> None:
    mail = make_mail()
    (claim,) = started()
    mail.delete()
    with turn() as cursor:
        assert set() == settle(cursor, [settlement(claim)], log_level=LogLevel.EVERYTHING)


def test_what_is_handed_back_is_as_if_nobody_had_touched_it() -> None:
    make_mail(), make_mail()
    with turn() as cursor:
        one, two = claimed(cursor)
        release(cursor, [], sender=SENDER)
        release(cursor, [one.attempt_id], sender=SENDER)
        release(cursor, [two.attempt_id], sender=OTHER)

    assert [two.attempt_id] == list(Attempt.objects.values_list("pk", flat=True))


def test_claims_that_a_sender_does_not_know_of_are_handed_back() -> None:
    make_mail(), make_mail()
    with turn() as cursor:
        one, _ = claimed(cursor)

        assert release_all_but(cursor, [one.attempt_id], sender=SENDER) == 1
    assert [one.attempt_id] == list(Attempt.objects.values_list("pk", flat=True))


def test_claims_that_were_never_started_are_handed_back_when_their_lease_ended_while_the_database_was_away() -> None:
    make_mail(), make_mail()
    (running,) = started()[:1]
    Attempt.objects.exclude(pk=running.attempt_id).update(started_at=None)
    Attempt.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
    known = list(Attempt.objects.values_list("pk", flat=True))
    with turn() as cursor:
        assert release_all_but(cursor, known, sender=SENDER) == 1
    assert [running.attempt_id] == list(Attempt.objects.values_list("pk", flat=True))


def test_what_was_started_unheard_is_handed_back_by_its_token_and_what_has_an_end_stays() -> None:
    make_mail(), make_mail(), make_mail()
    unheard, sent, of_another_database = started()
    with turn() as cursor:
        settle(cursor, [settlement(sent)])
        proofs = [(unheard.attempt_id, unheard.token), (sent.attempt_id, sent.token)]
        foreign = (of_another_database.attempt_id, "0" * 32)

        assert release_unsent(cursor, [*proofs, foreign]) == 1
        assert release_unsent(cursor, []) == 0
    assert {sent.attempt_id, of_another_database.attempt_id} == set(Attempt.objects.values_list("pk", flat=True))


def test_reaping_returns_what_never_started_and_leaves_no_trace() -> None:
    make_mail()
    with turn() as cursor:
        (claim,) = claimed(cursor)
    end_lease(claim)
    with turn() as cursor:
        reaped = reap(cursor, configuration=CONFIGURATION)

    assert ([claim.email_id], []) == (reaped.returned, reaped.unknown)
    assert not Attempt.objects.exists()


def test_reaping_makes_unknown_what_had_started_and_resends_it_once() -> None:
    mail = make_mail()
    for number in (1, 2):
        (claim,) = started()
        end_lease(claim)
        with turn() as cursor:
            reap(cursor, configuration=Configuration(UNKNOWN_RESEND_AFTER=0))
        mail.refresh_from_db()
        expected = STATUS.requeued if number == 1 else STATUS.failed
        assert expected == mail.status

    assert (["unknown", "unknown"], "unknown") == (outcomes(mail), mail.mailqueue_state.reason)


def test_with_hold_an_unknown_mail_waits_for_a_person() -> None:
    mail = make_mail()
    (claim,) = started()
    end_lease(claim)
    with turn() as cursor:
        reap(cursor, configuration=Configuration(UNKNOWN_OUTCOME="hold"))
    mail.refresh_from_db()

    assert (STATUS.failed, "unknown") == (mail.status, mail.mailqueue_state.reason)


@pytest.mark.parametrize(
    ("setting", "wish", "expected"),
    [
        ("resend", "hold", STATUS.failed),
        ("hold", "resend", STATUS.requeued),
        ("resend", "", STATUS.requeued),
        ("hold", "", STATUS.failed),
    ],
)
def test_what_the_mail_asks_for_goes_before_the_setting_when_it_is_reaped(
    setting: str, wish: str, expected: int
) -> None:
    mail, other = make_mail(), make_mail()
    MailOptions.objects.create(email=mail, unknown_outcome=wish)
    for claim in started():
        end_lease(claim)
    with turn() as cursor:
        reap(cursor, configuration=Configuration(UNKNOWN_OUTCOME=setting))
    mail.refresh_from_db()
    other.refresh_from_db()

    assert (expected, STATUS.requeued if setting == "resend" else STATUS.failed) == (mail.status, other.status)


def test_a_mail_that_asks_to_be_resent_is_resent_once_only() -> None:
    mail = make_mail()
    MailOptions.objects.create(email=mail, unknown_outcome="resend")
    for expected in (STATUS.requeued, STATUS.failed):
        (claim,) = started()
        end_lease(claim)
        with turn() as cursor:
            reap(cursor, configuration=Configuration(UNKNOWN_OUTCOME="hold", UNKNOWN_RESEND_AFTER=0))
        mail.refresh_from_db()

        assert expected == mail.status


def test_leases_that_are_alive_are_not_reaped_unless_their_sender_is_proven_dead() -> None:
    make_mail()
    started()
    with turn() as cursor:
        untouched = reap(cursor, configuration=CONFIGURATION, dead_senders=[OTHER])
        reaped = reap(cursor, configuration=CONFIGURATION, dead_senders=[SENDER])

    assert ([], 1) == (untouched.unknown, len(reaped.unknown))


def test_histories_are_read_for_mails_that_have_one() -> None:
    tried, fresh = make_mail(), make_mail()
    claims = {claim.email_id: claim for claim in started()}
    results = {"ann@x": {"verdict": "sent"}}
    with turn() as cursor:
        retry = settlement(
            claims[tried.pk], AttemptOutcome.RETRY, is_counted=True, retry_after=1.0, recipients=results
        )
        settle(cursor, [retry])
        histories = read_histories(cursor, [tried.pk, fresh.pk])
        nothing = read_histories(cursor, [])

    assert ({tried.pk}, {}) == (set(histories), nothing)
    assert (1, {"ann@x"}) == (histories[tried.pk].counted, histories[tried.pk].accepted)


def test_rows_of_ours_go_with_the_mail_also_when_it_is_deleted_by_hand() -> None:
    mail = make_mail()
    started()
    MailState.objects.create(email=mail, reason=StopReason.HELD, stopped_at=timezone.now())
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM post_office_email WHERE id = %s", [mail.pk])

    assert (0, 0) == (Attempt.objects.count(), MailState.objects.count())


def test_settling_sent_mails_takes_one_statement(django_assert_num_queries) -> None:
    for _ in range(5):
        make_mail()
    claims = started()
    with django_assert_num_queries(1), connection.cursor() as cursor:
        settle(cursor, [settlement(claim) for claim in claims], sensitive=())


def test_the_plan_of_settling_does_not_touch_the_index_of_open_attempts() -> None:
    make_mail()
    claims = started()
    from mailqueue.queue import settle as settle_module

    given = json.dumps([{"id": 1, "token": claims[0].token, "outcome": "sent", "is_sent": True}])
    with turn() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        cursor.execute(f"EXPLAIN {settle_module.CLOSE}", {"given": given})
        plan = "\n".join(line for (line,) in cursor.fetchall())

    # Which of the other two is up to the planner, and to how bloated they are, while the table is all but empty.
    assert "Index Scan using mailqueue_attempt" in plan
    assert "mailqueue_one_open_attempt" not in plan


def test_a_mail_that_was_proven_sent_does_not_fail_by_a_later_attempt() -> None:
    mail = make_mail()
    (claim,) = started()
    Email.objects.filter(pk=mail.pk).update(status=STATUS.sent)
    with turn() as cursor:
        settle(cursor, [settlement(claim, AttemptOutcome.FAILED, stop=StopReason.FAILED)])
    mail.refresh_from_db()

    assert STATUS.sent == mail.status


@pytest.mark.django_db(transaction=True)
def test_reaping_leaves_a_mail_that_somebody_has_locked_for_another_time(database_url: str) -> None:
    locked, free = make_mail(), make_mail()
    for claim in started():
        end_lease(claim)
    with psycopg.connect(database_url) as somebody:
        somebody.execute("UPDATE post_office_email SET priority = priority WHERE id = %s", [locked.pk])
        with turn() as cursor:
            reaped = reap(cursor, configuration=CONFIGURATION)

    assert [free.pk] == reaped.unknown


def test_a_proof_that_comes_late_does_not_take_back_what_was_ordered_since_then() -> None:
    mail = make_mail()
    (first,) = started()
    end_lease(first)
    with turn() as cursor:
        reap(cursor, configuration=CONFIGURATION)
    Email.objects.update(scheduled_time=None)
    (second,) = started()
    with turn() as cursor:
        settle(cursor, [settlement(second)])
    requeue([mail.pk], using="default")
    with turn() as cursor:
        settle(cursor, [settlement(first)])
    mail.refresh_from_db()

    assert STATUS.queued == mail.status


def test_pauses_in_whole_and_in_broken_seconds_are_settled_together() -> None:
    mails = [make_mail(), make_mail()]
    pauses = [600, 61.5]
    claims = started()
    with turn() as cursor:
        settle(
            cursor,
            [
                settlement(claim, AttemptOutcome.RETRY, retry_after=pause)
                for claim, pause in zip(claims, pauses, strict=True)
            ],
        )

    assert [STATUS.requeued] * 2 == [Email.objects.get(pk=mail.pk).status for mail in mails]
