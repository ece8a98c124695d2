"""Let the database itself remove our rows with the mail they belong to: people delete mail by hand."""

from typing import Any

from django.db import OperationalError, migrations, router

TABLES = ("mailqueue_attempt", "mailqueue_mailstate", "mailqueue_messagesource")

ADD = """
ALTER TABLE {table} ADD CONSTRAINT {table}_email_fk FOREIGN KEY (email_id)
REFERENCES post_office_email (id) ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED
"""
DROP = "ALTER TABLE {table} DROP CONSTRAINT IF EXISTS {table}_email_fk"


def is_home(alias: str) -> bool:
    return router.allow_migrate(alias, "post_office", model_name="email") and router.allow_migrate(
        alias, "mailqueue", model_name="attempt"
    )


def add(apps: Any, schema_editor: Any) -> None:
    if not is_home(schema_editor.connection.alias):
        return
    with schema_editor.connection.cursor() as cursor:
        cursor.execute("SET LOCAL lock_timeout = '15s'")
        try:
            for table in TABLES:
                cursor.execute(ADD.format(table=table))
        except OperationalError as error:
            raise OperationalError(
                "Another session has been writing to post_office_email for more than 15 s, so that the foreign keys "
                "of mailqueue could not be added. Nothing was changed. Wait for that transaction to end, or end it "
                "(SELECT pid, xact_start, query FROM pg_stat_activity ORDER BY xact_start), and migrate again."
            ) from error


def drop(apps: Any, schema_editor: Any) -> None:
    if not is_home(schema_editor.connection.alias):
        return
    with schema_editor.connection.cursor() as cursor:
        for table in TABLES:
            cursor.execute(DROP.format(table=table))


class Migration(migrations.Migration):
    dependencies = [("mailqueue", "0001_initial")]

    operations = [migrations.RunPython(add, drop)]
