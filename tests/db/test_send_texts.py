"""`mailqueue.send`: what is a template, and what is data."""

import json
from typing import Any

import pytest
from django.db import connection
from django.db.models import TextField
from django.template import TemplateSyntaxError
from django.utils.translation import gettext_lazy
from post_office import mail as post_office_mail
from post_office.models import Email, EmailTemplate
from pytest_django import Settings

import mailqueue
from mailqueue.queue import enqueue
from tests.support.outbox import queueing
from tests.support.sending import JANE, SHOP, on_the_wire, queue

__all__ = ["queueing"]
pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("queueing")]

LOOKS_LIKE_A_TEMPLATE = "{{ secret }} {% nonsense %}"


@pytest.fixture(autouse=True)
def _no_cache(settings: Settings) -> None:
    """Keep post_office from finding templates of other tests in the cache of the process."""
    settings.POST_OFFICE_CACHE = False


@pytest.fixture
def welcome() -> EmailTemplate:
    """A template with a translation."""
    made = EmailTemplate.objects.create(
        name="welcome", subject="Hi {{ name }}", content="Hello {{ name }}", html_content="<p>{{ name }}</p>"
    )
    made.translated_templates.create(language="de", subject="Hallo {{ name }}", content="Guten Tag {{ name }}")
    return made


def texts_of(mail: Email) -> tuple[str, str, str]:
    row = Email.objects.get(pk=mail.pk)
    return row.subject, row.message, row.html_message


def test_texts_without_a_context_are_data() -> None:
    mail = queue(subject=LOOKS_LIKE_A_TEMPLATE, message=LOOKS_LIKE_A_TEMPLATE, html_message=LOOKS_LIKE_A_TEMPLATE)

    assert (LOOKS_LIKE_A_TEMPLATE,) * 3 == texts_of(mail)
    assert LOOKS_LIKE_A_TEMPLATE == on_the_wire(mail)["Subject"]


def test_texts_with_a_context_are_templates_as_in_post_office() -> None:
    arguments = {
        "subject": "Hi {{ name }}",
        "message": "{{ name }}!",
        "html_message": "<p>{{ name }}</p>",
        "context": {"name": "Ann & Bo"},
    }

    mail = queue(**arguments)

    assert texts_of(post_office_mail.send(JANE, SHOP, **arguments)) == texts_of(mail)
    assert {str} == {type(text) for text in (mail.subject, mail.message, mail.html_message)}


def test_an_empty_context_is_a_context() -> None:
    mail = queue(subject="Hi {{ name }}.", message="{% if name %}never{% endif %}", context={})

    assert ("Hi .", "", "") == texts_of(mail)


def test_lazy_texts_and_missing_ones_are_texts() -> None:
    mail = queue(subject=gettext_lazy("Hi"), message=gettext_lazy("Hello"), html_message=None)

    assert ("Hi", "Hello", "") == texts_of(mail)


def test_html_alone_is_the_body() -> None:
    mail = queue(subject="Hi", html_message="<p>Hello</p>")

    assert ("text/html", "<p>Hello</p>") == (
        on_the_wire(mail).get_content_type(),
        on_the_wire(mail).get_content().strip(),
    )


@pytest.mark.parametrize("language", ["", "de"])
@pytest.mark.parametrize("by_name", [True, False])
def test_a_template_is_rendered_at_the_call_in_the_language_asked_for(
    welcome: EmailTemplate, language: str, by_name: bool
) -> None:
    template = "welcome" if by_name else welcome
    arguments = {"context": {"name": "Ann"}, "language": language}
    mail = queue(template=template, **arguments)

    assert texts_of(post_office_mail.send(JANE, SHOP, template=template, **arguments)) == texts_of(mail)
    assert (language, None) == (mail.template.language, mail.context)
    EmailTemplate.objects.update(subject="changed", content="changed", html_content="changed")
    assert "Ann" in on_the_wire(mail)["Subject"]


def test_a_template_without_a_context_is_a_template_still(welcome: EmailTemplate) -> None:
    assert ("Hi ", "Hello ", "<p></p>") == texts_of(queue(template=welcome))


@pytest.mark.parametrize("language", ["", "de"])
def test_render_on_delivery_keeps_template_and_context(welcome: EmailTemplate, language: str) -> None:
    mail = queue(template="welcome", context={"name": "Ann"}, language=language, render_on_delivery=True)
    EmailTemplate.objects.update(subject="changed for {{ name }}")
    row = Email.objects.get()

    assert ("", "", "", language, {"name": "Ann"}) == (*texts_of(mail), row.template.language, row.context)
    assert "changed for Ann" == on_the_wire(mail)["Subject"]
    assert (mail.message_id, mail.headers["Date"]) == (on_the_wire(mail)["Message-ID"], on_the_wire(mail)["Date"])


