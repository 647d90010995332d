"""Videos and cameras (`[video]`): sampled frames as photos, and faces followed from frame to frame.

    file -> frames every S seconds -> items "FILE::t=SECONDS"
    device -> frames as they come -> items "camera:0::t=SECONDS"
    reports in order -> tracks (one per face followed) -> smoothed probabilities -> "changed at t" events

Convention: a track goes on with the face whose box overlaps its last one most (IoU at least `MIN_IOU`), largest faces
first; it ends when no frame of the last `MAX_GAP` sampled frames had it. Probabilities are smoothed by an exponential
mean over sampled frames, and a label changes only when the smoothed probability is `HYSTERESIS` beyond the threshold,
so that one odd frame is no event. On Linux `camera:N` is /dev/videoN, read through Video4Linux; `camera:PATH` is
another device, or a pipe or file into which some other program writes a video stream.
Its seconds count from the first frame.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lineament.errors import MissingExtraError, NotFoundError, UnreadableError, UsageError
from lineament.inputs.item import CAMERA, SEPARATOR, Item
from lineament.inputs.video_frame import to_photo
from lineament.types import FaceReport, Report, fixed

MIN_IOU, MAX_GAP, SMOOTHING, HYSTERESIS = 0.3, 3, 0.4, 0.05
_DRIVERS = {"linux": "v4l2", "darwin": "avfoundation"}


def video_items(path: Path, every: float = 1.0, name: str | None = None) -> Iterator[Item]:
    """Yield the frame at 0 s and then the first one at or after each further multiple of `every` seconds, as it is
    shown.

    A file that cannot be opened, or breaks off, is one item with an error after the frames before it. name: what
    sources call it.
    """
    av, name = pyav(), str(path) if name is None else name
    if not path.exists():
        yield Item(name, error=NotFoundError(f"There is no file {path}."))
        return
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                yield Item(name, error=UnreadableError("The file holds no video."))
                return
            yield from sampled(container, name, every)
    except (av.error.FFmpegError, OSError) as error:
        yield Item(name, error=UnreadableError(f"Not a video, or damaged: {error}"))


def sampled(container: Any, name: str, every: float) -> Iterator[Item]:
    """Yield an open container's frame at 0 s, then the first at or after each multiple of `every` seconds."""
    stream = container.streams.video[0]
    stream.thread_type = "NONE"
    step, start = 0, None
    for frame in container.decode(stream):
        if frame.time is None:
            continue
        start = frame.time if start is None else start
        seconds = frame.time - start
        if seconds + 1e-6 < step * every:
            continue
        step = int((seconds + 1e-6) // every) + 1
        pixels, note = to_photo(frame, stream)
        yield Item(f"{name}{SEPARATOR}t={seconds:.3f}", data=pixels, note=note)


def pyav() -> Any:
    """Return the module av. Raises: MissingExtraError."""
    try:
        import av
        import av.error
    except ImportError as error:
        raise MissingExtraError("PyAV", "video") from error
    return av


def device_of(name: str) -> str:
    """Return the device (or pipe, or file) of a camera's name. Raises: UsageError naming the cameras that are there."""
    asked = name.removeprefix(CAMERA)
    device = f"/dev/video{asked}" if asked.isdecimal() and sys.platform == "linux" else asked
    if sys.platform == "darwin" and asked.isdecimal():
        return asked  # AVFoundation counts its devices itself
    if not os.path.lexists(device):
        found = ", ".join(
            f"{CAMERA}{path.name.removeprefix('video')}" for path in sorted(Path("/dev").glob("video[0-9]*"))
        )
        raise UsageError(f"There is no camera {name} ({device}). Here: {found or 'no camera'}.")
    if not os.access(device, os.R_OK):
        raise UsageError(
            f"The camera {name} ({device}) may not be read by this user. On most systems the group `video` may."
        )
    return device


def camera_items(name: str, every: float = 1.0) -> Iterator[Item]:
    """Yield the first frame and then one every so many seconds, as they come. A camera that fails or is pulled out ends
    with an error item."""
    av, device = pyav(), device_of(name)
    driver = _DRIVERS.get(sys.platform) if _is_device(device) else None
    try:
        with av.open(device, format=driver) as container:
            if not container.streams.video:
                yield Item(name, error=UnreadableError(f"{device} gives no video."))
                return
            yield from sampled(container, name, every)
    except (av.error.FFmpegError, OSError) as error:
        yield Item(name, error=UnreadableError(f"The camera {device} cannot be read: {error}"))


def _is_device(device: str) -> bool:
    try:
        return stat.S_ISCHR(Path(device).stat().st_mode)
    except OSError:
        return True


@dataclass
class Track:
    """One face followed through a video. smoothed: name -> probability; events: what changed, and when."""

    number: int
    start: float
    end: float
    box: tuple[float, float, float, float]
    frames: int = 0
    missed: int = 0
    smoothed: dict[str, float] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)

    def take(self, face: FaceReport, seconds: float, thresholds: Mapping[str, float]) -> None:
        """Go on with a face seen at a time."""
        self.box, self.end, self.missed, self.frames = face.box_xyxy, seconds, 0, self.frames + 1
        for name, answer in face.attributes.items():
            before = self.smoothed.get(name)
            prob = answer.prob if before is None else before + SMOOTHING * (answer.prob - before)
            self.smoothed[name] = prob
            threshold = thresholds.get(name, 0.5)
            label = "yes" if prob >= threshold else "no"
            old = self.labels.setdefault(name, label)
            if label != old and abs(prob - threshold) >= HYSTERESIS:
                self.labels[name] = label
                self.events.append(
                    {"t": fixed(seconds, 3), "attribute": name, "from": old, "to": label, "prob": fixed(prob, 4)}
                )

    def to_dict(self) -> dict[str, Any]:
        attributes = {
            name: {"prob": fixed(prob, 4), "label": self.labels[name]} for name, prob in self.smoothed.items()
        }
        return {
            "track": self.number, "start": fixed(self.start, 3), "end": fixed(self.end, 3), "frames": self.frames,
            "attributes": attributes, "events": self.events,
        }  # fmt: skip


