"""Train and score the region network of MGMTN's Adaptive Mask Learning, on the CPU in minutes.

    faces (labelled canvases) -> samples -> RegionUNet -> region_terms -> AdamW, cosine -> EMA weights -> IoU per group
        on held-out faces

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

from lineament.config import Checked, Claim, bounded, expand
from lineament.data.block_file import Progress
from lineament.data.regions import GROUPS, STYLES
from lineament.errors import DataError
from lineament.geometry import CROP_SIZE
from lineament.model_files import model_folders
from lineament.models.checkpoint import load_tensors, save_tensors
from lineament.models.region_unet import RegionUNet, region_terms, region_unet
from lineament.training.prepare.caches import MeshPoints, write_mesh_landmarks
from lineament.training.prepare.region_data import (
    PLAIN,
    AnnotatedFaces,
    Annotator,
    Jitter,
    RegionFace,
    annotated_beside,
    annotated_region,
    hold_out,
    load_landmarked,
    load_parsed,
    sample,
    unpack,
)

WEIGHTS_NAME = "region_unet.safetensors"
_CHECKPOINT = "checkpoint.safetensors"
_CHECKPOINT_SECONDS = 120.0
SCORED_JITTER = Jitter((0.85, 1.15), 0.08, 10.0, 0.0, 0.0)
"""How faces are moved where masks are scored on faces that alignment left moved."""


@dataclass(frozen=True)
class RegionConfig(Checked):
    """A region training. images: learn from the training images themselves, labelled by the annotator's 468 points
    (MGMTN's pipeline), at most `labels` of them; style: of the polygons drawn from those points (data/regions.py).

    parsing: CelebAMask-HQ folder; landmarks: 68-point folder; either null where it is not used. parsing_groups: with
    `images`, the only groups that parsing masks teach (hair and ears, where no point lies; an extension of ours), and
    that the annotator's polygons then do not.
    holdout: parsed faces never trained on.
    """

    name: str
    seed: int = 0
    claim: Claim = field(default_factory=Claim)
    scale: str = "cpu"
    images: bool = False
    labels: int = 20_000
    style: str = bounded("tight", among=STYLES)
    parsing: str | None = "$LINEAMENT_DATA/celebamask"
    parsing_groups: tuple[str, ...] = ()
    landmarks: str | None = "$LINEAMENT_DATA/landmarks68"
    holdout: int = 100
    steps: int = bounded(1200, least=1)
    batch: int = bounded(24, least=1)
    lr: float = 2e-3
    weight_decay: float = 0.01
    ema: float = 0.99
    precision: str = bounded("fp32", among=("fp32", "bf16"))
    threads: int | None = None


@dataclass(frozen=True)
class RegionFaces:
    """Training faces by source, and the held-out ones. annotated: training images labelled by the annotator."""

    parsed: Sequence[RegionFace]
    landmarked: Sequence[RegionFace]
    held_parsed: Sequence[RegionFace]
    held_landmarked: Sequence[RegionFace]
    annotated: Sequence[RegionFace] = ()

    @property
    def pools(self) -> list[Sequence[RegionFace]]:
        """The sources that a batch takes in turn, the first of three slots to the last: annotated or parsed faces twice
        as often."""
        main = [pool for pool in (self.annotated, self.parsed) if pool] if self.annotated else [self.parsed]
        return [pool for pool in (main[0], main[-1], self.landmarked or main[0]) if pool]


def load_faces(
    config: RegionConfig, annotated: Sequence[RegionFace] = (), annotate: Annotator | None = None
) -> RegionFaces:
    """Load the faces a config names. Args: annotate: of parsed faces too, where `annotated` are given. Raises:
    DataError when it names none."""
    if config.parsing is None and not annotated:
        raise DataError("regions need labels: set `images: true`, or `parsing` to a CelebAMask-HQ folder.")
    parsed, held = ([], []) if config.parsing is None else hold_out(load_parsed(expand(config.parsing)), config.holdout)
    if annotated and not config.parsing_groups:
        parsed = []
    elif annotated:  # parsing teaches only what the annotator's points cannot
        mesh = annotate or MeshPoints()
        parsed = [annotated_beside(face, config.parsing_groups, mesh, config.style) for face in parsed]
    if config.landmarks is None:
        return RegionFaces(parsed, [], held, [], annotated)
    folder = expand(config.landmarks)
    landmarked = [] if annotated else load_landmarked(folder, "train")
    return RegionFaces(parsed, landmarked, held, load_landmarked(folder, "test"), annotated)


def draw_batch(
    faces: RegionFaces, count: int, seed: tuple[int, int], jitter: Jitter, reduce: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return rgb (B,3,218,178) in -1..1, region and known (B,K,h,w) float: the sources by turns, see
    `RegionFaces.pools`."""
    rng, pools = np.random.default_rng(seed), faces.pools
    chosen = []
    for slot in range(count):
        pool = pools[slot % len(pools)]
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


def find_region_weights(name: str) -> Path | None:
    """Return the trained region network called `name` on the models' search path (docs/models.md), None where there is
    none."""
    for folder in model_folders():
        # A checkout's own region network lies beside its systems.
        for place in (folder.path / name / WEIGHTS_NAME, folder.path.parent / name / WEIGHTS_NAME):
            if place.is_file():
                return place
    return None


def make_region_network(
    config: RegionConfig,
    path: str | os.PathLike[str],
    *,
    crops: Any = None,
    device: str = "cpu",
    say: Callable[[str], None] = lambda text: None,
    progress: Progress | None = None,
) -> Path:
    """Train the network that a config describes and write it to `path`, its scores beside it. An interrupted call is
    gone on with.

    Args: crops (N,3,218,178) uint8: the training images, where the config learns from them (`images: true`).
    Raises: DataError where labels that the config names are not there.
    """
    target = Path(path)
    if config.images and crops is None:
        raise DataError(
            f"{config.name} learns from the training images: run `lineament prepare` with a training config that names "
            "it, or --data DIR."
        )
    faces = load_faces(config, _annotated(config, crops, target.parent, say, progress) if config.images else ())
    say(
        f"Training on {len(faces.annotated)} annotated, {len(faces.parsed)} parsed and {len(faces.landmarked)} "
        "landmark faces."
    )
    told = None if progress is None else lambda done, loss: progress(done, config.steps)
    train_regions(config, faces, target.parent, told, device=device)
    if target.name != WEIGHTS_NAME:
        (target.parent / WEIGHTS_NAME).replace(target)
    return target


def _annotated(
    config: RegionConfig, crops: Any, folder: Path, say: Callable[[str], None], progress: Progress | None
) -> AnnotatedFaces:
    """Label up to `labels` images, spread over all of them, by the mesh's points; the points are kept in `folder`."""
    rows = np.unique(np.linspace(0, len(crops) - 1, min(config.labels, len(crops))).astype(np.int64))
    chosen, path = _Rows(crops, rows), folder / "points.npy"
    if not path.is_file() or len(np.load(path, mmap_mode="r")) != len(rows):
        say(f"Annotating {len(rows)} images with 468 points each: {path}")
        write_mesh_landmarks(chosen, MeshPoints(), path, progress)  # type: ignore[arg-type]
    points = np.load(path, mmap_mode="r") * np.array([CROP_SIZE[1], CROP_SIZE[0]], np.float32)
    return AnnotatedFaces(chosen, points, config.style, config.parsing_groups)  # type: ignore[arg-type]


class _Rows:
    """Some rows of an array, read when asked for."""

    def __init__(self, array: Any, rows: npt.NDArray[np.int64]) -> None:
        self._array, self._rows = array, rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: Any) -> Any:
        return self._array[self._rows[index]]


