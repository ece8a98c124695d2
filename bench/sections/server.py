"""The SMTP sink by itself: it must bear far more than anybody sends."""

from bench.figures import Better, Figure, Figures, Target
from bench.processes import running
from bench.site import Site

NAME = "sink"
LEAST_RATE = 5000
CONNECTIONS = 4
TIMES_MAILS = 2
REPLY_SECONDS = 0.02
MAILS_WITH_LATENCY = 20
BLAST_SECONDS = 300


def measure(site: Site, figures: Figures) -> None:
    count = site.sizes.mails * TIMES_MAILS
    for key, label, is_pipelined in (
        ("plain", "command by command", False),
        ("pipelined", "pipelined", True),
    ):
        rate = _blast(site, count=count, connections=CONNECTIONS, is_pipelined=is_pipelined)
        figure = Figure(
            NAME,
            f"{NAME}.{key}",
            f"messages of a client that builds nothing, {label}",
            "mails/s",
            target=Target(LEAST_RATE),
        )
        figures.note(figure, rate)
    rate = _blast(site, count=MAILS_WITH_LATENCY, connections=1, is_pipelined=True, latency=REPLY_SECONDS)
    label = "two round trips with 20 ms to each reply"
    figures.note(Figure(NAME, f"{NAME}.latency", label, "ms", Better.LOWER, digits=1), 1000 / rate)


def _blast(site: Site, *, count: int, connections: int, is_pipelined: bool, latency: float = 0) -> float:
    with site.place("bare") as place:
        site.sink.reset(latency=latency)
        arguments = (site.sink.port, count, connections, int(is_pipelined))
        with running(place.process("-m", "bench.peers.blast", *map(str, arguments))) as process:
            process.wait(seconds=BLAST_SECONDS)
        accepted = site.sink.accepted()
        accepted.check(count, who="the client of the sink")
        return accepted.rate
