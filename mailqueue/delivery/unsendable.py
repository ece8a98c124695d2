"""What a server says beforehand that it cannot take: too many octets, addresses beyond ASCII."""

from collections.abc import Sequence

from mailqueue.delivery.judgements import FAIL, FAIL_RECIPIENT
from mailqueue.delivery.outcomes import Outcome, Reply, Stage
from mailqueue.delivery.tally import Answer
from mailqueue.delivery.wire import SealedLetter


def too_large(letter: SealedLetter, *, limit: int) -> Outcome:
    """Fail a letter that has more octets than the server takes (RFC 1870)."""
    text = f"the message has {len(letter.content)} octets, the server takes {limit} (SIZE)"
    return Outcome(FAIL.verdict, Stage.MAIL, FAIL.blame, FAIL.trouble, Reply(0, text, "5.3.4"))


def not_without_utf8(letter: SealedLetter) -> dict[str, Answer]:
    """Refuse the recipients who can't be reached, for an address needs what the server doesn't offer."""
    others = letter.without_utf8.forward_paths if letter.without_utf8 else {}
    judgement = FAIL_RECIPIENT if others else FAIL
    odd = [path for path in (letter.reverse_path, *letter.forward_paths.values()) if not path.isascii()]
    return {
        recipient: Answer(Stage.MAIL, _needs_utf8([path] if path in odd else odd), judgement)
        for recipient, path in letter.forward_paths.items()
        if recipient not in others
    }


def _needs_utf8(paths: Sequence[str]) -> Reply:
    """RFC 6531, section 3.5, has the enhanced code."""
    names = ", ".join(paths) or "an address in the header"
    text = f"{names}: non-ASCII characters before the @ need SMTPUTF8, which the server does not offer"
    return Reply(0, text, "5.6.7")
