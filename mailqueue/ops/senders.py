"""Which senders there are, and whether they are alive, by the database's clock."""

from datetime import timedelta
from typing import Any

from django.db.models import BooleanField, ExpressionWrapper, Q, QuerySet
from django.db.models.functions import Now

from mailqueue.queue.presence import ALIVE_SECONDS


def with_life(senders: QuerySet[Any]) -> QuerySet[Any]:
    """Add `is_alive`."""
    seen = Q(seen_at__gt=Now() - timedelta(seconds=ALIVE_SECONDS))
    described: QuerySet[Any] = senders.annotate(is_alive=ExpressionWrapper(seen, output_field=BooleanField()))
    return described
