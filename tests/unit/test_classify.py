import smtplib
import ssl
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailqueue.delivery.classify import REPLY_LENGTH, judge, judge_http, judge_surprise, parse_reply
from mailqueue.delivery.judgements import (
    BUSY,
    COUNTED,
    CROWDED,
    FAIL,
    FAIL_RECIPIENT,
    LOST,
    MAILBOX_FULL,
    POLICY,
    RETRY,
    RETRY_RECIPIENT,
    SENDER_REFUSED,
    SENT,
    SHUT,
    THROTTLED,
    TOO_MANY_RECIPIENTS,
    UNFORESEEN,
    UNKNOWN,
)
from mailqueue.delivery.outcomes import Blame, Judgement, Reply, Stage, Trouble, Verdict
from mailqueue.delivery.rules import CONTENT, SESSION, TRANSACTION

stages = st.sampled_from(list(Stage))
texts = st.text(max_size=80) | st.sampled_from(
    ["daily quota exceeded", "too many connections", "Throttling failure", "mailbox full", "sending suspended"]
)
enhanced_codes = st.just("") | st.from_regex(r"\A[245]\.[0-9]{1,2}\.[0-9]{1,2}\Z")
replies = st.builds(Reply, st.integers(min_value=0, max_value=599), texts, enhanced_codes)
errors = st.sampled_from(
    [
        None,
        OSError("no route"),
        TimeoutError(),
        ConnectionResetError(),
        ssl.SSLCertVerificationError(),
        smtplib.SMTPServerDisconnected(),
        smtplib.SMTPNotSupportedError(),
        MemoryError(),
        RecursionError(),
        KeyError("template"),
    ]
)


@given(stage=stages, reply=st.none() | replies, error=errors)
def test_whatever_happens_at_whatever_stage_has_a_judgement(
    stage: Stage, reply: Reply | None, error: BaseException | None
) -> None:
    assert isinstance(judge(stage=stage, reply=reply, error=error), Judgement)


@given(stage=stages, reply=st.none() | replies, error=errors)
def test_what_is_deferred_or_held_is_never_the_mails_fault_and_what_is_retried_or_failed_always_is(
    stage: Stage, reply: Reply | None, error: BaseException | None
) -> None:
    judgement = judge(stage=stage, reply=reply, error=error)

    assert (judgement.verdict in (Verdict.DEFER, Verdict.HOLD)) == (judgement.blame is Blame.BACKEND)
    assert (judgement.verdict in (Verdict.RETRY, Verdict.FAIL)) == (
        judgement.blame in (Blame.MESSAGE, Blame.RECIPIENT)
    )


@given(stage=stages, reply=st.none() | replies, error=errors)
def test_only_the_backend_can_be_in_trouble_but_for_its_policy_about_what_mail_says(
    stage: Stage, reply: Reply | None, error: BaseException | None
) -> None:
    judgement = judge(stage=stage, reply=reply, error=error)

    assert judgement.trouble in (Trouble.NONE, Trouble.POLICY) or judgement.blame is Blame.BACKEND


@given(stage=st.sampled_from(sorted(SESSION)), reply=st.none() | replies, error=errors)
def test_before_the_mail_is_named_nothing_can_be_its_fault(
    stage: Stage, reply: Reply | None, error: BaseException | None
) -> None:
    assert judge(stage=stage, reply=reply, error=error).verdict is Verdict.DEFER


@given(stage=stages.filter(lambda stage: stage is not Stage.FINAL_DOT), reply=replies)
def test_nothing_is_unknown_before_the_final_dot(stage: Stage, reply: Reply) -> None:
    assert judge(stage=stage, reply=reply).verdict is not Verdict.UNKNOWN


@given(stage=stages, code=st.integers(min_value=400, max_value=499), text=texts)
def test_a_4xx_reply_without_an_enhanced_code_never_fails_a_mail(stage: Stage, code: int, text: str) -> None:
    verdict = judge(stage=stage, reply=Reply(code, text)).verdict

    assert (verdict is Verdict.FAIL) == (stage is Stage.BUILD)


