"""Mails that are rendered on delivery: as post_office renders them, but each template is compiled once."""

from copy import copy
from functools import lru_cache
from typing import Any

from django.core.mail import EmailMessage
from django.template.backends.django import DjangoTemplates
from django.template.backends.django import Template as DjangoTemplate
from post_office.models import Email
from post_office.settings import get_template_engine
from post_office.template.backends.post_office import PostOfficeTemplates

CACHED = 200
"""So many texts are kept compiled, the last used ones. Their key is the text: a changed template is another one."""


def prepare_message(email: Email) -> EmailMessage:
    """Return what the row's own `prepare_email_message` returns."""
    if email.template is None or email.context is None:
        message: EmailMessage = email.prepare_email_message()
        return message
    engine = get_template_engine()
    html = _template(engine, email.template.html_content)
    rendered = copy(email)
    rendered.subject = _template(engine, email.template.subject).render(email.context)
    rendered.message = _template(engine, email.template.content).render(email.context)
    rendered.html_message = html.render(email.context)
    rendered.context = None
    message = rendered.prepare_email_message()
    if rendered.html_message and hasattr(html, "attach_related"):
        _attach_related(html, message)
    return message


def _attach_related(html: Any, message: EmailMessage) -> None:
    """Attach the images of a rendered template, which come before the attachments of the mail."""
    attachments, message.attachments = message.attachments, []
    html.attach_related(message)
    message.attachments += attachments


def _template(engine: Any, text: str) -> Any:
    """Return the template of a text, to be rendered once.

    What Django compiles may be rendered by several threads, as with its cached loader. Not so the images that
    post_office's engine collects beside it: each rendering gets an envelope of its own around what is compiled.
    """
    if type(engine) not in {DjangoTemplates, PostOfficeTemplates}:
        return engine.from_string(text)
    compiled = _compiled(engine, text)
    return type(compiled)(copy(compiled.template), engine)


@lru_cache(maxsize=CACHED)
def _compiled(engine: Any, text: str) -> DjangoTemplate:
    template: DjangoTemplate = engine.from_string(text)
    return template
