"""The limits of a mail provider, as a scripted SMTP server keeps them: rate, quota, connections, recipients."""

import time
from dataclasses import dataclass, field

RATE_REPLY = "454 4.7.0 Throttling failure: Maximum sending rate exceeded."
QUOTA_REPLY = "454 4.7.0 Throttling failure: Daily message quota exceeded."
CONNECTION_REPLY = "421 4.7.0 Too many concurrent SMTP connections"
RECIPIENT_REPLY = "452 4.5.3 Too many recipients"


class TokenBucket:
    """Allows so many a second, and a burst of one second's worth (never less than one)."""

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self._burst = max(rate, 1.0)
        self._tokens = self._burst
        self._counted_at = time.monotonic()

    def take(self) -> bool:
        """Take one token, if there is one."""
        now = time.monotonic()
        self._tokens = min(self._tokens + (now - self._counted_at) * self.rate, self._burst)
        self._counted_at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def owe(self) -> None:
        """Take one token that will be there later."""
        self._tokens -= 1


@dataclass(kw_only=True)
class Limits:
    """What a server takes of its clients together. None: as much as they like. All of it may be set while it runs."""

    rate_limit: float | None = None
    """Recipients per second, of all connections. MAIL is refused when it is used up, and pays for the first recipient;
    the others of the message are let pass, and the next message waits for them.
    """
    daily_quota: int | None = None
    """Recipients of the messages that were taken, and of those that are being offered. MAIL and RCPT are refused when
    it is used up. The day does not end.
    """
    recipient_limit: int | None = None
    """Recipients of one message. Further RCPT are refused."""
    connection_limit: int | None = None
    """Connections at a time. One more is told so at the greeting, and closed."""
    rate_reply: str = RATE_REPLY
    quota_reply: str = QUOTA_REPLY
    recipient_reply: str = RECIPIENT_REPLY
    connection_reply: str = CONNECTION_REPLY
    _bucket: TokenBucket | None = field(default=None, init=False, repr=False)

    def refuse_message(self, *, of_day: int) -> str:
        """Say no to one more message, or "" and count it. `of_day` is how many recipients there were already."""
        if self.daily_quota is not None and of_day >= self.daily_quota:
            return self.quota_reply
        bucket = self._present_bucket()
        return "" if bucket is None or bucket.take() else self.rate_reply

    def refuse_recipient(self, *, of_message: int, of_day: int) -> str:
        """Say no to one more recipient, or "" and count him."""
        if self.recipient_limit is not None and of_message >= self.recipient_limit:
            return self.recipient_reply
        if self.daily_quota is not None and of_day >= self.daily_quota:
            return self.quota_reply
        bucket = self._present_bucket()
        if bucket is not None and of_message:
            bucket.owe()
        return ""

    def _present_bucket(self) -> TokenBucket | None:
        if self.rate_limit is None:
            self._bucket = None
        elif self._bucket is None or self._bucket.rate != self.rate_limit:
            self._bucket = TokenBucket(self.rate_limit)
        return self._bucket
