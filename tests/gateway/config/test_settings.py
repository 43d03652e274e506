"""One TOML file, and one plain line for each mistake in it."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from eenet_gateway.config.example import example_configuration
from eenet_gateway.config.reading import mistakes_in, read_settings
from eenet_gateway.config.settings import Delivery, Disk, Page, Readiness, Settings, Worker
from eenet_runtime.errors import GatewayError

LEAST = """
data = "data"
model.bundle = "model"
destinations = [{name = "pacs", ae_title = "PACS", host = "127.0.0.1", port = 4242}]
receiver.anyone = true
"""


def _written(folder: Path, text: str) -> Path:
    path = folder / "gateway.toml"
    path.write_text(text)
    return path


def test_the_example_is_a_configuration(tmp_path: Path) -> None:
    settings = read_settings(_written(tmp_path, example_configuration()))
    assert settings.peers[0].ae_title == "PACS"


def test_the_example_names_every_setting_with_its_default(tmp_path: Path) -> None:
    text = example_configuration()
    settings = read_settings(_written(tmp_path, re.sub(r"^# (?=\[|\w+ = )", "", text, flags=re.MULTILINE)))
    missing: list[str] = []
    for part in dataclasses.fields(Settings):
        value = getattr(settings, part.name)
        assert f"{part.name}" in text
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            missing += [f.name for f in dataclasses.fields(value) if f"{f.name} = " not in text and f.name != "tls"]
    assert missing == ["precision"]
    parts = (settings.readiness, settings.worker, settings.delivery, settings.disk, settings.page)
    assert parts == (Readiness(), Worker(), Delivery(), Disk(), Page())


def test_relative_paths_lie_below_the_files_folder(tmp_path: Path) -> None:
    settings = read_settings(_written(tmp_path, LEAST))
    assert settings.data == tmp_path / "data"
    assert settings.model.bundle == tmp_path / "model"


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ("receiver.port = 70000", "receiver.port: 70000 found: input should be less than or equal to 65535"),
        ("receiver.colour = 1", "receiver.colour: no such setting"),
        ("colour = 1", "colour: no such setting"),
        ("receiver.ae_title = 'A NAME OF SEVENTEEN'", "receiver.ae_title: 'A NAME OF SEVENTEEN' found: expected 1 to"),
        (
            "peers = [{ae_title = 'A', addresses = ['1.2.3']}]",
            "peers.0.addresses.0: '1.2.3' found: expected an address",
        ),
        ("peers = [{ae_title = 'A', addresses = ['::1']}]", "receiver.anyone: true, and yet there are [[peers]]"),
        ("readiness.series_quiet_s = 500", "readiness: expected series_quiet_s <= study_quiet_s <= give_up_s"),
        ("worker.attempts = 'many'", "worker.attempts: 'many' found: input should be a valid integer"),
        ("log = 'xml'", "log: 'xml' found: input should be 'text' or 'json'"),
    ],
)
def test_a_mistake_is_one_line_that_says_where_and_what(tmp_path: Path, change: str, line: str) -> None:
    path = _written(tmp_path, LEAST + change)
    mistakes = mistakes_in(path)
    assert len(mistakes) == 1
    assert mistakes[0].startswith(f"{path}: {line}")
    with pytest.raises(GatewayError, match=r"gateway\.toml"):
        read_settings(path)


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    path = _written(tmp_path, "receiver.port = 0\nworker.attempts = 0")
    assert len(mistakes_in(path)) == 5  # data, model and destinations are missing, too


def test_nobody_may_send_unless_it_says_who(tmp_path: Path) -> None:
    path = _written(tmp_path, LEAST.replace("receiver.anyone = true", ""))
    assert "nobody may send" in mistakes_in(path)[0]


def test_two_destinations_of_one_name_are_refused(tmp_path: Path) -> None:
    one = '{name = "pacs", ae_title = "PACS", host = "127.0.0.1", port = 4242}'
    path = _written(tmp_path, LEAST.replace(one, f"{one}, {one}"))
    assert mistakes_in(path) == [f"{path}: destinations: pacs is there twice"]


def test_a_file_that_is_no_toml_is_refused_in_one_line(tmp_path: Path) -> None:
    assert "no TOML" in mistakes_in(_written(tmp_path, "= 3"))[0]
    assert "cannot be read" in mistakes_in(tmp_path / "missing.toml")[0]
