"""What a peer may rely on: an acknowledged image is on the disk and in the database, and strangers cannot spoil it."""

from __future__ import annotations

import shutil
import socket
import ssl
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from pydicom.dataset import FileDataset
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom.ae import ApplicationEntity

from eenet_gateway.config.settings import Peer, Receiver, ServerTls
from eenet_gateway.receive.receiver import ReceivingPort
from eenet_gateway.store.database import Database
from eenet_gateway.store.folders import Folders
from eenet_gateway.store.images import Standing, images_of
from eenet_gateway.store.results import ResultFile, record_results
from eenet_gateway.store.states import State
from eenet_gateway.store.studies import known_study, studies_in
from tests.dicom_studies import SIX_SERIES, FakeSeries, datasets
from tests.gateway.places import echo_seconds, free_port, send

PACS = Peer("PACS", ("127.0.0.1",))


class Site:
    """A receiver of its own, and what it stored."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folders = Folders(folder)
        self.folders.make()
        self.db = Database(self.folders.database)
        self.port = port

    def only_study(self) -> str:
        (row,) = studies_in(self.db, *State)
        return row.key

    def counter(self, name: str) -> int:
        return int(self.db.value("SELECT value FROM counter WHERE name = ?", name) or 0)


@contextmanager
def receiving(folder: Path, tls: ServerTls | None = None, least_free: int = 0, **changes: int) -> Iterator[Site]:
    site = Site(folder / "data", free_port())
    settings = Receiver(port=site.port, tls=tls, **changes)  # type: ignore[arg-type]
    port = ReceivingPort(settings, (PACS,), site.db, site.folders, least_free)
    port.start()
    try:
        yield site
    finally:
        port.stop()
        site.db.close()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with receiving(tmp_path) as found:
        yield found


@pytest.fixture
def images() -> list[FileDataset]:
    return datasets(FakeSeries(shape=(3, 10, 12)))


def test_an_acknowledged_image_is_on_the_disk_byte_for_byte_and_in_the_database(
    site: Site, images: list[FileDataset]
) -> None:
    assert send(site.port, images) == [0, 0, 0]
    key = site.only_study()
    rows = images_of(site.db, key)
    assert [row.sop_uid for row in rows] == sorted(str(one.SOPInstanceUID) for one in images)
    for row in rows:
        stored = site.folders.image(key, row.sha256).read_bytes()
        assert any(one.PixelData in stored for one in images)
    assert not list(site.folders.incoming.iterdir())


def test_no_name_of_a_file_or_folder_comes_from_a_header(site: Site, images: list[FileDataset]) -> None:
    send(site.port, images)
    names = {path.name for path in site.folders.data.rglob("*")}
    for one in images:
        assert not any(str(uid) in name for name in names for uid in (one.StudyInstanceUID, one.SOPInstanceUID))


def test_an_image_sent_again_is_success_and_changes_nothing(site: Site, images: list[FileDataset]) -> None:
    send(site.port, images)
    before = known_study(site.db, site.only_study())
    assert send(site.port, images) == [0, 0, 0]
    assert known_study(site.db, site.only_study()) == before
    assert site.counter("images same") == 3


def test_other_bytes_under_a_known_uid_are_kept_beside_the_first_ones(site: Site, images: list[FileDataset]) -> None:
    send(site.port, images)
    images[0].PixelData = bytes(len(images[0].PixelData))
    assert send(site.port, images[:1]) == [0]
    key = site.only_study()
    standings = [row.standing for row in images_of(site.db, key) if row.sop_uid == images[0].SOPInstanceUID]
    assert sorted(standings) == [Standing.CONFLICT, Standing.USED]
    assert len(list(site.folders.studies.rglob("*.dcm"))) == 3
    assert len(list(site.folders.aside.rglob("*.dcm"))) == 1


def test_objects_that_are_no_mr_images_are_accepted_counted_and_dropped(site: Site, images: list[FileDataset]) -> None:
    for one, sop_class in zip(
        images, ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.2", "1.3.12.2.1107.5.9.1"), strict=True
    ):
        one.SOPClassUID = one.file_meta.MediaStorageSOPClassUID = UID(sop_class)
    assert send(site.port, images) == [0, 0, 0]
    assert site.counter("other objects dropped") == 3
    assert studies_in(site.db, *State) == []


def test_an_own_result_that_comes_back_is_dropped_and_its_study_stays_as_it_is(
    site: Site, images: list[FileDataset]
) -> None:
    send(site.port, images[:1])
    row = known_study(site.db, site.only_study())
    own = images[2]
    own.SOPClassUID = own.file_meta.MediaStorageSOPClassUID = UID("1.2.840.10008.5.1.4.1.1.66.4")
    with site.db.transaction():
        record_results(site.db, row, [ResultFile("seg", "a", str(own.SOPInstanceUID), "1", "1", "")], {}, 0.0)
    assert send(site.port, [own]) == [0]
    assert site.counter("own results returned") == 1
    assert known_study(site.db, row.key) == row


def test_a_dataset_that_is_not_what_the_request_says_is_refused(site: Site, images: list[FileDataset]) -> None:
    assert _send_raw(site.port, images[0], sop_uid="1.2.3.4") == 0xA900


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_an_identifier_that_is_a_path_is_refused(site: Site, images: list[FileDataset]) -> None:
    images[0].StudyInstanceUID = UID("../../outside")
    assert send(site.port, images[:1]) == [0xC000]
    assert not list(site.folders.data.rglob("*.dcm"))


def test_uncompressed_is_taken_where_it_is_offered_and_deflate_never_used(
    site: Site, images: list[FileDataset]
) -> None:
    entity = ApplicationEntity("PACS")
    offered = [DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRLittleEndian]
    entity.add_requested_context(images[0].SOPClassUID, offered)
    association = entity.associate("127.0.0.1", site.port, ae_title="EENET")
    assert [str(one.transfer_syntax[0]) for one in association.accepted_contexts] == [ExplicitVRLittleEndian]
    association.release()


def test_a_full_disk_is_a700_and_leaves_nothing_and_goes_on_when_there_is_room(
    tmp_path: Path, images: list[FileDataset]
) -> None:
    with receiving(tmp_path, least_free=1 << 60) as site:
        assert send(site.port, images) == [0xA700] * 3
        assert not list(site.folders.data.rglob("*.dcm"))
        assert studies_in(site.db, *State) == []
        assert echo_seconds(site.port) < 1


def test_a_disk_that_fails_while_it_is_written_to_is_a700_and_leaves_no_part(
    site: Site, images: list[FileDataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("eenet_gateway.store.folders.os.fsync", no_room)
    assert send(site.port, images) == [0xA700] * 3
    monkeypatch.undo()
    assert not list(site.folders.data.rglob("*.part"))
    assert not list(site.folders.data.rglob("*.dcm"))
    assert send(site.port, images) == [0, 0, 0]


@pytest.mark.parametrize(("calling", "called"), [("STRANGER", "EENET"), ("PACS", "OTHER")])
def test_a_wrong_ae_title_is_rejected(site: Site, calling: str, called: str) -> None:
    entity = ApplicationEntity(calling)
    entity.add_requested_context("1.2.840.10008.1.1")
    association = entity.associate("127.0.0.1", site.port, ae_title=called)
    assert association.is_rejected
    assert echo_seconds(site.port) < 1


def test_an_address_that_is_not_a_peers_is_not_even_answered(tmp_path: Path) -> None:
    site = Site(tmp_path / "data", free_port())
    far = Peer("PACS", ("10.0.0.0/8",))
    port = ReceivingPort(Receiver(port=site.port), (far,), site.db, site.folders, 0)
    port.start()
    try:
        with socket.create_connection(("127.0.0.1", site.port)) as stranger:
            stranger.settimeout(5)
            assert stranger.recv(1) == b""
    finally:
        port.stop()
        site.db.close()


def test_silent_peers_keep_nobody_out(site: Site) -> None:
    silent = [socket.create_connection(("127.0.0.1", site.port)) for _ in range(8)]
    assert echo_seconds(site.port) < 1
    for one in silent:
        one.close()


def test_one_address_has_so_many_connections_and_no_more(tmp_path: Path) -> None:
    with receiving(tmp_path, per_address=3) as site:
        silent = [socket.create_connection(("127.0.0.1", site.port)) for _ in range(3)]
        with socket.create_connection(("127.0.0.1", site.port)) as fourth:
            # Connections are taken in their order; a busy machine takes its time, and may reset what it closes.
            fourth.settimeout(60)
            with suppress(ConnectionError):
                assert fourth.recv(1) == b""
        for one in silent:
            one.close()


@pytest.mark.parametrize("kind", [1, 4])
def test_a_pdu_of_4_gb_is_refused_by_its_length(site: Site, kind: int) -> None:
    with socket.create_connection(("127.0.0.1", site.port)) as greedy:
        greedy.settimeout(5)
        greedy.sendall(struct.pack(">BBL", kind, 0, 0xFFFF_FFF0))
        assert _is_closed(greedy)
    assert echo_seconds(site.port) < 1


def _is_closed(connection: socket.socket) -> bool:
    """Whether the other side ended the connection, or ends it within seconds."""
    try:
        for _ in range(64):
            connection.sendall(bytes(1 << 16))
            time.sleep(0.01)
        return connection.recv(1) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


@pytest.mark.parametrize("text", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01\x02\x00" + bytes(512), b"\x01"])
def test_garbage_at_the_port_is_somebody_elses_problem(site: Site, text: bytes) -> None:
    with socket.create_connection(("127.0.0.1", site.port)) as other:
        other.sendall(text)
        assert echo_seconds(site.port) < 1


def test_an_object_larger_than_allowed_ends_its_association(tmp_path: Path) -> None:
    large = datasets(FakeSeries(shape=(1, 1024, 1024)))
    with receiving(tmp_path, instance_mb=1) as site:
        assert send(site.port, large) == [-1]
        assert studies_in(site.db, *State) == []


def test_four_associations_at_a_time_lose_nothing(tmp_path: Path) -> None:
    with receiving(tmp_path) as site:
        groups = [datasets(series.changed(study=7)) for series in SIX_SERIES[1:5]]
        answers: list[int] = []
        threads = [
            threading.Thread(target=lambda group=group: answers.extend(send(site.port, group))) for group in groups
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert answers == [0] * 80
        assert len(images_of(site.db, site.only_study())) == 80


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An authority, and a certificate and key signed by it for `gateway` and `pacs`."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl")
    folder = tmp_path_factory.mktemp("certificates")

    def run(*words: str) -> None:
        subprocess.run([openssl, *words], cwd=folder, check=True, capture_output=True)

    new = ("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    run(*new, "-x509", "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=authority", "-days", "2")
    for name in ("gateway", "pacs"):
        run(*new, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        run("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
            "-out", f"{name}.pem", "-days", "2")  # fmt: skip
    return folder


def _client(certificates: Path, certificate: bool) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(certificates / "ca.pem"))
    context.check_hostname = False
    if certificate:
        context.load_cert_chain(certificates / "pacs.pem", certificates / "pacs.key")
    return context


def _echo_by_tls(port: int, context: ssl.SSLContext | None) -> bool:
    entity = ApplicationEntity("PACS")
    entity.add_requested_context("1.2.840.10008.1.1")
    entity.acse_timeout = entity.network_timeout = 5
    arguments = None if context is None else (context, "gateway")
    association = entity.associate("127.0.0.1", port, ae_title="EENET", tls_args=arguments)
    answered = association.is_established and association.send_c_echo().Status == 0
    association.release() if association.is_established else association.abort()
    return answered


def test_with_an_authority_only_peers_with_its_certificate_are_served(tmp_path: Path, certificates: Path) -> None:
    tls = ServerTls(certificates / "gateway.pem", certificates / "gateway.key", certificates / "ca.pem")
    with receiving(tmp_path, tls) as site:
        silent = [socket.create_connection(("127.0.0.1", site.port)) for _ in range(3)]
        start = time.perf_counter()
        assert _echo_by_tls(site.port, _client(certificates, certificate=True))
        assert time.perf_counter() - start < 1
        assert not _echo_by_tls(site.port, _client(certificates, certificate=False))
        assert not _echo_by_tls(site.port, None)
        for one in silent:
            one.close()


def _send_raw(port: int, dataset: FileDataset, sop_uid: str) -> int:
    """Send a dataset under another SOP Instance UID than its own."""
    entity = ApplicationEntity("PACS")
    entity.add_requested_context(dataset.SOPClassUID, dataset.file_meta.TransferSyntaxUID)
    association = entity.associate("127.0.0.1", port, ae_title="EENET")
    own = dataset.SOPInstanceUID
    original = association.dimse.send_msg

    def lie(primitive: object, context_id: int) -> None:
        if getattr(primitive, "AffectedSOPInstanceUID", None) == own:
            primitive.AffectedSOPInstanceUID = sop_uid  # type: ignore[attr-defined]
        original(primitive, context_id)  # type: ignore[arg-type]

    setattr(association.dimse, "send_msg", lie)  # noqa: B010
    answer = association.send_c_store(dataset)
    association.release()
    return int(answer.Status)
