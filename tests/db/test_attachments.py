"""Attachments in the storage: once per content, streamed, and gone when the transaction that wrote them is."""

import io
import re
import tempfile
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.core.files.base import ContentFile, File
from django.core.files.storage import FileSystemStorage, default_storage
from django.core.files.uploadedfile import TemporaryUploadedFile
from django.db import connection, transaction
from django.utils import timezone
from post_office import mail as post_office_mail
from post_office.models import Attachment, Email
from post_office.utils import cleanup_expired_mails
from pytest_django import Settings

from mailqueue.models import AttachmentDigest, MailOptions
from mailqueue.outbox import sources, tags
from mailqueue.outbox.attachments import Content, link, store
from mailqueue.queue import attachments as attachment_queries
from tests.support.mails import make_mail

pytestmark = pytest.mark.django_db
BILL = Content("bill.pdf", "application/pdf", b"%PDF-1.7")
SENT_BY_POST_OFFICE = {"recipients": "jane@example.com", "sender": "shop@example.com", "message": "x"}


class RefusedError(Exception):
    """Raised by a caller in the middle of a transaction."""


@pytest.fixture(autouse=True)
def media(settings: Settings, tmp_path: Path) -> Path:
    settings.MEDIA_ROOT = tmp_path / "media"
    return tmp_path / "media"


def files(media: Path) -> list[Path]:
    return [path for path in media.rglob("*") if path.is_file()]


def mail_with(*contents: Content, **fields: Any) -> Email:
    """Write a mail with these attachments, in a transaction."""
    with transaction.atomic():
        mail = make_mail(**fields)
        link(store([contents], using="default"), [mail.pk], using="default")
    return mail


def rows_of(mail: Email) -> list[int]:
    links = Attachment.emails.through.objects.filter(email=mail).order_by("pk")
    return list(links.values_list("attachment_id", flat=True))


def content_of(mail: Email) -> bytes:
    with mail.attachments.get().file.open("rb") as file:
        data: bytes = file.read()
    return data


def test_mails_of_one_call_with_the_same_content_share_a_row_and_a_file(media: Path) -> None:
    mails = [make_mail() for _ in range(3)]
    link(store([[BILL]] * 3, using="default"), [mail.pk for mail in mails], using="default")

    assert (1, 1, [b"%PDF-1.7"] * 3) == (
        Attachment.objects.count(),
        len(files(media)),
        [content_of(mail) for mail in mails],
    )


def test_a_later_mail_with_the_same_content_shares_the_row_of_the_first(media: Path) -> None:
    first, second = mail_with(BILL), mail_with(BILL)

    assert (rows_of(first), 1) == (rows_of(second), len(files(media)))


@pytest.mark.parametrize(
    "other",
    [
        Content("bill.pdf", "application/pdf", b"%PDF-1.8"),
        Content("bill2.pdf", "application/pdf", b"%PDF-1.7"),
        Content("bill.pdf", "text/plain", b"%PDF-1.7"),
        Content("bill.pdf", "application/pdf", b"%PDF-1.7", {"Content-ID": "<bill>"}),
        Content("bill.pdfa", "pplication/pdf", b"%PDF-1.7"),
    ],
    ids=["content", "name", "type", "headers", "where one ends and the next begins"],
)
def test_what_differs_in_anything_has_a_row_of_its_own(other: Content) -> None:
    first, second = mail_with(BILL), mail_with(other)

    assert rows_of(first) != rows_of(second)


def test_headers_are_kept_and_their_order_makes_no_difference() -> None:
    first = mail_with(Content("a", "", b"", {"A": "1", "B": "2"}))
    second = mail_with(Content("a", "", b"", {"B": "2", "A": "1"}))

    assert (rows_of(first), {"A": "1", "B": "2"}) == (rows_of(second), first.attachments.get().headers)


def test_equal_attachments_of_one_mail_have_a_row_each_which_the_next_such_mail_shares(media: Path) -> None:
    first, second = mail_with(BILL, BILL), mail_with(BILL, BILL)

    assert (2, 2) == (len(set(rows_of(first))), len(files(media)))
    assert rows_of(first) == rows_of(second)


def test_links_keep_the_order_of_a_mails_attachments() -> None:
    contents = [Content(f"{number}.txt", "text/plain", b"same") for number in (3, 1, 2)]
    mail_with(contents[1], contents[2])
    mail = mail_with(*contents)
    names = dict(Attachment.objects.values_list("pk", "name"))

    assert ["3.txt", "1.txt", "2.txt"] == [names[number] for number in rows_of(mail)]


