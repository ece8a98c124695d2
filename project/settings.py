"""The site's settings: the only file that reads the environment. What is unsafe has to be asked for."""

from pathlib import Path
from typing import Any

import django
import environ
from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext_lazy as _

from project.email_url import parse_email_url

BASE_DIR = Path(__file__).resolve().parent.parent

env = environ.Env()
_env_file = env.str("ENV_FILE", default=str(BASE_DIR / ".env"))
if _env_file and Path(_env_file).is_file():
    env.read_env(_env_file)
elif env.str("ENV_FILE", default=""):
    raise ImproperlyConfigured(f"ENV_FILE names {_env_file}, which does not exist.")

# Safety

DEBUG = env.bool("DEBUG", default=False)
SECRET_KEY = env.str("SECRET_KEY", default="")
if not SECRET_KEY:
    if not DEBUG:
        raise ImproperlyConfigured(
            "SECRET_KEY is not set. Put SECRET_KEY=... (50 random characters or more) into the environment or .env; "
            "for development, set DEBUG=1 instead, or use `make run`."
        )
    SECRET_KEY = "django-insecure-for-development-only"  # noqa: S105 (not one: with DEBUG alone)
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=[])
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])

SECURE_SSL_REDIRECT = env.bool("SECURE_SSL_REDIRECT", default=not DEBUG)
SECURE_HSTS_SECONDS = env.int("SECURE_HSTS_SECONDS", default=0 if DEBUG else 24 * 3600)
SECURE_HSTS_INCLUDE_SUBDOMAINS = env.bool("SECURE_HSTS_INCLUDE_SUBDOMAINS", default=False)
SECURE_HSTS_PRELOAD = env.bool("SECURE_HSTS_PRELOAD", default=False)
# Both would decide for other hosts of the domain too: for its owner to switch on, not for a default.
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]
SESSION_COOKIE_SECURE = not DEBUG
CSRF_COOKIE_SECURE = not DEBUG
# Only behind a proxy that always sets this header; without one, a visitor could claim to come by HTTPS.
_proxy_header = env.str("SECURE_PROXY_SSL_HEADER", default="")
SECURE_PROXY_SSL_HEADER = (f"HTTP_{_proxy_header.upper().replace('-', '_')}", "https") if _proxy_header else None

# The site

INSTALLED_APPS = [
    "mailqueue",
    "post_office",
    "project.shop",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
]
if DEBUG:
    INSTALLED_APPS.append("project.dev")

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "project.urls"
WSGI_APPLICATION = "project.wsgi.application"
ASGI_APPLICATION = "project.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.debug",
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]

# Database

DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
EMBEDDED_POSTGRES_DIR = BASE_DIR / ".postgres"
USES_EMBEDDED_POSTGRES = not env.str("DATABASE_URL", default="")


def _database_url() -> str:
    if not USES_EMBEDDED_POSTGRES:
        return str(env.str("DATABASE_URL"))
    if not DEBUG:
        raise ImproperlyConfigured(
            "DATABASE_URL is not set. Put DATABASE_URL=postgres://user:password@host:5432/name into the environment "
            "or .env; the embedded Postgres, which stands in for it, is for development (DEBUG=1) alone."
        )
    from project.dev.postgres import EmbeddedPostgres

    return EmbeddedPostgres(EMBEDDED_POSTGRES_DIR).url("mailqueue")


def _database() -> dict[str, Any]:
    url = _database_url()
    hint = "Write it as postgres://user:password@host:5432/name, and percent-encode what is special in the password."
    try:
        database: dict[str, Any] = env.db_url_config(url)
    except (ValueError, ImproperlyConfigured) as error:
        raise ImproperlyConfigured(f"DATABASE_URL can't be read ({error}). {hint}") from None
    if not str(database.get("ENGINE", "")).endswith("postgresql"):
        raise ImproperlyConfigured(f"DATABASE_URL begins with {url.partition(':')[0]!r}, not with 'postgres'. {hint}")
    # A host that swallows packets must not keep a process that was told to stop.
    database.setdefault("OPTIONS", {}).setdefault("connect_timeout", 10)
    return database


DATABASES = {"default": _database()}

# Mail

DEFAULT_FROM_EMAIL = env.str("DEFAULT_FROM_EMAIL", default="shop@localhost")
# With DEBUG, mail goes to the development inbox unless somebody says otherwise: never to a real server by chance.
_smtp = parse_email_url(env.str("EMAIL_URL", default="smtp://127.0.0.1:2525" if DEBUG else "smtp://localhost:25"))
_SMTP_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
if django.VERSION >= (6, 1):
    MAILERS: dict[str, dict[str, Any]] = {
        "default": {"BACKEND": "mailqueue.EmailBackend"},
        "smtp": {"BACKEND": _SMTP_BACKEND, "OPTIONS": _smtp.as_mailer_options()},
    }
    POST_OFFICE: dict[str, Any] = {"DEFAULT_MAILER": "smtp"}
else:
    EMAIL_BACKEND = "mailqueue.EmailBackend"
    POST_OFFICE = {"BACKENDS": {"default": _SMTP_BACKEND}}
    globals().update(_smtp.as_email_settings())

MAILQUEUE: dict[str, Any] = {"STATE_DIR": str(BASE_DIR / ".state")} if DEBUG else {}

# Files

STATIC_URL = "static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
# Attachments of mail live here. Nothing serves this folder, and other users of the machine can't read it.
MEDIA_ROOT = env.path("MEDIA_ROOT", default=str(BASE_DIR / "media"))()
FILE_UPLOAD_PERMISSIONS = 0o640
FILE_UPLOAD_DIRECTORY_PERMISSIONS = 0o750
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if DEBUG
        else "whitenoise.storage.CompressedManifestStaticFilesStorage"
    },
}
WHITENOISE_USE_FINDERS = DEBUG
WHITENOISE_AUTOREFRESH = DEBUG

# Language and time

LANGUAGE_CODE = "en"
LANGUAGES = [("en", _("English")), ("zh-hans", _("Simplified Chinese"))]
USE_I18N = True
USE_TZ = True
TIME_ZONE = env.str("TIME_ZONE", default="UTC")

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "{asctime} {levelname} {name} {message}", "style": "{"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    # Django's own handlers would say everything twice, or mail it to ADMINS through the very queue that is in trouble.
    "loggers": {"django": {"handlers": [], "level": "INFO"}},
    "root": {"handlers": ["stderr"], "level": env.str("LOG_LEVEL", default="INFO")},
}

DEV_INBOX_DIR = BASE_DIR / ".inbox"
