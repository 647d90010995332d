"""Train and score the region network of MGMTN's Adaptive Mask Learning, on the CPU in minutes.

    faces (labelled canvases) -> samples -> RegionUNet -> region_terms -> AdamW, cosine -> EMA weights -> IoU per group on held-out faces

Source: MGMTN, arXiv 2601.01408; data, augmentation and schedule are ours (papers.md leaves them open).
"""

from __future__ import annotations

import csv
import json
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lineament.config import Claim, expand
from lineament.data.regions import GROUPS
from lineament.errors import DataError
from lineament.models.checkpoint import load_tensors, save_tensors
from lineament.models.region_unet import RegionUNet, region_terms, region_unet
from lineament.training.prepare.region_data import PLAIN, Jitter, RegionFace, hold_out, load_landmarked, load_parsed, sample, unpack

WEIGHTS_NAME = "region_unet.safetensors"


@dataclass(frozen=True)
class RegionConfig:
    """A region training. parsing: CelebAMask-HQ folder; landmarks: 68-point folder or null; holdout: parsed faces never trained on."""

    name: str
    seed: int = 0
    claim: Claim = field(default_factory=Claim)
    scale: str = "cpu"
    parsing: str | None = "$LINEAMENT_DATA/celebamask"
    landmarks: str | None = "$LINEAMENT_DATA/landmarks68"
    holdout: int = 100
    steps: int = 1200
    batch: int = 24
    lr: float = 2e-3
    weight_decay: float = 0.01
    ema: float = 0.99
    precision: str = "fp32"
    threads: int | None = None


@dataclass(frozen=True)
class RegionFaces:
    """Training faces by source, and the held-out ones."""

    parsed: Sequence[RegionFace]
    landmarked: Sequence[RegionFace]
    held_parsed: Sequence[RegionFace]
    held_landmarked: Sequence[RegionFace]


def load_faces(config: RegionConfig) -> RegionFaces:
    """Load the faces a config names. Raises: DataError when it names none."""
    if config.parsing is None:
        raise DataError("regions need parsing masks: set `parsing` to a CelebAMask-HQ folder.")
    parsed, held = hold_out(load_parsed(expand(config.parsing)), config.holdout)
    if config.landmarks is None:
        return RegionFaces(parsed, [], held, [])
    folder = expand(config.landmarks)
    return RegionFaces(parsed, load_landmarked(folder, "train"), held, load_landmarked(folder, "test"))


