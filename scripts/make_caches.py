"""Compute what `data.regions` and `data.landmarks` of a training config name: python scripts/make_caches.py --config configs/cpu/mgmtn.yaml.

Soft masks come from the region network (--region-weights), landmarks from the detector. Paths may hold {fingerprint}, the data's.
"""

import argparse
import dataclasses
import sys
import time
from pathlib import Path

import torch

from lineament.config import expand, load_config
from lineament.engine.caches import write_landmarks, write_regions
from lineament.engine.material import load_material
from lineament.engine.regions import load_region_network
from lineament.pipeline.detect import RetinaFace


def progress_of(name, total):
    began = time.perf_counter()

    def tell(done):
        if done % 1024 == 0 or done == total:
            speed = done / (time.perf_counter() - began)
            print(f"{name}: {done}/{total}  {speed:.0f} img/s  {(total - done) / speed / 60:.1f} min left", file=sys.stderr, flush=True)

    return tell


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", required=True)
    parser.add_argument("--region-weights", default="results/regions/region_unet.safetensors")
    parser.add_argument("--threads", type=int)
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    config = load_config(arguments.config)
    bare = dataclasses.replace(config.data, regions=None, landmarks=None)
    material = load_material(dataclasses.replace(config, data=bare))
    crops = material.crops
    for key in ("regions", "landmarks"):
        named = getattr(config.data, key)
        if named is None:
            continue
        path = Path(str(expand(named)).replace("{fingerprint}", material.table.fingerprint()))
        if path.is_file():
            print(f"{path} is there already", file=sys.stderr)
        elif key == "regions":
            write_regions(crops, load_region_network(arguments.region_weights), path, progress_of(key, len(crops)))
        else:
            # Aligned crops are upright and of one size: what a photo's detector does beyond one pass changes nothing here.
            detector = RetinaFace(threads=arguments.threads, second_look=False, rescue=False)
            write_landmarks(crops, detector.detect, path, progress_of(key, len(crops)))


main()
