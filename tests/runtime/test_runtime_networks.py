"""Every runtime through one parity suite: a NumPy oracle, byte identity whatever the batch, forks, threads, stated
precision."""

from __future__ import annotations

import os
import pickle
from concurrent.futures import ThreadPoolExecutor
from copy import copy, deepcopy
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from toy_model import toy_card, write_toy_model

from lineament.errors import ModelFileError, UsageError
from lineament.runtime.network import Network
from lineament.runtime.registry import load_network
from lineament.schema import CELEBA_40
from lineament.types import Crops

RUNTIMES = ("onnx", "openvino")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy_model(tmp_path_factory.mktemp("model") / "toy.onnx")


@pytest.fixture(params=RUNTIMES)
def runtime(request: pytest.FixtureRequest) -> str:
    if request.param == "openvino":
        pytest.importorskip("openvino")
    return str(request.param)


def crops(count: int, seed: int = 0) -> Crops:
    pixels = np.random.default_rng(seed).integers(0, 256, (count, 3, 218, 178), np.uint8)
    return Crops(pixels, np.zeros((count, 2, 3), np.float32))


def part(whole: Crops, start: int, stop: int) -> Crops:
    return Crops(whole.pixels[start:stop], whole.crop_from_image[start:stop])


def oracle(path: Path, pixels: np.ndarray) -> np.ndarray:
    constants = {
        tensor.name: numpy_helper.to_array(tensor).astype(np.float64) for tensor in onnx.load(path).graph.initializer
    }
    centred = pixels.astype(np.float64) / 255 - 0.5
    cells = centred[:, :, :216, :177].reshape(len(pixels), 3, 4, 54, 3, 59).mean((3, 5)).reshape(len(pixels), -1)
    return cells @ constants["weight"] + constants["bias"]


def test_logits_are_what_numpy_says(path: Path, runtime: str) -> None:
    batch = crops(5)
    output = load_network(path, runtime)(batch)
    assert output.attributes == CELEBA_40
    assert output.logits.dtype == np.float32
    np.testing.assert_allclose(output.logits, oracle(path, batch.pixels), atol=1e-5)


def test_features_come_where_they_are_asked_for_and_move_no_logit(path: Path, runtime: str) -> None:
    batch, network = crops(5), load_network(path, runtime)
    plain, asked = network(batch), network.with_features(batch)
    assert plain.features is None
    assert asked.logits.tobytes() == plain.logits.tobytes()
    cells = (
        (batch.pixels.astype(np.float64) / 255 - 0.5)[:, :, :216, :177]
        .reshape(5, 3, 4, 54, 3, 59)
        .mean((3, 5))
        .reshape(5, -1)
    )
    np.testing.assert_allclose(asked.features, cells, atol=1e-5)
    assert network.with_features(part(batch, 0, 0)).logits.shape == (0, 40)


def test_a_file_without_features_says_so(tmp_path: Path, runtime: str) -> None:
    bare = onnx.load(write_toy_model(tmp_path / "bare.onnx"))
    del bare.graph.output[1]
    onnx.save(bare, tmp_path / "bare.onnx")
    with pytest.raises(ModelFileError, match="gives no `features`"):
        load_network(tmp_path / "bare.onnx", runtime).with_features(crops(1))


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_a_face_answers_alike_alone_and_among_others(path: Path, runtime: str, threads: int) -> None:
    network, batch = load_network(path, runtime, threads=threads), crops(16)
    together = network(batch).logits
    for size in (1, 3, 16):
        for start in range(0, 16, size):
            alone = network(part(batch, start, start + size)).logits
            assert alone.tobytes() == together[start : start + size].tobytes()


def test_thread_count_changes_nothing(path: Path, runtime: str) -> None:
    answers = {load_network(path, runtime, threads=threads)(crops(7)).logits.tobytes() for threads in (1, 2, 4)}
    assert len(answers) == 1


def test_many_callers_at_once(path: Path, runtime: str) -> None:
    network = load_network(path, runtime, threads=2)
    batches = [crops(3, seed) for seed in range(12)]
    alone = [network(batch).logits for batch in batches]
    with ThreadPoolExecutor(6) as pool:
        for have, want in zip(pool.map(lambda batch: network(batch).logits, batches), alone, strict=True):
            assert have.tobytes() == want.tobytes()


