"""How fast a backend takes recipients: a token bucket in Postgres that all senders draw from.

The rate is the ceiling that settings or a person name, and less for a while after the server asked to slow down. The
numbers were chosen by trials against a limiter of 14 recipients a second.
"""

from dataclasses import dataclass
from typing import Any

from mailqueue.queue.health import FORGIVEN_SECONDS, introduce

BURST_SECONDS = 0.3
"""What may go at once after a pause, or when a busy machine comes late; servers count over a second or more."""
DAY_SECONDS = 86_400
FIRST_CUT = 0.85
NEXT_CUT = 0.5
"""The share of the rate that is left after the server complained: for the first time, and when it does so again."""
GROWTH = 1.01
"""By so much the rate grows each second until the next complaint."""
RELAPSE_SECONDS = 5
"""A complaint that comes so soon after a rest says that the rate was still far too high."""
FIRST_GUESS = 10.0
"""Where no rate is known, and little was sent before the server complained, at least this is tried."""
MOST_ABOVE_MEASURED = 1.5
"""A rate that nothing has tried for long may have grown far above what the server took."""
LONGEST_REST_SECONDS = 10
LONG_WAIT_SECONDS = 60
"""A longer wait is noted for all senders, who then claim nothing meanwhile."""
LONGEST_HINT_SECONDS = 3_600

LOCK = """
SELECT tokens, extract(epoch FROM clock_timestamp() - tokens_at)::float8, throttled_rate, throttle_count,
    extract(epoch FROM clock_timestamp() - resting_until)::float8,
    day_count, extract(epoch FROM clock_timestamp() - day_began_at)::float8
FROM mailqueue_backendhealth WHERE alias = %s FOR UPDATE
"""

SPEND = """
UPDATE mailqueue_backendhealth SET tokens = %(tokens)s, tokens_at = clock_timestamp(), day_count = %(day_count)s,
    day_began_at = CASE WHEN %(is_new_day)s THEN clock_timestamp() ELSE day_began_at END,
    resting_until = coalesce(clock_timestamp() + %(rest)s * interval '1 second', resting_until)
WHERE alias = %(alias)s
"""

THROTTLE = """
UPDATE mailqueue_backendhealth SET throttled_at = clock_timestamp(), throttled_rate = %(rate)s,
    throttle_count = %(count)s, tokens = 0, tokens_at = clock_timestamp() + %(rest)s * interval '1 second',
    resting_until = clock_timestamp() + %(rest)s * interval '1 second'
WHERE alias = %(alias)s
"""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a backend takes; None: no limit is known."""

    per_second: float | None = None
    per_day: int | None = None


@dataclass(frozen=True, slots=True)
class Grant:
    """How many mails may be started now, and after how many seconds to ask for more."""

    count: int
    wait_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class _Bucket:
    """A row of the table, locked. Ages are in seconds by the database's clock; None: never."""

    tokens: float
    age: float | None
    throttled_rate: float | None
    throttle_count: int
    rested_for: float | None
    day_count: int
    day_age: float | None

    def rate(self, ceiling: float | None) -> float | None:
        if self.throttled_rate is None:
            return ceiling
        return present_rate(
            ceiling=ceiling,
            throttled_rate=self.throttled_rate,
            throttle_count=self.throttle_count,
            rested_for=self.rested_for or 0.0,
        )


def present_rate(
    *, ceiling: float | None, throttled_rate: float, throttle_count: int, rested_for: float
) -> float | None:
    """Return the rate (recipients per second) so long after the rest that followed a complaint. Pure."""
    if rested_for >= FORGIVEN_SECONDS:
        return ceiling
    cut = FIRST_CUT if throttle_count <= 1 else NEXT_CUT
    rate: float = throttled_rate * cut * GROWTH ** max(rested_for, 0.0)
    return rate if ceiling is None else min(rate, ceiling)


def draw(cursor: Any, alias: str, *, wanted: int, owed: int, limits: Limits) -> Grant:
    """Draw one recipient for each of `wanted` mails, and pay for `owed` further recipients of earlier mails.

    Less than nothing is owed where more was paid for than was offered.

    The row is locked until the transaction ends, which must be soon. A crash after the commit wastes what was drawn.
    """
    bucket = _lock(cursor, alias)
    if bucket is None:  # somebody deleted the row
        introduce(cursor, [alias])
        return Grant(0)
    if bucket.rested_for is not None and bucket.rested_for < 0:
        return Grant(0, -bucket.rested_for)
    rate = bucket.rate(limits.per_second)
    tokens, count, wait = _by_rate(bucket, rate, wanted=wanted, owed=owed)
    is_new_day = bucket.day_age is None or bucket.day_age >= DAY_SECONDS
    day_age = 0.0 if is_new_day or bucket.day_age is None else bucket.day_age
    day_count = (0 if is_new_day else bucket.day_count) + owed
    rest = wait if wait > LONG_WAIT_SECONDS else None
    if limits.per_day is not None and day_count + count >= limits.per_day:
        spared = min(count, day_count + count - limits.per_day)
        count, tokens = count - spared, tokens + spared
        wait = rest = DAY_SECONDS - day_age
    cursor.execute(
        SPEND,
        {
            "alias": alias,
            "tokens": tokens,
            "day_count": max(day_count + count, 0),
            "is_new_day": is_new_day,
            "rest": rest,
        },
    )
    return Grant(count, wait)


def throttle(cursor: Any, alias: str, *, measured: float, ceiling: float | None, hint: float | None) -> float | None:
    """Rest, and then go slower, because the server says that it is too much at `measured` recipients per second.

    Returns the seconds to rest; None where a rest is under way already, and the complaint is about what went before.
    """
    bucket = _lock(cursor, alias)
    if bucket is None:
        introduce(cursor, [alias])
        bucket = _lock(cursor, alias)
    if bucket is None or (bucket.rested_for is not None and bucket.rested_for < 0):
        return None
    is_relapse = bucket.rested_for is not None and bucket.rested_for < RELAPSE_SECONDS
    count = bucket.throttle_count + 1 if is_relapse else 1
    rest = min(2.0 ** (count - 1), LONGEST_REST_SECONDS)
    if hint is not None:
        rest = min(max(rest, hint), LONGEST_HINT_SECONDS)
    present = bucket.rate(ceiling)
    rate = max(measured, FIRST_GUESS) if present is None else min(present, max(measured * MOST_ABOVE_MEASURED, 0.1))
    cursor.execute(THROTTLE, {"alias": alias, "rate": rate, "count": count, "rest": rest})
    return rest


def _lock(cursor: Any, alias: str) -> _Bucket | None:
    cursor.execute(LOCK, [alias])
    row = cursor.fetchone()
    return None if row is None else _Bucket(*row)


def _by_rate(bucket: _Bucket, rate: float | None, *, wanted: int, owed: int) -> tuple[float, int, float]:
    """Return the tokens left, how many mails may go, and how long to wait for the next."""
    if rate is None:
        return 0.0, wanted, 0.0
    burst = max(1.0, rate * BURST_SECONDS)
    tokens = burst if bucket.age is None else min(burst, bucket.tokens + rate * max(bucket.age, 0.0))
    tokens -= owed
    count = max(min(wanted, int(tokens + 1e-6)), 0)
    tokens -= count
    return tokens, count, 0.0 if count == wanted else max((1 - tokens) / rate, 0.001)
