"""Memory of a sender over many mails."""

from bench.figures import Better, Figure, Figures, Target
from bench.peers.contestants import mailqueue
from bench.processes import running
from bench.sections.drain import DRAIN_SECONDS, MEGABYTE
from bench.site import Site

NAME = "memory"
MOST_MEGABYTES = 90
EARLY_SHARE = 0.2
"""When this share of the mails was sent, the sender has got to know everything that it will meet."""


def measure(site: Site, figures: Figures) -> None:
    count = site.sizes.memory_mails
    contestant = mailqueue()
    with site.place(contestant.kind) as place:
        place.job("fill.mailqueue", count=count)
        site.server.checkpoint()
        site.sink.reset()
        with running(place.process(*contestant.command)) as process:
            site.sink.wait_for(round(count * EARLY_SHARE), seconds=DRAIN_SECONDS)
            process.sample()
            early = process.largest_bytes
            process.wait(seconds=DRAIN_SECONDS)
        site.sink.accepted().check(count, who=contestant.label)
    peak = Figure(NAME, f"{NAME}.peak", f"peak, {count:,} mails", "MB", Better.LOWER, Target(MOST_MEGABYTES), digits=1)
    figures.note(peak, process.largest_bytes / MEGABYTE)
    label = f"growth of the peak from {round(count * EARLY_SHARE):,} mails to {count:,}"
    growth = Figure(NAME, f"{NAME}.growth", label, "MB", Better.LOWER, digits=1)
    figures.note(growth, (process.largest_bytes - early) / MEGABYTE)
