"""The tag in the names of attachment files: which table of which database they were written for."""

import hashlib
import time

from django.db import DatabaseError, OperationalError, connections, transaction

from mailqueue.queue.attachments import Home, read_cluster

REMEMBER_SECONDS = 3600
"""How long the name of the cluster is taken for granted: it changes when a standby takes over."""

_clusters: dict[str, tuple[float, str]] = {}


def tag_of(home: Home, *, using: str) -> str:
    """Return the tag of the files of this database, or "" when the database does not say which one it is.

    A dump that was restored elsewhere, another schema, and a standby that was promoted have other tags. A copy of the
    bare data folder has the same.
    """
    cluster = _cluster(using)
    if not cluster:
        return ""
    return hashlib.sha256(f"{cluster}:{home.database}:{home.table}".encode()).hexdigest()[:12]


def _cluster(using: str) -> str:
    asked_at, name = _clusters.get(using, (0.0, ""))
    if using in _clusters and time.monotonic() - asked_at < REMEMBER_SECONDS:
        return name
    try:
        with transaction.atomic(using=using), connections[using].cursor() as cursor:
            name = read_cluster(cursor)
    except OperationalError:
        return ""  # of the moment: asked again next time
    except DatabaseError:
        name = ""
    _clusters[using] = (time.monotonic(), name)
    return name
