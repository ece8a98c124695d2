import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailqueue.delivery.backoff import hinted_delay, retry_delay

delays = st.lists(st.floats(min_value=0.1, max_value=100_000), min_size=1, max_size=12)
counts = st.integers(min_value=1, max_value=1_000)
shares = st.floats(min_value=0, max_value=1)


@given(delays=delays, count=counts)
def test_without_chance_the_delay_is_the_one_of_the_attempt_and_the_last_repeats(
    delays: list[float], count: int
) -> None:
    delay = retry_delay(counted_attempts=count, delays=delays, random=lambda: 0.5)

    assert (delays + [delays[-1]] * count)[count - 1] == pytest.approx(delay)


@given(delays=delays, count=counts, jitter=shares, chance=shares)
def test_a_delay_is_never_further_off_its_middle_than_the_jitter_allows(
    delays: list[float], count: int, jitter: float, chance: float
) -> None:
    middle = retry_delay(counted_attempts=count, delays=delays, jitter=0)

    delay = retry_delay(counted_attempts=count, delays=delays, jitter=jitter, random=lambda: chance)

    assert abs(delay - middle) <= (jitter + 1e-9) * middle


@given(delays=delays, count=counts)
def test_by_default_a_retry_is_at_most_a_fifth_off(delays: list[float], count: int) -> None:
    middle = retry_delay(counted_attempts=count, delays=delays, jitter=0)

    delay = retry_delay(counted_attempts=count, delays=delays)

    assert 0.799 * middle <= delay <= 1.201 * middle


def test_the_first_attempt_that_counts_waits_for_the_first_delay() -> None:
    assert 60 == retry_delay(counted_attempts=1, delays=[60, 300], jitter=0)


def test_a_mail_without_a_counted_attempt_waits_for_the_first_delay_too() -> None:
    assert 60 == retry_delay(counted_attempts=0, delays=[60, 300], jitter=0)


@given(hint=st.floats(min_value=1, max_value=86_400), chance=shares)
def test_where_the_server_said_how_long_nobody_comes_before_and_nobody_much_later(hint: float, chance: float) -> None:
    assert hint <= hinted_delay(hint, random=lambda: chance) <= 1.1001 * hint
