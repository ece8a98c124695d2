"""A fresh checkout for tests that start the whole site: without the data of the one that the tests run from."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from project.dev.postgres import EmbeddedPostgres
from tests.support.postgres import PREFIX
from tests.support.processes import CHECKOUT

PARTS = ("manage.py", "Procfile", "mailqueue", "project")


@contextmanager
def copy_of_the_checkout() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-checkout-"))
    try:
        for part in PARTS:
            if (CHECKOUT / part).is_dir():
                shutil.copytree(CHECKOUT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(CHECKOUT / part, folder / part)
        yield folder
    finally:
        EmbeddedPostgres(folder / ".postgres").stop("immediate")
        shutil.rmtree(folder, ignore_errors=True)
