"""`mailqueue.send` and `mailqueue.send_many`: post_office's API, with keys and in bulk."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import fields
from datetime import datetime, timedelta
from typing import Any

from django.core.exceptions import ValidationError
from django.db import connections, router, transaction
from django.db.models import Model
from post_office.models import Email, EmailTemplate

from mailqueue.conf import configuration
from mailqueue.outbox.compose import Composer
from mailqueue.outbox.drafts import Draft, is_watched
from mailqueue.outbox.insert import complete, insert, insert_while_made
from mailqueue.outbox.messages import load_rows
from mailqueue.outbox.notice import announce, warn_of_other_transaction
from mailqueue.outbox.quick import Defaults, quick_draft
from mailqueue.outbox.request import Request, asks_nobody, digest_of
from mailqueue.queue.keys import fill_keys, take_keys

DEFAULTS = {entry.name: entry.default for entry in fields(Request)}
ARGUMENTS = tuple(DEFAULTS)
KNOWN = frozenset(ARGUMENTS)


def send(  # noqa: PLR0913, PLR0917 - the arguments are post_office's
    recipients: str | Iterable[str] | None = None,
    sender: str | None = None,
    template: EmailTemplate | str | None = None,
    context: Mapping[str, Any] | None = None,
    subject: str = "",
    message: str = "",
    html_message: str = "",
    scheduled_time: datetime | None = None,
    expires_at: datetime | None = None,
    headers: Mapping[str, str] | None = None,
    priority: str | int | None = None,
    attachments: Mapping[str, Any] | None = None,
    render_on_delivery: bool = False,
    log_level: int | None = None,
    *,
    cc: str | Iterable[str] | None = None,
    bcc: str | Iterable[str] | None = None,
    language: str = "",
    backend: str = "",
    key: str | None = None,
    ref: str | Model | None = None,
    sensitive: bool = False,
    expires_in: float | timedelta | None = None,
    unknown_outcome: str | None = None,
) -> Email | None:
    """Queue a mail in the caller's transaction and return its row.

    The arguments are those of `post_office.mail.send`, without `commit`; `log_level` means nothing here, because
    nothing is sent here: `priority="now"` is the top lane. What is new:

    - `key`: the mail is queued once, whoever calls. A second call waits for the transaction of the first one and
      returns the first mail, or None when that has been deleted since.
    - `ref`: what the mail is about, a text or a saved model instance.
    - `sensitive`: True for a mail whose content must not be kept or shown.
    - `expires_in`: seconds or a timedelta from now, by the database's clock, in place of `expires_at`.
    - `unknown_outcome`: "resend" or "hold", for this mail in place of the setting UNKNOWN_OUTCOME.

    `subject`, `message` and `html_message` are run as templates only when a `context` is given.

    After a crash, or an error of any kind, either all rows of the mail are written or none.

    Raises:
        ValidationError: an address is not valid, or the mail would expire before it is due.
        TypeError, ValueError: an argument is of the wrong type or holds a wrong value; the text names it.
        EmailTemplate.DoesNotExist, TemplateSyntaxError, …: a template is missing or can't be rendered.
        BadHeaderError, ValueError, …: what Django's SMTP backend would raise for this message.
        MessageTooLargeError: the mail is larger than MAX_MESSAGE_BYTES.
        DatabaseError: the rows could not be written.
    """
    (mail,) = _queue([_without_defaults(locals())], names_position=False)
    return mail


def send_many(kwargs_list: Iterable[Mapping[str, Any]]) -> list[Email | None]:
    """Queue a mail for each dict of arguments of `send`, all or none, and return their rows in the same order.

    The number of statements hardly depends on the number of mails. Of several with one key, the first is queued.

    Raises:
        whatever `send` raises; the error says which item it is about, counted from 0.
    """
    if isinstance(kwargs_list, Mapping | str):
        raise TypeError(f"send_many takes an iterable of dicts, not one {type(kwargs_list).__name__}.")
    return _queue(list(kwargs_list), names_position=True)


def _without_defaults(given: Mapping[str, Any]) -> dict[str, Any]:
    return {name: given[name] for name, default in DEFAULTS.items() if given[name] is not default}


def _queue(arguments: Sequence[Mapping[str, Any]], *, names_position: bool) -> list[Email | None]:
    using = router.db_for_write(Email)
    defaults = Defaults()
    if len(arguments) == 1 and (made := quick_draft(arguments[0], defaults)):
        warn_of_other_transaction(using)
        emails = insert([made], using=using)
        announce(emails, using=using)
        return list(emails)
    with ExitStack() as until_written:
        composer = Composer(using=using, until=until_written, defaults=defaults)
        making = _Making(arguments, composer, defaults=defaults, names_position=names_position)
        if len(arguments) > 1 and not is_watched() and all(map(asks_nobody, arguments)):
            defaults.read()
            warn_of_other_transaction(using)
            with transaction.atomic(using=using):
                written = insert_while_made(making.drafts(), count=len(arguments), using=using)
                making.check()
                emails = complete(written, using=using)
                announce(emails, using=using)
            return list(emails)
        drafts, digests = list(making.drafts()), making.digests
        making.check()
        warn_of_other_transaction(using)
        # One INSERT needs no transaction of its own.
        is_single = len(drafts) <= 1 and not any(digests) and not any(draft.has_extra_rows for draft in drafts)
        with nullcontext() if is_single else transaction.atomic(using=using):
            return _write(drafts, digests, using=using)


class _Making:
    """Makes the drafts of one call. An error is kept for later: it must not tear what is being written."""

    def __init__(
        self,
        arguments: Sequence[Mapping[str, Any]],
        composer: Composer,
        *,
        defaults: Defaults,
        names_position: bool,
    ) -> None:
        self.digests: list[str | None] = []
        self._arguments = arguments
        self._composer = composer
        self._defaults = defaults
        self._names_position = names_position
        self._error: Exception | None = None

    def drafts(self) -> Iterator[Draft]:
        """Give a draft for each mail, until one can't be made."""
        for position, given in enumerate(self._arguments):
            try:
                draft, digest = quick_draft(given, self._defaults), None
                if draft is None:
                    request = _request(given)
                    digest = digest_of(request)
                    draft = self._composer.compose(request)
            except Exception as error:  # noqa: BLE001 - it is raised by `check`
                if self._names_position:
                    _name_position(error, position)
                self._error = error
                return
            self.digests.append(digest)
            yield draft

    def check(self) -> None:
        """Raise what was wrong with a mail."""
        if self._error:
            try:
                raise self._error
            finally:
                self._error = None  # its traceback holds this very object


