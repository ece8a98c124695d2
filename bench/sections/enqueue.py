"""Enqueueing: what a mail costs whoever writes it."""

from dataclasses import dataclass

from bench.figures import Figure, Figures, Target
from bench.laps import in_laps
from bench.site import Site

NAME = "enqueue"
WRITERS = 32
TIMES_IN_BULK = 10
NO_BROKER = "no redis-server"


@dataclass(frozen=True, slots=True)
class Way:
    """One way to write an order with its mail."""

    key: str
    label: str
    kind: str
    way: str
    target: Target | None = None


def _target(peer: str) -> Target:
    """Return what is to be reached: 1,500/s where post_office made 1,110/s."""
    return Target(1500 / 1110, of=f"{NAME}.{peer}")


WAYS = (
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
BULK = (
    ("post_office", "post_office.send_many", None),
    # 15,000/s where post_office made 4,400/s.
    ("mailqueue", "mailqueue.send_many", Target(15_000 / 4_400, of=f"{NAME}.bulk_post_office")),
    ("celery", "django-celery-email, send_messages", None),
)


def measure(site: Site, figures: Figures) -> None:
    for way in in_laps(WAYS, site.sizes.laps):
        _one_writer(site, figures, way)
    for product, label, target in in_laps(BULK, site.sizes.laps):
        figure = Figure(NAME, f"{NAME}.bulk_{product}", f"in bulk: {label}", "mails/s", target=target)
        _in_bulk(site, figures, product, figure)
    _many_writers(site, figures)


def _one_writer(site: Site, figures: Figures, way: Way) -> None:
    figure = Figure(NAME, f"{NAME}.{way.key}", way.label, "commits/s", target=way.target)
    if way.kind == "celery" and site.broker is None:
        figures.miss(figure, NO_BROKER)
        return
    with site.place(way.kind) as place:
        site.server.checkpoint()
        figures.note(figure, place.job("writers.rate", way=way.way, count=site.sizes.enqueued // site.sizes.laps))
    if way.kind == "celery" and site.broker:
        site.broker.clear()


def _in_bulk(site: Site, figures: Figures, product: str, figure: Figure) -> None:
    if product == "celery" and site.broker is None:
        figures.miss(figure, NO_BROKER)
        return
    with site.place(product) as place:
        site.server.checkpoint()
        count = site.sizes.enqueued * TIMES_IN_BULK // site.sizes.laps
        figures.note(figure, place.job("writers.bulk", product=product, count=count))
    if product == "celery" and site.broker:
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
