"""Model registry: from a name to a loaded network; which file a name means, which runtime runs it, at which precision.

name | path -> ONNX file (+ card) -> runtime -> Network
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from lineament.errors import ModelFileError, UsageError
from lineament.model_files import SAME_AS, ModelFolder, checkout_systems, model_folders
from lineament.runtime.network import Network

RUNTIMES = ("onnx", "openvino", "cuda", "coreml", "auto")
PRECISIONS = ("fp32", "bf16", "int8")
SYSTEMS = ("baseline", "mgmtn", "far-amtn", "dmm-cnn")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_NOT_NETWORKS = ("retinaface", "eyes", "mesh")  # the pipeline's own


@dataclass(frozen=True)
class ModelEntry:
    """A model that can be named: its file, the precision that file holds (fp32, or int8 for NAME.int8.onnx), and where
    it came from."""

    name: str
    path: Path
    precision: str = "fp32"
    origin: str = "package"


def weights_folder() -> Path:
    """Return the folder of the weights inside the package."""
    return Path(__file__).resolve().parent.parent / "weights"


def systems_folder() -> Path:
    """Return `results/systems` of a source checkout, where the trained comparison systems lie (it may not exist)."""
    return checkout_systems()


def list_models() -> list[ModelEntry]:
    """Return every model that has a name here: the package's weights first (`default` first of all), then those on the
    search path in its order.

    A name is listed once, where it is found first: see `lineament/model_files.py`.
    """
    entries = [
        _entry(path) for path in sorted(weights_folder().glob("*.onnx")) if not path.name.startswith(_NOT_NETWORKS)
    ]
    known = {(entry.name, entry.precision) for entry in entries}
    folders = [folder for folder in model_folders() if folder.origin != "checkout"]
    for folder in (*folders, ModelFolder(systems_folder(), "checkout")):
        for entry in _in_folder(folder):
            if (entry.name, entry.precision) not in known:
                known.add((entry.name, entry.precision))
                entries.append(entry)
    return sorted(entries, key=lambda entry: (entry.name != "default", entry.precision != "fp32"))


def _in_folder(folder: ModelFolder) -> Iterator[ModelEntry]:
    """Yield the models of a folder: NAME/model.onnx, NAME/model.int8.onnx, NAME.onnx, NAME.int8.onnx."""
    for path in sorted(folder.path.glob("*/model*.onnx")):
        if path.name in ("model.onnx", "model.int8.onnx"):
            yield ModelEntry(
                path.parent.name, path, "int8" if path.name == "model.int8.onnx" else "fp32", folder.origin
            )
    for path in sorted(folder.path.glob("*.onnx")):
        yield replace(_entry(path), origin=folder.origin)


def _entry(path: Path) -> ModelEntry:
    name, int8 = path.name.removesuffix(".onnx"), path.name.endswith(".int8.onnx")
    return ModelEntry(name.removesuffix(".int8"), path, "int8" if int8 else "fp32")


def resolve_model(name_or_path: str | Path, precision: str | None = None) -> ModelEntry:
    """Return the file a name or path means at a precision (int8 is a file of its own).

    Raises: ModelFileError naming what exists.
    """
    text = SAME_AS.get(str(name_or_path), str(name_or_path))
    wanted = "int8" if precision == "int8" else "fp32"
    if isinstance(name_or_path, Path) or not _NAME.fullmatch(text):
        return _from_path(Path(name_or_path), wanted)
    named = [entry for entry in list_models() if entry.name == text]
    for entry in named:
        if entry.precision == wanted:
            return entry
    if named:
        raise ModelFileError(
            f"{text} has no {wanted} file here; it has: {', '.join(entry.precision for entry in named)}."
        )
    if Path(text).is_file():
        return _from_path(Path(text), wanted)
    names = sorted({entry.name for entry in list_models()})
    extra = (
        " It is a trained system: pip install lineament-systems, or let LINEAMENT_MODELS name a folder that holds it."
        if text in SYSTEMS
        else ""
    )
    raise ModelFileError(
        f"No model is called {text!r} here.{extra} Known: {', '.join(names) or 'none'}; or give the path of an ONNX "
        "file."
    )


def _from_path(path: Path, wanted: str) -> ModelEntry:
    if not path.is_file():
        names = sorted({entry.name for entry in list_models()})
        raise ModelFileError(
            f"There is no model file {path}. Give an ONNX file, or a name: "
            f"{', '.join(names) or 'none is shipped here'}."
        )
    held = "int8" if path.name.endswith(".int8.onnx") else "fp32"
    if wanted == "int8" and held != "int8":
        sibling = path.with_name(path.name.removesuffix(".onnx") + ".int8.onnx")
        if not sibling.is_file():
            raise ModelFileError(
                f"{path} has no int8 file beside it ({sibling.name}). Quantise it, or leave --precision out."
            )
        path = sibling
    return ModelEntry(path.stem, path, held if wanted != "int8" else "int8")


def load_network(
    name_or_path: str | Path = "default",
    runtime: str = "onnx",
    precision: str | None = None,
    threads: int | None = None,
    *,
    notify: Callable[[str], None] | None = None,
) -> Network:
    """Load a model by name or path.

    Args: runtime: one of `RUNTIMES`; "auto" takes the fastest one installed here, by a measured probe whose result is
        cached and told to `notify`. precision: None is what the file holds, computed in fp32; "bf16" needs OpenVINO;
        "int8" needs a file of its own.
        threads: faces computed at once; None is `runtime.threads.default_threads()`.
    Raises: ModelFileError (no such model, damaged, no card), UsageError (unknown or unavailable runtime or precision),
        MissingExtraError.
    """
    if runtime not in RUNTIMES:
        raise UsageError(f"Unknown runtime {runtime!r}. Use one of: {', '.join(RUNTIMES)}.")
    if precision is not None and precision not in PRECISIONS:
        raise UsageError(f"Unknown precision {precision!r}. Use one of: {', '.join(PRECISIONS)}.")
    if threads is not None and threads < 1:
        raise UsageError(f"threads must be at least 1, not {threads}.")
    entry = resolve_model(name_or_path, precision)
    stated = precision or entry.precision
    if entry.precision == "int8" and stated != "int8":
        raise UsageError(
            f"{entry.path} holds an int8 network: --precision {stated} does not go with it. Name the fp32 file, or "
            "leave --precision out."
        )
    if stated == "int8":
        _refuse_saturating_processor()
    if runtime == "auto":
        from lineament.runtime.probe import fastest

        return fastest(
            lambda candidate: _open(entry.path, candidate, stated, threads), entry.path, stated, threads, notify
        )
    return _open(entry.path, runtime, stated, threads)


def _open(path: Path, runtime: str, precision: str, threads: int | None) -> Network:
    if runtime == "openvino":
        from lineament.runtime.openvino import OpenVinoNetwork

        return OpenVinoNetwork(path, precision=precision, threads=threads)
    if precision == "bf16":
        raise UsageError(
            f"--runtime {runtime} does not compute in bf16. Use --runtime openvino, or leave --precision out."
        )
    from lineament.runtime.onnx import OnnxNetwork

    return OnnxNetwork(path, runtime=runtime, precision=precision, threads=threads)


def _refuse_saturating_processor() -> None:
    from lineament.runtime.threads import int8_is_exact

    if not int8_is_exact():
        raise UsageError(
            "This processor's 8-bit arithmetic saturates (no VNNI), so int8 answers would be wrong. Leave --precision "
            "out, or use fp32."
        )