@given(reply=replies.filter(lambda reply: reply.code >= 400))
def test_a_refusal_after_the_final_dot_is_never_taken_for_an_acceptance(reply: Reply) -> None:
    assert judge(stage=Stage.FINAL_DOT, reply=reply).verdict not in (Verdict.SENT, Verdict.UNKNOWN)


@pytest.mark.parametrize(
    ("stage", "error", "expected"),
    [
        (Stage.CONNECT, ConnectionRefusedError(), COUNTED),
        (Stage.CONNECT, OSError("name not known"), COUNTED),
        (Stage.CONNECT, TimeoutError(), COUNTED),
        (Stage.GREETING, TimeoutError(), COUNTED),
        (Stage.EHLO, smtplib.SMTPServerDisconnected(), COUNTED),
        (Stage.TLS, ssl.SSLCertVerificationError(), SHUT),
        (Stage.TLS, smtplib.SMTPNotSupportedError(), SHUT),
        (Stage.TLS, FileNotFoundError("client.crt"), SHUT),
        (Stage.TLS, ConnectionResetError(), COUNTED),
        (Stage.TLS, TimeoutError(), COUNTED),
        (Stage.AUTH, smtplib.SMTPNotSupportedError(), SHUT),
        (Stage.AUTH, ConnectionResetError(), COUNTED),
        (Stage.MAIL, ConnectionResetError(), LOST),
        (Stage.RCPT, TimeoutError(), LOST),
        (Stage.DATA, TimeoutError(), LOST),
        (Stage.BODY, BrokenPipeError(), LOST),
        (Stage.FINAL_DOT, TimeoutError(), UNKNOWN),
        (Stage.FINAL_DOT, ConnectionResetError(), UNKNOWN),
        (Stage.DONE, ConnectionResetError(), SENT),
        (Stage.BUILD, ValueError("bad header"), FAIL),
        (Stage.BUILD, FileNotFoundError("invoice.pdf"), FAIL),
        (Stage.BUILD, RecursionError(), FAIL),
        (Stage.BUILD, MemoryError(), UNFORESEEN),
        (Stage.BUILD, ConnectionResetError(), RETRY),
        (Stage.BUILD, None, FAIL),
    ],
)
def test_without_a_reply_the_stage_tells_whose_fault_it_is(
    stage: Stage, error: BaseException | None, expected: Judgement
) -> None:
    assert expected == judge(stage=stage, error=error)


ANYWHERE_IN_A_SESSION = sorted(SESSION - {Stage.TLS, Stage.AUTH})


@pytest.mark.parametrize("stage", ANYWHERE_IN_A_SESSION)
@pytest.mark.parametrize("code", [450, 500, 521, 554])
def test_a_refused_session_counts_on_the_breaker(stage: Stage, code: int) -> None:
    assert COUNTED == judge(stage=stage, reply=Reply(code, "no"))


@pytest.mark.parametrize("stage", [*sorted(SESSION), Stage.MAIL])
def test_a_server_that_closes_before_it_knows_a_recipient_is_crowded(stage: Stage) -> None:
    assert CROWDED == judge(stage=stage, reply=Reply(421, "no"))


@pytest.mark.parametrize(
    ("stage", "expected"),
    [
        (Stage.CONNECT, COUNTED),
        (Stage.AUTH, COUNTED),
        (Stage.MAIL, UNFORESEEN),
        (Stage.BODY, UNFORESEEN),
        (Stage.FINAL_DOT, UNKNOWN),
    ],
)
def test_a_surprise_is_judged_by_what_it_interrupted(stage: Stage, expected: Judgement) -> None:
    assert expected == judge_surprise(stage)


