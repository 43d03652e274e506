"""A mask ends where the images do, whatever the network says and whatever the bundle does not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from eenet_runtime import Segmenter
from eenet_runtime.bundle.manifest import MANIFEST_NAME, Manifest, PostprocessingSettings, open_bundle
from eenet_runtime.volumes.labels import Label, Region
from tests.synthetic import case_files, edit_manifest, make_head, write_bundle


class AllTumour:
    """An engine to which everything is oedema, the air as well."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def labels(self, volume: NDArray[np.float32]) -> NDArray[np.uint8]:
        return np.full(volume.shape[:3], Label.ED, np.uint8)


@pytest.mark.parametrize("head_only", [True, False])
def test_air_is_background_although_the_network_calls_it_tumour(
    tmp_path: Path, tiny_bundle: Path, head_only: bool
) -> None:
    head = make_head()
    shown = np.any([image != 0 for image in head.images.values()], axis=0)
    with Segmenter(tiny_bundle, postprocessing=PostprocessingSettings(head_only=head_only)) as segmenter:
        segmenter.backend = AllTumour(segmenter.backend)
        result = segmenter.segment(case_files(tmp_path, "A", head))
    if head_only:
        np.testing.assert_array_equal(result.labels != 0, shown)
        assert result.cleaning.outside_head_ml == pytest.approx((shown.size - shown.sum()) / 1000)
        assert result.volumes_ml[Region.WT] == pytest.approx(shown.sum() / 1000)
    else:
        assert result.labels.all()
        assert result.cleaning.outside_head_ml == 0


def test_a_manifest_of_before_the_field_has_it_on_and_new_ones_name_it(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle")
    written = json.loads((bundle / MANIFEST_NAME).read_text())["postprocessing"]
    assert written == {"min_tumour_ml": 0.0, "min_enhancing_ml": 0.0, "head_only": True}
    edit_manifest(bundle, {"postprocessing": {"min_tumour_ml": 0.2, "min_enhancing_ml": 0.5}})
    assert open_bundle(bundle).manifest.postprocessing == PostprocessingSettings(0.2, 0.5, head_only=True)
    edit_manifest(bundle, {"postprocessing": {"min_tumour_ml": 0.2, "min_enhancing_ml": 0.5, "head_only": False}})
    assert not open_bundle(bundle).manifest.postprocessing.head_only
    assert Manifest.from_json((bundle / MANIFEST_NAME).read_text(), "x").postprocessing.changed(None, 1.0) == (
        PostprocessingSettings(0.2, 1.0, head_only=False)
    )
