"""Cut the second look's network out of the detector's: `lineament/weights/retinaface.onnx` ->
`lineament/weights/retinaface_look.onnx`.

    python scripts/convert_look.py

A look shows one face with its eyes 64 pixels apart, far above the anchors of stride 8 (16 and 32 pixels). Without
that level's merge, context and heads half of the multiplications are gone, and strides 16 and 32 give the very same
numbers. The input becomes a batch: `image` uint8 [N,H,W,3] -> `boxes` [N,P,4], `logits` [N,P,2], `points` [N,P,10],
P the anchors of strides 16 and 32 in the order of `candidates.anchors`.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper, utils

WEIGHTS = Path(__file__).resolve().parents[1] / "lineament" / "weights"
SOURCE, TARGET = WEIGHTS / "retinaface.onnx", WEIGHTS / "retinaface_look.onnx"
SIZES = {"boxes": 4, "logits": 2, "points": 10}


def cut(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model without its stride-8 level, for batches."""
    makers = {output: node for node in model.graph.node for output in node.output}
    for name, size in SIZES.items():
        joined = makers[name]
        del joined.input[0]  # the level of stride 8
        shape = numpy_helper.from_array(np.array([0, -1, size], np.int64), f"batch_shape_{name}")
        model.graph.initializer.append(shape)
        for level in joined.input:
            makers[level].input[1] = shape.name
            del makers[level].attribute[:]  # allowzero: here 0 means "as it comes", the batch
        joined.attribute[0].i = 1
    del model.graph.value_info[:]
    found = utils.Extractor(model).extract_model(["image"], list(SIZES))
    for value, axes in (
        (found.graph.input[0], ("N", "H", "W", None)),
        *((out, ("N", "P", None)) for out in found.graph.output),
    ):
        declare(value, axes, SIZES.get(value.name, 3))
    contract = json.loads(model.metadata_props[0].value)
    contract |= {
        "anchors": {"sizes": [[64, 128], [256, 512]], "strides": [16, 32]},
        "input": contract["input"].replace("[1,H,W,3]", "[N,H,W,3]"),
        "outputs": (
            "boxes [N,P,4], logits [N,P,2] background/face, points [N,P,10]: offsets to anchors, variances 0.1 and 0.2"
        ),
        "cut_from": hashlib.sha256(SOURCE.read_bytes()).hexdigest(),
    }
    del found.metadata_props[:]
    found.metadata_props.add(key="lineament_detector", value=json.dumps(contract, sort_keys=True))
    found.producer_name, found.doc_string = "", ""
    return found


def declare(value: onnx.ValueInfoProto, axes: tuple[str | None, ...], last: int) -> None:
    """Write the shape of an input or output: names of the free axes, `last` for the fixed one."""
    shape = value.type.tensor_type.shape
    del shape.dim[:]
    for axis in axes:
        dim = shape.dim.add()
        if axis is None:
            dim.dim_value = last
        else:
            dim.dim_param = axis


def check_same() -> None:
    """Raises: AssertionError unless both files give the same numbers at strides 16 and 32, whatever the batch."""
    whole, part = (onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]) for path in (SOURCE, TARGET))
    for height, width in ((256, 224), (64, 96)):
        images = np.random.default_rng(height).integers(0, 256, (5, height, width, 3), np.uint8)
        small = 2 * (height // 8) * (width // 8)
        wanted = [[output[small:] for output in whole.run(None, {"image": image[None]})] for image in images]
        for count in (1, 2, 5):
            given = part.run(None, {"image": images[:count]})
            for k in range(3):
                np.testing.assert_array_equal(given[k], np.stack([one[k] for one in wanted[:count]]))


def main() -> None:
    TARGET.write_bytes(cut(onnx.load(SOURCE)).SerializeToString(deterministic=True))
    check_same()
    print(
        f"{TARGET.name}: {TARGET.stat().st_size} bytes, sha256 {hashlib.sha256(TARGET.read_bytes()).hexdigest()}; same "
        f"numbers as {SOURCE.name}"
    )


if __name__ == "__main__":
    main()
