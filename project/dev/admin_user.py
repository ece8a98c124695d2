"""The admin user of development: its name, and a random password that is kept in a git-ignored file."""

import secrets
from pathlib import Path

from django.contrib.auth import get_user_model

NAME = "admin"


def ensure_admin_user(password_file: Path, *, may_reset: bool) -> str | None:
    """Make the user unless it is there, and return its password; None when somebody gave it another one.

    With `may_reset`, such a password is replaced by ours.
    """
    password = _kept_password(password_file)
    user_model = get_user_model()
    user = user_model._default_manager.filter(**{user_model.USERNAME_FIELD: NAME}).first()
    if user is None:
        user_model._default_manager.create_superuser(NAME, "admin@localhost", password)
        return password
    if not user.check_password(password):
        if not may_reset:
            return None
        user.set_password(password)
        user.save(update_fields=["password"])
    return password


def _kept_password(file: Path) -> str:
    if not file.exists():
        file.touch(mode=0o600)
    password = file.read_text().strip()
    if not password:
        password = secrets.token_urlsafe(12)
        file.write_text(f"{password}\n")
    return password
