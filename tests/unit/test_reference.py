"""The reference names what the code has: nothing is left out, and nothing stays in it that is gone."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.management import find_commands, load_command_class
from django.core.management.base import BaseCommand

import mailqueue
from mailqueue.conf import KEYS
from mailqueue.models import AttemptOutcome

CHECKOUT = Path(__file__).resolve().parents[2]
PACKAGE = CHECKOUT / "mailqueue"
DOCS = CHECKOUT / "docs"
REFERENCE = DOCS / "reference"
COMMANDS = sorted(find_commands(str(PACKAGE / "management")))
PAGES = [CHECKOUT / "README.md", *sorted(DOCS.rglob("*.md")), *sorted((CHECKOUT / "deploy").rglob("*.md"))]

LOGGING_METHODS = {"debug", "info", "warning", "error", "exception", "critical"}
CODE = re.compile(r"`([^`]+)`")
LINK = re.compile(r"\]\(([^()\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)


def section(page: str, heading: str) -> str:
    """The text under one `##` heading of a page of the reference."""
    return (REFERENCE / page).read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def first_cells(text: str) -> set[str]:
    """What stands as code in the first column of the tables, without the values that options take."""
    cells = (line.split("|")[1] for line in text.splitlines() if line.startswith("| `"))
    return {span.split()[0] for cell in cells for span in CODE.findall(cell)}


def events_of(source: str) -> Iterator[str]:
    """The names that a module logs, by `instrument`, by a logger, or as an `Event` for later."""
    tree = ast.parse(source)
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call) and node.args):
        if _is_logging(call.func):
            yield from _names(call.args[0], tree)


def _is_logging(function: ast.expr) -> bool:
    if isinstance(function, ast.Name):
        return function.id in {"instrument", "Event"}
    return (
        isinstance(function, ast.Attribute)
        and function.attr in LOGGING_METHODS
        and isinstance(function.value, ast.Name)
        and function.value.id == "logger"
    )


def _names(value: ast.expr, tree: ast.Module) -> Iterator[str]:
    match value:
        case ast.Constant(value=str(name)):
            yield name
        case ast.JoinedStr(values=[ast.Constant(value="mail."), ast.FormattedValue()]):
            # An unknown outcome has an event of its own.
            yield from (f"mail.{outcome}" for outcome in AttemptOutcome if outcome != AttemptOutcome.UNKNOWN)
        case ast.IfExp(body=body, orelse=orelse):
            yield from _names(body, tree)
            yield from _names(orelse, tree)
        case ast.Name(id=variable):
            for node in ast.walk(tree):
                if isinstance(node, ast.Assign) and any(
                    isinstance(t, ast.Name) and t.id == variable for t in node.targets
                ):
                    yield from _names(node.value, tree)
        case ast.Attribute(value=ast.Name(id="event"), attr="name"):
            return  # named where the Event is made
        case _:
            raise AssertionError(f"an event whose name can't be read from the source: {ast.unparse(value)}")


def options_of(command: BaseCommand) -> set[str]:
    parser = command.create_parser("manage.py", "send_queued_mail")
    return {text for action in parser._actions for text in action.option_strings}


def anchors_of(page: Path) -> set[str]:
    """The anchors that a page offers, as the usual hosts make them of its headings."""
    headings = HEADING.findall(FENCE.sub("", page.read_text()))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def dead_links(page: Path) -> Iterator[str]:
    for link in LINK.findall(FENCE.sub("", page.read_text())):
        target, _, anchor = link.partition("#")
        if ":" in target:
            continue
        file = (page.parent / target).resolve() if target else page
        if not file.exists() or (anchor and anchor not in anchors_of(file)):
            yield link


def test_every_setting_stands_in_the_reference() -> None:
    assert set(KEYS) == first_cells(section("settings.md", "MAILQUEUE"))


def test_every_check_stands_in_the_reference() -> None:
    sources = "".join(file.read_text() for file in PACKAGE.glob("*checks.py"))
    known = set(re.findall(r'id="(mailqueue\.[EW]\d{3})"', sources))

    assert known == first_cells((REFERENCE / "checks.md").read_text())


def test_every_event_stands_in_the_reference() -> None:
    known = {name for file in PACKAGE.rglob("*.py") for name in events_of(file.read_text())}

    assert known == first_cells((REFERENCE / "events.md").read_text())


def test_every_command_stands_in_the_reference() -> None:
    headings = set(re.findall(r"^## (\S+)$", (REFERENCE / "commands.md").read_text(), re.MULTILINE))

    assert set(COMMANDS) <= headings


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_of_a_command_stands_in_the_reference(name: str) -> None:
    own = options_of(load_command_class("mailqueue", name)) - options_of(BaseCommand())
    cells = first_cells(section("commands.md", name))

    assert own == {cell for cell in cells if cell.startswith("-")}


def test_every_make_command_stands_in_the_reference() -> None:
    listed = re.findall(r"^([a-z-]+):.*## ", (CHECKOUT / "Makefile").read_text(), re.MULTILINE)
    documented = re.findall(r"^\| `make ([a-z-]+)` \|", section("commands.md", "make"), re.MULTILINE)

    assert sorted(listed) == sorted(documented)


def test_every_public_name_stands_in_the_reference() -> None:
    headings = HEADING.findall((REFERENCE / "api.md").read_text())

    assert {f"`mailqueue.{name}`" for name in mailqueue.__all__} <= set(headings)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(CHECKOUT)))
def test_no_relative_link_is_dead(page: Path) -> None:
    assert [] == list(dead_links(page))


def test_an_event_is_found_however_its_name_is_chosen() -> None:
    source = 'name = "a.lost" if lost else f"mail.{outcome}"\ninstrument(name, email=1)\nlogger.warning("b.left")'

    assert {"a.lost", "b.left", "mail.sent", "mail.retry"} <= set(events_of(source))
