"""Self-test of an installation: versions, providers, the weights' hashes, and answers compared with golden ones.

installation -> checks (name, ok, detail)
"""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lineament.errors import LineamentError, MissingExtraError

if TYPE_CHECKING:
    from lineament.api import Model

GOLDEN_FILE = "golden.json"
PROB_TOLERANCE = 0.02
PIXEL_TOLERANCE = 1.0
_PACKAGES = ("numpy", "pillow", "onnxruntime", "typer", "rich")
_EXTRAS = {
    "parquet": "pyarrow",
    "openvino": "openvino",
    "train": "torch",
    "serve": "fastapi",
    "search": "duckdb",
    "video": "av",
    "heif": "pillow-heif",
}


@dataclass(frozen=True)
class Check:
    """One finding. ok None: nothing is wrong and nothing was tested (an extra that is not installed)."""

    name: str
    ok: bool | None
    detail: str


def examine(model: str = "default") -> Iterator[Check]:
    """Yield every check of this installation, the cheap ones first."""
    from lineament import __version__

    yield Check("lineament", True, f"{__version__} on Python {platform.python_version()}, {platform.platform()}")
    for package in _PACKAGES:
        yield _package(package, required=True)
    for extra, package in _EXTRAS.items():
        yield _package(package, required=False, extra=extra)
    yield _cpus()
    yield _providers()
    yield from _weights()
    yield from _self_test(model)


def make_golden(model: Model) -> dict[str, Any]:
    """Return what `doctor` compares with later: the record of the bundled portrait, every attribute, and the versions
    that made it."""
    from lineament.demo import PORTRAIT

    report = model.analyze(PORTRAIT, source_name="astronaut.jpg", profile="all")
    return {
        "made_with": {package: version(package) for package in ("numpy", "pillow", "onnxruntime")}
        | {"machine": platform.machine()},
        "tolerance": {"prob": PROB_TOLERANCE, "pixels": PIXEL_TOLERANCE},
        "record": report.to_dict(),
    }


def compare_golden(model: Model, golden: Mapping[str, Any]) -> Check:
    """Compare this installation's answer on the portrait with the golden one, within the tolerances stored with it.

    Convention: processors and library versions round differently; 0.02 in probability and one pixel are far above that
    and far below any damage to weights, alignment or channel order.
    """
    want, have = golden["record"], make_golden(model)["record"]
    if want["model"] != have["model"]:
        return Check(
            "self-test", False, f"golden values are of {want['model']}, the model is {have['model']}. Run `make refit`."
        )
    if len(want["faces"]) != len(have["faces"]):
        return Check("self-test", False, f"{len(have['faces'])} faces found, {len(want['faces'])} expected")
    prob, pixels = differences(want, have)
    limit = golden["tolerance"]
    detail = (
        f"largest difference to golden answers: {prob:.4f} in probability, {pixels:.2f} pixels (allowed "
        f"{limit['prob']}, {limit['pixels']})"
    )
    return Check("self-test", prob <= limit["prob"] and pixels <= limit["pixels"], detail)


def differences(want: Mapping[str, Any], have: Mapping[str, Any]) -> tuple[float, float]:
    """Return the largest difference of two records with equally many faces: in probability, in pixels."""
    prob = pixels = 0.0
    for a, b in zip(want["faces"], have["faces"], strict=True):
        prob = max(
            [prob, *(abs(answer["prob"] - b["attributes"][name]["prob"]) for name, answer in a["attributes"].items())]
        )
        numbers = zip(_coordinates(a), _coordinates(b), strict=True)
        pixels = max([pixels, *(abs(x - y) for x, y in numbers)])
    return prob, pixels


def _coordinates(face: Mapping[str, Any]) -> list[float]:
    return [*face["box_xyxy"], *(value for point in face["keypoints"] for value in point)]


def _package(package: str, *, required: bool, extra: str = "") -> Check:
    try:
        return Check(package, True, version(package))
    except PackageNotFoundError:
        if package == "onnxruntime" and "onnxruntime" in sys.modules:
            return Check(package, True, "another build of it")
        fix = f"pip install '{package}'" if required else f"pip install 'lineament[{extra}]'"
        return Check(package, False if required else None, f"not installed ({fix})")


def _cpus() -> Check:
    from lineament.runtime.threads import available_cpus, int8_is_exact, processor_name

    return Check(
        "processor",
        True,
        f"{processor_name()}, {available_cpus()} CPUs usable, int8 {'exact' if int8_is_exact() else 'refused'}",
    )


def _providers() -> Check:
    import onnxruntime

    return Check("providers", True, ", ".join(onnxruntime.get_available_providers()))


def _weights() -> Iterator[Check]:
    """Yield, per shipped network, whether its file is whole and is the one its card file speaks of."""
    from lineament.files import sha256_of
    from lineament.runtime.onnx_file import read_card
    from lineament.runtime.registry import list_models

    for entry in list_models():
        try:
            card = read_card(entry.path)
        except LineamentError as error:
            yield Check(f"weights {entry.name}", False, str(error))
            continue
        beside = entry.path.with_name(entry.path.name.removesuffix(".onnx") + ".card.json")
        stated = _stated_hash(beside)
        actual = sha256_of(entry.path)
        if stated is not None and stated != actual:
            yield Check(
                f"weights {entry.name}",
                False,
                f"SHA-256 is {actual}, {beside.name} says {stated}. Fetch the file again.",
            )
        else:
            agreed = "as its card file says" if stated else "no hash stored beside it"
            yield Check(
                f"weights {entry.name}",
                True,
                f"{card.name}@{actual[:8]}, {entry.precision}, SHA-256 {actual} ({agreed})",
            )


def _stated_hash(card_file: Path) -> str | None:
    try:
        found = json.loads(card_file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    stated = found.get("file_sha256") or found.get("sha256") if isinstance(found, dict) else None
    return stated if isinstance(stated, str) else None


def _self_test(model: str) -> Iterator[Check]:
    from lineament.api import load
    from lineament.runtime.registry import weights_folder

    try:
        loaded = load(model)
    except (LineamentError, MissingExtraError) as error:
        yield Check("self-test", False, str(error))
        return
    golden = weights_folder() / GOLDEN_FILE
    if golden.is_file():
        yield compare_golden(loaded, json.loads(golden.read_text(encoding="utf-8")))
        return
    record = make_golden(loaded)["record"]
    yield Check(
        "self-test",
        len(record["faces"]) == 1,
        f"{len(record['faces'])} face found on the portrait; no golden answers are stored to compare with",
    )
