"""One transaction of a sender: it waits for nobody for long, and its errors are told apart."""

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol

import psycopg
from django.db import Error, InterfaceError, OperationalError, connections, transaction

LOCK_TIMEOUT = "500ms"
"""How long a sender waits for a row that somebody else has locked: a console left open must not stop the mail."""
IDLE_TIMEOUT = "10s"
"""How long a sender that was stopped, or cut off, in a transaction may keep rows locked: the server ends it then."""
PLANNING = {"enable_seqscan": "off", "enable_bitmapscan": "off", "jit": "off", "plan_cache_mode": "force_generic_plan"}
"""A plan that was made and kept while the tables were all but empty must serve when they are full."""
FIRST_PLANS = (10, 100)
PLANS_LAST = 1_000
"""After so many transactions the statements are planned anew."""

DATABASE_CLASSES = frozenset({"08", "0A", "25", "26", "40", "42", "53", "57", "58"})
"""SQLSTATE classes that are about the database as a whole: connection, read-only, deadlock, missing tables, full; and
statements that were prepared before a migration changed what they give (0A), or by another connection (26)."""
CANCELLED_STATEMENT = "57014"
NEVER_BY_ITSELF = 1_000_000_000
"""How often a statement is executed before psycopg prepares it unasked."""


class Watch(Protocol):
    """Looks after statements that get no answer: a connection may be dead without anybody saying so."""

    def over(self, connection: Any) -> AbstractContextManager[None]:
        """Watch this connection of Django's for the time of the block."""
        ...


_watch: ContextVar[Watch | None] = ContextVar("mailqueue_watch", default=None)


@contextmanager
def watched_by(watch: Watch) -> Iterator[None]:
    """Within, in this thread, have somebody watch every transaction of a sender."""
    token = _watch.set(watch)
    try:
        yield
    finally:
        _watch.reset(token)


def watching(using: str) -> AbstractContextManager[None]:
    """Have what this thread asks that database watched, if there is anybody who watches."""
    watch = _watch.get()
    return nullcontext() if watch is None else watch.over(connections[using])


class Statements:
    """A cursor that has the server prepare what it executes: parsed and planned once for the life of a connection."""

    def __init__(self, connection: Any) -> None:
        self.db = connection
        """Django's connection."""
        self._cursor = psycopg.Cursor(connection.connection)

    def execute(self, sql: str, parameters: Any = None) -> None:
        with self.db.wrap_database_errors:
            self._cursor.execute(sql.encode(), parameters, prepare=True)  # bytes: psycopg takes no made-up str for SQL

    def fetchone(self) -> Any:
        with self.db.wrap_database_errors:  # it is here that values are read, and some can't be
            return self._cursor.fetchone()

    def fetchall(self) -> list[Any]:
        with self.db.wrap_database_errors:
            return self._cursor.fetchall()

    @property
    def rowcount(self) -> int:
        return self._cursor.rowcount


def _settings(scope: str, *, lock_timeout: str) -> str:
    wanted = {"lock_timeout": lock_timeout, "idle_in_transaction_session_timeout": IDLE_TIMEOUT} | PLANNING
    return "; ".join(f"SET {scope} {name} = '{value}'" for name, value in wanted.items())


@dataclass
class Direct:
    """The connection (psycopg's) of this thread that no pooler shares out among others."""

    using: str
    raw: Any
    transaction_count: int = 0

    @property
    def is_to_plan_anew(self) -> bool:
        """Whether the tables may have grown since the statements were planned: they were empty once."""
        return self.transaction_count in FIRST_PLANS or self.transaction_count % PLANS_LAST == 0


class Own(threading.local):
    """What is each thread's own. A context would not do: who starts a thread may hand on a copy of his."""

    direct: Direct | None = None


own = Own()


def settle_in(using: str) -> bool:
    """Connect, and have this thread work on that connection in the fastest way if it is the server's own session.

    Then statements are prepared and the time-outs are set once. Behind a pooler both would be somebody else's as
    well; such a connection has been given another process number than the server's. Returns whether it is direct.
    """
    own.direct = None
    connection = connections[using]
    if connection.settings_dict.get("DISABLE_SERVER_SIDE_CURSORS"):
        return False
    with watching(using), connection.cursor() as cursor:
        raw: Any = connection.connection
        cursor.execute("SELECT pg_backend_pid()")
        if cursor.fetchone() != (raw.info.backend_pid,):
            return False
        cursor.execute(_settings("SESSION", lock_timeout=LOCK_TIMEOUT))
    # Django's own statements are not prepared: it never asks for it, and none is repeated so often.
    raw.prepare_threshold = NEVER_BY_ITSELF
    own.direct = Direct(using, raw)
    return True


def _direct_on(connection: Any) -> Direct | None:
    direct = own.direct
    return direct if direct is not None and direct.raw is connection.connection else None


def _settle_in_again(using: str) -> None:
    """Connect as before where the connection has been lost since then."""
    direct = own.direct
    if direct is not None and direct.using == using and direct.raw.closed and not connections[using].in_atomic_block:
        connections[using].close()
        settle_in(using)


@contextmanager
def work(using: str, *, lock_timeout: str = LOCK_TIMEOUT) -> Iterator[Any]:
    """Open a transaction and give a cursor on it."""
    _settle_in_again(using)
    connection: Any = connections[using]
    with watching(using), transaction.atomic(using=using):
        if lock_timeout == LOCK_TIMEOUT and (direct := _direct_on(connection)):
            yield _statements(connection, direct)
            return
        with connection.cursor() as cursor:
            cursor.execute(_settings("LOCAL", lock_timeout=lock_timeout))
            yield cursor


def _statements(connection: Any, direct: Direct) -> Statements:
    statements = Statements(connection)
    direct.transaction_count += 1
    if direct.is_to_plan_anew:
        statements.execute("DISCARD PLANS")
    return statements


@contextmanager
def glance(using: str) -> Iterator[Any]:
    """Give a cursor for single statements that are each a transaction by themselves."""
    _settle_in_again(using)
    connection: Any = connections[using]
    direct = _direct_on(connection)
    if direct is None:
        with work(using) as cursor:
            yield cursor
        return
    try:
        with watching(using):
            yield _statements(connection, direct)
    except Error:
        if direct.raw.closed:
            connection.close()  # as Django does at the end of a transaction: what comes next gets another one
        raise


def is_databases_trouble(error: Exception) -> bool:
    """Say whether a new connection, or time, may help; else it is some row that can't be worked on."""
    if not isinstance(error, Error) or is_out_of_memory(error):
        return False
    state = getattr(error.__cause__, "sqlstate", None)
    if state is None:
        return isinstance(error, OperationalError | InterfaceError)
    return state[:2] in DATABASE_CLASSES and state != CANCELLED_STATEMENT


def is_out_of_memory(error: Exception) -> bool:
    """Say whether this process has no memory for what it asked for. libpq says so in words alone."""
    is_libpqs = isinstance(error, Error) and getattr(error.__cause__, "sqlstate", None) is None
    words = ("out of memory", "cannot allocate memory")
    return isinstance(error, MemoryError) or (is_libpqs and any(word in str(error).lower() for word in words))


def is_locked(error: Exception) -> bool:
    """Say whether somebody else holds a row that was needed (SQLSTATE lock_not_available)."""
    return getattr(error.__cause__, "sqlstate", None) == "55P03"
