"""Let the database keep the rows of 0005 in step with post_office's: they go with a mail, a key outlives it."""

from typing import Any

from django.db import OperationalError, migrations, router

KEYS = {
    "mailqueue_mailoptions": "(email_id) REFERENCES post_office_email (id) ON DELETE CASCADE",
    "mailqueue_mailkey": "(email_id) REFERENCES post_office_email (id) ON DELETE SET NULL",
    "mailqueue_attachmentdigest": "(attachment_id) REFERENCES post_office_attachment (id) ON DELETE CASCADE",
}

ADD = "ALTER TABLE {table} ADD CONSTRAINT {table}_fk FOREIGN KEY {key} DEFERRABLE INITIALLY DEFERRED"
DROP = "ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {table}_fk"


def is_home(alias: str) -> bool:
    return router.allow_migrate(alias, "post_office", model_name="email") and router.allow_migrate(
        alias, "mailqueue", model_name="mailoptions"
    )


def add(apps: Any, schema_editor: Any) -> None:
    if not is_home(schema_editor.connection.alias):
        return
    with schema_editor.connection.cursor() as cursor:
        cursor.execute("SET LOCAL lock_timeout = '15s'")
        try:
            for table, key in KEYS.items():
                cursor.execute(ADD.format(table=table, key=key))
        except OperationalError as error:
            raise OperationalError(
                "Another session has been writing to post_office's tables for more than 15 s, so that the foreign "
                "keys of mailqueue could not be added. Nothing was changed. Wait for that transaction to end, or end "
                "it (SELECT pid, xact_start, query FROM pg_stat_activity ORDER BY xact_start), and migrate again."
            ) from error


def drop(apps: Any, schema_editor: Any) -> None:
    if not is_home(schema_editor.connection.alias):
        return
    with schema_editor.connection.cursor() as cursor:
        for table in KEYS:
            cursor.execute(DROP.format(table=table))


class Migration(migrations.Migration):
    dependencies = [("mailqueue", "0005_content")]

    operations = [migrations.RunPython(add, drop)]
