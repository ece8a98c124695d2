"""Mail that waits for a person is counted often, and is little among all that was ever stopped."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("mailqueue", "0009_table_care")]

    operations = [
        migrations.AddIndex(
            model_name="mailstate",
            index=models.Index(
                fields=["reason"],
                condition=models.Q(reason__in=["held", "unknown"]),
                name="mailqueue_waits_for_person",
            ),
        ),
    ]
