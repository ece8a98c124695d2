"""Latency: from the commit of a mail to its acceptance by the server, while the sender has nothing else to do."""

from typing import Any

from bench.figures import Better, Figure, Figures, Target, percentile
from bench.processes import BrokenError
from bench.senders import sender
from bench.site import Site

NAME = "latency"
PER_SECOND = 20
RARE_SECONDS = (1.5, 3.0)
"""Between two mails to a sender at rest: it takes a second after work until it rests."""
ACCEPTANCE_SECONDS = 30


def measure(site: Site, figures: Figures) -> None:
    count = round(site.sizes.latency_seconds * PER_SECOND)
    spread = (0.5 / PER_SECOND, 1.5 / PER_SECOND)
    often, rare = f"{PER_SECOND} mails a second", "a mail every two seconds"
    for listens, words in ((True, ""), (False, ", LISTEN off")):
        changes = {} if listens else {"MAILQUEUE_CHANGES": {"LISTEN_DATABASE": None}}
        with site.place("mailqueue", **changes) as place, sender(site, place):
            pairs = [
                (often, "often", _delays(site, place, count=count, spread=spread, prefix="often")),
                (rare, "rare", _delays(site, place, count=site.sizes.rare_mails, spread=RARE_SECONDS, prefix="rare")),
            ]
        for pace, key, delays in pairs:
            for share, limit in ((0.5, 4 if listens else None), (0.99, 15 if listens else 1200)):
                name = f"p{round(share * 100)}"
                figure = Figure(
                    NAME,
                    f"{NAME}.{key}_{'listen' if listens else 'poll'}_{name}",
                    f"commit to acceptance, {pace}{words}: {name}",
                    "ms",
                    Better.LOWER,
                    Target(limit) if limit else None,
                    digits=1,
                )
                figures.note(figure, percentile(delays, share) * 1000)


def _delays(site: Site, place: Any, *, count: int, spread: tuple[float, float], prefix: str) -> list[float]:
    site.sink.reset()
    committed = place.job("paced.one_by_one", count=count, least=spread[0], most=spread[1], prefix=prefix)
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
