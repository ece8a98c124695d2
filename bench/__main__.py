"""`python -m bench [section …]`: runs the benchmark and prints its table."""

import argparse
import contextlib
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

from bench import machine, report
from bench.figures import Figures
from bench.options import FULL, SMALL, Options
from bench.postgres import server
from bench.processes import BrokenError
from bench.sections import SECTIONS
from bench.sink_client import sink
from bench.site import Site
from bench.table import table

RESULTS = Path(__file__).resolve().parent / "results"
NAMES = [section.name for section in SECTIONS]


def parse(arguments: Sequence[str]) -> Options:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure mailqueue beside its peers.")
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=f"of {', '.join(NAMES)}; without one: all")
    parser.add_argument("--runs", type=int, default=0, metavar="N", help="runs of everything (3; with --small 1)")
    parser.add_argument("--small", action="store_true", help="small counts: shows that all of it works")
    parser.add_argument("--mails", type=int, metavar="N", help="mails of a drain; memory and hot follow")
    parser.add_argument("--waiting", type=int, metavar="N", help="mails that wait while claims are timed")
    parser.add_argument(
        "--only", default="", metavar="KEY,…", help="contestants of the drains: mailqueue_1,bare_loop_1"
    )
    parser.add_argument("--no-pipelining", action="store_true", help="the SMTP server does not offer PIPELINING")
    parser.add_argument("--json", type=Path, metavar="PATH", help="where to write the figures as JSON")
    given = parser.parse_args(arguments)
    if unknown := set(given.sections) - set(NAMES):
        parser.error(f"there is no section {min(unknown)!r}; there are {', '.join(NAMES)}")
    sizes = SMALL if given.small else FULL
    if given.mails:
        sizes = sizes.with_mails(given.mails)
    if given.waiting:
        sizes = replace(sizes, waiting=given.waiting)
    return Options(
        sections=tuple(given.sections) or tuple(NAMES),
        only=tuple(filter(None, given.only.split(","))),
        is_small=given.small,
        has_pipelining=not given.no_pipelining,
        runs=given.runs or (1 if given.small else 3),
        sizes=sizes,
        json=given.json or RESULTS / f"{datetime.now(UTC):%Y-%m-%dT%H%M%S}.json",
    )


def run(options: Options, figures: Figures) -> dict[str, str]:
    """Measure everything and return what machine that was on. Ends every process that it starts."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mailqueue-bench-")))
        postgres = stack.enter_context(server(folder))
        site = Site(folder, postgres, stack.enter_context(sink()), options, stack)
        for figures.run in range(options.runs):
            for section in SECTIONS:
                if section.name in options.sections:
                    say(f"run {figures.run + 1} of {options.runs}: {section.title}")
                    section.measure(site, figures)
        return machine.describe(postgres=postgres.version())


def say(text: str) -> None:
    sys.stderr.write(f"{datetime.now(UTC):%H:%M:%S} {text}\n")


def stop(_number: int, _frame: FrameType | None) -> None:
    """The signal handler: what was started is ended, and nothing disturbs that."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def main(arguments: list[str]) -> int:
    options = parse(arguments)
    figures = Figures()
    at = datetime.now(UTC)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    titles = {section.name: section.title for section in SECTIONS}
    try:
        found = run(options, figures)
    except BrokenError as error:
        sys.stdout.write(table(figures, titles))
        sys.stderr.write(f"The benchmark is broken: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stdout.write(table(figures, titles))
        sys.stderr.write("Interrupted.\n")
        return 130
    sys.stdout.write(f"\n{', '.join(f'{name} {value}' for name, value in found.items())}; {at:%Y-%m-%d}\n\n")
    if options.is_small:
        sys.stdout.write("Small counts: that all of it works is all that this shows.\n\n")
    sys.stdout.write(table(figures, titles))
    report.write(options.json, figures, machine=found, at=at, arguments=arguments)
    sys.stdout.write(f"\nAs JSON: {options.json}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