def test_ten_thousand_mails_cost_as_many_statements_as_one(django_assert_num_queries: Any, media: Path) -> None:
    mail_with(Content("the tag of the database", "", b"is read once by a process"))
    mails = Email.objects.bulk_create(
        [Email(from_email="a@example.com", to="b@example.com", message_id=str(n)) for n in range(10_000)]
    )
    with django_assert_num_queries(4):
        link(store([[BILL]] * len(mails), using="default"), [mail.pk for mail in mails], using="default")

    assert (2, 10_001) == (len(files(media)), Attachment.emails.through.objects.count())


def test_no_attachments_cost_no_statement(django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(0):
        assert [[], []] == store([[], []], using="default")
        link([[]], [1], using="default")


# What is given


class OneWay(io.RawIOBase):
    """What comes over a wire: it can be read once, and not be wound back."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._data.readinto(buffer)


class Bare:
    """The least that can be wound back."""

    def __init__(self, data: bytes) -> None:
        file = io.BytesIO(data)
        self.read, self.seek, self.tell = file.read, file.seek, file.tell


class Zeros(io.RawIOBase):
    """A large file that takes no memory by itself."""

    def __init__(self, size: int, *, can_rewind: bool) -> None:
        self._size, self._position, self._can_rewind = size, 0, can_rewind

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._can_rewind

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = 0) -> int:
        self._position = offset + (0, self._position, self._size)[whence]
        return self._position

    def readinto(self, buffer: Any) -> int:
        count = min(len(buffer), self._size - self._position)
        buffer[:count] = bytes(count)
        self._position += count
        return count


@pytest.mark.parametrize("wrap", [lambda file: file, File], ids=["plain", "Django's"])
def test_an_open_file_is_read_from_its_beginning_and_left_open_where_it_stood(
    wrap: Callable[[Any], Any], tmp_path: Path
) -> None:
    (tmp_path / "bill").write_bytes(b"%PDF-1.7")
    with (tmp_path / "bill").open("rb") as opened:
        opened.read(3)
        mail = mail_with(Content("bill.pdf", "application/pdf", wrap(opened)))

        assert (b"%PDF-1.7", 3, False) == (content_of(mail), opened.tell(), opened.closed)
    assert rows_of(mail) == rows_of(mail_with(BILL))


@pytest.mark.parametrize(
    "data",
    [
        OneWay(b"%PDF-1.7"),
        Bare(b"%PDF-1.7"),
        ContentFile("%PDF-1.7"),
        io.StringIO("%PDF-1.7"),
        bytearray(b"%PDF-1.7"),
        memoryview(b"%PDF-1.7"),
    ],
    ids=lambda data: type(data).__name__,
)
def test_whatever_can_be_read_is_stored(data: Any, media: Path) -> None:
    contents = [Content("bill.pdf", "application/pdf", data)] * 2

    assert rows_of(mail_with(*contents)) == rows_of(mail_with(BILL, BILL))
    assert {b"%PDF-1.7"} == {path.read_bytes() for path in files(media)}


def test_what_cannot_be_read_is_refused() -> None:
    with pytest.raises(TypeError, match="bytes or an open file, not int"):
        store([[Content("a", "", 1)]], using="default")  # type: ignore[arg-type]


def test_the_file_of_another_row_is_read_without_being_opened_in_the_callers_hands() -> None:
    field_file = mail_with(BILL).attachments.get().file
    mail = mail_with(Content("copy.pdf", "application/pdf", field_file))

    assert (b"%PDF-1.7", None) == (content_of(mail), field_file._file)


def test_an_upload_is_copied_and_not_moved_away() -> None:
    with TemporaryUploadedFile("bill.pdf", "application/pdf", 8, None) as upload:
        upload.write(b"%PDF-1.7")
        mail = mail_with(Content("bill.pdf", "application/pdf", upload))

        assert (b"%PDF-1.7", True) == (content_of(mail), Path(upload.temporary_file_path()).exists())


class ClosingStorage(FileSystemStorage):
    """Closes what it is given, as the clients of object storages do."""

    def _save(self, name: str, content: Any) -> str:
        saved: str = super()._save(name, content)
        content.close()
        return saved


def test_a_storage_that_closes_what_it_reads_does_not_close_the_callers_file(settings: Settings) -> None:
    path = f"{__name__}.{ClosingStorage.__name__}"
    settings.STORAGES = {**settings.STORAGES, "default": {"BACKEND": path}}
    data = io.BytesIO(b"%PDF-1.7")
    mail_with(Content("bill.pdf", "application/pdf", data))

    assert not data.closed


@pytest.mark.parametrize("can_rewind", [True, False])
def test_a_large_file_is_never_in_memory(can_rewind: bool, media: Path) -> None:
    size = 64_000_000
    tracemalloc.start()
    mail_with(Content("large.bin", "", Zeros(size, can_rewind=can_rewind)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert (size, True) == (files(media)[0].stat().st_size, peak < 4 * sources.SPOOL_BYTES)


def test_what_is_copied_first_leaves_no_temporary_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    mail_with(Content("large.bin", "", Zeros(2 * sources.SPOOL_BYTES, can_rewind=False)))

    assert [] == files(tmp_path / "tmp")


# Reuse, and those who delete


@contextmanager
def other_session(database_url: str) -> Iterator["psycopg.Connection[Any]"]:
    """A second connection, which waits for no lock."""
    with psycopg.connect(database_url, autocommit=True) as other:
        other.execute("SET lock_timeout = '100ms'")
        yield other


def test_content_whose_mails_are_gone_is_stored_anew(media: Path) -> None:
    mail_with(BILL).delete()
    mail = mail_with(BILL)

    assert (2, 2) == (Attachment.objects.count(), len(files(media)))
    cleanup_expired_mails(timezone.now() - timedelta(days=1))
    assert b"%PDF-1.7" == content_of(mail)


def test_content_whose_file_is_gone_is_stored_anew_and_shared_from_then_on(media: Path) -> None:
    mail_with(BILL)
    files(media)[0].unlink()
    second, third = mail_with(BILL), mail_with(BILL)

    assert (b"%PDF-1.7", rows_of(second)) == (content_of(second), rows_of(third))


def test_the_row_of_a_sensitive_mail_is_not_shared() -> None:
    first = mail_with(BILL)
    MailOptions.objects.create(email=first, is_sensitive=True)

    assert rows_of(first) != rows_of(mail_with(BILL))


@pytest.mark.django_db(transaction=True)
def test_a_mail_that_is_being_deleted_is_not_waited_for(database_url: str, media: Path) -> None:
    first = mail_with(BILL)
    with other_session(database_url) as other, other.transaction():
        other.execute("DELETE FROM post_office_attachment_emails WHERE email_id = %s", [first.pk])
        other.execute("DELETE FROM post_office_email WHERE id = %s", [first.pk])
        second = mail_with(BILL)

    cleanup_expired_mails(timezone.now() - timedelta(days=1))
    assert b"%PDF-1.7" == content_of(second)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "statement", ["DELETE FROM post_office_email", "DELETE FROM post_office_attachment_emails"], ids=["mail", "link"]
)
def test_what_keeps_a_shared_row_alive_stays_until_the_commit(statement: str, database_url: str) -> None:
    mail_with(BILL)
    with other_session(database_url) as other:
        with transaction.atomic(), pytest.raises(psycopg.errors.LockNotAvailable):
            store([[BILL]], using="default")
            other.execute(statement)

        other.execute("DELETE FROM post_office_attachment_emails")


@pytest.mark.django_db(transaction=True)
def test_two_transactions_with_the_same_new_content_do_not_wait_for_each_other(media: Path) -> None:
    def other() -> None:
        mail_with(BILL)
        connection.close()

    thread = threading.Thread(target=other)
    with transaction.atomic():
        mail_with(BILL)
        thread.start()
        thread.join(30)
        was_waiting = thread.is_alive()
    thread.join()

    assert (False, 2) == (was_waiting, len(files(media)))


def fill(attachment_id: int) -> None:
    """Let a row be shared by very many mails, and the statistics know it."""
    with connection.cursor() as cursor:
        cursor.execute(
            """WITH mails AS (
                   INSERT INTO post_office_email (from_email, "to", cc, bcc, subject, message, html_message, status,
                       priority, created, last_updated, backend_alias)
                   SELECT 'a@x', 'b@x', '', '', 's', '', '', 0, 1, now(), now(), '' FROM generate_series(1, 20000)
                   RETURNING id)
               INSERT INTO post_office_attachment_emails (attachment_id, email_id) SELECT %s, id FROM mails""",
            [attachment_id],
        )
        cursor.execute("ANALYZE post_office_email, post_office_attachment_emails")


def test_a_row_that_very_many_mails_share_is_found_by_one_step_along_an_index() -> None:
    fill(rows_of(mail_with(BILL))[0])
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN {attachment_queries.FIND}", [["0" * 64]])
        plan = "\n".join(line for (line,) in cursor.fetchall())

    assert re.search(r"Backward using post_office_attachment_e_attachment_id_email_id_\w+_uniq", plan)
    assert "Seq Scan on post_office_attachment_emails" not in plan


def test_of_a_row_that_very_many_sensitive_mails_have_only_the_newest_links_are_looked_at() -> None:
    first = mail_with(BILL)
    fill(rows_of(first)[0])
    MailOptions.objects.bulk_create(
        MailOptions(email_id=number, is_sensitive=True)
        for number in Email.objects.exclude(pk=first.pk).values_list("pk", flat=True)
    )
    digest = AttachmentDigest.objects.get().digest
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE mailqueue_mailoptions")
        cursor.execute(f"EXPLAIN (ANALYZE, TIMING OFF) {attachment_queries.FIND}", [[digest]])
        plan = "\n".join(line for (line,) in cursor.fetchall())
    scans = r" on (?:post_office_email|post_office_attachment_emails|mailqueue_mailoptions) .*actual rows=(\d+)"
    rows = [int(found) for found in re.findall(scans, plan)]

    assert max(rows) <= attachment_queries.LINKS, plan
    assert rows_of(first) != rows_of(mail_with(BILL))


def test_a_sensitive_mail_or_two_do_not_keep_a_row_from_being_shared() -> None:
    first, second = mail_with(BILL), mail_with(BILL)
    MailOptions.objects.create(email=second, is_sensitive=True)

    assert rows_of(first) == rows_of(mail_with(BILL))


# Rollback


@pytest.mark.django_db(transaction=True)
def test_a_rollback_takes_its_file_and_leaves_the_one_that_it_only_shared(media: Path) -> None:
    mail_with(BILL)
    with pytest.raises(RefusedError), transaction.atomic():
        mail_with(BILL, Content("new.pdf", "application/pdf", b"new"))
        assert len(files(media)) == 2
        raise RefusedError

    assert [b"%PDF-1.7"] == [path.read_bytes() for path in files(media)]


@pytest.mark.django_db(transaction=True)
def test_content_of_a_savepoint_that_was_rolled_back_is_stored_anew(media: Path) -> None:
    with transaction.atomic():
        with pytest.raises(RefusedError), transaction.atomic():
            mail_with(BILL)
            raise RefusedError
        mail = mail_with(BILL)

    assert ([b"%PDF-1.7"], b"%PDF-1.7", 1) == (
        [path.read_bytes() for path in files(media)],
        content_of(mail),
        AttachmentDigest.objects.count(),
    )


@pytest.mark.django_db(transaction=True)
def test_a_savepoint_that_shared_a_row_of_its_transaction_leaves_the_file_when_it_rolls_back(media: Path) -> None:
    with transaction.atomic():
        mail = mail_with(BILL)
        with pytest.raises(RefusedError), transaction.atomic():
            mail_with(BILL)
            raise RefusedError

    assert (1, b"%PDF-1.7") == (len(files(media)), content_of(mail))


@pytest.mark.django_db(transaction=True)
def test_a_file_that_post_offices_own_api_wrote_goes_with_the_rollback(media: Path) -> None:
    attachments = {"a.txt": ContentFile(b"a")}
    with transaction.atomic():
        post_office_mail.send(**SENT_BY_POST_OFFICE, attachments={"kept.txt": ContentFile(b"kept")})
        with pytest.raises(RefusedError), transaction.atomic():
            post_office_mail.send(**SENT_BY_POST_OFFICE, attachments=attachments)
            raise RefusedError

    assert [b"kept"] == [path.read_bytes() for path in files(media)]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("name", ["invoices/1.pdf", "post_office_attachments/2020/2/28/a.pdf"])
def test_a_file_that_was_there_before_the_row_that_names_it_stays(name: str, media: Path) -> None:
    default_storage.save(name, ContentFile(b"%PDF-1.7"))
    with pytest.raises(RefusedError), transaction.atomic():
        Attachment.objects.create(name="bill.pdf", file=name)
        raise RefusedError

    assert [media / name] == files(media)


@pytest.mark.django_db(transaction=True)
def test_the_file_of_another_mail_of_today_that_a_row_names_too_stays(media: Path) -> None:
    names = [mail_with(BILL).attachments.get().file.name]
    post_office_mail.send(**SENT_BY_POST_OFFICE, attachments={"a.txt": ContentFile(b"a")})
    written = Attachment.objects.latest("pk")
    names.append(written.file.name)
    with pytest.raises(RefusedError), transaction.atomic():
        for name in names:
            Attachment.objects.create(name="forwarded.pdf", file=name)
        written.pk = None
        written.save(force_insert=True)
        raise RefusedError

    assert {media / name for name in names} == set(files(media))


@pytest.mark.django_db(transaction=True)
def test_a_row_that_wrote_its_file_and_is_saved_again_as_a_copy_leaves_it(media: Path) -> None:
    row = Attachment.objects.create(name="a.txt", file=ContentFile(b"a", "a.txt"))
    with pytest.raises(RefusedError), transaction.atomic():
        row.pk = None
        row.save(force_insert=True)
        raise RefusedError

    assert [b"a"] == [path.read_bytes() for path in files(media)]


@pytest.mark.django_db(transaction=True)
def test_a_file_that_a_row_of_another_program_wrote_goes_with_the_rollback(media: Path) -> None:
    with pytest.raises(RefusedError), transaction.atomic():
        Attachment.objects.create(name="a.txt", file=ContentFile(b"a", "a.txt"))
        assert len(files(media)) == 1
        raise RefusedError

    assert [] == files(media)


@contextmanager
def committing_by_hand() -> Iterator[None]:
    transaction.set_autocommit(False)
    try:
        yield
    finally:
        transaction.rollback()
        transaction.set_autocommit(True)


def send_by_post_office(content: Content) -> None:
    post_office_mail.send(**SENT_BY_POST_OFFICE, attachments={content.name: ContentFile(content.data)})


def store_at_once(content: Content) -> None:
    store([[content]], using="default")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("send", [mail_with, store_at_once, send_by_post_office])
@pytest.mark.parametrize("depth", range(3))
def test_a_file_that_was_committed_by_hand_survives_a_later_rollback(
    send: Callable[[Content], Any], depth: int, media: Path
) -> None:
    with committing_by_hand():
        with ExitStack() as blocks:
            for _ in range(depth):
                blocks.enter_context(transaction.atomic())
            send(BILL)
        transaction.commit()
        transaction.rollback()

    assert (1, [b"%PDF-1.7"]) == (Attachment.objects.count(), [path.read_bytes() for path in files(media)])


# Names


def test_a_file_has_a_name_that_nobody_can_guess_and_that_says_which_database_it_belongs_to(media: Path) -> None:
    mail_with(BILL, Content("../../x.p-d-f", "", b""))
    names = [path.relative_to(media).as_posix() for path in files(media)]
    found = [re.fullmatch(r"post_office_attachments/\d+/\d+/\d+/[0-9a-f]{32}-([0-9a-f]{12})\.(\w+)", n) for n in names]

    assert all(found)
    assert ({"pdf", "bin"}, 1) == ({match[2] for match in found if match}, len({match[1] for match in found if match}))


def test_each_table_of_attachments_has_a_tag_of_its_own() -> None:
    homes = [attachment_queries.Home(name, table) for name in ("shop", "copy") for table in (1, 2)]

    assert len({tags.tag_of(home, using="default") for home in homes}) == 4


@pytest.mark.django_db(transaction=True)
def test_a_server_that_does_not_say_who_it_is_costs_the_tag_and_not_the_transaction(
    media: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tags, "_clusters", {})
    monkeypatch.setattr(attachment_queries, "CLUSTER", "SELECT system_identifier FROM pg_control_missing()")
    with transaction.atomic():
        mail = mail_with(BILL)

    assert re.fullmatch(r"[0-9a-f]{32}\.pdf", files(media)[0].name)
    assert b"%PDF-1.7" == content_of(mail)
    assert "" == tags._clusters["default"][1]


def test_a_failure_of_the_moment_is_not_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tags, "_clusters", {})
    cancelled = "SELECT pg_cancel_backend(pg_backend_pid()), pg_sleep(10)"  # as a statement_timeout does
    monkeypatch.setattr(attachment_queries, "CLUSTER", cancelled)
    with connection.cursor() as cursor:
        assert "" == tags.tag_of(attachment_queries.read_home(cursor), using="default")

    assert {} == tags._clusters
