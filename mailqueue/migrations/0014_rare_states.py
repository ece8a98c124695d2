"""Mails in a rare state are found without reading all that was ever sent or stopped."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("mailqueue", "0013_ended_senders")]

    operations = [
        migrations.RemoveIndex(model_name="mailstate", name="mailqueue_waits_for_person"),
        migrations.AddIndex(
            model_name="mailstate",
            index=models.Index(
                fields=["reason"],
                condition=models.Q(reason__in=["expired", "cancelled", "held", "unknown"]),
                name="mailqueue_stopped_but_failed",
            ),
        ),
        migrations.AddIndex(
            model_name="attempt",
            index=models.Index(
                fields=["email"], condition=models.Q(outcome="partly_sent"), name="mailqueue_partly_sent"
            ),
        ),
    ]
