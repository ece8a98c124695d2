"""Settings of a project that keeps its mail in a database of its own; MAIL_DATABASE_URL names it."""

import os
from typing import Any

import environ

from tests.settings import *  # noqa: F403
from tests.settings import DATABASES

DATABASES["mail"] = environ.Env.db_url_config(os.environ["MAIL_DATABASE_URL"])
DATABASE_ROUTERS = ["tests.support.routed_settings.Router"]
MAIL_APPS = {"post_office", "mailqueue", "shop"} - set(os.environ.get("STRAY_APPS", "").split())


class Router:
    """Sends mail, and the shop that points to it, to the database "mail"; everything else to the default one."""

    def db_for_read(self, model: Any, **_: Any) -> str:
        return "mail" if model._meta.app_label in MAIL_APPS else "default"

    db_for_write = db_for_read

    def allow_migrate(self, db: str, app_label: str, **_: Any) -> bool:
        return (db == "mail") == (app_label in MAIL_APPS)

    def allow_relation(self, *_: Any, **__: Any) -> bool:
        return True
