"""The pages of the development inbox. What a mail says is never trusted: its HTML is shown in a sandbox."""

from pathlib import Path

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.http import content_disposition_header
from django.views.decorators.cache import never_cache
from django.views.decorators.clickjacking import xframe_options_sameorigin
from django.views.decorators.http import require_safe

from project.dev.maildir import KeptMail, Maildir
from project.dev.reading import html_with_images, read, summarize

LIST_LENGTH = 200
SANDBOX = "sandbox; default-src 'none'; img-src data:; style-src 'unsafe-inline'"


@never_cache
@require_safe
def mail_list(request: HttpRequest) -> HttpResponse:
    maildir = _maildir()
    mails = [(mail, summarize(mail.head())) for mail in maildir.newest(limit=LIST_LENGTH)]
    return render(request, "dev/list.html", {"mails": mails, "count": maildir.count(), "limit": LIST_LENGTH})


@require_safe
def mail_detail(request: HttpRequest, name: str) -> HttpResponse:
    kept = _find(name)
    mail = read(kept.source())
    return render(request, "dev/mail.html", {"kept": kept, "mail": mail, "subject": mail.header("Subject")})


@require_safe
@xframe_options_sameorigin
def mail_html(_request: HttpRequest, name: str) -> HttpResponse:
    mail = read(_find(name).source())
    if mail.html is None:
        raise Http404("This mail has no HTML.")
    return _sandboxed(html_with_images(mail).encode(), content_type="text/html; charset=utf-8")


@require_safe
def mail_source(_request: HttpRequest, name: str) -> HttpResponse:
    return _sandboxed(_find(name).source(), content_type="text/plain; charset=utf-8")


@require_safe
def mail_attachment(_request: HttpRequest, name: str, number: int) -> HttpResponse:
    attachments = read(_find(name).source()).attachments
    if not 1 <= number <= len(attachments):
        raise Http404("This mail has no such attachment.")
    attachment = attachments[number - 1]
    response = _sandboxed(attachment.content, content_type="application/octet-stream")
    response["Content-Disposition"] = content_disposition_header(True, attachment.filename) or "attachment"
    return response


def _sandboxed(content: bytes, *, content_type: str) -> HttpResponse:
    headers = {"Content-Security-Policy": SANDBOX, "X-Content-Type-Options": "nosniff"}
    return HttpResponse(content, content_type=content_type, headers=headers)


def _maildir() -> Maildir:
    return Maildir(Path(settings.DEV_INBOX_DIR))


def _find(name: str) -> KeptMail:
    mail = _maildir().find(name)
    if mail is None:
        raise Http404("There is no such mail.")
    return mail
