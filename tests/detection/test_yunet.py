"""YuNet's adapter: on a network with YuNet's inputs and outputs that the test builds, with one face at a known cell."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lineament.detection.retinaface import Detector, YuNet
from lineament.detection.yunet import decode_level
from lineament.errors import ModelFileError, UsageError

onnx = pytest.importorskip("onnx", reason="building an ONNX file takes the onnx package (extra: train)")

SIDE = 640
CELL = {"stride": 16, "row": 12, "column": 7}


def build(path: Path, *, fixed: bool = True, without: str = "") -> Path:
    """Write a YuNet look-alike: one find, as probable as the picture is blue (channel 0 of BGR), everything else
    improbable."""
    from onnx import TensorProto, helper, numpy_helper

    nodes = [
        helper.make_node("Gather", ["input", "zero"], ["blue"], axis=1),
        helper.make_node("ReduceMax", ["blue"], ["bluest"], keepdims=0),
        helper.make_node("Div", ["bluest", "full"], ["share"]),
    ]
    constants = {"zero": np.int64(0), "full": np.float32(255)}
    outputs = []
    for stride in (8, 16, 32):
        cells = (SIDE // stride) ** 2
        for kind, width in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10)):
            table = np.zeros((1, cells, width), np.float32)
            if stride == CELL["stride"]:
                index = CELL["row"] * (SIDE // stride) + CELL["column"]
                table[0, index] = {
                    "cls": 0.9, "obj": 0.9, "bbox": [0.5, 0.25, np.log(4), np.log(6)],
                    "kps": [-1, -1, 1, -1, 0, 0, -1, 1, 1, 1],
                }[kind]  # fmt: skip
            name = f"{kind}_{stride}"
            if name == without:
                continue
            constants[f"table_{name}"] = table
            nodes.append(
                helper.make_node(
                    "Mul" if kind in ("cls", "obj") else "Identity",
                    [f"table_{name}", "share"][: 1 + (width == 1)],
                    [name],
                )
            )
            outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, cells, width]))
    shape = [1, 3, SIDE, SIDE] if fixed else [1, 3, "height", "width"]
    graph = helper.make_graph(
        nodes, "yunet", [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)], outputs,
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path


def expected(scale: float) -> tuple[list[float], np.ndarray]:
    """Return the box and the points of the one find, from the definition, in the pixels of a photo reduced by
    `scale`."""
    stride, x, y = 16, 7, 12
    centre = ((x + 0.5) * stride, (y + 0.25) * stride)
    box = [centre[0] - 2 * stride, centre[1] - 3 * stride, centre[0] + 2 * stride, centre[1] + 3 * stride]
    points = np.array([[x - 1, y - 1], [x + 1, y - 1], [x, y], [x - 1, y + 1], [x + 1, y + 1]]) * stride
    return [value / scale for value in box], points / scale


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("yunet") / "face_detection_yunet_like.onnx")


@pytest.mark.parametrize(("height", "width", "scale"), [(640, 640, 1.0), (480, 600, 1.0), (1280, 960, 0.5)])
def test_one_find_is_decoded_into_photo_pixels(file: Path, height: int, width: int, scale: float) -> None:
    photo = np.zeros((height, width, 3), np.uint8)
    photo[..., 2] = 255
    detector = YuNet(file, threads=1)
    assert isinstance(detector, Detector)
    faces = detector.detect(photo)
    box, points = expected(scale)
    assert len(faces) == 1
    np.testing.assert_allclose(faces.boxes_xyxy[0], box, rtol=1e-5)
    np.testing.assert_allclose(faces.keypoints[0], points, rtol=1e-5)
    assert faces.detection_probs[0] == pytest.approx(0.9, abs=1e-3)


def test_channels_arrive_as_bgr(file: Path) -> None:
    red = np.zeros((640, 640, 3), np.uint8)
    red[..., 0] = 255
    assert len(YuNet(file, threads=1).detect(red)) == 0


def test_a_file_of_free_size_gets_multiples_of_32(tmp_path: Path) -> None:
    photo = np.full((625, 640, 3), 255, np.uint8)
    faces = YuNet(build(tmp_path / "free.onnx", fixed=False), threads=1).detect(photo)
    np.testing.assert_allclose(faces.boxes_xyxy[0], expected(1.0)[0], rtol=1e-5)


def test_thresholds_hold(file: Path) -> None:
    white = np.full((640, 640, 3), 255, np.uint8)
    assert len(YuNet(file, threads=1, min_prob=0.95).detect(white)) == 0
    assert len(YuNet(file, threads=1, min_face=100).detect(white)) == 0


def test_another_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="kps_16"):
        YuNet(build(tmp_path / "other.onnx", without="kps_16"))
    with pytest.raises(ModelFileError, match="No detector at"):
        YuNet(tmp_path / "absent.onnx")


def test_other_pixels_are_refused(file: Path) -> None:
    with pytest.raises(UsageError, match="uint8"):
        YuNet(file, threads=1).detect(np.zeros((5, 5, 3)))  # type: ignore[arg-type]


def test_a_network_that_says_a_little_less_than_nothing_or_more_than_all() -> None:
    """Its numbers are probabilities but for rounding: under 0 is 0, over 1 is 1."""
    cls, obj = np.array([-0.01, 0.5, 1.02, 0.5]), np.array([0.5, -0.01, 0.25, 1.02])
    outputs = {
        "cls_8": cls[None, :, None],
        "obj_8": obj[None, :, None],
        "bbox_8": np.zeros((1, 4, 4)),
        "kps_8": np.zeros((1, 4, 10)),
    }
    assert decode_level(outputs, 8, 2).probs == pytest.approx([0, 0, 0.5, np.sqrt(0.5)])
