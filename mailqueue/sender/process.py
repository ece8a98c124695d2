"""Runs one sender in this process."""

from mailqueue.conf import Configuration
from mailqueue.queue.work import watched_by
from mailqueue.sender.deadlines import deadlines
from mailqueue.sender.listen import listen_alias
from mailqueue.sender.loop import Sender
from mailqueue.sender.options import Options
from mailqueue.sender.waker import Stop, Waker
from mailqueue.sender.watchdog import Watchdog

INTERRUPTED = 130
"""The exit code of a process that was made to leave at once (128 + SIGINT)."""


def run_sender(options: Options, *, configuration: Configuration) -> int:
    """Run a sender until it stops, and return the exit code of the process."""
    stop = Stop()
    sender = Sender(options=options, configuration=configuration, stop=stop, waker=Waker())
    databases = {options.using, listen_alias(configuration, using=options.using) or options.using}
    with deadlines(databases=databases), Watchdog(stop) as watchdog, watched_by(watchdog):
        sender.run()
    return INTERRUPTED if stop.is_urgent else 0