def test_render_on_delivery_works_without_a_context(welcome: EmailTemplate) -> None:
    body = on_the_wire(queue(template=welcome, render_on_delivery=True)).get_body(("plain",))

    assert body is not None
    assert "Hello" == body.get_content().strip()


CYCLE: dict[str, Any] = {}
CYCLE["itself"] = CYCLE
LATER = {"template": "welcome", "render_on_delivery": True}
WRONG: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "an unknown template": ({"template": "nothing"}, EmailTemplate.DoesNotExist, "no EmailTemplate 'nothing'"),
    "an unknown language": (
        {"template": "welcome", "language": "fr"},
        EmailTemplate.DoesNotExist,
        "'welcome' in the language 'fr'",
    ),
    "an unsaved template": ({"template": EmailTemplate(subject="Hi")}, ValueError, "save this EmailTemplate first"),
    "a subject beside it": ({"template": "welcome", "subject": "Hi"}, ValueError, "a template or subject"),
    "a text beside it": ({"template": "welcome", "message": "Hi"}, ValueError, "a template or message"),
    "HTML beside it": ({"template": "welcome", "html_message": "Hi"}, ValueError, "a template or html_message"),
    "no template to render later": ({"subject": "Hi", "render_on_delivery": True}, ValueError, "needs a template"),
    "a broken template": ({"subject": "{% if %}", "context": {}}, TemplateSyntaxError, "if"),
    "a line break that was rendered": (
        {"subject": "Hi {{ name }}", "context": {"name": "a\nBcc: b@c.de"}},
        ValueError,
        "(?i)newline|linefeed",
    ),
    "a context of no kind": ({"subject": "Hi", "context": ["name"]}, TypeError, "context must be a dict"),
    "an object in a context kept": ({**LATER, "context": {"order": object()}}, TypeError, "context can't be kept"),
    "no number in a context kept": ({**LATER, "context": {"sum": float("nan")}}, ValueError, "context can't be kept"),
    "a NUL in a context kept": ({**LATER, "context": {"name": "a\0"}}, ValueError, "NUL"),
    "half a character in a context kept": ({**LATER, "context": {"name": "\ud800"}}, ValueError, "context can't be"),
    "a context without end": ({**LATER, "context": CYCLE}, ValueError, "context can't be kept"),
    "a sender too long to be kept": (
        {**LATER, "sender": f'"{"long " * 60}" <{SHOP}>'},
        ValueError,
        "too unusual",
    ),
    "a header too odd to be kept": ({**LATER, "headers": {"Message-ID": f"<{'x' * 300}@y>"}}, ValueError, "unusual"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_refused_at_the_call_and_nothing_is_written(welcome: EmailTemplate, name: str) -> None:
    arguments, error, text = WRONG[name]
    with pytest.raises(error, match=text):
        queue(**arguments)

    assert not Email.objects.exists()


def test_a_backslash_before_what_looks_like_a_nul_is_kept(welcome: EmailTemplate) -> None:
    context = {"name": "\\u0000 \\\\u0000"}
    mail = queue(**LATER, context=context)

    assert context == Email.objects.get(pk=mail.pk).context


def test_a_context_column_that_is_not_json_takes_what_it_takes(
    welcome: EmailTemplate, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Written(TextField):
        """Stands for what CONTEXT_FIELD_CLASS may name: a field with a way of its own to write values."""

        def get_prep_value(self, value: Any) -> Any:
            return json.dumps({"written": value})

    monkeypatch.setattr(Email._meta.get_field("context"), "__class__", Written)
    monkeypatch.setattr(enqueue, "_columns", enqueue._columns.__wrapped__)
    mails = mailqueue.send_many([{"recipients": JANE, **LATER, "context": {"name": name}} for name in ("Ann", "Bo")])
    mails += [queue(**LATER, context={"name": "Cy"})]

    with connection.cursor() as cursor:
        cursor.execute("SELECT context ->> 'written' FROM post_office_email ORDER BY id")
        assert [('{"name": "Ann"}',), ('{"name": "Bo"}',), ('{"name": "Cy"}',)] == cursor.fetchall()
    assert len(mails) == 3


def test_each_template_is_looked_up_once_however_many_mails_use_it(
    welcome: EmailTemplate, django_assert_num_queries: Any
) -> None:
    arguments = [
        {"recipients": JANE, "template": "welcome", "language": language, "context": {"name": str(number)}}
        for number in range(10)
        for language in ("", "de")
    ]
    with django_assert_num_queries(2 + 4):  # each translation; savepoint, ids, COPY, release
        mails = mailqueue.send_many(arguments)

    assert [f"Hi {number}" for number in range(10)] == [mail.subject for mail in mails[::2] if mail]
    assert [f"Hallo {number}" for number in range(10)] == [mail.subject for mail in mails[1::2] if mail]
