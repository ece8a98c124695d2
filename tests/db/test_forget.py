"""mailqueue_forget: nothing personal of an address is left in the tables, and nobody else's mail is lost."""

import builtins
import json
from collections.abc import Iterator
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection
from django.db.models import ProtectedError
from django.db.models.signals import pre_delete
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from post_office.models import STATUS, Attachment, Email, Log
from pytest_django import Settings

from mailqueue import send
from mailqueue.models import (
    Attempt,
    AttemptOutcome,
    BackendHealth,
    MailKey,
    MailOptions,
    MailState,
    MessageSource,
    RefusedFrom,
    StopReason,
)
from mailqueue.ops.contents import why_hidden
from mailqueue.ops.states import State, state_of
from mailqueue.outbox.messages import load_rows
from mailqueue.outbox.person import FORGOTTEN, Person
from mailqueue.queue.forget import Fate, forget, survey
from mailqueue.queue.traces import mails_that_name
from tests.support.secrets import attach, traces
from tests.support.situations import SITUATIONS, make_attempt, make_mail, stop_mail

pytestmark = pytest.mark.django_db

ANN = "ann@example.com"
BOB = "bob@example.com"
LONG_AGO = timezone.now() - timedelta(days=1)
OVER = {
    State.SENT,
    State.PARTLY_SENT,
    State.FAILED,
    State.EXPIRED,
    State.CANCELLED,
    State.INTERRUPTED,
}


@pytest.fixture(autouse=True)
def media(tmp_path: Path, settings: Settings) -> Path:
    settings.MEDIA_ROOT = str(tmp_path)
    return tmp_path


def run(*arguments: str, **options: Any) -> str:
    out = StringIO()
    try:
        call_command("mailqueue_forget", *arguments, stdout=out, **{"yes": True, **options})
    except CommandError as error:
        out.write(f"exit 1: {error}")
    return out.getvalue()


def left() -> set[int]:
    return set(Email.objects.values_list("pk", flat=True))


def rows() -> list[list[tuple[Any, ...]]]:
    models = (Email, Attempt, MailState, MailOptions, MessageSource, Log)
    return [list(model._default_manager.order_by("pk").values_list()) for model in models]


def shared(**fields: Any) -> Email:
    """A mail that two have got, of which everything names Ann."""
    mail = make_mail(**{"status": STATUS.sent, "to": "Ann <Ann@Example.com>", "cc": [BOB], **fields})
    Email.objects.filter(pk=mail.pk).update(subject=f"Dear {ANN}", message=f"Dear {ANN}", headers={"Reply-To": ANN})
    results = {
        "Ann <Ann@Example.com>": {"verdict": "sent", "reply": f"ok {ANN}"},
        BOB: {"verdict": "fail", "reply": "no"},
    }
    make_attempt(mail, AttemptOutcome.PARTLY_SENT, recipients=results, reply=f"<{ANN}> ok", error=f"E {ANN}")
    stop_mail(mail, StopReason.HELD, note=f"was for {ANN}")
    Log.objects.create(email=mail, status=STATUS.failed, message=f"refused {ANN}")
    MailOptions.objects.create(email=mail, ref=ANN)
    MessageSource.objects.create(
        email=mail, envelope_from=ANN, recipients=[ANN, BOB], parts={"to": [ANN]}, attributes={"merge_data": {ANN: {}}}
    )
    return mail


def an_entry(text: str, *, model: type = Email, pk: int = 1) -> LogEntry:
    user, _ = User.objects.get_or_create(username="grace")
    kind = ContentType.objects.get_for_model(model)
    return LogEntry.objects.create(
        user=user,
        content_type=kind,
        object_id=str(pk),
        object_repr=text[:200],
        action_flag=CHANGE,
        change_message=text,
    )


def test_mail_that_is_done_with_and_went_to_nobody_else_is_deleted() -> None:
    mails = {make().pk: state for make, state in SITUATIONS.values()}
    Email.objects.update(cc="", bcc=ANN, last_updated=LONG_AGO)
    run(ANN)

    assert {pk for pk, state in mails.items() if state not in OVER} == left()


