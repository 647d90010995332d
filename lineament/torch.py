"""PyTorch front door: trained systems as modules, labelled faces as a dataset, losses, weightings and metrics on
tensors (extra `[train]`).

net = lineament.torch.load("mgmtn")         uint8 crops (N,3,218,178) -> .logits (N,A), .features (N,K,D), .region
data = lineament.torch.FaceDataset(FOLDER)  for torch.utils.data.DataLoader
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

try:
    import torch
    from torch import Tensor, nn
    from torch.utils.data import Dataset
except ImportError as error:
    from lineament.errors import MissingExtraError

    raise MissingExtraError("torch", "train") from error

import numpy as np
import numpy.typing as npt

from lineament.config import DataConfig
from lineament.errors import DataError, ImageError, UsageError
from lineament.geometry import CROP_SIZE
from lineament.metrics import ranking
from lineament.metrics.counts import Counts, count
from lineament.models.checkpoint import find_weights, load_network_file
from lineament.objectives.losses import create_loss, masked_terms, per_attribute, positive_rates, reduce
from lineament.objectives.weighting import Weighting, create_weighting
from lineament.training.dataset import crop_decoder, open_training_source

__all__ = [
    "AttributeNetwork", "AttributeOutput", "FaceDataset", "Weighting", "accuracy", "average_precision",
    "balanced_accuracy", "create_loss", "create_weighting", "f1", "load", "masked_terms", "per_attribute",
    "positive_rates", "reduce", "roc_auc",
]  # fmt: skip


@dataclass(frozen=True)
class AttributeOutput:
    """What a network says of N crops.

    logits (N,A) in the order of `AttributeNetwork.attributes`; features (N,K,D): what each of the K groups' heads
    reads, or (N,1,D) where a network has one feature for all; region (N,M,h,w): the maps that explain the answer
    (`maps_of` says of what), or None; landmarks (N,L,2) in 0..1 of the crop, or None.
    """

    logits: Tensor
    features: Tensor | None
    region: Tensor | None
    landmarks: Tensor | None

    @property
    def probs(self) -> Tensor:
        """The sigmoid of the logits (N,A): raw, without a card's calibration."""
        return torch.sigmoid(self.logits)


class AttributeNetwork(nn.Module):
    """A trained network with its own preprocessing in front: give it crops, never normalised pixels.

    **Convention**: crops (N,3,218,178) RGB in CelebA's aligned layout, uint8 0..255. Floats are refused unless
    `float_range` says which they are in, and then values outside of it are refused too: a float crop in another range
    would be answered with plausible nonsense. `net.network` is the network itself, `net.attributes` the names of the
    columns, `net.groups` group name -> attributes.
    """

    def __init__(self, network: nn.Module, float_range: tuple[float, float] | None = None) -> None:
        super().__init__()
        if float_range is not None and not float_range[0] < float_range[1]:
            raise UsageError(f"float_range must be (low, high), as in (0.0, 1.0), not {float_range}.")
        self.network: Any = network
        self.float_range = float_range
        self.attributes: tuple[str, ...] = tuple(network.attributes)  # type: ignore[arg-type]
        groups: Any = network.groups
        self.groups: dict[str, tuple[str, ...]] = {name: tuple(members) for name, members in dict(groups).items()}

    def forward(self, crops: Tensor) -> AttributeOutput:
        """Return logits, group features, regions and landmarks of crops. Raises: UsageError for another shape, type or
        range."""
        x = self.network.preprocess(self._checked(crops))
        read: list[Tensor] = []
        heads = self._group_heads()
        hooks = [head.register_forward_pre_hook(lambda _, given: read.append(given[0])) for head in heads]
        try:
            output = self.network(x.contiguous(memory_format=torch.channels_last))
        finally:
            for hook in hooks:
                hook.remove()
        features = torch.stack(read, 1).float() if read and len({part.shape for part in read}) == 1 else None
        if features is None and output.features is not None:
            features = output.features[:, None]
        return AttributeOutput(output.logits, features, output.region, output.landmarks)

    def _group_heads(self) -> list[nn.Module]:
        """The linear heads of the groups, in the groups' order; none where a network has one head for all."""
        heads = getattr(self.network, "heads", None)
        return list(heads) if isinstance(heads, nn.ModuleList) and len(heads) == len(self.groups) else []

    def _checked(self, crops: Tensor) -> Tensor:
        if crops.ndim != 4 or tuple(crops.shape[1:]) != (3, *CROP_SIZE):
            raise UsageError(
                f"Crops must be (N,3,{CROP_SIZE[0]},{CROP_SIZE[1]}) RGB in CelebA's aligned layout, not "
                f"{tuple(crops.shape)}."
            )
        if crops.dtype == torch.uint8:
            return crops
        if self.float_range is None or not crops.is_floating_point():
            raise UsageError(
                f"Crops must be uint8 (0..255), not {crops.dtype}; they are normalised inside. For floats say their "
                "range: "
                "load(NAME, float_range=(0.0, 1.0))."
            )
        low, high = self.float_range
        least, most = (float(value) for value in torch.aminmax(crops.detach()))
        if not (low <= least and most <= high):
            raise UsageError(
                f"These crops hold {least:.3g} to {most:.3g}, outside the stated range {low:g} to {high:g}. Give plain "
                "pixels, not normalised ones."
            )
        return (crops.float() - low) * (255.0 / (high - low))


