"""Runs one sender in this process."""

from mailqueue.conf import Configuration
from mailqueue.sender.loop import Sender
from mailqueue.sender.options import Options
from mailqueue.sender.waker import Stop, Waker

INTERRUPTED = 130
"""The exit code of a process that was made to leave at once (128 + SIGINT)."""


def run_sender(options: Options, *, configuration: Configuration) -> int:
    """Run a sender until it stops, and return the exit code of the process."""
    stop = Stop()
    Sender(options=options, configuration=configuration, stop=stop, waker=Waker()).run()
    return INTERRUPTED if stop.is_urgent else 0
