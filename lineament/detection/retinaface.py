"""Find faces: RetinaFace-MobileNet0.25 through ONNX Runtime, with our own anchors, decoding and suppression; an adapter
for YuNet.

    photo -> passes at chosen scales, then tiles -> (boxes, probs, points) -> threshold -> suppression -> a second look
        per face -> Faces

Source: RetinaFace (Deng et al., CVPR 2020, arXiv 1905.00641): anchors, variances; weights and licence in
`scripts/convert_retinaface.py`.
"""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np

from lineament.detection import tiles
from lineament.detection.candidates import (
    Candidates,
    Scaled,
    anchors,
    bordered,
    check_pixels,
    decode,
    distinct,
    merge,
    nms,
    shrunk,
    to_faces,
    unturn,
)
from lineament.detection.looks import Looks
from lineament.detection.sessions import CpuSession, InFlight, Session, WideSession, in_threads
from lineament.detection.yunet import YuNet as YuNet
from lineament.errors import TooManyFacesError, UsageError
from lineament.files import sha256_of
from lineament.types import SMALLEST_FACE, Faces, UInt8

WEIGHTS = Path(__file__).resolve().parents[1] / "weights" / "retinaface.onnx"
PAD_RGB = (123, 117, 104)
SMALL_FACES = ("never", "auto", "always")


@runtime_checkable
class Detector(Protocol):
    """Anything that finds faces in an upright photo."""

    def detect(self, pixels: UInt8) -> Faces:
        """Return the faces of pixels (H,W,3) uint8 RGB, largest first; none is `Faces.empty()`."""
        ...


