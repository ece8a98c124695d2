"""The texts of a mail: given as they are, or rendered from templates as post_office renders them."""

from typing import Any

from django.template import Context, Template
from django.utils.functional import Promise
from post_office.models import EmailTemplate
from post_office.utils import get_email_template

from mailqueue.outbox.request import Request

NAMES = ("subject", "message", "html_message")


class Texts:
    """Finds and renders templates. Each is looked up and compiled once, however many mails use it."""

    def __init__(self) -> None:
        self._found: dict[tuple[Any, str], EmailTemplate] = {}
        self._compiled: dict[str, Template] = {}

    def template_of(self, request: Request) -> EmailTemplate | None:
        """Return the post_office template of a request, in the language that was asked for.

        Raises:
            EmailTemplate.DoesNotExist: there is none of that name, or none in that language.
            ValueError: texts were given beside it, or it is not saved, or there is none to be rendered on delivery.
        """
        template = request.template
        if not template:
            if request.render_on_delivery:
                raise ValueError("render_on_delivery needs a template: texts that are given are never templates.")
            return None
        if beside := [name for name in NAMES if getattr(request, name)]:
            raise ValueError(f"Give a template or {beside[0]}, not both.")
        if isinstance(template, EmailTemplate) and template.pk is None:
            raise ValueError("template: save this EmailTemplate first, it has no primary key yet.")
        is_row = isinstance(template, EmailTemplate)
        place = (id(template) if is_row else str(template), request.language or "")
        if place not in self._found:
            self._found[place] = _find(template, *place[1:])
        return self._found[place]

    def render(self, request: Request, template: EmailTemplate | None) -> tuple[str, str, str]:
        """Return subject, text and HTML.

        Texts that come with a context, an empty one too, are templates, as in post_office. Without one they are data.

        Raises:
            TypeError: a text is something else.
            TemplateSyntaxError, …: what Django's templates raise.
        """
        if template is None:
            sources = [_text(getattr(request, name), name) for name in NAMES]
        else:
            sources = [template.subject, template.content, template.html_content]
        if template is None and request.context is None:
            subject, message, html = sources
        else:
            context = Context(dict(request.context or {}))
            subject, message, html = (self._rendered(source, context) for source in sources)
        return subject, message, html

    def _rendered(self, source: str, context: Context) -> str:
        if not source:
            return ""
        if source not in self._compiled:
            self._compiled[source] = Template(source)
        # Templates say of their output that it is safe HTML. It is text from here on.
        return self._compiled[source].render(context) + ""


def _find(template: Any, language: str) -> EmailTemplate:
    try:
        if not isinstance(template, EmailTemplate):
            return get_email_template(template, language)
        if language and template.language != language:
            return template.translated_templates.get(language=language)
    except EmailTemplate.DoesNotExist as error:
        name = template.name if isinstance(template, EmailTemplate) else template
        where = f" in the language {language!r}" if language else ""
        raise EmailTemplate.DoesNotExist(f"There is no EmailTemplate {name!r}{where}.") from error
    return template


def _text(value: Any, name: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str | Promise):
        raise TypeError(f"{name} must be a text, not {type(value).__name__}.")
    return str(value)
