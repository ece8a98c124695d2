"""Claims from a long queue, with nearly as much again scheduled ahead, and under another session's old snapshot."""

import contextlib
import statistics
from collections.abc import Iterator

from bench.figures import Better, Figure, Figures, Target, percentile
from bench.peers.contestants import mailqueue
from bench.sections.drain import MEGABYTE, drain, nothing
from bench.senders import sender
from bench.site import Place, Site

NAME = "claim"
P99_MILLISECONDS = 5
FETCHES = 3
LEAST_SHARE = 0.7
MEMORY_MEGABYTES = 90
SENT_FROM_LONG_QUEUE = 1000
SENT_SECONDS = 120


def measure(site: Site, figures: Figures) -> None:
    place = long_queue(site)
    _note_times(site, figures, place, key="free", words="")
    with snapshot(site, place.database):
        _note_times(site, figures, place, key="held", words=", a snapshot held elsewhere")
    _note_memory(site, figures, place)
    _tidy(site, place.database)
    _note_drains(site, figures)


def long_queue(site: Site) -> Place:
    """Return the site with the long queue, made at the first run and kept for the next: filling it takes a while."""
    if NAME not in site.kept:
        site.kept[NAME] = site.stack.enter_context(site.place("mailqueue"))
        site.kept[NAME].job("claims.fill", count=site.sizes.waiting)
        site.server.checkpoint()
    return site.kept[NAME]


@contextlib.contextmanager
def snapshot(site: Site, database: str) -> Iterator[None]:
    """Hold a snapshot in a session of its own, as a backup or a long report does."""
    with site.server.connect(database) as connection:
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        connection.execute("SELECT count(*) FROM pg_class")
        yield
        connection.execute("ROLLBACK")


def _note_times(site: Site, figures: Figures, place: Place, *, key: str, words: str) -> None:
    times = place.job("claims.times", count=site.sizes.claims)
    claim = f"claim of 50, {site.sizes.waiting:,} waiting and as many ahead{words}"
    steady = f"a statement that reads nothing, meanwhile{words}"
    lines = (
        ("p50", 0.5, "claimed", claim, None),
        ("p99", 0.99, "claimed", claim, Target(P99_MILLISECONDS)),
        ("steady_p50", 0.5, "steady", steady, None),
        ("steady_p99", 0.99, "steady", steady, None),
    )
    for name, share, what, words_of_it, target in lines:
        label = f"{words_of_it}: p{round(share * 100)}"
        figure = Figure(NAME, f"{NAME}.{key}_{name}", label, "ms", Better.LOWER, target, digits=2)
        figures.note(figure, percentile(times[what], share) * 1000)
    label = f"a fetch of django-post-office, of 100 of the same mails{words}"
    peer = Figure(NAME, f"{NAME}.{key}_post_office", label, "ms", Better.LOWER)
    figures.note(peer, statistics.median(place.job("claims.fetches", count=FETCHES)) * 1000)


def _note_memory(site: Site, figures: Figures, place: Place) -> None:
    site.sink.reset()
    with sender(site, place, is_probed=False) as process:
        site.sink.wait_for(SENT_FROM_LONG_QUEUE, seconds=SENT_SECONDS, alive=process.check_alive)
        process.sample()
    label = f"memory of a sender, {site.sizes.waiting:,} waiting"
    figure = Figure(NAME, f"{NAME}.memory", label, "MB", Better.LOWER, Target(MEMORY_MEGABYTES))
    figures.note(figure, process.largest_bytes / MEGABYTE)


def _tidy(site: Site, database: str) -> None:
    """Do now what autovacuum would do meanwhile: what follows has a database of its own, and needs the processors."""
    with site.server.connect(database) as connection:
        connection.execute("VACUUM ANALYZE post_office_email, mailqueue_attempt")


def _note_drains(site: Site, figures: Figures) -> None:
    # In one piece: what can't be vacuumed away grows with every mail.
    count = site.sizes.memory_mails
    label = f"drain of {count:,}, one process"
    free = Figure(NAME, f"{NAME}.drain_free", label, "mails/s")
    target = Target(LEAST_SHARE, of=free.key)
    held = Figure(NAME, f"{NAME}.drain_held", f"{label}, a snapshot held elsewhere", "mails/s", target=target)
    for figure, meanwhile in ((free, nothing), (held, snapshot)):
        figures.note(figure, drain(site, mailqueue(), count=count, meanwhile=meanwhile).rate)
