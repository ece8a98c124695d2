"""Enqueueing: what a mail costs whoever writes it."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

from bench.figures import Figure, Figures, Target
from bench.laps import in_laps
from bench.processes import running
from bench.site import Site

NAME = "enqueue"
WRITERS = 32
TIMES_IN_BULK = 10
NO_BROKER = "no redis-server"
BURST_SECONDS = 300


@dataclass(frozen=True, slots=True)
class Way:
    """One way to write mail."""

    key: str
    label: str
    kind: str
    way: str
    target: Target | None = None


def _target(peer: str) -> Target:
    """Return what is to be reached: 1,500/s where post_office made 1,110/s."""
    return Target(1500 / 1110, of=f"{NAME}.{peer}")


ONE_BY_ONE = (
    Way("alone", "an order, no mail", "mailqueue", "order alone"),
    Way("insert", "an order and the mail's row by a bare INSERT", "mailqueue", "insert"),
    Way("post_office", "an order and a mail: post_office.mail.send", "post_office", "post_office"),
    Way("mailqueue", "an order and a mail: mailqueue.send", "mailqueue", "mailqueue", _target("post_office")),
    Way("post_office_backend", "an order and a mail: post_office.EmailBackend", "post_office", "django"),
    Way(
        "mailqueue_backend",
        "an order and a mail: mailqueue.EmailBackend",
        "mailqueue",
        "django",
        _target("post_office_backend"),
    ),
    Way("celery", "an order and a mail: django-celery-email", "celery", "celery"),
)
IN_BULK = (
    Way("bulk_post_office", "in bulk: post_office.send_many", "post_office", "post_office"),
    Way(
        "bulk_mailqueue",
        "in bulk: mailqueue.send_many",
        "mailqueue",
        "mailqueue",
        # 15,000/s where post_office made 4,400/s.
        Target(15_000 / 4_400, of=f"{NAME}.bulk_post_office"),
    ),
    Way("bulk_celery", "in bulk: django-celery-email, send_messages", "celery", "celery"),
)


def measure(site: Site, figures: Figures) -> None:
    sizes = site.sizes
    one_by_one = partial(_in_turn, site, figures, job="writers.one_by_one", unit="commits/s")
    one_by_one(ONE_BY_ONE, count=sizes.enqueued // sizes.laps_of_writers)
    in_bulk = partial(_in_turn, site, figures, job="writers.in_bulk", unit="mails/s")
    in_bulk(IN_BULK, count=sizes.enqueued * TIMES_IN_BULK // sizes.laps_of_writers)
    _many_writers(site, figures)


def _in_turn(site: Site, figures: Figures, ways: Sequence[Way], *, job: str, unit: str, count: int) -> None:
    """Let writers, each in a process and a database of its own, write so many mails a lap."""
    figure_of = {way: Figure(NAME, f"{NAME}.{way.key}", way.label, unit, target=way.target) for way in ways}
    with ExitStack() as stack:
        writers = {}
        for way in ways:
            if way.kind == "celery" and site.broker is None:
                continue
            place = stack.enter_context(site.place(way.kind))
            writer = place.job_process(job, is_asked=True, way=way.way, count=count)
            writers[way] = stack.enter_context(running(writer))
        for writer in writers.values():
            writer.ask(seconds=BURST_SECONDS)  # the first time costs more
        site.server.checkpoint()
        for way in in_laps(list(writers), site.sizes.laps_of_writers):
            figures.note(figure_of[way], writers[way].ask(seconds=BURST_SECONDS))
    for way in ways:
        if way not in writers:
            figures.miss(figure_of[way], NO_BROKER)
    if site.broker:
        site.broker.clear()


def _many_writers(site: Site, figures: Figures) -> None:
    with site.place("mailqueue") as place:
        found = place.job("writers.concurrent", writers=WRITERS, seconds=site.sizes.writers_seconds)
    start = f"{NAME}.{WRITERS}"
    without = Figure(NAME, f"{start}_without", f"{WRITERS} writers, the wake-up taken out", "commits/s")
    target = Target(0.9, of=without.key)
    as_it_is = Figure(NAME, f"{start}_with", f"{WRITERS} writers, as it is", "commits/s", target=target)
    for figure, rates in ((without, found["without"]), (as_it_is, found["with"])):
        for rate in rates:
            figures.note(figure, rate)
