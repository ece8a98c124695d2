"""What a rule may come to: the judgements of the delivery table, by name. Pure."""

from collections.abc import Mapping
from types import MappingProxyType

from mailqueue.delivery.outcomes import Blame, Judgement, Pace, Trouble, Verdict

SENT = Judgement(Verdict.SENT, Blame.NONE)
UNKNOWN = Judgement(Verdict.UNKNOWN, Blame.NONE, close=True)

SHUT = Judgement(Verdict.DEFER, Blame.BACKEND, Trouble.SHUT, close=True)
COUNTED = Judgement(Verdict.DEFER, Blame.BACKEND, Trouble.CONNECT, close=True)
CROWDED = Judgement(Verdict.DEFER, Blame.BACKEND, Trouble.CROWDED, close=True)
BUSY = Judgement(Verdict.DEFER, Blame.BACKEND, Trouble.BUSY, close=True)
THROTTLED = Judgement(Verdict.DEFER, Blame.BACKEND, Trouble.THROTTLED)
SENDER_REFUSED = Judgement(Verdict.HOLD, Blame.BACKEND, Trouble.SENDER)

RETRY = Judgement(Verdict.RETRY, Blame.MESSAGE)
FAIL = Judgement(Verdict.FAIL, Blame.MESSAGE)
POLICY = Judgement(Verdict.FAIL, Blame.MESSAGE, Trouble.POLICY)
LOST = Judgement(Verdict.RETRY, Blame.MESSAGE, close=True)
UNFORESEEN = Judgement(Verdict.RETRY, Blame.MESSAGE, close=True, pace=Pace.THREE_TIMES)

RETRY_RECIPIENT = Judgement(Verdict.RETRY, Blame.RECIPIENT)
FAIL_RECIPIENT = Judgement(Verdict.FAIL, Blame.RECIPIENT)
MAILBOX_FULL = Judgement(Verdict.RETRY, Blame.RECIPIENT, pace=Pace.MAILBOX)
TOO_MANY_RECIPIENTS = Judgement(Verdict.RETRY, Blame.RECIPIENT, pace=Pace.AT_ONCE)
THROTTLED_RECIPIENT = Judgement(Verdict.RETRY, Blame.RECIPIENT, Trouble.THROTTLED, pace=Pace.AT_ONCE)
"""What throttling comes to where others of the same transaction were accepted."""

BY_WORD: Mapping[str, Judgement] = MappingProxyType(
    {
        "fail": FAIL,
        "fail_recipient": FAIL_RECIPIENT,
        "policy": POLICY,
        "retry": RETRY,
        "retry_recipient": RETRY_RECIPIENT,
        "mailbox_full": MAILBOX_FULL,
        "too_many_recipients": TOO_MANY_RECIPIENTS,
        "throttle": THROTTLED,
        "busy": BUSY,
        "too_many_connections": CROWDED,
        "unavailable": COUNTED,
        "shut": SHUT,
        "hold_sender": SENDER_REFUSED,
    }
)
"""The words of REPLY_RULES."""
