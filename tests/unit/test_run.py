import socket
from collections.abc import Iterator

import pytest

from project.dev.run import LauncherError, free_port


@pytest.fixture
def busy_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_busy_port_gives_way_to_another_with_a_word(busy_port: int, capsys: pytest.CaptureFixture[str]) -> None:
    port = free_port(busy_port, purpose="The site")

    assert port > busy_port
    assert capsys.readouterr().out == f"Port {busy_port} is busy. The site takes {port}.\n"


def test_two_servers_never_get_the_same_port(busy_port: int) -> None:
    port = free_port(busy_port, purpose="The site")

    assert free_port(port, purpose="The inbox", but_not=port) != port


@pytest.mark.parametrize("wanted", ["web", "", "65536"])
def test_what_is_no_port_is_refused(wanted: str) -> None:
    with pytest.raises(LauncherError, match=r"no port"):
        free_port(wanted, purpose="The site")
