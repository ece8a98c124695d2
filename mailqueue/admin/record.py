"""The admin's log of what people did to mail: one entry for each mail, and none of them names an address by itself."""

from collections.abc import Sequence

from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.utils.translation import gettext
from post_office.models import Email

# Nothing here is gone when its mail is: what is personal would stay for ever.


def record(email_ids: Sequence[int], text: str, *, user_id: int) -> None:
    """Write that somebody did this to each of these mails."""
    kind = ContentType.objects.get_for_model(Email).pk
    name = gettext("Mail %(number)s")
    LogEntry.objects.bulk_create(
        [
            LogEntry(
                user_id=user_id,
                content_type_id=kind,
                object_id=str(pk),
                object_repr=name % {"number": pk},
                action_flag=CHANGE,
                change_message=text,
            )
            for pk in email_ids
        ],
        batch_size=1000,
    )


def record_of_all(what: str, text: str, *, user_id: int) -> None:
    """Write that somebody did something with many mails that changed none of them."""
    LogEntry.objects.create(
        user_id=user_id,
        content_type_id=ContentType.objects.get_for_model(Email).pk,
        object_repr=what[:200],
        action_flag=CHANGE,
        change_message=text,
    )
