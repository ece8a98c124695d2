"""What is rendered on delivery is what post_office renders, though each template is compiled once."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from pathlib import Path
from typing import Any

import pytest
from django.core.mail import EmailMessage
from django.template import TemplateSyntaxError, engines
from django.template.backends.django import DjangoTemplates
from django.utils import translation
from post_office.models import STATUS, Attachment, Email, EmailTemplate
from pytest_django import Settings

from mailqueue.outbox import templates
from mailqueue.outbox.messages import load_rows
from mailqueue.outbox.serial import build
from mailqueue.outbox.templates import prepare_message

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.filterwarnings("ignore:MIMEBase attachments are deprecated"),  # what post_office attaches
]

leaves_files_open = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # as post_office's tag does
PIXEL = b"GIF89a\x01\x00\x01\x00\x80\x00\x00\xff\xff\xff\x00\x00\x00!\xf9\x04\x01\x00\x00\x00\x00,\x00\x00\x00\x00\x01"
NAME = "<Ann & Co>"
TEXTS: dict[str, dict[str, str]] = {
    "all texts": {"subject": "Hi {{ name }}", "content": "Hello {{ name }}", "html_content": "<p>{{ name }}</p>"},
    "no HTML": {"subject": "Hi", "content": "Hello {{ name|safe }}", "html_content": ""},
    "only HTML": {"subject": "Hi {{ name|safe }}", "content": "", "html_content": "<p>{{ name }}</p>"},
    "HTML that comes to nothing": {"subject": "Hi", "content": "x", "html_content": "{% if no %}x{% endif %}"},
    "the language": {"subject": "{% load i18n %}{% get_current_language as x %}{{ x }}", "content": "{{ 1.5 }}"},
    "what differs from call to call": {
        "subject": "{% cycle 'a' 'b' %}",
        "content": "{% for i in '123' %}{% cycle 'a' 'b' %}{% endfor %}{% ifchanged name %}x{% endifchanged %}",
    },
}


@pytest.fixture(autouse=True)
def site(settings: Settings, tmp_path: Path) -> None:
    settings.MEDIA_ROOT = tmp_path
    own = {"BACKEND": "post_office.template.backends.post_office.PostOfficeTemplates", "APP_DIRS": True, "OPTIONS": {}}
    settings.TEMPLATES = [*settings.TEMPLATES, own]


@pytest.fixture(autouse=True)
def empty_cache() -> Iterator[None]:
    templates._compiled.cache_clear()
    yield
    templates._compiled.cache_clear()


def mail(context: Any = None, **texts: str) -> Email:
    template = EmailTemplate.objects.create(name=f"t{EmailTemplate.objects.count()}", **texts)
    given = {"name": NAME} if context is None else context
    made = Email.objects.create(
        from_email="shop@example.com", to=["jane@example.com"], template=template, context=given, status=STATUS.queued
    )
    return loaded(made)


def loaded(email: Email) -> Email:
    return load_rows([email.pk], using="default")[email.pk]


def described(message: EmailMessage) -> dict[str, Any]:
    attached = [part.as_bytes() if hasattr(part, "as_bytes") else tuple(part) for part in message.attachments]
    names = ("subject", "body", "alternatives", "content_subtype", "from_email", "to", "cc", "bcc", "extra_headers")
    shown = {name: getattr(message, name, None) for name in (*names, "mixed_subtype")}
    return {"class": type(message), "attachments": attached, "types": type(message.body), **shown}


@pytest.mark.parametrize("language", ["en", "de"])
@pytest.mark.parametrize("engine", ["django", "post_office"])
@pytest.mark.parametrize("name", TEXTS)
def test_each_mail_is_rendered_as_by_post_office(settings: Settings, name: str, engine: str, language: str) -> None:
    settings.POST_OFFICE = {**settings.POST_OFFICE, "TEMPLATE_ENGINE": engine}
    given = mail(**TEXTS[name])
    with translation.override(language):
        expected = described(copy(given).prepare_email_message())
        found = [described(prepare_message(loaded(given))) for _ in range(3)]

    assert [expected] * 3 == found


def test_a_context_that_is_empty_is_rendered_too() -> None:
    given = mail({}, subject="Hi {{ name }}", content="Hello {{ name }}")

    assert described(copy(given).prepare_email_message()) == described(prepare_message(given))


@leaves_files_open
def test_inline_images_come_once_with_each_mail_and_before_its_attachments(settings: Settings, tmp_path: Path) -> None:
    settings.POST_OFFICE = {**settings.POST_OFFICE, "TEMPLATE_ENGINE": "post_office"}
    logo = tmp_path / "logo.gif"
    logo.write_bytes(PIXEL)
    given = mail(subject="Hi", html_content=f"{{% load post_office %}}<img src=\"{{% inline_image '{logo}' %}}\">")
    file = tmp_path / "a.txt"
    file.write_bytes(b"x")
    Attachment.objects.create(name="a.txt", file=str(file)).emails.add(given)
    expected = described(loaded(given).prepare_email_message())

    assert 2 == len(expected["attachments"])
    assert [expected] * 2 == [described(prepare_message(loaded(given))) for _ in range(2)]


def test_a_template_is_compiled_once_for_all_its_mails(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[str] = []
    compile_: Any = DjangoTemplates.from_string

    def counted(engine: DjangoTemplates, text: str) -> Any:
        compiled.append(text)
        return compile_(engine, text)

    monkeypatch.setattr(DjangoTemplates, "from_string", counted)
    given = mail(subject="Hi {{ name }}", content="Hello {{ name }}", html_content="<p>{{ name }}</p>")
    for _ in range(3):
        prepare_message(given)

    assert ["Hi {{ name }}", "Hello {{ name }}", "<p>{{ name }}</p>"] == sorted(compiled, key=len)


def test_a_changed_template_takes_effect_with_the_next_mail() -> None:
    given = mail(subject="Hi {{ name|safe }}")
    prepare_message(given)
    EmailTemplate.objects.update(subject="Bye {{ name|safe }}")

    assert f"Bye {NAME}" == prepare_message(loaded(given)).subject


def test_a_template_that_is_wrong_is_wrong_each_time() -> None:
    given = mail(subject="{% if %}")

    for _ in range(2):
        with pytest.raises(TemplateSyntaxError):
            prepare_message(given)


def test_no_more_templates_are_kept_than_a_fixed_number() -> None:
    for number in range(templates.CACHED + 10):
        templates._template(engines["django"], str(number))

    assert templates.CACHED == templates._compiled.cache_info().currsize


def test_an_engine_of_another_kind_compiles_by_itself() -> None:
    class Own(DjangoTemplates):
        pass

    engine = Own({"NAME": "own", "DIRS": [], "APP_DIRS": False, "OPTIONS": {}})

    assert ("x1", 0) == (
        templates._template(engine, "x{{ n }}").render({"n": 1}),
        templates._compiled.cache_info().currsize,
    )


@leaves_files_open
def test_threads_that_render_one_template_do_not_meet(settings: Settings, tmp_path: Path) -> None:
    settings.POST_OFFICE = {**settings.POST_OFFICE, "TEMPLATE_ENGINE": "post_office"}
    logo = tmp_path / "logo.gif"
    logo.write_bytes(PIXEL)
    html = f"{{% load post_office %}}{{{{ name }}}}<img src=\"{{% inline_image '{logo}' %}}\">"
    given = [mail({"name": str(number)}, subject="{{ name }}", html_content=html) for number in range(4)] * 25
    template = given[0].template
    for email in given:
        email.template = template
        _ = email.attachments.all()
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(prepare_message, given))

    assert [(email.context["name"], 1) for email in given] == [
        (message.subject, len(message.attachments)) for message in made
    ]
    assert all(b"image/gif" in build(message).as_bytes() for message in made[:4])
