"""The toolkit beside what users would take instead."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from typer.testing import CliRunner

from eenet_bench.cli import app
from eenet_bench.measuring.process import JsonProcess
from eenet_bench.peers import measure, notebook_way, our_way
from eenet_bench.peers.measure import OURS, PEERS, TITLES, PeersSettings, measure_peers
from eenet_bench.peers.models import Models
from eenet_bench.peers.report import peers_table, write_peers
from eenet_bench.peers.worker import Watch, serve
from eenet_runtime.errors import BackendError, DatasetError
from eenet_runtime.volumes.labels import Modality
from tests.synthetic import TINY, Head, write_case


class Doubling:
    """A way whose mask is twice the T1; it knows nothing of networks."""

    version = "1"

    def meet(self, case_id: str, images: dict[str, str]) -> None:
        self.met = case_id

    def run(self, case_id: str, images: dict[str, str], output: str, watch: Watch) -> None:
        assert self.met == case_id
        with watch.stage("read"):
            values = np.asarray(nib.load(images["t1"]).dataobj)
        with watch.stage("write"):
            nib.save(nib.Nifti1Image((2 * values).astype(np.uint8), np.eye(4)), output)


def images_of(folder: Path, case_id: str) -> dict[str, str]:
    return {m.value: str(folder / case_id / f"{case_id}_{m.value}.nii.gz") for m in Modality}


def test_a_worker_meets_a_case_and_runs_it_with_seconds_by_stage(tmp_path: Path, head: Head) -> None:
    write_case(tmp_path, "A", head, "brats2020")
    case = {"case_id": "A", "images": images_of(tmp_path, "A")}
    requests = [{"do": "meet", **case}, {"do": "run", "output": str(tmp_path / "mask.nii.gz"), **case}]
    ready, met, ran = serve(Doubling, requests)
    assert (ready, met) == ({"version": "1"}, {})
    assert list(ran["stages_s"]) == ["read", "write"]
    assert 0 < sum(ran["stages_s"].values()) <= ran["total_s"]
    assert np.asarray(nib.load(tmp_path / "mask.nii.gz").dataobj).max() == 2 * head.images[Modality.T1].max() % 256


def test_a_package_that_is_missing_is_a_reason_and_no_traceback() -> None:
    def load() -> Any:
        raise ModuleNotFoundError("No module named 'monai'", name="monai")

    (answer,) = serve(load, [])
    assert answer["reason"].startswith("monai is not installed")


def test_whatever_a_peer_raises_is_a_reason() -> None:
    def load() -> Any:
        raise RuntimeError("no\nmemory")

    assert list(serve(load, [])) == [{"reason": "RuntimeError: no memory"}]
    _, answer = serve(Doubling, [{"do": "run", "case_id": "A", "images": {}, "output": "x"}])
    assert answer["reason"].startswith("AttributeError")


@pytest.mark.tf
def test_a_plain_graph_in_a_notebook_and_our_way_write_the_same_mask(tmp_path: Path, head: Head) -> None:
    """Both run one network on one crop: what differs is how, not what."""
    from eenet_bench.peers.models import write_models
    from tests.export.stand_in import small_source

    write_case(tmp_path / "cases", "A", head, "brats2020")
    images = images_of(tmp_path / "cases", "A")
    source = small_source()
    models = write_models(source.model, tmp_path / "models", source.preset, "random", plain=True, native=False)
    theirs = notebook_way.load("onnx", str(models.bundle), str(models.plain), threads=1)
    ours = our_way.load(str(models.bundle), "onnxruntime", threads=1, instructions="")
    masks, stages = [], []
    for name, way in (("theirs", theirs), ("ours", ours)):
        watch = Watch()
        way.meet("A", images)
        way.run("A", images, str(tmp_path / f"{name}.nii.gz"), watch)
        masks.append(np.asarray(nib.load(tmp_path / f"{name}.nii.gz").dataobj))
        stages.append(list(watch.seconds))
    # Outside the head our mask is background by rule, a notebook's is what the network says.
    inside = np.any([np.asarray(nib.load(path).dataobj) != 0 for path in images.values()], axis=0)
    assert np.mean(masks[0][inside] != masks[1][inside]) < 1e-3
    assert not masks[1][~inside].any()
    assert len(np.unique(masks[0])) > 1
    assert stages[0] == ["read", "prepare", "network", "restore", "write"]
    assert set(stages[0]) < set(stages[1])


@pytest.fixture
def pretended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every pipeline is a process that only tells seconds: `keras` 10, `monai` 5, ours 2 and 4; `onnx` is missing."""
    started: list[str] = []
    seconds = {"keras": 10.0, "monai": 5.0, "auto": 2.0, "openvino": 4.0}
    program = (
        "import json, sys; ready = json.loads(sys.argv[1]); print(json.dumps(ready), flush=True)\n"
        "answer = json.dumps({'total_s': ready.get('s'), 'stages_s': {'network': 1.0}})\n"
        "for line in sys.stdin: print(answer, flush=True)"
    )

    def start(name: str, models: Models, settings: PeersSettings) -> JsonProcess:
        import sys

        started.append(name)
        ready = {"version": name, "s": seconds[name]} if name in seconds else {"reason": "no engine"}
        return JsonProcess([sys.executable, "-c", program, json.dumps(ready)])

    def make(*arguments: object, **options: object) -> Models:
        return Models(tmp_path, None, "random")

    monkeypatch.setattr(measure, "_start", start)
    monkeypatch.setattr(measure, "make_models", make)
    monkeypatch.setattr(measure._Runner, "masks", lambda self: [np.zeros(3)])
    return started


