"""Whether a --boxes table names the photos of a run at all: a table of other spellings would make every photo
`no_face`, silently."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lineament.inputs.given_faces import GivenFaces
    from lineament.types import Report


class BoxesUsed:
    """Told of every report: remembers whether the table named any."""

    def __init__(self, given: GivenFaces) -> None:
        self._given, self._met, self._example = given, False, ""

    def __call__(self, report: Report) -> None:
        """Take note of one report."""
        self._met = self._met or report.source in self._given.sources
        self._example = self._example or report.source

    def warning(self) -> str | None:
        """Return what to say at the end of the run; None where some photo was in the table, or none came."""
        if self._met or not self._example:
            return None
        named = next(iter(self._given.sources), None)
        if named is None:
            return f"Warning: --boxes {self._given.path} names no face."
        return (
            f"Warning: --boxes {self._given.path} names none of these photos, so none has a face: it has, for example, "
            f"{named!r}, "
            f"the run {self._example!r}. `source` must be spelled as the run spells it."
        )
