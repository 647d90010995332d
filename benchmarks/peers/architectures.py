"""The peers' published architectures with random weights, in torch: what they cost, not what they answer.

Sources (descriptions only): ViT-B/16 (Dosovitskiy et al., ICLR 2021; facer's attribute model, FaRL, CVPR 2022, is one
at 224 pixels); VGG-Face (Parkhi et al., BMVC 2015): VGG16 with two layers of 4096, which deepface puts under its age,
gender and race models; SCRFD-10GF (Guo et al., ICLR 2022): basic blocks (3,4,2,3) of 56, 88, 88, 224 channels, a path
aggregation pyramid of 56, heads of three 3x3 convolutions of 80; MobileNet 0.25 at 96 pixels (insightface's genderage);
RetinaFace-MobileNet0.25 (facer's default detector) as `scripts/convert_retinaface.py` writes it.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

sys.path.append(str(Path(__file__).resolve().parents[2] / "scripts"))


def vit() -> nn.Module:
    """Return ViT-B/16 at 224 with 40 outputs."""
    import timm

    return timm.create_model("vit_base_patch16_224", pretrained=False, num_classes=40).eval()


def vgg_face(outputs: int) -> nn.Module:
    """Return VGG16's convolutions and two 4096 layers, with `outputs`."""
    from torchvision.models import vgg16

    return vgg16(weights=None, num_classes=outputs).eval()


def emotion() -> nn.Module:
    """Return a small plain network on 48x48 grey, seven outputs, of the size of deepface's."""
    convolutions = nn.Sequential(
        nn.Conv2d(1, 64, 5), nn.ReLU(), nn.MaxPool2d(5, 2), nn.Conv2d(64, 64, 3), nn.ReLU(), nn.Conv2d(64, 64, 3),
        nn.ReLU(), nn.AvgPool2d(3, 2), nn.Conv2d(64, 128, 3), nn.ReLU(), nn.Conv2d(128, 128, 3), nn.ReLU(),
        nn.AvgPool2d(3, 2),
    )  # fmt: skip
    return nn.Sequential(
        convolutions,
        nn.Flatten(),
        nn.Linear(128, 1024),
        nn.ReLU(),
        nn.Linear(1024, 1024),
        nn.ReLU(),
        nn.Linear(1024, 7),
    ).eval()


def retinaface() -> nn.Module:
    """Return RetinaFace-MobileNet0.25 with random weights: image uint8 (1,H,W,3) -> boxes, logits, points."""
    from convert_retinaface import RetinaFaceNet

    return RetinaFaceNet().eval()


class _Basic(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(inputs, outputs, 3, stride, 1), nn.Conv2d(outputs, outputs, 3, 1, 1)
        self.skip = (
            nn.Sequential(nn.AvgPool2d(2, 2), nn.Conv2d(inputs, outputs, 1))
            if stride == 2
            else nn.Conv2d(inputs, outputs, 1)
        )
        if stride == 1 and inputs == outputs:
            self.skip = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.two(F.relu(self.one(x))) + self.skip(x))


