"""MONAI's BraTS pipeline: the settings of the published bundle `brats_mri_segmentation`, with random weights.

Settings: configs/inference.json of that bundle in the repository Project-MONAI/model-zoo. Its transforms and inferer
are called one after the other, without its evaluator, data loader and reading of a checkpoint, which would only cost
time; on a CPU its mixed precision is off. It runs in a Python that has MONAI and PyTorch and needs nothing of ours.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Protocol

_CHANNELS: Final = ("t1ce", "t1", "t2", "flair")
"""The order of the bundle's metadata.json."""


class _Watch(Protocol):
    def stage(self, name: str) -> Any: ...


class MonaiWay:
    """See `worker.Way`."""

    def __init__(self, threads: int) -> None:
        import monai
        import torch
        from monai.inferers import SlidingWindowInferer
        from monai.networks.nets import SegResNet
        from monai.transforms import Compose, LoadImaged, NormalizeIntensityd

        torch.set_num_threads(threads)
        torch.manual_seed(0)
        self.version = f"MONAI {monai.__version__}, PyTorch {torch.__version__}"
        self._network = SegResNet(
            blocks_down=(1, 2, 2, 4),
            blocks_up=(1, 1, 1),
            init_filters=16,
            in_channels=4,
            out_channels=3,
            dropout_prob=0.2,
        ).eval()
        self._inferer = SlidingWindowInferer(roi_size=(240, 240, 160), sw_batch_size=1, overlap=0.5)
        self._read = LoadImaged("image")
        self._normalise = NormalizeIntensityd("image", nonzero=True, channel_wise=True)
        self._pre = Compose([self._read, self._normalise])

    def meet(self, case_id: str, images: dict[str, str]) -> None:
        """Nothing to do."""

    def run(self, case_id: str, images: dict[str, str], output: str, watch: _Watch) -> None:
        """Files to file."""
        import torch
        from monai.transforms import Activationsd, AsDiscreted, Compose, Invertd, Lambdad, SaveImage

        with watch.stage("read"):
            data = self._read({"image": [images[name] for name in _CHANNELS]})
        with watch.stage("prepare"):
            data = self._normalise(data)
        with watch.stage("network"), torch.no_grad():
            data["pred"] = self._inferer(data["image"][None], self._network)[0]
        with watch.stage("restore"):
            post = Compose(
                [
                    Activationsd("pred", sigmoid=True),
                    Invertd("pred", transform=self._pre, orig_keys="image", nearest_interp=False, to_tensor=True),
                    AsDiscreted("pred", threshold=0.5),
                    Lambdad("pred", func=_labels),
                ]
            )
            data = post(data)
        with watch.stage("write"):
            path = Path(output)
            save = SaveImage(
                output_dir=path.parent, output_dtype="uint8", resample=False, squeeze_end_dims=True, print_log=False
            )
            save(data["pred"], filename=path.parent / path.name.removesuffix(".nii.gz"))


def _labels(regions: Any) -> Any:
    """One channel with the label values of BraTS, from the channels TC, WT and ET."""
    import torch

    core, whole, enhancing = (regions[[channel]] > 0 for channel in range(3))
    return torch.where(enhancing, 4, torch.where(core, 1, torch.where(whole, 2, 0)))


def load(threads: int) -> MonaiWay:
    """Build the network."""
    return MonaiWay(threads)
