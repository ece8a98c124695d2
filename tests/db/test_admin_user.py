from pathlib import Path

import pytest
from django.contrib.auth.models import User

from project.dev.admin_user import NAME, ensure_admin_user

pytestmark = pytest.mark.django_db


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "password"


def test_the_user_is_made_with_a_password_that_only_its_owner_can_read(file: Path) -> None:
    password = ensure_admin_user(file, may_reset=False)
    user = User.objects.get(username=NAME)

    assert password is not None
    assert user.check_password(password)
    assert user.is_superuser
    assert file.stat().st_mode & 0o077 == 0


def test_every_run_tells_the_same_password(file: Path) -> None:
    assert ensure_admin_user(file, may_reset=False) == ensure_admin_user(file, may_reset=False)


def test_two_checkouts_have_two_passwords(file: Path, tmp_path: Path) -> None:
    assert ensure_admin_user(file, may_reset=True) != ensure_admin_user(tmp_path / "other", may_reset=True)


def test_a_password_that_somebody_chose_stays(file: Path) -> None:
    User.objects.create_superuser(NAME, password="chosen")

    assert ensure_admin_user(file, may_reset=False) is None
    assert User.objects.get(username=NAME).check_password("chosen")


def test_a_lost_password_is_replaced_in_a_database_of_our_own(file: Path) -> None:
    ensure_admin_user(file, may_reset=True)
    file.unlink()
    password = ensure_admin_user(file, may_reset=True)

    assert password is not None
    assert User.objects.get(username=NAME).check_password(password)
