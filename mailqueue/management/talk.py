"""How commands talk with the person at the terminal: questions, and lists that do not fill the screen."""

import sys
from collections.abc import Iterator

from django.core.management.base import CommandError
from django.utils.translation import gettext as _

LISTED_COUNT = 20
YES = "yes"


def agree(question: str) -> None:
    """Ask, and return when the answer is yes, whatever the language.

    Raises:
        CommandError: it is another one, nobody can be asked, or who was asked has interrupted.
    """
    try:
        answer = input(f"{question} ")
    except (EOFError, KeyboardInterrupt):
        sys.stdout.write("\n")
        answer = ""
    if answer.strip() != YES:
        raise CommandError(_("Nothing was done. Give --yes where nobody can be asked."))


def and_more(count: int) -> Iterator[str]:
    """Give the last line of a list of so many; none where all of them are listed."""
    if count > LISTED_COUNT:
        yield "  " + _("and %(more)s more") % {"more": f"{count - LISTED_COUNT:,}"}
