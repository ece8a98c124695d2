"""What a mail says, at addresses of its own: preview, images, source and attachments, for those who may read it."""

from typing import TYPE_CHECKING, Any, TypeVar

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.template.defaultfilters import filesizeformat
from django.urls import URLPattern, path, reverse
from django.utils.decorators import method_decorator
from django.utils.http import content_disposition_header
from django.utils.translation import gettext as _
from django.views.decorators.http import require_safe
from post_office.models import Email

from mailqueue.admin.streams import in_turn
from mailqueue.ops.attached import MissingFileError, read_file, safe_name
from mailqueue.ops.contents import Contents, contents_of, is_dropped, is_hidden, raw_message
from mailqueue.ops.preview import IMAGE_TYPE, preview_of

if TYPE_CHECKING:
    Admin = admin.ModelAdmin[Any]
else:
    Admin = object

Response = TypeVar("Response", bound=HttpResponseBase)

VIEW_BODY = "mailqueue.view_body"
SOURCE_BYTES = 200_000
"""So much of a source is shown; the whole is a file to download."""
REMOTE_IMAGES = "remote"
POLICY = (
    "sandbox; default-src 'none'; img-src data:{images}; style-src 'unsafe-inline'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'self'"
)
HTML = "text/html; charset=utf-8"
TEXT = "text/plain; charset=utf-8"


def may_read(request: HttpRequest) -> bool:
    """Whether this person may read what mail says, where it isn't hidden from everybody."""
    return request.user.has_perm(VIEW_BODY)


def shows_remote_images(request: HttpRequest) -> bool:
    return request.GET.get("images") == REMOTE_IMAGES


class Reading(Admin):
    """Adds the addresses. Each answers 403 without the permission, and 404 where nothing is shown."""

    def reading_urls(self) -> list[URLPattern]:
        """Return what post_office's admin has no address for: it has those of the preview and its images."""
        source, whole = self.admin_site.admin_view(self.show_source), self.admin_site.admin_view(self.download_mail)
        attachment: Any = self.admin_site.admin_view(self.download_attachment)
        return [
            path("<int:pk>/source/", source, name="mailqueue_email_source"),
            path("<int:pk>/download/", whole, name="mailqueue_email_download"),
            path("<int:pk>/attachment/<int:attachment_pk>/", attachment, name="mailqueue_email_attachment"),
        ]

    @method_decorator(require_safe)
    def preview_html(self, request: HttpRequest, pk: int) -> HttpResponse:
        mail = self._readable(request, pk)
        contents = contents_of(mail)
        if contents.problem:
            return _unbuildable(contents.problem)
        if not contents.html:
            raise Http404
        shows_remote = shows_remote_images(request)
        title = _("Mail %(number)s") % {"number": pk}
        preview = preview_of(contents.html, title=title, images=contents.images, shows_remote=shows_remote)
        response = HttpResponse(preview.document, content_type=HTML)
        return _sealed(response, shows_remote=shows_remote)

    @method_decorator(require_safe)
    def fetch_email_image(self, request: HttpRequest, pk: int, content_id: str) -> HttpResponse:
        contents = contents_of(self._readable(request, pk))
        if contents.problem:
            return _unbuildable(contents.problem)
        image = contents.images.get(content_id) or _beginning_with(content_id, contents)
        if image is None or not IMAGE_TYPE.fullmatch(image.mimetype):
            raise Http404
        return _sealed(HttpResponse(image.data, content_type=image.mimetype))

    @method_decorator(require_safe)
    def show_source(self, request: HttpRequest, pk: int) -> HttpResponse:
        content = _raw(self._readable(request, pk))
        if isinstance(content, HttpResponse):
            return content
        text = content[:SOURCE_BYTES].decode(errors="replace")
        if len(content) > SOURCE_BYTES:
            words = {"shown": filesizeformat(SOURCE_BYTES), "size": filesizeformat(len(content))}
            cut = _("[Cut here: this is the first %(shown)s of %(size)s. Download the mail to see all of it.]") % words
            text = f"{text}\n\n{cut}\n"
        return _sealed(HttpResponse(text, content_type=TEXT))

    @method_decorator(require_safe)
    def download_mail(self, request: HttpRequest, pk: int) -> HttpResponse:
        content = _raw(self._readable(request, pk))
        if isinstance(content, HttpResponse):
            return content
        response = HttpResponse(content, content_type="message/rfc822")
        response["Content-Disposition"] = f'attachment; filename="mail-{pk}.eml"'
        return _sealed(response)

    @method_decorator(require_safe)
    def download_attachment(self, request: HttpRequest, pk: int, attachment_pk: int) -> HttpResponseBase:
        attachments = self._readable(request, pk).attachments.all()
        attachment = next((attachment for attachment in attachments if attachment.pk == attachment_pk), None)
        if attachment is None:
            raise Http404
        name = safe_name(attachment.name)
        try:
            size, chunks = read_file(attachment)
        except MissingFileError as error:
            text = _("The file of the attachment %(name)s can't be read: %(error)s") % {"name": name, "error": error}
            return _sealed(HttpResponse(text, content_type=TEXT, status=404))
        # The type that the mail claims is not passed on: a browser is to keep the file, not to open it here.
        response = StreamingHttpResponse(in_turn(request, chunks), content_type="application/octet-stream")
        response["Content-Disposition"] = content_disposition_header(True, name)
        response["Content-Length"] = str(size)
        return _sealed(response)

    def preview_address(self, mail: Email, *, shows_remote: bool) -> str:
        address = reverse(f"{self.admin_site.name}:post_office_email_preview", args=[mail.pk])
        return f"{address}?images={REMOTE_IMAGES}" if shows_remote else address

    def _readable(self, request: HttpRequest, pk: int) -> Email:
        if not (may_read(request) and self.has_view_permission(request)):
            raise PermissionDenied
        mail: Email | None = self.get_object(request, str(pk))
        if mail is None or is_hidden(mail) or is_dropped(mail):
            raise Http404
        return mail


def _raw(mail: Email) -> bytes | HttpResponse:
    try:
        return raw_message(mail)
    except Exception as error:  # noqa: BLE001  (a template, a storage or a header may raise anything)
        return _unbuildable(f"{type(error).__name__}: {error}")


def _unbuildable(problem: str) -> HttpResponse:
    text = _("This mail can't be built: %(error)s") % {"error": problem}
    return _sealed(HttpResponse(text, content_type=TEXT, status=422))


def _beginning_with(content_id: str, contents: Contents) -> Any:
    """Find an image as post_office does, whose Content-ID goes on behind the hash that its address has."""
    return next((image for name, image in contents.images.items() if name.startswith(content_id)), None)


def _sealed(response: Response, *, shows_remote: bool = False) -> Response:
    """Let nothing that a mail says run, fetch, be kept, be shown by other sites, or tell others where it was shown."""
    response["Content-Security-Policy"] = POLICY.format(images=" http: https:" if shows_remote else "")
    response["X-Content-Type-Options"] = "nosniff"
    response["X-Frame-Options"] = "SAMEORIGIN"
    response["X-DNS-Prefetch-Control"] = "off"
    response["Referrer-Policy"] = "no-referrer"
    response["Cache-Control"] = "private, no-store"
    return response
