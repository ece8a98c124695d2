"""System checks of the backends: the one that queues, those that deliver, and what is said of them by alias."""

from collections.abc import Iterator, Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core import mail
from django.core.checks import CheckMessage, Error, Tags, register
from django.core.checks import Warning as Caution
from django.utils.module_loading import import_string
from post_office import settings as post_office

from mailqueue.conf import problems
from mailqueue.delivery.backends import canonical, class_path, configured_aliases, delivers_to_itself
from mailqueue.reply_rules import ALL_BACKENDS


@register(Tags.compatibility)
def check_backends(app_configs: Sequence[AppConfig] | None, **_: Any) -> list[CheckMessage]:
    """mailqueue.E003, E004, E007, W001, W008: the queueing backend, the delivering ones, and what is said of them."""
    return [*_queueing(), *_delivering(), *_unheeded()]


def _queueing() -> Iterator[CheckMessage]:
    setting, path = "EMAIL_BACKEND", getattr(settings, "EMAIL_BACKEND", "")
    if post_office.mailers_are_configured():
        setting, path = 'MAILERS["default"]["BACKEND"]', settings.MAILERS.get("default", {}).get("BACKEND", "")
    from mailqueue.outbox.backend import EmailBackend

    if not _is_ours(path, EmailBackend) and not _is_test_runners(path):
        yield Caution(
            f"{setting} is \"{path}\", not mailqueue's backend: Django's mail does not go through the outbox.",
            hint=f'Set {setting} = "mailqueue.EmailBackend".',
            id="mailqueue.W001",
        )


def _is_test_runners(path: str) -> bool:
    """Whether Django's test runner has put its mailbox in memory there: the site says something else."""
    return path == "django.core.mail.backends.locmem.EmailBackend" and hasattr(mail, "outbox")


def _is_ours(path: str, backend: type) -> bool:
    try:
        found = import_string(path)
    except ImportError:
        return False
    return isinstance(found, type) and issubclass(found, backend)


def _delivering() -> Iterator[CheckMessage]:
    default = canonical("")
    is_unset = not post_office.mailers_are_configured() and not post_office.get_config().get("BACKENDS")
    is_mailers = post_office.mailers_are_configured()
    remedy = (
        'Name a mailer that delivers in POST_OFFICE = {"DEFAULT_MAILER": "smtp"}, and configure it in MAILERS.'
        if is_mailers
        else 'Set POST_OFFICE = {"BACKENDS": {"default": "django.core.mail.backends.smtp.EmailBackend"}}.'
    )
    aliases = configured_aliases()
    if default not in aliases or (is_unset and delivers_to_itself(default)):
        yield Error(
            f'No delivering backend is configured under the alias "{default}", which mail goes through by default.',
            hint=remedy,
            id="mailqueue.E003",
        )
    for alias in aliases:
        yield from _unimportable(alias)
    for alias in aliases if not is_unset else ():
        if delivers_to_itself(alias):
            yield Error(
                f'The delivering backend "{alias}" only queues: what it is given is queued again, for ever.',
                hint=remedy,
                id="mailqueue.E004",
            )


def _unimportable(alias: str) -> Iterator[CheckMessage]:
    path = class_path(alias)
    try:
        import_string(path)
    except ImportError as error:
        yield Error(
            f'The delivering backend "{alias}" can\'t be imported: {error}',
            hint=f'Correct "{path}", or install what it needs.',
            id="mailqueue.E007",
        )


def _unheeded() -> Iterator[CheckMessage]:
    """What is said of backends that nobody configured. What may not be said at all is E001's."""
    known = configured_aliases()
    given = getattr(settings, "MAILQUEUE", {})
    named = {} if any(problems(given)) else {key: given.get(key, {}) for key in ("RATE_LIMITS", "REPLY_RULES")}
    for key, alias in ((key, alias) for key, by_alias in named.items() for alias in by_alias):
        is_for_all = key == "REPLY_RULES" and alias == ALL_BACKENDS
        if alias and not is_for_all and canonical(alias) not in known:
            yield Caution(
                f'MAILQUEUE["{key}"] names the backend "{alias}", which is not configured: nobody heeds it.',
                hint="Name one of these: " + ", ".join(f'"{name}"' for name in known) + ".",
                id="mailqueue.W008",
            )