def train_regions(
    config: RegionConfig,
    faces: RegionFaces,
    out: str | os.PathLike[str],
    progress: Callable[[int, float], None] | None = None,
    *,
    device: str = "cpu",
) -> dict[str, Any]:
    """Train a region network; write weights, log and scores into `out`; return the scores. A run cut off goes on from
    its last checkpoint.

    Args: progress: called with (steps done, loss) after every step; device: any that torch knows, under its own
        autocast.
    """
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(config.seed)
    if config.threads:
        torch.set_num_threads(config.threads)
    network = region_unet(GROUPS, config.scale).to(torch.device(device)).to(memory_format=torch.channels_last)
    run = _Run(network, config, folder)
    started = time.perf_counter()
    run.to_the_end(faces, progress)
    network.load_state_dict(run.averaged)
    network.cpu()
    save_region_network(folder / WEIGHTS_NAME, network, config)
    scores = {"minutes": round((run.seconds + time.perf_counter() - started) / 60, 2), **score(network, faces)}
    (folder / "scores.json").write_text(json.dumps(scores, indent=1) + "\n", "utf-8")
    (folder / _CHECKPOINT).unlink(missing_ok=True)
    return scores


class _Run:
    """The state of one region training: network, optimiser, averaged weights (EMA, the plain mean's length growing from
    zero), steps done."""

    def __init__(self, network: RegionUNet, config: RegionConfig, folder: Path) -> None:
        self.network, self.config, self.folder = network, config, folder
        self.optimiser = torch.optim.AdamW(network.parameters(), lr=config.lr, weight_decay=config.weight_decay)
        self.averaged = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
        self.done, self.seconds, self._rows = 0, 0.0, list[list[Any]]()
        if (folder / _CHECKPOINT).is_file():
            self._resume(*load_tensors(folder / _CHECKPOINT))

    def to_the_end(self, faces: RegionFaces, progress: Callable[[int, float], None] | None) -> None:
        """Do the steps that are left; keep a checkpoint every two minutes and when cut off."""
        config, network, began = self.config, self.network, time.perf_counter()
        before, saved = self.seconds, began
        network.train()
        try:
            for step in range(self.done, config.steps):
                for group in self.optimiser.param_groups:
                    group["lr"] = learning_rate(config, step)
                terms = _step(
                    network,
                    self.optimiser,
                    config,
                    draw_batch(faces, config.batch, (config.seed, step), Jitter(), network.reduce),
                )
                self._average(step)
                self.done, self.seconds = step + 1, before + time.perf_counter() - began
                if step % 20 == 0 or self.done == config.steps:
                    self._rows.append([step, *(round(float(term), 4) for term in terms)])
                if progress is not None:
                    progress(self.done, float(terms.mean()))
                if time.perf_counter() - saved > _CHECKPOINT_SECONDS:
                    saved = time.perf_counter()
                    self._save()
        finally:
            self._save()
            self._log()

    def _average(self, step: int) -> None:
        decay = min(self.config.ema, (step + 1) / (step + 10))
        for name, tensor in self.network.state_dict().items():
            self.averaged[name] = (
                decay * self.averaged[name] + (1 - decay) * tensor if tensor.is_floating_point() else tensor.clone()
            )

    def _save(self) -> None:
        tensors = {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()}
        tensors |= {f"average.{name}": tensor for name, tensor in self.averaged.items()}
        for number, state in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{number}.{name}": torch.as_tensor(value) for name, value in state.items()}
        header = {"done": self.done, "seconds": self.seconds, "rows": self._rows, "config": asdict(self.config)}
        plain = {
            name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()
        }
        save_tensors(self.folder / _CHECKPOINT, plain, header)

    def _resume(self, tensors: dict[str, Tensor], header: dict[str, Any]) -> None:
        if header.get("config") != json.loads(json.dumps(asdict(self.config))):
            return  # another recipe's: begun anew
        self.network.load_state_dict(
            {name.removeprefix("network."): t for name, t in tensors.items() if name.startswith("network.")}
        )
        for name, tensor in self.averaged.items():
            tensor.copy_(tensors[f"average.{name}"])
        state: dict[int, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            if name.startswith("optimiser."):
                _, number, key = name.split(".", 2)
                state.setdefault(int(number), {})[key] = tensor
        self.optimiser.load_state_dict({"state": state, "param_groups": self.optimiser.state_dict()["param_groups"]})
        self.done, self.seconds, self._rows = int(header["done"]), float(header["seconds"]), header["rows"]

    def _log(self) -> None:
        with (self.folder / "log.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([["step", *GROUPS], *self._rows])


def _step(
    network: nn.Module, optimiser: torch.optim.Optimizer, config: RegionConfig, batch: tuple[Tensor, Tensor, Tensor]
) -> Tensor:
    device = next(network.parameters()).device
    rgb, region, known = (part.to(device, non_blocking=True) for part in batch)
    with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bf16"):
        logits = network(rgb.to(memory_format=torch.channels_last))
    terms = region_terms(logits.float(), region, known)  # (K,)
    optimiser.zero_grad()
    terms.mean().backward()  # type: ignore[no-untyped-call]
    optimiser.step()
    return terms.detach()


def save_region_network(path: str | os.PathLike[str], network: RegionUNet, config: RegionConfig) -> None:
    """Write a region network as fp16 safetensors with its config and group names."""
    tensors = {name: t.half() if t.is_floating_point() else t for name, t in network.state_dict().items()}
    save_tensors(
        path,
        tensors,
        {"kind": "region_unet", "scale": config.scale, "groups": list(network.groups), "config": asdict(config)},
    )


def load_region_network(path: str | os.PathLike[str]) -> RegionUNet:
    """Rebuild a region network written by `save_region_network`, in eval mode. Raises: ModelFileError."""
    tensors, header = load_tensors(path)
    network = region_unet(header["groups"], header["scale"])
    network.load_state_dict({name: t.float() if t.is_floating_point() else t for name, t in tensors.items()})
    return network.eval()


def predict(network: RegionUNet, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Return region (N,K,h,w) in 0..1 at full size for RGB images (N,h,w,3) uint8; one image at a time, so no answer
    depends on its batch."""
    network.eval()
    out = []
    with torch.no_grad():
        for image in images:
            rgb = as_input(image[None])
            logits = F.interpolate(network(rgb), size=rgb.shape[-2:], mode="bilinear", align_corners=False)
            out.append(torch.sigmoid(logits)[0].numpy())
    return np.stack(out)


Answer = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]
"""An image (h,w,3) uint8 RGB -> its masks (K,h,w) in 0..1."""


def score(network: RegionUNet, faces: RegionFaces) -> dict[str, Any]:
    """Return IoU per group on held-out parsed faces and on the landmark test photos: of the network and, beside it, of
    the mean face's masks.

    `jittered`: the same where the face is turned, scaled and shifted within the crop, which masks that are the same for
    all cannot follow.
    """
    mean = _mean_masks()
    answers: dict[str, Answer] = {"": lambda image: predict(network, image[None])[0], "mean_": lambda image: mean}
    table: dict[str, Any] = {}
    for prefix, answer in answers.items():
        for suffix, jitter in (("", PLAIN), ("_jittered", SCORED_JITTER)):
            table[f"{prefix}parsing{suffix}"] = iou_table(answer, faces.held_parsed, jitter)
            table[f"{prefix}landmarks{suffix}"] = iou_table(answer, faces.held_landmarked, jitter)
    return {
        **{key: rows for key, rows in table.items() if rows},
        "held_out": sorted(face.name for face in faces.held_parsed),
    }


def _mean_masks() -> npt.NDArray[np.float32]:
    """Return the mean face's masks (K,218,178), drawn as those of annotated faces are."""
    from lineament.data.mean_face import MEAN_FACE_68

    return annotated_region(np.asarray(MEAN_FACE_68, np.float64), CROP_SIZE).astype(np.float32)


def iou_table(answer: Answer, faces: Sequence[RegionFace], jitter: Jitter = PLAIN) -> dict[str, Any]:
    """Return {group: {"iou", "mean_iou", "images"}} at 0.5 on the pixels that people labelled; other groups are left
    out.

    Args: answer: image -> masks; jitter: the random similarity (one per face, always the same) it is seen through.
    """
    counts: dict[str, list[tuple[int, int]]] = {group: [] for group in GROUPS}
    for number, face in enumerate(faces):
        for group, pair in zip(GROUPS, _overlap(answer, face, jitter, number), strict=True):
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


def _overlap(answer: Answer, face: RegionFace, jitter: Jitter, number: int) -> Iterator[tuple[int, int] | None]:
    """Yield (intersection, union) in pixels of each group of one face, None where the group is unknown."""
    rng = np.random.default_rng([7, number])
    image, labels, scored = sample(replace(face, known=face.scored), rng, jitter, reduce=1)
    said = answer(image) >= 0.5
    for mask, truth, seen in zip(said, unpack(labels), unpack(scored), strict=True):
        if not seen.any():
            yield None
        else:
            yield int((mask & truth & seen).sum()), int(((mask | truth) & seen).sum())
