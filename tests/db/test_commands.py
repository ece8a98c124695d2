"""The commands for people at a terminal: what they print, what they order, and what they refuse."""

import builtins
import json
import re
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.utils import timezone
from post_office.models import STATUS, Email
from pytest_django import Settings

from mailqueue.delivery.backends import canonical
from mailqueue.management import user
from mailqueue.management.commands import (
    mailqueue_requeue,
    mailqueue_send_test,
    mailqueue_status,
)
from mailqueue.models import Attempt, AttemptOutcome, BackendHealth, MailOptions, SenderProcess, SendingMinute
from mailqueue.ops.backends import Backend
from mailqueue.ops.states import MailStatus, State, state_of
from mailqueue.ops.waiting_sentences import why_paused
from mailqueue.queue import orders
from tests.support.situations import SITUATIONS, make_attempt, make_mail

pytestmark = pytest.mark.django_db


def run(command: str, *arguments: Any, **options: Any) -> str:
    out = StringIO()
    call_command(command, *map(str, arguments), stdout=out, stderr=out, **options)
    return out.getvalue()


def fail(command: str, *arguments: Any, **options: Any) -> str:
    """Run a command that exits with 1, and return what it printed, its last words included."""
    out = StringIO()
    with pytest.raises(CommandError) as raised:
        call_command(command, *map(str, arguments), stdout=out, stderr=out, **options)
    assert raised.value.returncode == 1
    return f"{out.getvalue()}{raised.value}\n"


def in_state(state: State) -> Email:
    return next(make for make, is_in in SITUATIONS.values() if is_in == state)()


def a_sender(**fields: Any) -> SenderProcess:
    values = {"name": "host-a/1", "host": "host-a", "version": "1", "backends": [], "connection_count": 8, **fields}
    now = timezone.now()
    return SenderProcess.objects.create(started_at=now, seen_at=now, **values)


class TestStatus:
    def test_it_counts_mail_and_names_senders_and_backends(self) -> None:
        for state in (State.WAITING, State.FAILED):
            in_state(state)
        a_sender()
        text = run("mailqueue_status")

        words = "waiting", "failed", "host-a/1", canonical(""), "Mail flows."

        assert [] == [word for word in words if word not in text]

    def test_it_says_in_which_time_zone_its_times_are(self, settings: Settings) -> None:
        settings.TIME_ZONE = "Asia/Shanghai"

        assert re.match(r"Queue at \d{4}-\d\d-\d\d \d\d:\d\d:\d\d CST \(\+0800\)\n", run("mailqueue_status"))

    @pytest.mark.parametrize(("is_ended", "says_so"), [(False, False), (True, True)])
    def test_it_says_when_nobody_is_sending(self, is_ended: bool, says_so: bool) -> None:
        assert "Nobody is sending." in run("mailqueue_status")
        a_sender(ended_at=timezone.now() if is_ended else None)

        assert says_so is ("Nobody is sending." in run("mailqueue_status"))

    def test_it_says_who_paused_a_backend_and_why(self) -> None:
        run("mailqueue_pause", canonical(""), note="moving the relay")

        assert "moving the relay" in run("mailqueue_status")

    def test_a_backend_that_is_not_configured_any_more_is_not_said_to_be_open(self) -> None:
        BackendHealth.objects.create(alias="old-one")
        lines = [line for line in run("mailqueue_status").splitlines() if "old-one" in line]
        flows = {entry["alias"]: entry["flow"] for entry in json.loads(run("mailqueue_status", json=True))["backends"]}

        assert ("gone", True) == (flows["old-one"], "not configured any more" in lines[0])

    def test_as_json_it_is_one_object(self) -> None:
        in_state(State.RETRYING)
        a_sender()
        found = json.loads(run("mailqueue_status", json=True))

        assert {"count": 1, "is_at_least": False} == found["mails"]["retrying"]
        assert ["example.com"] == [entry["domain"] for entry in found["domains"]]
        assert [True] == [sender["is_alive"] for sender in found["senders"]]

    def test_as_json_it_has_the_figures_of_the_last_hour(self) -> None:
        now = timezone.now()
        SendingMinute.objects.create(
            began_at=now - timedelta(minutes=5), backend="default", accepted_count=3, within_1s=2
        )
        SendingMinute.objects.create(began_at=now - timedelta(minutes=65), backend="default", accepted_count=40)
        found = json.loads(run("mailqueue_status", json=True))["last_hour"]

        assert {
            "accepted": 3,
            "put_off": 0,
            "failed": 0,
            "unknown": 0,
            "half_within_seconds": pytest.approx(0.65),
            "95_percent_within_seconds": pytest.approx(0.965),
        } == found

    def test_only_so_many_domains_are_printed(self) -> None:
        for number in range(mailqueue_status.DOMAINS + 2):
            make_mail(to=f"a@d{number:02}.example")
        text = run("mailqueue_status")

        assert (True, "and 2 more") == ("d14.example" in text, "and 2 more" if "and 2 more" in text else text)

    def test_it_is_printed_again_until_somebody_has_seen_enough(self, monkeypatch: pytest.MonkeyPatch) -> None:
        waits: list[float] = []

        def sleep(seconds: float) -> None:
            waits.append(seconds)
            if len(waits) == 2:
                raise KeyboardInterrupt

        monkeypatch.setattr(mailqueue_status.time, "sleep", sleep)
        text = run("mailqueue_status", "--watch", "0.5")

        assert ([0.5, 0.5], 2) == (waits, text.count("Queue at"))

    @pytest.mark.parametrize("seconds", ["0", "-1", "nan", "inf", "often"])
    def test_nonsense_is_no_time_between_two_looks(self, seconds: str) -> None:
        with pytest.raises(CommandError, match="not a number of seconds"):
            run("mailqueue_status", f"--watch={seconds}")


