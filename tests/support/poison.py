"""What tests poison a queue with in the processes that they start: template tags and a backend that raise anything."""

from typing import Any

from django.core.mail.backends.base import BaseEmailBackend
from django.template import Library

register = Library()


@register.simple_tag
def explode() -> str:
    raise RuntimeError("the price list is gone")


@register.simple_tag
def leave(kind: str) -> str:
    """Raise what is no Exception, as exiting libraries and cancelled tasks do."""
    raise {"exit": SystemExit, "interrupt": KeyboardInterrupt, "close": GeneratorExit, "base": BaseException}[kind](
        kind
    )


class MuteError(Exception):
    """Can't be told."""

    def __str__(self) -> str:
        raise RuntimeError("no words")

    __repr__ = __str__


class WordyError(Exception):
    """Says what no database and no JSON takes."""

    def __init__(self) -> None:
        super().__init__("NUL \0 and \udcfc", object(), self)
        self.smtp_code = object()
        self.status_code = 10**12


class WeirdBackend(BaseEmailBackend):
    """Raises what the subject says; its sessions can't even be closed."""

    def send_messages(self, email_messages: Any) -> int:
        from smtplib import SMTPDataError, SMTPRecipientsRefused

        errors: dict[str, Any] = {
            "mute": MuteError(),
            "wordy": WordyError(),
            "code": SMTPDataError(10**12, "too large a code \0"),
            "no code": SMTPDataError("abc", None),  # type: ignore[arg-type]
            "refused": SMTPRecipientsRefused({"x": "nonsense"}),  # type: ignore[dict-item]
            "nobody": SMTPRecipientsRefused(None),  # type: ignore[arg-type]
            "group": BaseExceptionGroup("two", [ValueError("a"), SystemExit()]),
            "exit": SystemExit("now"),
        }
        (message,) = email_messages
        if message.subject in errors:
            raise errors[message.subject]
        return 1

    def close(self) -> None:
        raise SystemExit("close")
