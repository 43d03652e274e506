"""What all objects of a result have in common: who made them, when, of which images, and what they are not for."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

from highdicom import AlgorithmIdentificationSequence, ContributingEquipment
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from eenet_runtime.dicom.guarded_reader import silence_pydicom
from eenet_runtime.dicom.writing.identifiers import ResultIdentifiers, device_uid
from eenet_runtime.dicom.writing.model_identity import MANUFACTURER, PURPOSE, ModelIdentity
from eenet_runtime.dicom.writing.source_images import SourceImages, silence_highdicom


class ResultSeries(IntEnum):
    """Series numbers of what is written, after those of any scanner."""

    SEGMENTATION = 900
    REPORT = 901
    PREVIEW = 902
    OVERLAY = 903
    PROBABILITIES = 904


def general_arguments(
    source: SourceImages, ids: ResultIdentifiers, role: str, number: ResultSeries, what: str, instance: int = 1
) -> dict[str, Any]:
    """Arguments that every class of highdicom for an object takes; from here on neither library says anything.

    Args:
        source: the images that the object is derived from.
        ids: of the result.
        role: of the object in `ids`; its series has the role and `-series`.
        number: of its series.
        what: the object in words; the series' description begins with it and ends with `PURPOSE`.
        instance: its number in the series; the second and later ones have it at the end of their role.
    """
    silence_pydicom()
    silence_highdicom()
    date, time = source.content_moment
    return {
        "series_instance_uid": ids.uid(f"{role}-series"),
        "series_number": int(number),
        "series_description": f"EENet {what} ({PURPOSE})",
        "sop_instance_uid": ids.uid(role if instance == 1 else f"{role}-{instance}"),
        "instance_number": instance,
        "manufacturer": MANUFACTURER,
        "content_date": date,
        "content_time": time,
        "series_date": date,
        "series_time": time,
        # Set by `finish`: highdicom knows fewer character sets than DICOM has.
        "specific_character_set": None,
    }


def finish(dataset: Dataset, source: SourceImages, model: ModelIdentity) -> None:
    """Put into an object of highdicom's what it leaves out, and take out what the clock put in.

    Afterwards the object says in which character set its texts are, of whom the device is (General Equipment), and
    which algorithm, scanner and library contributed to it (Contributing Equipment Sequence, with the Device UID that
    changes with the model, as IHE's AI Results profile asks for).
    """
    header = source.datasets[0]
    for keyword in ("SpecificCharacterSet", "TimezoneOffsetFromUTC"):
        if keyword in header:
            dataset.add(header[keyword])
    dataset.ManufacturerModelName = model.model_name
    dataset.SoftwareVersions = list(model.software_versions)
    dataset.DeviceSerialNumber = model.bundle_id
    for keyword in ("InstanceCreationDate", "InstanceCreationTime"):
        if keyword in dataset:
            delattr(dataset, keyword)
    dataset.ContributingEquipmentSequence = _equipment(header, model)


def algorithm(model: ModelIdentity) -> AlgorithmIdentificationSequence:
    """The algorithm, as segments name it."""
    return AlgorithmIdentificationSequence(
        name=model.model_name,
        family=codes.DCM.ArtificialIntelligence,
        version=model.algorithm_version,
        source=MANUFACTURER,
        parameters=model.parameters,
    )


def _equipment(header: Dataset, model: ModelIdentity) -> list[Dataset]:
    own = ContributingEquipment(
        manufacturer=MANUFACTURER,
        purpose_of_reference=codes.DCM.ProcessingEquipment,
        manufacturer_model_name=model.model_name,
        software_versions=list(model.software_versions),
        device_serial_number=model.bundle_id,
        contribution_description=f"Segmentation algorithm, {PURPOSE}",
    )
    own.DeviceUID = device_uid(model.bundle_id)
    library = ContributingEquipment.for_highdicom()
    del library.ContributionDateTime
    try:
        return [ContributingEquipment.for_image_acquisition(header), own, library]
    # A scanner without a name, or with one that DICOM does not allow, is left out.
    except Exception:
        return [own, library]