class TestShow:
    @pytest.mark.parametrize("state", State)
    def test_a_mail_has_its_state_and_why(self, state: State) -> None:
        mail = in_state(state)
        status, text = state_of(mail), run("mailqueue_show", mail.pk)

        assert [f"Mail {mail.pk}: {status.text}", f"  {status.detail}"] == text.splitlines()[:2]

    def test_every_attempt_is_told_with_what_the_server_said(self) -> None:
        text = run("mailqueue_show", in_state(State.RETRYING).pk)

        assert "451 4.7.1 greylisted" in text

    def test_what_became_of_each_recipient_is_told(self) -> None:
        text = run("mailqueue_show", in_state(State.PARTLY_SENT).pk)

        assert "550 5.1.1 no such user" in text

    @pytest.mark.parametrize("recipients", [[1], "x", {"a@b": {}}, {"a@b": "sent"}, {"a@b": {"verdict": 7}}])
    def test_an_attempt_that_somebody_has_damaged_is_shown_all_the_same(self, recipients: Any) -> None:
        mail = make_mail(status=STATUS.sent)
        make_attempt(mail, AttemptOutcome.SENT, recipients=recipients, reply="queued as 1A2B")

        assert "queued as 1A2B" in run("mailqueue_show", mail.pk)

    def test_it_says_once_in_which_time_zone_its_times_are(self, settings: Settings) -> None:
        settings.TIME_ZONE = "Asia/Shanghai"
        text = run("mailqueue_show", make_mail().pk, make_mail().pk)

        assert "Times are in the time zone Asia/Shanghai, now CST (+0800)." == text.splitlines()[-1]
        assert 1 == text.count("time zone")

    def test_the_past_is_not_what_comes_next(self) -> None:
        mail = make_mail(status=STATUS.sent, scheduled_time=timezone.now() - timedelta(hours=1))

        assert "next" not in run("mailqueue_show", mail.pk)

    def test_a_sensitive_mail_keeps_its_subject(self) -> None:
        mail = make_mail(subject="Your password is hunter2")
        MailOptions.objects.create(email=mail, is_sensitive=True)
        told = run("mailqueue_show", mail.pk) + run("mailqueue_show", mail.pk, json=True)

        assert "hunter2" not in told

    def test_the_newest_mails_to_an_address_are_shown(self) -> None:
        mails = [make_mail(to="Jane@Example.com") for _ in range(3)]
        make_mail(to="joe@example.com")
        text = run("mailqueue_show", "jane@example.com", last=2)

        assert [f"Mail {mail.pk}:" for mail in mails[:0:-1]] == [
            line[: line.index(":") + 1] for line in text.splitlines() if line.startswith("Mail ")
        ]

    @pytest.mark.parametrize("count", ["0", "-1", "many"])
    def test_no_number_of_mails_is_an_error(self, count: str) -> None:
        with pytest.raises(CommandError, match="not a whole number"):
            run("mailqueue_show", "jane@example.com", f"--last={count}")

    def test_as_json_each_mail_is_an_object_in_a_line(self) -> None:
        mail = in_state(State.RETRYING)
        found = json.loads(run("mailqueue_show", mail.pk, json=True))

        assert (mail.pk, "retrying", ["unknown", "retry"]) == (
            found["id"],
            found["state"],
            [attempt["outcome"] for attempt in found["attempts"]],
        )

    @pytest.mark.parametrize("which", ["4711", "9" * 30, "nobody@example.com"])
    def test_what_is_not_there_is_an_error_that_names_it(self, which: str) -> None:
        with pytest.raises(CommandError, match=which):
            run("mailqueue_show", which)


