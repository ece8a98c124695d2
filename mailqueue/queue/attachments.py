"""Stored attachments: found again by their digest, and told apart from files that no committed row names."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

COPIES = 5
"""How many of the newest rows with one digest are looked at."""
LINKS = 20
"""How many of a row's newest links to mails are looked at. Where none will do, the content is stored once more."""

# The newest mail is the one that is purged last. A row may be shared by a million mails, all sensitive or all being
# deleted: <= inside, where = is meant, leaves only the unique index (attachment_id, email_id) to give the newest few
# in order, and never more of them. A sensitive mail won't do: it loses its attachments when it is sent.
FIND = f"""
SELECT wanted.digest, found.id, found.file, current_database(), 'post_office_attachment'::regclass::oid::bigint
FROM unnest(%s::text[]) AS wanted (digest)
LEFT JOIN LATERAL (
    SELECT a.id, a.file FROM (
        SELECT d.attachment_id FROM mailqueue_attachmentdigest d WHERE d.digest = wanted.digest
        ORDER BY d.attachment_id DESC LIMIT {COPIES}
    ) AS newest
    JOIN post_office_attachment a ON a.id = newest.attachment_id
    CROSS JOIN LATERAL (
        SELECT 1 FROM (
            SELECT id, attachment_id FROM post_office_attachment_emails
            WHERE attachment_id <= newest.attachment_id
            ORDER BY attachment_id DESC, email_id DESC LIMIT {LINKS}
        ) AS latest
        JOIN post_office_attachment_emails l ON l.id = latest.id
        JOIN post_office_email e ON e.id = l.email_id
        WHERE latest.attachment_id = newest.attachment_id
          AND NOT EXISTS (SELECT FROM mailqueue_mailoptions o WHERE o.email_id = l.email_id AND o.is_sensitive)
        ORDER BY l.email_id DESC LIMIT 1
        FOR KEY SHARE OF l, e SKIP LOCKED
    ) AS kept
    ORDER BY newest.attachment_id DESC LIMIT 1
    FOR KEY SHARE OF a SKIP LOCKED
) AS found ON true
"""

HOME = "SELECT current_database(), 'post_office_attachment'::regclass::oid::bigint"
CLUSTER = "SELECT system_identifier, timeline_id FROM pg_control_system(), pg_control_checkpoint()"

KNOWN = """
SELECT DISTINCT substring(file FROM %s) FROM post_office_attachment WHERE substring(file FROM %s) = ANY(%s)
"""


@dataclass(frozen=True, slots=True)
class Home:
    """Where the rows of attachments are: a copy of the database, or another schema of it, has another table."""

    database: str
    table: int


@dataclass(frozen=True, slots=True)
class Stored:
    """A row that may be shared, and its file."""

    attachment_id: int
    file: str


def find_stored(cursor: Any, digests: Sequence[str]) -> tuple[dict[str, Stored], Home]:
    """Find rows by digest (at least one is asked for) that some mail has, and lock that mail against deletion.

    post_office removes attachments that no mail has, the file first. What is found here belongs to a mail until this
    transaction ends, and then to the mail that it was found for as well. Nobody is waited for: a row whose mail
    somebody is deleting is not found. The locks keep no sender from claiming or settling that mail.
    """
    cursor.execute(FIND, [list(digests)])
    rows = cursor.fetchall()
    found = {digest: Stored(number, file) for digest, number, file, _, _ in rows if number is not None}
    return found, Home(*rows[0][3:])


def read_home(cursor: Any) -> Home:
    """Say where the rows of attachments are."""
    cursor.execute(HOME)
    return Home(*cursor.fetchone())


def read_clock(cursor: Any) -> datetime:
    """Return the database's time, in UTC whatever USE_TZ says."""
    cursor.execute("SELECT extract(epoch FROM clock_timestamp())::float8")
    return datetime.fromtimestamp(cursor.fetchone()[0], UTC)


def read_cluster(cursor: Any) -> str:
    """Name the cluster. What was restored or promoted from it bears another name.

    Raises:
        DatabaseError: this server, or this role's rights, do not allow to ask.
    """
    cursor.execute(CLUSTER)
    return ":".join(map(str, cursor.fetchone()))


def known_files(cursor: Any, *, pattern: str, stems: Collection[str]) -> set[str]:
    """Return those of the parts of file names that some row names; `pattern` cuts that part out of a name.

    There is no index on file names: each call reads the table of attachments once.
    """
    cursor.execute(KNOWN, [pattern, pattern, list(stems)])
    return {stem for (stem,) in cursor.fetchall()}
