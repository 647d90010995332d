"""The annotated photo: boxes, keypoints and what is notable, legible at any size. Pillow only, with the font it
carries.

report (with pixels) -> canvas -> boxes, points -> a label beside each face, or a legend under the photo where there is
no free place

Convention: a label never covers a face, its own or another's, nor another label. It stands as near as it can, with a
line to its face; a face without a free place near it gets a number, and its lines stand under the photo. The photo is
the upper left part of the picture.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from lineament.errors import ImageError, UsageError
from lineament.pipeline.notable import notable
from lineament.types import FaceReport, Report, UInt8
from lineament.visual.stylesheet import colour

COLOURS = ("#ffd166", "#06d6a0", "#4cc9f0", "#f78c6b", "#c77dff", "#ef476f")
_SMALLEST_SIDE = 480
_MOST_LINES, _MOST_LINES_IN_ALL = 8, 60
_FARTHEST = 0.15  # of the photo's longer side: a label farther from its face than this goes into the legend
Box = tuple[float, float, float, float]
Font = ImageFont.ImageFont | ImageFont.FreeTypeFont


@dataclass(frozen=True)
class Layout:
    """Where labels go: face -> the panel beside it; the faces that need the legend, in order."""

    panels: dict[int, Box]
    legend: list[int]


def draw_report(report: Report) -> Image.Image:
    """Return the photo of a report with its faces drawn; small photos are enlarged first, so that the text can be read.

    Raises: UsageError if the report keeps no pixels.
    """
    if report.pixels is None:
        raise UsageError(
            "This report holds no pixels to draw on. Use model.analyze(...), which keeps them; streamed reports do not."
        )
    photo = _photo(report, report.pixels)
    scale = max(1, -(-_SMALLEST_SIDE // max(photo.size)))
    canvas = (
        photo.resize((photo.width * scale, photo.height * scale), Image.Resampling.BICUBIC)
        if scale > 1
        else photo.copy()
    )
    size = max(12, round(max(canvas.size) / 64))
    font = ImageFont.load_default(size)
    boxes = [_scaled(face.box_xyxy, scale) for face in report.faces]
    most = min(_MOST_LINES, max(4, _MOST_LINES_IN_ALL // max(1, len(boxes))))
    lines = [lines_of(face, most, report.base_rates) for face in report.faces]
    placed = layout(boxes, [_panel_size(one, font, size) for one in lines], canvas.size, size)
    drawing = ImageDraw.Draw(canvas)
    for index, face in enumerate(report.faces):
        _draw_marks(drawing, face, scale, COLOURS[index % len(COLOURS)], max(2, size // 7))
    for index, panel in placed.panels.items():
        _draw_leader(drawing, panel, boxes[index], COLOURS[index % len(COLOURS)], max(2, size // 7))
    for index, panel in placed.panels.items():
        _draw_panel(drawing, panel, lines[index], COLOURS[index % len(COLOURS)], font, size)
    for index in placed.legend:
        _draw_number(drawing, index, boxes, font, size)
    return _with_legend(canvas, {index: lines[index] for index in placed.legend}, font, size)


def _photo(report: Report, pixels: UInt8) -> Image.Image:
    """Return the whole photo: where a smaller decode was answered it is decoded again, or that is enlarged where the
    file has gone or changed."""
    answered = Image.fromarray(pixels)
    if report.whole is None or report.width is None or report.height is None:
        return answered
    size = report.width, report.height
    try:
        photo = Image.fromarray(report.whole().pixels)
    except (ImageError, OSError, MemoryError):
        photo = answered
    return photo if photo.size == size else answered.resize(size, Image.Resampling.BICUBIC)


def lines_of(face: FaceReport, most: int = _MOST_LINES, rates: Mapping[str, float] | None = None) -> list[str]:
    """Return what is notable of a face with its probabilities, the most telling first; the last line counts what did
    not fit. A face of which nothing is notable says so, and one that nothing can be told of, why."""
    lines = [f"{words} {prob:.2f}" for words, prob in notable(face, rates)] or _unremarkable(face)
    return lines if len(lines) <= most else [*lines[: most - 1], f"and {len(lines) - most + 1} more"]


def _unremarkable(face: FaceReport) -> list[str]:
    """Return the line of a face of which no answer is notable: why nothing could be told, or that nothing stands out;
    none for a face that was asked nothing."""
    answers = face.attributes.values()
    reasons = {answer.because for answer in answers}
    if reasons in ({"small"}, {"blurred"}):
        return [f"cannot tell: too {reasons.pop()}"]
    return ["nothing stands out"] if answers else []


def _scaled(box: Box, scale: int) -> Box:
    return (box[0] * scale, box[1] * scale, box[2] * scale, box[3] * scale)


def _panel_size(lines: Sequence[str], font: Font, size: int) -> tuple[float, float]:
    """Return the width and height of a label, (0, 0) without lines."""
    if not lines:
        return 0.0, 0.0
    pad = size // 3
    return max(font.getlength(line) for line in lines) + 3 * pad, round(size * 1.2) * len(lines) + 2 * pad


def layout(boxes: Sequence[Box], sizes: Sequence[tuple[float, float]], photo: tuple[int, int], step: int) -> Layout:
    """Return where labels go: each inside the photo, over no face and no other label, as near to its face as can be;
    else into the legend.

    Args: boxes, sizes: of each face, in pixels of the photo (width, height); step: how finely places are tried.
    """
    panels: dict[int, Box] = {}
    legend = []
    heads = [_head(box) for box in boxes]
    for index, (box, (width, height)) in enumerate(zip(boxes, sizes, strict=True)):
        if not width:
            continue
        taken = [*heads, *panels.values()]
        free = [
            panel
            for panel in _places(heads[index], width, height, photo, step)
            if not any(_overlaps(panel, other) for other in taken) and _distance(panel, box) <= _FARTHEST * max(photo)
        ]
        clear = [panel for panel in free if not _crosses(panel, box, heads, index)]
        if clear:
            panels[index] = min(clear, key=lambda panel: _distance(panel, box))
        else:
            legend.append(index)
    return Layout(panels, legend)


def _head(box: Box) -> Box:
    """Return a face's box with room for ears and hair, which a label should not cover either."""
    width, height = box[2] - box[0], box[3] - box[1]
    return (box[0] - 0.1 * width, box[1] - 0.2 * height, box[2] + 0.1 * width, box[3] + 0.05 * height)


