"""More delivering backends for a test, as the settings of either Django name them."""

from typing import Any

from mailqueue.delivery.backends import canonical


def configure_backends(settings: Any, *aliases: str) -> None:
    """Let there be backends of these names that deliver as the default one does."""
    default = canonical("")
    if hasattr(settings, "MAILERS"):
        settings.MAILERS = {**settings.MAILERS, **dict.fromkeys(aliases, settings.MAILERS[default])}
        return
    backends = settings.POST_OFFICE["BACKENDS"]
    more = dict.fromkeys(aliases, backends[default])
    settings.POST_OFFICE = {**settings.POST_OFFICE, "BACKENDS": {**backends, **more}}
