"""`manage.py mailqueue_requeue`: queue mail again."""

from argparse import ArgumentParser
from collections.abc import Mapping, Sequence
from typing import Any

from django.core.management.base import CommandError
from django.db import router
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from post_office.models import Email

from mailqueue.delivery.backends import spellings
from mailqueue.management.backends import check_backend
from mailqueue.management.command import QueueCommand
from mailqueue.management.talk import LISTED_COUNT, agree, and_more
from mailqueue.ops.allowed import allowed_sentence
from mailqueue.ops.reach import Reach, reaches_of
from mailqueue.ops.states import State, filter_by_state, states_by_id
from mailqueue.queue.orders import Agreement, could_come_twice, newest_attempt, requeue

REQUEUABLE = (State.FAILED, State.UNKNOWN, State.HELD, State.CANCELLED, State.PARTLY_SENT, State.RETRYING)
"""What whole states may be asked for: nobody wants everything again that was ever sent."""


class Command(QueueCommand):
    help = (
        "Queue mail again; it is sent as soon as a sender is free. Asks first where somebody could get a mail twice. "
        "Exits with 1 where mail that was asked for is not there or was left as it is. "
        "Examples: mailqueue_requeue 1204 1205; mailqueue_requeue --state failed --backend default --dry-run"
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("ids", nargs="*", type=int, metavar="ID", help="numbers of mails")
        parser.add_argument("--state", choices=[state.value for state in REQUEUABLE], help="all mails in this state")
        parser.add_argument("--backend", metavar="ALIAS", help="with --state: only mail of it")
        parser.add_argument("--dry-run", action="store_true", help="say what would be done, and do nothing")
        parser.add_argument("--yes", action="store_true", help="do not ask")

    def handle(self, *_args: Any, **options: Any) -> None:
        using = router.db_for_write(Email)
        ids = _chosen(options, using=using)
        states = states_by_id(ids, using=using)
        missing = [pk for pk in ids if pk not in states]
        for pk in missing:
            self.stderr.write(_("There is no mail with the number %(mail)s.") % {"mail": pk})
        if states and (sentence := allowed_sentence()):
            self.stdout.write(sentence)
        up_to = newest_attempt(using=using)
        twice = sorted(could_come_twice(states, using=using))
        if options["dry_run"]:
            self._warn(twice, using=using)
            self.stdout.write(_would_be_queued(len(states)))
            return _check(missing)
        if twice and not options["yes"]:
            self._warn(twice, using=using)
            agree(_('Type "yes" to queue them again:'))
        done = requeue(states, agreed=None if options["yes"] else Agreement(set(twice), up_to), using=using)
        self.stdout.write(_were_queued(len(done), len(ids)))
        left = sorted(states.keys() - set(done))
        self._explain(left, using=using)
        return _check([*missing, *left])

    def _warn(self, twice: Sequence[int], *, using: str) -> None:
        if not twice:
            return
        pattern = ngettext(
            "%(count)s mail could come a second time:", "%(count)s mails could come a second time:", len(twice)
        )
        self.stdout.write(pattern % {"count": f"{len(twice):,}"})
        for reach in reaches_of(twice[:LISTED_COUNT], using=using):
            words = {"mail": reach.mail.pk, "state": reach.status.text, "recipients": ", ".join(reach.goes_to)}
            self.stdout.write("  " + _("%(mail)d (%(state)s) to %(recipients)s") % words)
        for line in and_more(len(twice)):
            self.stdout.write(line)

    def _explain(self, left: Sequence[int], *, using: str) -> None:
        for reach in reaches_of(left[:LISTED_COUNT], using=using):
            words = {"mail": reach.mail.pk, "reason": _why_left(reach)}
            self.stdout.write("  " + _("mail %(mail)d was left as it is: %(reason)s") % words)
        for line in and_more(len(left)):
            self.stdout.write(line)


def _would_be_queued(count: int) -> str:
    pattern = ngettext(
        "%(count)s mail would be queued again, unless something keeps it from that.",
        "%(count)s mails would be queued again, unless something keeps them from that.",
        count,
    )
    return pattern % {"count": f"{count:,}"}


def _were_queued(count: int, asked_count: int) -> str:
    pattern = ngettext(
        "%(count)s of %(asked)s mail was queued again.", "%(count)s of %(asked)s mails were queued again.", asked_count
    )
    return pattern % {"count": f"{count:,}", "asked": f"{asked_count:,}"}


def _check(left: Sequence[int]) -> None:
    if left:
        pattern = ngettext(
            "%(count)s mail that was asked for was not queued again.",
            "%(count)s mails that were asked for were not queued again.",
            len(left),
        )
        raise CommandError(pattern % {"count": f"{len(left):,}"})


def _why_left(reach: Reach) -> str:
    return str(reach.obstacle.label) if reach.obstacle else _("it is %(state)s") % {"state": reach.status.text}


def _chosen(options: Mapping[str, Any], *, using: str) -> list[int]:
    if bool(options["ids"]) == bool(options["state"]):
        raise CommandError(_("Give numbers of mails, or --state; not both."))
    if options["ids"] and options["backend"]:
        raise CommandError(_("--backend goes with --state."))
    if options["ids"]:
        return list(dict.fromkeys(options["ids"]))
    mails = filter_by_state(Email.objects.using(using), options["state"])
    if alias := options["backend"]:
        check_backend(alias)
        mails = mails.filter(backend_alias__in=spellings(alias))
    return list(mails.order_by("pk").values_list("pk", flat=True))
