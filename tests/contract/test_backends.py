from typing import Any

import django
import pytest
from django.core.mail.backends.base import BaseEmailBackend
from django.core.mail.backends.smtp import EmailBackend as SmtpBackend

from mailqueue.delivery.backends import (
    BackendMissingError,
    BackendUnusableError,
    canonical,
    carrier_for,
    configured_aliases,
    delivers_to_itself,
    spellings,
)
from mailqueue.delivery.django_backend import DjangoCarrier
from mailqueue.delivery.outcomes import Verdict
from mailqueue.delivery.smtp import SmtpCarrier
from mailqueue.outbox.backend import EmailBackend as QueueingBackend
from mailqueue.testing.smtp_server import SmtpServer
from tests.support.letters import OPEN, letter

SMTP = "django.core.mail.backends.smtp.EmailBackend"
LOCMEM = "django.core.mail.backends.locmem.EmailBackend"
QUEUEING = "mailqueue.EmailBackend"

needs_mailers = pytest.mark.skipif(django.VERSION < (6, 1), reason="MAILERS came with Django 6.1")


class QueueingSubclass(QueueingBackend):
    pass


class PlainSmtp(SmtpBackend):
    """Changes settings, not the way of sending."""


class SigningSmtp(SmtpBackend):
    def _send(self, email_message: Any) -> bool:
        return super()._send(email_message)


