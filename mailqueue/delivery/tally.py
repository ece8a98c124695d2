"""Puts together what the server said about each recipient into the one outcome of a mail. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from mailqueue.delivery.classify import judge, judge_surprise
from mailqueue.delivery.judgements import (
    FAIL_RECIPIENT,
    RETRY_RECIPIENT,
    THROTTLED,
    THROTTLED_RECIPIENT,
    TOO_MANY_RECIPIENTS,
)
from mailqueue.delivery.outcomes import Judgement, Outcome, Pace, RecipientOutcome, Reply, Stage, Trouble, Verdict
from mailqueue.delivery.queue_ids import queue_id
from mailqueue.delivery.rules import RULES, Rule

REASON_LENGTH = 200
MOST_IN_VAIN = 10
"""So many recipients are too many for a server that has not accepted one: it is not asked about the others."""

_WEIGHT = (Verdict.UNKNOWN, Verdict.DEFER, Verdict.HOLD, Verdict.RETRY, Verdict.SENT, Verdict.FAIL)
"""Which verdict speaks for a mail whose recipients differ: what is still to be done comes first."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply, the stage at which it came and what it means."""

    stage: Stage
    reply: Reply
    judgement: Judgement
    error: str = ""

    @classmethod
    def to(cls, stage: Stage, reply: Reply, *, rules: Sequence[Rule] = RULES) -> "Answer":
        return cls(stage, reply, judge(stage=stage, reply=reply, rules=rules))

    @classmethod
    def lost(cls, stage: Stage, error: BaseException) -> "Answer":
        """Judge what was raised where a reply should have come."""
        return cls.raised(stage, error, judge(stage=stage, error=error))

    @classmethod
    def surprise(cls, stage: Stage, error: BaseException) -> "Answer":
        """Judge what nobody foresaw."""
        return cls.raised(stage, error, judge_surprise(stage))

    @classmethod
    def raised(cls, stage: Stage, error: BaseException, judgement: Judgement) -> "Answer":
        return cls(stage, Reply(0, reason(error)), judgement, type(error).__name__)

    def outcome(self) -> Outcome:
        """The outcome of a mail for all of whose recipients this is the answer."""
        judgement = self.judgement
        stage = Stage.DONE if judgement.verdict is Verdict.SENT else self.stage
        return Outcome(
            judgement.verdict,
            stage,
            judgement.blame,
            judgement.trouble,
            self.reply,
            self.error,
            pace=judgement.pace,
            queue_id=queue_id(self.reply) if stage is Stage.DONE else "",
        )


def reason(error: BaseException) -> str:
    """Say in a few words, fit for the database, why an exception was raised; whatever its own text does."""
    try:
        text = str(error)
    except BaseException:  # noqa: BLE001 - somebody else's __str__, in the last place where anything may be raised
        return ""
    return text.replace("\x00", "")[:REASON_LENGTH].encode(errors="replace").decode()


@dataclass(slots=True)
class Tally:
    """The answers to the RCPT commands of one transaction."""

    accepted: list[str] = field(default_factory=list)
    refused: dict[str, Answer] = field(default_factory=dict)
    is_over: bool = False
    """The server takes no more recipients for now: the others are not offered."""
    unoffered: list[str] = field(default_factory=list)

    def refuse(self, recipient: str, answer: Answer) -> None:
        self.refused[recipient] = answer
        if answer.judgement == THROTTLED:
            self.is_over = True
        elif answer.judgement == TOO_MANY_RECIPIENTS:
            # Where nobody was accepted yet, it may be about this recipient after all.
            in_vain = sum(other.judgement == TOO_MANY_RECIPIENTS for other in self.refused.values())
            self.is_over |= bool(self.accepted) or in_vain >= MOST_IN_VAIN

    def outcome(self, final: Answer | None = None) -> Outcome:
        """Combine the refusals with the answer to the message itself, which holds for the accepted recipients.

        What is the backend's fault defers the mail as a whole where nobody has it. Where somebody does, those who were
        put off are retried like any others, so that nobody gets it twice; and those whom this transaction had no room
        for go at once in another.
        """
        if final is not None and final.judgement.verdict is Verdict.SENT:
            return self._taken(final)
        refused = {recipient: _ordinary(answer) for recipient, answer in self.refused.items()}
        speaks_for_rest = final or list(refused.values())[-1]
        answers = refused | dict.fromkeys((*(self.accepted if final else ()), *self.unoffered), speaks_for_rest)
        chosen = _chosen(answers)
        if _are_alike(answers) or chosen.judgement.verdict in (Verdict.DEFER, Verdict.HOLD):
            return chosen.outcome()
        return replace(chosen.outcome(), recipients=_by_recipient(answers))

    def _taken(self, final: Answer) -> Outcome:
        if not self.refused:
            return final.outcome()
        refused = {recipient: _beside_accepted(answer) for recipient, answer in self.refused.items()}
        answers = refused | dict.fromkeys(self.accepted, final)
        waiting = [answer for answer in refused.values() if answer.judgement.pace is Pace.AT_ONCE]
        throttled = [answer for answer in waiting if answer.judgement.trouble is Trouble.THROTTLED]
        chosen = (throttled or waiting or [_chosen(answers)])[-1]
        return replace(chosen.outcome(), recipients=_by_recipient(answers), queue_id=queue_id(final.reply))


def _chosen(answers: Mapping[str, Answer]) -> Answer:
    return min(answers.values(), key=lambda answer: _WEIGHT.index(answer.judgement.verdict))


def _are_alike(answers: Mapping[str, Answer]) -> bool:
    """Whether the same is to be done for all of them, at the same time."""
    kinds = {
        (answer.judgement.verdict, answer.judgement.pace, answer.reply.retry_after) for answer in answers.values()
    }
    return len(kinds) == 1


def _ordinary(answer: Answer) -> Answer:
    """Where nobody was accepted, too many recipients is a refusal of this one like others."""
    return replace(answer, judgement=RETRY_RECIPIENT) if answer.judgement == TOO_MANY_RECIPIENTS else answer


def _beside_accepted(answer: Answer) -> Answer:
    """What a refusal comes to where others have got the mail in the same transaction."""
    if answer.judgement == THROTTLED:
        return replace(answer, judgement=THROTTLED_RECIPIENT)
    if answer.judgement.verdict is Verdict.DEFER:
        return replace(answer, judgement=RETRY_RECIPIENT)
    # The server takes mail from this sender, as the others show: it is this recipient's server that does not.
    return replace(answer, judgement=FAIL_RECIPIENT) if answer.judgement.verdict is Verdict.HOLD else answer


def _by_recipient(answers: Mapping[str, Answer]) -> dict[str, RecipientOutcome]:
    return {
        recipient: RecipientOutcome(answer.judgement.verdict, answer.reply, answer.judgement.pace)
        for recipient, answer in answers.items()
    }
