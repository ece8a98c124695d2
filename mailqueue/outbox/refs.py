"""What a mail is about: the text that stands for a business object."""

from typing import Any

from django.db.models import Model

from mailqueue.outbox.storable import is_storable

LIMIT = 255


def ref_text(ref: Any) -> str:
    """Return the text that stands for a business object: a text as it is, a model instance as "app.model:pk".

    Raises:
        ValueError: the instance is not saved yet, or the text is empty, longer than 255 characters or not storable.
        TypeError: neither a text nor a model instance.
    """
    if isinstance(ref, Model):
        if ref._state.adding or ref.pk is None:
            raise ValueError(f"ref: save this {ref._meta.label} first, it has no primary key yet.")
        text = f"{(ref._meta.concrete_model or type(ref))._meta.label_lower}:{ref.pk}"
    elif isinstance(ref, str):
        text = ref
    else:
        raise TypeError(f"ref must be a text or a model instance, not {type(ref).__name__}.")
    if not 1 <= len(text) <= LIMIT:
        raise ValueError(f"ref must have 1 to {LIMIT} characters, not {len(text)}.")
    if not is_storable(text):
        raise ValueError(f"ref {text!r} holds characters that can't be stored.")
    return text
