"""Which texts can be stored."""


def is_storable(text: str) -> bool:
    """Whether the database takes a text: PostgreSQL has no NUL."""
    return "\0" not in text and is_utf8(text)


def is_utf8(text: str) -> bool:
    """Whether a text can be encoded: half a surrogate pair can't."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
