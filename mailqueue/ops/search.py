"""Finding mail by whom it goes to."""

from django.db.models import Q
from post_office.models import Email


def newest_to(text: str, *, count: int, using: str) -> list[int]:
    """Return the primary keys of the newest mails that have this text in one of their addresses, newest first.

    Capital letters do not matter. Where there are fewer than `count`, the whole table is read.
    """
    has_it = Q(to__icontains=text) | Q(cc__icontains=text) | Q(bcc__icontains=text)
    return list(Email.objects.using(using).filter(has_it).order_by("-pk").values_list("pk", flat=True)[:count])
