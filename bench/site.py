"""Where the contestants run: the databases, the sink, the broker, and the environment of their processes."""

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any

from bench.broker import Broker, broker
from bench.options import Options, Sizes
from bench.postgres import Server
from bench.processes import Process, running
from bench.sink_client import Sink

CHECKOUT = Path(__file__).resolve().parent.parent
JOB_SECONDS = 1800
INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ")


@dataclass(slots=True)
class Place:
    """One contestant's site for one run: its database, its folder, and their environment."""

    database: str
    environment: dict[str, str]
    folder: Path
    _numbers: Iterator[int] = field(default_factory=count)

    def process(self, *arguments: str, changes: Mapping[str, str] | None = None, is_asked: bool = False) -> Process:
        """Return a process of this site that runs Python with these arguments."""
        output = self.folder / f"output-{next(self._numbers)}"
        return Process((sys.executable, *arguments), {**self.environment, **(changes or {})}, output, is_asked)

    def run(self, *arguments: str) -> Process:
        """Run Python with these arguments to its end."""
        with running(self.process(*arguments)) as process:
            process.wait(seconds=JOB_SECONDS)
        return process

    def job_process(self, name: str, *, is_asked: bool = False, **given: Any) -> Process:
        """Return a process that runs a job of `bench.jobs`."""
        result = self.folder / f"result-{next(self._numbers)}"
        return self.process("-m", "bench.job", name, json.dumps(given), str(result), is_asked=is_asked)

    def result_of(self, process: Process) -> Any:
        """Return what a job has found that ran to its end."""
        return json.loads(Path(process.command[-1]).read_text())

    def job(self, name: str, **given: Any) -> Any:
        """Run a job to its end and return what it found."""
        with running(self.job_process(name, **given)) as process:
            process.wait(seconds=JOB_SECONDS)
        return self.result_of(process)


@dataclass
class Site:
    """All that the sections work with."""

    folder: Path
    server: Server
    sink: Sink
    options: Options
    stack: contextlib.ExitStack
    templates: dict[str, str] = field(default_factory=dict)
    kept: dict[str, Place] = field(default_factory=dict)
    """Places that stay for the next run."""
    _numbers: Iterator[int] = field(default_factory=count)

    @property
    def sizes(self) -> Sizes:
        return self.options.sizes

    @cached_property
    def broker(self) -> Broker | None:
        """A Redis of our own; None where there is no redis-server."""
        return self.stack.enter_context(broker(self.folder))

    @contextlib.contextmanager
    def place(self, kind: str, **settings: Any) -> Iterator[Place]:
        """Give a fresh site of that kind (a module of `bench.settings`) during the block."""
        with self.server.database(self._template(kind)) as database:
            yield self._place(kind, database, settings)

    def _template(self, kind: str) -> str:
        """Return the name of the database with that kind's tables, made when first asked for."""
        if kind not in self.templates:
            database = self.stack.enter_context(self.server.database())
            self._place(kind, database, {}).run("-m", "django", "migrate", "--run-syncdb", "--verbosity", "0")
            self.templates[kind] = database
        return self.templates[kind]

    def _place(self, kind: str, database: str, settings: Mapping[str, Any]) -> Place:
        folder = self.folder / f"{kind}-{next(self._numbers)}"
        folder.mkdir()
        environment = {name: os.environ[name] for name in INHERITED if name in os.environ}
        environment |= {
            "PYTHONPATH": str(CHECKOUT),
            "DJANGO_SETTINGS_MODULE": f"bench.settings.{kind}",
            "BENCH_DATABASE": self.server.url_of(database),
            "BENCH_SMTP_PORT": str(self.sink.port),
            "BENCH_FOLDER": str(folder),
            "BENCH_SETTINGS": json.dumps(settings),
        }
        if kind == "celery" and self.broker:
            environment["BENCH_BROKER"] = self.broker.url
        return Place(database, environment, folder)