def load(
    name: str | os.PathLike[str], *, device: str = "cpu", float_range: tuple[float, float] | None = None
) -> AttributeNetwork:
    """Return a trained network by name (`lineament models`), run folder or file (safetensors, or ONNX as exported), in
    eval mode.

    Args: device: any that torch knows; float_range: allow float crops in this range.
    Raises: ModelFileError naming where it looked.
    """
    network, _ = load_network_file(find_weights(os.fspath(name)))
    return AttributeNetwork(network, float_range).eval().to(torch.device(device))


class FaceDataset(Dataset[dict[str, Tensor]]):
    """Labelled faces of any layout, row by row: {"crop" (3,218,178) uint8, "targets" (A,) float32, "known" (A,) bool,
    "row" () int64}.

    Args: path: folder or file; layout: official, parquet, lfwa, table, images or synthetic; split, attributes, images:
        as in a config's data section; align: `stored` where images are crops, `detect` where faces must be found and
        aligned; transform: called with each sample.
    A picture that gives no pixels is a black crop whose labels are not known. Safe in a DataLoader's worker processes:
    each opens the data itself. `table` holds names, targets, identities and splits of all rows.

    Raises: ConfigError, DataError, each naming the fix.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        layout: str = "parquet",
        *,
        split: str = "all",
        attributes: Sequence[str] | None = None,
        images: str | os.PathLike[str] | None = None,
        align: str = "stored",
        transform: Callable[[dict[str, Tensor]], Any] | None = None,
    ) -> None:
        self._data = DataConfig(
            layout=layout, path=os.fspath(path), split=split, align=align,
            attributes=None if attributes is None else tuple(attributes),
            images=None if images is None else os.fspath(images),
        )  # fmt: skip
        self._opened: tuple[int, Any, Any] | None = None
        self.transform = transform
        self.table = self._source()[0].table

    @property
    def attributes(self) -> tuple[str, ...]:
        """The names of the columns of `targets`."""
        return tuple(self.table.attributes)

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, index: int) -> Any:
        row = range(len(self))[index]
        source, decode = self._source()
        known = self.table.known[row]
        try:
            crop = decode(source.read_bytes(row))
        except (ImageError, DataError, OSError):
            crop, known = np.zeros((3, *CROP_SIZE), np.uint8), np.zeros_like(known)
        sample = {
            "crop": torch.from_numpy(np.ascontiguousarray(crop)),
            "targets": torch.from_numpy(self.table.targets[row].astype(np.float32)),
            "known": torch.from_numpy(known.copy()),
            "row": torch.tensor(row),
        }
        return sample if self.transform is None else self.transform(sample)

    def _source(self) -> tuple[Any, Any]:
        """Return the source and the decoder of this process: open files are not shared with a worker."""
        if self._opened is None or self._opened[0] != os.getpid():
            self._opened = (os.getpid(), open_training_source(self._data), crop_decoder(self._data.align)[0])
        return self._opened[1], self._opened[2]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_opened": None}


# ---- metrics on tensors


def _counts(logits: Tensor, targets: Tensor, known: Tensor | None) -> Counts:
    return count(_array(logits >= 0), _array(targets > 0.5), None if known is None else _array(known.bool()))


def _array(tensor: Tensor) -> npt.NDArray[Any]:
    return tensor.detach().cpu().numpy()


def accuracy(logits: Tensor, targets: Tensor, known: Tensor | None = None) -> Tensor:
    """Return each attribute's accuracy (A,) at 0.5, NaN where nothing is known. Args: logits, targets (N,A); known
    (N,A) bool.

    >>> accuracy(torch.tensor([[2.0], [-1.0]]), torch.tensor([[1.0], [1.0]])).tolist()
    [0.5]
    """
    return torch.from_numpy(_counts(logits, targets, known).accuracy)


def balanced_accuracy(logits: Tensor, targets: Tensor, known: Tensor | None = None) -> Tensor:
    """Return the mean of each attribute's hit rates of yes and no (A,) at 0.5."""
    return torch.from_numpy(_counts(logits, targets, known).balanced_accuracy)


def f1(logits: Tensor, targets: Tensor, known: Tensor | None = None) -> Tensor:
    """Return each attribute's F1 (A,) at 0.5."""
    return torch.from_numpy(_counts(logits, targets, known).f1)


def average_precision(logits: Tensor, targets: Tensor, known: Tensor | None = None) -> Tensor:
    """Return each attribute's average precision (A,)."""
    probs = _array(torch.sigmoid(logits.double()))
    return torch.from_numpy(
        ranking.average_precision(probs, _array(targets > 0.5), None if known is None else _array(known.bool()))
    )


def roc_auc(logits: Tensor, targets: Tensor, known: Tensor | None = None) -> Tensor:
    """Return each attribute's area under the ROC curve (A,)."""
    probs = _array(torch.sigmoid(logits.double()))
    return torch.from_numpy(
        ranking.roc_auc(probs, _array(targets > 0.5), None if known is None else _array(known.bool()))
    )
