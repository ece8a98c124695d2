"""The tables beside django-post-office's.

An open `Attempt` is the claim on a mail, a closed one is its history; `MailState` says why a mail with status
"failed" does not go out; `MessageSource` keeps what post_office's `Email` can't hold; `MailOptions` keeps what the
caller asked for, `MailKey` that a mail was queued under a key; `AttachmentDigest` finds content that is stored
already; `BackendHealth` is what all senders know of a backend, `RefusedFrom` which sender addresses it refuses,
`SenderProcess` who is sending, `SendingMinute` how much was sent. post_office stays the owner of the mail.
"""

from typing import Any

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _
from post_office.models import Attachment, Email


class AttemptOutcome(models.TextChoices):
    """How an attempt ended. An attempt that was handed back leaves no row."""

    SENT = "sent", _("sent")
    PARTLY_SENT = "partly_sent", _("partly sent")
    RETRY = "retry", _("to be retried")
    FAILED = "failed", _("failed")
    DEFERRED = "deferred", _("deferred")
    UNKNOWN = "unknown", _("unknown")
    EXPIRED = "expired", _("expired")


FINAL_OUTCOMES = (
    AttemptOutcome.SENT,
    AttemptOutcome.PARTLY_SENT,
    AttemptOutcome.FAILED,
    AttemptOutcome.EXPIRED,
)
"""After one of these, whoever queues the mail again begins a new round: retries are counted anew."""


class AttemptQuerySet(models.QuerySet["Attempt"]):
    def open(self) -> "AttemptQuerySet":
        """Attempts that hold a claim now."""
        return self.filter(finished_at=None)

    def closed(self) -> "AttemptQuerySet":
        return self.exclude(finished_at=None)


class Attempt(models.Model):
    """One claim on a mail, and what came of it.

    The foreign key is not enforced by Django but by the database, where it cascades: people delete mail by hand.
    """

    id = models.BigAutoField(primary_key=True)
    email = models.ForeignKey(
        Email,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        db_index=False,
        related_name="attempts",
        verbose_name=_("mail"),
    )
    number = models.PositiveIntegerField(_("number"))
    token = models.UUIDField(_("token"), help_text=_("Known only to the sender that made the claim."))
    sender = models.CharField(_("sender"), max_length=255)
    backend = models.CharField(_("backend"), max_length=64)
    claimed_at = models.DateTimeField(_("claimed at"))
    lease_until = models.DateTimeField(_("lease until"))
    started_at = models.DateTimeField(_("started at"), null=True)
    finished_at = models.DateTimeField(_("finished at"), null=True)
    outcome = models.CharField(_("outcome"), max_length=16, choices=AttemptOutcome.choices, null=True)
    is_counted = models.BooleanField(_("costs an attempt"), default=False)
    stage = models.CharField(_("stage"), max_length=16, default="", blank=True)
    reply_code = models.PositiveSmallIntegerField(_("reply code"), null=True)
    enhanced_code = models.CharField(_("enhanced status code"), max_length=16, default="", blank=True)
    reply = models.TextField(_("reply"), default="", blank=True)
    error = models.CharField(_("error"), max_length=255, default="", blank=True)
    queue_id = models.CharField(
        _("queue id"),
        max_length=255,
        default="",
        db_default="",
        blank=True,
        help_text=_("Under which the mail server knows the mail that it took."),
    )
    recipients = models.JSONField(_("recipients"), null=True)

    objects = AttemptQuerySet.as_manager()

    class Meta:
        verbose_name = _("attempt")
        verbose_name_plural = _("attempts")
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(
                fields=["email"], condition=Q(finished_at=None), name="mailqueue_one_open_attempt"
            ),
        ]
        indexes = [
            models.Index(fields=["email", "id"], name="mailqueue_attempt_of_email"),
            models.Index(fields=["email"], condition=Q(outcome="partly_sent"), name="mailqueue_partly_sent"),
        ]

    def __str__(self) -> str:
        outcome = self.get_outcome_display() or _("under way")
        return f"{self.number} · {outcome}"


class StopReason(models.TextChoices):
    """Why a mail with post_office's status "failed" does not go out."""

    FAILED = "failed", _("failed")
    EXPIRED = "expired", _("expired")
    CANCELLED = "cancelled", _("cancelled")
    HELD = "held", _("held")
    UNKNOWN = "unknown", _("unknown")


