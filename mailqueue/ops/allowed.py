"""Whom mail may be sent to from here, in a sentence for people. Empty where it may go to everybody."""

from django.utils.translation import gettext as _

from mailqueue.conf import configuration


def allowed_sentence() -> str:
    patterns = configuration().ALLOWED_RECIPIENTS
    if patterns is None:
        return ""
    words = {"patterns": ", ".join(patterns)}
    return _("Only mail to %(patterns)s is sent from here (ALLOWED_RECIPIENTS); everything else is held.") % words
