"""Where agreement proves nothing: two masks without a voxel of a region agree about it, whoever computed them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from eenet_runtime.bundle.manifest import ParityRow


def regions_not_proven(rows: Iterable[ParityRow]) -> dict[str, list[str]]:
    """Regions that hold no voxel in the reference's mask of any case, by the form that was held against it.

    Rows of bundles that were made before these voxels were counted say nothing about it and are passed over.
    """
    most: dict[str, dict[str, int]] = defaultdict(dict)
    for row in rows:
        for region, voxels in row.region_voxels.items():
            most[row.candidate][region] = max(voxels, most[row.candidate].get(region, 0))
    empty = {form: [region for region, voxels in regions.items() if voxels == 0] for form, regions in most.items()}
    return {form: regions for form, regions in empty.items() if regions}


def not_proven_in_words(rows: Iterable[ParityRow]) -> list[str]:
    """What agreement does not prove, one line for each set of regions, for a terminal; nothing where it proves all."""
    rows = tuple(rows)
    forms_by_regions: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for form, regions in regions_not_proven(rows).items():
        forms_by_regions[tuple(regions)].append(form)
    lines = [
        f"not proven: {', '.join(regions)}: no voxel of it in any case that {', '.join(forms)} was measured on"
        for regions, forms in forms_by_regions.items()
    ]
    if rows and not any(row.region_voxels for row in rows):
        lines.append("not counted: voxels of the regions in the measured cases; an older export made this bundle")
    return lines