def test_maps_come_only_when_asked_for_and_change_no_answer(path: Path, runtime: str) -> None:
    network, batch = load_network("default", runtime), crops(3)
    plain, asked = network(batch), network.with_maps(batch)
    assert plain.maps is None
    assert asked.logits.tobytes() == plain.logits.tobytes()
    assert asked.maps is not None
    assert asked.maps.shape[:2] == (3, len(network.card.document["maps"]["of"]))
    np.testing.assert_array_equal(network.with_maps(part(batch, 1, 2)).maps, asked.maps[1:2])
    assert load_network(path, runtime).with_maps(batch).maps is None, "the toy file gives no maps"
    assert network.with_maps(crops(0)).maps is None


def test_no_crops_give_no_rows(path: Path, runtime: str) -> None:
    assert load_network(path, runtime)(crops(0)).logits.shape == (0, 40)


def test_black_and_white_crops_run(path: Path, runtime: str) -> None:
    flat = Crops(
        np.stack([np.zeros((3, 218, 178), np.uint8), np.full((3, 218, 178), 255, np.uint8)]),
        np.zeros((2, 2, 3), np.float32),
    )
    np.testing.assert_allclose(load_network(path, runtime)(flat).logits, oracle(path, flat.pixels), atol=1e-5)


def test_runtimes_agree(path: Path) -> None:
    pytest.importorskip("openvino")
    batch = crops(8)
    a, b = (load_network(path, runtime)(batch).logits for runtime in RUNTIMES)
    np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_forked_child_answers_too(path: Path, runtime: str) -> None:
    if runtime == "openvino":
        pytest.importorskip("openvino")
    network, batch = load_network(path, runtime, threads=2), crops(4)
    want = network(batch).logits.tobytes()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            code = 0 if network(batch).logits.tobytes() == want and network.threads == 1 else 2  # type: ignore[attr-defined]
        finally:
            os._exit(code)
    os.close(reading)
    os.close(writing)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_openvino_precision_is_set_not_left_to_the_processor(path: Path) -> None:
    openvino = pytest.importorskip("openvino")
    has_bf16 = "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    # a processor without bf16 computes in fp32 what bf16 was asked for, or, with AVX-512, imitates it: OpenVINO's
    # choice
    for precision, stated in ((None, {"f32"}), ("fp32", {"f32"}), ("bf16", {"bf16"} if has_bf16 else {"f32", "bf16"})):
        network = load_network(path, "openvino", precision)
        with network._lent.one() as request:  # type: ignore[attr-defined]
            hint = request.get_compiled_model().get_property("INFERENCE_PRECISION_HINT")
        assert hint.get_type_name() in stated
        assert network.precision == (precision or "fp32")


@pytest.mark.parametrize(("capabilities", "stated"), [(["FP32", "INT8", "BF16"], "bf16"), (["FP32", "INT8"], "f32")])
def test_what_an_int8_file_leaves_is_bf16_only_where_the_processor_has_it(capabilities: list[str], stated: str) -> None:
    from lineament.runtime.openvino import _hint

    class Core:
        def get_property(self, device: str, name: str) -> list[str]:
            assert (device, name) == ("CPU", "OPTIMIZATION_CAPABILITIES")
            return capabilities

    assert _hint(Core(), "int8") == stated
    assert [_hint(Core(), precision) for precision in ("fp32", "bf16")] == ["f32", "bf16"]


def test_both_are_networks(path: Path, runtime: str) -> None:
    network = load_network(path, runtime)
    assert isinstance(network, Network)
    assert (network.runtime, network.precision) == (runtime, "fp32")
    assert network.id.startswith("toy@")


def test_bf16_needs_openvino(path: Path) -> None:
    with pytest.raises(UsageError, match="openvino"):
        load_network(path, "onnx", "bf16")


def test_a_card_that_names_other_columns_is_refused(tmp_path: Path) -> None:
    wrong = write_toy_model(tmp_path / "wrong.onnx", CELEBA_40, card=toy_card(CELEBA_40[:39]))
    with pytest.raises(ModelFileError, match="39"):
        load_network(wrong)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_network_goes_elsewhere_by_its_recipe(path: Path, runtime: str) -> None:
    if runtime == "openvino":
        pytest.importorskip("openvino")
    network, batch = load_network(path, runtime, threads=2), crops(3)
    for twin in (pickle.loads(pickle.dumps(network)), deepcopy(network), copy(network)):
        assert (twin.id, twin.runtime, twin.precision, twin.threads) == (network.id, runtime, "fp32", 2)
        assert twin(batch).logits.tobytes() == network(batch).logits.tobytes()


def test_a_recipe_whose_file_has_changed_is_refused(tmp_path: Path) -> None:
    packed = pickle.dumps(load_network(write_toy_model(tmp_path / "toy.onnx"), threads=1))
    write_toy_model(tmp_path / "toy.onnx", seed=1)
    with pytest.raises(ModelFileError, match="Load the model anew"):
        pickle.loads(packed)
