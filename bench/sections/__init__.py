"""The parts of the benchmark, one file each."""

from collections.abc import Callable
from dataclasses import dataclass

from bench.figures import Figures
from bench.sections import claim, drain, enqueue, hot, idle, latency, memory, server
from bench.site import Site


@dataclass(frozen=True, slots=True)
class Section:
    """One part: what the command line calls it, what the table says above it, and what measures it once."""

    name: str
    title: str
    measure: Callable[[Site, Figures], None]


SECTIONS = (
    Section(server.NAME, "The SMTP server of the benchmark by itself", server.measure),
    Section(drain.FAST, "Drain, a server that answers at once", drain.without_latency),
    Section(drain.SLOW, "Drain, 20 ms to each reply, 16 connections", drain.with_latency),
    Section(enqueue.NAME, "Enqueueing", enqueue.measure),
    Section(latency.NAME, "Latency, a sender that has nothing else to do", latency.measure),
    Section(claim.NAME, "A long queue", claim.measure),
    Section(hot.NAME, "Hot mail behind a bulk", hot.measure),
    Section(memory.NAME, "Memory of a sender over many mails", memory.measure),
    Section(idle.NAME, "A sender at rest", idle.measure),
)
