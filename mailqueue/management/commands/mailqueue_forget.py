"""`manage.py mailqueue_forget`: for somebody who asks to be forgotten."""

from argparse import ArgumentParser
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from django.core.management.base import CommandError
from django.db import router
from post_office.models import Email

from mailqueue.management.command import QueueCommand
from mailqueue.management.user import system_user
from mailqueue.outbox.person import FORGOTTEN, Person
from mailqueue.queue.forget import Fate, Forgotten, forget, survey
from mailqueue.queue.redact import redact_admin_log, redact_backends

LISTED_COUNT = 20
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
        self._tell(fates, with_unsent=options["unsent"])
        if options["dry_run"]:
            return
        if not options["yes"]:
            self._ask()
        done = Forgotten(left={email_id: fate for email_id, fate in fates.items() if fate not in chosen})
        wanted = fates.keys() - done.left.keys()
        for part in forget(person, wanted, with_unsent=options["unsent"], by=system_user(), using=using):
            done.deleted += part.deleted
            done.redacted += part.redacted
            done.left |= part.left
        redact_backends(person, using=using)
        entry_count = redact_admin_log(person)
        self.stdout.write(
            f"Deleted {done.deleted:,} mails, emptied {done.redacted:,} others, in which {FORGOTTEN} stands now, and "
            f"changed {entry_count:,} entries of the admin's log."
        )
        self._explain(done.left)

    def _tell(self, fates: Mapping[int, Fate], *, with_unsent: bool) -> None:
        counts = Counter(fates.values())
        self.stdout.write("Mail that names this address:" if fates else "No mail names this address.")
        for fate in Fate:
            if counts[fate]:
                told = f"{fate}: it is cancelled and deleted" if fate == Fate.UNSENT and with_unsent else fate
                self.stdout.write(f"  {counts[fate]:,}: {told}")

    def _ask(self) -> None:
        try:
            answer = input('Nothing of it can be undone. Type "yes" to forget: ')
        except EOFError:
            answer = ""
        if answer.strip() != "yes":
            raise CommandError("Nothing was done. Give --yes where nobody can be asked.")

    def _explain(self, left: Mapping[int, Fate]) -> None:
        for email_id in sorted(left)[:LISTED_COUNT]:
            self.stdout.write(f"  mail {email_id} was left as it is: {left[email_id]}")
        if len(left) > LISTED_COUNT:
            self.stdout.write(f"  and {len(left) - LISTED_COUNT:,} more")
        if left:
            hint = " --unsent deletes what goes to nobody else." if Fate.UNSENT in left.values() else ""
            raise CommandError(f"{len(left):,} mails that name this address were left.{hint}")


def _person(addresses: Iterable[str]) -> Person:
    try:
        return Person(addresses)
    except ValueError as error:
        raise CommandError(f"{error} Give whole addresses, like jane@example.com.") from error
