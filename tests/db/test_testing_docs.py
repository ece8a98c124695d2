"""What the documentation says of `mailqueue.testing`: it names everything public, and its samples run."""

import asyncio
import inspect
import re
import unittest
from collections.abc import Callable
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import mailqueue.testing
from mailqueue.testing import (
    Accepted,
    Command,
    Drained,
    Limits,
    Outbox,
    QueuedMail,
    Script,
    Session,
    SmtpServer,
    drain,
    queueing,
)
from mailqueue.testing.smtp_script import VERBS

pytest_plugins = ["mailqueue.testing.plugin"]

DOCS = Path(__file__).resolve().parents[2] / "docs"
REFERENCE = (DOCS / "reference" / "testing.md").read_text()
HOW_TO = (DOCS / "how-to" / "test-your-mail.md").read_text()
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
HEADING = re.compile(r"^(#+) `(\w+)`$", re.MULTILINE)

# One block sends 2,000 mails by real senders, which tests/faults does.
SAMPLES = "\n".join(block for block in BLOCK.findall(HOW_TO) if "manage.py send_queued_mail" not in block)
NAMESPACE: dict[str, Any] = {"__name__": "samples"}
exec(compile(SAMPLES, "test-your-mail.md", "exec"), NAMESPACE)  # noqa: S102 - our own page
FUNCTIONS = {name: value for name, value in NAMESPACE.items() if name.startswith("test_")}


def section(name: str) -> str:
    """The text under the heading of a name, up to the next one of its level or above."""
    found = re.search(rf"^(#+) `{name}`\n(.*?)(?=^#{{1,3}} |\Z)", REFERENCE, re.MULTILINE | re.DOTALL)
    assert found, f"{name} has no heading"
    return found[2]


def words(text: str) -> set[str]:
    """Every name that stands as code in a text, code blocks left out."""
    return {word for span in re.findall(r"`([^`]+)`", BLOCK.sub("", text)) for word in re.findall(r"\w+", span)}


def public(kind: type) -> set[str]:
    """The public names that a class gives to its instances, without those of asyncio."""
    set_in_init = re.findall(r"self\.([a-z]\w+)(?::| =)", inspect.getsource(kind))
    inherited = set(dir(asyncio.Protocol))
    called_by_asyncio = {"connection_made", "connection_lost", "data_received"}
    own = {name for name in dir(kind) if not name.startswith("_")} | set(set_in_init)
    return own - inherited - called_by_asyncio


def test_everything_that_may_be_imported_has_a_heading() -> None:
    plugin = import_module("mailqueue.testing.plugin")
    fixtures = {name for name, value in vars(plugin).items() if "FixtureFunction" in type(value).__name__}
    headings = {name for _, name in HEADING.findall(REFERENCE)}

    assert {*mailqueue.testing.__all__, *fixtures} == headings
    assert {"mailqueue_outbox", "smtp_server"} < fixtures


@pytest.mark.parametrize("kind", [Accepted, Command, Drained, Limits, Outbox, QueuedMail, Script, Session, SmtpServer])
def test_every_public_name_of_a_class_stands_in_its_section(kind: type) -> None:
    assert set() == public(kind) - words(section(kind.__name__))


@pytest.mark.parametrize("taken", [SmtpServer, drain, queueing], ids=["SmtpServer", "drain", "queueing"])
def test_every_argument_stands_in_the_section_of_what_takes_it(taken: Callable[..., Any]) -> None:
    assert set() == set(inspect.signature(taken).parameters) - words(section(taken.__name__))


def test_every_verb_of_a_script_and_every_reply_of_a_limit_stand_in_the_reference() -> None:
    replies = [field.default for field in fields(Limits) if field.name.endswith("_reply")]

    assert set() == VERBS - words(section("Script"))
    assert [] == [reply for reply in replies if f"`{reply}`" not in section("Limits")]


@pytest.mark.django_db
@pytest.mark.parametrize("name", [name for name in FUNCTIONS if not hasattr(FUNCTIONS[name], "pytestmark")])
def test_a_sample_runs(name: str, request: pytest.FixtureRequest) -> None:
    wanted = inspect.signature(FUNCTIONS[name]).parameters
    FUNCTIONS[name](**{fixture: request.getfixturevalue(fixture) for fixture in wanted})


@pytest.mark.parametrize("certificate", ["expired", "wrong_host", "untrusted"])
def test_the_sample_of_bad_certificates_runs(certificate: str, db: None) -> None:
    NAMESPACE["test_a_bad_certificate_gets_no_mail"](None, certificate)


@pytest.mark.django_db(transaction=True)
def test_the_sample_for_unittest_runs() -> None:
    suite = unittest.defaultTestLoader.loadTestsFromTestCase(NAMESPACE["OrderTests"])
    result = suite.run(unittest.TestResult())

    assert (1, True) == (result.testsRun, result.wasSuccessful()), result.errors + result.failures
