from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("mailqueue", "0006_cascade_content")]

    operations = [
        migrations.AddField(
            model_name="mailoptions",
            name="wiped_at",
            field=models.DateTimeField(
                help_text="Since when a sensitive mail is empty.", null=True, verbose_name="wiped at"
            ),
        ),
    ]
