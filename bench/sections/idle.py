"""A sender at rest: what it asks of the database, and what it takes of a core."""

import re
import time

from bench.figures import Better, Figure, Figures, Target
from bench.senders import sender
from bench.site import Site

NAME = "idle"
MOST_STATEMENTS = 30
MOST_OF_A_CORE = 0.3
SETTLE_SECONDS = 5
"""So long after its start and its first mail a sender has come to rest."""


def measure(site: Site, figures: Figures) -> None:
    statements = Figure(
        NAME, f"{NAME}.statements", "statements a minute", "", Better.LOWER, Target(MOST_STATEMENTS), digits=1
    )
    cpu = Figure(NAME, f"{NAME}.cpu", "share of a core", "%", Better.LOWER, Target(MOST_OF_A_CORE), digits=2)
    seconds = site.sizes.idle_seconds
    with site.place("mailqueue") as place:
        if site.server.log is not None:
            with site.server.connect() as connection:
                connection.execute(f"ALTER DATABASE {place.database} SET log_statement = 'all'")
        with sender(site, place) as process:
            time.sleep(SETTLE_SECONDS)
            counted, used = _count(site, place.database), process.cpu_so_far()
            time.sleep(seconds)
            counted, used = _count(site, place.database) - counted, process.cpu_so_far() - used
    figures.note(cpu, used / seconds * 100)
    if site.server.log is None:
        figures.miss(statements, "the log of the server of BENCH_DATABASE_URL can't be read")
    else:
        figures.note(statements, counted * 60 / seconds)


def _count(site: Site, database: str) -> int:
    log = site.server.log
    return 0 if log is None else count_statements(log.read_text(errors="replace"), database)


def count_statements(log: str, database: str) -> int:
    """Count the statements that sessions of that database have sent, BEGIN and COMMIT included."""
    return len(re.findall(rf"^\d+ {re.escape(database)} LOG:  (?:statement|execute [^:]*):", log, re.MULTILINE))
