"""Each act of the admin, and reading what mail says, has a permission of its own."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("mailqueue", "0010_waiting_for_a_person")]

    operations = [
        migrations.AlterModelOptions(
            name="mailstate",
            options={
                "permissions": [
                    ("requeue_mail", "Can requeue mail"),
                    ("cancel_mail", "Can cancel mail"),
                    ("hold_mail", "Can hold and release mail"),
                    ("correct_mail", "Can correct the address of a failed mail"),
                    ("export_mail", "Can export lists of mail"),
                    ("view_body", "Can read what mail says"),
                ],
                "verbose_name": "mail state",
                "verbose_name_plural": "mail states",
            },
        ),
    ]
