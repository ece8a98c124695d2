"""Judges what a Django e-mail backend raises: by SMTP stage, by HTTP status, or by how the line was lost."""

import smtplib
from collections.abc import Iterator, Mapping, Sequence
from email.message import Message

from mailqueue.delivery.classify import judge, judge_http, parse_reply
from mailqueue.delivery.hints import retry_after
from mailqueue.delivery.judgements import COUNTED, FAIL, FAIL_RECIPIENT, RETRY, UNFORESEEN, UNKNOWN
from mailqueue.delivery.letter import UnreadableError
from mailqueue.delivery.outcomes import Outcome, Reply, Stage, Verdict
from mailqueue.delivery.rules import RULES, Rule
from mailqueue.delivery.tally import Answer, Tally, reason

_SMTP_STAGES: tuple[tuple[type[smtplib.SMTPResponseException], Stage], ...] = (
    (smtplib.SMTPConnectError, Stage.GREETING),
    (smtplib.SMTPHeloError, Stage.EHLO),
    (smtplib.SMTPAuthenticationError, Stage.AUTH),
    (smtplib.SMTPSenderRefused, Stage.MAIL),
    (smtplib.SMTPDataError, Stage.DATA),
)
_LOST = (ConnectionError, TimeoutError, smtplib.SMTPServerDisconnected)
_BY_NAME = {
    "AnymailRecipientsRefused": FAIL_RECIPIENT,
    "AnymailInvalidAddress": FAIL,
    "AnymailSerializationError": FAIL,
    "AnymailUnsupportedFeature": FAIL,
}
"""What Anymail raises of its own, in place of a service's answer."""
_NEVER_CONNECTED = ("ConnectTimeout", "ConnectTimeoutError", "NewConnectionError", "ConnectError")
"""Names that requests, urllib3 and httpx give to a request that never left."""


def sending_failed(error: Exception, *, recipients: Sequence[str] = (), rules: Sequence[Rule] = RULES) -> Outcome:
    """Judge what a backend raised while it was sending: by SMTP stage, by HTTP status, or by how the line was lost."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        return _recipients_refused(error, recipients, rules=rules)
    answer = _answered(error, rules=rules)
    if answer is not None:
        return answer.outcome()
    causes = tuple(_causes(error))
    if any(isinstance(cause, UnreadableError) for cause in causes):
        return Answer.raised(Stage.BUILD, error, FAIL).outcome()
    if any(_never_connected(cause) for cause in causes):
        return Answer.raised(Stage.CONNECT, error, COUNTED).outcome()
    if any(isinstance(cause, _LOST) for cause in causes):
        # Nobody can tell from outside of the backend whether the mail had been taken.
        return Answer.raised(Stage.FINAL_DOT, error, UNKNOWN).outcome()
    judgement = _BY_NAME.get(type(error).__name__, UNFORESEEN)
    return Answer.raised(Stage.DATA, error, judgement).outcome()


def opening_failed(error: Exception, *, rules: Sequence[Rule] = RULES) -> Outcome:
    """Judge what was raised before a backend was open: nothing of it can be the mail's fault."""
    answer = _answered(error, rules=rules)
    if answer is not None and answer.judgement.verdict is Verdict.DEFER:
        return answer.outcome()
    stage = Stage.TLS if isinstance(error, smtplib.SMTPNotSupportedError) else Stage.CONNECT
    return Answer.lost(stage, error).outcome()


def _answered(error: Exception, *, rules: Sequence[Rule]) -> Answer | None:
    """The answer of a server, where the exception holds one."""
    name = type(error).__name__
    for kind, stage in _SMTP_STAGES:
        if isinstance(error, kind) and error.smtp_code in range(200, 600):
            reply = parse_reply(error.smtp_code, error.smtp_error)
            return Answer(stage, reply, judge(stage=stage, reply=reply, rules=rules), name)
    status = _http_status(error)
    if status is None:
        return None
    reply = Reply(status, reason(error), is_exception=True, retry_after=_retry_after(error))
    return Answer(Stage.DATA, reply, judge_http(reply, rules=rules), name)


def _http_status(error: Exception) -> int | None:
    for source in (error, getattr(error, "response", None)):
        for name in ("status_code", "code"):
            status = getattr(source, name, None)
            if isinstance(status, int) and 400 <= status < 600:
                return status
    return None


def _retry_after(error: Exception) -> float | None:
    """Read the header by which a service says when to come again."""
    for source in (getattr(error, "response", None), error):
        headers = getattr(source, "headers", None)
        if isinstance(headers, Mapping | Message):
            given = {str(name).lower(): str(value) for name, value in headers.items()}
            return retry_after(given.get("retry-after", ""), date=given.get("date", ""))
    return None


def _recipients_refused(
    error: smtplib.SMTPRecipientsRefused, recipients: Sequence[str], *, rules: Sequence[Rule]
) -> Outcome:
    """Judge a refusal of all recipients. smtplib names them as it sent them, in the order of the message's."""
    answers = [Answer.to(Stage.RCPT, parse_reply(code, raw), rules=rules) for code, raw in error.recipients.values()]
    ending = [answer for answer in answers if answer.judgement.close]
    if ending or not answers:
        return (ending[0] if ending else Answer.raised(Stage.RCPT, error, RETRY)).outcome()
    names = recipients if len(recipients) == len(answers) else list(error.recipients)
    return Tally(refused=dict(zip(names, answers, strict=True))).outcome()


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        seen.append(error)
        yield error
        error = error.__cause__ or error.__context__


def _never_connected(error: BaseException) -> bool:
    return isinstance(error, ConnectionRefusedError) or type(error).__name__ in _NEVER_CONNECTED
