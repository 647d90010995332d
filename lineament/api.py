"""The front door in Python: load a model once, analyse photos with it.

>>> import lineament
>>> model = lineament.load()  # doctest: +SKIP
>>> model.analyze("photo.jpg").faces[0].attributes["Smiling"].prob  # doctest: +SKIP
0.9312
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from lineament.decision.rates import check_rates, read_rates
from lineament.detection import looks
from lineament.detection.retinaface import WEIGHTS, Detector, RetinaFace
from lineament.errors import UsageError
from lineament.images import Channels
from lineament.inputs.expand import items
from lineament.inputs.item import Item
from lineament.pipeline import reduced_jpeg
from lineament.pipeline.analyze import FindFaces, Settings, Tools, analyze, whole_picture
from lineament.runs.stream import AfterReport, ItemDecoder, report_of, stream
from lineament.runtime.card import Card
from lineament.runtime.network import Network
from lineament.types import SCHEMA_VERSION, Faces, Report, UInt8

__all__ = ["Model", "load"]


def load(
    model: str | Path = "default",
    *,
    runtime: str = "onnx",
    precision: str | None = None,
    threads: int | None = None,
    detector: Detector | None = None,
    notify: Callable[[str], None] | None = None,
    rates: str | Path | Mapping[str, float] | None = None,
    with_: Sequence[str | Path] = (),
    **settings: Any,
) -> Model:
    """Load a model for analysing photos.

    Args: model: a shipped name or an ONNX file. runtime: onnx, openvino, cuda, coreml or auto. precision: None is what
        the file holds, computed in fp32. threads: photos and faces worked on at once; None is the CPUs this process may
        use. detector: anything with `.detect(pixels) -> Faces`; None is the bundled RetinaFace (in bf16 beside an
        OpenVINO network in bf16 or int8). notify: told what `auto` chose. rates: attribute -> share of yes among the
        people asked about (0..1, both excluded), or a CSV or JSON file of them: moves probabilities from the card's own
        rates by Bayes' rule (`decision.rates`). with_: files of own attributes (`lineament teach`) to answer beside the
        model's.
        settings: fields of `pipeline.analyze.Settings` (profile, attributes, abstain, consistent, keep, faces,
        max_pixels, small_faces) for every call.
    Raises: ModelFileError, UsageError, MissingExtraError.
    """
    from lineament.runtime.registry import load_network
    from lineament.runtime.threads import default_threads
    from lineament.teach.network import with_own

    if isinstance(detector, RetinaFace):
        settings = {"small_faces": detector.small_faces} | settings
    chosen = make_settings(Settings(), settings)
    workers = default_threads() if threads is None else threads
    network = with_own(load_network(model, runtime, precision, workers, notify=notify), with_)
    chosen.visible(network.card.attributes)
    if rates is not None:
        given = (
            read_rates(rates, network.card.attributes)
            if isinstance(rates, (str, Path))
            else check_rates(rates, network.card.attributes)
        )
        network.card = network.card.under_rates(given)
    return Model(network, detector or _bundled_detector(network, workers), chosen, workers)


def make_settings(base: Settings, changes: dict[str, Any]) -> Settings:
    """Return `base` with changes. Raises: UsageError for a setting that does not exist or cannot be."""
    unknown = sorted(set(changes) - set(Settings.__dataclass_fields__))
    if unknown:
        raise UsageError(f"Unknown setting {', '.join(unknown)}. Known: {', '.join(Settings.__dataclass_fields__)}.")
    if isinstance(changes.get("attributes"), str):
        raise UsageError('attributes must be a list of names, for example ["Smiling"].')
    if changes.get("attributes") is not None:
        changes = changes | {"attributes": tuple(changes["attributes"])}
    return replace(base, **changes)


def _bundled_detector(network: Network, threads: int) -> Detector:
    """Return the bundled detector, by ONNX Runtime in fp32; beside an OpenVINO network in bf16 or int8, in bf16: twice
    as fast."""
    if network.runtime != "openvino" or network.precision == "fp32":
        return RetinaFace(threads=1, at_once=threads)
    from lineament.runtime.openvino import OpenVinoSession

    search = OpenVinoSession(WEIGHTS, precision=network.precision, threads=threads, small=RetinaFace.PASSES[0][0])
    look = OpenVinoSession(looks.WEIGHTS, precision=network.precision, threads=threads, fixed=(looks.SIZE,))
    return RetinaFace(at_once=threads, session=search, look_session=look)


def glancing(detector: Detector) -> Detector:
    """Return a detector of the same network that looks once: no second looks, no turned photos. One that is not ours
    stays as it is."""
    if not isinstance(detector, RetinaFace):
        return detector
    quick = copy(detector)
    quick.second_look = quick.rescue = False
    quick.small_faces = "never"
    return quick


def searching(detector: Detector, small_faces: str) -> Detector:
    """Return a detector of the same network with that choice of small faces. One that is not ours stays as it is."""
    if not isinstance(detector, RetinaFace) or detector.small_faces == small_faces:
        return detector
    chosen = copy(detector)
    chosen.small_faces = small_faces
    return chosen


@dataclass(frozen=True)
class Model:
    """A network, a detector and settings: photos in, reports out. Safe to use from many threads.

    It goes to other processes by its recipe: `pickle`, `copy.deepcopy` and a spawn pool open the same file with the
    same settings there.
    """

    network: Network
    detector: Detector
    settings: Settings = field(default_factory=Settings)
    threads: int = 1

    @property
    def card(self) -> Card:
        """The network's card: attribute names, thresholds, calibration, data, licence."""
        return self.network.card

    @property
    def id(self) -> str:
        """What records show as `model`: NAME@XXXXXXXX."""
        return self.network.id

    def tools(self, settings: Settings, find: FindFaces | None = None) -> Tools:
        """Return what the sentence works with under these settings; `find` replaces the detector."""
        if find is not None:
            return Tools(find, self.network, self.card.decision, self.id)
        if settings.faces == "aligned":
            return Tools(whole_picture, self.network, self.card.decision, self.id)
        detector = searching(self.detector, settings.small_faces)
        glance = (
            None if settings.small_faces == "always" else _find(glancing(detector))
        )  # the whole photo is searched in any case
        return Tools(_find(detector), self.network, self.card.decision, self.id, glance)

    def identity(self, settings: Settings) -> dict[str, Any]:
        """Return all that an answer depends on beside the photo: what --resume must find unchanged."""
        decision = json.dumps(self.card.decision.to_dict(), sort_keys=True).encode()
        return {
            "schema_version": SCHEMA_VERSION, "model": self.id, "runtime": self.network.runtime,
            "precision": self.network.precision, "thresholds": sha256(decision).hexdigest()[:16],
            "detector": getattr(self.detector, "id", type(self.detector).__name__),
            "rates": self.card.decision.rates_id, "profile": settings.profile,
            "attributes": list(settings.visible(self.card.attributes)), "abstain": settings.abstain,
            "consistent": settings.consistent, "keep": settings.keep, "faces": settings.faces,
            "max_pixels": settings.max_pixels, "small_faces": settings.small_faces,
            "draft": [reduced_jpeg.SIDE, reduced_jpeg.ENOUGH, reduced_jpeg.GLANCE],
        }  # fmt: skip

    def analyze(
        self, source: Any, channels: Channels | None = None, source_name: str | None = None, **settings: Any
    ) -> Report:
        """Answer the attributes of every face of one photo.

        Args: source: path, bytes, binary file object, PIL image, or array (H,W,3) uint8 with `channels` "RGB" or "BGR".
            source_name: what the record shows as its source. settings: as in `load`, for this call.
        Returns: a report; `.faces` is empty and `.status` "no_face" where there is none. `.draw()` and `.crops()` work
            on it.
        Raises: ImageError subclasses where the photo gives no pixels; UsageError.
        """
        chosen = make_settings(self.settings, settings)
        return analyze(
            source, self.tools(chosen), chosen, source_name=source_name or _name_of(source), channels=channels
        )

    def stream(
        self,
        paths: Iterable[str | os.PathLike[str] | bytes | Item],
        *,
        workers: int | None = None,
        find: FindFaces | None = None,
        decode: ItemDecoder | None = None,
        after: AfterReport | None = None,
        **settings: Any,
    ) -> Iterator[Report]:
        """Yield one report per input, in order, in bounded memory; a photo that gives no pixels is a report with its
        error code.

        Args: paths: files, folders, patterns, @LIST files, archives, as on the command line, a picture's bytes (whose
            source is "<bytes>"), or an `inputs.item.Item`. workers: photos at once; None is the model's threads. find,
            decode, after: see `runs.stream.report_of`; `after` sees each report with its pixels.

        Raises: UsageError for a single input outside a list, and for anything that is neither a path nor bytes.
        """
        if isinstance(paths, (str, os.PathLike, bytes)):
            raise UsageError("stream() takes several inputs: put a single one in a list.")
        chosen = make_settings(self.settings, settings)
        tools = self.tools(chosen, find)
        todo: Iterable[Item] = _items(paths)
        done = stream(
            todo,
            lambda item: report_of(item, tools, chosen, decode=decode, after=after),
            workers=workers or self.threads,
        )
        return (report for _, report in done)


def _find(detector: Detector) -> FindFaces:
    def find(pixels: UInt8, source: str) -> Faces:
        return detector.detect(pixels)

    return find


def _items(paths: Iterable[str | os.PathLike[str] | bytes | Item]) -> Iterator[Item]:
    for given in paths:
        if isinstance(given, Item):
            yield given
        elif isinstance(given, bytes):
            yield Item(_name_of(given), data=given)
        elif isinstance(given, (str, os.PathLike)):
            yield from items((given,))
        else:
            raise UsageError(
                f"stream() takes paths and encoded bytes, not {type(given).__name__}: give arrays and images to "
                "analyze()."
            )


def _name_of(source: Any) -> str:
    if isinstance(source, (str, os.PathLike)):
        return os.fspath(source) if isinstance(os.fspath(source), str) else os.fsdecode(source)
    named = getattr(source, "filename", None) or getattr(source, "name", None)
    return named if isinstance(named, str) and named else f"<{type(source).__name__}>"
