"""The subject under which a mail is listed, without building the mail."""

from post_office.models import Email
from post_office.settings import get_template_engine


def subject_of(mail: Email) -> str:
    """Return the subject of a mail that is loaded with its template; whether it may be shown is for others to say."""
    if mail.template is None or mail.context is None:
        # Without its context, what was rendered on delivery has no other subject than the template's own.
        return str(mail.subject or (mail.template.subject if mail.template else ""))
    try:
        return str(get_template_engine().from_string(mail.template.subject).render(mail.context))
    except Exception:  # noqa: BLE001  (a template may raise anything; its source still tells which mail this is)
        return str(mail.template.subject)