def _places(box: Box, width: float, height: float, photo: tuple[int, int], step: int) -> list[Box]:
    """Return panels inside the photo: those beside the box first, then a grid."""
    gap = step / 2
    beside = [
        (box[2] + gap, box[1]), (box[0] - gap - width, box[1]), (box[0], box[3] + gap), (box[0], box[1] - gap - height),
        (box[2] + gap, box[3] - height), (box[0] - gap - width, box[3] - height),
    ]  # fmt: skip
    across = range(0, max(1, int(photo[0] - width)), 2 * step)
    down = range(0, max(1, int(photo[1] - height)), 2 * step)
    places = [*beside, *((float(x), float(y)) for y in down for x in across)]
    return [
        (x, y, x + width, y + height)
        for x, y in places
        if x >= 0 and y >= 0 and x + width < photo[0] and y + height < photo[1]
    ]


def _overlaps(a: Box, b: Box) -> bool:
    return min(a[2], b[2]) > max(a[0], b[0]) and min(a[3], b[3]) > max(a[1], b[1])


def _ends(panel: Box, box: Box) -> tuple[float, float, float, float]:
    """Return the shortest line from a panel to a box, (x, y) of its two ends."""

    def nearest(low: float, high: float, other_low: float, other_high: float) -> tuple[float, float]:
        if high < other_low:
            return high, other_low
        if low > other_high:
            return low, other_high
        middle = (max(low, other_low) + min(high, other_high)) / 2
        return middle, middle

    (x1, x2), (y1, y2) = nearest(panel[0], panel[2], box[0], box[2]), nearest(panel[1], panel[3], box[1], box[3])
    return x1, y1, x2, y2


def _distance(panel: Box, box: Box) -> float:
    x1, y1, x2, y2 = _ends(panel, box)
    return float(((x1 - x2) ** 2 + (y1 - y2) ** 2) ** 0.5)


