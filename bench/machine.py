"""What the machine is, in general words."""

import os
import platform

import django


def describe(*, postgres: str) -> dict[str, str]:
    """Return what ratios do not depend on, and figures do."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{memory:.0f} GB",
        "architecture": platform.machine(),
        "system": platform.system(),
        "python": platform.python_version(),
        "django": django.get_version(),
        "postgres": postgres,
    }
