"""The certificates of a scripted SMTP server: a good one, and one for each thing that may be wrong with them."""

import ssl
from pathlib import Path
from typing import Literal, TypeAlias

FOLDER = Path(__file__).parent / "certs"
KEY = FOLDER / "server.key"
"""Of all of them. It is public: good for tests on loopback, and nothing else."""

Fault: TypeAlias = Literal["trusted", "expired", "wrong_host", "untrusted"]
SHOWN: dict[Fault, Path] = {
    "trusted": FOLDER / "server.crt",
    "expired": FOLDER / "expired.crt",
    "wrong_host": FOLDER / "wrong_host.crt",
    "untrusted": FOLDER / "untrusted.crt",
}


def to_trust(certificate: Fault) -> Path:
    """Return what a client has to trust so that nothing but the fault is wrong with the certificate."""
    return SHOWN["trusted" if certificate == "untrusted" else certificate]


def context(certificate: Fault) -> ssl.SSLContext:
    """Make what the server's side of a handshake needs."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(SHOWN[certificate], KEY)
    return made
