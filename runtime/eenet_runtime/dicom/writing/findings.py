"""What each class of the network is called, in words and in codes, in every object that names it.

The codes are those of DICOM's context groups for tumours (PS3.16, CID 7159 and 7150): SNOMED CT, and NCI Thesaurus
where that has none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from eenet_runtime.volumes.labels import Label

CATEGORY: Final[Code] = codes.SCT.MorphologicallyAbnormalStructure
SITE: Final[Code] = codes.SCT.Brain
WHOLE_TUMOUR: Final[Code] = codes.SCT.Neoplasm


@dataclass(frozen=True)
class Finding:
    """One class.

    Attributes:
        text: at most 64 characters.
        code: what a program understands by it.
    """

    text: str
    code: Code


FINDINGS: Final[dict[Label, Finding]] = {
    # The data sets that networks of this kind learn from have one label for both: the code alone would say too little.
    Label.NCR: Finding("Necrotic and non-enhancing tumour core (NCR/NET)", codes.SCT.Necrosis),
    Label.ED: Finding("Peritumoural oedema (ED)", codes.SCT.Edema),
    Label.ET: Finding("Enhancing tumour (ET)", codes.NCIt.EnhancingLesion),
}
