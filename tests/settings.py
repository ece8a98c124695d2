"""The settings of the tests: the project's, without `.env`, with fixed secrets and a cheap password hasher.

Processes that tests start take these too; MAILQUEUE_JSON and SETTINGS_JSON in their environment change them.
"""

import json
import os

NO_DATABASE_URL = "postgres:///none?host=/the-test-needs-a-database-fixture"

os.environ["ENV_FILE"] = ""
os.environ["DEBUG"] = "0"
os.environ.setdefault("SECRET_KEY", "only-for-tests-0123456789-abcdefghijklmnopqrstuvwxyz-ABCDEFG")
os.environ.setdefault("ALLOWED_HOSTS", "localhost,127.0.0.1,testserver")
os.environ.setdefault("EMAIL_URL", "smtp://127.0.0.1:1")
HAS_DATABASE_URL = bool(os.environ.setdefault("DATABASE_URL", ""))
if not HAS_DATABASE_URL:
    os.environ["DATABASE_URL"] = NO_DATABASE_URL

from project.settings import *  # noqa: E402, F403
from project.settings import DATABASES, INSTALLED_APPS, MAILQUEUE  # noqa: E402

if not HAS_DATABASE_URL:
    # tests/conftest.py starts a server for the run and puts its address in; started processes get it from there.
    del os.environ["DATABASE_URL"]

DATABASES["default"]["TEST"] = {"NAME": f"test_mailqueue_{os.getpid()}"}
INSTALLED_APPS = [*INSTALLED_APPS, "project.dev"]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
SECURE_SSL_REDIRECT = False
SESSION_COOKIE_SECURE = False
CSRF_COOKIE_SECURE = False
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = True

MAILQUEUE = {**MAILQUEUE, **json.loads(os.environ.get("MAILQUEUE_JSON", "{}"))}
globals().update(json.loads(os.environ.get("SETTINGS_JSON", "{}")))
