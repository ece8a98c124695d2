"""The token bucket that all senders draw from, on a real Postgres; and the rate that it fills at."""

from typing import Any

import pytest
from django.db import connection
from hypothesis import given
from hypothesis import strategies as st

from mailqueue.models import BackendHealth
from mailqueue.queue import health as health_module
from mailqueue.queue import rate as rate_module
from mailqueue.queue.health import CALM_SECONDS, introduce, read_health, record_calm, record_crowding
from mailqueue.queue.rate import (
    DAY_SECONDS,
    FORGIVEN_SECONDS,
    LONGEST_HINT_SECONDS,
    RELAPSE_SECONDS,
    Grant,
    Limits,
    draw,
    present_rate,
    throttle,
)
from tests.support.mails import turn

RATE = Limits(per_second=10)


@pytest.fixture(autouse=True)
def no_time_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop the clock, but for `pass_time`: however long this machine takes, no token comes in and no rest ends.

    Each test is one transaction, and to that it is the same time from its beginning to its end.
    """
    for module, names in ((rate_module, ("LOCK", "SPEND", "THROTTLE")), (health_module, ("READ", "CROWD", "CALM"))):
        for name in names:
            monkeypatch.setattr(module, name, getattr(module, name).replace("clock_timestamp()", "now()"))


@pytest.fixture
def health(db: None) -> BackendHealth:
    return BackendHealth.objects.create(alias="smtp")


def drawn(wanted: int, *, owed: int = 0, limits: Limits = RATE) -> Grant:
    with turn() as cursor:
        return draw(cursor, "smtp", wanted=wanted, owed=owed, limits=limits)


def throttled(measured: float = 20, *, ceiling: float | None = None, hint: float | None = None) -> float | None:
    with turn() as cursor:
        return throttle(cursor, "smtp", measured=measured, ceiling=ceiling, hint=hint)


def pass_time(seconds: float) -> None:
    """Let everything that the row tells of lie further back."""
    columns = ("tokens_at", "throttled_at", "resting_until", "day_began_at", "connections_changed_at")
    moved = ", ".join(f"{column} = {column} - %(age)s * interval '1 second'" for column in columns)
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE mailqueue_backendhealth SET {moved}", {"age": seconds})


def row() -> Any:
    return BackendHealth.objects.get(alias="smtp")


@given(
    rate=st.floats(0.1, 10_000),
    count=st.integers(0, 20),
    rested=st.floats(-100, 2 * FORGIVEN_SECONDS),
    ceiling=st.none() | st.floats(0.1, 10_000),
)
def test_after_a_complaint_the_rate_is_lower_than_it_was_and_never_above_the_ceiling(
    rate: float, count: int, rested: float, ceiling: float | None
) -> None:
    present = present_rate(ceiling=ceiling, throttled_rate=rate, throttle_count=count, rested_for=rested)

    assert ceiling is None or (present is not None and present <= ceiling)
    assert rested >= 10 or (present is not None and 0 < present < rate)


@given(rate=st.floats(0.1, 10_000), earlier=st.floats(0, FORGIVEN_SECONDS - 1), more=st.floats(0, 100))
def test_the_rate_never_falls_by_itself(rate: float, earlier: float, more: float) -> None:
    first, second = (
        present_rate(ceiling=None, throttled_rate=rate, throttle_count=1, rested_for=rested)
        for rested in (earlier, earlier + more)
    )

    assert first is not None
    assert second is None or second >= first


def test_an_hour_after_a_complaint_only_the_ceiling_counts() -> None:
    assert 14 == present_rate(ceiling=14, throttled_rate=1, throttle_count=9, rested_for=FORGIVEN_SECONDS)


def test_a_burst_goes_at_once_and_the_next_mail_has_to_wait(health: BackendHealth) -> None:
    first, second = drawn(10), drawn(1)

    assert (3, 0) == (first.count, second.count)
    assert 0 < second.wait_seconds <= 0.1


def test_time_fills_the_bucket_up_to_a_burst(health: BackendHealth) -> None:
    drawn(10)
    pass_time(0.2)
    after_a_moment = drawn(10).count
    pass_time(3600)

    assert (2, 3) == (after_a_moment, drawn(10).count)


def test_the_recipients_of_one_mail_are_paid_for_before_the_next(health: BackendHealth) -> None:
    drawn(1)
    later = drawn(1, owed=99)
    pass_time(9)
    still = drawn(1)
    pass_time(1)

    assert (0, 0, 1) == (later.count, still.count, drawn(1).count)


def test_without_a_rate_everything_goes(health: BackendHealth) -> None:
    assert Grant(1000) == drawn(1000, limits=Limits())


def test_a_row_that_somebody_deleted_comes_back_before_anything_goes(db: None) -> None:
    first = drawn(5)

    assert (0, 3) == (first.count, drawn(5).count)


def test_a_day_s_worth_goes_and_then_nothing_until_the_day_is_over(health: BackendHealth) -> None:
    day = Limits(per_day=5)
    first, second = drawn(3, limits=day), drawn(3, limits=day)
    rest = drawn(3, limits=day)
    with turn() as cursor:
        known = read_health(cursor)["smtp"].rest_seconds
    pass_time(DAY_SECONDS)

    assert (3, 2, 0, 3) == (first.count, second.count, rest.count, drawn(3, limits=day).count)
    assert DAY_SECONDS - 5 < rest.wait_seconds <= DAY_SECONDS
    assert DAY_SECONDS - 5 < known <= DAY_SECONDS


def test_a_day_begins_with_its_first_mail_and_does_not_move(health: BackendHealth) -> None:
    day = Limits(per_day=50)
    drawn(1, limits=day)
    began = row().day_began_at
    drawn(1, limits=day, owed=4)

    assert (began, 6) == (row().day_began_at, row().day_count)


def test_a_day_that_is_used_up_gives_back_what_the_rate_had_granted(health: BackendHealth) -> None:
    both = Limits(per_second=10, per_day=1)

    assert 1 == drawn(3, limits=both).count
    assert 2 == pytest.approx(row().tokens, abs=0.5)


def test_a_complaint_is_followed_by_a_rest_and_a_lower_rate(health: BackendHealth) -> None:
    rest = throttled(20)
    resting = drawn(5, limits=Limits())
    pass_time(1)
    pass_time(1)

    assert (1.0, 0) == (rest, resting.count)
    assert 0 < resting.wait_seconds <= 1
    assert 1 <= drawn(1000, limits=Limits()).count < 20


def test_what_was_in_flight_before_the_rest_is_not_a_second_complaint(health: BackendHealth) -> None:
    throttled(20)

    assert (None, 1) == (throttled(20), row().throttle_count)


def test_the_next_complaint_soon_after_it_makes_the_rest_longer_and_the_rate_lower(health: BackendHealth) -> None:
    rests = [throttled(20)]
    for _ in range(5):
        pass_time((rests[-1] or 0) + RELAPSE_SECONDS / 2)
        rests.append(throttled(20))

    assert [1, 2, 4, 8, 10, 10] == rests
    assert row().throttled_rate < 5


def test_where_no_rate_is_known_a_guess_is_what_was_accepted_and_not_too_little(health: BackendHealth) -> None:
    throttled(30)
    much = row().throttled_rate
    BackendHealth.objects.update(throttled_rate=None, resting_until=None)
    throttled(1)

    assert (30, 10) == (much, row().throttled_rate)


def test_a_rate_that_has_grown_untried_falls_to_what_was_accepted(health: BackendHealth) -> None:
    throttled(20)
    pass_time(600)
    throttled(20)

    assert 30 == row().throttled_rate


def test_a_complaint_long_after_the_last_begins_anew(health: BackendHealth) -> None:
    throttled(20)
    pass_time(3600)

    assert (1.0, 1) == (throttled(20), row().throttle_count)


def test_the_server_s_hint_wins_within_reason(health: BackendHealth) -> None:
    first = throttled(20, hint=120)
    pass_time(7200)

    assert (120, LONGEST_HINT_SECONDS) == (first, throttled(20, hint=1_000_000))


def test_a_complaint_of_a_backend_whose_row_somebody_deleted_counts_too(db: None) -> None:
    assert (1.0, 20) == (throttled(20), row().throttled_rate)


def test_all_senders_together_have_half_the_connections_after_a_complaint(db: None) -> None:
    with turn() as cursor:
        first = record_crowding(cursor, "smtp", in_use=16)
        at_once = record_crowding(cursor, "smtp", in_use=16)
    pass_time(2)
    with turn() as cursor:
        later = record_crowding(cursor, "smtp", in_use=16)

    assert (8, None, 4) == (first, at_once, later)


def test_there_is_always_one_connection(db: None) -> None:
    with turn() as cursor:
        assert 1 == record_crowding(cursor, "smtp", in_use=0)


def test_a_calm_minute_allows_one_connection_more_until_no_limit_is_needed(health: BackendHealth) -> None:
    limits = []
    with turn() as cursor:
        record_crowding(cursor, "smtp", in_use=4)
    for _ in range(3):
        with turn() as cursor:
            record_calm(cursor, "smtp", most=4)
            limits.append(read_health(cursor)["smtp"].connection_limit)
        pass_time(CALM_SECONDS + 1)

    assert [2, 3, None] == limits


def test_introducing_backends_leaves_what_is_known_of_them(health: BackendHealth) -> None:
    throttled(20)
    with turn() as cursor:
        introduce(cursor, ["smtp", "other"])

    assert {"smtp": 1, "other": 0} == dict(BackendHealth.objects.values_list("alias", "throttle_count"))


def test_a_debt_that_takes_more_than_a_minute_is_noted_for_all_senders(health: BackendHealth) -> None:
    slow = Limits(per_second=1)
    drawn(1, limits=slow)
    short = drawn(1, owed=30, limits=slow)
    with turn() as cursor:
        after_short = read_health(cursor)["smtp"].rest_seconds
    drawn(1, owed=100, limits=slow)
    with turn() as cursor:
        after_long = read_health(cursor)["smtp"].rest_seconds

    assert (0, 0) == (short.count, after_short)
    assert after_long > 100


def test_what_was_paid_for_and_not_offered_is_given_back(health: BackendHealth) -> None:
    drawn(0, owed=99, limits=Limits(per_second=10, per_day=1000))
    drawn(0, owed=-90, limits=Limits(per_second=10, per_day=1000))

    assert 9 == row().day_count


def test_a_complaint_is_forgotten_after_an_hour(health: BackendHealth) -> None:
    throttled(20)
    was_throttled = []
    for seconds in (0, FORGIVEN_SECONDS + 60):
        pass_time(seconds)
        with turn() as cursor:
            was_throttled.append(read_health(cursor)["smtp"].was_throttled)

    assert [True, False] == was_throttled