class EndlessSmtp(SigningSmtp):
    """Waits for ever, as Django's does where no setting says otherwise."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.timeout = None


class HastySmtp(SigningSmtp):
    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.timeout = 5


class Demanding(BaseEmailBackend):
    def __init__(self, *, key: str, **options: Any) -> None:
        super().__init__(**options)
        self.key = key


HERE = __name__


@pytest.fixture
def backends(settings: Any) -> Any:
    """Sets POST_OFFICE["BACKENDS"], without MAILERS."""

    def configure(backends: dict[str, str], **more: Any) -> None:
        if hasattr(settings, "MAILERS"):
            del settings.MAILERS
        settings.POST_OFFICE = {"BACKENDS": backends, **more}

    return configure


@pytest.fixture
def mailers(settings: Any) -> Any:
    """Sets MAILERS, and which of them post_office delivers by."""

    def configure(mailers: dict[str, Any], **more: Any) -> None:
        settings.POST_OFFICE = more
        settings.MAILERS = mailers

    return configure


def test_no_alias_means_the_default_one(backends: Any) -> None:
    backends({"default": SMTP, "bulk": SMTP})

    assert ["default", "default", "bulk"] == [canonical(alias) for alias in ("", "default", "bulk")]


def test_the_default_alias_may_have_another_name(backends: Any) -> None:
    backends({"relay": SMTP}, DEFAULT_MAILER="relay")

    assert "relay" == canonical("")


def test_an_unknown_alias_stays_itself(backends: Any) -> None:
    backends({"default": SMTP})

    assert "gone" == canonical("gone")


def test_the_configured_aliases_are_those_of_post_office(backends: Any) -> None:
    backends({"default": SMTP, "bulk": LOCMEM})

    assert ["default", "bulk"] == configured_aliases()


def test_the_default_lane_holds_the_rows_without_an_alias_too(backends: Any) -> None:
    backends({"default": SMTP, "bulk": SMTP})

    assert [("default", ""), ("default", ""), ("bulk",)] == [spellings(alias) for alias in ("default", "", "bulk")]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (QUEUEING, True),
        ("mailqueue.outbox.backend.EmailBackend", True),
        ("post_office.EmailBackend", True),
        (f"{HERE}.QueueingSubclass", True),
        (SMTP, False),
        (LOCMEM, False),
        ("nowhere.EmailBackend", False),
        (f"{HERE}.SMTP", False),
    ],
)
def test_a_backend_that_only_queues_is_known_by_its_class(backends: Any, path: str, expected: bool) -> None:
    backends({"default": path})

    assert expected == delivers_to_itself("default")


def test_an_alias_that_is_not_configured_does_not_deliver_to_itself(backends: Any) -> None:
    backends({"default": SMTP})

    assert not delivers_to_itself("gone")


def test_no_alias_delivers_to_itself_when_the_default_one_does(backends: Any) -> None:
    backends({"default": QUEUEING})

    assert delivers_to_itself("")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (SMTP, SmtpCarrier),
        (f"{HERE}.PlainSmtp", SmtpCarrier),
        (f"{HERE}.SigningSmtp", DjangoCarrier),
        (LOCMEM, DjangoCarrier),
    ],
)
def test_each_backend_gets_the_carrier_that_respects_its_own_way(
    backends: Any, path: str, expected: type[object]
) -> None:
    backends({"default": SMTP, "other": path})

    assert expected is type(carrier_for("other"))


@pytest.mark.filterwarnings("ignore:The EMAIL_")  # Django 6.1, for the test's own setting of it
def test_a_carrier_delivers_with_the_settings_of_the_project(backends: Any, settings: Any) -> None:
    with SmtpServer() as server:
        backends({"default": SMTP})
        settings.EMAIL_HOST, settings.EMAIL_PORT = server.host, server.port
        carrier = carrier_for("")
        outcome = carrier.deliver(letter(), OPEN)
        carrier.close()

    assert Verdict.SENT == outcome.verdict


def test_an_alias_that_is_not_configured_is_named_with_those_that_are(backends: Any) -> None:
    backends({"default": SMTP, "bulk": SMTP})

    with pytest.raises(BackendMissingError, match=r"'gone' is not configured: add it .* \(there: 'default', 'bulk'\)"):
        carrier_for("gone")


def test_a_backend_that_only_queues_carries_nothing(backends: Any) -> None:
    backends({"default": QUEUEING})

    with pytest.raises(BackendUnusableError, match="queues to mailqueue itself") as raised:
        carrier_for("")

    assert "default" == raised.value.alias


@pytest.mark.parametrize("path", ["nowhere.EmailBackend", f"{HERE}.Demanding"])
def test_a_backend_that_cannot_be_made_is_named(backends: Any, path: str) -> None:
    backends({"default": path})

    with pytest.raises(BackendUnusableError, match="'default' cannot be made"):
        carrier_for("default")


@pytest.mark.parametrize(("name", "seconds"), [("EndlessSmtp", 60), ("HastySmtp", 5)])
def test_a_projects_own_smtp_backend_never_waits_for_ever(backends: Any, name: str, seconds: int) -> None:
    backends({"default": f"{HERE}.{name}"})
    carrier: Any = carrier_for("default")

    assert seconds == carrier._make_backend().timeout


@needs_mailers
def test_with_mailers_the_alias_that_queues_means_the_one_that_delivers(mailers: Any) -> None:
    mailers({"default": {"BACKEND": QUEUEING}, "smtp": {"BACKEND": SMTP}}, DEFAULT_MAILER="smtp")

    assert ["smtp", "smtp", "smtp"] == [canonical(alias) for alias in ("", "default", "smtp")]


@needs_mailers
def test_with_mailers_the_lanes_are_those_that_deliver(mailers: Any) -> None:
    mailers({"default": {"BACKEND": QUEUEING}, "smtp": {"BACKEND": SMTP}, "bulk": {}}, DEFAULT_MAILER="smtp")

    assert (["smtp", "bulk"], ("smtp", "", "default")) == (configured_aliases(), spellings("smtp"))


@needs_mailers
def test_with_mailers_and_no_default_mailer_the_queue_delivers_to_itself(mailers: Any) -> None:
    mailers({"default": {"BACKEND": QUEUEING}, "smtp": {"BACKEND": SMTP}})

    assert ("default", True) == (canonical(""), delivers_to_itself(""))


@needs_mailers
def test_with_mailers_a_carrier_takes_its_options(mailers: Any) -> None:
    with SmtpServer(users={"shop": "secret"}) as server:
        options = {"host": server.host, "port": server.port, "username": "shop", "password": "secret"}
        mailers({"default": {"BACKEND": QUEUEING}, "smtp": {"OPTIONS": options}}, DEFAULT_MAILER="smtp")
        carrier = carrier_for("default")
        outcome = carrier.deliver(letter(), OPEN)
        carrier.close()

    assert (Verdict.SENT, "shop") == (outcome.verdict, server.sessions[0].user)


@needs_mailers
def test_with_mailers_bad_options_are_named_with_the_alias(mailers: Any) -> None:
    mailers({"default": {"BACKEND": QUEUEING}, "smtp": {"BACKEND": SMTP}}, DEFAULT_MAILER="smtp")

    with pytest.raises(BackendUnusableError, match="'smtp' cannot be made"):
        carrier_for("smtp")


@needs_mailers
def test_with_mailers_an_alias_that_is_not_configured_is_looked_for_there(mailers: Any) -> None:
    mailers({"default": {"BACKEND": QUEUEING}, "smtp": {"BACKEND": SMTP}}, DEFAULT_MAILER="smtp")

    with pytest.raises(BackendMissingError, match="add it to MAILERS"):
        carrier_for("gone")
