"""Which backends deliver: their aliases, the rows that mean them, and a carrier for each."""

import threading
import warnings
from typing import Any, TypeAlias

from django.conf import settings
from django.core.mail.backends.base import BaseEmailBackend
from django.core.mail.backends.smtp import EmailBackend as SmtpBackend
from django.utils.module_loading import import_string
from post_office import settings as post_office

from mailqueue.conf import configuration
from mailqueue.delivery.django_backend import DjangoCarrier
from mailqueue.delivery.project_rules import with_own_rules
from mailqueue.delivery.rules import Rule
from mailqueue.delivery.smtp import SmtpCarrier
from mailqueue.delivery.smtplib_traps import with_timeout
from mailqueue.reply_rules import ALL_BACKENDS

AnyCarrier: TypeAlias = SmtpCarrier | DjangoCarrier

_QUEUEING = ("mailqueue.EmailBackend", "post_office.EmailBackend")
_DRIVEN_BY_US = ("open", "close", "send_messages", "_send", "connection_class")
"""What an SMTP backend must not override for us to speak SMTP in its place."""

_construction = threading.Lock()


class BackendError(Exception):
    """A backend cannot be used; `alias` says which."""

    def __init__(self, alias: str, message: str) -> None:
        super().__init__(message)
        self.alias = alias


class BackendMissingError(BackendError):
    """No backend of this alias is configured."""

    def __init__(self, alias: str) -> None:
        known = ", ".join(repr(name) for name in configured_aliases()) or "none"
        setting = "MAILERS" if post_office.mailers_are_configured() else 'POST_OFFICE["BACKENDS"]'
        super().__init__(alias, f"The mail backend {alias!r} is not configured: add it to {setting} (there: {known}).")


class BackendUnusableError(BackendError):
    """The backend is configured, but cannot be made or delivers to the queue itself."""


def canonical(alias: str) -> str:
    """Give the alias that delivers what is queued under `alias`: "" means the default one.

    Where MAILERS is set, an alias that queues means the default one too, as in post_office.
    """
    default: str = post_office.get_default_mailer()
    if not alias:
        return default
    redirected = post_office.mailers_are_configured() and alias != default and delivers_to_itself(alias)
    return default if redirected else alias


def configured_aliases() -> list[str]:
    """The aliases of the delivering backends, one per lane, in the order of the settings."""
    known = post_office.get_backend_aliases()
    return [lane for lane in dict.fromkeys(canonical(alias) for alias in known) if lane in known]


def spellings(alias: str) -> tuple[str, ...]:
    """What stands as `backend_alias` in the rows of this lane."""
    lane = canonical(alias)
    others = (other for other in post_office.get_backend_aliases() if other != lane and canonical(other) == lane)
    default = ("",) if lane == canonical("") else ()
    return (lane, *default, *others)


def delivers_to_itself(alias: str) -> bool:
    """Say whether the alias is a backend that only queues, so that delivering through it would never end.

    False for an alias that is unknown or whose class cannot be imported: that is for others to report.
    """
    try:
        backend_class = import_string(class_path(alias or canonical("")))
    except Exception:  # noqa: BLE001 - a project's module may raise anything when it is imported
        return False
    return _is_subclass(backend_class, tuple(import_string(path) for path in _QUEUEING))


def carrier_for(alias: str) -> AnyCarrier:
    """Make a carrier for the backend that delivers this alias.

    Raises BackendMissingError for an alias that is not configured, BackendUnusableError where no backend comes of it.
    """
    lane = canonical(alias)
    if lane not in post_office.get_backend_aliases():
        raise BackendMissingError(lane)
    if delivers_to_itself(lane):
        raise BackendUnusableError(
            lane, f"The mail backend {lane!r} queues to mailqueue itself: name one that delivers."
        )
    backend = _make(lane)
    rules = _rules_of(lane)
    if isinstance(backend, SmtpBackend) and _is_plain(type(backend)):
        return SmtpCarrier(backend, rules=rules)
    return DjangoCarrier(lambda: with_timeout(_make(lane)), rules=rules)


def _rules_of(lane: str) -> tuple[Rule, ...]:
    """The rules of the project for this backend, those for all backends, and those that everybody has."""
    given = configuration().REPLY_RULES
    own = [rules for alias, rules in given.items() if alias != ALL_BACKENDS and canonical(alias) == lane]
    return with_own_rules([rule for rules in (*own, given.get(ALL_BACKENDS, ())) for rule in rules])


def class_path(alias: str) -> str:
    """Give the dotted path of the class that is configured for an alias."""
    if not post_office.mailers_are_configured():
        path: str = post_office.get_backend(alias)
        return path
    configured: str = settings.MAILERS[alias].get("BACKEND", "django.core.mail.backends.smtp.EmailBackend")
    return configured


def _make(alias: str) -> BaseEmailBackend:
    try:
        return _make_mailer(alias) if post_office.mailers_are_configured() else _make_legacy(class_path(alias))
    except Exception as error:
        raise BackendUnusableError(alias, f"The mail backend {alias!r} cannot be made: {error}") from error


def _make_mailer(alias: str) -> BaseEmailBackend:
    from django.core.mail import mailers

    backend: BaseEmailBackend = mailers[alias]
    return backend


def _make_legacy(path: str) -> BaseEmailBackend:
    """Make a backend from the EMAIL_* settings. Django 6.1 warns of those, at every making."""
    with _construction, warnings.catch_warnings():
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        backend: BaseEmailBackend = import_string(path)()
        return backend


def _is_subclass(candidate: Any, classes: tuple[type, ...]) -> bool:
    return isinstance(candidate, type) and issubclass(candidate, classes)


def _is_plain(backend_class: type[SmtpBackend]) -> bool:
    return all(getattr(backend_class, name) is getattr(SmtpBackend, name) for name in _DRIVEN_BY_US)
