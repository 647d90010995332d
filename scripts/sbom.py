"""Write a software bill of materials, CycloneDX 1.6 JSON: what a pinned installation holds, and the shipped weights.

    python scripts/sbom.py [--extras serve,search] [--out dist/lineament.cdx.json]

Names and versions are those of constraints.txt, licences those that the installed packages declare. The same commit
gives the same bytes (no random serial number, the time is SOURCE_DATE_EPOCH's or left out).
"""

from __future__ import annotations

import argparse
import json
import os
import re
from collections.abc import Iterator
from datetime import datetime, timezone
from hashlib import sha256
from importlib import metadata
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import tomllib
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent


def pins() -> dict[str, str]:
    """Return canonical name -> pinned version."""
    lines = (line.partition(";")[0].strip() for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines())
    return {
        canonicalize_name(name): version for name, _, version in (line.partition("==") for line in lines) if version
    }


def needed(extras: list[str]) -> dict[str, set[str]]:
    """Return name -> names it needs, for the core and some extras, as far as it is installed here."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    first = [*project["dependencies"], *(text for extra in extras for text in project["optional-dependencies"][extra])]
    found: dict[str, set[str]] = {"lineament": set()}
    todo = [("lineament", Requirement(text)) for text in first]
    while todo:
        parent, wanted = todo.pop()
        name = canonicalize_name(wanted.name)
        found[parent].add(name)
        if name in found or name == "lineament":
            continue
        found[name] = set()
        try:
            texts = metadata.distribution(name).requires or []
        except metadata.PackageNotFoundError:
            continue
        inner = (Requirement(text) for text in texts)
        extra_marks = [{"extra": extra} for extra in ("", *wanted.extras)]
        todo += [
            (name, one) for one in inner if one.marker is None or any(one.marker.evaluate(mark) for mark in extra_marks)
        ]
    return found


def component(name: str, version: str) -> dict[str, Any]:
    """Return a package as CycloneDX has it."""
    purl = f"pkg:pypi/{name}@{version}"
    found: dict[str, Any] = {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}
    if licence := _licence(name):
        found["licenses"] = [licence]
    return found


def _licence(name: str) -> dict[str, Any] | None:
    try:
        about = metadata.metadata(name)
    except metadata.PackageNotFoundError:
        return None
    if about.get("License-Expression"):
        return {"expression": about["License-Expression"]}
    classified = [
        text.rpartition("::")[2].strip() for text in about.get_all("Classifier") or [] if text.startswith("License ::")
    ]
    short = (about.get("License") or "").strip().splitlines()
    text = classified[0] if classified else short[0] if short else None
    return {"license": {"name": text}} if text else None


def weights() -> Iterator[dict[str, Any]]:
    """Yield the shipped networks."""
    for path in sorted((ROOT / "lineament" / "weights").glob("*.onnx")):
        digest = sha256(path.read_bytes()).hexdigest()
        yield {
            "type": "machine-learning-model", "bom-ref": f"weights:{path.name}", "name": path.name,
            "version": digest[:8], "hashes": [{"alg": "SHA-256", "content": digest}],
        }  # fmt: skip


def document(extras: list[str]) -> dict[str, Any]:
    """Return the bill of materials."""
    pinned, graph = pins(), needed(extras)
    version = re.search(r'__version__ = "([^"]+)"', (ROOT / "lineament" / "__init__.py").read_text("utf-8"))
    own = {
        "type": "application",
        "bom-ref": "lineament",
        "name": "lineament",
        "version": version[1] if version else "0",
        "licenses": [{"license": {"id": "Apache-2.0"}}],
    }
    versions = {name: pinned[name] for name in sorted(graph) if name in pinned}
    refs = {name: f"pkg:pypi/{name}@{number}" for name, number in versions.items()} | {"lineament": "lineament"}
    models = list(weights())
    graph["lineament"] |= {model["bom-ref"] for model in models}
    refs |= {model["bom-ref"]: model["bom-ref"] for model in models}
    inside = {
        refs[name]: sorted(refs[other] for other in others if other in refs)
        for name, others in sorted(graph.items())
        if name in refs
    }
    depends = [{"ref": ref, "dependsOn": others} for ref, others in inside.items()]
    found: dict[str, Any] = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": own},
    }
    if epoch := os.environ.get("SOURCE_DATE_EPOCH"):
        found["metadata"]["timestamp"] = (
            datetime.fromtimestamp(int(epoch), timezone.utc).isoformat().replace("+00:00", "Z")
        )
    found |= {
        "components": [*(component(name, number) for name, number in versions.items()), *models],
        "dependencies": depends,
    }
    return {**found, "serialNumber": f"urn:uuid:{uuid5(NAMESPACE_URL, json.dumps(found, sort_keys=True))}"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--extras", default="parquet,serve,search")
    parser.add_argument("--out", type=Path, default=ROOT / "dist" / "lineament.cdx.json")
    given = parser.parse_args()
    found = document([extra for extra in given.extras.split(",") if extra])
    given.out.parent.mkdir(parents=True, exist_ok=True)
    given.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(f"{given.out.name}: {len(found['components'])} components")


if __name__ == "__main__":
    main()
