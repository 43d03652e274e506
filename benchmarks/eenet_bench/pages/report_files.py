"""A report in its forms, as files of one name in one folder."""

from __future__ import annotations

from pathlib import Path

from eenet_runtime.files.atomic import make_output_folder, write_atomically


def write_forms(folder: Path, name: str, **forms: str | bytes) -> None:
    """Write a report's forms.

    Args:
        folder: where; made if it is not there.
        name: the files' name.
        forms: contents by the files' ending, such as `md` or `png`, in the order in which they are written.

    Raises:
        OutputError: the folder cannot be made or a file not be written.
    """
    make_output_folder(folder)
    for ending, content in forms.items():
        write_atomically(folder / f"{name}.{ending}", content.encode() if isinstance(content, str) else content)
