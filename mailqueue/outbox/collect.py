"""`collect()`: which mail did this block write?"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

from post_office.models import Email

_collectors: ContextVar[tuple[list[Email], ...]] = ContextVar("mailqueue_collectors", default=())


@contextmanager
def collect() -> Iterator[list[Email]]:
    """Give the list of `Email` rows that are queued inside the block, by whatever API, in the order of writing.

    The list is filled as the block runs. It says what was written, not what was committed: after a rollback the rows
    in it do not exist. Blocks may be nested; each sees what is written inside it. Other threads and tasks have their
    own.

        with transaction.atomic(), mailqueue.collect() as mails:
            order.save()
            send_mail(…)
            order.mail = mails[0]
    """
    rows: list[Email] = []
    token = _collectors.set((*_collectors.get(), rows))
    try:
        yield rows
    finally:
        _collectors.reset(token)


def remember(emails: Sequence[Email]) -> None:
    """Add rows to every block that is open here."""
    for rows in _collectors.get():
        rows.extend(emails)
