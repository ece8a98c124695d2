import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("mailqueue", "0004_lane_index"),
        ("post_office", "0014_alter_email_recipient_delivery_status_and_more"),
    ]

    operations = [
        migrations.AddField(
            model_name="messagesource",
            name="attributes",
            field=models.JSONField(null=True, verbose_name="attributes"),
        ),
        migrations.AddField(
            model_name="messagesource",
            name="parts",
            field=models.JSONField(null=True, verbose_name="parts"),
        ),
        migrations.AlterField(
            model_name="messagesource",
            name="message",
            field=models.BinaryField(null=True, verbose_name="message"),
        ),
        migrations.CreateModel(
            name="AttachmentDigest",
            fields=[
                (
                    "attachment",
                    models.OneToOneField(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        primary_key=True,
                        related_name="mailqueue_digest",
                        serialize=False,
                        to="post_office.attachment",
                        verbose_name="attachment",
                    ),
                ),
                ("digest", models.CharField(max_length=64, verbose_name="digest")),
            ],
            options={
                "verbose_name": "attachment digest",
                "verbose_name_plural": "attachment digests",
                "indexes": [models.Index(fields=["digest"], name="mailqueue_attachment_digest")],
            },
        ),
        migrations.CreateModel(
            name="MailKey",
            fields=[
                ("digest", models.CharField(max_length=64, primary_key=True, serialize=False, verbose_name="digest")),
                ("created_at", models.DateTimeField(db_index=True, verbose_name="created at")),
                (
                    "email",
                    models.ForeignKey(
                        db_constraint=False,
                        null=True,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        related_name="mailqueue_keys",
                        to="post_office.email",
                        verbose_name="mail",
                    ),
                ),
            ],
            options={
                "verbose_name": "mail key",
                "verbose_name_plural": "mail keys",
            },
        ),
        migrations.CreateModel(
            name="MailOptions",
            fields=[
                (
                    "email",
                    models.OneToOneField(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.DO_NOTHING,
                        primary_key=True,
                        related_name="mailqueue_options",
                        serialize=False,
                        to="post_office.email",
                        verbose_name="mail",
                    ),
                ),
                ("ref", models.CharField(blank=True, default="", max_length=255, verbose_name="reference")),
                ("is_sensitive", models.BooleanField(default=False, verbose_name="sensitive")),
                (
                    "unknown_outcome",
                    models.CharField(
                        blank=True,
                        choices=[("resend", "send once more"), ("hold", "hold for a person")],
                        default="",
                        max_length=8,
                        verbose_name="unknown outcome",
                    ),
                ),
            ],
            options={
                "verbose_name": "mail options",
                "verbose_name_plural": "mail options",
                "indexes": [
                    models.Index(
                        condition=models.Q(("ref", ""), _negated=True), fields=["ref"], name="mailqueue_options_ref"
                    )
                ],
            },
        ),
    ]
