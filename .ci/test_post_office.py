"""Runs the tests that django-post-office brings, unmodified, with mailqueue in front of it and on Postgres.

They come with the source package of the installed version, which pip fetches and checks against requirements.lock.
"""

import base64
import os
import re
import subprocess
import sys
import tarfile
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(CHECKOUT))

from tests.support.postgres import private_postgres  # noqa: E402

SETTINGS = """
import os
import environ
from tests.test_settings import *

INSTALLED_APPS = ("mailqueue", *INSTALLED_APPS)
DATABASES = {"default": environ.Env.db_url_config(os.environ["DATABASE_URL"])}
"""

# What the tests read and the source package lacks. The image is another one than theirs.
FILES = {
    "__init__.py": b"",
    "templates/hello.html": b"<h1>{{ foo }}</h1>",
    "templates/image.html": b"{% load post_office %}<h3>Testing image attachments</h3>"
    b'<img src="{% inline_image imgsrc %}" width="200" />',
    "static/dummy.png": base64.b64decode(
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
    ),
}

COMMAND = "mailqueue's command of this name takes its place: it runs until it is told to stop, and has other options"
FORK = "forks with an open connection, which breaks it on Postgres without mailqueue too; mailqueue sends otherwise"
IMAGE = "expects the hash of an image that is not in the source package"
COMMIT = "looks for the file of an attachment within a transaction; mailqueue removes it after the commit"
ADMIN = "mailqueue's page of a mail takes its place: the HTML is shown by its preview, whose tests stay in"
READING = "what a mail says takes a permission of its own, mailqueue.view_body"
NO_SUCH_IMAGE = "mailqueue's preview leaves out the address of an image that the mail does not have"

LEFT_OUT = {
    "tests/test_commands.py::CommandTest::test_send_queued_mail": COMMAND,
    "tests/test_commands.py::CommandTest::test_successful_deliveries_logging": COMMAND,
    "tests/test_commands.py::CommandTest::test_failed_deliveries_logging": COMMAND,
    "tests/test_commands.py::CommandTest::test_cleanup_mail_with_orphaned_attachments": COMMIT,
    "tests/test_mail.py::MailTest::test_send_queued_mail_multi_processes": FORK,
    "tests/test_mail.py::MailTest::test_batch_delivery_timeout_multi_processes": FORK,
    "tests/test_html_email.py::HTMLMailTest::test_html": IMAGE,
    "tests/test_html_email.py::HTMLMailTest::test_html_django6": IMAGE,
    "tests/test_html_email.py::HTMLMailTest::test_image": IMAGE,
    "tests/test_html_email.py::HTMLMailTest::test_image_django6": IMAGE,
    "tests/test_html_email.py::EmailAdminTest::test_change_view_cid_uppercase_scheme": ADMIN,
    "tests/test_html_email.py::EmailAdminTest::test_email_preview_view_object_permission": READING,
    "tests/test_html_email.py::EmailAdminTest::test_email_preview_view_cid_unknown_unchanged": NO_SUCH_IMAGE,
}


def main() -> int:
    with tempfile.TemporaryDirectory() as folder, private_postgres() as postgres:
        source = fetch(Path(folder))
        (source / "mailqueue").symlink_to(CHECKOUT / "mailqueue")
        (source / "settings_with_mailqueue.py").write_text(SETTINGS)
        for name, content in FILES.items():
            file = source / "tests" / name
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(content)
        environment = {**os.environ, "DATABASE_URL": postgres.url("postgres")}
        listed = pytest("--collect-only", cwd=source, env=environment, capture_output=True)
        if gone := LEFT_OUT.keys() - set(listed.stdout.splitlines()):
            sys.exit("To be left out, but not there any more: " + ", ".join(sorted(gone)))
        for name, reason in LEFT_OUT.items():
            sys.stdout.write(f"Left out: {name}: {reason}.\n")
        sys.stdout.flush()
        return pytest("-rs", *(f"--deselect={name}" for name in LEFT_OUT), cwd=source, env=environment).returncode


def fetch(folder: Path) -> Path:
    """Unpack the source package, without the code that is installed already."""
    wanted = folder / "wanted.txt"
    wanted.write_text(locked("django-post-office"))
    pip = (sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input")
    options = ("--no-deps", "--no-binary", "django-post-office", "--require-hashes", "--requirement", str(wanted))
    subprocess.run([*pip, *options, "--dest", str(folder)], check=True, stdin=subprocess.DEVNULL)
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as file:
        file.extractall(folder, filter="data")
    source = folder / archive.name.removesuffix(".tar.gz")
    (source / "post_office").rename(folder / "not-used")
    return source


def locked(package: str) -> str:
    """The lines of requirements.lock on a package, which must name the version that is installed."""
    lock = (CHECKOUT / "requirements.lock").read_text()
    lines = re.search(rf"^{package}==\S+(?: \\\n +--hash=\S+)+$", lock, re.MULTILINE)
    if not lines or not lines[0].startswith(f"{package}=={version(package)} "):
        sys.exit(f"requirements.lock does not have {package} {version(package)}, which is installed: make setup")
    return lines[0]


def pytest(*arguments: str, cwd: Path, env: dict[str, str], capture_output: bool = False) -> Any:
    options = ("--quiet", "--disable-warnings", "-p", "no:randomly", "-p", "no:cacheprovider")
    command = [sys.executable, "-m", "pytest", *options, "--ds=settings_with_mailqueue", *arguments]
    return subprocess.run(
        command, cwd=cwd, env=env, capture_output=capture_output, text=True, check=False, stdin=subprocess.DEVNULL
    )


if __name__ == "__main__":
    sys.exit(main())
