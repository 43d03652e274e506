"""The networks of a strip bundle, on the T1ce and the T1 of a case."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from eenet_runtime.backends.engines import AUTO, EngineSpec
from eenet_runtime.backends.graph import Graph, GraphRequest, graph_engines, load_graph
from eenet_runtime.bundle.bundle_files import read_listed
from eenet_runtime.bundle.strip_manifest import StripBundle, StripNetwork, open_strip_bundle
from eenet_runtime.errors import BackendError
from eenet_runtime.files.nifti import Volume
from eenet_runtime.heads.stripping.brain_mask import BrainMask, brain_mask, clean_mask
from eenet_runtime.heads.stripping.golden_head import require_golden
from eenet_runtime.heads.stripping.shipped import shipped_strip_bundle
from eenet_runtime.heads.stripping.two_stages import TwoStages
from eenet_runtime.heads.stripping.working_grid import WorkingGrid, working_grid
from eenet_runtime.log import LOGGER
from eenet_runtime.volumes.dice import dice


class Stripper:
    """Finds the brain with two networks. Any number of threads may call it; one head is computed at a time.

    The networks are loaded, and prove themselves on the bundle's golden case, when the first head comes, or in
    `prepare`; what they need while they compute is given back after each head. Loaded again after `close`, into the
    engine that has passed, they need no second proof.
    """

    def __init__(
        self,
        bundle: Path | None = None,
        *,
        backend: str = AUTO,
        threads: int | None = None,
        public_key: Path | None = None,
    ) -> None:
        """Verify the bundle; no engine is loaded yet.

        Args:
            bundle: a strip bundle's folder; the one that comes with the runtime by default.
            backend: `auto`, or the name of an engine; one that loads no ONNX graph on a CPU counts as `auto`.
            threads: for one head; by default as many as this process may use.
            public_key: a PEM file; with it the bundle must be signed by that key.

        Raises:
            BundleError: the bundle is damaged, of another kind, or not signed by the key.
        """
        self.bundle: StripBundle = open_strip_bundle(bundle or shipped_strip_bundle(), public_key)
        self._backend, self._threads = backend, threads
        self._lock = threading.Lock()
        self._stages: TwoStages | None = None
        self._graphs: tuple[Graph, ...] = ()
        self._proved: EngineSpec | None = None

    @property
    def source(self) -> str:
        """The bundle and the engine, for reports."""
        engine = f", {self._graphs[0].name} {self._graphs[0].version}" if self._graphs else ""
        return f"{self.bundle.manifest.name} {self.bundle.bundle_id}{engine}"

    def prepare(self) -> None:
        """Load the networks, and the first time let them prove themselves; nothing if they are loaded.

        Raises:
            BackendError: no engine is installed, or none can load them.
            SelfTestError: on this machine they compute something else than what was exported.
            BundleError: a file was exchanged since the bundle was verified.
        """
        with self._lock:
            self._loaded()

    def strip(self, t1ce: Volume, t1: Volume | None, t1ce_to_t1: NDArray[np.float64] | None) -> BrainMask:
        """See `BrainMasker.strip`. Both images are looked at alone and their probabilities averaged.

        Raises:
            CaseError: no brain is found, or an image is none of a head.
            BackendError, SelfTestError, BundleError: see `prepare`; or an engine failed.
        """
        working = working_grid(t1ce)
        if (t1 is None) != (t1ce_to_t1 is None):
            raise ValueError("a T1 and its matrix come together")
        with self._lock:
            stages = self._loaded()
            try:
                probability, agreement = self._probability(stages, working, t1ce, t1, t1ce_to_t1)
            finally:
                for graph in self._graphs:
                    graph.rest()
        mask = clean_mask(probability > stages.preprocessing.threshold)
        return brain_mask(mask, working, agreement, self.source, t1ce.source)

    def _probability(
        self,
        stages: TwoStages,
        working: WorkingGrid,
        t1ce: Volume,
        t1: Volume | None,
        t1ce_to_t1: NDArray[np.float64] | None,
    ) -> tuple[NDArray[np.float32], float | None]:
        """Probability of brain on the working grid, averaged, and how the two images agree."""
        probability = stages.brain_probability(working.sampled(t1ce, None, self._threads), t1ce.source)
        if t1 is None or t1ce_to_t1 is None:
            return probability, None
        second = stages.brain_probability(working.sampled(t1, t1ce_to_t1, self._threads), t1.source)
        shown = working.covered_by(t1.grid, t1ce_to_t1)
        threshold = stages.preprocessing.threshold
        agreement = dice((probability > threshold) & shown, (second > threshold) & shown)
        # Where the T1 shows nothing the T1ce speaks alone.
        np.add(probability, second, out=probability, where=shown)
        np.multiply(probability, np.float32(0.5), out=probability, where=shown)
        return probability, agreement

    def close(self) -> None:
        """Free the networks; a later head loads them again."""
        with self._lock:
            for graph in self._graphs:
                graph.close()
            self._graphs, self._stages = (), None

    def _loaded(self) -> TwoStages:
        if self._stages is None:
            self._stages, self._graphs = self._first_that_serves()
        return self._stages

    def _first_that_serves(self) -> tuple[TwoStages, tuple[Graph, ...]]:
        """The first engine that loads both networks and passes; what became of those before it is logged."""
        failed: list[str] = []
        for spec in (self._proved,) if self._proved else graph_engines(self._backend):
            graphs: list[Graph] = []
            try:
                graphs.extend(self._load(spec, network) for network in self._networks)
                stages = self._stages_of(graphs)
                if spec is not self._proved:
                    require_golden(self.bundle, stages, f"{graphs[0].name} {graphs[0].version} on {graphs[0].device}")
            except BackendError as error:
                for graph in graphs:
                    graph.close()
                failed.append(str(error))
                LOGGER.warning("%s was turned down for stripping (%s)", spec.name, type(error).__name__)
                last = error
                continue
            self._proved = spec
            return stages, tuple(graphs)
        raise type(last)("; ".join(failed)) from last

    @property
    def _networks(self) -> tuple[StripNetwork, StripNetwork]:
        return self.bundle.manifest.find, self.bundle.manifest.cut

    def _load(self, spec: EngineSpec, network: StripNetwork) -> Graph:
        path = self.bundle.folder / network.path
        content = read_listed(path, self.bundle.listed(network.path).sha256)
        return load_graph(
            spec, GraphRequest(content, str(path), network.input_name, network.output_name, self._threads)
        )

    def _stages_of(self, graphs: list[Graph]) -> TwoStages:
        find, cut = self._networks
        return TwoStages(graphs[0], graphs[1], find.edge, cut.edge, self.bundle.manifest.preprocessing, self._threads)
