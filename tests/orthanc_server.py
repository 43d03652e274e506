"""An Orthanc of a test's own: a real PACS on ports of its own, stopped whatever happens.

with OrthancServer(tmp_path) as pacs:
    pacs.store(folder)
    files = pacs.files()
"""

from __future__ import annotations

import ctypes
import json
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

from tests.debian_parts import require

AE_TITLE: Final = "TESTPACS"
_START_SECONDS: Final = 60.0
_ANSWER_SECONDS: Final = 60.0
_PR_SET_PDEATHSIG: Final = 1
_DICOM_WEB: Final = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


class OrthancServer:
    """Started on entering, with an empty database in a folder; what it logs lies there in `orthanc.log`.

    Attributes:
        dicom_port, http_port: where it listens.
    """

    def __init__(
        self,
        folder: Path,
        *,
        modalities: Mapping[str, tuple[str, int]] | None = None,
        scripts: Sequence[Path] = (),
        dicom_web: bool = False,
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        """Say what it will be.

        Args:
            folder: for its database, configuration and log.
            modalities: name -> (AE title, port on this machine) of whom it may send to.
            scripts: in Lua, which it runs.
            dicom_web: whether QIDO, WADO and STOW are answered under `/dicom-web`.
            settings: of Orthanc's configuration, over these.
        """
        self._program = require("Orthanc", "orthanc")
        if dicom_web and not _DICOM_WEB.exists():
            require(str(_DICOM_WEB), "orthanc-dicomweb")
        self._folder = folder
        self._modalities = dict(modalities or {})
        self._scripts = [str(script) for script in scripts]
        self._plugins = [str(_DICOM_WEB)] if dicom_web else []
        self._settings = dict(settings or {})
        self.dicom_port = self.http_port = 0

    def __enter__(self) -> Self:
        """Start it and wait until it answers; other ports are tried where somebody else took those that were free."""
        for _ in range(3):
            self.dicom_port, self.http_port = free_ports(2)
            if self._start():
                return self
        raise RuntimeError(f"Orthanc does not start:\n{self.log()[-2000:]}")

    def __exit__(self, *_: object) -> None:
        """Stop it."""
        self._stop()

    @property
    def url(self) -> str:
        """Of its REST interface."""
        return f"http://127.0.0.1:{self.http_port}"

    def get(self, path: str) -> Any:
        """What it answers, as JSON."""
        return json.loads(self.get_bytes(path))

    def get_bytes(self, path: str) -> bytes:
        """What it answers."""
        with urllib.request.urlopen(self.url + path, timeout=_ANSWER_SECONDS) as answer:
            return bytes(answer.read())

    def post(self, path: str, content: bytes | Mapping[str, Any] | Sequence[Any] | str) -> Any:
        """Post bytes as they are, or anything else as JSON; what it answers as JSON."""
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        request = urllib.request.Request(self.url + path, data=body, method="POST")
        with urllib.request.urlopen(request, timeout=_ANSWER_SECONDS) as answer:
            return json.loads(answer.read() or b"null")

    def store(self, folder: Path) -> None:
        """Store every file of a folder tree, or one file."""
        for path in [folder] if folder.is_file() else sorted(p for p in folder.rglob("*") if p.is_file()):
            self.post("/instances", path.read_bytes())

    def files(self, **tags: str) -> list[bytes]:
        """The files that it holds, those with these values of tags (`Modality="SEG"`) where any are given."""
        found = self.post("/tools/find", {"Level": "Instance", "Query": tags})
        return [self.get_bytes(f"/instances/{identity}/file") for identity in sorted(found)]

    def log(self) -> str:
        """What it has logged so far."""
        path = self._folder / "orthanc.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def _start(self) -> bool:
        configuration = {
            "Name": AE_TITLE,
            "StorageDirectory": str(self._folder / "database"),
            "IndexDirectory": str(self._folder / "database"),
            "Plugins": self._plugins,
            "LuaScripts": self._scripts,
            "HttpPort": self.http_port,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "DicomAet": AE_TITLE,
            "DicomPort": self.dicom_port,
            "DicomCheckCalledAet": True,
            # Debian's knows no Label Map Segmentation by name.
            "UnknownSopClassAccepted": True,
            "DicomAlwaysAllowFind": True,
            "DicomAlwaysAllowMove": True,
            "OverwriteInstances": False,
            "StableAge": 2,
            "DicomWeb": {"Enable": bool(self._plugins)},
            "DicomModalities": {
                name: {"AET": title, "Host": "127.0.0.1", "Port": port}
                for name, (title, port) in self._modalities.items()
            },
            **self._settings,
        }
        path = self._folder / "orthanc.json"
        path.write_text(json.dumps(configuration))
        with (self._folder / "orthanc.log").open("wb") as log:
            self._process = subprocess.Popen(
                [self._program, str(path)], stdout=log, stderr=log, stdin=subprocess.DEVNULL, preexec_fn=die_with_parent
            )
        end = time.monotonic() + _START_SECONDS
        while time.monotonic() < end and self._process.poll() is None:
            try:
                self.get("/system")
                return True
            except (urllib.error.URLError, OSError):
                time.sleep(0.05)
        self._stop()
        return False

    def _stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def free_ports(count: int) -> list[int]:
    """Ports of the loopback that nobody uses now."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in held]
    for one in held:
        one.close()
    return ports


def die_with_parent() -> None:
    """For `preexec_fn`: the kernel ends this process when the test's ends, even if that is killed."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