class Tracks:
    """The tracks of every video of a run: told of each report in order; a report of a photo is let pass."""

    def __init__(self, thresholds: Mapping[str, float]) -> None:
        self._thresholds = thresholds
        self._videos: dict[str, list[Track]] = {}
        self._open: list[Track] = []
        self._video = ""

    def __call__(self, report: Report) -> None:
        """Take one report."""
        video, mark, seconds = report.source.rpartition(f"{SEPARATOR}t=")
        if not mark or report.error is not None:
            return
        if video != self._video:
            self._video, self._open = video, []
            self._videos.setdefault(video, [])
        self._advance(report.faces, float(seconds))

    def to_dict(self) -> list[dict[str, Any]]:
        """Return, per video in order, its tracks."""
        return [
            {"source": video, "tracks": [track.to_dict() for track in tracks]} for video, tracks in self._videos.items()
        ]

    def _advance(self, faces: tuple[FaceReport, ...], seconds: float) -> None:
        left = list(self._open)
        for face in faces:
            best = max(left, key=lambda track: iou(track.box, face.box_xyxy), default=None)
            if best is None or iou(best.box, face.box_xyxy) < MIN_IOU:
                every = self._videos[self._video]
                best = Track(len(every), seconds, seconds, face.box_xyxy)
                every.append(best)
                self._open.append(best)
            else:
                left.remove(best)
            best.take(face, seconds, self._thresholds)
        for track in left:
            track.missed += 1
        self._open = [track for track in self._open if track.missed <= MAX_GAP]


def iou(a: tuple[float, float, float, float], b: tuple[float, float, float, float]) -> float:
    """Return the intersection over union of two boxes xyxy; 0 where both are empty.

    >>> iou((0, 0, 2, 2), (1, 0, 3, 2))
    0.3333333333333333
    """
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - width * height
    return width * height / union if union > 0 else 0.0
