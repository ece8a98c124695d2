"""A project's own rules: checked when they are read, and judged before ours."""

from typing import Any

import pytest
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from pytest_django import Settings

from mailqueue import reply_rules
from mailqueue.conf import configuration
from mailqueue.delivery.backends import carrier_for
from mailqueue.delivery.classify import judge, judge_http, parse_reply
from mailqueue.delivery.judgements import (
    BUSY,
    BY_WORD,
    COUNTED,
    CROWDED,
    FAIL,
    FAIL_RECIPIENT,
    MAILBOX_FULL,
    RETRY,
    SENDER_REFUSED,
    THROTTLED,
    TOO_MANY_RECIPIENTS,
)
from mailqueue.delivery.outcomes import Judgement, Reply, Stage
from mailqueue.delivery.project_rules import with_own_rules
from mailqueue.delivery.rules import RULES, SESSION, TRANSACTION

ODD = {"name": "odd", "stages": ["rcpt"], "codes": [550], "enhanced": ["5.7."], "text": "come back", "then": "retry"}


def test_the_words_of_the_setting_are_those_that_delivery_knows() -> None:
    assert (set(reply_rules.ACTIONS), set(reply_rules.STAGES)) == (
        set(BY_WORD),
        set(Stage) - {Stage.BUILD, Stage.CONNECT, Stage.BODY, Stage.DONE},
    )


@pytest.mark.parametrize(
    ("stage", "reply", "expected"),
    [
        (Stage.RCPT, "550 5.7.1 Come back tomorrow", RETRY),
        (Stage.RCPT, "550 5.1.1 come back", FAIL_RECIPIENT),
        (Stage.RCPT, "551 5.1.1 come back", FAIL_RECIPIENT),
        (Stage.RCPT, "550 5.1.1 no", FAIL_RECIPIENT),
    ],
)
def test_all_conditions_of_a_rule_must_hold(stage: Stage, reply: str, expected: Judgement) -> None:
    code, _, text = reply.partition(" ")

    assert expected == judge(stage=stage, reply=parse_reply(int(code), text), rules=with_own_rules([ODD]))


def test_a_rule_of_the_project_goes_before_ours_and_the_first_of_its_own_wins() -> None:
    rules = with_own_rules([{"codes": [554], "then": "throttle"}, {"codes": [554], "then": "fail"}])

    assert THROTTLED == judge(stage=Stage.FINAL_DOT, reply=Reply(554, "5.7.1 spam"), rules=rules)


def test_a_rule_can_fail_no_mail_before_it_is_named() -> None:
    rules = with_own_rules([{"codes": [554], "then": "fail"}, {"codes": [451], "then": "hold_sender"}])

    assert [COUNTED, COUNTED, FAIL] == [
        judge(stage=Stage.GREETING, reply=Reply(554, "no"), rules=rules),
        judge(stage=Stage.AUTH, reply=Reply(451, "no"), rules=rules),
        judge(stage=Stage.FINAL_DOT, reply=Reply(554, "no"), rules=rules),
    ]


def test_only_a_recipient_can_be_too_many() -> None:
    rules = with_own_rules([{"codes": [452], "then": "too_many_recipients"}])
    judged = {stage: judge(stage=stage, reply=Reply(452, "no"), rules=rules) for stage in TRANSACTION}

    assert dict.fromkeys(TRANSACTION, RETRY) | {Stage.RCPT: TOO_MANY_RECIPIENTS} == judged
    assert RETRY == judge_http(Reply(452, "no", is_exception=True), rules=rules)


def test_a_server_that_is_busy_before_a_mail_is_named_counts_on_the_breaker() -> None:
    rules = with_own_rules([{"codes": [421], "then": "busy"}])
    judged = {stage: judge(stage=stage, reply=Reply(421, "no"), rules=rules) for stage in TRANSACTION | SESSION}

    assert dict.fromkeys(TRANSACTION, BUSY) | dict.fromkeys(SESSION, CROWDED) == judged


