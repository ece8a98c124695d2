from urllib.parse import quote

import pytest
from django.core.exceptions import ImproperlyConfigured
from hypothesis import given
from hypothesis import strategies as st

from project.email_url import PLAIN, STARTTLS, TLS, SmtpServer, parse_email_url


@pytest.mark.parametrize(
    ("url", "security", "port"),
    [
        ("smtp://mail.example.com", PLAIN, 25),
        ("smtp://mail.example.com:2525", PLAIN, 2525),
        ("smtp+tls://mail.example.com", STARTTLS, 587),
        ("smtp+tls://mail.example.com:25", STARTTLS, 25),
        ("smtp+ssl://mail.example.com", TLS, 465),
        ("smtps://mail.example.com", TLS, 465),
        ("smtps://mail.example.com:8465", TLS, 8465),
        ("SMTPS://mail.example.com/", TLS, 465),
    ],
)
def test_the_scheme_says_how_the_connection_is_secured(url: str, security: str, port: int) -> None:
    server = parse_email_url(url)

    assert (server.security, server.port) == (security, port)


def test_smtps_speaks_tls_from_the_first_byte() -> None:
    settings = parse_email_url("smtps://mail.example.com").as_email_settings()

    assert (settings["EMAIL_USE_SSL"], settings["EMAIL_USE_TLS"]) == (True, False)


def test_smtp_tls_means_starttls() -> None:
    options = parse_email_url("smtp+tls://mail.example.com").as_mailer_options()

    assert (options["use_ssl"], options["use_tls"]) == (False, True)


@given(username=st.text(max_size=20), password=st.text(min_size=1, max_size=20))
def test_any_user_and_password_can_be_written_percent_encoded(username: str, password: str) -> None:
    server = parse_email_url(f"smtp://{quote(username, safe='')}:{quote(password, safe='')}@mail.example.com")

    assert (server.username, server.password) == (username, password)


def test_the_timeout_is_an_option() -> None:
    server = parse_email_url("smtp://[::1]:25?timeout=7.5")

    assert SmtpServer("::1", 25, "", "", PLAIN, 7.5) == server


@pytest.mark.parametrize(
    "url",
    [
        "",
        "mail.example.com",
        "http://mail.example.com",
        "smtp://",
        "smtp://mail.example.com:no-port",
        "smtp://mail.example.com:99999",
        "smtp://mail.example.com:0",
        "smtp://[::1",
        "smtp://mail.example.com/path",
        "smtp://user:pa55/word@mail.example.com",
        "smtp://user:pa55#word@mail.example.com",
        "smtp://user:pa55?word@mail.example.com",
        "smtp://mail.example.com?timeout=0",
        "smtp://mail.example.com?timeout=nan",
        "smtp://mail.example.com?timeout=soon",
        "smtp://mail.example.com?tls=1",
    ],
)
def test_what_cannot_be_meant_is_refused_without_telling_the_password(url: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="EMAIL_URL can't be used") as refused:
        parse_email_url(url)

    assert "pa55" not in str(refused.value)
