import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    dependencies = [
        ("post_office", "0014_alter_email_recipient_delivery_status_and_more"),
    ]

    operations = [
        migrations.CreateModel(
            name="BackendHealth",
            fields=[
                ("alias", models.CharField(max_length=64, primary_key=True, serialize=False, verbose_name="backend")),
                ("failure_count", models.PositiveIntegerField(default=0, verbose_name="failures in a row")),
                ("shut_at", models.DateTimeField(null=True, verbose_name="shut at")),
                ("shut_reason", models.TextField(blank=True, default="", verbose_name="reason")),
                ("probe_at", models.DateTimeField(null=True, verbose_name="next probe at")),
                ("probe_count", models.PositiveIntegerField(default=0, verbose_name="probes")),
            ],
            options={
                "verbose_name": "backend",
                "verbose_name_plural": "backends",
            },
        ),
        migrations.CreateModel(
            name="MailState",
            fields=[
                (
                    "email",
                    models.OneToOneField(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        primary_key=True,
                        related_name="mailqueue_state",
                        serialize=False,
                        to="post_office.email",
                        verbose_name="mail",
                    ),
                ),
                (
                    "reason",
                    models.CharField(
                        choices=[
                            ("failed", "failed"),
                            ("expired", "expired"),
                            ("cancelled", "cancelled"),
                            ("held", "held"),
                            ("unknown", "unknown"),
                        ],
                        max_length=16,
                        verbose_name="reason",
                    ),
                ),
                ("note", models.TextField(blank=True, default="", verbose_name="note")),
                ("stopped_by", models.CharField(blank=True, default="", max_length=255, verbose_name="stopped by")),
                ("stopped_at", models.DateTimeField(verbose_name="stopped at")),
            ],
            options={
                "verbose_name": "mail state",
                "verbose_name_plural": "mail states",
                "permissions": [("requeue_mail", "Can requeue mail"), ("cancel_mail", "Can cancel mail")],
            },
        ),
        migrations.CreateModel(
            name="MessageSource",
            fields=[
                (
                    "email",
                    models.OneToOneField(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        primary_key=True,
                        related_name="mailqueue_source",
                        serialize=False,
                        to="post_office.email",
                        verbose_name="mail",
                    ),
                ),
                ("envelope_from", models.TextField(verbose_name="envelope sender")),
                ("recipients", models.JSONField(verbose_name="envelope recipients")),
                ("message", models.BinaryField(verbose_name="message")),
            ],
            options={
                "verbose_name": "message source",
                "verbose_name_plural": "message sources",
            },
        ),
        migrations.CreateModel(
            name="Attempt",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("number", models.PositiveIntegerField(verbose_name="number")),
                (
                    "token",
                    models.UUIDField(help_text="Known only to the sender that made the claim.", verbose_name="token"),
                ),
                ("sender", models.CharField(max_length=255, verbose_name="sender")),
                ("backend", models.CharField(max_length=64, verbose_name="backend")),
                ("claimed_at", models.DateTimeField(verbose_name="claimed at")),
                ("lease_until", models.DateTimeField(verbose_name="lease until")),
                ("started_at", models.DateTimeField(null=True, verbose_name="started at")),
                ("finished_at", models.DateTimeField(null=True, verbose_name="finished at")),
                (
                    "outcome",
                    models.CharField(
                        choices=[
                            ("sent", "sent"),
                            ("partly_sent", "partly sent"),
                            ("retry", "to be retried"),
                            ("failed", "failed"),
                            ("deferred", "deferred"),
                            ("unknown", "unknown"),
                            ("expired", "expired"),
                        ],
                        max_length=16,
                        null=True,
                        verbose_name="outcome",
                    ),
                ),
                ("is_counted", models.BooleanField(default=False, verbose_name="costs an attempt")),
                ("stage", models.CharField(blank=True, default="", max_length=16, verbose_name="stage")),
                ("reply_code", models.PositiveSmallIntegerField(null=True, verbose_name="reply code")),
                (
                    "enhanced_code",
                    models.CharField(blank=True, default="", max_length=16, verbose_name="enhanced status code"),
                ),
                ("reply", models.TextField(blank=True, default="", verbose_name="reply")),
                ("error", models.CharField(blank=True, default="", max_length=255, verbose_name="error")),
                ("recipients", models.JSONField(null=True, verbose_name="recipients")),
                (
                    "email",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="attempts",
                        to="post_office.email",
                        verbose_name="mail",
                    ),
                ),
            ],
            options={
                "verbose_name": "attempt",
                "verbose_name_plural": "attempts",
                "ordering": ["id"],
                "indexes": [models.Index(fields=["email", "id"], name="mailqueue_attempt_of_email")],
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("finished_at", None)), fields=("email",), name="mailqueue_one_open_attempt"
                    )
                ],
            },
        ),
    ]
