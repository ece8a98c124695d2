"""How long to wait before the next try of a mail, and before the next probe of a backend that is shut. Pure."""

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


def probe_delay(*, probe_count: int, delays: Sequence[float], at_least: float = 0) -> float:
    """Give the seconds to wait for the next probe, after `probe_count` probes that failed since the backend was shut.

    The row of delays begins at the first one of `at_least` seconds, or is only the last one; the last one repeats.
    """
    last = len(delays) - 1
    first = next((index for index, delay in enumerate(delays) if delay >= at_least), last)
    return delays[min(first + probe_count, last)]
