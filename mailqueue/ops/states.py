"""The readable state of a mail, for a page of mails at once, and lists filtered by it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import router
from django.db.models import QuerySet
from django.utils.translation import gettext
from post_office.models import Email

from mailqueue.ops.conditions import UNDER_WAY, State, conditions, narrowed, with_facts
from mailqueue.ops.facts import readable_time
from mailqueue.ops.gathering import gather
from mailqueue.ops.sentences import sentence

__all__ = ["MailStatus", "State", "filter_by_state", "state_of", "states_by_id", "states_of"]

BATCH = 2000


@dataclass(frozen=True, slots=True)
class MailStatus:
    """The state of one mail; texts are in the language that was active when it was made."""

    state: State
    detail: str
    """Why, in one sentence."""
    until: datetime | None
    """When something is due to happen: the scheduled time, or the next try."""
    attempt_count: int
    """Attempts that were started, one under way included."""

    @property
    def text(self) -> str:
        """The state in a few words, with its time."""
        if self.until is None:
            return str(self.state.label)
        patterns = {
            State.SCHEDULED: gettext("scheduled for %(time)s"),
            State.RETRYING: gettext("retrying at %(time)s"),
            State.UNKNOWN: gettext("unknown, sent again at %(time)s"),
        }
        return patterns[self.state] % {"time": readable_time(self.until)}

    @property
    def is_final(self) -> bool:
        """Nothing more happens to the mail unless a person acts."""
        return self.state not in UNDER_WAY and self.until is None


def states_of(emails: Iterable[Email]) -> dict[int, MailStatus]:
    """Describe mails as the database knows them now, by primary key; what is gone is left out.

    All of them must come from the same database. The number of statements does not depend on how many they are.
    """
    mails = list(emails)
    return _described([mail.pk for mail in mails], using=mails[0]._state.db) if mails else {}


def states_by_id(email_ids: Iterable[int], *, using: str) -> dict[int, MailStatus]:
    """Describe any number of mails of one database, in the order given; what is gone is left out."""
    ids = list(dict.fromkeys(email_ids))
    described: dict[int, MailStatus] = {}
    for start in range(0, len(ids), BATCH):
        batch = ids[start : start + BATCH]
        found = _described(batch, using=using)
        described |= {pk: found[pk] for pk in batch if pk in found}
    return described


def _described(ids: Sequence[int], *, using: str | None) -> dict[int, MailStatus]:
    gathered = gather(ids, using=using or router.db_for_read(Email))
    return {
        pk: MailStatus(facts.state, sentence(facts), facts.until, facts.attempt_count)
        for pk, facts in gathered.items()
    }


def state_of(email: Email) -> MailStatus:
    """Describe one mail.

    Raises:
        Email.DoesNotExist: the mail is no longer in the database.
    """
    described = states_of([email])
    if email.pk not in described:
        raise Email.DoesNotExist(f"Mail {email.pk} is not in the database.")
    return described[email.pk]


def filter_by_state(queryset: QuerySet[Email], state: State | str) -> QuerySet[Email]:
    """Keep the mails that `states_of` describes with this state."""
    return with_facts(narrowed(queryset, State(state))).filter(conditions()[State(state)])
