"""What senders made of their mail, minute by minute, and the page of the admin that shows it."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("mailqueue", "0011_permissions"),
    ]

    operations = [
        migrations.CreateModel(
            name="SendingMinute",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("began_at", models.DateTimeField(verbose_name="minute")),
                ("backend", models.CharField(max_length=64, verbose_name="backend")),
                ("accepted_count", models.PositiveIntegerField(db_default=0, default=0, verbose_name="accepted")),
                ("put_off_count", models.PositiveIntegerField(db_default=0, default=0, verbose_name="put off")),
                ("failed_count", models.PositiveIntegerField(db_default=0, default=0, verbose_name="failed")),
                ("unknown_count", models.PositiveIntegerField(db_default=0, default=0, verbose_name="unknown")),
                ("within_30ms", models.PositiveIntegerField(db_default=0, default=0, verbose_name="within 30 ms")),
                ("within_100ms", models.PositiveIntegerField(db_default=0, default=0, verbose_name="within 100 ms")),
                ("within_300ms", models.PositiveIntegerField(db_default=0, default=0, verbose_name="within 300 ms")),
                ("within_1s", models.PositiveIntegerField(db_default=0, default=0, verbose_name="within 1 s")),
                ("within_3s", models.PositiveIntegerField(db_default=0, default=0, verbose_name="within 3 s")),
                ("within_10s", models.PositiveIntegerField(db_default=0, default=0, verbose_name="within 10 s")),
                ("within_30s", models.PositiveIntegerField(db_default=0, default=0, verbose_name="within 30 s")),
                ("within_2min", models.PositiveIntegerField(db_default=0, default=0, verbose_name="within 2 min")),
                ("within_10min", models.PositiveIntegerField(db_default=0, default=0, verbose_name="within 10 min")),
                ("within_1h", models.PositiveIntegerField(db_default=0, default=0, verbose_name="within 1 h")),
                ("over_1h", models.PositiveIntegerField(db_default=0, default=0, verbose_name="over 1 h")),
            ],
            options={
                "verbose_name": "sending minute",
                "verbose_name_plural": "sending minutes",
                "default_permissions": (),
                "constraints": [
                    models.UniqueConstraint(fields=("began_at", "backend"), name="mailqueue_minute_of_backend")
                ],
            },
        ),
        migrations.CreateModel(
            name="Queue",
            fields=[],
            options={
                "verbose_name": "queue at a glance",
                "verbose_name_plural": "queue at a glance",
                "proxy": True,
                "default_permissions": ("view",),
                "indexes": [],
                "constraints": [],
            },
            bases=("mailqueue.sendingminute",),
        ),
    ]
