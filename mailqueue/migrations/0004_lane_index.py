"""The index that the claim walks along, made while the site goes on writing mail."""

from typing import Any

from django.db import OperationalError, migrations, router

NAME = "mailqueue_lane"
PATIENCE_SECONDS = 60

CREATE = f"""
CREATE INDEX CONCURRENTLY {NAME} ON post_office_email
(backend_alias, coalesce(priority, 1), coalesce(scheduled_time, created), id)
WHERE status IN (2, 3)
"""
DROP = f"DROP INDEX CONCURRENTLY IF EXISTS {NAME}"
STATE = """
SELECT i.indisvalid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
WHERE c.relname = %s AND pg_table_is_visible(c.oid)
"""


def create(apps: Any, schema_editor: Any) -> None:
    if not router.allow_migrate(schema_editor.connection.alias, "post_office", model_name="email"):
        return
    with schema_editor.connection.cursor() as cursor:
        cursor.execute(STATE, [NAME])
        found = cursor.fetchone()
        if found and found[0]:
            return
        cursor.execute("SET lock_timeout = %s", [f"{PATIENCE_SECONDS}s"])
        try:
            # An index build that was interrupted leaves an invalid index behind, which must go first.
            cursor.execute(DROP)
            cursor.execute(CREATE)
        except OperationalError as error:
            raise OperationalError(
                f"The lane index {NAME} could not be made: a transaction has been open on this database for more than "
                f"{PATIENCE_SECONDS} s. Nothing is lost. Wait for that transaction to end, or end it "
                "(SELECT pid, xact_start, query FROM pg_stat_activity ORDER BY xact_start), and migrate again."
            ) from error
        finally:
            cursor.execute("RESET lock_timeout")


def drop(apps: Any, schema_editor: Any) -> None:
    if not router.allow_migrate(schema_editor.connection.alias, "post_office", model_name="email"):
        return
    with schema_editor.connection.cursor() as cursor:
        cursor.execute(DROP)


class Migration(migrations.Migration):
    # CREATE INDEX CONCURRENTLY can't run inside a transaction.
    atomic = False

    dependencies = [("mailqueue", "0003_adoption")]

    operations = [migrations.RunPython(create, drop)]
