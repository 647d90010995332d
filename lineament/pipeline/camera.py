"""A camera as an input (`[video]`): `camera:0`, frames as they come, until the run is stopped.

    device -> frames every S seconds -> items "camera:0::t=SECONDS"

Convention: on Linux `camera:N` is /dev/videoN, read through Video4Linux; `camera:PATH` is another device, or a pipe or file into which some other
program writes a video stream. Seconds count from the first frame.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

from lineament.errors import UnreadableError, UsageError
from lineament.pipeline.sources import CAMERA, Item
from lineament.pipeline.video import pyav, sampled

_DRIVERS = {"linux": "v4l2", "darwin": "avfoundation"}


def device_of(name: str) -> str:
    """Return the device (or pipe, or file) of a camera's name. Raises: UsageError naming the cameras that are there."""
    asked = name.removeprefix(CAMERA)
    device = f"/dev/video{asked}" if asked.isdecimal() and sys.platform == "linux" else asked
    if sys.platform == "darwin" and asked.isdecimal():
        return asked  # AVFoundation counts its devices itself
    if not os.path.lexists(device):
        found = ", ".join(f"{CAMERA}{path.name.removeprefix('video')}" for path in sorted(Path("/dev").glob("video[0-9]*")))
        raise UsageError(f"There is no camera {name} ({device}). Here: {found or 'no camera'}.")
    if not os.access(device, os.R_OK):
        raise UsageError(f"The camera {name} ({device}) may not be read by this user. On most systems the group `video` may.")
    return device


def camera_items(name: str, every: float = 1.0) -> Iterator[Item]:
    """Yield the first frame and then one every so many seconds, as they come. A camera that fails or is pulled out ends with an error item."""
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
