"""What the arguments of commands may be."""

from argparse import ArgumentTypeError

LEAST_SECONDS, MOST_SECONDS = 0.1, 86_400


def positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def seconds(text: str) -> float:
    try:
        given = float(text)
    except ValueError:
        given = 0.0
    if not LEAST_SECONDS <= given <= MOST_SECONDS:
        raise ArgumentTypeError(f"{text!r} is not a number of seconds of at least {LEAST_SECONDS:g}")
    return given
