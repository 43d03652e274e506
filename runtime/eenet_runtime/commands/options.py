"""Options that several commands share, each written once.

A command takes a group of options as one parameter, a dataclass, see `option_groups.spread`. Heavy imports wait until a
command needs them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from eenet_runtime.backends.engines import backend_names

if TYPE_CHECKING:
    from eenet_runtime.bundle.manifest import Bundle, PostprocessingSettings
    from eenet_runtime.cases.content_checks import CheckPolicy
    from eenet_runtime.results.mask_settings import MaskSettings
    from eenet_runtime.segmenter.raw_settings import RawSettings
    from eenet_runtime.segmenter.segmenter import Segmenter
    from eenet_runtime.volumes.labels import LabelScheme, Modality

PublicKeyOption = Annotated[
    Path | None, typer.Option("--public-key", help="Refuse a bundle that is not signed with this key (PEM).")
]
BackendOption = Annotated[
    str,
    typer.Option(metavar="<engine>", help=f"Inference engine: {', '.join(backend_names())}."),
]
DeviceOption = Annotated[str, typer.Option(metavar="<device>", help="Where to compute: auto, cpu, cuda or cuda:n.")]
ThreadsOption = Annotated[
    int | None, typer.Option(min=1, metavar="<number>", help="Threads (default: as many as this process may use).")
]


StrictOption = Annotated[
    bool | None,
    typer.Option(
        "--strict/--warn",
        help="What looks wrong with a case's images refuses it, or is only a warning (default: what is certainly "
        "wrong refuses it).",
        show_default=False,
    ),
]
AllowMissingOption = Annotated[
    list[str] | None,
    typer.Option(metavar="<modality>", help="Do cases without this modality, with a warning; may be given again."),
]
TimeLimitOption = Annotated[
    float | None,
    typer.Option(min=0.001, metavar="<seconds>", help="Refuse a case that takes longer than this many seconds."),
]
PreviewOption = Annotated[bool, typer.Option("--preview/--no-preview", help="Draw a PNG beside each mask.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors only.")]


@dataclass(frozen=True)
class EngineOptions:
    """Which engine computes, and where."""

    backend: BackendOption = "auto"
    device: DeviceOption = "auto"
    precision: Annotated[
        str | None,
        typer.Option(
            metavar="<precision>", help="Precision of the artefact, such as fp32 (default: the engine's own)."
        ),
    ] = None
    threads: ThreadsOption = None


@dataclass(frozen=True)
class ModelOptions:
    """The model and what is done with cases before and after it."""

    model: Annotated[Path, typer.Option("--model", "-m", help="Bundle made by eenet-export.")]
    public_key: PublicKeyOption = None
    selftest: Annotated[
        bool, typer.Option("--selftest", help="Run the bundle's golden case before the first case.")
    ] = False
    strict: StrictOption = None
    allow_missing: AllowMissingOption = None
    min_tumour_ml: Annotated[
        float | None,
        typer.Option(min=0, metavar="<ml>", help="Drop tumour components below this volume (default: the bundle's)."),
    ] = None
    min_enhancing_ml: Annotated[
        float | None, typer.Option(min=0, metavar="<ml>", help="Relabel enhancing tumour below this volume as NCR.")
    ] = None
    head_only: Annotated[
        bool | None,
        typer.Option(
            "--head-only/--no-head-only",
            help="Make background of mask voxels in which all images are exactly 0 (default: the bundle's, which is "
            "yes where it says nothing).",
            show_default=False,
        ),
    ] = None
    time_limit: TimeLimitOption = None

    def opened(self) -> Bundle:
        """The verified bundle."""
        from eenet_runtime.bundle.manifest import open_bundle

        return open_bundle(self.model, self.public_key)

    def load(
        self, engine: EngineOptions, bundle: Bundle, cases_in_flight: int, raw: RawSettings | None = None
    ) -> Segmenter:
        """The loaded model."""
        from eenet_runtime.segmenter.segmenter import Segmenter, SegmenterSettings

        settings = SegmenterSettings(
            backend=engine.backend,
            device=engine.device,
            precision=engine.precision,
            threads=engine.threads,
            postprocessing=self._postprocessing(bundle),
            selftest=self.selftest,
            checks=self._checks(),
            allow_missing=self.missing(),
            max_cases_in_flight=cases_in_flight,
            time_limit_s=self.time_limit,
            raw=raw or False,
        )
        return Segmenter(bundle, settings)

    def planned(self, engine: EngineOptions, bundle: Bundle, raw: RawSettings | None = None) -> MaskSettings:
        """What masks would be made with; nothing is loaded."""
        from eenet_runtime.backends import choose
        from eenet_runtime.results.mask_settings import MaskSettings

        choice = choose(bundle, backend=engine.backend, device=engine.device, precision=engine.precision)
        return MaskSettings.planned(bundle, choice, self._postprocessing(bundle), self._checks(), raw)

    def missing(self) -> frozenset[Modality]:
        """The modalities that a case may lack, under any name that files give them."""
        return modalities_of(self.allow_missing)

    def _checks(self) -> CheckPolicy:
        return policy_of(self.strict)

    def _postprocessing(self, bundle: Bundle) -> PostprocessingSettings:
        return bundle.manifest.postprocessing.changed(self.min_tumour_ml, self.min_enhancing_ml, self.head_only)


def modalities_of(allow_missing: list[str] | None) -> frozenset[Modality]:
    """What `--allow-missing` names, under any name that files give a modality."""
    from eenet_runtime.cases.case_files import MODALITY_WORDS

    words = [word.lower() for word in allow_missing or ()]
    if unknown := [word for word in words if word not in MODALITY_WORDS]:
        raise typer.BadParameter(
            f"{unknown[0]!r}: expected one of {', '.join(MODALITY_WORDS)}", param_hint="--allow-missing"
        )
    return frozenset(MODALITY_WORDS[word] for word in words)


def policy_of(strict: bool | None) -> CheckPolicy:
    """What `--strict` and `--warn` mean, or neither of them."""
    from eenet_runtime.cases.content_checks import CheckPolicy

    return {None: CheckPolicy.DEFAULT, True: CheckPolicy.STRICT, False: CheckPolicy.WARN}[strict]


@dataclass(frozen=True)
class OutputOptions:
    """What is written for each case."""

    labels: Annotated[
        str | None,
        typer.Option(
            metavar="<scheme>", help="Label values of the mask: brats2020 (ET = 4), brats2023 (ET = 3) or msd."
        ),
    ] = None
    preview: PreviewOption = True
    probabilities: Annotated[bool, typer.Option("--probabilities", help="Write probability maps, too.")] = False
    quiet: QuietOption = False

    def scheme(self) -> LabelScheme | None:
        """The label scheme that was asked for."""
        from eenet_runtime.volumes.labels import LABEL_SCHEMES

        if self.labels is None:
            return None
        if self.labels not in LABEL_SCHEMES:
            raise typer.BadParameter(
                f"{self.labels!r}: expected one of {', '.join(LABEL_SCHEMES)}", param_hint="--labels"
            )
        return LABEL_SCHEMES[self.labels]
