"""A Redis for Celery: on a Unix socket in our folder, nothing kept on disk."""

import contextlib
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.processes import BrokenError

START_SECONDS = 15


@dataclass(frozen=True, slots=True)
class Broker:
    """A Redis that runs."""

    url: str
    socket: str

    def clear(self) -> None:
        """Forget everything that is queued."""
        import redis

        with redis.Redis(unix_socket_path=self.socket) as client:
            client.flushall()


@contextlib.contextmanager
def broker(folder: Path) -> Iterator[Broker | None]:
    """Run a Redis during the block; None where no redis-server is installed."""
    program = shutil.which("redis-server")
    if program is None:
        yield None
        return
    path = folder / "redis.sock"
    options = ["--port", "0", "--unixsocket", str(path), "--save", "", "--appendonly", "no", "--dir", str(folder)]
    with (folder / "redis.log").open("wb") as log:
        process = subprocess.Popen([program, *options], stdout=log, stderr=log, process_group=0)
    try:
        _wait_for(path)
        yield Broker(f"redis+socket://{path}", str(path))
    finally:
        process.terminate()
        process.wait()


def _wait_for(path: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not path.exists():
        if time.monotonic() > deadline:
            raise BrokenError("redis-server did not start")
        time.sleep(0.02)
