"""Who runs a command."""

from getpass import getuser


def system_user() -> str:
    """Return the name of the system's user, empty where there is none."""
    try:
        return getuser()
    except (KeyError, OSError):  # a container may run under a number that has no name
        return ""
