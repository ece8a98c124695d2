"""A sender of mailqueue's that runs until it is told to stop."""

import contextlib
from collections.abc import Iterator

from bench.peers.contestants import MANAGE
from bench.processes import Process, running
from bench.site import Place, Site

STARTED = "sender.started"
START_SECONDS = 60
PROBE_SECONDS = 30


@contextlib.contextmanager
def sender(site: Site, place: Place, *, is_probed: bool = True, concurrency: int = 16) -> Iterator[Process]:
    """Run a sender during the block. A first mail through it shows that it works, unless there are mails already."""
    with running(place.process(*MANAGE, "send_queued_mail", "--concurrency", str(concurrency))) as process:
        process.wait_for_output(STARTED, seconds=START_SECONDS)
        if is_probed:
            site.sink.reset()
            place.job("fill.mailqueue", count=1, prefix="probe")
            site.sink.wait_for(1, seconds=PROBE_SECONDS, alive=process.check_alive)
        yield process
        process.check_alive()
        process.stop()
