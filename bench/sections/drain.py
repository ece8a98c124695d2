"""Drains: how fast a queue that is full is sent, what that costs, and how much memory it takes."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from bench.figures import Better, Figure, Figures, Target
from bench.laps import in_laps
from bench.peers.contestants import (
    Contestant,
    bare_loop,
    celery,
    mailqueue,
    post_office,
    post_office_tuned,
    raw_smtplib,
)
from bench.processes import READY, BrokenError, Process, running
from bench.sink_client import Accepted
from bench.site import Place, Site

READY_SECONDS = 120
DRAIN_SECONDS = 1800
FAST = "drain"
SLOW = "drain-20ms"
REPLY_SECONDS = 0.02
SHARE_WITH_LATENCY = 0.4
LEAST_MAILS = 50
MEGABYTE = 1_000_000

RATES = {
    f"{FAST}.mailqueue_1.rate": Target(1.8, of=f"{FAST}.bare_loop_1.rate"),
    f"{FAST}.mailqueue_2.rate": Target(2.0, of=f"{FAST}.post_office_tuned.rate"),
    f"{SLOW}.mailqueue_1.rate": Target(1.8, of=f"{SLOW}.bare_loop_1.rate"),
}
# 0.35 s where the bare loop took 0.65 s.
CPU = {f"{FAST}.mailqueue_1.cpu": Target(0.35 / 0.65, of=f"{FAST}.bare_loop_1.cpu")}
MEMORY = {f"{FAST}.mailqueue_{n}.memory": Target(90) for n in (1, 2)}


@dataclass(frozen=True, slots=True)
class Drained:
    """What one drain showed."""

    rate: float
    cpu_seconds: float
    """Of the sending processes, for 1,000 mails."""
    largest_bytes: int


def without_latency(site: Site, figures: Figures) -> None:
    """Drain into a server that answers at once."""
    contestants = [
        mailqueue(),
        bare_loop(),
        mailqueue(processes=2),
        post_office_tuned(),
        post_office(),
        celery("prefork", 2, "Celery + Redis, 2 worker processes"),
        bare_loop(processes=2),
        raw_smtplib(),
    ]
    for contestant in in_laps(contestants, site.sizes.laps):
        _note(site, figures, contestant, section=FAST, mails=site.sizes.mails / site.sizes.laps)


def with_latency(site: Site, figures: Figures) -> None:
    """Drain into a server that answers each command after 20 ms."""
    contestants = [
        mailqueue(),
        bare_loop(),
        post_office_tuned(),
        celery("threads", 16, "Celery + Redis, 16 worker threads"),
    ]
    laps = site.sizes.laps_with_latency
    mails = site.sizes.mails * SHARE_WITH_LATENCY / laps
    for contestant in in_laps(contestants, laps):
        _note(site, figures, contestant, section=SLOW, mails=mails, latency=REPLY_SECONDS)


def _note(
    site: Site, figures: Figures, contestant: Contestant, *, section: str, mails: float, latency: float = 0
) -> None:
    if site.options.only and contestant.key not in site.options.only:
        return
    start = f"{section}.{contestant.key}"
    rate = Figure(section, f"{start}.rate", contestant.label, "mails/s", target=RATES.get(f"{start}.rate"))
    if contestant.kind == "celery" and site.broker is None:
        figures.miss(rate, "no redis-server")
        return
    count = max(int(mails * contestant.share), LEAST_MAILS)
    drained = drain(site, contestant, count=count, latency=latency, subtracts_start=section == FAST)
    figures.note(rate, drained.rate)
    if section != FAST:
        return
    cpu, memory = f"{start}.cpu", f"{start}.memory"
    label = f"{contestant.label}: CPU per 1,000 mails"
    figures.note(
        Figure(section, cpu, label, "s", Better.LOWER, CPU.get(cpu), digits=2),
        drained.cpu_seconds,
    )
    label = f"{contestant.label}: memory of the largest process"
    figures.note(
        Figure(section, memory, label, "MB", Better.LOWER, MEMORY.get(memory)), drained.largest_bytes / MEGABYTE
    )


def nothing(_site: Site, _database: str) -> AbstractContextManager[None]:
    return nullcontext()


def drain(
    site: Site,
    contestant: Contestant,
    *,
    count: int,
    latency: float = 0,
    subtracts_start: bool = False,
    meanwhile: Callable[[Site, str], AbstractContextManager[None]] = nothing,
) -> Drained:
    """Queue so many mails, then start the contestant and let it send them.

    `subtracts_start` takes off the CPU what an empty run costs. `meanwhile` is what goes on in the database at the
    same time.

    Raises:
        BrokenError: it failed, or a mail was lost or doubled.
    """
    with site.place(contestant.kind, **contestant.settings) as place:
        if contestant.kind == "celery" and site.broker:
            site.broker.clear()
        site.sink.reset()
        empty_seconds = 0.0
        if subtracts_start and site.sizes.subtracts_empty_runs:
            empty_seconds = _run(site, place, contestant, count=0).cpu_seconds
        if contestant.fill:
            place.job(f"fill.{contestant.fill}", count=count)
        site.server.checkpoint()
        site.sink.reset(latency=latency, pipelining=site.options.has_pipelining)
        with meanwhile(site, place.database):
            process = _run(site, place, contestant, count=count)
        accepted = site.sink.accepted()
        _check(accepted, count, contestant, process)
        cpu = max(0.0, process.cpu_seconds - empty_seconds) * 1000 / count
        return Drained(accepted.rate, cpu, process.largest_bytes)


def _check(accepted: Accepted, count: int, contestant: Contestant, process: Process) -> None:
    try:
        accepted.check(count, who=contestant.label)
    except BrokenError as error:
        raise BrokenError(f"{error}\n{process.tail()}") from None


def _run(site: Site, place: Place, contestant: Contestant, *, count: int) -> Process:
    command = [part.format(count=count, folder=place.folder) for part in contestant.command]
    with running(place.process(*command)) as process:
        if contestant.is_worker:
            _stop_when_done(site, process, count)
        else:
            process.wait(seconds=DRAIN_SECONDS)
    return process


def _stop_when_done(site: Site, process: Process, count: int) -> None:
    """Let a worker run until it has sent everything; it must have started before it can be stopped in order."""
    process.wait_for_output(READY, seconds=READY_SECONDS)
    site.sink.wait_for(count, seconds=DRAIN_SECONDS, alive=process.check_alive)
    process.stop()
