"""Reads EMAIL_URL: which SMTP server delivers, and how it is secured. Knows no Django settings.

django-environ's own reader takes `smtps://` for STARTTLS, which is wrong for port 465.
"""

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

PLAIN, STARTTLS, TLS = "plain", "starttls", "tls"
SECURITY_OF_SCHEME = {"smtp": PLAIN, "smtp+tls": STARTTLS, "smtp+ssl": TLS, "smtps": TLS}
PORT_OF_SECURITY = {PLAIN: 25, STARTTLS: 587, TLS: 465}
DEFAULT_TIMEOUT_SECONDS = 60.0
FORM = "scheme://user:password@host:port, with one of the schemes smtp, smtp+tls, smtp+ssl, smtps"


@dataclass(frozen=True, slots=True)
class SmtpServer:
    """One SMTP server as EMAIL_URL names it."""

    host: str
    port: int
    username: str
    password: str = field(repr=False)
    security: str
    timeout_seconds: float

    def as_mailer_options(self) -> dict[str, Any]:
        """The OPTIONS of Django's SMTP backend in MAILERS (Django 6.1 and later)."""
        return {
            "host": self.host,
            "port": self.port,
            "username": self.username,
            "password": self.password,
            "use_tls": self.security == STARTTLS,
            "use_ssl": self.security == TLS,
            "timeout": self.timeout_seconds,
        }

    def as_email_settings(self) -> dict[str, Any]:
        """The EMAIL_* settings that Django 5.2 reads."""
        return {
            "EMAIL_HOST": self.host,
            "EMAIL_PORT": self.port,
            "EMAIL_HOST_USER": self.username,
            "EMAIL_HOST_PASSWORD": self.password,
            "EMAIL_USE_TLS": self.security == STARTTLS,
            "EMAIL_USE_SSL": self.security == TLS,
            "EMAIL_TIMEOUT": self.timeout_seconds,
        }


def parse_email_url(url: str) -> SmtpServer:
    """Read `url`; raise ImproperlyConfigured, without repeating the password, when it can't be one.

    User and password are percent-encoded; `?timeout=SECONDS` is the only option.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise _unusable("its host or port can't be read") from None
    security = SECURITY_OF_SCHEME.get(parts.scheme)
    if security is None:
        raise _unusable(f"its scheme is {parts.scheme!r}")
    if not parts.hostname:
        raise _unusable("it names no host")
    if port == 0:
        raise _unusable("its port is 0")
    if parts.fragment or parts.path not in ("", "/"):
        raise _unusable("something follows the host; does the password hold a '/', '#' or '?' as it is?")
    return SmtpServer(
        host=parts.hostname,
        port=port or PORT_OF_SECURITY[security],
        username=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        security=security,
        timeout_seconds=_timeout_of(parts),
    )


def _timeout_of(parts: SplitResult) -> float:
    options = parse_qs(parts.query, keep_blank_values=True)
    timeout = options.pop("timeout", [str(DEFAULT_TIMEOUT_SECONDS)])[-1]
    if options:
        raise _unusable("the only option it may have is ?timeout=SECONDS")
    try:
        seconds = float(timeout)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise _unusable(f"its timeout is {timeout!r}, and must be a number of seconds above 0")
    return seconds


def _unusable(why: str) -> ImproperlyConfigured:
    return ImproperlyConfigured(
        f"EMAIL_URL can't be used: {why}. It must read {FORM}; "
        "special characters in user and password percent-encoded (a '/' is %2F)."
    )