class TestRequeue:
    def test_a_failed_mail_is_queued_again(self) -> None:
        mail = in_state(State.FAILED)
        text = run("mailqueue_requeue", mail.pk)
        mail.refresh_from_db()

        assert (STATUS.queued, "1 of 1 mail was queued again.") == (mail.status, text.strip())

    def test_all_mail_in_a_state_is_queued_again(self) -> None:
        mails = [in_state(State.HELD) for _ in range(3)]
        failed = in_state(State.FAILED)
        run("mailqueue_requeue", state="held")

        assert {mail.pk for mail in mails} == set(
            Email.objects.filter(status=STATUS.queued).values_list("pk", flat=True)
        ) - {failed.pk}

    def test_of_one_backend_only_its_mail_is_queued_again(self) -> None:
        ours, other = in_state(State.FAILED), in_state(State.FAILED)
        Email.objects.filter(pk=other.pk).update(backend_alias="gone")
        run("mailqueue_requeue", state="failed", backend=canonical(""))

        assert [ours.pk] == list(Email.objects.filter(status=STATUS.queued).values_list("pk", flat=True))

    @pytest.mark.parametrize(("answer", "is_queued"), [("yes", True), ("y", False), ("", False)])
    def test_who_could_get_a_mail_twice_is_named_before(
        self, answer: str, is_queued: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        mail = in_state(State.SENT)
        monkeypatch.setattr(builtins, "input", lambda _: answer)
        out = StringIO()
        if is_queued:
            call_command("mailqueue_requeue", mail.pk, stdout=out)
        else:
            with pytest.raises(CommandError, match="Nothing was done"):
                call_command("mailqueue_requeue", mail.pk, stdout=out)
        mail.refresh_from_db()

        assert ("ann@example.com" in out.getvalue(), is_queued) == (True, mail.status == STATUS.queued)

    def test_what_is_sent_while_somebody_is_asked_is_not_sent_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        asked = in_state(State.SENT)
        other = make_mail(status=STATUS.requeued, scheduled_time=timezone.now() + timedelta(hours=1))

        def sent_meanwhile(_: str) -> str:
            Email.objects.filter(pk=other.pk).update(status=STATUS.sent)
            return "yes"

        monkeypatch.setattr(builtins, "input", sent_meanwhile)
        fail("mailqueue_requeue", asked.pk, other.pk)

        assert [asked.pk] == list(Email.objects.filter(status=STATUS.queued).values_list("pk", flat=True))

    @pytest.mark.parametrize("end", [EOFError, KeyboardInterrupt])
    def test_without_anybody_to_ask_or_an_answer_nothing_comes_twice(
        self, end: type[BaseException], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def nobody(_: str) -> str:
            raise end

        monkeypatch.setattr(builtins, "input", nobody)
        mail = in_state(State.UNKNOWN)
        with pytest.raises(CommandError, match="--yes"):
            run("mailqueue_requeue", mail.pk)

        assert State.UNKNOWN == state_of(mail).state

    @pytest.mark.parametrize("state", [State.CANCELLED, State.FAILED])
    def test_a_mail_that_may_have_arrived_before_it_was_stopped_is_asked_about(
        self, state: State, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(builtins, "input", lambda _: "no")
        mail = in_state(state)
        make_attempt(mail, AttemptOutcome.UNKNOWN)
        with pytest.raises(CommandError, match="Nothing was done"):
            run("mailqueue_requeue", mail.pk)

        assert state == state_of(mail).state

    def test_a_mail_that_is_sent_behind_the_last_look_is_not_sent_again(self, monkeypatch: pytest.MonkeyPatch) -> None:
        mail = make_mail(status=STATUS.requeued, scheduled_time=timezone.now() + timedelta(hours=1))

        def look(ids: Any, *, using: str) -> set[int]:
            found = orders.could_come_twice(ids, using=using)
            make_attempt(mail, AttemptOutcome.SENT)
            Email.objects.update(status=STATUS.sent)
            return found

        monkeypatch.setattr(mailqueue_requeue, "could_come_twice", look)
        fail("mailqueue_requeue", mail.pk)

        assert State.SENT == state_of(mail).state

    def test_who_has_decided_is_not_asked(self) -> None:
        mail = in_state(State.SENT)
        run("mailqueue_requeue", mail.pk, yes=True)

        assert State.WAITING == state_of(mail).state

    def test_a_dry_run_does_nothing(self) -> None:
        mail = in_state(State.SENT)
        text = run("mailqueue_requeue", mail.pk, dry_run=True)

        assert ("ann@example.com" in text, State.SENT) == (True, state_of(mail).state)

    def test_what_was_left_as_it_is_is_explained(self) -> None:
        mail = in_state(State.SENDING)
        text = fail("mailqueue_requeue", mail.pk)

        assert f"{mail.pk} was left as it is: it is sending" in text

    @pytest.mark.parametrize("is_dry_run", [False, True])
    def test_a_number_without_a_mail_is_told_and_an_error(self, is_dry_run: bool) -> None:
        text = fail("mailqueue_requeue", 4711, "9" * 30, dry_run=is_dry_run)

        assert [True, True] == [f"There is no mail with the number {number}." in text for number in (4711, "9" * 30)]

    def test_what_can_be_queued_is_queued_before_the_rest_is_an_error(self) -> None:
        failed, sending = in_state(State.FAILED), in_state(State.SENDING)
        text = fail("mailqueue_requeue", 4711, sending.pk, failed.pk)

        assert State.WAITING == state_of(failed).state
        assert "2 mails that were asked for were not queued again." in text

    def test_a_state_that_no_mail_is_in_is_no_error(self) -> None:
        assert "0 of 0 mails" in run("mailqueue_requeue", state="failed")

    @pytest.mark.parametrize(
        "options",
        [
            {},
            {"args": [1], "state": "failed"},
            {"args": [1], "backend": "default"},
            {"state": "failed", "backend": "nowhere"},
        ],
    )
    def test_what_contradicts_itself_is_an_error(self, options: dict[str, Any]) -> None:
        with pytest.raises(CommandError):
            run("mailqueue_requeue", *options.pop("args", []), **options)


class TestPauseAndResume:
    def test_a_backend_is_paused_with_a_name_and_a_note_and_resumed(self) -> None:
        alias = canonical("")
        first, second = run("mailqueue_pause", alias, note="why"), run("mailqueue_pause", alias, note="other")
        row = BackendHealth.objects.get(alias=alias)
        told = first, second, run("mailqueue_resume", alias), run("mailqueue_resume", alias)

        assert ("why", True) == (row.pause_note, bool(row.paused_by))
        again = f"nothing changed, it is {why_paused(Backend(row, timezone.now()))} already"
        ends = "paused", again, "resumed", "was not paused"
        assert [f"{alias}: {end}\n" for end in ends] == [*told]
        assert BackendHealth.objects.get(alias=alias).paused_at is None

    def test_a_user_without_a_name_may_pause_too(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def nobody() -> str:
            raise KeyError("getpwuid(): uid not found: 4711")

        monkeypatch.setattr(user, "getuser", nobody)
        run("mailqueue_pause", all=True)

        assert {""} == set(BackendHealth.objects.values_list("paused_by", flat=True))

    def test_all_backends_are_paused_at_once(self) -> None:
        run("mailqueue_pause", all=True)

        assert not BackendHealth.objects.filter(paused_at=None).exists()
        assert BackendHealth.objects.exists()

    @pytest.mark.parametrize("command", ["mailqueue_pause", "mailqueue_resume"])
    @pytest.mark.parametrize("given", [([], {}), (["nowhere"], {}), (["default"], {"all": True})])
    def test_no_backend_a_wrong_one_or_too_many_are_an_error(self, command: str, given: Any) -> None:
        arguments, options = given
        with pytest.raises(CommandError, match="Configured: "):
            run(command, *arguments, **options)


class TestSendTest:
    def test_the_steps_are_told_and_what_is_not_sent_is_an_error(self) -> None:
        out = StringIO()
        with pytest.raises(CommandError, match="mailqueue_show"):
            call_command("mailqueue_send_test", "me@example.com", timeout=0, stdout=out)
        (mail,) = Email.objects.all()

        assert [f"queued: mail {mail.pk}, committed to the database", "no sender is alive"] == [
            line.partition(":")[0] if "no sender" in line else line for line in out.getvalue().splitlines()[:2]
        ]

    def test_a_mail_that_was_sent_is_success(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def sent_meanwhile(_: float) -> None:
            mail = Email.objects.get()
            make_attempt(mail, AttemptOutcome.SENT, reply_code=250, reply="queued as 1A2B")
            Email.objects.update(status=STATUS.sent)

        monkeypatch.setattr(mailqueue_send_test.time, "sleep", sent_meanwhile)

        assert "queued as 1A2B" in run("mailqueue_send_test", "me@example.com")

    def test_the_answer_is_told_though_the_attempt_ended_during_the_look(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        look = mailqueue_send_test.state_of

        def torn_look(mail: Email) -> MailStatus:
            status = look(mail)
            if status.state == State.SENT and not Attempt.objects.exists():
                make_attempt(mail, AttemptOutcome.SENT, reply_code=250, reply="queued as 1A2B")
            return status

        monkeypatch.setattr(mailqueue_send_test, "state_of", torn_look)
        monkeypatch.setattr(mailqueue_send_test.time, "sleep", lambda _: Email.objects.update(status=STATUS.sent))

        assert "queued as 1A2B" in run("mailqueue_send_test", "me@example.com")

    @pytest.mark.parametrize(
        ("arguments", "options", "named"),
        [(["nobody"], {}, "nobody"), (["me@example.com"], {"backend": "nowhere"}, "nowhere")],
    )
    def test_a_wrong_address_or_backend_is_an_error_that_names_it(
        self, arguments: list[str], options: dict[str, Any], named: str
    ) -> None:
        with pytest.raises(CommandError, match=named):
            run("mailqueue_send_test", *arguments, **options)

        assert not Email.objects.exists()


class TestLanguages:
    @pytest.fixture(autouse=True)
    def chinese(self, settings: Settings) -> None:
        settings.LANGUAGE_CODE = "zh-hans"

    @pytest.mark.parametrize(
        ("command", "arguments"),
        [
            ("mailqueue_requeue", ["--state", "failed"]),
            ("mailqueue_requeue", ["--state", "failed", "--dry-run"]),
            ("mailqueue_pause", ["--all"]),
            ("mailqueue_resume", ["--all"]),
            ("mailqueue_forget", ["ann@example.com", "--dry-run"]),
            ("mailqueue_forget", ["ann@example.com", "--yes"]),
            ("cleanup_mail", []),
        ],
    )
    def test_what_is_printed_is_in_the_language_of_the_settings(self, command: str, arguments: list[str]) -> None:
        in_state(State.FAILED)
        in_state(State.SENT)
        lines = run(command, *arguments).splitlines()

        assert [] == [line for line in lines if line.isascii()]

    @pytest.mark.parametrize(
        ("command", "arguments"),
        [
            ("mailqueue_requeue", ["4711"]),
            ("mailqueue_requeue", []),
            ("mailqueue_show", ["4711"]),
            ("mailqueue_show", ["nobody@example.net"]),
            ("mailqueue_pause", []),
            ("mailqueue_resume", ["nowhere"]),
            ("mailqueue_send_test", ["me@example.com", "--timeout", "0.1"]),
            ("mailqueue_send_test", ["me@example.com", "--backend", "nowhere"]),
            ("mailqueue_forget", ["ann"]),
            ("cleanup_mail", ["--days", "-1"]),
        ],
    )
    def test_what_is_wrong_is_said_in_it_too(self, command: str, arguments: list[str]) -> None:
        lines = fail(command, *arguments).splitlines()

        assert [] == [line for line in lines if line.isascii()]

    def test_json_is_english(self) -> None:
        mail = in_state(State.SENT)
        a_sender()
        mails, queue = run("mailqueue_show", mail.pk, json=True), run("mailqueue_status", json=True)

        assert (True, True) == (json.loads(mails)["detail"].isascii(), '"Mail flows."' in queue)
