"""Decides who is to blame for a failed delivery and what to do about it. Pure: knows no Django and no connection.

The stage that was reached decides first, then the rules (see `rules`), then the enhanced code (RFC 3463), the basic
code, and its first digit (RFC 5321, section 4.2.1).
"""

import re
import smtplib
import ssl
from collections.abc import Sequence

from mailqueue.delivery.hints import retry_hint
from mailqueue.delivery.judgements import (
    BUSY,
    COUNTED,
    CROWDED,
    FAIL,
    LOST,
    RETRY,
    SENT,
    SHUT,
    THROTTLED,
    TOO_MANY_RECIPIENTS,
    UNFORESEEN,
    UNKNOWN,
)
from mailqueue.delivery.outcomes import Blame, Judgement, Reply, Stage, Verdict
from mailqueue.delivery.rules import ENHANCED_VERDICTS, RULES, SESSION, Rule

REPLY_LENGTH = 1_000

HTTP_JUDGEMENTS = {
    400: FAIL,
    401: SHUT,
    402: SHUT,
    403: SHUT,
    413: FAIL,
    422: FAIL,
    429: THROTTLED,
}

_LOSSES = (
    ConnectionError,
    TimeoutError,
    smtplib.SMTPServerDisconnected,
    ssl.SSLEOFError,
    ssl.SSLSyscallError,
    ssl.SSLZeroReturnError,
)
_PASSING_BUILD_ERRORS = (ConnectionError, TimeoutError)
"""An attachment's storage may be away for a moment; nothing else in a build mends itself, but for memory."""


def judge(
    *,
    stage: Stage,
    reply: Reply | None = None,
    error: BaseException | None = None,
    rules: Sequence[Rule] = RULES,
) -> Judgement:
    """Classify one failure: what the server replied at this stage, or what was raised there instead of a reply.

    Total: gives a judgement for every combination (DESIGN, section 5). Positive replies are judged too: 2xx after the
    final dot is sent; anywhere else they are what was not expected. `rules` are read in their order.
    """
    if stage is Stage.DONE:
        return SENT
    if stage is Stage.BUILD:
        return _unbuilt(error)
    return _unanswered(stage, error) if reply is None else _answered(stage, reply, rules)


def judge_surprise(stage: Stage) -> Judgement:
    """Judge an exception that nobody foresaw, by the stage that it interrupted."""
    if stage is Stage.FINAL_DOT:
        return UNKNOWN
    return COUNTED if stage in SESSION else UNFORESEEN


def judge_http(reply: Reply, *, rules: Sequence[Rule] = RULES) -> Judgement:
    """Classify what a mail service's API answered: the reply's code is the HTTP status."""
    return _by_rule(Stage.DATA, reply, rules) or HTTP_JUDGEMENTS.get(reply.code, RETRY)


def _unbuilt(error: BaseException | None) -> Judgement:
    if isinstance(error, MemoryError):
        return UNFORESEEN
    return RETRY if isinstance(error, _PASSING_BUILD_ERRORS) else FAIL


def _answered(stage: Stage, reply: Reply, rules: Sequence[Rule]) -> Judgement:
    if 200 <= reply.code < 400:
        return SENT if stage is Stage.FINAL_DOT and reply.code < 300 else _unclear(stage)
    judgement = _by_rule(stage, reply, rules)
    if judgement is not None:
        return judgement
    return COUNTED if stage in SESSION else _by_code(stage, reply)


def _by_rule(stage: Stage, reply: Reply, rules: Sequence[Rule]) -> Judgement | None:
    """Before a mail is named nothing can be its fault, whatever a rule says."""
    for rule in rules:
        is_possible = stage not in SESSION or rule.judgement.verdict is Verdict.DEFER
        if is_possible and rule.matches(stage=stage, reply=reply):
            return _fitting(rule.judgement, stage)
    return None


def _fitting(judgement: Judgement, stage: Stage) -> Judgement:
    """Let no rule of a project make a mail come back at once, for ever, where its word means nothing."""
    if judgement == TOO_MANY_RECIPIENTS and stage is not Stage.RCPT:
        return RETRY
    return CROWDED if judgement == BUSY and stage in SESSION else judgement


def _unanswered(stage: Stage, error: BaseException | None) -> Judgement:
    if stage in (Stage.TLS, Stage.AUTH) and not isinstance(error, _LOSSES):
        return SHUT
    return _unclear(stage)


def _unclear(stage: Stage) -> Judgement:
    """Judge what is no usable reply. Only after the final dot can the server have taken the mail."""
    if stage is Stage.FINAL_DOT:
        return UNKNOWN
    return COUNTED if stage in SESSION else LOST


def _by_code(stage: Stage, reply: Reply) -> Judgement:
    verdict = ENHANCED_VERDICTS.get(reply.enhanced) or _by_digit(reply)
    if verdict is None:
        return _unclear(stage)
    return Judgement(verdict, Blame.RECIPIENT if stage is Stage.RCPT else Blame.MESSAGE)


def _by_digit(reply: Reply) -> Verdict | None:
    """Where the two codes contradict each other, the milder one holds: a retry loses nothing."""
    digits = {reply.code // 100, int(reply.enhanced[:1] or 0)}
    if 4 in digits:
        return Verdict.RETRY
    return Verdict.FAIL if 5 in digits else None


_ENHANCED = re.compile(r"([245]\.\d{1,3}\.\d{1,3})(?:\s+|$)")
_ORDINARY = re.compile(
    rb"(?:([245]\.\d{1,3}\.\d{1,3}) )?((?![245]\.\d{1,3}\.\d{1,3}(?: |$))[!-~]{1,99}(?: [!-~]{1,99}){0,9})"
)
"""One line in ASCII with nothing to clean: what most servers say when they agree, a fraction of the work to read."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f\s]+")


def parse_reply(code: int, raw: bytes | str) -> Reply:
    """Read one SMTP reply, its lines already without the basic code, as smtplib gives it.

    The lines become one text of at most `REPLY_LENGTH` characters, without control characters (Postgres takes no NUL)
    and without the enhanced code that servers repeat on each line (RFC 2034). A refusal may say when to come again.
    """
    if code < 400 and isinstance(raw, bytes) and (ordinary := _ORDINARY.fullmatch(raw)):
        return Reply(code, ordinary[2].decode(), (ordinary[1] or b"").decode())
    enhanced, texts = "", []
    for line in _decode(raw).splitlines():
        match = _ENHANCED.match(line.strip())
        enhanced = enhanced or (match[1] if match else "")
        texts.append(line.strip()[match.end() :] if match and match[1] == enhanced else line)
    text = _CONTROL.sub(" ", " ".join(texts)).strip()[:REPLY_LENGTH]
    return Reply(code, text, enhanced, retry_after=retry_hint(text) if code >= 400 else None)


def _decode(raw: bytes | str) -> str:
    if isinstance(raw, str):
        return raw
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")
