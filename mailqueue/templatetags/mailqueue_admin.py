"""What every page of the admin about mail says, whichever view made it."""

from django import template

from mailqueue.ops import allowed

register = template.Library()


@register.simple_tag
def allowed_sentence() -> str:
    """Say whom mail is sent to from here, where that is not everybody."""
    return allowed.allowed_sentence()
