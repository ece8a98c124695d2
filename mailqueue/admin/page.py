"""The page of one mail: what it says, its state and its attempts. It is read-only, and a broken mail has one too."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext_lazy as _
from post_office.admin import LogInline
from post_office.models import Email

from mailqueue.admin.buttons import Buttons
from mailqueue.admin.facts import Facts
from mailqueue.admin.reading import Reading, may_read, shows_remote_images
from mailqueue.ops.attached import attached_to
from mailqueue.ops.contents import contents_of, is_dropped, is_hidden, why_hidden
from mailqueue.ops.discretion import discreet_status, discreet_timeline
from mailqueue.ops.preview import preview_of
from mailqueue.ops.states import state_of
from mailqueue.ops.timeline import timeline_of
from mailqueue.outbox.identity import has_identity
from mailqueue.outbox.messages import load_rows


class Page(Facts, Reading, Buttons):
    """The page of a mail, with buttons for the acts that its state allows."""

    change_form_template = "admin/mailqueue/mail.html"

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Email | None:
        found = super().get_object(request, object_id, from_field)
        return None if found is None else load_rows([found.pk], using=found._state.db).get(found.pk)

    def get_inlines(self, request: HttpRequest, obj: Email | None) -> Any:
        # What an exception said, which post_office's log keeps, may quote the mail.
        return (LogInline,) if may_read(request) and obj is not None and obj.logs.exists() else ()

    def render_change_form(
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: Email | None = None,
    ) -> HttpResponse:
        if obj is not None:
            obj.mailqueue_contents = contents_of(obj)
            context |= self._page_context(request, obj)
        return super().render_change_form(request, context, add, change, form_url, obj)

    def _page_context(self, request: HttpRequest, mail: Email) -> dict[str, Any]:
        status = state_of(mail)
        timeline = timeline_of(mail)
        facts = {
            "title": _("Mail %(number)s") % {"number": mail.pk},
            "why_hidden": why_hidden(mail),
            "buttons": self.buttons(request, mail, status.state),
        }
        if not may_read(request):
            closed = {"status": discreet_status(status, timeline), "timeline": discreet_timeline(timeline)}
            return {**facts, **closed, "may_read": False, "problem": mail.mailqueue_contents.error}
        opened = {"status": status, "timeline": timeline, "may_read": True}
        return {**facts, **opened, "problem": mail.mailqueue_contents.problem, **self._reading(request, mail)}

    def _reading(self, request: HttpRequest, mail: Email) -> dict[str, Any]:
        """Return what the page shows of a mail to those who may read it."""
        if is_hidden(mail) or is_dropped(mail):
            return {}
        contents = mail.mailqueue_contents
        shows_remote = shows_remote_images(request)
        has_preview = contents.html and not contents.problem
        return {
            "contents": contents,
            "attachments": attached_to(mail),
            "is_identity_open": not has_identity(mail),
            "preview": preview_of(contents.html, title="", images={}) if has_preview else None,
            "preview_address": self.preview_address(mail, shows_remote=shows_remote),
            "shows_remote": shows_remote,
        }
