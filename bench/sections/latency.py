"""Latency: from the commit of a mail to its acceptance by the server, while the sender has nothing else to do."""

from bench.figures import Better, Figure, Figures, Target, percentile
from bench.laps import in_laps
from bench.peers.contestants import celery
from bench.processes import READY, BrokenError, running
from bench.senders import sender
from bench.site import Place, Site

NAME = "latency"
PER_SECOND = 20
EVENLY = (0.5 / PER_SECOND, 1.5 / PER_SECOND)
"""The shortest and the longest pause between two mails (seconds)."""
PACES = {"often": f"{PER_SECOND} mails a second", "rare": "a mail every two seconds"}
WARMING_MAILS = 10
"""Mails until each worker has sent one."""
RARE_SECONDS = (1.5, 3.0)
"""Between two mails to a sender at rest: it takes a second after work until it rests."""
ACCEPTANCE_SECONDS = 30
# 4 ms where Celery took 4.3.
BESIDE_CELERY = 4 / 4.3
P99_MILLISECONDS = {"listen": 15, "poll": 1200}


def measure(site: Site, figures: Figures) -> None:
    laps = site.sizes.laps_of_latency
    for act in in_laps((_listening, _by_celery), laps):
        act(site, figures, 1 / laps)
    _polling(site, figures, 1)


def _listening(site: Site, figures: Figures, share: float) -> None:
    with site.place("mailqueue") as place, sender(site, place):
        _note(site, figures, place, share=share, key="listen", words="")


def _polling(site: Site, figures: Figures, share: float) -> None:
    with site.place("mailqueue", MAILQUEUE_CHANGES={"LISTEN_DATABASE": None}) as place, sender(site, place):
        _note(site, figures, place, share=share, key="poll", words=", LISTEN off")


def _by_celery(site: Site, figures: Figures, share: float) -> None:
    contestant = celery("prefork", 2, "Celery + Redis, 2 worker processes")
    if site.broker is None:
        figures.miss(_figure("often", "celery", 0.5, f": {contestant.label}"), "no redis-server")
        return
    site.broker.clear()
    with site.place(contestant.kind) as place, running(place.process(*contestant.command)) as process:
        process.wait_for_output(READY, seconds=ACCEPTANCE_SECONDS)
        _delays(site, place, count=WARMING_MAILS, spread=EVENLY, prefix="probe", is_celery=True)
        _note(site, figures, place, share=share, key="celery", words=f": {contestant.label}")
        process.check_alive()
        process.stop()


def _note(site: Site, figures: Figures, place: Place, *, share: float, key: str, words: str) -> None:
    often, rare = round(site.sizes.latency_seconds * PER_SECOND * share), round(site.sizes.rare_mails * share)
    for pace, count, spread in (("often", often, EVENLY), ("rare", max(rare, 1), RARE_SECONDS)):
        found = _delays(site, place, count=count, spread=spread, prefix=pace, is_celery=key == "celery")
        for part in (0.5, 0.99):
            figures.note(_figure(pace, key, part, words), percentile(found, part) * 1000)


def _figure(pace: str, way: str, share: float, words: str) -> Figure:
    percent = f"p{round(share * 100)}"
    label = f"commit to acceptance, {PACES[pace]}{words}: {percent}"
    key = f"{NAME}.{pace}_{way}_{percent}"
    return Figure(NAME, key, label, "ms", Better.LOWER, _target(pace, way, percent), digits=1)


def _target(pace: str, way: str, percent: str) -> Target | None:
    if percent == "p99":
        return Target(P99_MILLISECONDS[way]) if way in P99_MILLISECONDS else None
    return Target(BESIDE_CELERY, of=f"{NAME}.{pace}_celery_{percent}") if way == "listen" else None


def _delays(
    site: Site, place: Place, *, count: int, spread: tuple[float, float], prefix: str, is_celery: bool
) -> list[float]:
    site.sink.reset()
    committed = place.job(
        "paced.one_by_one", count=count, least=spread[0], most=spread[1], prefix=prefix, sends_after_commit=is_celery
    )
    site.sink.wait_for(count, seconds=ACCEPTANCE_SECONDS)
    return delays(committed, site.sink.moments())


def delays(committed: dict[str, float], accepted: dict[str, float]) -> list[float]:
    """Return for each mail how long after its commit it was accepted; less than nothing counts as nothing.

    Raises:
        BrokenError: a mail was not accepted.
    """
    if missing := committed.keys() - accepted.keys():
        raise BrokenError(f"{len(missing)} mails were never accepted, {min(missing)} among them")
    return [max(0.0, accepted[recipient] - at) for recipient, at in committed.items()]