class Scrfd(nn.Module):
    """SCRFD-10GF, norms folded: image (1,3,640,640) -> per stride 8, 16, 32: probabilities, boxes, points."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 28, 3, 2, 1),
            nn.ReLU(),
            nn.Conv2d(28, 28, 3, 1, 1),
            nn.ReLU(),
            nn.Conv2d(28, 56, 3, 1, 1),
            nn.ReLU(),
            nn.MaxPool2d(2),
        )
        widths, blocks, inputs = (56, 88, 88, 224), (3, 4, 2, 3), 56
        self.stages = nn.ModuleList()
        for stage, (width, count) in enumerate(zip(widths, blocks, strict=True)):
            parts = [_Basic(inputs, width, 2 if stage else 1), *(_Basic(width, width, 1) for _ in range(count - 1))]
            self.stages.append(nn.Sequential(*parts))
            inputs = width
        self.lateral = nn.ModuleList(nn.Conv2d(width, 56, 1) for width in widths[1:])
        self.smooth = nn.ModuleList(nn.Conv2d(56, 56, 3, 1, 1) for _ in range(3))
        self.down = nn.ModuleList(nn.Conv2d(56, 56, 3, 2, 1) for _ in range(2))
        self.after = nn.ModuleList(nn.Conv2d(56, 56, 3, 1, 1) for _ in range(2))
        self.head = nn.ModuleList(
            nn.Sequential(
                *(part for k in range(3) for part in (nn.Conv2d(56 if k == 0 else 80, 80, 3, 1, 1), nn.ReLU()))
            )
            for _ in range(3)
        )
        self.out = nn.ModuleList(nn.Conv2d(80, 2 * (1 + 4 + 10), 3, 1, 1) for _ in range(3))

    def forward(self, x: Tensor) -> list[Tensor]:
        x, levels = self.stages[0](self.stem(x)), []
        for stage, lateral in zip(self.stages[1:], self.lateral, strict=True):
            x = stage(x)
            levels.append(lateral(x))
        for fine in (1, 0):
            levels[fine] = levels[fine] + F.interpolate(levels[fine + 1], scale_factor=2.0, mode="nearest")
        levels = [smooth(level) for smooth, level in zip(self.smooth, levels, strict=True)]
        for coarse in (1, 2):
            levels[coarse] = self.after[coarse - 1](levels[coarse] + self.down[coarse - 1](levels[coarse - 1]))
        return [out(head(level)) for out, head, level in zip(self.out, self.head, levels, strict=True)]


def gender_age() -> nn.Module:
    """Return MobileNet 0.25 with three outputs (for 96x96 pixels)."""
    layers, inputs = [nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU()], 8
    for width, stride in ((16, 1), (32, 2), (32, 1), (64, 2), (64, 1), (128, 2), *((128, 1),) * 5, (256, 2), (256, 1)):
        layers += [
            nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs),
            nn.ReLU(),
            nn.Conv2d(inputs, width, 1),
            nn.ReLU(),
        ]
        inputs = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(256, 3)).eval()


BUILDERS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "vit": (vit, (1, 3, 224, 224)), "vgg": (lambda: vgg_face(101), (1, 3, 224, 224)),
    "emotion": (emotion, (1, 1, 48, 48)), "scrfd": (lambda: Scrfd().eval(), (1, 3, 640, 640)),
    "genderage": (gender_age, (1, 3, 96, 96)), "retinaface": (retinaface, (1, 512, 512, 3)),
}  # fmt: skip
"""Name -> (what builds it, the input it takes). For photos of 500 pixels; facer's detector takes a photo at its own
size."""


def macs(network: nn.Module, shape: tuple[int, ...]) -> int:
    """Return multiply-adds of the convolutions and linear layers for one input."""
    total = 0

    def count(layer: nn.Module, inputs: Any, output: Tensor) -> None:
        nonlocal total
        if isinstance(layer, nn.Conv2d):
            total += output.numel() * layer.weight[0].numel()
        elif isinstance(layer, nn.Linear):
            total += output.numel() * layer.in_features

    hooks = [layer.register_forward_hook(count) for layer in network.modules()]
    with torch.inference_mode():
        network(example(shape))
    for hook in hooks:
        hook.remove()
    return total


def example(shape: tuple[int, ...]) -> Tensor:
    return torch.zeros(shape, dtype=torch.uint8) if shape[-1] == 3 else torch.zeros(shape)


def export(name: str, path: Path) -> Path:
    """Write one architecture as ONNX."""
    build, shape = BUILDERS[name]
    torch.manual_seed(0)
    network = build()
    with torch.inference_mode():
        torch.onnx.export(network, (example(shape),), str(path), dynamo=False, opset_version=17, input_names=["x"])
    return path
