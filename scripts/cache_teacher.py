"""Write a teacher's probabilities for the training images of a config: what `loss.teacher` and `loss.distill` read.

    python scripts/cache_teacher.py --config configs/cpu/baseline.yaml --teacher runs/mgmtn --teacher runs/far_amtn --views 4

Views: the image, its mirror, then jittered ones; networks and views are averaged. The file is runs/teacher/<fingerprint>.npy.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import torch

from lineament.config import load_config
from lineament.training.dataset import load_images
from lineament.training.prepare.teacher_answers import load_teachers, teacher_probs, write_teacher


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, help="whose data section names the images")
    parser.add_argument("--teacher", action="append", required=True, help="shipped name, run folder or safetensors file; repeat for an ensemble")
    parser.add_argument("--views", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", default="runs/teacher", help="folder of the array")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    given = parser.parse_args(arguments)
    if given.threads:
        torch.set_num_threads(given.threads)
    config = load_config(given.config)
    material = load_images(config)
    teachers, began, total = load_teachers(given.teacher), time.perf_counter(), len(material.table)

    def progress(done: int) -> None:
        if done % 1024 < 32 or done == total:
            speed = done / (time.perf_counter() - began)
            print(f"{done}/{total}  {speed:.0f} images/s  {(total - done) / speed / 60:.1f} min left", file=sys.stderr, flush=True)

    probs = teacher_probs(teachers, material, views=given.views, seed=given.seed, device=given.device, precision=given.precision, progress=progress)
    fingerprint = material.table.fingerprint()
    facts = {
        "data_fingerprint": fingerprint, "attributes": list(material.table.attributes), "views": given.views, "seed": given.seed,
        "precision": given.precision,
    }  # fmt: skip
    print(write_teacher(Path(given.out) / f"{fingerprint}.npy", probs, teachers, facts))
    return 0


if __name__ == "__main__":
    sys.exit(main())
