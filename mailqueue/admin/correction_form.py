"""The form for the addresses of a mail: one line for each recipient who has not got it."""

import hashlib
from collections.abc import Sequence
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _

from mailqueue.ops.corrections import Missing, address_key
from mailqueue.outbox.allowed import would_be_held
from mailqueue.outbox.corrections import Place, check_address

COLUMNS = {"to": _("To"), "cc": _("Cc"), "bcc": _("Bcc"), "": _("Envelope")}
LONGEST = 1000
SEEN = "seen"
MOST_LINES = 200
"""More than that nobody corrects one by one, and Django takes only so many fields."""


class CorrectionForm(forms.Form):
    """An address for each recipient who has not got the mail."""

    def __init__(self, missing: Sequence[Missing], has_it: Sequence[Place], data: Any = None) -> None:
        super().__init__(data)
        self.missing = missing
        self.taken = {address_key(place.entry) for place in has_it}
        for number, each in enumerate(missing):
            attributes = {"class": "vTextField", "inputmode": "email", "autocomplete": "off", "spellcheck": "false"}
            self.fields[f"address-{number}"] = forms.CharField(
                label=_label(each.place),
                initial=each.place.address,
                max_length=max(LONGEST, len(each.place.address)),
                help_text=each.answer,
                widget=forms.TextInput(attrs=attributes),
            )

    @property
    def lines(self) -> list[forms.BoundField]:
        return [self[f"address-{number}"] for number in range(len(self.missing))]

    @property
    def is_outdated(self) -> bool:
        """Whether the answer is about other recipients than there are now."""
        return self.data.get(SEEN) != self.seen

    @property
    def seen(self) -> str:
        """What stands for the recipients of the page; they themselves may hold what a browser changes."""
        return hashlib.sha256("\n".join(each.place.entry for each in self.missing).encode()).hexdigest()

    @property
    def new(self) -> dict[str, str]:
        """For each entry that is changed, what it becomes."""
        places = [each.place for each in self.missing]
        given = [self.cleaned_data[f"address-{number}"] for number in range(len(places))]
        return {
            place.entry: place.with_address(address)
            for place, address in zip(places, given, strict=True)
            if address != place.address
        }

    def clean(self) -> dict[str, Any]:
        taken = set(self.taken)
        for number, each in enumerate(self.missing):
            address = self.cleaned_data.get(f"address-{number}", "")
            if address and address != each.place.address:
                self._check(number, each.place.with_address(address), address, taken=taken)
            # With one of them who is not allowed, it goes to nobody.
            if address and f"address-{number}" not in self.errors and would_be_held(address):
                text = _(
                    "%(address)s is not allowed by ALLOWED_RECIPIENTS: the mail would be held. "
                    "Give an address that the setting allows."
                )
                self.add_error(f"address-{number}", text % {"address": address})
            taken.add(address_key(address))
        if not self.errors and not self.new:
            self.add_error(None, _("No address was changed. To send the mail again as it is, requeue it."))
        return self.cleaned_data

    def _check(self, number: int, entry: str, address: str, *, taken: set[str]) -> None:
        others = {address_key(each.place.entry) for place, each in enumerate(self.missing) if place != number}
        try:
            check_address(entry)
        except ValidationError:
            text = _("%(address)s is not an email address. Give one address, such as jane@example.com.")
            self.add_error(f"address-{number}", text % {"address": entry})
            return
        if address_key(address) in taken | others:
            text = _("%(address)s is a recipient of this mail already. Give another address.")
            self.add_error(f"address-{number}", text % {"address": address})


def _label(place: Place) -> str:
    return f"{COLUMNS[place.column]}: {place.name}" if place.name else str(COLUMNS[place.column])
