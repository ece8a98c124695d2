"""What Postgres does with a statement of the queue: which indexes it takes, and how much it reads."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from django.db import connection

from mailqueue.queue.claim import statement
from mailqueue.queue.lanes import READ_ALL, READ_KNOWN, START, Position
from mailqueue.queue.mails import READ as READ_MAILS
from mailqueue.queue.settle import CLOSE, RETRY, STOP
from mailqueue.queue.start import EXPIRED, REFUSED
from mailqueue.queue.start import START as MARK_STARTED
from mailqueue.queue.unknown import RESEND
from mailqueue.queue.usual import USUAL
from mailqueue.queue.work import PLANNING

Parameters = Sequence[Any] | Mapping[str, Any]
EMAILS = "post_office_email"


def claim_parameters(limit: int = 50, *, begin: Position = START, priority: int = 1) -> list[Any]:
    scans = [value for alias in ("", "default") for value in (alias, priority, begin.due, begin.id, False, limit)]
    early = [value for alias in ("", "default") for value in (alias, priority, False, limit)]
    return [*scans, *early, limit, "host.1.a", "default", 60.0]


def known_parameters(*, begin: Position = START) -> dict[str, Any]:
    lanes = [(alias, priority) for alias in ("", "default") for priority in range(4)]
    return {
        "aliases": [alias for alias, _ in lanes],
        "priorities": [priority for _, priority in lanes],
        "dues": [begin.due] * len(lanes),
        "ids": [begin.id] * len(lanes),
        "forgiven": 3600,
    }


STATEMENTS: dict[str, tuple[str, Parameters]] = {
    "claim": (statement(2), claim_parameters()),
    "claim alone": (statement(2, is_alone=True), claim_parameters()),
    "all lanes": (READ_ALL, {"forgiven": 3600}),
    "known lanes": (READ_KNOWN, known_parameters()),
}

START_PARAMETERS = {
    "ids": "{1}",
    "sender": "host.1.a",
    "lease": 60.0,
    "margin": 15.0,
    "refused_for": 3600,
}
GIVEN = {"given": json.dumps([{"id": 1, "is_sent": True}])}
OF_EACH_MAIL: dict[str, tuple[str, Parameters]] = {
    "settle": (CLOSE, GIVEN),
    "usual turn": (USUAL, START_PARAMETERS | GIVEN | {"email_ids": "{1}"}),
    "start": (MARK_STARTED, START_PARAMETERS),
    "mails": (READ_MAILS, [[1]]),
    "retry": (RETRY, {"ids": [1], "delays": [1.0], "counted": [True], "unknown": [False]}),
    "stop": (STOP, [[1], ["failed"], [""], [""]]),
    "refused": (REFUSED, START_PARAMETERS | {"ids": [1]}),
    "expired": (EXPIRED, START_PARAMETERS | {"ids": [1]}),
    "resend": (RESEND, [1.0, [1]]),
}
"""What is said in a turn about a few mails that are named by their ids."""


@dataclass(frozen=True)
class Node:
    """One scan of a plan."""

    kind: str
    index: str
    table: str
    condition: str
    filtered_count: float
    """Rows that were read and not wanted, all loops together."""


@dataclass(frozen=True)
class Plan:
    """A plan that was carried out, and undone."""

    scans: list[Node]
    buffer_count: int

    def of(self, table: str) -> list[Node]:
        return [scan for scan in self.scans if scan.table == table]


def carried_out(sql: str, parameters: Parameters, *, is_generic: bool = False) -> Plan:
    """Run a statement as the sender would, with its own values or prepared for any, and return what Postgres did."""
    with connection.cursor() as cursor:
        cursor.execute("SAVEPOINT plan")
        cursor.execute("; ".join(f"SET LOCAL {name} = '{value}'" for name, value in PLANNING.items()))
        if is_generic:
            text, values = _numbered(sql, parameters)
            cursor.execute(f"PREPARE mailqueue_trial AS {text}")
            given = f"({', '.join(['%s'] * len(values))})" if values else ""
            cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT json) EXECUTE mailqueue_trial {given}", values)
        else:
            cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT json) {sql}", parameters)
        (found,) = cursor.fetchone()
        cursor.execute("ROLLBACK TO plan")
        if is_generic:
            cursor.execute("DEALLOCATE mailqueue_trial")
    root = (json.loads(found) if isinstance(found, str) else found)[0]["Plan"]
    return Plan(list(_scans(root)), root["Shared Hit Blocks"] + root["Shared Read Blocks"])


def rows_read(sql: str, parameters: Parameters | None = None) -> float:
    """Run a statement and return how many rows of mails it read, wanted or not."""
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", parameters)
        (found,) = cursor.fetchone()
    root = (json.loads(found) if isinstance(found, str) else found)[0]["Plan"]
    return _rows(root)


def _rows(node: dict[str, Any]) -> float:
    own = 0.0
    if node.get("Relation Name") == EMAILS:
        own = (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
    return own + sum(_rows(child) for child in node.get("Plans", ()))


def _scans(node: dict[str, Any]) -> Iterator[Node]:
    if "Relation Name" in node and "Scan" in node["Node Type"]:
        yield Node(
            node["Node Type"],
            node.get("Index Name", ""),
            node["Relation Name"],
            node.get("Index Cond", ""),
            node.get("Rows Removed by Filter", 0) * node["Actual Loops"],
        )
    for child in node.get("Plans", ()):
        yield from _scans(child)


def _numbered(sql: str, parameters: Parameters) -> tuple[str, list[Any]]:
    """Return the statement with parameters as the server knows them, and their values in that order."""
    numbers = count(1)
    named: dict[str, int] = {}

    def number(match: re.Match[str]) -> str:
        if match[1] is None:
            return f"${next(numbers)}"
        return f"${named.setdefault(match[1], len(named) + 1)}"

    text = re.sub(r"%(?:\((\w+)\))?s", number, sql)
    return text, [parameters[name] for name in named] if isinstance(parameters, Mapping) else list(parameters)
