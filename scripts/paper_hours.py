"""Rebuild the tables of docs/reproduce.md: what each paper's configuration costs on CelebA as distributed, in disk and
in hours by class of card.

    python scripts/paper_hours.py                # write them between the page's marks
    python scripts/paper_hours.py --check        # exit 1 if they are stale

Multiply-adds of a training image are counted: torch's own counter sees one forward and one backward pass of the real
network, without its weights (on the device `meta`, so in seconds and without a card). Hours are computed from them;
nothing here was timed, and nothing was run on CUDA.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from lineament.config import TrainConfig, load_config, load_settings
from lineament.data.block_file import size_text
from lineament.data.regions import GROUPS
from lineament.geometry import CROP_SIZE
from lineament.models.backbone import create_backbone, create_preprocess
from lineament.models.build import called
from lineament.models.region_unet import region_unet
from lineament.schema import CELEBA_40, MGMTN_GROUPS
from lineament.training.prepare.region_network import RegionConfig
from lineament.training.prepare.steps import part_sizes, regions_name

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reproduce.md"
CONFIGS = ("baseline-celeba", "mgmtn-celeba", "far-amtn-celeba", "dmm-cnn-celeba")
TRAIN_IMAGES = 162_770
"""CelebA's official train split."""
CARDS = {"RTX 3090": 71.0, "RTX 4090": 165.0, "A100": 312.0, "H100 SXM": 989.0}
"""Class of card -> its maker's peak in bf16 with fp32 sums, without sparsity, in 10^12 operations a second."""
UTILISATION = (0.25, 0.10)
"""The shares of the peak that are assumed, the better one first."""
SAMPLE = 2
"""Images that are counted together: norms in training need more than one."""


@dataclass(frozen=True)
class Cost:
    """What one configuration costs. Multiply-adds are those of one image."""

    name: str
    parameters: int
    forward: int
    training: int
    images: int
    disk: dict[str, int]

    def hours(self, peak: float, share: float) -> float:
        """Return hours on a card of `peak` 10^12 operations a second, of which `share` is had: a multiply-add is two
        operations."""
        return 2 * self.training * self.images / (share * peak * 1e12) / 3600


def counted(network: nn.Module, x: torch.Tensor, *, backward: bool) -> int:
    """Return the multiply-adds of one image through `network` in training mode, forward or forward and backward."""
    counter = FlopCounterMode(display=False)
    with counter, torch.set_grad_enabled(backward):
        output = network.train()(x)
        logits = output if isinstance(output, torch.Tensor) else output.logits
        loss = logits.float().square().mean()
        if getattr(output, "landmarks", None) is not None:
            loss = loss + output.landmarks.float().square().mean()
        if backward:
            loss.backward()
    return counter.get_total_flops() // 2 // len(x)


def build(config: TrainConfig) -> nn.Module:
    """Return the network of a configuration without weights, on the device `meta`."""
    model, options = (
        config.model,
        {key: value for key, value in config.model.options.items() if key != "region_weights"},
    )
    backbone = create_backbone(model.backbone, None, model.frozen_stages, input_size=model.input_size)
    return called(
        model.name, backbone, create_preprocess(model.backbone, model.input_size), CELEBA_40, MGMTN_GROUPS, **options
    ).to("meta")


def cost_of(name: str) -> Cost:
    """Return the cost of a configuration of `lineament configs`."""
    config = load_config(name)
    settings, network = config.optimiser, build(config)
    x = torch.zeros((SAMPLE, 3, *(config.augment.crop or config.model.input_size)), device="meta")
    trained = sum(p.numel() for p in network.parameters() if p.requires_grad)
    weights = sum(tensor.numel() for tensor in network.state_dict().values())
    disk = part_sizes(config, TRAIN_IMAGES, len(CELEBA_40))
    disk["checkpoint"] = 2 * 4 * weights + 4 * trained * (
        2 if settings.name == "adamw" else 1
    )  # weights, their mean, the optimiser's moments
    disk["epochs"] = 2 * weights * (settings.epochs + 1)  # fp16, and the last once more
    images = (TRAIN_IMAGES - config.data.holdout) // settings.batch * settings.batch * settings.epochs
    return Cost(name, trained, counted(network, x, backward=False), counted(network, x, backward=True), images, disk)


def region_cost(config: TrainConfig) -> Cost:
    """Return the cost of the region network that a configuration's preparation trains first."""
    settings = load_settings(RegionConfig, regions_name(config))
    network, x = region_unet(GROUPS, settings.scale).to("meta"), torch.zeros((SAMPLE, 3, *CROP_SIZE), device="meta")
    parameters = sum(p.numel() for p in network.parameters())
    forward, training = (counted(network, x, backward=backward) for backward in (False, True))
    return Cost(settings.name, parameters, forward, training, settings.steps * settings.batch, {})


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table, numbers to the right."""
    lines = [" | ".join(heads), " | ".join(["---"] + ["---:"] * (len(heads) - 1)), *(" | ".join(row) for row in rows)]
    return "".join(f"| {line} |\n" for line in lines)


def hours_table(costs: Iterable[Cost]) -> str:
    """Return multiply-adds and hours, one row per configuration."""
    rows = []
    for cost in costs:
        spans = [" to ".join(f"{cost.hours(peak, share):.1f}" for share in UTILISATION) for peak in CARDS.values()]
        work = [
            f"{cost.parameters / 1e6:.1f} M",
            f"{cost.forward / 1e9:.2f} G",
            f"{cost.training / 1e9:.2f} G",
            f"{cost.images:,}",
        ]
        rows.append([f"`{cost.name}`", *work, *spans])
    peaks = [f"{card} ({peak:.0f})" for card, peak in CARDS.items()]
    return table(
        ["config", "trained parameters", "multiply-adds, forward", "and backward", "images in all", *peaks], rows
    )


def disk_table(costs: Iterable[Cost]) -> str:
    """Return what lies on disk after one seed, one row per configuration."""
    kinds = ("decoded crops", "landmarks", "the region network", "checkpoint", "epochs")
    rows = []
    for cost in costs:
        sizes = [size_text(cost.disk[kind]) if kind in cost.disk else "-" for kind in kinds]
        rows.append([f"`{cost.name}`", *sizes, size_text(sum(cost.disk.values()))])
    return table(
        [
            "config",
            "crop cache (shared)",
            "landmarks",
            "region network",
            "checkpoint",
            "weights of each epoch",
            "in all",
        ],
        rows,
    )


def filled(page: str) -> str:
    """Return the page with both tables anew between their marks."""
    costs = [cost_of(name) for name in CONFIGS]
    region = region_cost(load_config("mgmtn-celeba"))
    for mark, text in (("disk", disk_table(costs)), ("hours", hours_table([*costs, region]))):
        begin, end = f"<!-- {mark}: written by scripts/paper_hours.py -->\n", f"<!-- {mark}: end -->"
        before, _, rest = page.partition(begin)
        page = before + begin + text + end + rest.partition(end)[2]
    return page


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    given = parser.parse_args(arguments)
    page = PAGE.read_text("utf-8")
    fresh = filled(page)
    if given.check and fresh != page:
        print("docs/reproduce.md is stale. Run python scripts/paper_hours.py", file=sys.stderr)
    elif not given.check:
        PAGE.write_text(fresh, "utf-8")
    return int(given.check and fresh != page)


if __name__ == "__main__":
    sys.exit(main())
