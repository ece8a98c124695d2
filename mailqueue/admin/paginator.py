"""Pages of a list that may hold a million rows: what is counted is capped, and the list ends at the cap."""

from typing import TYPE_CHECKING, Any, Self

from django.core.paginator import Paginator
from django.db import connections
from django.db.models import QuerySet
from django.utils.formats import number_format
from django.utils.functional import cached_property
from django.utils.translation import gettext

from mailqueue.queue.tables import estimate_count

MOST_COUNTED = 10_000


class CappedCount(int):
    """As many rows as the pages show, where there are more. It reads as what is known of all of them.

    Django's templates take a count for a number and say it in several places: of all that match, for one, when
    somebody is about to select them.
    """

    about: int
    """About how many there are; 0: nobody knows."""

    def __new__(cls, cap: int, *, about: int = 0) -> Self:
        count = super().__new__(cls, cap)
        count.about = about
        return count

    @property
    def listed(self) -> str:
        return number_format(int(self))

    def __str__(self) -> str:
        if self.about > self:
            return gettext("about %(count)s") % {"count": number_format(self.about)}
        return gettext("more than %(count)s") % {"count": self.listed}


if TYPE_CHECKING:
    Pages = Paginator[Any]
else:
    Pages = Paginator


class CappedPaginator(Pages):
    """Counts `MOST_COUNTED` rows at most. How many there are in all, nobody waits for."""

    object_list: QuerySet[Any]

    @cached_property
    def count(self) -> int:
        rows = self.object_list
        found: int = rows.order_by()[: MOST_COUNTED + 1].count()
        if found <= MOST_COUNTED:
            return found
        return CappedCount(MOST_COUNTED, about=_estimate(rows))


def _estimate(rows: QuerySet[Any]) -> int:
    """Return about how many rows a whole table has; 0 where the rows are narrowed: of those nobody knows."""
    if rows.query.where:
        return 0
    with connections[rows.db].cursor() as cursor:
        return estimate_count(cursor, table=rows.model._meta.db_table)