def draw_batch(faces: RegionFaces, count: int, seed: tuple[int, int], jitter: Jitter, reduce: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return rgb (B,3,218,178) in -1..1, region and known (B,K,h,w) float: two thirds parsed faces, one third landmarked ones."""
    rng = np.random.default_rng(seed)
    chosen = []
    for slot in range(count):
        pool = faces.landmarked if faces.landmarked and slot % 3 == 2 else faces.parsed
        chosen.append(pool[int(rng.integers(len(pool)))])
    images, labels, known = zip(*(sample(face, rng, jitter, reduce) for face in chosen), strict=True)
    return as_input(np.stack(images)), _planes(labels), _planes(known)


def as_input(images: npt.NDArray[np.uint8]) -> Tensor:
    """Return the region network's input (N,3,h,w) in -1..1 for RGB images (N,h,w,3) uint8."""
    return torch.tensor(images).permute(0, 3, 1, 2).float() / 127.5 - 1.0


def _planes(packed: Sequence[npt.NDArray[np.uint8]]) -> Tensor:
    return torch.from_numpy(unpack(np.stack(packed)).astype(np.float32))


def learning_rate(config: RegionConfig, step: int) -> float:
    """Return the rate of a step: 50 steps of warm-up (a tenth of a short run), then a cosine to zero."""
    warm = min(1.0, (step + 1) / max(1, min(50, config.steps // 10)))
    return config.lr * warm * 0.5 * (1 + math.cos(math.pi * step / max(1, config.steps)))


def train_regions(
    config: RegionConfig, faces: RegionFaces, out: str | os.PathLike[str], progress: Callable[[int, float], None] | None = None
) -> dict[str, Any]:
    """Train a region network; write weights, log and scores into `out`; return the scores.

    Args: progress: called with (steps done, loss) after every step.
    """
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(config.seed)
    if config.threads:
        torch.set_num_threads(config.threads)
    network = region_unet(GROUPS, config.scale).to(memory_format=torch.channels_last)
    started = time.perf_counter()
    with (folder / "log.csv").open("w", newline="", encoding="utf-8") as file:
        log = csv.writer(file)
        log.writerow(["step", *GROUPS])
        averaged = _run(network, config, faces, log.writerow, progress)
    network.load_state_dict(averaged)
    save_region_network(folder / WEIGHTS_NAME, network, config)
    scores = {"minutes": round((time.perf_counter() - started) / 60, 2), **score(network, faces)}
    (folder / "scores.json").write_text(json.dumps(scores, indent=1) + "\n", "utf-8")
    return scores


def _run(
    network: RegionUNet,
    config: RegionConfig,
    faces: RegionFaces,
    write: Callable[[list[Any]], object],
    progress: Callable[[int, float], None] | None,
) -> dict[str, Tensor]:
    """Do the steps; return the averaged weights (EMA, with the plain mean's length growing from zero)."""
    optimiser = torch.optim.AdamW(network.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    averaged = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
    network.train()
    for step in range(config.steps):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(config, step)
        terms = _step(network, optimiser, config, draw_batch(faces, config.batch, (config.seed, step), Jitter(), network.reduce))
        decay = min(config.ema, (step + 1) / (step + 10))
        for name, tensor in network.state_dict().items():
            averaged[name] = decay * averaged[name] + (1 - decay) * tensor if tensor.is_floating_point() else tensor
        if step % 20 == 0 or step + 1 == config.steps:
            write([step, *(round(float(term), 4) for term in terms)])
        if progress is not None:
            progress(step + 1, float(terms.mean()))
    return averaged


def _step(network: nn.Module, optimiser: torch.optim.Optimizer, config: RegionConfig, batch: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    rgb, region, known = batch
    with torch.autocast("cpu", torch.bfloat16, enabled=config.precision == "bf16"):
        logits = network(rgb.to(memory_format=torch.channels_last))
    terms = region_terms(logits.float(), region, known)  # (K,)
    optimiser.zero_grad()
    terms.mean().backward()  # type: ignore[no-untyped-call]
    optimiser.step()
    return terms.detach()


def save_region_network(path: str | os.PathLike[str], network: RegionUNet, config: RegionConfig) -> None:
    """Write a region network as fp16 safetensors with its config and group names."""
    tensors = {name: t.half() if t.is_floating_point() else t for name, t in network.state_dict().items()}
    save_tensors(path, tensors, {"kind": "region_unet", "scale": config.scale, "groups": list(network.groups), "config": asdict(config)})


def load_region_network(path: str | os.PathLike[str]) -> RegionUNet:
    """Rebuild a region network written by `save_region_network`, in eval mode. Raises: ModelFileError."""
    tensors, header = load_tensors(path)
    network = region_unet(header["groups"], header["scale"])
    network.load_state_dict({name: t.float() if t.is_floating_point() else t for name, t in tensors.items()})
    return network.eval()


def predict(network: RegionUNet, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Return region (N,K,h,w) in 0..1 at full size for RGB images (N,h,w,3) uint8; one image at a time, so no answer depends on its batch."""
    network.eval()
    out = []
    with torch.no_grad():
        for image in images:
            rgb = as_input(image[None])
            logits = F.interpolate(network(rgb), size=rgb.shape[-2:], mode="bilinear", align_corners=False)
            out.append(torch.sigmoid(logits)[0].numpy())
    return np.stack(out)


def score(network: RegionUNet, faces: RegionFaces) -> dict[str, Any]:
    """Return IoU per group on held-out parsed faces and on the landmark test photos: over all pixels, and as the mean of the images'."""
    return {
        "parsing": iou_table(network, faces.held_parsed),
        "landmarks": iou_table(network, faces.held_landmarked),
        "held_out": sorted(face.name for face in faces.held_parsed),
    }


def iou_table(network: RegionUNet, faces: Sequence[RegionFace]) -> dict[str, Any]:
    """Return {group: {"iou", "mean_iou", "images"}} at 0.5 in the plain crop, on the pixels that people labelled; other groups are left out."""
    counts: dict[str, list[tuple[int, int]]] = {group: [] for group in GROUPS}
    for face in faces:
        for group, pair in zip(GROUPS, _overlap(network, face), strict=True):
            if pair is not None:
                counts[group].append(pair)
    table: dict[str, Any] = {}
    for group, pairs in counts.items():
        if pairs:
            both, either = np.array(pairs, np.float64).T
            shown = either > 0
            table[group] = {
                "iou": round(float(both.sum() / max(either.sum(), 1.0)), 4),
                "mean_iou": round(float((both[shown] / either[shown]).mean()), 4) if shown.any() else None,
                "images": len(pairs),
            }
    return table


def _overlap(network: RegionUNet, face: RegionFace) -> Iterator[tuple[int, int] | None]:
    """Yield (intersection, union) in pixels of each group of one face, None where the group is unknown."""
    image, labels, scored = sample(replace(face, known=face.scored), np.random.default_rng(0), PLAIN, reduce=1)
    said = predict(network, image[None])[0] >= 0.5
    for mask, truth, seen in zip(said, unpack(labels), unpack(scored), strict=True):
        if not seen.any():
            yield None
        else:
            yield int((mask & truth & seen).sum()), int(((mask | truth) & seen).sum())