class RetinaFace:
    """The default detector.

    Convention: pixels (H,W,3) uint8 RGB, upright; boxes clipped to the photo; keypoints may lie outside it. Boxes go
    from the forehead to the chin. Passes:
    - the photo at a long side of 320 (smaller ones are enlarged to it, at most 4 times);
    - larger photos once more at 640, 1280 and 2560, each only where the pass before gave reason to: it found nothing
      (to 1280), a face under 48 pixels of its input (be it only a hint: probability 0.04 in the first pass, 0.1 later),
      or, the first, a doubted one (0.1, but too weak to count; later ones of 48 pixels and more are seen no better at a
      finer scale): small faces come in groups, and a portrait should not pay for a crowd;
    - the photo's own scale, in overlapping tiles where it is larger than those passes: with `small_faces` "auto" where
      the last of them gave reason to, or where no face was found at all; with "always" for every photo; with "never"
      not at all;
    - nothing found: a smaller, bordered view, for faces larger than the frame;
    - every find is looked at once more, upright and enlarged or reduced to one size. There it must convince again, and
      from there its box and points come: they do not depend on the face's size in the photo, nor the points on its
      tilt. At the photo's own scale, weak finds (0.3) are looked at too, and count where the look alone is sure (0.9):
      a face of 20 pixels is seen there, but seldom clearly;
    - nothing convinced: the photo turned by 90, 180 and 270 degrees ("always": in any case).
    `Faces.searched_from` says from which size on faces were looked for.
    Args: threads for ONNX Runtime (None: its default); min_prob a find needs (see `docs/benchmarks/detection.md`);
    min_face least longer side of a box in photo pixels; rescue whether to try turned photos; most_faces refuses
    crowds before their faces are looked at one by one; small_faces "never", "auto" or "always"; at_once tiles and
    views searched at a time, and threads of a large pass where no other photo is in flight (the answer does not depend
    on it); weights another file with the same contract; session another runtime's, of `weights`; look_session its own,
    of `looks.WEIGHTS`, one view at a time.
    Raises: ModelFileError; UsageError for another `small_faces`.
    """

    PASSES = ((320, 40.0), (640, 48.0), (1280, 24.0), (2560, 0.0))
    """Longer side of the input, and under how many of its pixels a face is reason for the next pass with "never"."""
    ENOUGH, FIRST_HINT = 48.0, 0.04
    """The same limit with "auto", and what counts as a hint in its first pass: with both, as many of a hundred
    portraits pay for a second pass (24) as with 40 pixels and 0.02 (26)."""
    LEAST, TURNED = 320, 640
    HINT, DOUBT = 0.02, 0.1
    WEAK, SURE = 0.3, 0.9
    """What a find at the photo's own scale needs to be looked at, and what its look must say. Of sixty faces 93 % reach
    0.3 at 20 pixels, no more reach 0.1, and 83 % reach 0.6."""
    REACHED = 32
    """Pixels of the last whole pass from which that pass is trusted: tiles overlap by as much of the photo."""
    MAX_ENLARGE = 4.0
    MAX_IOU = 0.4

    def __init__(
        self,
        *,
        threads: int | None = None,
        min_prob: float = 0.6,
        min_face: float = 12.0,
        rescue: bool = True,
        second_look: bool = True,
        most_faces: int | None = None,
        small_faces: str = "auto",
        at_once: int = 1,
        weights: str | Path = WEIGHTS,
        session: Session | None = None,
        look_session: Session | None = None,
    ) -> None:
        self._session = session or CpuSession(weights, threads)
        self._wide = self._session if session or at_once == 1 else WideSession(weights, at_once)
        self._in_flight = InFlight()
        self.id = f"retinaface@{sha256_of(weights)[:8]}"
        self.min_prob, self.min_face, self.rescue, self.second_look = min_prob, min_face, rescue, second_look
        self.most_faces, self.at_once = most_faces, at_once
        self.small_faces = check_small_faces(small_faces)
        if session is None and Path(weights) == WEIGHTS:
            self._looks = Looks.bundled(threads, min_prob, at_once)
        else:
            self._looks = Looks(look_session or self._session, batches=False, min_prob=min_prob, at_once=at_once)

    def detect(self, pixels: UInt8) -> Faces:
        """Return the faces of a photo, largest first; none is an empty result.

        Raises: UsageError for anything but uint8 (H,W,3); TooManyFacesError over `most_faces`.
        """
        check_pixels(pixels)
        with self._in_flight:
            return self._detect(pixels)

    def _detect(self, pixels: UInt8) -> Faces:
        view, always = Scaled(pixels), self.small_faces == "always"
        found, scale, finer = self._upright(view)
        if finer:
            found, scale = merge([found, self._tiles(pixels, scale)], self.MAX_IOU), 1.0
        if not len(found.probs):
            found = self._scan(
                view, self.LEAST / max(*pixels.shape[:2], self.LEAST), border=self.LEAST // 4, min_prob=self._late()
            )
        if always and self.rescue:
            found = merge([found, self._turned(view)], self.MAX_IOU)
        faces = self._confirmed(pixels, found)
        if not len(faces) and self.rescue and not always:
            faces = self._confirmed(pixels, self._turned(view))
        if not len(faces) and scale < 1 and self.small_faces == "auto":
            faces, scale = self._confirmed(pixels, self._tiles(pixels, scale)), 1.0
        return replace(faces, searched_from=math.ceil(SMALLEST_FACE / scale))

    def _confirmed(self, pixels: UInt8, found: Candidates) -> Faces:
        """Return the finds that convince at the second look, with its boxes and points. Weak ones need a sure look."""
        size = pixels.shape[0], pixels.shape[1]
        if not self.second_look:
            found = found.take(np.flatnonzero(found.probs >= self.min_prob))
        faces = to_faces(found, size, self.min_face)
        self._refuse_crowds(int((faces.detection_probs >= self.min_prob).sum()))
        if not self.second_look or not len(faces):
            return faces
        found = Candidates(faces.boxes_xyxy, faces.detection_probs, faces.keypoints)
        weak = found.probs < self.min_prob
        seen = self._looks.at(pixels, found, turned=~weak & self.rescue)
        probs = np.where(weak, seen.probs, np.minimum(found.probs, seen.probs))
        kept = np.flatnonzero(probs >= np.where(weak, self.SURE, self.min_prob))
        faces = to_faces(seen._replace(probs=probs).take(kept), size, self.min_face)
        faces = faces.take(
            distinct(faces.keypoints, faces.detection_probs)
        )  # two weak finds beside one face may both turn out to be it
        self._refuse_crowds(len(faces))
        return faces

    def _refuse_crowds(self, count: int) -> None:
        if self.most_faces is not None and count > self.most_faces:
            raise TooManyFacesError(
                f"{count} faces; at most {self.most_faces} in one photo are answered here. Cut it up."
            )

    def _upright(self, view: Scaled) -> tuple[Candidates, float, bool]:
        """Search a photo in the passes it needs. Returns: finds, the last pass's scale, whether the photo's own scale
        is to be searched too."""
        long = max(view.shape)
        scale = min(self.PASSES[0][0] / long, self.MAX_ENLARGE)
        seen = self._scan(
            view, scale, min_prob=min(self.HINT if self.small_faces == "never" else self.FIRST_HINT, self.min_prob)
        )
        found = self._counting(seen, scale)
        for (side, small), (next_side, _) in pairwise(self.PASSES):
            nothing = side <= self.PASSES[1][0] and not (found.probs >= self.min_prob).any()
            doubts = side == self.PASSES[0][0] or self.small_faces == "never"
            if long <= side or not (nothing or self._wants_finer(seen, scale, small, doubts=doubts)):
                break
            scale = min(1.0, next_side / long)
            level = self.min_prob if self.small_faces == "never" else min(self.DOUBT, self.min_prob)
            seen = self._scan(view, scale, min_prob=level, wide=next_side > self.PASSES[1][0] and self._in_flight.alone)
            found = merge([found, self._counting(seen, scale)], self.MAX_IOU)
            seen = found if self.small_faces == "never" else merge([found, seen], self.MAX_IOU)
        finer = scale < 1 and self.small_faces != "never" and self._wants_finer(seen, scale, 0.0)
        return found, scale, finer

    def _wants_finer(self, seen: Candidates, scale: float, small: float, *, doubts: bool = False) -> bool:
        """Return whether finds and hints of a pass are reason to search at a finer scale; small: the limit for "never";
        doubts: whether a weak find of any size is one."""
        if self.small_faces == "always":
            return True
        limit = small if self.small_faces == "never" else self.ENOUGH
        tiny = (seen.boxes[:, 2:] - seen.boxes[:, :2]).max(1, initial=0) * scale < limit
        doubtful = (seen.probs >= self.DOUBT) & (seen.probs < self.min_prob)
        return bool(tiny.any() or (doubts and doubtful.any()))

    def _counting(self, seen: Candidates, scale: float) -> Candidates:
        """Return the finds of a pass that count: probable ones, and at the photo's own scale weak small ones, for the
        second look to judge."""
        counts = seen.probs >= self.min_prob
        if scale >= 1 and self.small_faces != "never":
            small = (seen.boxes[:, 2:] - seen.boxes[:, :2]).max(1, initial=0) * scale < self.ENOUGH
            counts |= small & (seen.probs >= self.WEAK)
        return seen.take(np.flatnonzero(counts))

    def _tiles(self, pixels: UInt8, scale: float) -> Candidates:
        """Search a photo at its own scale in tiles that overlap by what the last whole pass, at `scale`, could not be
        trusted with."""
        parts = [
            part
            for part in tiles.cut((pixels.shape[0], pixels.shape[1]), math.ceil(self.REACHED / scale))
            if not tiles.is_plain(part.of(pixels))
        ]

        def search(part: tiles.Tile) -> Candidates:
            found = self._counting(self._scan(part.of(pixels), 1.0, min_prob=min(self.WEAK, self.min_prob)), 1.0)
            corner = np.array([part.x1, part.y1], np.float32)
            return Candidates(found.boxes + np.tile(corner, 2), found.probs, found.points + corner)

        return merge([Candidates.empty(), *in_threads(search, parts, self.at_once)], self.MAX_IOU)

    def _turned(self, view: Scaled) -> Candidates:
        """Return the finds of one pass over the turned photo that has the most probable face, in the unturned photo's
        pixels."""
        pixels = view.view
        small = shrunk(view, self.TURNED)
        best, quarter = Candidates.empty(), 0

        def search(turns: int) -> Candidates:
            return self._scan(np.ascontiguousarray(np.rot90(small, turns)), 1.0, min_prob=self._late())

        for turns, found in enumerate(in_threads(search, (1, 2, 3), self.at_once), start=1):
            if found.probs.max(initial=0) > best.probs.max(initial=0):
                best, quarter = found, turns
        best = unturn(best, quarter, (small.shape[0], small.shape[1]))
        back = np.array([pixels.shape[1] / small.shape[1], pixels.shape[0] / small.shape[0]], np.float32)
        return Candidates(best.boxes * np.tile(back, 2), best.probs, best.points * back)

    def _late(self) -> float:
        """Return what a find needs where the ordinary passes found nothing: halfway between `min_prob` and 1."""
        return (1 + self.min_prob) / 2

    def _scan(
        self,
        view: UInt8 | Scaled,
        scale: float,
        *,
        border: int = 0,
        min_prob: float | None = None,
        wide: bool = False,
    ) -> Candidates:
        """Run the network once over a view resized by `scale`, with a border in network pixels, `wide` with all
        threads; finds are in the view's pixels."""
        height, width = view.shape[:2]
        small_h, small_w = max(1, round(height * scale)), max(1, round(width * scale))
        picture = (view if isinstance(view, Scaled) else Scaled(view)).at(small_h, small_w)
        canvas = bordered(picture, border, PAD_RGB)
        session = self._wide if wide else self._session
        boxes, logits, points = session.run(None, {"image": canvas})
        probs = 1 / (1 + np.exp(logits[:, 0] - logits[:, 1]))
        kept = np.flatnonzero(probs >= (self.min_prob if min_prob is None else min_prob))
        boxes, points = decode(boxes[kept], points[kept], anchors(canvas.shape[1], canvas.shape[2])[kept])
        back = np.array([width / small_w, height / small_h], np.float32)
        found = Candidates((boxes - border) * np.tile(back, 2), probs[kept], (points - border) * back)
        return found.take(nms(found.boxes, found.probs, self.MAX_IOU))


def check_small_faces(choice: str) -> str:
    """Return the choice. Raises: UsageError for any but never, auto and always."""
    if choice not in SMALL_FACES:
        raise UsageError(f"small_faces must be never, auto or always, not {choice!r}.")
    return choice