def _crosses(panel: Box, box: Box, boxes: Sequence[Box], index: int) -> bool:
    """Return whether the line from a panel to its face goes over another face."""
    x1, y1, x2, y2 = _ends(panel, box)
    points = [(x1 + (x2 - x1) * part / 16, y1 + (y2 - y1) * part / 16) for part in range(17)]
    others = [other for place, other in enumerate(boxes) if place != index]
    return any(other[0] < x < other[2] and other[1] < y < other[3] for x, y in points for other in others)


def _draw_marks(drawing: ImageDraw.ImageDraw, face: FaceReport, scale: int, ink: str, width: int) -> None:
    drawing.rectangle(_scaled(face.box_xyxy, scale), outline=ink, width=width)
    radius = max(1.5, min(width, (face.box_xyxy[2] - face.box_xyxy[0]) * scale / 40))
    for x, y in face.keypoints:
        drawing.ellipse((x * scale - radius, y * scale - radius, x * scale + radius, y * scale + radius), fill=ink)


def _draw_leader(drawing: ImageDraw.ImageDraw, panel: Box, box: Box, ink: str, width: int) -> None:
    drawing.line(_ends(panel, box), fill=colour("ink"), width=width + 2)
    drawing.line(_ends(panel, box), fill=ink, width=width)


def _draw_panel(
    drawing: ImageDraw.ImageDraw, panel: Box, lines: Sequence[str], ink: str, font: Font, size: int
) -> None:
    pad, step = size // 3, round(size * 1.2)
    drawing.rectangle(panel, fill=colour("surface"), outline=colour("line"))
    drawing.rectangle((panel[0], panel[1], panel[0] + pad, panel[3]), fill=ink)
    for row, line in enumerate(lines):
        drawing.text((panel[0] + 2 * pad, panel[1] + pad + row * step), line, fill=colour("ink"), font=font)


def _draw_number(drawing: ImageDraw.ImageDraw, index: int, boxes: Sequence[Box], font: Font, size: int) -> None:
    """Write a face's number on the corner of its box: outside, above it, where that covers no other face."""
    box, side = boxes[index], size * 1.3
    above = (box[0], box[1] - side, box[0] + side, box[1])
    others = [other for place, other in enumerate(boxes) if place != index]
    corner = (
        above
        if above[1] >= 0 and not any(_overlaps(above, other) for other in others)
        else (box[0], box[1], box[0] + side, box[1] + side)
    )
    drawing.rectangle(corner, fill=COLOURS[index % len(COLOURS)])
    drawing.text(
        ((corner[0] + corner[2]) / 2, (corner[1] + corner[3]) / 2),
        str(index + 1),
        fill="#101418",
        font=font,
        anchor="mm",
    )


def _with_legend(photo: Image.Image, lines: dict[int, list[str]], font: Font, size: int) -> Image.Image:
    """Return the photo with the numbered faces' lines under it in columns; the photo itself where there are none."""
    if not lines:
        return photo
    pad, step = size, round(size * 1.25)
    width = max(max(font.getlength(line) for line in one) for one in lines.values()) + 3 * pad
    canvas_width = max(photo.width, round(width + pad))
    across = max(1, int((canvas_width - pad) // width))
    entries = list(lines.items())
    rows = [entries[start : start + across] for start in range(0, len(entries), across)]
    heights = [max(len(one) for _, one in row) * step + pad for row in rows]
    canvas = Image.new("RGB", (canvas_width, photo.height + pad + sum(heights)), colour("paper"))
    canvas.paste(photo, (0, 0))
    drawing, y = ImageDraw.Draw(canvas), float(photo.height + pad)
    for row, height in zip(rows, heights, strict=True):
        for place, (index, one) in enumerate(row):
            x = pad + place * width
            drawing.rectangle((x, y, x + size * 1.3, y + size * 1.3), fill=COLOURS[index % len(COLOURS)])
            drawing.text((x + size * 0.65, y + size * 0.65), str(index + 1), fill="#101418", font=font, anchor="mm")
            for at, line in enumerate(one):
                drawing.text((x + size * 1.8, y + at * step), line, fill=colour("ink"), font=font)
        y += height
    return canvas
