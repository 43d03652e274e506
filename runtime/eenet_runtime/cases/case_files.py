"""Which files make up a case: names, channels and label schemes, without an option.

The layouts are those of docs/data.md. A modality word is matched as a whole token, case-insensitively, so `t1` never
swallows `t1ce`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from eenet_runtime.files.nifti import nifti_stem
from eenet_runtime.volumes.labels import BRATS2020, BRATS2023, LabelScheme, Modality

MODALITY_WORDS: Final[Mapping[str, Modality]] = {
    **dict.fromkeys(("t1", "t1n", "t1w"), Modality.T1),
    **dict.fromkeys(("t1ce", "t1c", "t1gd", "t1gad", "t1post"), Modality.T1CE),
    **dict.fromkeys(("t2", "t2w"), Modality.T2),
    **dict.fromkeys(("flair", "t2f", "t2flair"), Modality.FLAIR),
}
"""Every spelling of a modality that data sets use, in lower case."""

_LABEL_WORDS: Final = frozenset({"seg", "segm", "segmentation"})
_WORDS_OF_2023: Final = frozenset({"t1n", "t2f"})
"""Words that came with BraTS 2023. Its other two, `t1c` and `t2w`, are older and stand in names of every year."""

_SEPARATORS: Final = re.compile(r"[_\-. ]+")


@dataclass(frozen=True)
class ImageSource:
    """Where one modality's voxels are.

    Attributes:
        path: the file.
        channel: index along the fourth axis of a 4D file, None for a 3D file.
    """

    path: Path
    channel: int | None = None


@dataclass(frozen=True)
class CaseFiles:
    """The files of one case.

    Attributes:
        case_id: its name, used for the names of results.
        images: one source for each modality that is there; a case lacks one only where its finder was told that it
            may (see `missing_modality`).
        scheme: how label files of this case write the classes.
        label: the label volume, where there is one.
    """

    case_id: str
    images: Mapping[Modality, ImageSource]
    scheme: LabelScheme
    label: Path | None = None

    @property
    def paths(self) -> tuple[Path, ...]:
        """Every file of the case, its label last, each once."""
        label = () if self.label is None else (self.label,)
        return tuple(dict.fromkeys((*(source.path for source in self.images.values()), *label)))

    @property
    def missing(self) -> tuple[Modality, ...]:
        """The modalities that the case lacks, in channel order."""
        return tuple(modality for modality in Modality if modality not in self.images)


@dataclass(frozen=True)
class NameParts:
    """What a file name says.

    Attributes:
        case_id: the name without the word for the role.
        word: the role's word as written, in lower case; empty if there is none.
    """

    case_id: str
    word: str

    @property
    def modality(self) -> Modality | None:
        """The modality that the word names, None for a label or an unknown role."""
        return MODALITY_WORDS.get(self.word)

    @property
    def is_label(self) -> bool:
        """Whether the word names a label volume."""
        return self.word in _LABEL_WORDS


def split_name(path: Path) -> NameParts:
    """Split a file name into the case and the role.

    The last token that is a modality or label word gives the role; the tokens before it are the case. A name with
    no such token is a case with an unknown role.
    """
    stem = nifti_stem(path)
    tokens = [(match.start(), match.end()) for match in re.finditer(r"[^_\-. ]+", stem)]
    for start, end in reversed(tokens):
        word = stem[start:end].lower()
        if word in MODALITY_WORDS or word in _LABEL_WORDS:
            case_id = _SEPARATORS.sub("_", stem[:start] + stem[end:]).strip("_") if stem[end:] else stem[:start]
            return NameParts(case_id.rstrip("_-. "), word)
    return NameParts(stem, "")


def scheme_of_words(words: set[str]) -> LabelScheme:
    """The label scheme that goes with a way of naming: BraTS 2023's where a word is its own, else BraTS 2020's."""
    return BRATS2023 if words & _WORDS_OF_2023 else BRATS2020


def case_from_paths(case_id: str, paths: Mapping[Modality, Path]) -> CaseFiles:
    """A case from files that the caller names; the label scheme follows from how they are named.

    A modality that is left out is missing. Whoever reads the case decides whether that is allowed.
    """
    words = {split_name(path).word for path in paths.values()}
    images = {modality: ImageSource(paths[modality]) for modality in Modality if modality in paths}
    return CaseFiles(case_id, images, scheme_of_words(words))