def test_with_unsent_all_goes_but_what_is_being_sent() -> None:
    mails = {make().pk: state for make, state in SITUATIONS.values()}
    Email.objects.update(cc="", bcc="", last_updated=LONG_AGO)
    text = run(ANN, unsent=True)

    assert {pk for pk, state in mails.items() if state == State.SENDING} == left()
    assert "exit 1: 2 mails" in text


def test_what_belongs_to_a_mail_goes_with_it_and_its_key_names_nobody() -> None:
    mail = send(ANN, subject="Hi", message="x", key="order-1", attachments={"bill.pdf": b"%PDF"})
    assert mail is not None
    Email.objects.update(status=STATUS.sent)
    make_attempt(mail, AttemptOutcome.SENT, reply=f"queued for {ANN}")
    Log.objects.create(email=mail, status=STATUS.sent, message=ANN)
    run(ANN)

    assert [0] * 4 == [model._default_manager.count() for model in (Email, Attempt, Log, Attachment)]
    assert (None, set()) == (MailKey.objects.get().email_id, traces(ANN))


def test_of_a_mail_that_others_have_his_address_and_what_it_says_go_and_the_history_stays() -> None:
    mail = shared()
    before = Email.objects.values_list("last_updated", "status").get()
    run(ANN)
    mail.refresh_from_db()
    attempt = Attempt.objects.get()

    assert (set(), set()) == (traces(ANN), traces("Ann@Example.com"))
    assert ([FORGOTTEN], [BOB], "", "") == (mail.to, mail.cc, mail.subject, mail.message)
    assert before == Email.objects.values_list("last_updated", "status").get()
    assert ({FORGOTTEN: "sent", BOB: "fail"}, f"<{FORGOTTEN}> ok") == (
        {address: result["verdict"] for address, result in attempt.recipients.items()},
        attempt.reply,
    )
    assert f"was for {FORGOTTEN}" == MailState.objects.get().note
    assert [FORGOTTEN, BOB] == MessageSource.objects.get().recipients
    assert State.PARTLY_SENT == state_of(mail).state


def test_its_page_says_why_its_text_is_gone() -> None:
    mail = shared()
    run(ANN)
    loaded = load_rows([mail.pk], using="default")[mail.pk]

    assert "somebody whom it names was forgotten" in why_hidden(loaded)


def test_attachments_of_a_mail_that_others_have_go_too() -> None:
    attach(shared(), name="ann.txt")
    run(ANN)

    assert 0 == Attachment.objects.count()


def test_mail_of_others_stays_as_it_is() -> None:
    longer = make_mail(status=STATUS.sent, to="mary.ann@example.com", message="Hi")
    other = make_mail(status=STATUS.sent, to=BOB)
    before = list(Email.objects.order_by("pk").values())
    run(ANN)

    assert (before, {longer.pk, other.pk}) == (list(Email.objects.order_by("pk").values()), left())


@pytest.mark.parametrize("other", ["o'ann", "x/ann", "ann&co=ann", "mary.ann", "éann", '"bob ann@example.com"'])
def test_mail_of_whose_address_his_is_a_part_stays_as_it_is(other: str) -> None:
    address = f"{other}@example.com"
    mail = make_mail(status=STATUS.sent, subject=f"For {address}", headers={"X-For": f"you: {address}"})
    Email.objects.filter(pk=mail.pk).update(to=address, from_email=address)
    results = {address: {"verdict": "sent", "reply": f"<{address}> ok"}}
    make_attempt(mail, AttemptOutcome.SENT, recipients=results, reply=f"<{address}> ok", error=address)
    MessageSource.objects.create(
        email=mail,
        envelope_from=address,
        recipients=[address],
        parts={"to": [address], "from_email": address, "headers": [["To", address]], "subject": address},
        attributes={"merge_data": {address: {}}},
    )
    MailOptions.objects.create(email=mail, ref=address)
    stop_mail(mail, StopReason.FAILED, note=f"<{address}>")
    Log.objects.create(email=mail, status=STATUS.failed, message=f"to {address}, perhaps")
    before = rows()
    text = run(ANN)

    assert (before, True) == (rows(), "No mail names this address." in text)


