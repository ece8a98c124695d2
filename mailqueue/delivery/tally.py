"""Puts together what the server said about each recipient into the one outcome of a mail. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from mailqueue.delivery.classify import judge
from mailqueue.delivery.outcomes import Judgement, Outcome, RecipientOutcome, Reply, Stage, Verdict
from mailqueue.delivery.rules import RETRY_RECIPIENT

REASON_LENGTH = 200

_WEIGHT = (Verdict.UNKNOWN, Verdict.DEFER, Verdict.RETRY, Verdict.SENT, Verdict.FAIL)
"""Which verdict speaks for a mail whose recipients differ: what is still to be done comes first."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply, the stage at which it came and what it means."""

    stage: Stage
    reply: Reply
    judgement: Judgement
    error: str = ""

    @classmethod
    def to(cls, stage: Stage, reply: Reply) -> "Answer":
        return cls(stage, reply, judge(stage=stage, reply=reply))

    @classmethod
    def lost(cls, stage: Stage, error: BaseException) -> "Answer":
        """Judge what was raised where a reply should have come."""
        return cls.raised(stage, error, judge(stage=stage, error=error))

    @classmethod
    def raised(cls, stage: Stage, error: BaseException, judgement: Judgement) -> "Answer":
        return cls(stage, Reply(0, reason(error)), judgement, type(error).__name__)

    def outcome(self) -> Outcome:
        """The outcome of a mail for all of whose recipients this is the answer."""
        judgement = self.judgement
        stage = Stage.DONE if judgement.verdict is Verdict.SENT else self.stage
        return Outcome(judgement.verdict, stage, judgement.blame, judgement.trouble, self.reply, self.error)


def reason(error: BaseException) -> str:
    """Say in a few words, fit for the database, why an exception was raised; whatever its own text does."""
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - somebody else's __str__, in the last place where anything may be raised
        return ""
    return text[:REASON_LENGTH].replace("\x00", "").encode(errors="replace").decode()


@dataclass(slots=True)
class Tally:
    """The answers to the RCPT commands of one transaction."""

    accepted: list[str] = field(default_factory=list)
    refused: dict[str, Answer] = field(default_factory=dict)

    def outcome(self, final: Answer | None = None) -> Outcome:
        """Combine the refusals with the answer to the message itself, which holds for the accepted recipients.

        What is the backend's fault defers the mail as a whole where nobody has it. Where somebody does, those who were
        put off are retried like any others, so that nobody gets it twice.
        """
        answers = dict(self.refused)
        if final is not None:
            answers |= dict.fromkeys(self.accepted, final)
        if final is not None and final.judgement.verdict is Verdict.SENT:
            answers = {recipient: _undeferred(answer) for recipient, answer in answers.items()}
        chosen = min(answers.values(), key=lambda answer: _WEIGHT.index(answer.judgement.verdict))
        are_alike = len({answer.judgement.verdict for answer in answers.values()}) == 1
        if are_alike or chosen.judgement.verdict is Verdict.DEFER:
            return chosen.outcome()
        return replace(chosen.outcome(), recipients=_by_recipient(answers))


def _undeferred(answer: Answer) -> Answer:
    return replace(answer, judgement=RETRY_RECIPIENT) if answer.judgement.verdict is Verdict.DEFER else answer


def _by_recipient(answers: Mapping[str, Answer]) -> dict[str, RecipientOutcome]:
    return {
        recipient: RecipientOutcome(answer.judgement.verdict, answer.reply) for recipient, answer in answers.items()
    }