def test_a_rule_judges_what_a_service_answers_by_http() -> None:
    rules = with_own_rules([{"stages": ["data"], "codes": [403], "text": "domain", "then": "hold_sender"}])

    assert SENDER_REFUSED == judge_http(Reply(403, "Domain unknown", is_exception=True), rules=rules)


def test_the_rules_of_an_alias_go_before_those_for_all(settings: Settings) -> None:
    if hasattr(settings, "MAILERS"):
        del settings.MAILERS
    backends = "django.core.mail.backends"
    settings.POST_OFFICE = {
        "BACKENDS": {"default": f"{backends}.smtp.EmailBackend", "memory": f"{backends}.locmem.EmailBackend"}
    }
    settings.MAILQUEUE = {
        "REPLY_RULES": {
            "*": [{"codes": [550], "then": "retry"}, {"codes": [551], "then": "retry"}],
            "": [{"codes": [550], "then": "mailbox_full"}],
            "other": [{"codes": [551], "then": "shut"}],
        }
    }

    def judgements(alias: str) -> list[Judgement]:
        rules: Any = carrier_for(alias)._rules
        return [judge(stage=Stage.RCPT, reply=Reply(code, "no"), rules=rules) for code in (550, 551, 500)]

    assert [[MAILBOX_FULL, RETRY, FAIL_RECIPIENT], [RETRY, RETRY, FAIL_RECIPIENT]] == [
        judgements("default"),
        judgements("memory"),
    ]


def test_without_the_setting_there_are_our_rules_only() -> None:
    assert RULES == with_own_rules([])


def _with(**changes: Any) -> dict[str, Any]:
    return {"default": [ODD, ODD | changes]}


def _without(key: str) -> dict[str, Any]:
    return {"*": [{name: value for name, value in ODD.items() if name != key}]}


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ([], "Set it to a dict of lists of rules"),
        ({1: []}, "Set it to a dict of lists of rules"),
        ({"default": ODD}, "Set it to a dict of lists of rules"),
        ({"default": ["retry"]}, "in rule 1 of 'default', 'retry' is not a dict"),
        (_with(code=550), "in rule 2 of 'default', 'code' is not a key of a rule (name, stages, "),
        (_with(then="sent"), '"then" is \'sent\' and must be one of "fail", '),
        (_with(stages=["body"]), '"stages" is [\'body\'] and must be a list of "greeting", '),
        (_with(stages="rcpt"), "\"stages\" is 'rcpt' and must be a list of"),
        (_with(stages=[]), '"stages" is [] and must be a list of'),
        (_with(codes=[250]), '"codes" is [250] and must be a list of reply codes from 400 to 599'),
        (_with(codes=[True]), '"codes" is [True] and must be'),
        (_with(enhanced=["5.7.*"]), "\"enhanced\" is ['5.7.*'] and must be a list of enhanced codes"),
        (_with(enhanced=[5]), '"enhanced" is [5] and must be'),
        (_with(text="("), "\"text\" is '(' and must be a regular expression (missing ), "),
        (_with(text=""), "\"text\" is '' and must be a regular expression"),
        (_with(text=7), '"text" is 7 and must be a regular expression'),
        (_with(name=""), "\"name\" is '' and must be a text that is not empty"),
        (_without("then"), "in rule 1 of '*', \"then\" is missing: one of"),
        ({"*": [{"then": "retry"}]}, "in rule 1 of '*', there is no condition: give at least one of"),
    ],
)
def test_a_bad_rule_is_named_with_its_place_and_the_remedy(value: Any, complaint: str, settings: Settings) -> None:
    settings.MAILQUEUE = {"REPLY_RULES": value}
    (found,) = [message for message in run_checks() if message.id == "mailqueue.E001"]

    with pytest.raises(ImproperlyConfigured) as raised:
        configuration()
    assert (True, True) == (
        complaint in f"Set it to {found.hint}" or complaint in str(found.hint),
        complaint in str(raised.value),
    )


@pytest.mark.parametrize("enhanced", ["5.", "5.7.", "5.7.1", "4.2.21"])
def test_enhanced_codes_and_their_beginnings_are_allowed(enhanced: str) -> None:
    assert None is reply_rules.complaint({"*": [{"enhanced": [enhanced], "then": "retry"}]})