def test_of_others_in_the_same_mail_nothing_is_changed() -> None:
    mail = make_mail(status=STATUS.sent)
    Email.objects.filter(pk=mail.pk).update(to=f"{ANN}, o'{ANN}")
    make_attempt(mail, AttemptOutcome.SENT, recipients={ANN: {"verdict": "sent"}, f"o'{ANN}": {"verdict": "sent"}})
    Log.objects.create(email=mail, status=STATUS.failed, message=f"{ANN}, o'{ANN}")
    run(ANN)
    mail.refresh_from_db()

    assert [FORGOTTEN, f"o'{ANN}"] == mail.to == list(Attempt.objects.get().recipients)
    assert f"{FORGOTTEN}, o'{ANN}" == Log.objects.get().message


def test_several_in_one_recipient_that_can_not_be_read_do_not_make_it_his_alone() -> None:
    mail = make_mail(status=STATUS.sent)
    Email.objects.filter(pk=mail.pk).update(to=f"{BOB}; {ANN}")
    run(ANN)
    mail.refresh_from_db()

    assert [f"{BOB}; {FORGOTTEN}"] == mail.to


def test_a_local_part_in_quotes_is_found_where_json_holds_it() -> None:
    address = '"ann x"@example.com'
    mail = make_mail(status=STATUS.sent, to=BOB)
    make_attempt(mail, AttemptOutcome.SENT, recipients={address: {"verdict": "sent", "reply": address}, BOB: {}})
    run(address)

    assert {FORGOTTEN: {"verdict": "sent", "reply": FORGOTTEN}, BOB: {}} == Attempt.objects.get().recipients


@pytest.mark.parametrize("column", ["envelope_from", "from_email"])
def test_an_envelope_that_says_whom_mail_comes_back_from_names_him(column: str) -> None:
    returns = "bounces+ann=example.com@shop.example"
    mail = make_mail(status=STATUS.sent, to=BOB, **({"from_email": returns} if column == "from_email" else {}))
    if column == "envelope_from":
        MessageSource.objects.create(email=mail, envelope_from=returns, recipients=[BOB])
    run(ANN)
    mail.refresh_from_db()

    assert "bounces+forgotten=invalid@shop.example" == getattr(
        mail if column == "from_email" else MessageSource.objects.get(), column
    )


def test_several_of_his_addresses_in_a_mail_have_the_same_names_in_all_its_rows() -> None:
    mail = make_mail(status=STATUS.sent, to=ANN, cc=["a@example.net", BOB])
    results = {"a@example.net": {"verdict": "fail"}, BOB: {"verdict": "sent"}, ANN: {"verdict": "sent"}}
    make_attempt(mail, AttemptOutcome.PARTLY_SENT, recipients=results, reply="<a@example.net> no")
    run("a@example.net", ANN)
    mail.refresh_from_db()
    attempt, second = Attempt.objects.get(), "forgotten-2@invalid"

    assert ([FORGOTTEN], [second, BOB], f"<{second}> no") == (mail.to, mail.cc, attempt.reply)
    assert {
        second: {"verdict": "fail"},
        BOB: {"verdict": "sent"},
        FORGOTTEN: {"verdict": "sent"},
    } == attempt.recipients


def test_who_is_forgotten_later_gets_another_name() -> None:
    mail = make_mail(status=STATUS.sent, to=ANN, cc=["a@example.net", BOB])
    make_attempt(mail, AttemptOutcome.SENT, recipients={ANN: {}, "a@example.net": {}, BOB: {}})
    run("a@example.net")
    run(ANN)
    mail.refresh_from_db()

    assert ["forgotten-2@invalid", FORGOTTEN, BOB] == [*mail.to, *mail.cc]
    assert {"forgotten-2@invalid", FORGOTTEN, BOB} == Attempt.objects.get().recipients.keys()


