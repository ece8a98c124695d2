"""What Anymail notes on a message that it has sent: under which id the service knows it, and whom it does not take."""

from collections.abc import Mapping
from email.utils import parseaddr
from typing import Any

from django.core.mail import EmailMessage

from mailqueue.delivery.judgements import FAIL_RECIPIENT
from mailqueue.delivery.outcomes import Reply, Stage
from mailqueue.delivery.queue_ids import storable_id
from mailqueue.delivery.tally import Answer

REFUSED = frozenset({"invalid", "rejected", "failed"})


def service_id(message: EmailMessage) -> str:
    """Return the id of the mail at the service; where it gave each recipient one of his own, all of them."""
    found: Any = getattr(_status(message), "message_id", None)
    ids = found if isinstance(found, set) else {found}
    return storable_id(" ".join(sorted(str(known_as) for known_as in ids if known_as is not None)))


def refused_by_service(message: EmailMessage) -> dict[str, Answer]:
    """Return the answers to those recipients whom the service refused, while it took others."""
    given: Any = getattr(_status(message), "recipients", None)
    statuses = given if isinstance(given, Mapping) else {}
    refused = {address: status.status for address, status in statuses.items() if status.status in REFUSED}
    return {
        recipient: Answer(Stage.RCPT, Reply(0, f"the mail service calls it {refused[address]}"), FAIL_RECIPIENT)
        for recipient in message.recipients()
        if (address := parseaddr(recipient)[1]) in refused
    }


def _status(message: EmailMessage) -> Any:
    return getattr(message, "anymail_status", None)
