"""Compute what `data.regions` and `data.landmarks` of a training config name: python scripts/make_caches.py --config configs/cpu/mgmtn.yaml.

Soft masks come from the region network (--region-weights), landmarks from the detector. Paths may hold {fingerprint}, the data's. With --mesh, the
468-point face mesh (`scripts/convert_eyes.py --network mesh` makes its file), 468 landmarks where the config's network learns so many; and

    python scripts/make_caches.py --config configs/cpu/ablations/mgmtn-mask-keypoints.yaml --masks keypoints --mesh mesh.onnx --validation

draws masks from each face's own key points, for the training images and (--validation) for those that the run is scored on.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from lineament.config import TrainConfig, expand, load_config
from lineament.detection.retinaface import RetinaFace
from lineament.training.dataset import Material, load_images
from lineament.training.prepare.caches import (
    MeshPoints,
    write_keypoint_regions,
    write_landmarks,
    write_mean_regions,
    write_mesh_landmarks,
    write_regions,
)
from lineament.training.prepare.region_network import load_region_network


def progress_of(name: str, total: int) -> Callable[[int], None]:
    began = time.perf_counter()

    def tell(done: int) -> None:
        if done % 1024 == 0 or done == total:
            speed = done / (time.perf_counter() - began)
            print(f"{name}: {done}/{total}  {speed:.0f} img/s  {(total - done) / speed / 60:.1f} min left", file=sys.stderr, flush=True)

    return tell


def write(key: str, path: Path, material: Material, config: TrainConfig, given: argparse.Namespace) -> None:
    crops, tell = material.crops, progress_of(key, len(material.crops))
    if key == "regions" and given.masks == "keypoints":
        write_keypoint_regions(crops, MeshPoints(given.mesh, given.threads), path, tell)
    elif key == "regions" and given.masks == "mean-of-learned":
        write_mean_regions(crops, np.load(given.learned, mmap_mode="r"), path)
    elif key == "regions":
        write_regions(crops, load_region_network(given.region_weights), path, tell)
    elif config.model.options.get("landmarks") == 468:
        write_mesh_landmarks(crops, MeshPoints(given.mesh, given.threads), path, tell)
    else:
        # Aligned crops are upright and of one size: what a photo's detector does beyond one pass changes nothing here.
        detector = RetinaFace(threads=given.threads, second_look=False, rescue=False)
        write_landmarks(crops, detector.detect, path, tell)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True)
    parser.add_argument("--region-weights", default="results/regions/region_unet.safetensors")
    parser.add_argument("--masks", choices=("learned", "keypoints", "mean-of-learned"), default="learned")
    parser.add_argument("--learned", type=Path, help="for mean-of-learned: learned masks that were cached before, whose mean every image gets")
    parser.add_argument("--mesh", type=Path, help="ONNX file of the 468-point mesh")
    parser.add_argument("--validation", action="store_true", help="also for the official validation images")
    parser.add_argument("--threads", type=int)
    given = parser.parse_args(arguments)
    if given.threads:
        torch.set_num_threads(given.threads)
    config = load_config(given.config)
    if given.mesh is None and (given.masks == "keypoints" or config.model.options.get("landmarks") == 468):
        parser.error("key points and 468 landmarks need --mesh FILE: scripts/convert_eyes.py --network mesh makes it.")
    if given.learned is None and given.masks == "mean-of-learned":
        parser.error("mean-of-learned needs --learned FILE, masks that this script wrote before.")
    official = {"layout": "official", "path": "$LINEAMENT_DATA/celeba/official", "split": "val", "exclude": None, "limit": None}
    for images in ({}, official) if given.validation else ({},):
        material = load_images(config, **images)
        for key in ("regions", "landmarks"):
            named = getattr(config.data, key)
            path = None if named is None else Path(str(expand(named)).replace("{fingerprint}", material.table.fingerprint()))
            if path is not None and path.is_file():
                print(f"{path} is there already", file=sys.stderr)
            elif path is not None:
                write(key, path, material, config, given)
    return 0


if __name__ == "__main__":
    sys.exit(main())