@pytest.mark.parametrize("unsent", [False, True])
def test_what_post_office_may_be_sending_by_itself_is_left_for_an_hour(unsent: bool) -> None:
    young, old = make_mail(to=ANN, status=None), make_mail(to=ANN, status=None)
    with connection.cursor() as cursor:
        for pk, minutes in ((young.pk, 59), (old.pk, 61)):
            cursor.execute(
                "UPDATE post_office_email SET last_updated = now() - %s * interval '1 minute' WHERE id = %s",
                [minutes, pk],
            )
    text = run(ANN, unsent=unsent)

    assert ({young.pk}, True) == (left(), f"mail {young.pk} was left as it is: {Fate.YOUNG.label}" in text)


@pytest.mark.parametrize("fields", [{"from_email": ANN}, {"headers": {"Reply-To": f"Ann <{ANN}>"}}])
def test_mail_that_he_wrote_is_emptied(fields: dict[str, Any]) -> None:
    make_mail(status=STATUS.sent, to=BOB, **fields)
    run(ANN)

    assert (set(), "") == (traces(ANN), Email.objects.get().message)


def test_an_old_attempt_of_a_mail_whose_address_was_corrected_is_found() -> None:
    mail = make_mail(status=STATUS.sent, to=BOB)
    make_attempt(mail, AttemptOutcome.FAILED, reply=f"no such user {ANN}")
    run(ANN)

    assert (set(), {mail.pk}) == (traces(ANN), left())


def test_mail_that_is_still_to_be_sent_is_left_and_the_exit_code_says_so() -> None:
    alone, both = make_mail(to=ANN), make_mail(to=ANN, cc=[BOB])
    text = run(ANN)

    assert {alone.pk, both.pk} == left()
    assert f"mail {alone.pk} was left as it is: {Fate.UNSENT.label}" in text
    assert f"mail {both.pk} was left as it is: {Fate.SHARED.label}" in text
    assert "exit 1: 2 mails that name the address were left. --unsent deletes what goes to nobody else." in text


def test_with_unsent_what_others_are_to_get_is_left_all_the_same() -> None:
    alone, both = make_mail(to=ANN), make_mail(to=ANN, cc=[BOB])
    text = run(ANN, unsent=True)

    assert ({both.pk}, True) == (left(), "it is cancelled and deleted" in text)
    assert f"mail {alone.pk}" not in text


def test_only_so_many_are_listed() -> None:
    for _ in range(22):
        make_mail(to=ANN)

    assert "and 2 more" in run(ANN)


def test_a_dry_run_counts_and_changes_nothing() -> None:
    make_mail(to=ANN, status=STATUS.sent)
    shared()
    before = list(Email.objects.order_by("pk").values())
    text = run(ANN, dry_run=True, yes=False)

    assert (f"  1: {Fate.DELETED.label}" in text, f"  1: {Fate.REDACTED.label}" in text) == (True, True)
    assert before == list(Email.objects.order_by("pk").values())


