"""The trunk's pooled feature as an optional output: what torch pools, beside the logits, and no trace of the machine
that exported it."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from lineament.export.onnx_export import Deployed, forget_source, to_onnx  # noqa: E402
from lineament.models.backbone import Backbone  # noqa: E402
from lineament.models.baseline import Baseline  # noqa: E402
from lineament.models.layers import Preprocess  # noqa: E402


def small() -> nn.Module:
    torch.manual_seed(0)
    stages = [nn.Conv2d(3, 4, 3, 8), nn.Conv2d(4, 5, 3, 2), nn.Conv2d(5, 6, 3, 2)]
    backbone = Backbone(nn.Identity(), stages, (4, 5, 6), 0)
    return Baseline(
        backbone,
        Preprocess((64, 56), "RGB", (127.0,) * 3, (128.0,) * 3),
        ("Smiling", "Bangs"),
        {"all": ("Smiling", "Bangs")},
    ).eval()


def test_the_exported_features_are_what_torch_pools(tmp_path) -> None:
    from onnxruntime import InferenceSession

    network = small()
    proto, _ = to_onnx(network)
    assert [output.name for output in proto.graph.output] == ["logits", "maps", "features"]
    crops = np.random.default_rng(0).integers(0, 256, (2, 3, 218, 178)).astype(np.uint8)
    logits, features = InferenceSession(proto.SerializeToString()).run(["logits", "features"], {"crops": crops})
    with torch.no_grad():
        expected = network.backbone(network.preprocess(torch.from_numpy(crops)))[-1].mean((2, 3))
        assert Deployed(network).names() == ["logits", "maps", "features"]
    np.testing.assert_allclose(features, expected.numpy(), atol=1e-5)
    np.testing.assert_allclose(
        logits, (expected @ network.head.weight.T + network.head.bias).detach().numpy(), atol=1e-5
    )


def test_a_file_holds_no_path_of_the_machine_that_made_it() -> None:
    node = onnx.helper.make_node("Identity", ["x"], ["y"])
    entry = node.metadata_props.add()
    entry.key, entry.value, node.doc_string = "stack_trace", 'File "/home/someone/net.py"', "/home/someone"
    float_ = onnx.TensorProto.FLOAT
    ends = [onnx.helper.make_tensor_value_info(name, float_, [1]) for name in "xy"]
    proto = onnx.helper.make_model(onnx.helper.make_graph([node], "g", ends[:1], ends[1:]))
    forget_source(proto)
    assert b"/home/someone" not in proto.SerializeToString()


@pytest.mark.parametrize("name", ["default.onnx", "default.int8.onnx"])
def test_the_shipped_files_give_features_and_hold_no_path(default_weights, name) -> None:
    proto = onnx.load(default_weights.parent / name)
    assert "features" in [output.name for output in proto.graph.output]
    assert not any(entry.key for node in proto.graph.node for entry in node.metadata_props if "stack" in entry.key)
