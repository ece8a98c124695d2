"""The clock that leases are compared with on this host: it can't be set, and goes on while the machine sleeps."""

import time

_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def boot_time() -> float:
    """Return seconds since the machine booted (time suspended included, where the system counts it)."""
    return time.clock_gettime(_CLOCK)