def _request(given: Any) -> Request:
    if not isinstance(given, Mapping):
        raise TypeError(f"the arguments of a mail are a dict, not {type(given).__name__}.")
    if not given.keys() <= KNOWN:
        unknown = next(name for name in given if name not in KNOWN)
        raise TypeError(f"send() has no argument {unknown!r}; there are: {', '.join(ARGUMENTS)}.")
    return Request(**given)


def _write(drafts: Sequence[Draft], digests: Sequence[str | None], *, using: str) -> list[Email | None]:
    held = _take([digest for digest in digests if digest], using=using)
    new: dict[str | int, Draft] = {}
    for position, (draft, digest) in enumerate(zip(drafts, digests, strict=True)):
        if digest not in held:
            new.setdefault(digest or position, draft)
    emails = insert(list(new.values()), using=using)
    if emails:
        _fill({digest: draft.email.pk for digest, draft in new.items() if isinstance(digest, str)}, using=using)
        announce(emails, using=using)
    first = load_rows([email_id for email_id in held.values() if email_id], using=using) if held else {}
    return [
        first.get(held[digest] or 0) if digest in held else new[digest or position].email
        for position, digest in enumerate(digests)
    ]


def _take(digests: Sequence[str], *, using: str) -> dict[str | None, int | None]:
    if not digests:
        return {}
    with connections[using].cursor() as cursor:
        held = take_keys(cursor, digests, retention_days=configuration().KEY_RETENTION_DAYS)
    return dict(held.items())


def _fill(email_ids: Mapping[str, int], *, using: str) -> None:
    if email_ids:
        with connections[using].cursor() as cursor:
            fill_keys(cursor, email_ids)


def _name_position(error: Exception, position: int) -> None:
    """Let an error's text say which item of a list it is about."""
    where = f"item {position}"
    if isinstance(error, ValidationError) and hasattr(error, "message"):
        error.message = f"{where}: {error.message}"
    elif len(error.args) == 1 and isinstance(error.args[0], str):
        error.args = (f"{where}: {error.args[0]}",)
    else:
        error.add_note(where)