class MailState(models.Model):
    """Why a mail is stopped. Speaks only while post_office's status is "failed"; the next stop overwrites it."""

    email = models.OneToOneField(
        Email,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        primary_key=True,
        related_name="mailqueue_state",
        verbose_name=_("mail"),
    )
    reason = models.CharField(_("reason"), max_length=16, choices=StopReason.choices)
    note = models.TextField(_("note"), default="", blank=True)
    stopped_by = models.CharField(_("stopped by"), max_length=255, default="", blank=True)
    stopped_at = models.DateTimeField(_("stopped at"))

    class Meta:
        verbose_name = _("mail state")
        verbose_name_plural = _("mail states")
        permissions = [
            ("requeue_mail", "Can requeue mail"),
            ("cancel_mail", "Can cancel mail"),
            ("hold_mail", "Can hold and release mail"),
            ("correct_mail", "Can correct the address of a failed mail"),
            ("export_mail", "Can export lists of mail"),
            ("view_body", "Can read what mail says"),
        ]
        indexes = [
            models.Index(
                fields=["reason"],
                condition=Q(
                    reason__in=[StopReason.EXPIRED, StopReason.CANCELLED, StopReason.HELD, StopReason.UNKNOWN]
                ),
                name="mailqueue_stopped_but_failed",
            )
        ]

    def __str__(self) -> str:
        return str(self.get_reason_display())


class MessageSource(models.Model):
    """What post_office's `Email` can't hold of a message.

    Either the parts that differ from what its columns say, or, where the caller built the message himself, its very
    bytes; and what backends for mail services read beside the message.
    """

    email = models.OneToOneField(
        Email,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        primary_key=True,
        related_name="mailqueue_source",
        verbose_name=_("mail"),
    )
    envelope_from = models.TextField(_("envelope sender"))
    recipients = models.JSONField(_("envelope recipients"))
    message = models.BinaryField(_("message"), null=True)
    parts = models.JSONField(_("parts"), null=True)
    attributes = models.JSONField(_("attributes"), null=True)

    class Meta:
        verbose_name = _("message source")
        verbose_name_plural = _("message sources")

    def __str__(self) -> str:
        return str(self.pk)


class UnknownOutcome(models.TextChoices):
    """What to do with a mail of which nobody knows whether the server took it."""

    RESEND = "resend", _("send once more")
    HOLD = "hold", _("hold for a person")


class MailOptions(models.Model):
    """What the caller of `mailqueue.send` asked for beside what post_office knows. No row: nothing special.

    `wiped_at` says also of mail that is not sensitive since when nothing is left of what it said.
    """

    email = models.OneToOneField(
        Email,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        primary_key=True,
        related_name="mailqueue_options",
        verbose_name=_("mail"),
    )
    ref = models.CharField(_("reference"), max_length=255, default="", blank=True)
    is_sensitive = models.BooleanField(_("sensitive"), default=False)
    unknown_outcome = models.CharField(
        _("unknown outcome"), max_length=8, choices=UnknownOutcome.choices, default="", blank=True
    )
    wiped_at = models.DateTimeField(_("wiped at"), null=True, help_text=_("Since when a sensitive mail is empty."))

    class Meta:
        verbose_name = _("mail options")
        verbose_name_plural = _("mail options")
        indexes = [models.Index(fields=["ref"], condition=~Q(ref=""), name="mailqueue_options_ref")]

    def __str__(self) -> str:
        return self.ref or str(self.pk)


class MailKey(models.Model):
    """That a mail was queued under a key. It outlives the mail, and tells nothing of the key but its hash."""

    digest = models.CharField(_("digest"), max_length=64, primary_key=True)
    email = models.ForeignKey(
        Email,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        null=True,
        related_name="mailqueue_keys",
        verbose_name=_("mail"),
    )
    created_at = models.DateTimeField(_("created at"), db_index=True)

    class Meta:
        verbose_name = _("mail key")
        verbose_name_plural = _("mail keys")

    def __str__(self) -> str:
        return self.digest


class AttachmentDigest(models.Model):
    """The hash of a stored attachment, by which the next mail with the same one finds it."""

    attachment = models.OneToOneField(
        Attachment,
        on_delete=models.DO_NOTHING,
        db_constraint=False,
        primary_key=True,
        related_name="mailqueue_digest",
        verbose_name=_("attachment"),
    )
    digest = models.CharField(_("digest"), max_length=64)

    class Meta:
        verbose_name = _("attachment digest")
        verbose_name_plural = _("attachment digests")
        indexes = [models.Index(fields=["digest"], name="mailqueue_attachment_digest")]

    def __str__(self) -> str:
        return self.digest


