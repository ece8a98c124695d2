"""Every text that people see has a translation, and what is packed is what was translated."""

import gettext
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from django.utils.translation import override

from mailqueue.ops.conditions import State
from tests.support.checkout import CHECKOUT

PACKAGE = CHECKOUT / "mailqueue"
CATALOGUES = sorted(PACKAGE.glob("locale/*/LC_MESSAGES/django.po"))
PLACEHOLDER = re.compile(r"%\((\w+)\)|%[ds]")


def entries(catalogue: Path) -> dict[str, list[str]]:
    """Return, by text, its translations; of one with a plural, all of them."""
    found: dict[str, list[str]] = {}
    for block in catalogue.read_text().split("\n\n")[1:]:
        texts: dict[str, str] = {}
        name = ""
        for line in block.splitlines():
            if match := re.match(r'(msgctxt|msgid|msgid_plural|msgstr(?:\[\d\])?) "(.*)"$', line):
                name, texts[match[1]] = match[1], match[2]
            elif line.startswith('"'):
                texts[name] += line[1:-1]
        found[texts["msgid"]] = [text for name, text in texts.items() if name.startswith("msgstr")]
    return found


def compiled(catalogue: Path) -> dict[Any, str]:
    """Return what is in the file that was compiled from a catalogue."""
    with catalogue.with_suffix(".mo").open("rb") as file:
        found: dict[Any, str] = gettext.GNUTranslations(file)._catalog  # type: ignore[attr-defined]
    return found


@pytest.fixture
def renewed(tmp_path: Path) -> Path:
    """A copy of the package for which `make messages` has just been run."""
    if shutil.which("xgettext") is None:
        missing = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        missing("There is no GNU gettext here: install it.")
    shutil.copytree(PACKAGE, tmp_path / "mailqueue", ignore=shutil.ignore_patterns("__pycache__"))
    command = [CHECKOUT / ".ci" / "messages", tmp_path / "mailqueue"]
    subprocess.run(command, check=True, capture_output=True)
    return tmp_path / "mailqueue"


def test_simplified_chinese_is_there() -> None:
    with override("zh-hans"):
        assert State.WAITING.label != "waiting"


def test_the_catalogues_hold_just_the_texts_of_the_code_and_are_compiled(renewed: Path) -> None:
    for catalogue in CATALOGUES:
        new = renewed / catalogue.relative_to(PACKAGE)

        assert new.read_text() == catalogue.read_text(), "run: make messages"
        assert compiled(new) == compiled(catalogue), "run: make messages"


@pytest.mark.parametrize("catalogue", CATALOGUES, ids=lambda path: path.parts[-3])
def test_every_text_is_translated_and_no_translation_is_a_guess(catalogue: Path) -> None:
    untranslated = [text for text, translations in entries(catalogue).items() if not all(translations)]

    assert ([], False) == (untranslated, "#, fuzzy" in catalogue.read_text())


@pytest.mark.parametrize("catalogue", CATALOGUES, ids=lambda path: path.parts[-3])
def test_a_translation_has_the_placeholders_of_its_text(catalogue: Path) -> None:
    wrong = [
        text
        for text, translations in entries(catalogue).items()
        for translation in translations
        if sorted(PLACEHOLDER.findall(text)) != sorted(PLACEHOLDER.findall(translation))
    ]

    assert [] == wrong
