"""A project's own rules for the replies of its mail servers, as Rule objects. Pure; the settings have checked them."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from mailqueue.delivery.judgements import BY_WORD
from mailqueue.delivery.outcomes import Stage
from mailqueue.delivery.rules import RULES, Rule


def with_own_rules(entries: Iterable[Mapping[str, Any]]) -> tuple[Rule, ...]:
    """Put the rules of a project, as the setting REPLY_RULES has them, before those that everybody has."""
    return (*(_rule(entry) for entry in entries), *RULES)


def _rule(entry: Mapping[str, Any]) -> Rule:
    text = entry.get("text")
    return Rule(
        entry.get("name", "of the project"),
        BY_WORD[entry["then"]],
        stages=frozenset(Stage(stage) for stage in entry.get("stages", ())),
        codes=frozenset(entry.get("codes", ())),
        enhanced=tuple(entry.get("enhanced", ())),
        text=re.compile(text, re.IGNORECASE) if text else None,
    )
