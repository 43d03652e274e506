"""A disk that is really full: 20 MB, and a peer that has more."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from eenet_gateway.store.images import images_of
from eenet_gateway.store.states import State
from eenet_gateway.store.studies import studies_in
from tests.dicom_studies import FakeSeries, datasets
from tests.gateway.places import echo_seconds, send
from tests.gateway.receive.test_receiving import receiving


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a disk of 20 MB of its own."""
    mount = shutil.which("mount")
    place = tmp_path / "disk"
    place.mkdir()
    options = ("-t", "tmpfs", "-o", "size=20m", "none", str(place))
    if mount is None or subprocess.run([mount, *options], capture_output=True, check=False).returncode != 0:
        pytest.skip("no right to mount a disk")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def test_a_full_disk_is_told_leaves_nothing_half_and_takes_images_again_when_there_is_room(small_disk: Path) -> None:
    images = datasets(FakeSeries(shape=(40, 512, 1024)))
    with receiving(small_disk) as site:
        filler = site.folders.data / "filler"
        filler.write_bytes(bytes(8 << 20))
        answers = send(site.port, images)
        stored = answers.count(0)
        assert set(answers) == {0, 0xA700}
        assert echo_seconds(site.port) < 1
        assert not list(site.folders.data.rglob("*.part"))
        files = {path.stem for path in site.folders.studies.rglob("*.dcm")}
        (row,) = studies_in(site.db, *State)
        assert files == {image.sha256 for image in images_of(site.db, row.key)}
        assert len(files) == stored
        filler.unlink()
        refused = [image for image, answer in zip(images, answers, strict=True) if answer][:3]
        assert send(site.port, refused) == [0, 0, 0]
