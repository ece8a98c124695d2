"""Lets a site's tests queue mail as the site does, and look at what is queued and what was sent.

Django's test runner puts a mailbox in memory in place of every mail backend: nothing would reach the queue.
"""

import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from email.utils import parseaddr
from functools import cached_property
from typing import Any
from unittest.mock import patch

from django.conf import settings
from django.core import mail
from django.core.mail import EmailMessage
from django.db import router
from django.test import override_settings
from django.utils.module_loading import import_string
from post_office import settings as post_office
from post_office.models import STATUS, Email

from mailqueue.outbox.messages import letter_of, load_rows, recipients_of
from mailqueue.testing.draining import Drained, drain
from mailqueue.testing.smtp_server import SmtpServer

QUEUE = "mailqueue.EmailBackend"
IN_MEMORY = "django.core.mail.backends.locmem.EmailBackend"
SMTP = "django.core.mail.backends.smtp.EmailBackend"
QUEUES = (QUEUE, "post_office.EmailBackend")
APART = "mailqueue.AutonomousEmailBackend"


@dataclass(frozen=True)
class QueuedMail:
    """One mail that waits in the queue."""

    email: Email
    """The row, for `mailqueue.state`, `cancel` and so on."""

    @cached_property
    def recipients(self) -> tuple[str, ...]:
        """The envelope: everybody who is to get it, Bcc among them."""
        return tuple(recipients_of(self.email))

    @cached_property
    def message(self) -> EmailMessage:
        """The message as it will be delivered, built now; raises what building it raises."""
        return letter_of(self.email, recipients=list(self.recipients)).build()

    @property
    def subject(self) -> str:
        """The subject of the message."""
        return str(self.message.subject)

    @property
    def body(self) -> str:
        """The text of the message."""
        return str(self.message.body)

    def goes_to(self, address: str) -> bool:
        """Whether this address is among the recipients."""
        return _bare(address) in map(_bare, self.recipients)

    def __repr__(self) -> str:
        return f"<QueuedMail {self.email.pk} {self.email.subject!r} to {', '.join(self.recipients)}>"


class Outbox:
    """The site's outbox in a test: what waits, what was sent, and a way to send it."""

    @property
    def queued(self) -> list[QueuedMail]:
        """All mail that waits, also for its time or its next try, in the order in which it was queued."""
        using = router.db_for_write(Email)
        waiting = Email.objects.using(using).filter(status__in=(STATUS.queued, STATUS.requeued))
        pks = list(waiting.order_by("pk").values_list("pk", flat=True))
        mails = load_rows(pks, using=using)
        return [QueuedMail(mails[pk]) for pk in pks]

    def to(self, address: str) -> list[QueuedMail]:
        """Return the mail that waits for this recipient; upper and lower case are the same."""
        return [queued for queued in self.queued if queued.goes_to(address)]

    @property
    def sent(self) -> list[EmailMessage]:
        """What was delivered to Django's mailbox in memory (`django.core.mail.outbox`), in the order of delivery."""
        return list(getattr(mail, "outbox", []))

    def drain(self, *, limit: int | None = None, seconds: float = 30.0, concurrency: int = 1) -> Drained:
        """Send all that is due: `mailqueue.testing.drain`."""
        return drain(limit=limit, seconds=seconds, concurrency=concurrency)


@contextmanager
def queueing(*, backend: str = IN_MEMORY, server: SmtpServer | None = None) -> Iterator[Outbox]:
    """Let Django's mail API write to the outbox, as it does on the site, and deliver by `backend` or to `server`.

    `backend` is the dotted path of a Django backend; without one, mail is delivered to `django.core.mail.outbox`.
    Given a `server`, it is delivered there by SMTP, logged in as the first of its users, and its certificate is
    trusted. Settings are back to what they were at the end of the block.
    """
    override = override_settings(**queueing_settings(backend=backend, server=server))
    with trusting(server):
        quietly(override.enable)
        try:
            yield Outbox()
        finally:
            quietly(override.disable)


def queueing_settings(*, backend: str = IN_MEMORY, server: SmtpServer | None = None) -> dict[str, Any]:
    """Return the settings of `queueing`."""
    path, options = (SMTP, _options(server)) if server else (backend, {})
    use_mailers = post_office.mailers_are_configured()
    return _mailers(path, options) if use_mailers else _legacy_settings(path, options)


def trusting(server: SmtpServer | None) -> AbstractContextManager[Any]:
    """Let TLS trust the server's certificate: OpenSSL reads this when a connection is made."""
    if server is None or not server.tls:
        return nullcontext()
    return patch.dict(os.environ, {"SSL_CERT_FILE": str(server.certificate_path)})


def quietly(act: Callable[[], None]) -> None:
    """Change settings without being told that some of them are to go: they are the site's own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        act()


def _options(server: SmtpServer) -> dict[str, Any]:
    user, password = next(iter(server.users.items()), ("", ""))
    return {
        "host": server.host,
        "port": server.port,
        "username": user,
        "password": password,
        "use_tls": server.tls == "starttls",
        "use_ssl": server.tls == "implicit",
    }


def _mailers(path: str, options: dict[str, Any]) -> dict[str, Any]:
    """Return settings where the aliases that queue on the site do so, and all others deliver by this backend."""
    present, own = settings.MAILERS, _own("MAILERS", {})
    known = {alias: own.get(alias, config) for alias, config in present.items()}
    delivering = {"BACKEND": path, "OPTIONS": options}
    mailers = {alias: _queue(config) or delivering for alias, config in known.items()}
    if mailers.get("default", delivering) is delivering:
        mailers["default"] = {"BACKEND": QUEUE}
    default = post_office.get_default_mailer()
    if mailers.get(default) is not delivering:
        default = next((alias for alias, config in mailers.items() if config is delivering), "delivering")
        mailers[default] = delivering
    return {"MAILERS": mailers, "POST_OFFICE": {**post_office.get_config(), "DEFAULT_MAILER": default}}


def _queue(config: dict[str, Any]) -> dict[str, Any] | None:
    """Return the configuration of a mailer that queues; None for one that delivers.

    A mailer that writes by a connection of its own does so in the test's transaction: what it wrote would stay.
    """
    path = config.get("BACKEND", SMTP)
    if not _queues(path):
        return None
    return {**config, "BACKEND": QUEUE} if _is_subclass(path, APART) else config


def _legacy_settings(path: str, options: dict[str, Any]) -> dict[str, Any]:
    own = _own("EMAIL_BACKEND", "")
    config = post_office.get_config()
    aliases = config.get("BACKENDS") or ("default",)
    return {
        "EMAIL_BACKEND": own if own and _queues(own) and not _is_subclass(own, APART) else QUEUE,
        "POST_OFFICE": {**config, "BACKENDS": dict.fromkeys(aliases, path)},
        **{_setting(name): value for name, value in options.items()},
    }


def _setting(option: str) -> str:
    return {"username": "EMAIL_HOST_USER", "password": "EMAIL_HOST_PASSWORD"}.get(option, f"EMAIL_{option.upper()}")


def _own(name: str, default: Any) -> Any:
    """Return what the site's settings module says, whatever a test runner has put in its place."""
    module = sys.modules.get(getattr(settings, "SETTINGS_MODULE", ""))
    return getattr(module, name, default)


def _queues(path: str) -> bool:
    return any(_is_subclass(path, queue) for queue in QUEUES)


def _is_subclass(path: str, other: str) -> bool:
    candidate = import_string(path)
    return isinstance(candidate, type) and issubclass(candidate, import_string(other))


def _bare(address: str) -> str:
    return parseaddr(address)[1].casefold()
