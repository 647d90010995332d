"""One photo answered in a worker process: the same sentence as the command line, to one line of JSON.

bytes -> Model -> record line (equal to `lineament analyze --jsonl` but for `source`)
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any, TypeVar

import numpy as np

from lineament.api import Model, load
from lineament.detection.retinaface import RetinaFace
from lineament.errors import LineamentError, TooManyFacesError
from lineament.images.formats import sniff
from lineament.inputs.item import Item
from lineament.outputs.sinks import record_line
from lineament.pipeline.analyze import FindFaces, Settings
from lineament.runs.stream import report_of
from lineament.schema import MGMTN_GROUPS, OBJECTIVE_23
from lineament.serve.limits import Limits
from lineament.types import Crops, Faces, ModelOutput, Report, UInt8

T = TypeVar("T")


@dataclass(frozen=True)
class ModelSource:
    """Which model each worker loads, by words that travel to another process."""

    model: str | Path = "default"
    runtime: str = "onnx"
    precision: str | None = None
    most_faces: int = Limits().faces
    rates: Path | None = None
    own: tuple[Path, ...] = ()

    def __call__(self) -> Model:
        """Load it for one worker: one thread, because its siblings want the others. A crowd is refused before its faces
        are looked at one by one."""
        detector = RetinaFace(threads=1, most_faces=self.most_faces)
        return load(
            self.model,
            runtime=self.runtime,
            precision=self.precision,
            threads=1,
            detector=detector,
            rates=self.rates,
            with_=self.own,
        )


@dataclass(frozen=True)
class PhotoRequest:
    """One photo to answer. maps: whether the answer shows where the network looked; teach: it is no photo but marked
    faces (`teach_answer`)."""

    data: bytes
    source: str
    settings: Settings
    most_faces: int
    maps: bool = False
    teach: bool = False


@dataclass(frozen=True)
class Answered:
    """A photo's record as one line of JSON without its end; error is the record's (code, message), code "not_a_picture"
    where nothing in the bytes is a picture at all (the record itself says "unreadable"); stages: (name, seconds) of the
    work on it."""

    line: bytes
    status: str
    faces: int
    error: tuple[str, str] | None = None
    stages: tuple[tuple[str, float], ...] = ()


def answer(model: Model, photo: PhotoRequest) -> Answered:
    """Answer one photo; an error of the photo is a record with its code, as in every stream. Says how long its stages
    took."""
    if photo.teach:
        return _taught(model, photo.data)
    begun, spent = perf_counter(), {"detect": 0.0, "attributes": 0.0}
    answered = _answered(model, photo, spent)
    rest = perf_counter() - begun - sum(spent.values())
    return replace(answered, stages=(*spent.items(), ("decode_and_rest", rest)))


def _timed(work: Callable[..., T], stage: str, spent: dict[str, float]) -> Callable[..., T]:
    """Return `work` that adds its seconds to a stage."""

    def timed(*given: Any, **named: Any) -> T:
        begun = perf_counter()
        try:
            return work(*given, **named)
        finally:
            spent[stage] += perf_counter() - begun

    return timed


def _answered(model: Model, photo: PhotoRequest, spent: dict[str, float]) -> Answered:
    seen: list[tuple[Crops, ModelOutput]] = []

    def network(crops: Crops) -> ModelOutput:
        output = model.network.with_maps(crops) if photo.maps else model.network(crops)
        seen.append((crops, output))
        return output

    tools = model.tools(photo.settings)
    glance = None if tools.glance is None else _timed(tools.glance, "detect", spent)
    find = _timed(_at_most(tools.find, photo), "detect", spent)
    tools = replace(tools, find=find, glance=glance, network=_timed(network, "attributes", spent))
    report = report_of(Item(photo.source, data=photo.data), tools, photo.settings)
    error = report.error if report.error is None or _is_picture(photo.data) else ("not_a_picture", report.error[1])
    if not photo.maps or report.error is not None or not report.faces:
        return Answered(record_line(report), report.status, len(report.faces), error)
    record = report.to_dict()
    for face, maps in zip(record["faces"], maps_of(report, *seen[0], model.card.document), strict=True):
        face["maps"] = maps
    line = json.dumps(record, ensure_ascii=True, allow_nan=False).encode("ascii")
    return Answered(line, report.status, len(report.faces))


def _taught(model: Model, data: bytes) -> Answered:
    from lineament.serve.teach_answer import taught_line

    try:
        return Answered(taught_line(model, data), "ok", 0)
    except LineamentError as error:
        return Answered(b"", "usage", 0, ("usage", str(error)))


def _at_most(find: FindFaces, photo: PhotoRequest) -> FindFaces:
    """Return `find` with a bound on the faces it may find, whatever detector it is."""

    def bounded(pixels: UInt8, source: str) -> Faces:
        faces = find(pixels, source)
        if len(faces) > photo.most_faces:
            raise TooManyFacesError(
                f"{len(faces)} faces; at most {photo.most_faces} in one photo are answered here. Cut it up."
            )
        return faces

    return bounded


def _is_picture(data: bytes) -> bool:
    """Return whether the first bytes are of any kind of picture, decoded here or not."""
    try:
        sniff(data)
    except LineamentError as error:
        return error.code != "unreadable"
    return True


def map_name(attribute: str, of: Sequence[str]) -> str | None:
    """Return which of a model's maps shows where it looked for an attribute: its own, its group's, its branch's, or the
    only one there is.

    >>> map_name("Smiling", ["Mouth", "Eyes"]), map_name("Smiling", ["objective", "subjective"])
    ('Mouth', 'objective')
    >>> map_name("Smiling", ["Hair", "Eyes"])
    """
    group = next((name for name, members in MGMTN_GROUPS.items() if attribute in members), None)
    branch = "objective" if attribute in OBJECTIVE_23 else "subjective"
    only = of[0] if len(of) == 1 else None
    return next((name for name in (attribute, group, branch) if name in of), only)


def maps_of(report: Report, crops: Crops, output: ModelOutput, card: Mapping[str, Any]) -> list[dict[str, Any] | None]:
    """Return, per face, the maps of what the report shows: None where the network gives none.

    Returns: {"kind", "size": [h, w], "crop_size": [H, W], "crop_from_image": 2x3, "values": {NAME: h x w}}; a map
        covers the whole crop, `crop_from_image` takes photo points to crop points. NAME is an attribute the profile
        shows, a group of attributes, a branch of the network, or "face".
    """
    about = card.get("maps")
    if output.maps is None or not about or not about["of"]:
        return [None] * len(report.faces)
    hidden = set(output.attributes) - set(report.faces[0].attributes)
    shown = [(column, name) for column, name in enumerate(about["of"]) if name not in hidden]
    return [
        {
            "kind": about["kind"],
            "size": list(output.maps.shape[2:]),
            "crop_size": list(crops.pixels.shape[2:]),
            "crop_from_image": np.round(crops.crop_from_image[face].astype(float), 6).tolist(),
            "values": {name: np.round(output.maps[face, column].astype(float), 3).tolist() for column, name in shown},
        }
        for face in range(len(report.faces))
    ]
