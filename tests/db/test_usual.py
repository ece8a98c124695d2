"""The usual turn in one statement: what was accepted is sent, what comes next is started and read."""

from typing import Any

import pytest
from post_office.models import STATUS, Email

from mailqueue.models import Attempt, AttemptOutcome, MailOptions
from mailqueue.queue.claim import Claim
from mailqueue.queue.usual import Turned, turn_over
from tests.support.mails import OTHER, SENDER, claimed, end_lease, make_mail, outcomes, settlement, turn

pytestmark = pytest.mark.django_db
IDENTITY: dict[str, Any] = {
    "message_id": "<1@example.com>",
    "headers": {"Date": "Fri, 20 Nov 2026 12:00:00 -0000", "X-Order": "7"},
}


def claim_one(**fields: Any) -> Claim:
    make_mail(**IDENTITY | fields)
    with turn() as cursor:
        (claim,) = claimed(cursor)
    return claim


def turned(*claims: Claim, accepted: tuple[Claim, ...] = (), sender: str = SENDER) -> Turned:
    with turn() as cursor:
        return turn_over(cursor, [settlement(c) for c in accepted], claims, sender=sender, lease_seconds=60)


def test_what_was_accepted_is_sent_and_what_comes_next_is_started_and_read() -> None:
    first = claim_one()
    turned(first)
    second = claim_one(subject="Your order")
    both = turned(second, accepted=(first,))
    (mail,) = both.plain

    assert ({first.attempt_id}, {second.attempt_id}) == (both.closed, both.started)
    assert (second.email_id, "Your order", IDENTITY["headers"]) == (mail.pk, mail.subject, mail.headers)
    assert [STATUS.sent, STATUS.queued] == list(Email.objects.order_by("id").values_list("status", flat=True))
    assert [False, True] == [a.finished_at is None for a in Attempt.objects.order_by("id")]


def test_what_is_accepted_where_nothing_comes_next_is_sent() -> None:
    claim = claim_one()
    turned(claim)

    assert Turned(closed={claim.attempt_id}, started=set(), plain=[]) == turned(accepted=(claim,))


@pytest.mark.parametrize("lost", [{"message_id": None}, {"message_id": ""}, {"headers": None}, {"headers": {}}])
def test_a_mail_that_lost_its_identity_since_it_was_claimed_is_not_started(lost: dict[str, Any]) -> None:
    claim = claim_one()
    Email.objects.update(**lost)

    assert Turned(closed=set(), started=set(), plain=[]) == turned(claim)


def test_a_mail_that_was_cancelled_since_it_was_claimed_is_not_started() -> None:
    claim = claim_one()
    Email.objects.update(status=STATUS.failed)

    assert set() == turned(claim).started


def test_a_mail_whose_lease_has_ended_is_not_started() -> None:
    claim = claim_one()
    end_lease(claim)

    assert set() == turned(claim).started


def test_nobody_starts_what_another_has_claimed() -> None:
    assert set() == turned(claim_one(), sender=OTHER).started


def test_a_mail_with_more_than_its_row_is_started_and_left_to_be_read() -> None:
    claim = claim_one()
    MailOptions.objects.create(email_id=claim.email_id)

    assert Turned(closed=set(), started={claim.attempt_id}, plain=[]) == turned(claim)


def test_to_say_it_again_after_an_answer_that_was_lost_does_no_harm() -> None:
    first = claim_one()
    turned(first)
    second = claim_one()
    turned(second, accepted=(first,))
    started_at = Attempt.objects.get(pk=second.attempt_id).started_at
    again = turned(second, accepted=(first,))

    assert (set(), {second.attempt_id}) == (again.closed, again.started)
    assert started_at == Attempt.objects.get(pk=second.attempt_id).started_at


def test_a_token_that_is_not_the_attempts_closes_nothing() -> None:
    claim = claim_one()
    turned(claim)
    with turn() as cursor:
        stranger = settlement(claim)
        stranger.token = "1" * 32
        found = turn_over(cursor, [stranger], [], sender=SENDER, lease_seconds=60)

    assert (set(), [None]) == (found.closed, outcomes(Email.objects.get()))


def test_a_proof_that_comes_behind_the_reaper_is_taken() -> None:
    claim = claim_one()
    turned(claim)
    Attempt.objects.update(outcome=AttemptOutcome.UNKNOWN)

    assert {claim.attempt_id} == turned(accepted=(claim,)).closed
    assert STATUS.sent == Email.objects.get().status
