"""A host whose clock is wrong, for one process.

libfaketime is not used for it: it moves the deadlines of the interpreter's lock as well, and a process then sleeps
through its turn.
"""

import os
import shutil
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_suffix(".c")


def build(folder: Path) -> Path:
    """Compile the library into a folder and return its path. Without a compiler, skip the test; in CI, fail it."""
    compiler = shutil.which("cc")
    if compiler is None:
        missing = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        missing("this test needs a C compiler: install gcc and libc6-dev, or what your system calls them")
    library = folder / "wrong_clock.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O", "-o", library, SOURCE], check=True)
    return library


def environment_with_clock(offset: timedelta, *, library: Path) -> dict[str, str]:
    """Return the environment of a process whose wall clock is off by so much."""
    return {"LD_PRELOAD": str(library), "WRONG_CLOCK_SECONDS": str(int(offset.total_seconds()))}
