"""The tables beside django-post-office's.

An open `Attempt` is the claim on a mail, a closed one is its history; `MailState` says why a mail with status
"failed" does not go out; `MessageSource` keeps what post_office's `Email` can't hold; `BackendHealth` is the breaker
that all senders share. post_office stays the owner of the mail.
"""

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _
from post_office.models import Email


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
        indexes = [models.Index(fields=["email", "id"], name="mailqueue_attempt_of_email")]

    def __str__(self) -> str:
        return f"{self.number} · {self.get_outcome_display() or _('open')}"


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
        permissions = [("requeue_mail", "Can requeue mail"), ("cancel_mail", "Can cancel mail")]

    def __str__(self) -> str:
        return str(self.get_reason_display())


class MessageSource(models.Model):
    """The exact message, for mail that post_office's `Email` can't hold without loss."""

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
    message = models.BinaryField(_("message"))

    class Meta:
        verbose_name = _("message source")
        verbose_name_plural = _("message sources")

    def __str__(self) -> str:
        return f"{len(self.message)} B"


class BackendHealth(models.Model):
    """The breaker of one delivering backend, shared by all senders.

    No row, or `shut_at` empty: mail flows. `shut_at` set: nothing is claimed but one mail per `probe_at`.
    """

    alias = models.CharField(_("backend"), max_length=64, primary_key=True)
    failure_count = models.PositiveIntegerField(_("failures in a row"), default=0)
    shut_at = models.DateTimeField(_("shut at"), null=True)
    shut_reason = models.TextField(_("reason"), default="", blank=True)
    probe_at = models.DateTimeField(_("next probe at"), null=True)
    probe_count = models.PositiveIntegerField(_("probes"), default=0)

    class Meta:
        verbose_name = _("backend")
        verbose_name_plural = _("backends")

    def __str__(self) -> str:
        return self.alias
