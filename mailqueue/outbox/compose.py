"""From the arguments of `mailqueue.send` to drafts: everything is checked and rendered, and nothing written."""

import json
import re
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import datetime
from functools import cached_property
from typing import Any, NamedTuple

from django.core.mail import EmailMultiAlternatives
from django.db.models import JSONField
from post_office.models import Email, EmailTemplate

from mailqueue.outbox.attachment_dicts import AttachmentDicts
from mailqueue.outbox.attachments import Content
from mailqueue.outbox.drafts import Draft
from mailqueue.outbox.identity import make_message_id
from mailqueue.outbox.mailboxes import addresses_of
from mailqueue.outbox.quick import Defaults
from mailqueue.outbox.request import (
    Request,
    backend_of,
    check_order,
    check_times,
    lifetime_of,
    options_of,
    priority_of,
)
from mailqueue.outbox.rows import draft
from mailqueue.outbox.simple import simple_row
from mailqueue.outbox.size import check_attached_size, check_file_sizes, is_surely_small
from mailqueue.outbox.texts import Texts
from mailqueue.outbox.trial import file_size, measured
from mailqueue.queue.enqueue import database_time

NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
"""As it stands in JSON."""


class Addresses(NamedTuple):
    """Who writes, and to whom."""

    sender: str
    to: list[str]
    cc: list[str]
    bcc: list[str]


class Composer:
    """Makes the drafts of one call. What its mails have in common is done once.

    Files stay open until the stack is closed.
    """

    def __init__(self, *, using: str, until: ExitStack, defaults: Defaults) -> None:
        self._using = using
        self._defaults = defaults
        self._texts = Texts()
        self._attachments = AttachmentDicts(until=until)

    @cached_property
    def _now(self) -> datetime:
        return database_time(self._using)

    def compose(self, request: Request) -> Draft:
        """Make the draft of one mail.

        Raises:
            ValidationError: an address is not valid, or the mail would expire before it is due.
            TypeError, ValueError: an argument is of the wrong type or holds a wrong value; the text names it.
            EmailTemplate.DoesNotExist, TemplateSyntaxError, …: a template is missing or can't be rendered.
            MessageTooLargeError: the mail is larger than MAX_MESSAGE_BYTES.
            whatever Django raises before it sends the message.
        """
        check_times(request)
        if request.context is not None and not isinstance(request.context, Mapping):
            raise TypeError(f"context must be a dict, not {type(request.context).__name__}.")
        template = self._texts.template_of(request)
        is_rendered_later = bool(request.render_on_delivery)
        texts = ("", "", "") if is_rendered_later else self._texts.render(request, template)
        contents = self._attachments.contents_of(request.attachments)
        headers = _headers(request.headers)
        addresses = self._addresses(request)
        message: EmailMultiAlternatives | None = None
        made = None if contents else self._simple(texts, addresses, headers)
        if made is None:
            message = _message(texts, addresses, headers=self._identified(headers))
            made = self._draft(message, contents)
        if is_rendered_later:
            _keep_context(made, request)
        self._address(made.email, request, template)
        if message and not made.source and (contents or made.email.expires_at):
            # What the message itself does not hold: its attachments, and a header Expires that post_office writes.
            self._check_size(made, message)
        made.options = options_of(request)
        return made

    def _addresses(self, request: Request) -> Addresses:
        (sender,) = addresses_of(
            [self._defaults.sender if request.sender is None else request.sender], argument="sender"
        )
        to = addresses_of(request.recipients, argument="recipients")
        cc = addresses_of(request.cc, argument="cc")
        bcc = addresses_of(request.bcc, argument="bcc")
        if not (to or cc or bcc):
            raise ValueError("A mail needs a recipient: recipients, cc and bcc are all empty.")
        return Addresses(sender, to, cc, bcc)

    def _simple(self, texts: tuple[str, str, str], addresses: Addresses, headers: Mapping[str, Any]) -> Draft | None:
        """Make the draft without a message, where it is certain to be the same."""
        subject, body, html = texts
        made = simple_row(
            subject=subject,
            body=body,
            html=html,
            from_email=addresses.sender,
            to=addresses.to,
            cc=addresses.cc,
            bcc=addresses.bcc,
            headers=headers,
            domain=self._defaults.domain,
        )
        return made if made and is_surely_small(made.email) else None

    def _identified(self, headers: dict[str, Any]) -> dict[str, Any]:
        if any(str(name).lower() == "message-id" for name in headers):
            return headers
        return {**headers, "Message-ID": make_message_id(headers, domain=self._defaults.domain)}

    def _draft(self, message: EmailMultiAlternatives, contents: list[Content]) -> Draft:
        if not contents:
            return draft(message)
        check_file_sizes(map(file_size, contents))
        made = draft(message)
        if made.source:
            # Where a message needs more than the columns of `Email`, its attachments are part of what is kept.
            self._attachments.attach(contents, message)
            return draft(message)
        made.attachments = contents
        return made

    def _check_size(self, made: Draft, message: EmailMultiAlternatives) -> None:
        check_attached_size(
            message,
            map(file_size, made.attachments),
            measure=lambda: measured(made.email, made.attachments, read=self._attachments.read),
        )

    def _address(self, email: Email, request: Request, template: EmailTemplate | None) -> None:
        if template:
            email.template = template
        email.backend_alias = backend_of(request)
        email.priority = self._defaults.priority if request.priority is None else priority_of(request)
        email.scheduled_time = request.scheduled_time
        email.expires_at = self._expiry_of(request)
        check_order(email.scheduled_time, email.expires_at)

    def _expiry_of(self, request: Request) -> datetime | None:
        lifetime = lifetime_of(request)
        if lifetime is None:
            given: datetime | None = request.expires_at
            return given
        try:
            return self._now + lifetime
        except OverflowError as error:
            raise ValueError(f"expires_in {request.expires_in!r} ends after the last day of the calendar.") from error


def _headers(given: Any) -> dict[str, Any]:
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise TypeError(f"headers must be a dict, not {type(given).__name__}.")
    return dict(given)


def _message(texts: tuple[str, str, str], addresses: Addresses, *, headers: dict[str, Any]) -> EmailMultiAlternatives:
    subject, body, html = texts
    message = EmailMultiAlternatives(
        subject=subject,
        body=body or html,
        from_email=addresses.sender,
        to=addresses.to,
        cc=addresses.cc,
        bcc=addresses.bcc,
        headers=headers,
    )
    if html and body:
        message.attach_alternative(html, "text/html")
    elif html:
        message.content_subtype = "html"
    return message


def _keep_context(made: Draft, request: Request) -> None:
    """Leave the texts to the sender, which renders the template when it sends.

    Raises:
        TypeError, ValueError: the context can't be stored, or the message needs more than the columns of `Email`.
    """
    if made.source:
        raise ValueError("render_on_delivery: a sender, a header or an address is too unusual to be kept with it.")
    context = dict(request.context or {})
    field = Email._meta.get_field("context")
    if isinstance(field, JSONField):
        _check_json(context, encoder=field.encoder)
    made.email.context = context


def _check_json(context: dict[str, Any], *, encoder: Any) -> None:
    try:
        text = json.dumps(context, cls=encoder, ensure_ascii=False, allow_nan=False)
        text.encode()
    except TypeError as error:
        raise TypeError(f"context can't be kept for render_on_delivery: {error}") from error
    except ValueError as error:  # NaN, infinity, half a surrogate pair, something that contains itself
        raise ValueError(f"context can't be kept for render_on_delivery: {error}") from error
    if NUL.search(text):
        raise ValueError("context can't be kept for render_on_delivery: it holds a NUL character.")
