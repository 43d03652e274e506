"""Where a bundle is made: a folder beside its final place, in which a killed export finds what it had finished."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from eenet_runtime.errors import EENetError, ExportError, OutputError
from eenet_runtime.files.atomic import make_output_folder, open_for_replace, write_atomically

_FINGERPRINT: Final = "fingerprint"


class Workshop:
    """Steps of one export, each done once.

    A step's result is kept under its name. After a kill, or Ctrl-C, the same export (the same fingerprint) goes on
    with the first step that is not there; another one starts anew. An export that is refused leaves nothing.

    Args:
        output: the final folder; it must not exist.
        fingerprint: tells one export from another: hashes of what goes in, settings, versions.

    Raises:
        ExportError: `output` exists.
        OutputError: the folder cannot be made.
    """

    def __init__(self, output: Path, fingerprint: str) -> None:
        if output.exists():
            raise ExportError(f"{output}: exists already; choose a new folder or remove it")
        self.output = output
        self.root = output.with_name(f".{output.name}.unfinished")
        self.bundle = self.root / "bundle"
        self._steps = self.root / "steps"
        kept = self.root / _FINGERPRINT
        try:
            # Steps without a bundle: the export was finished, and killed before it had cleaned up.
            same = kept.is_file() and kept.read_text(encoding="utf-8") == fingerprint and self.bundle.is_dir()
            if not same:
                shutil.rmtree(self.root, ignore_errors=True)
            for folder in (output.parent, self.root, self.bundle, self._steps):
                make_output_folder(folder)
            write_atomically(kept, fingerprint.encode())
        except OSError as error:
            raise OutputError(f"{self.root}: cannot be written ({error.strerror or error})") from error

    def step(self, name: str, make: Callable[[], Any], makes: Path | None = None) -> Any:
        """The result of a step, as plain data: kept, or made now.

        Args:
            name: of the step; unique in the export.
            makes: a file that the step leaves in `bundle`; without it the step counts as not done.
            make: does the work and returns what JSON can hold. Files that it writes into `bundle` must be complete
                when it returns.
        """
        path = self._steps / f"{name}.json"
        if not path.is_file() or not (makes is None or makes.is_file()):
            write_atomically(path, json.dumps(make()).encode())
        return json.loads(path.read_text(encoding="utf-8"))

    def array(self, name: str, make: Callable[[], NDArray[np.float32]]) -> NDArray[np.float32]:
        """The same for a large array; it is gone when the bundle has its name."""
        path = self._steps / f"{name}.npy"
        if not path.is_file():
            values = make()
            with open_for_replace(path) as temporary, temporary.open("wb") as stream:
                np.save(stream, values)
        loaded: NDArray[np.float32] = np.load(path)
        return loaded

    def finish(self) -> None:
        """Give the bundle its name.

        Raises:
            OutputError: it cannot be renamed.
        """
        try:
            self.bundle.replace(self.output)
        except OSError as error:
            raise OutputError(f"{self.output}: the bundle cannot be written ({error.strerror or error})") from error
        shutil.rmtree(self.root, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, EENetError):
            shutil.rmtree(self.root, ignore_errors=True)
