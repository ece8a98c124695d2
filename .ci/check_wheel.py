"""Builds the wheel, checks what is in it, and imports it in an environment that holds nothing else."""

import subprocess
import sys
import tempfile
import venv
import zipfile
from email.parser import HeaderParser
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
PACKAGE = CHECKOUT / "mailqueue"
DEPENDENCIES = {"Django", "django-post-office", "django-environ", "greenlet", "nh3", "psycopg"}
MUST_HAVE = {
    "mailqueue/py.typed",
    "mailqueue/management/commands/send_queued_mail.py",
    "mailqueue/migrations/0001_initial.py",
    "mailqueue/testing/certs/server.key",
}
TRY_IT = """
import django
from django.conf import settings
settings.configure(INSTALLED_APPS=["mailqueue", "post_office"], DATABASES={"default": {
    "ENGINE": "django.db.backends.postgresql", "NAME": "none"}})
django.setup()
import mailqueue
from mailqueue.testing import SmtpServer, drain, queueing
print("imported mailqueue", mailqueue.__version__, "beside Django", django.__version__)
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        wheel = build(Path(folder))
        check_contents(wheel)
        check_dependencies(wheel)
        check_import(wheel, Path(folder) / "venv")


def build(folder: Path) -> Path:
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(CHECKOUT))
    (wheel,) = folder.glob("*.whl")
    return wheel


def check_contents(wheel: Path) -> None:
    names = {name for name in zipfile.ZipFile(wheel).namelist() if not name.endswith("/")}
    expected = {path.relative_to(CHECKOUT).as_posix() for path in PACKAGE.rglob("*") if is_wanted(path)}
    packed = {name for name in names if ".dist-info/" not in name}
    fail_on("is missing in the wheel", (expected | MUST_HAVE) - packed)
    fail_on("has no place in the wheel", packed - expected)


def is_wanted(path: Path) -> bool:
    return path.is_file() and "__pycache__" not in path.parts and path.suffix != ".pyc"


def check_dependencies(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    (metadata,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
    required = HeaderParser().parsestr(archive.read(metadata).decode()).get_all("Requires-Dist", [])
    plain = {line.split("[")[0].split("<")[0].split(">")[0].strip() for line in required if "extra ==" not in line}
    fail_on(
        "is a dependency that isn't meant to be one, or is missing",
        {name.lower() for name in plain} ^ {name.lower() for name in DEPENDENCIES},
    )


def check_import(wheel: Path, folder: Path) -> None:
    venv.create(folder, with_pip=True)
    python = str(folder / "bin" / "python")
    run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", str(wheel))
    run(python, "-I", "-c", TRY_IT)


def fail_on(what: str, names: set[str]) -> None:
    if names:
        sys.exit("\n".join(f"{name} {what}" for name in sorted(names)))


def run(*command: str) -> None:
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, cwd=CHECKOUT.parent if command[1] == "-I" else None)


if __name__ == "__main__":
    main()