class BackendHealth(models.Model):
    """What all senders know of one delivering backend, and what a person has ordered for it.

    No row: mail flows. `shut_at` set: nothing is claimed but one mail per `probe_at`. `paused_at` set: nothing at all,
    until a person resumes it. Every column beside `max_…` and `pause…` is the senders' own.
    """

    alias = models.CharField(_("backend"), max_length=64, primary_key=True)
    failure_count = models.PositiveIntegerField(_("failures in a row"), default=0, db_default=0)
    shut_at = models.DateTimeField(_("shut at"), null=True)
    shut_reason = models.TextField(_("reason"), default="", db_default="", blank=True)
    probe_at = models.DateTimeField(_("next probe at"), null=True)
    probe_count = models.PositiveIntegerField(_("probes"), default=0, db_default=0)

    paused_at = models.DateTimeField(_("paused at"), null=True)
    paused_by = models.CharField(_("paused by"), max_length=255, default="", db_default="", blank=True)
    pause_note = models.TextField(_("why it is paused"), default="", db_default="", blank=True)

    max_per_second = models.FloatField(
        _("recipients per second"), null=True, blank=True, help_text=_("Empty: what RATE_LIMITS says.")
    )
    max_per_day = models.PositiveIntegerField(
        _("recipients per day"), null=True, blank=True, help_text=_("Empty: what RATE_LIMITS says.")
    )
    max_connections = models.PositiveIntegerField(
        _("connections"), null=True, blank=True, help_text=_("Of all senders together. Empty: what RATE_LIMITS says.")
    )

    connection_limit = models.PositiveIntegerField(_("connections for now"), null=True)
    connections_changed_at = models.DateTimeField(_("connections changed at"), null=True)

    tokens = models.FloatField(_("recipients that may go now"), default=0, db_default=0)
    tokens_at = models.DateTimeField(_("counted at"), null=True)
    throttled_at = models.DateTimeField(_("throttled at"), null=True)
    throttled_rate = models.FloatField(_("rate when it was throttled"), null=True)
    throttle_count = models.PositiveIntegerField(_("times throttled in a row"), default=0, db_default=0)
    resting_until = models.DateTimeField(_("resting until"), null=True)
    day_began_at = models.DateTimeField(_("day began at"), null=True)
    day_count = models.PositiveIntegerField(_("recipients of this day"), default=0, db_default=0)

    class Meta:
        verbose_name = _("backend")
        verbose_name_plural = _("backends")
        permissions = [("pause_backend", "Can pause and resume backends")]

    def __str__(self) -> str:
        return self.alias


class RefusedFrom(models.Model):
    """That a server refuses mail from this From address: mail that has it is held instead of offered, for a while."""

    id = models.BigAutoField(primary_key=True)
    backend = models.CharField(_("backend"), max_length=64)
    from_email = models.CharField(_("from"), max_length=254)
    reply = models.TextField(_("reply"), default="", db_default="", blank=True)
    refused_at = models.DateTimeField(_("refused at"))

    class Meta:
        verbose_name = _("refused sender address")
        verbose_name_plural = _("refused sender addresses")
        constraints = [models.UniqueConstraint(fields=["backend", "from_email"], name="mailqueue_refused_from")]

    def __str__(self) -> str:
        return self.from_email


class SenderProcess(models.Model):
    """A sender that is alive, or was lately: what a backend allows is shared out among those that are seen.

    Of those that ended in order, each host keeps the last: it tells since when nobody has been sending.
    """

    name = models.CharField(_("name"), max_length=255, primary_key=True)
    host = models.CharField(_("host"), max_length=255)
    version = models.CharField(_("version"), max_length=32)
    backends = models.JSONField(_("backends"), help_text=_("Only mail of these; empty: of all."))
    connection_count = models.PositiveIntegerField(_("connections"))
    started_at = models.DateTimeField(_("started at"))
    seen_at = models.DateTimeField(_("last seen at"))
    ended_at = models.DateTimeField(_("ended at"), null=True, help_text=_("When it ended in order."))

    class Meta:
        verbose_name = _("sender")
        verbose_name_plural = _("senders")

    def __str__(self) -> str:
        return self.name


def _count(label: Any) -> "models.PositiveIntegerField[int, int]":
    return models.PositiveIntegerField(label, default=0, db_default=0)


class SendingMinute(models.Model):
    """What all senders together made of one backend's mail in one minute: figures, not accounts.

    `within_…` counts the mails that were accepted at their first attempt, by how long that took from when they were
    due; each mail counts in one of them.
    """

    id = models.BigAutoField(primary_key=True)
    began_at = models.DateTimeField(_("minute"))
    backend = models.CharField(_("backend"), max_length=64)
    accepted_count = _count(_("accepted"))
    put_off_count = _count(_("put off"))
    failed_count = _count(_("failed"))
    unknown_count = _count(_("unknown"))
    within_30ms = _count(_("within 30 ms"))
    within_100ms = _count(_("within 100 ms"))
    within_300ms = _count(_("within 300 ms"))
    within_1s = _count(_("within 1 s"))
    within_3s = _count(_("within 3 s"))
    within_10s = _count(_("within 10 s"))
    within_30s = _count(_("within 30 s"))
    within_2min = _count(_("within 2 min"))
    within_10min = _count(_("within 10 min"))
    within_1h = _count(_("within 1 h"))
    over_1h = _count(_("over 1 h"))

    class Meta:
        verbose_name = _("sending minute")
        verbose_name_plural = _("sending minutes")
        default_permissions = ()
        constraints = [models.UniqueConstraint(fields=["began_at", "backend"], name="mailqueue_minute_of_backend")]

    def __str__(self) -> str:
        return f"{self.began_at:%Y-%m-%d %H:%M} {self.backend}"


class Queue(SendingMinute):
    """The queue at a glance: a page of the admin, with a permission of its own. It has no rows."""

    class Meta:
        proxy = True
        verbose_name = _("queue at a glance")
        verbose_name_plural = _("queue at a glance")
        default_permissions = ("view",)
