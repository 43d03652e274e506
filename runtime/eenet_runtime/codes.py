"""Every reason for which a case is refused, or warned about, by a stable code: what it means and what to do.

Sentences name files and figures and may be worded anew; codes never change their meaning, and none is used again for
another one. Whoever sorts ten thousand refusals sorts codes. docs/refusals.md is made from this file by
`python -m tests.architecture.refusals_table`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Effect(StrEnum):
    """What a code does to a case."""

    REFUSES = "refuses"
    WARNS = "warns"
    EITHER = "refuses or warns"
    """Of findings: how sure the rule is and the check policy decide."""


@dataclass(frozen=True)
class Reason:
    """One reason, in words and by its code.

    Attributes:
        code: a key of `CODES`.
        text: a plain sentence.
    """

    code: str
    text: str

    def __str__(self) -> str:
        return self.text


def in_brackets(code: str) -> str:
    """A code as it follows a sentence; nothing for none."""
    return f" [{code}]" if code else ""


@dataclass(frozen=True)
class Meaning:
    """What stands behind a code.

    Attributes:
        effect: what it does to the case.
        means: what is wrong.
        remedy: what to do.
    """

    effect: Effect
    means: str
    remedy: str


def _refuses(means: str, remedy: str) -> Meaning:
    return Meaning(Effect.REFUSES, means, remedy)


def _warns(means: str, remedy: str) -> Meaning:
    return Meaning(Effect.WARNS, means, remedy)


def _finding(means: str, remedy: str) -> Meaning:
    return Meaning(Effect.EITHER, means, remedy)


_COPY_AGAIN: Final = "Copy the file again from where it came, and compare its size or its hash."
_CONVERT_AGAIN: Final = "Convert the image again from its source; `dcm2niix` writes what is read here."
_LOOK: Final = "Look at the images. If they are right, `--warn` makes a warning of it."

SECTIONS: Final[Mapping[str, Mapping[str, Meaning]]] = {
    "Files": {
        "file-missing": _refuses(
            "A file is not there.", "See that it was copied, and is not taken away while a run goes."
        ),
        "broken-link": _refuses(
            "A link leads nowhere, or in a circle.", "Mend the link, or put the file itself there."
        ),
        "link-out": _refuses("A link leads out of the folder of cases.", "Put the file itself there, or a copy."),
        "not-a-file": _refuses(
            "A folder, a pipe, a socket or a device stands where an image should be.", "Put a regular file there."
        ),
        "unreadable-file": _refuses(
            "The system does not let a file be read.", "Look at its permissions and at the disk."
        ),
        "unreadable-folder": _refuses(
            "The system does not let a folder be listed.", "Look at its permissions and at the disk."
        ),
        "empty-file": _refuses("A file has no bytes.", _COPY_AGAIN),
        "changed-file": _refuses("A file was changed while it was read.", "Run the case again when it is complete."),
        "slow-file": _refuses("A file could not be read in time.", "Use a quicker or a less busy disk."),
        "too-large": _refuses(
            "A file or its voxels are more than a head MRI can have (docs/hostile-input.md).",
            "See whether it is a head MRI.",
        ),
        "too-little-memory": _refuses(
            "The voxels of an image do not fit into memory.", "Run fewer cases side by side, or take a larger machine."
        ),
        "damaged-gzip": _refuses("A gzip stream is damaged or ends too early.", _COPY_AGAIN),
        "gzip-ratio": _refuses(
            "A gzip stream has another size than an image of these voxels can have.", _CONVERT_AGAIN
        ),
        "truncated": _refuses("A file has fewer voxels than its header announces.", _COPY_AGAIN),
        "extra-bytes": _refuses("A file has more bytes than its header announces.", _CONVERT_AGAIN),
        "not-nifti": _refuses("A file is no NIfTI file.", _CONVERT_AGAIN),
        "nifti-pair": _refuses(
            "A pair of .hdr and .img is not complete, or what is named so is none.", "Give both halves, or one .nii.gz."
        ),
        "bad-header": _refuses("A field of the header makes no sense.", _CONVERT_AGAIN),
    },
    "Images": {
        "bad-input": _refuses(
            "What was given from Python is no image or no case.", "Give paths, nibabel images or `ImageArray`s."
        ),
        "voxel-type": _refuses(
            "Voxels are neither integers nor real numbers (colours, complex numbers).", "Give a grey image."
        ),
        "not-3d": _refuses("An image has not three axes.", "Give one 3D image for each modality."),
        "channel-count": _refuses(
            "A file has another number of channels than expected.",
            "Give one 3D image for each modality, or the 4D file that the dataset.json describes.",
        ),
        "image-size": _refuses("An image has too few voxels, or is longer than a head.", "See whether it is a head."),
        "bad-affine": _refuses(
            "The affine is missing or singular, or its values are no millimetres around a scanner.", _CONVERT_AGAIN
        ),
        "grid-mismatch": _refuses(
            "The images of a case do not lie on one grid.",
            "Register and resample them, or run with `--raw`, which does.",
        ),
        "not-finite": _refuses("Voxels are NaN or infinite.", "Write the image again with 0 as background."),
        "empty-image": _refuses("All voxels are 0.", _COPY_AGAIN),
        "intensity-range": _refuses("An intensity is absurdly large.", _CONVERT_AGAIN),
        "no-contrast": _refuses("All voxels, or all that are not 0, have one value.", "See whether it is an image."),
    },
    "Cases": {
        "missing-modality": _refuses(
            "A modality is missing.",
            "Add it; a model that was trained for it may go without one (`--allow-missing`).",
        ),
        "unknown-modality": _refuses("A name is none of a modality.", "Use a name of docs/data.md."),
        "modality-twice": _refuses("A modality or a channel is given twice.", "Keep one file for each."),
        "same-name": _refuses("Several cases have one name; none is done.", "Rename all but one."),
        "reserved-name": _refuses("The name is kept for results of the runs themselves.", "Rename the case."),
        "no-dataset-json": _refuses(
            "Numbered channels without a dataset.json that names them.", "Put the dataset.json beside or above them."
        ),
        "bad-dataset-json": _refuses(
            "The dataset.json cannot be read, or does not name the four modalities.", "Mend it (docs/data.md)."
        ),
        "unnamed-channel": _refuses("A channel has no name in the dataset.json.", "Name it, or take the file away."),
    },
    "Labels": {
        "no-label": _refuses("A case that needs a label has none.", "Add it."),
        "label-twice": _refuses("A case has two label files.", "Keep one."),
        "label-grid": _refuses("The label lies on another grid than the images.", "Resample it to their grid."),
        "label-values": _refuses("A label has values that its layout does not know.", "Name the scheme (`--labels`)."),
        "label-scheme": _refuses("Nothing tells how a file writes the classes.", "Say it with `--labels`."),
        "empty-label": _refuses("The label shows no tumour, where a training needs one.", "Leave the case out."),
        "no-mask": _refuses("A case to evaluate has no mask.", "Segment it first."),
    },
    "Contents of the images (docs/input-checks.md)": {
        "duplicate": _finding("Two images are the same.", "Give each modality its own image."),
        "label-volume": _finding("An image looks like a label.", "Give the image instead of the label."),
        "negative": _finding("An image has negative voxels.", "Give intensities with 0 as background."),
        "spikes": _finding("Few voxels are so bright that they rule the normalisation.", "Clip or repair them."),
        "uneven-slices": _finding("An image may have a bad slice.", _LOOK),
        "background": _finding("The background is not exactly 0.", "Strip the head, and write 0 outside."),
        "not-stripped": _finding("The skull is still there.", "Strip it, or run with `--raw`."),
        "head-size": _finding("The head has an unusual size or shape.", "Look at the voxel sizes and at the strip."),
        "coverage": _finding("An image shows only a part of the head.", _LOOK),
        "coarse-voxels": _finding("The voxels are coarse, and so is the mask.", "Nothing, if that is known."),
        "two-orientations": _finding(
            "The two orientations of a header contradict each other; the sform is used.", "Write the right one in both."
        ),
        "stripped-ct": _finding("An image may be a CT.", "Give the MRI."),
        "misaligned": _finding("The images may not be registered.", "Register them, or run with `--raw`."),
        "t2-exchanged": _finding("The T2 may be exchanged with another image.", _LOOK),
        "flair-exchanged": _finding("The FLAIR may be exchanged with another image.", _LOOK),
        "t1ce-exchanged": _finding("The T1ce may be exchanged with another image.", _LOOK),
    },
    "Raw heads (docs/raw-heads.md)": {
        "registration-starts": _finding("The starts of a registration ended in different places.", _LOOK),
        "registration-peak": _finding("A series does not lock into the T1ce: another patient's, or mirrored.", _LOOK),
        "registration-loop": _finding("The registrations disagree with each other.", _LOOK),
        "slab": _finding("A series shows only a slab of the head.", _LOOK),
        "turned-series": _finding("A series is turned far from where its header says it is.", _LOOK),
        "brain-volume": _finding("The brain mask has an unusual volume.", "Give a mask of your own (`--brain-mask`)."),
        "brain-shape": _finding("The brain mask has an unusual shape.", "Give a mask of your own (`--brain-mask`)."),
        "brain-border": _finding("The brain mask runs into the border of the image.", "Give the whole head."),
        "brain-agreement": _finding("The brain masks of T1 and T1ce disagree.", _LOOK),
        "template": _finding("The head does not fit the template.", _LOOK),
        "mixed-series": _finding("Some series are stripped, others are not.", "Give all as the scanner made them."),
        "far-apart": _refuses("Two grids lie absurdly far apart.", "See whether they are of one patient."),
        "no-brain": _refuses("No brain was found.", "See whether it is a head, from the vertex to its base."),
        "bad-brain-mask": _refuses("What was given as a brain mask is none of this head.", "Give the right mask."),
        "strip-command": _refuses("The command that strips did not work.", "Run it by hand on this case."),
        "as-given": _warns("Series came stripped and on one grid: nothing was done to them.", "Nothing."),
        "slow-registration": _warns(
            "Registered without the compiled package: slower, with the same result.", "Install `eenet-native`."
        ),
    },
    "DICOM (docs/dicom.md)": {
        "two-patients": _refuses(
            "A study holds files of two patients or more.", "Part them; one patient's study at a time."
        ),
        "ambiguous-series": _refuses(
            "A contrast of a study may be one of several series, or its series contradicts itself.",
            "Settle it by hand (`--series`), or write a rule for the site (`--rules`).",
        ),
        "unclear-identity": _refuses(
            "A study's files do not say plainly whose they are: an identifier of several values, or unreadable.",
            "Correct the study where it comes from.",
        ),
        "irregular-slices": _refuses(
            "The slices of a series make no image: missing, twice, irregular, turned, sheared, without a place, or "
            "too many.",
            "Send the series again.",
        ),
        "pixel-format": _refuses("Pixels are in colour or of an unknown kind.", "Send the images, not a capture."),
        "unknown-compression": _refuses(
            "Pixels are compressed in a way that nothing installed decodes.", "Send them uncompressed."
        ),
        "damaged-pixels": _refuses("Pixels are damaged, truncated or not as announced.", "Send the series again."),
    },
    "The machine and the run": {
        "time-limit": _refuses("The case took longer than `--time-limit`.", "Raise it, or use a quicker machine."),
        "engine-failed": _refuses(
            "The engine failed on this case.", "Run `eenet-run selftest`; take another engine (`--backend`)."
        ),
        "result-path": _refuses(
            "A result cannot have its name: too long, a folder has it, or it is an input.",
            "Rename the case, or take another output folder.",
        ),
        "result-changed": _refuses(
            "The mask is not the file that its report describes.", "Run the same command again: it makes it anew."
        ),
        "not-run": _refuses("No run dealt with the case.", "Run its part of the folder, or the folder."),
        "unfinished": _refuses(
            "A run began with the case's part of the folder and did not come to its end.", "Run the same command again."
        ),
        "unknown": _refuses("An earlier release wrote no code.", "Read the reason; a new run gives one."),
    },
    "Warnings about results": {
        "degraded-mode": _warns("A modality is missing; zeros stand in for it.", "Expect a worse mask."),
        "head-outside": _warns("Voxels of the head lie outside of the network's box.", "Look at the mask there."),
        "resampled": _warns("The images have other voxels than the network.", "Nothing."),
        "no-orientation": _warns("The T1's header gives no orientation; NIfTI's default was taken.", _CONVERT_AGAIN),
        "empty-mask": _warns("No tumour was found.", "Look at the images."),
        "small-components": _warns("Small components were dropped (`--min-tumour-ml`).", "Nothing."),
        "enhancing-relabelled": _warns(
            "A small enhancing tumour was relabelled as necrosis (`--min-enhancing-ml`).", "Nothing."
        ),
        "no-dice": _warns("The case's own label cannot be used.", "Mend the label; the mask does not depend on it."),
    },
}
"""Codes by the section of docs/refusals.md that they stand in."""

CODES: Final[Mapping[str, Meaning]] = {code: meaning for part in SECTIONS.values() for code, meaning in part.items()}
"""Every code of the toolkit."""
