"""Mails whose outcome is known without asking a server."""

from mailqueue.delivery.outcomes import Blame, Outcome, Reply, Stage, Verdict
from mailqueue.outbox.allowed import not_allowed, why_held
from mailqueue.outbox.messages import recipients_of
from mailqueue.sender.jobs import Job

WIPED = "What it said is no longer kept, and nothing is left to send."
DAMAGED = "What its earlier attempts say of the recipients can't be read (mailqueue_attempt): who has it is not known."

REFUSED = "Everybody whom it names was refused by the server for good."


def outcome_without_sending(job: Job) -> Outcome | None:
    """Return the outcome of a mail that may go to nobody, has nobody to go to, or nothing left to say; else None.

    Its stage says that no server was asked: it proves nothing about the backend.
    """
    if job.is_wiped:
        return Outcome(Verdict.FAIL, Stage.BUILD, blame=Blame.MESSAGE, reply=Reply(0, WIPED))
    if job.history.is_damaged:
        return Outcome(Verdict.FAIL, Stage.BUILD, blame=Blame.MESSAGE, reply=Reply(0, DAMAGED))
    if strangers := not_allowed(job.letter.recipients):
        return Outcome(Verdict.HOLD, Stage.BUILD, reply=Reply(0, why_held(strangers)))
    return None if job.letter.recipients else _where_nobody_is_left(job)


def _where_nobody_is_left(job: Job) -> Outcome:
    if recipients_of(job.email):
        # Two entries may mean one mailbox: who is refused under one spelling is not asked about under the other.
        if job.history.refused and not job.history.accepted:
            return Outcome(Verdict.FAIL, Stage.BUILD, blame=Blame.MESSAGE, reply=Reply(0, REFUSED))
        return Outcome(Verdict.SENT, Stage.BUILD)
    return Outcome(Verdict.FAIL, Stage.BUILD, blame=Blame.MESSAGE, reply=Reply(0, "The mail has no recipients."))
