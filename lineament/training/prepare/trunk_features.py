"""A pretrained trunk's features of labelled images: what `lineament audit-labels --features` trains its folds on.

crops (N,3,218,178) -> tight window (N,3,178,178) -> trunk at 160 px -> means over the last stage (N,D) -> features.npy
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from lineament.config import TrainConfig
from lineament.data.block_file import Progress, npy_header, write_blocks
from lineament.data.labelled import LabelledFiles
from lineament.errors import ConfigError
from lineament.models.backbone import RECIPES, create_backbone
from lineament.models.build import trunk_weights
from lineament.models.layers import Preprocess
from lineament.training.dataset import load_images

_SIDE = (160, 160)
_WINDOW = slice(30, 208)
"""Rows of the aligned crop that hold the face as the face-pretrained trunk wants it."""


def write_features(
    config: TrainConfig, folder: str | os.PathLike[str], *, device: str = "cpu", progress: Progress | None = None
) -> tuple[Path, LabelledFiles]:
    """Write features.npy (N,D) float32 of a config's images by its trunk; return the file and the table of its rows.

    An interrupted call is gone on with.
    Raises: ConfigError for a config without trunk weights.
    """
    weights = trunk_weights(config.model)
    if weights is None:
        raise ConfigError("Features need a pretrained trunk: name its file, --set model.weights=FILE.safetensors.")
    recipe, name = RECIPES[config.model.backbone], config.model.backbone
    trunk = create_backbone(name, weights).eval().to(torch.device(device))
    preprocess = Preprocess(_SIDE, recipe.channels, recipe.mean, recipe.std).to(device)
    material = load_images(config)

    @torch.inference_mode()
    def features(first: int, end: int) -> npt.NDArray[np.float32]:
        tight = material.batch(np.arange(first, end)).crops[:, :, _WINDOW, :].contiguous().to(device)
        x = preprocess(tight).contiguous(memory_format=torch.channels_last)
        return np.asarray(trunk(x)[-1].mean((2, 3)).float().cpu().numpy(), np.float32)

    path, shape = Path(folder) / "features.npy", (len(material.table), trunk.channels[-1])
    header = npy_header(shape, np.float32)
    write_blocks(path, shape, np.float32, features, header=header, recipe=f"{name} {weights}", progress=progress)
    return path, material.table
