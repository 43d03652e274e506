"""A comparison with peers as tables and as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from eenet_bench.pages.charts import Bar, draw_bars
from eenet_bench.pages.report_files import write_forms
from eenet_bench.peers.measure import OURS, PEERS, TITLES, PeersReport, Pipeline
from eenet_runtime.folders.tables import format_table

STAGES: Final = ("read", "check", "prepare", "network", "restore", "clean", "write")
TARGETS: Final = {
    ("auto", "keras"): 0.20,
    ("auto", "monai"): 0.26,
    ("openvino", "keras"): 0.52,
    ("openvino", "monai"): 0.65,
}
"""What our time should be as a share of the peer's at most: with the native engine, and without it."""


def peers_table(report: PeersReport) -> str:
    """The machine, a line for each pipeline, the ratios, and the reasons of those that did not run."""
    done = [pipeline for pipeline in report.pipelines if not pipeline.reason]
    header = ["pipeline", "load s", "first s", "warm s", *STAGES, "peak MB", "masks differ"]
    shapes = "; ".join(f"{name} ({' x '.join(map(str, shape))})" for name, shape in report.case_shapes.items())
    lines = [
        f"{shapes}; {report.preset}, weights {report.weights}; MONAI's are random",
        report.environment.describe() + ("; kept to AVX2" if report.settings.avx2 else ""),
        report.noise.describe(),
        f"files to files; medians of {report.settings.rounds} rounds in turns",
        "",
        format_table(header, [_row(pipeline) for pipeline in done]),
        "",
        format_table(["our share of the time", *(TITLES[peer] for peer in PEERS)], _share_rows(report)),
        "",
        *(f"{TITLES[pipeline.name]}: {pipeline.version}" for pipeline in done),
        *(f"{TITLES[p.name]} did not run: {p.reason}" for p in report.pipelines if p.reason),
    ]
    return "\n".join(lines)


def write_peers(report: PeersReport, folder: Path) -> None:
    """Write `peers.json` and `peers.png` into a folder.

    Raises:
        OutputError: a file cannot be written.
    """
    done = sorted((p for p in report.pipelines if not p.reason), key=lambda pipeline: -pipeline.median_s)
    title = f"Seconds from files to files, {report.preset}{', AVX2 only' if report.settings.avx2 else ''}"
    write_forms(folder, "peers", json=report.to_json(), png=draw_bars(title, [_bar(pipeline) for pipeline in done]))


def _row(pipeline: Pipeline) -> list[str]:
    stages = [f"{pipeline.stages_s[stage]:.2f}" if stage in pipeline.stages_s else "-" for stage in STAGES]
    peak = f"{pipeline.peak_rss_bytes / 2**20:.0f}" if pipeline.peak_rss_bytes else "-"
    differ = f"{pipeline.masks_differ:.3%}" if pipeline.masks_differ is not None else "-"
    start = [f"{pipeline.cold_start_s:.1f}", f"{pipeline.first_case_s:.2f}", f"{pipeline.median_s:.2f}"]
    return [TITLES[pipeline.name], *start, *stages, peak, differ]


def _share_rows(report: PeersReport) -> list[list[str]]:
    shares = {(share.ours, share.peer): share.ratio for share in report.shares}
    rows = []
    for ours in OURS:
        cells = []
        for peer in PEERS:
            ratio, target = shares.get((ours, peer)), TARGETS.get((ours, peer))
            goal = f", aim {target:.2f}" if target else ""
            cells.append(ratio.describe() + goal if ratio else "-")
        rows.append([TITLES[ours], *cells])
    return rows


def _bar(pipeline: Pipeline) -> Bar:
    """Stages outside the network in front and behind it; what belongs to no stage comes last."""
    groups = {"before the network": STAGES[:3], "network": STAGES[3:4], "after it": STAGES[4:]}
    parts = {name: sum(pipeline.stages_s.get(s, 0.0) for s in stages) for name, stages in groups.items()}
    parts["after it"] += max(0.0, pipeline.median_s - sum(parts.values()))
    return Bar(TITLES[pipeline.name], parts, f"{pipeline.median_s:.2f} s")
