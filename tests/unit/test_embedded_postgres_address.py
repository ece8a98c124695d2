from pathlib import Path

import environ
import pytest

from project.dev.postgres import LONGEST_SOCKET_PATH, SOCKET_NAME, EmbeddedPostgres


@pytest.mark.parametrize("folder", ["pg", "long" * 30, "with space", "mit-ümlaut", "a?b&c=d#e%20"])
def test_the_url_leads_to_a_short_socket_path_from_any_folder(tmp_path: Path, folder: str) -> None:
    postgres = EmbeddedPostgres(tmp_path / folder)
    address = environ.Env.db_url_config(postgres.url("shop"))

    assert address["NAME"] == "shop"
    assert address["OPTIONS"] == {"host": str(postgres.socket_folder)}
    assert len(str(postgres.socket_folder / SOCKET_NAME).encode()) <= LONGEST_SOCKET_PATH


def test_asking_for_the_url_touches_nothing(tmp_path: Path) -> None:
    postgres = EmbeddedPostgres(tmp_path / "pg")
    postgres.url("shop")

    assert list(tmp_path.iterdir()) == []
    assert not postgres.is_running()


def test_the_address_is_the_same_for_every_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / ("long" * 30)
    before = EmbeddedPostgres(folder).url("shop")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)

    assert before == EmbeddedPostgres(Path("long" * 30)).url("shop")
