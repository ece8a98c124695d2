from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("mailqueue", "0007_wiped"),
    ]

    operations = [
        migrations.CreateModel(
            name="SenderProcess",
            fields=[
                ("name", models.CharField(max_length=255, primary_key=True, serialize=False, verbose_name="name")),
                ("host", models.CharField(max_length=255, verbose_name="host")),
                ("version", models.CharField(max_length=32, verbose_name="version")),
                (
                    "backends",
                    models.JSONField(help_text="Only mail of these; empty: of all.", verbose_name="backends"),
                ),
                ("connection_count", models.PositiveIntegerField(verbose_name="connections")),
                ("started_at", models.DateTimeField(verbose_name="started at")),
                ("seen_at", models.DateTimeField(verbose_name="last seen at")),
            ],
            options={
                "verbose_name": "sender",
                "verbose_name_plural": "senders",
            },
        ),
        migrations.AlterModelOptions(
            name="backendhealth",
            options={
                "permissions": [("pause_backend", "Can pause and resume backends")],
                "verbose_name": "backend",
                "verbose_name_plural": "backends",
            },
        ),
        migrations.AddField(
            model_name="attempt",
            name="queue_id",
            field=models.CharField(
                blank=True,
                db_default="",
                default="",
                help_text="Under which the mail server knows the mail that it took.",
                max_length=255,
                verbose_name="queue id",
            ),
        ),
        migrations.AddField(
            model_name="backendhealth",
            name="connection_limit",
            field=models.PositiveIntegerField(null=True, verbose_name="connections for now"),
        ),
        migrations.AddField(
            model_name="backendhealth",
            name="connections_changed_at",
            field=models.DateTimeField(null=True, verbose_name="connections changed at"),
        ),
        migrations.AddField(
            model_name="backendhealth",
            name="day_began_at",
            field=models.DateTimeField(null=True, verbose_name="day began at"),
        ),
        migrations.AddField(
            model_name="backendhealth",
            name="day_count",
            field=models.PositiveIntegerField(db_default=0, default=0, verbose_name="recipients of this day"),
        ),
        migrations.AddField(
            model_name="backendhealth",
            name="max_connections",
            field=models.PositiveIntegerField(
                blank=True,
                help_text="Of all senders together. Empty: what RATE_LIMITS says.",
                null=True,
                verbose_name="connections",
            ),
        ),
        migrations.AddField(
            model_name="backendhealth",
            name="max_per_day",
            field=models.PositiveIntegerField(
                blank=True, help_text="Empty: what RATE_LIMITS says.", null=True, verbose_name="recipients per day"
            ),
        ),
        migrations.AddField(
            model_name="backendhealth",
            name="max_per_second",
            field=models.FloatField(
                blank=True, help_text="Empty: what RATE_LIMITS says.", null=True, verbose_name="recipients per second"
            ),
        ),
        migrations.AddField(
            model_name="backendhealth",
            name="pause_note",
            field=models.TextField(blank=True, db_default="", default="", verbose_name="why it is paused"),
        ),
        migrations.AddField(
            model_name="backendhealth",
            name="paused_at",
            field=models.DateTimeField(null=True, verbose_name="paused at"),
        ),
        migrations.AddField(
            model_name="backendhealth",
            name="paused_by",
            field=models.CharField(blank=True, db_default="", default="", max_length=255, verbose_name="paused by"),
        ),
        migrations.AddField(
            model_name="backendhealth",
            name="resting_until",
            field=models.DateTimeField(null=True, verbose_name="resting until"),
        ),
        migrations.AddField(
            model_name="backendhealth",
            name="throttle_count",
            field=models.PositiveIntegerField(db_default=0, default=0, verbose_name="times throttled in a row"),
        ),
        migrations.AddField(
            model_name="backendhealth",
            name="throttled_at",
            field=models.DateTimeField(null=True, verbose_name="throttled at"),
        ),
        migrations.AddField(
            model_name="backendhealth",
            name="throttled_rate",
            field=models.FloatField(null=True, verbose_name="rate when it was throttled"),
        ),
        migrations.AddField(
            model_name="backendhealth",
            name="tokens",
            field=models.FloatField(db_default=0, default=0, verbose_name="recipients that may go now"),
        ),
        migrations.AddField(
            model_name="backendhealth",
            name="tokens_at",
            field=models.DateTimeField(null=True, verbose_name="counted at"),
        ),
        migrations.AlterField(
            model_name="backendhealth",
            name="failure_count",
            field=models.PositiveIntegerField(db_default=0, default=0, verbose_name="failures in a row"),
        ),
        migrations.AlterField(
            model_name="backendhealth",
            name="probe_count",
            field=models.PositiveIntegerField(db_default=0, default=0, verbose_name="probes"),
        ),
        migrations.AlterField(
            model_name="backendhealth",
            name="shut_reason",
            field=models.TextField(blank=True, db_default="", default="", verbose_name="reason"),
        ),
        migrations.CreateModel(
            name="RefusedFrom",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("backend", models.CharField(max_length=64, verbose_name="backend")),
                ("from_email", models.CharField(max_length=254, verbose_name="from")),
                ("reply", models.TextField(blank=True, db_default="", default="", verbose_name="reply")),
                ("refused_at", models.DateTimeField(verbose_name="refused at")),
            ],
            options={
                "verbose_name": "refused sender address",
                "verbose_name_plural": "refused sender addresses",
                "constraints": [
                    models.UniqueConstraint(fields=("backend", "from_email"), name="mailqueue_refused_from")
                ],
            },
        ),
    ]
