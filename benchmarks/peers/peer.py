"""One peer in a process of its own: `peer.py NAME RUNTIME PHOTOS SECONDS [FOLDER]`. Says "first" after the first photo,
then a line of JSON.

Only the standard library is imported here; the rest belongs to the peer, so that its cold start is its own.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

Answer = Callable[[str], Any]


def lineament(runtime: str, folder: str) -> Answer:
    """Ours, one photo at a time on one thread (`stream` below is the rest)."""
    import lineament as package

    name, _, precision = runtime.partition(" ")
    model = package.load(os.environ.get("PEER_MODEL", "default"), runtime=name, precision=precision or None)
    lineament.model = model  # type: ignore[attr-defined]
    return model.analyze


def dlib(runtime: str, folder: str) -> Answer:
    """dlib as face_recognition calls it: HOG with one upsampling, or the convolutional detector; real weights, faces
    only."""
    import dlib as package
    import numpy as np
    from PIL import Image

    if runtime == "HOG":
        detector = package.get_frontal_face_detector()
    else:
        import face_recognition_models

        detector = package.cnn_face_detection_model_v1(face_recognition_models.cnn_face_detector_model_location())
    return lambda path: detector(np.array(Image.open(path).convert("RGB")), 1)


def deepface(runtime: str, folder: str) -> Answer:
    """The package itself with its default detector (OpenCV's cascade) and its four attribute models, whose weights stay
    random."""
    os.environ |= {"TF_CPP_MIN_LOG_LEVEL": "3", "DEEPFACE_HOME": folder}
    from deepface.commons import weight_utils

    weight_utils.download_weights_if_necessary = lambda *args, **kwargs: "not downloaded"
    weight_utils.load_model_weights = lambda model, weight_file: model
    from deepface import DeepFace

    actions = ("age", "gender", "race", "emotion")
    return lambda path: DeepFace.analyze(path, actions=actions, enforce_detection=False, silent=True)


def stand_in(parts: list[tuple[str, int]]) -> Callable[[str, str], Answer]:
    """Return the peer that decodes a photo, brings it to each network's input and runs it, `times` each: one photo at a
    time, all threads."""

    def build(runtime: str, folder: str) -> Answer:
        import numpy as np
        from PIL import Image

        runs = [(_runner(name, runtime, folder), _shape(name), times) for name, times in parts]

        def answer(path: str) -> None:
            with Image.open(path) as picture:
                picture = picture.convert("RGB")
                for run, shape, times in runs:
                    if shape[-1] == 3:
                        x = np.zeros(shape, np.uint8)
                        x[0, : picture.height, : picture.width] = np.asarray(picture)[: shape[1], : shape[2]]
                    else:
                        small = (
                            np.asarray(
                                picture.resize(shape[:1:-1]).convert("L" if shape[1] == 1 else "RGB"), np.float32
                            )
                            / 255
                        )
                        x = np.ascontiguousarray(small.reshape(*shape[2:], shape[1]).transpose(2, 0, 1)[None])
                    for _ in range(times):
                        run(x)

        return answer

    return build


def _shape(name: str) -> tuple[int, ...]:
    return tuple(json.loads((Path(sys.argv[5]) / "shapes.json").read_text())[name])


def _runner(name: str, runtime: str, folder: str) -> Callable[[Any], Any]:
    """Return what runs one architecture: in torch, ONNX Runtime or OpenVINO, each at its default number of threads."""
    path = str(Path(folder) / f"{name}.onnx")
    if runtime == "torch":
        import torch
        from architectures import BUILDERS

        network = BUILDERS[name][0]()

        def run(x: Any) -> Any:
            with torch.inference_mode():
                return network(torch.from_numpy(x))

        return run
    if runtime == "onnxruntime":
        import onnxruntime

        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        feed = session.get_inputs()[0].name
        return lambda x: session.run(None, {feed: x})
    import openvino

    precision = {"openvino fp32": "f32", "openvino bf16": "bf16"}[runtime]
    core = openvino.Core()
    compiled = core.compile_model(
        core.read_model(path), "CPU", {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"}
    )
    request = compiled.create_infer_request()
    return lambda x: request.infer([x])


PEERS: dict[str, Callable[[str, str], Answer]] = {
    "lineament": lineament, "dlib": dlib, "deepface": deepface, "facer": stand_in([("retinaface", 1), ("vit", 1)]),
    "deepface models": stand_in([("vgg", 3), ("emotion", 1)]),
    "insightface": stand_in([("scrfd", 1), ("genderage", 1)]),
}  # fmt: skip


def main() -> None:
    name, runtime, photos, seconds, folder = sys.argv[1:6]
    paths = sorted(str(path) for path in Path(photos).iterdir())
    answer = PEERS[name](runtime, folder)
    answer(paths[0])
    print("first", flush=True)
    answer(paths[0])
    times: list[float] = []
    began = time.perf_counter()
    for path in paths:
        start = time.perf_counter()
        answer(path)
        times.append(1000 * (time.perf_counter() - start))
        if time.perf_counter() - began > float(seconds) and len(times) >= 3:
            break
    rates = [1000 / one for one in times]
    if name == "lineament":
        model, rates = lineament.model, []  # type: ignore[attr-defined]
        for _ in range(3):
            start = time.perf_counter()
            count = sum(1 for _ in model.stream(paths))
            rates.append(count / (time.perf_counter() - start))
    packages = {}
    for package in (
        "tensorflow-cpu",
        "deepface",
        "opencv-python",
        "torch",
        "timm",
        "onnxruntime",
        "openvino",
        "dlib-bin",
    ):
        try:
            packages[package] = version(package)
        except PackageNotFoundError:
            continue
    print(json.dumps({"ms": times, "rates": rates, "packages": packages}), flush=True)


if __name__ == "__main__":
    main()
