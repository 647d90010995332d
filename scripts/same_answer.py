"""Answer the bundled portrait in every runtime and precision installed here; write the answers and how far they lie
apart.

python scripts/same_answer.py        # docs/same-answer.json, and the table in docs/same-answer.md
"""

from __future__ import annotations

import json
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from lineament.api import load
from lineament.demo import portrait
from lineament.errors import LineamentError

ROOT = Path(__file__).resolve().parent.parent
WAYS = (("onnx", "fp32"), ("onnx", "int8"), ("openvino", "fp32"), ("openvino", "bf16"), ("openvino", "int8"))
PAGE, ANSWERS = ROOT / "docs" / "same-answer.md", ROOT / "docs" / "same-answer.json"
BEGIN, END = "<!-- table: scripts/same_answer.py -->", "<!-- end -->"


def answer(runtime: str, precision: str) -> dict[str, Any]:
    """Return the portrait's record, twice over the same where the runtime is repeatable."""
    model = load(runtime=runtime, precision=None if precision == "fp32" else precision, profile="all", threads=1)
    first, second = (
        model.analyze(np.asarray(portrait()), channels="RGB", source_name="astronaut").to_dict() for _ in range(2)
    )
    return {"record": first, "repeats": first == second}


def distance(a: dict[str, Any], b: dict[str, Any]) -> tuple[float, float, int]:
    """Return the largest difference in probability and in pixels, and how many labels differ, of the first faces."""
    one, other = a["faces"][0], b["faces"][0]
    probs = [abs(one["attributes"][name]["prob"] - other["attributes"][name]["prob"]) for name in one["attributes"]]
    labels = sum(one["attributes"][name]["label"] != other["attributes"][name]["label"] for name in one["attributes"])
    pixels = (
        np.abs(np.array(one["box_xyxy"]) - other["box_xyxy"]).max(),
        np.abs(np.array(one["keypoints"]) - other["keypoints"]).max(),
    )
    return max(probs), float(max(pixels)), labels


def main() -> None:
    found: dict[str, Any] = {}
    for runtime, precision in WAYS:
        try:
            found[f"{runtime} {precision}"] = answer(runtime, precision)
        except LineamentError as error:
            print(f"{runtime} {precision}: not here ({error})")
    base = json.loads((ROOT / "lineament" / "weights" / "golden.json").read_text("utf-8"))["record"]
    rows = []
    for way, one in found.items():
        prob, pixels, labels = distance(one["record"], base)
        rows.append(f"| {way} | {prob:.4f} | {pixels:.2f} | {labels} of 40 | {'yes' if one['repeats'] else 'no'} |")
    versions = {name: _version(name) for name in ("onnxruntime", "openvino", "numpy", "pillow")}
    document = {
        "machine": f"{platform.system()} {platform.machine()}",
        "versions": versions,
        "answers": {way: one["record"] for way, one in found.items()},
    }
    ANSWERS.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    text = PAGE.read_text("utf-8")
    head, tail = text.partition(BEGIN)[0], text.partition(END)[2]
    table = [
        "| runtime, precision | largest difference in probability | in pixels | labels that differ | twice the same "
        "to the byte |",
        "|---|---:|---:|---:|---|",
    ]
    named = f"On {document['machine']}, ONNX Runtime {versions['onnxruntime']}, OpenVINO {versions['openvino']}"
    told = f"{named}, beside the golden answers shipped (`lineament doctor`):"
    PAGE.write_text(f"{head}{BEGIN}\n{told}\n\n" + "\n".join([*table, *rows]) + f"\n{END}{tail}", encoding="utf-8")
    print("\n".join(rows))


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


if __name__ == "__main__":
    main()
