"""Reports as text for people: one block per photo, one line per face."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.table import Table

from lineament.files import escaped
from lineament.types import FaceReport, Report


class TableView:
    """Prints each report as it comes, so that a million photos take no memory."""

    def __init__(self) -> None:
        self._console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)

    def __call__(self, report: Report) -> None:
        """Print one report."""
        self._console.print(headline(report), markup=False, style="bold" if report.error is None else "red")
        if report.faces:
            self._console.print(face_table(report))


def headline(report: Report) -> str:
    """Return the line above a photo's faces."""
    source = escaped(report.source)
    if report.error is not None:
        return f"{source}: {report.status}: {escaped(report.error[1])}"
    count = {0: "no face", 1: "1 face"}.get(len(report.faces), f"{len(report.faces)} faces")
    return f"{source}  {report.width}x{report.height}  {count}" + (f"  ({report.note})" if report.note else "")


def face_table(report: Report) -> Table:
    """Return a table of a photo's faces: where, how large, and what was answered yes."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_edge=False)
    for name, justify in (
        ("face", "right"),
        ("box", "left"),
        ("found", "right"),
        ("eyes", "right"),
        ("yes (probability)", "left"),
    ):
        table.add_column(name, justify="right" if justify == "right" else "left", no_wrap=name != "yes (probability)")
    for index, face in enumerate(report.faces):
        box = ",".join(f"{v:.0f}" for v in face.box_xyxy)
        found = "given" if face.detection_prob is None else f"{face.detection_prob:.2f}"
        table.add_row(str(index), box, found, f"{face.quality.eye_distance:.0f} px", answers_text(face))
    return table


def answers_text(face: FaceReport) -> str:
    """Return the positive answers, most probable first, and how many could not be told."""
    positive = sorted(
        ((answer.prob, name) for name, answer in face.attributes.items() if answer.label == "yes"), reverse=True
    )
    parts = [f"{name} {prob:.2f}" for prob, name in positive]
    unsure = [name for name, answer in face.attributes.items() if answer.label == "cannot_tell"]
    if unsure:
        parts.append(f"cannot tell: {', '.join(unsure)}")
    return ", ".join(parts) or "nothing"
