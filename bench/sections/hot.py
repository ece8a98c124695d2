"""A hot mail behind a bulk: how long it waits for those that were queued before it."""

from bench.figures import Better, Figure, Figures, Target
from bench.processes import READY, running
from bench.sections.latency import delays
from bench.senders import sender
from bench.site import Site

NAME = "hot"
MOST_SECONDS = 1.0
HOT_MAILS = 5
PAUSE_SECONDS = 0.2
BEGIN_AFTER = 0.1
"""Hot mails come when this share of the bulk was accepted."""
SECONDS = 600


def measure(site: Site, figures: Figures) -> None:
    bulk = site.sizes.hot_bulk
    with site.place("mailqueue") as place:
        place.job("fill.mailqueue", count=bulk, prefix="bulk")
        site.server.checkpoint()
        site.sink.reset()
        go = place.folder / "go"
        with running(place.job_process("paced.hot", count=HOT_MAILS, pause=PAUSE_SECONDS, go=str(go))) as writer:
            writer.wait_for_output(READY, seconds=SECONDS)
            with sender(site, place, is_probed=False) as process:
                site.sink.wait_for(round(bulk * BEGIN_AFTER), seconds=SECONDS, alive=process.check_alive)
                go.touch()
                writer.wait(seconds=SECONDS)
                left = bulk - site.sink.accepted().accepted
                site.sink.wait_for(bulk + HOT_MAILS, seconds=SECONDS, alive=process.check_alive)
        site.sink.accepted().check(bulk + HOT_MAILS, who="hot mail behind a bulk")
        found = delays(place.result_of(writer), site.sink.moments())
    label = f"a mail of priority now behind {bulk:,}, the slowest of {HOT_MAILS}"
    figure = Figure(NAME, f"{NAME}.slowest", label, "s", Better.LOWER, Target(MOST_SECONDS), digits=3)
    if left > 0:
        figures.note(figure, max(found))
    else:
        figures.miss(figure, "the bulk was sent too soon; make it larger")
