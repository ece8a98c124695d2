"""Which backends a command is about."""

from argparse import ArgumentParser
from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandError
from django.utils.translation import gettext as _

from mailqueue.delivery.backends import canonical, configured_aliases


def add_backends(parser: ArgumentParser) -> None:
    parser.add_argument("aliases", nargs="*", metavar="ALIAS", help="backends")
    parser.add_argument("--all", action="store_true", help="all backends that are configured")


def chosen_backends(options: Mapping[str, Any]) -> list[str]:
    """Return the aliases that were named, each as it delivers.

    Raises:
        CommandError: none was named, both names and --all were given, or one is not configured.
    """
    known, named = configured_aliases(), options["aliases"]
    if bool(named) == options["all"]:
        raise CommandError(_("Name backends, or give --all. Configured: %(known)s.") % {"known": ", ".join(known)})
    for alias in named:
        check_backend(alias)
    return known if options["all"] else list(dict.fromkeys(canonical(alias) for alias in named))


def check_backend(alias: str) -> None:
    """Refuse a backend that is not configured.

    Raises:
        CommandError: the settings have none of that name.
    """
    known = configured_aliases()
    if canonical(alias) not in known:
        words = {"alias": repr(alias), "known": ", ".join(known)}
        raise CommandError(_("There is no backend %(alias)s. Configured: %(known)s.") % words)
