"""`manage.py mailqueue_forget`: for somebody who asks to be forgotten."""

from argparse import ArgumentParser
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
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
from mailqueue.queue.redact import Beside, count_beside, redact_admin_log, redact_backends

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
        beside = count_beside(person, using=using)
        for line in _beside(beside):
            self.stdout.write(line)
        done = Forgotten(left={email_id: fate for email_id, fate in fates.items() if fate not in chosen})
        wanted = fates.keys() - done.left.keys()
        is_all_left = not (wanted or beside)
        if is_all_left:
            self.stdout.write(gettext("There is nothing to do now.") if fates else gettext("There is nothing to do."))
        if options["dry_run"]:
            return
        if not (is_all_left or options["yes"]):
            agree(gettext('Nothing of it can be undone. Type "yes" to forget:'))
        if not is_all_left:
            self._forget(person, wanted, done, using=using, with_unsent=options["unsent"])
        self._explain(done.left)

    def _forget(
        self, person: Person, wanted: Collection[int], done: Forgotten, *, using: str, with_unsent: bool
    ) -> None:
        for part in forget(person, wanted, with_unsent=with_unsent, by=system_user(), using=using):
            done.deleted += part.deleted
            done.redacted += part.redacted
            done.left |= part.left
        redact_backends(person, using=using)
        for line in _done(done, entry_count=redact_admin_log(person)):
            self.stdout.write(line)

    def _tell(self, person: Person, fates: Mapping[int, Fate], *, with_unsent: bool) -> None:
        counts = Counter(fates.values())
        if not fates:
            self.stdout.write(_none(person))
            return
        self.stdout.write(_heading(person))
        for fate in Fate:
            if counts[fate]:
                is_cancelled = fate == Fate.UNSENT and with_unsent
                told = (
                    gettext("it may still be sent, to nobody else: it is cancelled and deleted")
                    if is_cancelled
                    else fate.label
                )
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


def _beside(beside: Beside) -> Iterator[str]:
    if not beside:
        return
    yield gettext("What names it beside mail:")
    if beside.refused_count:
        told = gettext("sender addresses that a mail server refuses: they go, or what the server said of them changes")
        yield f"  {beside.refused_count:,}: {told}"
    if beside.backend_count:
        told = gettext("backends of which a server or somebody's note says it: the address is taken out of that")
        yield f"  {beside.backend_count:,}: {told}"
    if beside.entry_count:
        told = gettext("entries of the admin's log: the address is taken out of them")
        yield f"  {beside.entry_count:,}: {told}"


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
