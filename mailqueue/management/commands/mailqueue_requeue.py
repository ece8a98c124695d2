"""`manage.py mailqueue_requeue`: queue mail again."""

from argparse import ArgumentParser
from collections.abc import Mapping, Sequence
from typing import Any

from django.core.management.base import CommandError
from django.db import router
from post_office.models import Email

from mailqueue.delivery.backends import canonical, configured_aliases, spellings
from mailqueue.management.command import QueueCommand
from mailqueue.ops.reach import Reach, reaches_of
from mailqueue.ops.states import State, filter_by_state, states_by_id
from mailqueue.queue.orders import Agreement, could_come_twice, newest_attempt, requeue

LISTED_COUNT = 20
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

    def handle(self, *_: Any, **options: Any) -> None:
        using = router.db_for_write(Email)
        ids = _chosen(options, using=using)
        states = states_by_id(ids, using=using)
        missing = [pk for pk in ids if pk not in states]
        for pk in missing:
            self.stderr.write(f"There is no mail with the number {pk}.")
        up_to = newest_attempt(using=using)
        twice = sorted(could_come_twice(states, using=using))
        if options["dry_run"]:
            self._warn(twice, using=using)
            self.stdout.write(f"{len(states):,} would be queued again, unless something keeps them from it.")
            return _check(missing)
        if twice and not options["yes"]:
            self._ask(twice, using=using)
        done = requeue(states, agreed=None if options["yes"] else Agreement(set(twice), up_to), using=using)
        self.stdout.write(f"{len(done):,} of {len(ids):,} mails were queued again.")
        left = sorted(states.keys() - set(done))
        self._explain(left, using=using)
        return _check([*missing, *left])

    def _ask(self, twice: Sequence[int], *, using: str) -> None:
        self._warn(twice, using=using)
        try:
            answer = input('Type "yes" to queue them again: ')
        except EOFError:
            answer = ""
        if answer.strip() != "yes":
            raise CommandError("Nothing was done. Give --yes where nobody can be asked.")

    def _warn(self, twice: Sequence[int], *, using: str) -> None:
        if not twice:
            return
        self.stdout.write(f"{len(twice):,} mails could come a second time:")
        for reach in reaches_of(twice[:LISTED_COUNT], using=using):
            self.stdout.write(f"  {reach.mail.pk} ({reach.status.text}) to {', '.join(reach.goes_to)}")
        if len(twice) > LISTED_COUNT:
            self.stdout.write(f"  and {len(twice) - LISTED_COUNT:,} more")

    def _explain(self, left: Sequence[int], *, using: str) -> None:
        for reach in reaches_of(left[:LISTED_COUNT], using=using):
            self.stdout.write(f"  {reach.mail.pk} was left as it is: {_why_left(reach)}")
        if len(left) > LISTED_COUNT:
            self.stdout.write(f"  and {len(left) - LISTED_COUNT:,} more")


def _check(left: Sequence[int]) -> None:
    if left:
        raise CommandError(f"Not queued again, of the mails that were asked for: {len(left):,}.")


def _why_left(reach: Reach) -> str:
    return str(reach.obstacle.label) if reach.obstacle else f"it is {reach.status.text}"


def _chosen(options: Mapping[str, Any], *, using: str) -> list[int]:
    if bool(options["ids"]) == bool(options["state"]):
        raise CommandError("Give numbers of mails, or --state; not both.")
    if options["ids"] and options["backend"]:
        raise CommandError("--backend goes with --state.")
    if options["ids"]:
        return list(dict.fromkeys(options["ids"]))
    mails = filter_by_state(Email.objects.using(using), options["state"])
    if alias := options["backend"]:
        if canonical(alias) not in configured_aliases():
            raise CommandError(f"There is no backend {alias!r}. Configured: {', '.join(configured_aliases())}.")
        mails = mails.filter(backend_alias__in=spellings(alias))
    return list(mails.order_by("pk").values_list("pk", flat=True))