@pytest.mark.parametrize(("answer", "count"), [("yes", 0), ("no", 1), (None, 1)])
def test_it_asks_before_it_does_anything(answer: str | None, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def reply(_: str) -> str:
        if answer is None:
            raise EOFError
        return answer

    make_mail(to=ANN, status=STATUS.sent)
    monkeypatch.setattr(builtins, "input", reply)
    text = run(ANN, yes=False)

    assert (count, count == 1) == (Email.objects.count(), "exit 1: Nothing was done" in text)


def test_several_addresses_are_those_of_one_person() -> None:
    make_mail(to=ANN, cc=["a@example.net"], status=STATUS.sent)
    run(ANN, "a@example.net")

    assert set() == left()


def test_what_is_no_address_is_refused() -> None:
    assert "exit 1: 'ann' is not an email address." in run("ann")


@pytest.mark.parametrize("is_dry_run", [False, True])
def test_who_is_named_nowhere_is_not_asked_about_and_no_error(
    is_dry_run: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(builtins, "input", unasked)

    assert "No mail names this address.\nThere is nothing to do.\n" == run(ANN, yes=False, dry_run=is_dry_run)


def test_traces_beside_mail_are_told_before_it_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    RefusedFrom.objects.create(backend="default", from_email=ANN, refused_at=timezone.now())
    RefusedFrom.objects.create(backend="default", from_email=BOB, reply=f"not {ANN}", refused_at=timezone.now())
    BackendHealth.objects.create(alias="default", shut_reason=f"auth: {ANN} has no password")
    BackendHealth.objects.create(alias="other", shut_reason="somebody else")
    an_entry(f"for {ANN}")
    monkeypatch.setattr(builtins, "input", lambda _: "no")
    lines = run(ANN, yes=False).splitlines()

    assert ["No mail names this address.", "What names it beside mail:", "  2", "  1", "  1"] == [
        line.partition(": ")[0] for line in lines[:5]
    ]
    assert "exit 1: Nothing was done. Give --yes where nobody can be asked." == lines[5]


def test_where_all_mail_must_be_left_nobody_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builtins, "input", unasked)
    mail = make_mail(to=ANN)
    text = run(ANN, yes=False)

    assert ({mail.pk}, True) == (left(), "There is nothing to do now." in text)
    assert "exit 1: 1 mail that names the address was left." in text


def unasked(question: str) -> str:
    raise AssertionError(question)


def test_the_admins_log_names_him_no_more() -> None:
    an_entry(f"{ANN}, {BOB}")
    an_entry("x" * 190 + f", {ANN}")
    an_entry(ANN, model=RefusedFrom)
    an_entry(BOB)
    untouched = an_entry(ANN, model=User)
    text = run(ANN)

    entries = LogEntry.objects.exclude(pk=untouched.pk)
    assert [] == [entry for entry in entries if "ann@" in entry.object_repr + entry.change_message]
    assert (ANN, True) == (LogEntry.objects.get(pk=untouched.pk).object_repr, "Changed 3 entries" in text)


def test_what_the_admins_log_holds_as_json_stays_json() -> None:
    address = '"ann x"@example.com'
    entry = an_entry(json.dumps([{"deleted": {"name": "mail", "object": address}}, f'"{ANN} x"@example.com']))
    broken = an_entry(f"[for {address}")
    run(address, ANN)
    entry.refresh_from_db()
    broken.refresh_from_db()

    assert [{"deleted": {"name": "mail", "object": FORGOTTEN}}, f'"{ANN} x"@example.com'] == json.loads(
        entry.change_message
    )
    assert f"[for {FORGOTTEN}" == broken.change_message


def test_without_an_admin_there_is_no_log_of_it(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    an_entry(ANN)
    monkeypatch.setattr("mailqueue.queue.redact.apps.is_installed", lambda _name: False)

    assert "There is nothing to do." in run(ANN)


def test_what_servers_said_of_him_goes_and_so_does_a_refused_sender() -> None:
    RefusedFrom.objects.create(backend="default", from_email=ANN, refused_at=timezone.now())
    RefusedFrom.objects.create(backend="default", from_email=BOB, reply=f"not {ANN}", refused_at=timezone.now())
    BackendHealth.objects.create(alias="default", shut_reason=f"auth: {ANN} has no password")
    run(ANN)

    assert (set(), [BOB]) == (traces(ANN), list(RefusedFrom.objects.values_list("from_email", flat=True)))


def test_what_grows_longer_than_its_column_is_cut() -> None:
    mail = make_mail(status=STATUS.sent, to=BOB)
    make_attempt(mail, AttemptOutcome.FAILED, error="a@b.c " * 42)
    run("a@b.c")

    assert 255 == len(Attempt.objects.get().error)


@pytest.fixture
def protected() -> Iterator[set[int]]:
    pks: set[int] = set()

    def refuse(instance: Email, **_: Any) -> None:
        if instance.pk in pks:
            raise ProtectedError("an invoice refers to it", {instance})

    pre_delete.connect(refuse, sender=Email)
    yield pks
    pre_delete.disconnect(refuse, sender=Email)


def test_a_mail_that_a_projects_row_protects_stays_without_him(protected: set[int]) -> None:
    mail, other = make_mail(to=ANN, status=STATUS.sent), make_mail(to=ANN, status=STATUS.sent)
    protected.add(mail.pk)
    text = run(ANN)

    assert ({mail.pk}, set(), True) == (left(), traces(ANN), "Deleted 1 mail.\nEmptied 1 other mail," in text)
    assert other.pk not in left()


@pytest.mark.django_db(transaction=True)
def test_a_mail_on_which_somebody_acts_is_left(database_url: str) -> None:
    mail, other = make_mail(to=ANN, status=STATUS.sent), make_mail(to=ANN, status=STATUS.sent)
    with psycopg.connect(database_url) as session:
        session.execute("SELECT FROM post_office_email WHERE id = %s FOR UPDATE", [mail.pk])
        text = run(ANN)

    assert ({mail.pk}, True) == (left(), f"mail {mail.pk} was left as it is: {Fate.BUSY.label}" in text)
    assert other.pk not in left()


@pytest.mark.django_db(transaction=True)
def test_a_proof_that_comes_at_this_moment_is_not_overwritten(database_url: str) -> None:
    mail = make_mail(to=ANN, cc=[BOB], status=STATUS.sent)
    other = make_mail(to=ANN, cc=[BOB], status=STATUS.sent)
    attempt = make_attempt(mail, AttemptOutcome.UNKNOWN, recipients={ANN: {"verdict": "unknown"}})
    proof = {ANN: {"verdict": "sent"}, BOB: {"verdict": "sent"}}
    with psycopg.connect(database_url) as session:
        session.execute("UPDATE mailqueue_attempt SET recipients = %s WHERE id = %s", [json.dumps(proof), attempt.pk])
        text = run(ANN)
    attempt.refresh_from_db()
    other.refresh_from_db()

    assert (proof, [FORGOTTEN]) == (attempt.recipients, other.to)
    assert f"mail {mail.pk} was left as it is: {Fate.BUSY.label}" in text


def test_a_mail_that_is_queued_again_after_somebody_looked_is_left() -> None:
    mail = make_mail(to=ANN, status=STATUS.sent)
    found = survey(Person([ANN]), using="default")
    Email.objects.update(status=STATUS.queued)
    (part,) = forget(Person([ANN]), found, with_unsent=False, by="", using="default")

    assert ({mail.pk: Fate.UNSENT}, {mail.pk}) == (part.left, left())


def test_tables_are_read_a_stretch_at_a_time() -> None:
    mails = [make_mail(to=ANN, status=STATUS.sent) for _ in range(5)]
    with CaptureQueriesContext(connection) as captured:
        found = [pk for part in mails_that_name(Person([ANN]), using="default", stretch=2) for pk in part]

    looks = [entry["sql"] for entry in captured if "post_office_email" in entry["sql"]]
    assert ([mail.pk for mail in mails], 3) == (found, len(looks))


def test_any_number_goes_in_batches() -> None:
    mails = [make_mail(to=ANN, status=STATUS.sent).pk for _ in range(5)]
    parts = list(forget(Person([ANN]), mails, with_unsent=True, by="", using="default", batch=2))

    assert ([2, 2, 1], set()) == ([part.deleted for part in parts], left())


@pytest.mark.parametrize("broken", [{"recipients": {"x": 1}}, {"recipients": [7], "parts": ["x"]}])
def test_what_people_have_damaged_keeps_nobody_from_being_forgotten(broken: dict[str, Any]) -> None:
    mail = make_mail(to=ANN, status=STATUS.sent)
    MessageSource.objects.create(email=mail, envelope_from="", **broken)
    run(ANN)

    assert set() == traces(ANN)
