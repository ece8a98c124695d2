"""What is known about the replies of mail servers and services, as data. Pure.

`RULES` is read from the top, the first rule that matches decides; a project's own rules stand before it. The other
tables speak where no rule does.
"""

import re
from dataclasses import dataclass

from mailqueue.delivery.judgements import (
    BUSY,
    CROWDED,
    FAIL,
    FAIL_RECIPIENT,
    MAILBOX_FULL,
    POLICY,
    RETRY_RECIPIENT,
    SENDER_REFUSED,
    SHUT,
    THROTTLED,
    TOO_MANY_RECIPIENTS,
)
from mailqueue.delivery.outcomes import Judgement, Reply, Stage, Verdict

SESSION = frozenset({Stage.CONNECT, Stage.GREETING, Stage.EHLO, Stage.TLS, Stage.AUTH})
CONTENT = frozenset({Stage.DATA, Stage.BODY, Stage.FINAL_DOT})
TRANSACTION = CONTENT | {Stage.MAIL, Stage.RCPT}


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of knowledge. Every condition that is given must hold; an empty one holds always."""

    name: str
    judgement: Judgement
    stages: frozenset[Stage] = frozenset()
    digit: int = 0
    codes: frozenset[int] = frozenset()
    enhanced: tuple[str, ...] = ()
    """Enhanced codes; one that ends in a dot stands for all that begin so, "" for none."""
    text: re.Pattern[str] | None = None

    def matches(self, *, stage: Stage, reply: Reply) -> bool:
        return (
            (not self.stages or stage in self.stages)
            and (not self.digit or reply.code // 100 == self.digit)
            and (not self.codes or reply.code in self.codes)
            and (not self.enhanced or any(_covers(wanted, reply.enhanced) for wanted in self.enhanced))
            and (self.text is None or self.text.search(reply.text) is not None)
        )


def _covers(wanted: str, enhanced: str) -> bool:
    return enhanced.startswith(wanted) if wanted.endswith(".") else enhanced == wanted


def _words(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


_MAIL = frozenset({Stage.MAIL})
_RCPT = frozenset({Stage.RCPT})
_ENVELOPE = _MAIL | _RCPT

# RFC 3463, X.2.X is the status of the mailbox: about the recipient even where the text speaks of limits.
_MAILBOX = (
    Rule("mailbox full", MAILBOX_FULL, stages=CONTENT | _RCPT, enhanced=("4.2.2", "5.2.2")),
    Rule("mailbox limited", RETRY_RECIPIENT, stages=_RCPT, enhanced=("4.2.",)),
    Rule("mailbox refuses", FAIL_RECIPIENT, stages=_RCPT, digit=5, enhanced=("5.2.",)),
)

_ACCOUNT = (
    Rule("daily quota", SHUT, text=_words(r"\bdaily\b.{0,60}\b(quota|limit)|\b(quota|limit)\b.{0,40}\bper day\b")),
    Rule("daily quota", SHUT, codes=frozenset({550}), enhanced=("5.4.5",)),
    # At RCPT the same code means too many recipients (RFC 3463, X.5.3).
    Rule("daily quota", SHUT, stages=CONTENT | _MAIL, codes=frozenset({452}), enhanced=("4.5.3",)),
    Rule(
        "submission limit",
        SHUT,
        codes=frozenset({554}),
        enhanced=("5.2.0",),
        text=_words(r"submission.*(limit|quota)"),
    ),
    Rule("credentials", SHUT, codes=frozenset({534, 535, 538})),
    Rule("credentials", SHUT, enhanced=("5.7.8", "4.7.12")),
    Rule("credentials", SHUT, stages=_ENVELOPE | {Stage.EHLO, Stage.TLS, Stage.AUTH}, codes=frozenset({530})),
    Rule(
        "credentials",
        SHUT,
        stages=_ENVELOPE,
        digit=5,
        text=_words(r"\bauthentication (is )?required\b|\bmust issue a starttls\b"),
    ),
    Rule("sending suspended", SHUT, text=_words(r"\bsending\b[\w ]{0,30}\b(suspended|paused|disabled)\b")),
    Rule("sending suspended", SHUT, text=_words(r"\byour account\b[\w ]{0,30}\b(suspended|disabled|paused)\b")),
)

_CROWD = (
    Rule("service closing", BUSY, stages=CONTENT | _RCPT, codes=frozenset({421})),
    Rule("service closing", CROWDED, codes=frozenset({421})),
    Rule("too many connections", CROWDED, codes=frozenset({432}), enhanced=("4.3.2",)),
    Rule(
        "too many connections",
        CROWDED,
        text=_words(r"\btoo many\b[\w ]{0,30}\b(connections|sessions)\b|\bconnections? limit\b"),
    ),
)

_PACE = (
    Rule("recipient limited", RETRY_RECIPIENT, stages=_RCPT, enhanced=("4.7.",)),
    Rule(
        "throttling",
        THROTTLED,
        stages=TRANSACTION,
        digit=4,
        text=_words(r"\bthrottl|\brate\b.{0,20}\b(exceeded|limit)|\btoo (many|much) (messages|e?mails?)\b"),
    ),
    Rule(
        "throttling",
        THROTTLED,
        stages=TRANSACTION,
        text=_words(r"\btoo many (messages|e?mails) per (second|minute|hour)\b"),
    ),
    Rule(
        "sending quota",
        SHUT,
        text=_words(
            r"\b(sending|submission|relay|outgoing|outbound)\b[\w ]{0,20}\b(quota|limit)\b.{0,20}\b(exceeded|reached)"
        ),
    ),
    Rule("sending quota", SHUT, codes=frozenset({454}), text=_words(r"\bquota\b")),
    Rule("TLS or log-in refused", SHUT, stages=frozenset({Stage.TLS, Stage.AUTH}), digit=5),
)

_SENDER_TEXT = _words(
    r"\bsender (address )?(rejected|verify failed)\b|\bverified sender\b|\bsend ?as ?(denied|this sender)\b"
    r"|\b(e-?mail address|sender|from|identity|identities|domain)\b.{0,80}\bnot (been )?verified\b"
)
_HTTP_REFUSALS = frozenset({400, 403, 422})

# Postfix tells at RCPT what it thinks of the sender (smtpd_delay_reject), services for mail after the final dot.
_SENDER = (
    Rule("sender refused", SENDER_REFUSED, stages=TRANSACTION, enhanced=("5.1.7", "5.1.8")),
    Rule("sender refused", SENDER_REFUSED, stages=TRANSACTION, digit=5, enhanced=("", "5."), text=_SENDER_TEXT),
    Rule("sender refused", SENDER_REFUSED, stages=CONTENT, codes=_HTTP_REFUSALS, enhanced=("",), text=_SENDER_TEXT),
    Rule(
        "sender refused",
        SENDER_REFUSED,
        stages=_MAIL,
        codes=frozenset({550, 553, 554}),
        enhanced=("", "5.0.", "5.1.", "5.2.", "5.7."),
    ),
)

_RECIPIENT = (
    Rule(
        "mailbox full",
        MAILBOX_FULL,
        stages=CONTENT | _RCPT,
        codes=frozenset({422, 452, 552}),
        text=_words(r"\b(mailbox|inbox)\b.{0,30}\b(full|storage)\b|\b(over ?quota|quota exceeded)\b"),
    ),
    Rule("too many recipients", TOO_MANY_RECIPIENTS, stages=_RCPT, enhanced=("4.5.3", "5.5.3")),
    # RFC 5321, section 4.5.3.1.10: 552 at RCPT is to be treated as 452, too many recipients.
    Rule("too many recipients", TOO_MANY_RECIPIENTS, stages=_RCPT, codes=frozenset({452, 552}), enhanced=("",)),
    Rule("too many recipients", TOO_MANY_RECIPIENTS, stages=_RCPT, text=_words(r"\btoo many (recipients|rcpts?)\b")),
)

_POLICY = (
    Rule("policy", POLICY, stages=CONTENT | _RCPT, digit=5, enhanced=("5.7.",)),
    Rule(
        "policy",
        POLICY,
        stages=CONTENT | _RCPT,
        digit=5,
        enhanced=("", "5.0.", "5.6."),
        text=_words(r"\bspam\b|\bblock(ed|ing|list(ed)?)\b|\bblack-?list(ed)?\b|\bpolicy\b"),
    ),
)

_SIZE = (Rule("too large", FAIL, stages=CONTENT | _MAIL, enhanced=("5.3.4",)),)

RULES: tuple[Rule, ...] = (
    *_MAILBOX,
    *_ACCOUNT,
    *_CROWD,
    *_PACE,
    *_SIZE,
    *_SENDER,
    *_RECIPIENT,
    *_POLICY,
)

ENHANCED_VERDICTS = {
    "5.2.2": Verdict.RETRY,
    "5.5.3": Verdict.RETRY,
}
"""Where the enhanced code says something else than its first digit: a full mailbox and too many recipients pass."""
