"""`manage.py mailqueue_forget`: for somebody who asks to be forgotten."""

from argparse import ArgumentParser
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from django.core.management.base import CommandError
from django.db import router
from django.utils.translation import gettext, ngettext
from post_office.models import Email

from mailqueue.management.command import QueueCommand
from mailqueue.management.talk import LISTED_COUNT, agree, and_more
from mailqueue.management.user import system_user
from mailqueue.outbox.person import FORGOTTEN, Person
from mailqueue.queue.forget import Fate, Forgotten, forget, survey
from mailqueue.queue.redact import redact_admin_log, redact_backends

DONE_WITH = (Fate.DELETED, Fate.REDACTED)


class Command(QueueCommand):
    help = (
        "Forget somebody: delete the mail that went to nobody else, and take the address, and what the mail says, out "
        "of all other mail. Asks first. Exits with 1 where something is left. "
        "Examples: mailqueue_forget jane@example.com --dry-run; mailqueue_forget jane@example.com jd@example.net --yes"
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("addresses", nargs="+", metavar="ADDRESS", help="all addresses of one person")
        parser.add_argument(
            "--unsent", action="store_true", help="cancel and delete also what may still be sent, to nobody else"
        )
        parser.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")
        parser.add_argument("--yes", action="store_true", help="do not ask")

    def handle(self, *_: Any, **options: Any) -> None:
        person, using = _person(options["addresses"]), router.db_for_write(Email)
        fates = survey(person, using=using)
        chosen = (*DONE_WITH, Fate.UNSENT) if options["unsent"] else DONE_WITH
        self._tell(person, fates, with_unsent=options["unsent"])
        if options["dry_run"]:
            return
        if not options["yes"]:
            agree(gettext('Nothing of it can be undone. Type "yes" to forget:'))
        done = Forgotten(left={email_id: fate for email_id, fate in fates.items() if fate not in chosen})
        wanted = fates.keys() - done.left.keys()
        for part in forget(person, wanted, with_unsent=options["unsent"], by=system_user(), using=using):
            done.deleted += part.deleted
            done.redacted += part.redacted
            done.left |= part.left
        redact_backends(person, using=using)
        for line in _done(done, entry_count=redact_admin_log(person)):
            self.stdout.write(line)
        self._explain(done.left)

    def _tell(self, person: Person, fates: Mapping[int, Fate], *, with_unsent: bool) -> None:
        counts = Counter(fates.values())
        self.stdout.write(_heading(person) if fates else _none(person))
        for fate in Fate:
            if counts[fate]:
                is_cancelled = fate == Fate.UNSENT and with_unsent
                told = gettext("it may still be sent: it is cancelled and deleted") if is_cancelled else fate.label
                self.stdout.write(f"  {counts[fate]:,}: {told}")

    def _explain(self, left: Mapping[int, Fate]) -> None:
        for email_id in sorted(left)[:LISTED_COUNT]:
            words = {"mail": email_id, "reason": left[email_id].label}
            self.stdout.write("  " + gettext("mail %(mail)d was left as it is: %(reason)s") % words)
        for line in and_more(len(left)):
            self.stdout.write(line)
        if left:
            raise CommandError(" ".join(_left(left)))


def _person(addresses: Iterable[str]) -> Person:
    try:
        return Person(addresses)
    except ValueError as error:
        raise CommandError(
            gettext("%(error)s Give whole addresses, like jane@example.com.") % {"error": error}
        ) from error


def _heading(person: Person) -> str:
    return ngettext("Mail that names this address:", "Mail that names these addresses:", len(person.addresses))


def _none(person: Person) -> str:
    return ngettext("No mail names this address.", "No mail names these addresses.", len(person.addresses))


def _done(done: Forgotten, *, entry_count: int) -> Iterator[str]:
    pattern = ngettext("Deleted %(count)s mail.", "Deleted %(count)s mails.", done.deleted)
    yield pattern % {"count": f"{done.deleted:,}"}
    pattern = ngettext(
        "Emptied %(count)s other mail, in which %(stand_in)s stands now.",
        "Emptied %(count)s other mails, in which %(stand_in)s stands now.",
        done.redacted,
    )
    yield pattern % {"count": f"{done.redacted:,}", "stand_in": FORGOTTEN}
    pattern = ngettext(
        "Changed %(count)s entry of the admin's log.", "Changed %(count)s entries of the admin's log.", entry_count
    )
    yield pattern % {"count": f"{entry_count:,}"}


def _left(left: Mapping[int, Fate]) -> Iterator[str]:
    pattern = ngettext(
        "%(count)s mail that names the address was left.",
        "%(count)s mails that name the address were left.",
        len(left),
    )
    yield pattern % {"count": f"{len(left):,}"}
    if Fate.UNSENT in left.values():
        yield gettext("--unsent deletes what goes to nobody else.")