def test_shares_are_ours_by_theirs_and_what_did_not_run_is_said(
    tmp_path: Path, head: Head, pretended: list[str]
) -> None:
    write_case(tmp_path / "cases", "A", head, "brats2020")
    report = measure_peers(tmp_path / "cases", TINY, settings=PeersSettings(rounds=3))
    assert pretended == [*PEERS, *OURS]
    shares = {(share.ours, share.peer): share.ratio.value for share in report.shares}
    assert shares == pytest.approx(
        {("auto", "keras"): 0.2, ("auto", "monai"): 0.4, ("openvino", "keras"): 0.4, ("openvino", "monai"): 0.8}
    )
    assert {p.name: p.reason for p in report.pipelines if p.reason} == {"onnx": "no engine"}
    assert {p.name: p.masks_differ for p in report.pipelines if not p.reason} == {
        "keras": 0.0,
        "monai": None,
        "auto": 0.0,
        "openvino": 0.0,
    }
    table = peers_table(report)
    assert f"{TITLES['onnx']} did not run: no engine" in table
    assert "0.20 (0.20-0.20), aim 0.20" in table
    write_peers(report, tmp_path / "out")
    stored = json.loads((tmp_path / "out" / "peers.json").read_text())
    assert stored["case_shapes"] == {"A": [46, 54, 22]}
    assert (tmp_path / "out" / "peers.png").read_bytes()[:4] == b"\x89PNG"


def test_the_command_prints_the_table(tmp_path: Path, head: Head, pretended: list[str]) -> None:
    write_case(tmp_path / "cases", "A", head, "brats2020")
    result = CliRunner().invoke(app, ["peers", str(tmp_path / "cases"), "--preset", "eenet-fast", "--rounds", "1"])
    assert result.exit_code == 0, result.output
    assert "our share of the time" in result.output


def test_pipelines_are_chosen_by_name(tmp_path: Path, head: Head, pretended: list[str]) -> None:
    write_case(tmp_path, "A", head, "brats2020")
    report = measure_peers(tmp_path, TINY, settings=PeersSettings(rounds=1, pipelines=("monai", "openvino")))
    assert pretended == ["monai", "openvino"]
    assert [(share.ours, share.peer) for share in report.shares] == [("openvino", "monai")]
    with pytest.raises(BackendError, match="unknown pipeline 'torch'; known pipelines: keras"):
        measure_peers(tmp_path, TINY, settings=PeersSettings(pipelines=("torch",)))


def test_modalities_in_one_file_are_refused(tmp_path: Path, head: Head, pretended: list[str]) -> None:
    write_case(tmp_path, "BRATS_001", head, "msd")
    with pytest.raises(DatasetError, match="share a file"):
        measure_peers(tmp_path, TINY)


@pytest.mark.parametrize("name", [*PEERS, *OURS])
def test_every_pipeline_is_kept_from_avx512_by_its_environment(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen: dict[str, Any] = {}

    def process(command: list[str], environment: dict[str, str]) -> None:
        seen.update(arguments=json.loads(command[2]), environment=environment, python=command[0])

    monkeypatch.setattr(measure, "JsonProcess", process)
    start: Callable[..., object] = measure._start
    start(name, Models(tmp_path, tmp_path, ""), PeersSettings(threads=1, avx2=True, monai_python=Path("python-m")))
    assert seen["environment"]["ONEDNN_MAX_CPU_ISA"] == "AVX2"
    assert seen["environment"]["OMP_NUM_THREADS"] == "1"
    assert seen["arguments"].get("instructions", "avx2") == "avx2"
    assert (seen["python"] == "python-m") == (name == "monai")
