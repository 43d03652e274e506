"""The command line of the gateway."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from eenet_gateway.cli import app
from eenet_gateway.config.example import example_configuration
from eenet_gateway.config.reading import read_settings
from eenet_gateway.process.parent import die_with_parent
from eenet_gateway.store.database import Database
from eenet_gateway.store.folders import Folders
from eenet_gateway.store.images import Arrival, ReceivedImage, record_image
from eenet_gateway.store.states import Happening, State
from eenet_gateway.store.studies import known_study, step
from eenet_runtime.errors import GatewayError
from tests.gateway.places import free_port


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "gateway.toml"
    text = example_configuration().replace("port = 4242", f"port = {free_port()}")
    path.write_text(text.replace("port = 11112", f"port = {free_port()}"))
    return path


@pytest.fixture
def held(config: Path) -> Iterator[tuple[Database, str]]:
    """A store with one study that is held."""
    folders = Folders(read_settings(config).data)
    folders.make()
    with Database(folders.database) as db:
        key = record_image(db, ReceivedImage("1.2.3", "1.2.3.4", "1.2.3.4.5", "aa", 10, "PACS"), Arrival.NEW, 1000.0)
        with db.transaction():
            step(db, key, Happening.UNCLEAR, 1001.0, "flair: missing", reason="flair: missing")
        yield db, key


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def test_the_example_configuration_is_printed_as_it_is() -> None:
    assert run("export-config").output == example_configuration()


def test_status_shows_states_and_reasons(config: Path, held: tuple[Database, str]) -> None:
    shown = run("status", "--config", config).output
    assert "held 1" in shown
    assert f"{held[1]} held: flair: missing" in shown
    assert json.loads(run("status", "--json", "--config", config).output)["studies"]["held"] == 1


def test_a_study_is_shown_by_its_uid_or_key_and_without_its_uid(config: Path, held: tuple[Database, str]) -> None:
    for name in ("1.2.3", held[1][:8]):
        shown = run("study", name, "--config", config).output
        assert "receiving -> held: unclear flair: missing" in shown
        assert "1.2.3" not in shown


def test_release_takes_series_that_were_chosen_by_hand(config: Path, held: tuple[Database, str]) -> None:
    db, key = held
    done = run("release", "1.2.3", "--choose", "flair=7", "--config", config)
    assert done.output == "1.2.3: receiving\n"
    assert known_study(db, key).choices == {"flair": "7"}


def test_a_choice_that_is_none_is_told(config: Path, held: tuple[Database, str]) -> None:
    done = run("release", "1.2.3", "--choose", "swi=7", "--config", config)
    assert isinstance(done.exception, GatewayError)
    assert str(done.exception) == "--choose swi=7: expected one of t1, t1ce, t2, flair, then = and a series"


def test_drop_and_retry(config: Path, held: tuple[Database, str]) -> None:
    db, key = held
    assert run("drop", key, "--config", config).output == f"{key}: ignored\n"
    assert known_study(db, key).state is State.IGNORED
    assert run("retry", key, "--config", config).output == f"{key}: receiving\n"


def test_without_a_database_it_says_so(config: Path) -> None:
    done = run("status", "--config", config)
    assert "no such database" in str(done.exception)


def test_check_names_everything_that_is_wrong_and_goes_on(config: Path) -> None:
    done = run("check", "--config", config)
    assert done.exit_code == 2
    lines = done.output.splitlines()
    assert [line[:5] for line in lines] == ["good ", "good ", "good ", "wrong", "wrong"]
    assert re.search(r"model: .*eenet-fast-phantom", lines[3])
    assert lines[4].endswith("no association")


def test_check_of_a_bad_file_is_one_line_for_each_mistake(tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text("receiver.port = 0\nworker.attempts = 0")
    done = run("check", "--config", path)
    assert (done.exit_code, len(done.output.splitlines())) == (2, 5)


def test_an_unreachable_destination_is_told_by_echo(config: Path) -> None:
    done = run("echo", "--config", config)
    assert (done.exit_code, done.output) == (2, "pacs: no association\n")


def test_the_unit_limits_memory_and_rights_and_names_the_data_folder(config: Path) -> None:
    unit = run("install-unit", "--config", config, "--user", "radiology").output
    for line in (
        f"ReadWritePaths={read_settings(config).data}", "User=radiology", "MemoryMax=18000M", "ProtectSystem=strict",
        "NoNewPrivileges=yes", "LimitCORE=0", f"serve --config {config}", "Restart=always",
    ):  # fmt: skip
        assert line in unit


def test_a_child_whose_parent_is_gone_already_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[int] = []
    monkeypatch.setattr("eenet_gateway.process.parent.os._exit", ended.append)
    monkeypatch.setattr("eenet_gateway.process.parent.ctypes.CDLL", lambda *_, **__: _Quiet())
    die_with_parent(-1)
    assert ended == [1]


class _Quiet:
    def prctl(self, *_: object) -> int:
        return 0