@pytest.mark.parametrize(
    ("stage", "reply", "expected"),
    [
        # The service closes, or has no room for one more connection.
        (Stage.MAIL, "421 4.3.2 Service not available", CROWDED),
        (Stage.RCPT, "421 4.7.0 Try again later", BUSY),
        (Stage.DATA, "421 closing", BUSY),
        (Stage.FINAL_DOT, "421 closing", BUSY),
        (Stage.MAIL, "450 Too many concurrent SMTP connections", CROWDED),
        (Stage.RCPT, "554 too many connections from your host", CROWDED),
        (Stage.FINAL_DOT, "432 4.3.2 STOREDRV.ClientSubmit; sender thread limit exceeded", CROWDED),
        # Credentials.
        (Stage.AUTH, "535 5.7.8 Authentication failed", SHUT),
        (Stage.AUTH, "534 5.7.9 Application-specific password required", SHUT),
        (Stage.AUTH, "538 5.7.11 Encryption required", SHUT),
        (Stage.AUTH, "500 unknown command", SHUT),
        (Stage.AUTH, "432 4.7.12 A password transition is needed", SHUT),
        (Stage.AUTH, "454 4.7.0 Temporary authentication failure", COUNTED),
        (Stage.TLS, "454 4.7.0 TLS not available", COUNTED),
        (Stage.TLS, "501 no parameters", SHUT),
        (Stage.MAIL, "530 5.7.0 Authentication required", SHUT),
        (Stage.MAIL, "530 5.7.0 Must issue a STARTTLS command first", SHUT),
        (Stage.RCPT, "550 5.7.1 Authentication required", SHUT),
        (Stage.MAIL, "535 5.7.8 Log in first", SHUT),
        # The account's quota; beats the first digit.
        (Stage.FINAL_DOT, "454 Throttling failure: Daily message quota exceeded.", SHUT),
        (Stage.FINAL_DOT, "550 5.4.5 Daily user sending limit exceeded.", SHUT),
        (Stage.MAIL, "550 5.4.5 limit", SHUT),
        (Stage.DATA, "452 4.5.3 Your message has too many recipients today", SHUT),
        (Stage.FINAL_DOT, "554 5.2.0 STOREDRV.Submission.Exception:SubmissionQuotaExceededException", SHUT),
        (Stage.FINAL_DOT, "554 Sending suspended for this account", SHUT),
        (Stage.FINAL_DOT, "554 Your account has been suspended", SHUT),
        (Stage.MAIL, "550 outgoing quota exceeded", SHUT),
        (Stage.MAIL, "454 quota", SHUT),
        (Stage.GREETING, "554 daily limit reached", SHUT),
        # Throttling.
        (Stage.FINAL_DOT, "454 Throttling failure: Maximum sending rate exceeded.", THROTTLED),
        (Stage.MAIL, "451 4.7.1 Rate limit exceeded", THROTTLED),
        (Stage.MAIL, "450 4.7.1 Error: too much mail from 192.0.2.1", THROTTLED),
        (Stage.MAIL, "452 too many messages", THROTTLED),
        (Stage.RCPT, "454 Throttling failure", THROTTLED),
        (Stage.FINAL_DOT, "550 5.7.0 Requested action not taken: too many emails per second", THROTTLED),
        # Size.
        (Stage.MAIL, "552 5.3.4 Message size exceeds fixed limit", FAIL),
        (Stage.MAIL, "552 too big", FAIL),
        (Stage.FINAL_DOT, "552 5.3.4 too big", FAIL),
        (Stage.FINAL_DOT, "552 too much mail data", FAIL),
        (Stage.RCPT, "552 5.3.4 too big for this recipient", FAIL_RECIPIENT),
        (Stage.MAIL, "452 4.3.1 Insufficient system storage", RETRY),
        # The message, for now or for good.
        (Stage.MAIL, "450 try later", RETRY),
        (Stage.MAIL, "451 4.3.0 local error", RETRY),
        (Stage.DATA, "451 4.3.0 local error", RETRY),
        (Stage.FINAL_DOT, "451 4.7.1 greylisted", RETRY),
        (Stage.FINAL_DOT, "452 4.3.1 no space", RETRY),
        (Stage.MAIL, "550 5.1.8 sender rejected", SENDER_REFUSED),
        (Stage.MAIL, "553 5.7.1 not owned by user", SENDER_REFUSED),
        (Stage.FINAL_DOT, "550 5.7.1 looks like spam", POLICY),
        (Stage.FINAL_DOT, "554 5.7.26 unauthenticated: requires all senders to authenticate with SPF or DKIM", POLICY),
        (Stage.FINAL_DOT, "554 Message rejected: Email address is not verified.", SENDER_REFUSED),
        (Stage.DATA, "503 bad sequence", FAIL),
        # The sender's address, wherever the server tells it; what is about the account goes before it.
        (Stage.MAIL, "550 no", SENDER_REFUSED),
        (Stage.MAIL, "554 5.7.1 no", SENDER_REFUSED),
        (Stage.MAIL, "501 5.1.7 bad sender address syntax", SENDER_REFUSED),
        (Stage.MAIL, "501 syntax", FAIL),
        (Stage.MAIL, "550 5.7.1 Authentication required", SHUT),
        (Stage.MAIL, "550 5.7.1 Sending suspended", SHUT),
        (Stage.MAIL, "450 4.1.8 Sender address rejected: Domain not found", RETRY),
        (Stage.MAIL, "553 5.3.4 too big", FAIL),
        (Stage.RCPT, "553 5.7.1 <a@b>: Sender address rejected: not owned by user", SENDER_REFUSED),
        (Stage.RCPT, "550 Sender verify failed", SENDER_REFUSED),
        (Stage.FINAL_DOT, "550 5.1.8 Access denied, bad outbound sender", SENDER_REFUSED),
        (Stage.FINAL_DOT, "550 The from address does not match a verified Sender Identity", SENDER_REFUSED),
        (Stage.FINAL_DOT, "550 5.7.60 Client does not have permissions to send as this sender", SENDER_REFUSED),
        # Policy.
        (Stage.RCPT, "554 5.7.1 Service unavailable; Client host blocked using a list", POLICY),
        (Stage.RCPT, "550 blacklisted", POLICY),
        (Stage.FINAL_DOT, "552 5.7.0 blocked because its content presents a potential security issue", POLICY),
        (Stage.FINAL_DOT, "554 rejected by policy", POLICY),
        (Stage.FINAL_DOT, "554 5.6.0 content", FAIL),
        (Stage.RCPT, "550 5.1.1 unknown by the policy of this server", FAIL_RECIPIENT),
        # One recipient.
        (Stage.RCPT, "450 4.2.0 Greylisted, see you in 300 seconds", RETRY_RECIPIENT),
        (Stage.RCPT, "450 4.2.1 The user is receiving mail at a daily rate limit", RETRY_RECIPIENT),
        (Stage.RCPT, "451 4.7.1 rate limited", RETRY_RECIPIENT),
        (Stage.RCPT, "452 4.2.2 over quota", MAILBOX_FULL),
        (Stage.RCPT, "552 5.2.2 Mailbox full", MAILBOX_FULL),
        (Stage.FINAL_DOT, "552 5.2.2 Mailbox full", MAILBOX_FULL),
        (Stage.FINAL_DOT, "552 Mailbox is full", MAILBOX_FULL),
        (Stage.RCPT, "452 4.5.3 Too many recipients", TOO_MANY_RECIPIENTS),
        (Stage.RCPT, "452 too many recipients", TOO_MANY_RECIPIENTS),
        (Stage.RCPT, "552 too many recipients", TOO_MANY_RECIPIENTS),
        (Stage.RCPT, "550 5.5.3 too many recipients", TOO_MANY_RECIPIENTS),
        (Stage.RCPT, "452 4.3.1 Insufficient system storage", RETRY_RECIPIENT),
        (Stage.DATA, "550 5.5.3 too many recipients", RETRY),
        (Stage.RCPT, "550 5.1.1 User unknown", FAIL_RECIPIENT),
        (Stage.RCPT, "550 5.2.1 The account is disabled", FAIL_RECIPIENT),
        (Stage.RCPT, "551 not local", FAIL_RECIPIENT),
        (Stage.RCPT, "553 mailbox name not allowed", FAIL_RECIPIENT),
        (Stage.RCPT, "554 5.7.1 Relay access denied", POLICY),
        # Codes that contradict each other: the milder one.
        (Stage.RCPT, "550 4.1.1 try later", RETRY_RECIPIENT),
        (Stage.FINAL_DOT, "450 5.7.1 try later", RETRY),
        (Stage.MAIL, "0 5.3.4 known before it was asked", FAIL),
        # What is no answer to the question.
        (Stage.MAIL, "354 go ahead", LOST),
        (Stage.DATA, "250 ok", LOST),
        (Stage.MAIL, "150 what", LOST),
        (Stage.FINAL_DOT, "354 go ahead", UNKNOWN),
        (Stage.FINAL_DOT, "0 ", UNKNOWN),
        (Stage.CONNECT, "220 hello", COUNTED),
        (Stage.FINAL_DOT, "250 2.0.0 Ok: queued as 4F3", SENT),
        (Stage.DONE, "421 too late", SENT),
    ],
)
def test_a_reply_is_judged_by_the_rows_of_the_table(stage: Stage, reply: str, expected: Judgement) -> None:
    code, _, text = reply.partition(" ")

    assert expected == judge(stage=stage, reply=parse_reply(int(code), text))


