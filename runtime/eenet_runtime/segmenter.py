"""The embedding API: load a bundle once, segment case after case."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from eenet_runtime.backends import Backend, choose, make_backend
from eenet_runtime.bundle import Bundle, PostprocessingSettings, open_bundle
from eenet_runtime.case_files import CaseFiles
from eenet_runtime.grid import Grid
from eenet_runtime.labels import Region
from eenet_runtime.postprocessing import Cleaning, clean, count_components, region_volumes_ml, restore, restore_labels
from eenet_runtime.preprocessing import CaseImages, NetworkInput, prepare, read_case
from eenet_runtime.selftest import SelfTest, must_be_tested, require_passed, self_test


class Stopwatch:
    """Seconds by stage, in the order of the stages."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time spent inside the block to a stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


@dataclass(frozen=True)
class Segmentation:
    """The result for one case.

    Attributes:
        case_id: the case's name.
        labels: uint8 network classes (`Label`) on the patient's grid, in the stored axis order of the T1.
        images: the images it was made from.
        volumes_ml: volume of each region.
        components: connected components of the whole tumour.
        cleaning: what the post-processing did.
        head_voxels_outside: head voxels that the network did not see.
        warnings: what a reader of the mask should know, in plain sentences.
        seconds: time by stage: read, prepare, network, restore, clean.
    """

    case_id: str
    labels: NDArray[np.uint8]
    images: CaseImages
    volumes_ml: dict[Region, float]
    components: int
    cleaning: Cleaning
    head_voxels_outside: int
    warnings: tuple[str, ...]
    seconds: dict[str, float]


class Segmenter:
    """One model, loaded once, for any number of cases. Use it as a context manager."""

    def __init__(
        self,
        bundle: Bundle | Path,
        *,
        backend: str = "auto",
        precision: str | None = None,
        threads: int | None = None,
        postprocessing: PostprocessingSettings | None = None,
        public_key: Path | None = None,
        selftest: bool = False,
    ) -> None:
        """Verify the bundle and load its model; a TensorRT engine must pass the self-test before it serves anything.

        Args:
            bundle: a folder made by `eenet-export`, or one already opened.
            backend: an inference engine, see `backends.BACKEND_NAMES`.
            precision: of the artefact, such as `fp16`; see `backends.choose` for the default.
            threads: threads for one inference; by default as many as this process may use.
            postprocessing: settings instead of the bundle's.
            public_key: a PEM file with the key that must have signed the folder; a bundle already opened was checked
                then.
            selftest: test an engine that need not be tested, too.

        Raises:
            BundleError: the bundle is damaged, foreign or newer than this runtime, or not signed with that key; or it
                has no golden case and the engine must be tested.
            BackendError: no engine can run it here.
            SelfTestError: the engine computes something else than what was exported.
        """
        self.bundle = bundle if isinstance(bundle, Bundle) else open_bundle(bundle, public_key)
        self.postprocessing = postprocessing or self.bundle.manifest.postprocessing
        choice = choose(self.bundle, backend, precision)
        self.artifact, self.why = choice.artifact, choice.why
        self.backend: Backend = make_backend(self.bundle, choice.name, threads, choice.artifact.precision)
        self.self_test: SelfTest | None = None
        if selftest or must_be_tested(self.artifact):
            self._test()

    def segment(self, files: CaseFiles) -> Segmentation:
        """Segment one case.

        Raises:
            CaseError: the case is refused; the message says which file and why.
            BackendError: the engine failed on it.
        """
        watch = Stopwatch()
        with watch.stage("read"):
            images = read_case(files)
        with watch.stage("prepare"):
            network_input = prepare(images, self.bundle.manifest.preset)
        labels = self._labels(network_input, images.grid, watch)
        with watch.stage("clean"):
            cleaning = clean(labels, images.grid.voxel_ml, self.postprocessing)
            components = count_components(labels)
        volumes = region_volumes_ml(labels, images.grid.voxel_ml)
        return Segmentation(
            case_id=files.case_id,
            labels=labels,
            images=images,
            volumes_ml=volumes,
            components=components,
            cleaning=cleaning,
            head_voxels_outside=network_input.head_voxels_outside,
            warnings=network_input.warnings + _result_warnings(volumes, cleaning),
            seconds=watch.seconds,
        )

    def _labels(self, network_input: NetworkInput, grid: Grid, watch: Stopwatch) -> NDArray[np.uint8]:
        """Classes on the patient's grid; probabilities are asked for only where they must be interpolated."""
        volume, placement = network_input.volume, network_input.placement
        if not placement.resamples:
            with watch.stage("network"):
                found = self.backend.labels(volume)
            with watch.stage("restore"):
                return restore_labels(found, placement, grid)
        with watch.stage("network"):
            probabilities = self.backend(volume)
        with watch.stage("restore"):
            return restore(probabilities, placement, grid)

    def close(self) -> None:
        """Free the model."""
        self.backend.close()

    def _test(self) -> None:
        """Run the self-test; an engine that fails is closed, for nobody will get to close it."""
        try:
            self.self_test = self_test(self.bundle, self.backend)
            require_passed(self.bundle, self.self_test)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _result_warnings(volumes: dict[Region, float], cleaning: Cleaning) -> tuple[str, ...]:
    warnings = []
    if volumes[Region.WT] == 0:
        warnings.append("no tumour found: the mask is empty")
    if cleaning.dropped_components:
        warnings.append(f"{cleaning.dropped_components} small components of {cleaning.dropped_ml:.2f} ml were dropped")
    if cleaning.enhancing_relabelled_ml:
        warnings.append(f"an enhancing tumour of {cleaning.enhancing_relabelled_ml:.2f} ml was relabelled as NCR")
    return tuple(warnings)
