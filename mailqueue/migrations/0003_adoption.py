"""Hold what has been lying in the queue for more than two days before mailqueue came: nobody expects it any more."""

from typing import Any

from django.db import migrations, router

NOTE = "It had been queued for more than 48 hours when mailqueue was installed."

HOLD = """
WITH old AS (
    UPDATE post_office_email SET status = 1
    WHERE status IN (2, 3) AND scheduled_time IS NULL AND created < now() - interval '48 hours'
    RETURNING id
)
INSERT INTO mailqueue_mailstate (email_id, reason, note, stopped_by, stopped_at)
SELECT id, 'held', %s, 'mailqueue', now() FROM old
ON CONFLICT (email_id) DO UPDATE SET reason = excluded.reason, note = excluded.note,
    stopped_by = excluded.stopped_by, stopped_at = excluded.stopped_at
"""
RELEASE = """
WITH held AS (DELETE FROM mailqueue_mailstate WHERE reason = 'held' AND note = %s RETURNING email_id)
UPDATE post_office_email SET status = 2 WHERE status = 1 AND id IN (SELECT email_id FROM held)
"""

KEPT = """
SELECT count(*) FROM mailqueue_messagesource s JOIN post_office_email e ON e.id = s.email_id WHERE e.status IN (2, 3)
"""


def is_home(alias: str) -> bool:
    return router.allow_migrate(alias, "post_office", model_name="email") and router.allow_migrate(
        alias, "mailqueue", model_name="mailstate"
    )


def hold(apps: Any, schema_editor: Any) -> None:
    if not is_home(schema_editor.connection.alias):
        return
    with schema_editor.connection.cursor() as cursor:
        cursor.execute(HOLD, [NOTE])
        held_count = cursor.rowcount
    if held_count:
        what = "1 mail" if held_count == 1 else f"{held_count} mails"
        print(
            f"\n  Held, not sent: {what}, queued for more than 48 hours. Look in the admin (state: held) and requeue "
            "what is still wanted.",
        )


def release(apps: Any, schema_editor: Any) -> None:
    if not is_home(schema_editor.connection.alias):
        return
    with schema_editor.connection.cursor() as cursor:
        cursor.execute(KEPT)
        (kept_count,) = cursor.fetchone()
        if kept_count:
            raise RuntimeError(
                f"{kept_count} queued mails are kept in a form that post_office's own tables can't hold, and would be "
                "lost. Send them first (python manage.py send_queued_mail --until-empty) or cancel them in the admin, "
                "then migrate again. Nothing was changed."
            )
        cursor.execute(RELEASE, [NOTE])


class Migration(migrations.Migration):
    dependencies = [("mailqueue", "0002_cascade")]

    operations = [migrations.RunPython(hold, release)]