@pytest.mark.parametrize("stage", sorted(TRANSACTION))
def test_a_plain_4xx_is_retried(stage: Stage) -> None:
    assert judge(stage=stage, reply=Reply(451, "later")).verdict is Verdict.RETRY


@pytest.mark.parametrize("stage", sorted(CONTENT))
def test_a_plain_5xx_fails(stage: Stage) -> None:
    assert FAIL == judge(stage=stage, reply=Reply(554, "no"))


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("429 slow down", THROTTLED),
        ("401 no", SHUT),
        ("402 pay", SHUT),
        ("403 no", SHUT),
        ("400 no", FAIL),
        ("422 no", FAIL),
        ("413 no", FAIL),
        ("500 no", RETRY),
        ("503 no", RETRY),
        ("408 no", RETRY),
        ("400 Throttling: Maximum sending rate exceeded", THROTTLED),
        ("400 Daily message quota exceeded", SHUT),
        ("403 The from address does not match a verified Sender Identity", SENDER_REFUSED),
    ],
)
def test_what_a_mail_services_api_answers_is_judged(answer: str, expected: Judgement) -> None:
    status, _, text = answer.partition(" ")

    assert expected == judge_http(Reply(int(status), text, is_exception=True))


def test_the_enhanced_code_is_taken_out_of_the_text() -> None:
    assert Reply(550, "User unknown", "5.1.1") == parse_reply(550, b"5.1.1 User unknown")


