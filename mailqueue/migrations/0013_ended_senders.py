"""A sender that ended in order stays in sight: else nobody could tell since when no mail has been sent."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("mailqueue", "0012_minutes")]

    operations = [
        migrations.AddField(
            model_name="senderprocess",
            name="ended_at",
            field=models.DateTimeField(help_text="When it ended in order.", null=True, verbose_name="ended at"),
        ),
    ]
