"""How long to wait before the next try of a mail. Pure."""

import random as _random
from collections.abc import Callable, Sequence


def retry_delay(
    *,
    counted_attempts: int,
    delays: Sequence[float],
    jitter: float = 0.2,
    random: Callable[[], float] = _random.random,
) -> float:
    """Give the seconds to wait after the `counted_attempts`-th attempt (from 1) that counted; the last delay repeats.

    `random` gives numbers from 0 to 1; the result is off its delay by at most the share `jitter`.
    """
    delay = delays[min(max(counted_attempts, 1), len(delays)) - 1]
    return delay * (1 + jitter * (2 * random() - 1))


def hinted_delay(hint: float, *, jitter: float = 0.1, random: Callable[[], float] = _random.random) -> float:
    """Give the seconds to wait where the server said how long: a little more, and never less."""
    return hint * (1 + jitter * random())