def test_the_lines_of_a_reply_become_one_text_without_the_repeated_code() -> None:
    reply = parse_reply(550, b"5.7.26 This mail is\n5.7.26 unauthenticated.\nSee the manual")

    assert Reply(550, "This mail is unauthenticated. See the manual", "5.7.26") == reply


def test_a_second_enhanced_code_that_differs_stays_in_the_text() -> None:
    assert Reply(550, "first 5.7.1 second", "5.1.1") == parse_reply(550, "5.1.1 first\n5.7.1 second")


def test_an_address_that_looks_like_a_code_is_none() -> None:
    assert Reply(550, "5.1.1.9 is listed", "") == parse_reply(550, "5.1.1.9 is listed")


def test_a_reply_that_is_only_a_code_has_no_text() -> None:
    assert Reply(250, "", "2.0.0") == parse_reply(250, "2.0.0")


def test_a_reply_that_is_not_utf_8_is_read_as_latin_1() -> None:
    assert "Empfänger unbekannt" == parse_reply(550, b"Empf\xe4nger unbekannt").text


def test_control_characters_do_not_reach_the_database() -> None:
    assert "a b c d" == parse_reply(550, b"a\x00b\x1bc\td").text


@given(st.lists(st.sampled_from(["2.0.0", "2.1.5 ", "250", "Ok", ":", " ", "  ", "\t", "\n", "\x00", "ü", "x" * 101])))
def test_what_a_server_agrees_with_is_read_as_a_refusal_is(pieces: list[str]) -> None:
    raw = "".join(pieces).encode()

    assert replace(parse_reply(450, raw), code=250, retry_after=None) == parse_reply(250, raw)


@given(code=st.integers(min_value=0, max_value=599), raw=st.binary(max_size=3_000))
def test_any_octets_become_a_reply_of_bounded_length_without_nul(code: int, raw: bytes) -> None:
    reply = parse_reply(code, raw)

    assert (len(reply.text) <= REPLY_LENGTH, "\x00" in str(reply), reply.code) == (True, False, code)
