"""Runs one job in a process with a contestant's settings: `python -m bench.job NAME ARGUMENTS-AS-JSON RESULT-FILE`."""

import json
import sys
from importlib import import_module
from pathlib import Path

import django


def main(name: str, arguments: str, result: str) -> None:
    django.setup()
    module, _, function = name.rpartition(".")
    found = getattr(import_module(f"bench.jobs.{module}"), function)(**json.loads(arguments))
    Path(result).write_text(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
