"""Storage parameters of the two tables that each mail changes: what autovacuum waits for, and room to update in place.

A parameter that somebody has set already stays as it is, and so does what belongs to it.
"""

from typing import Any

from django.db import OperationalError, migrations, router

PATIENCE_SECONDS = 15
COST_LIMIT = {"autovacuum_vacuum_cost_limit": "1000"}
CARE = (
    # A share of the table would let the lane index grow with the history: dead entries count by themselves.
    {"autovacuum_vacuum_scale_factor": "0", "autovacuum_vacuum_threshold": "5000"},
    {"autovacuum_analyze_scale_factor": "0.05"},
    COST_LIMIT,
)
# The mark "started" is then written on the page on which the claim stands, without an entry in any index. What
# settles an attempt can't be: an index names `finished_at`.
ROOM = {"fillfactor": "60"}
GROUPS = {"post_office_email": CARE, "mailqueue_attempt": (ROOM, *CARE)}
MODELS = {"post_office_email": ("post_office", "email"), "mailqueue_attempt": ("mailqueue", "attempt")}

READ = "SELECT coalesce(reloptions, '{}') FROM pg_class WHERE oid = to_regclass(%s)"
SERVERS_COST_LIMIT = """
SELECT coalesce(nullif(current_setting('autovacuum_vacuum_cost_limit')::int, -1),
    current_setting('vacuum_cost_limit')::int)
"""


def set_parameters(apps: Any, schema_editor: Any) -> None:
    with schema_editor.connection.cursor() as cursor:
        for table, groups in _groups(schema_editor):
            there = _read(cursor, table)
            missing: dict[str, str] = {}
            for group in groups:
                if there.keys().isdisjoint(group) and not (group is COST_LIMIT and _is_faster_already(cursor)):
                    missing |= group
            settings = ", ".join(f"{name} = {value}" for name, value in missing.items())
            _alter(cursor, table, f"SET ({settings})" if missing else "")


def reset_parameters(apps: Any, schema_editor: Any) -> None:
    """Remove what still has the value that it was given here."""
    with schema_editor.connection.cursor() as cursor:
        for table, groups in _groups(schema_editor):
            there = _read(cursor, table)
            ours = [name for group in groups for name, value in group.items() if there.get(name) == value]
            _alter(cursor, table, f"RESET ({', '.join(ours)})" if ours else "")


def _groups(schema_editor: Any) -> list[tuple[str, Any]]:
    alias = schema_editor.connection.alias
    return [
        (table, groups)
        for table, groups in GROUPS.items()
        if router.allow_migrate(alias, MODELS[table][0], model_name=MODELS[table][1])
    ]


def _is_faster_already(cursor: Any) -> bool:
    cursor.execute(SERVERS_COST_LIMIT)
    limit: int = cursor.fetchone()[0]
    return limit > int(COST_LIMIT["autovacuum_vacuum_cost_limit"])


def _read(cursor: Any, table: str) -> dict[str, str]:
    cursor.execute(READ, [table])
    return dict(option.split("=", 1) for option in cursor.fetchone()[0])


def _alter(cursor: Any, table: str, change: str) -> None:
    """Change a table under a lock that readers and writers do not notice, but that a VACUUM keeps waiting."""
    if not change:
        return
    # Longer than an autovacuum needs to see that somebody waits, and to give way (deadlock_timeout, 1 s).
    cursor.execute(f"SET LOCAL lock_timeout = '{PATIENCE_SECONDS}s'")
    try:
        cursor.execute(f"ALTER TABLE {table} {change}")
    except OperationalError as error:
        raise OperationalError(
            f"The storage parameters of {table} could not be changed: for more than {PATIENCE_SECONDS} s another "
            "session has been cleaning or changing that table (VACUUM, ANALYZE, CREATE INDEX, ALTER TABLE). Nothing "
            "was changed. Wait for it to end (SELECT pid, xact_start, query FROM pg_stat_activity ORDER BY "
            "xact_start), and migrate again."
        ) from error


class Migration(migrations.Migration):
    dependencies = [("mailqueue", "0008_backends")]

    operations = [migrations.RunPython(set_parameters, reset_parameters)]
