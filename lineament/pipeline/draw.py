"""The annotated photo: boxes, keypoints and the positive answers, legible at any size. Pillow only, with the font it carries.

report (with pixels) -> canvas -> boxes, points -> a label beside each face, kept inside the photo
"""

from __future__ import annotations

from PIL import Image, ImageDraw, ImageFont

from lineament.errors import ImageError, UsageError
from lineament.types import FaceReport, Report, UInt8

COLOURS = ("#ffd166", "#06d6a0", "#4cc9f0", "#f78c6b", "#c77dff", "#ef476f")
_INK = "#101418"
_SMALLEST_SIDE = 480
_MOST_LINES, _MOST_LINES_IN_ALL = 12, 40
Box = tuple[float, float, float, float]


def draw_report(report: Report) -> Image.Image:
    """Return the photo of a report with its faces drawn; small photos are enlarged first, so that the text can be read.

    Raises: UsageError if the report keeps no pixels.
    """
    if report.pixels is None:
        raise UsageError("This report holds no pixels to draw on. Use model.analyze(...), which keeps them; streamed reports do not.")
    photo = _photo(report, report.pixels)
    scale = max(1, -(-_SMALLEST_SIDE // max(photo.size)))
    canvas = photo.resize((photo.width * scale, photo.height * scale), Image.Resampling.BICUBIC) if scale > 1 else photo.copy()
    size = max(12, round(max(canvas.size) / 64))
    font = ImageFont.load_default(size)
    drawing = ImageDraw.Draw(canvas)
    for index, face in enumerate(report.faces):
        _draw_marks(drawing, face, scale, COLOURS[index % len(COLOURS)], max(2, size // 7))
    taken = [_scaled(face.box_xyxy, scale) for face in report.faces]
    most = min(_MOST_LINES, max(2, _MOST_LINES_IN_ALL // max(1, len(report.faces))))
    for index, face in enumerate(report.faces):
        taken.append(_draw_text(drawing, lines_of(face, most), taken[index], font, size, COLOURS[index % len(COLOURS)], taken))
    return canvas


def _photo(report: Report, pixels: UInt8) -> Image.Image:
    """Return the whole photo: where a smaller decode was answered it is decoded again, or that is enlarged where the file has gone or changed."""
    answered = Image.fromarray(pixels)
    if report.whole is None or report.width is None or report.height is None:
        return answered
    size = report.width, report.height
    try:
        photo = Image.fromarray(report.whole().pixels)
    except (ImageError, OSError, MemoryError):
        photo = answered
    return photo if photo.size == size else answered.resize(size, Image.Resampling.BICUBIC)


def lines_of(face: FaceReport, most: int = _MOST_LINES) -> list[str]:
    """Return the positive answers of a face, most probable first, with their probabilities; the last line counts what did not fit."""
    positive = sorted(((answer.prob, name) for name, answer in face.attributes.items() if answer.label == "yes"), reverse=True)
    lines = [f"{name.replace('_', ' ')} {prob:.2f}" for prob, name in positive]
    return lines if len(lines) <= most else [*lines[: most - 1], f"and {len(lines) - most + 1} more"]


def _scaled(box: Box, scale: int) -> Box:
    return (box[0] * scale, box[1] * scale, box[2] * scale, box[3] * scale)


def _draw_marks(drawing: ImageDraw.ImageDraw, face: FaceReport, scale: int, colour: str, width: int) -> None:
    drawing.rectangle(_scaled(face.box_xyxy, scale), outline=colour, width=width)
    radius = max(1.5, min(width, (face.box_xyxy[2] - face.box_xyxy[0]) * scale / 40))
    for x, y in face.keypoints:
        drawing.ellipse((x * scale - radius, y * scale - radius, x * scale + radius, y * scale + radius), fill=colour)


def _draw_text(
    drawing: ImageDraw.ImageDraw, lines: list[str], box: Box, font: ImageFont.ImageFont | ImageFont.FreeTypeFont, size: int, colour: str,
    taken: list[Box],
) -> Box:  # fmt: skip
    """Write the lines on a panel beside the box, at the place inside the photo where it hides least of faces and other panels; return the panel."""
    if not lines:
        return (0, 0, 0, 0)
    pad, step = size // 3, round(size * 1.2)
    width = max(drawing.textlength(line, font=font) for line in lines) + 2 * pad
    height = step * len(lines) + 2 * pad
    photo = drawing.im.size
    right, left, below, above = box[2] + pad, box[0] - pad - width, box[3] + pad, box[1] - pad - height
    places = [
        (right, box[1]),
        (left, box[1]),
        (box[0], below),
        (box[0], above),
        (right, box[3] - height),
        (right, below),
        (left, below),
        (right, above),
    ]
    panels = [_inside(x, y, width, height, photo) for x, y in places]
    panel = min(panels, key=lambda panel: sum(_overlap(panel, other) for other in taken))
    drawing.rectangle(panel, fill=_INK, outline=colour, width=max(1, pad // 2))
    for row, line in enumerate(lines):
        drawing.text((panel[0] + pad, panel[1] + pad + row * step), line, fill=colour, font=font)
    return panel


def _inside(x: float, y: float, width: float, height: float, photo: tuple[int, int]) -> Box:
    left = min(max(0.0, x), max(0.0, photo[0] - 1 - width))
    top = min(max(0.0, y), max(0.0, photo[1] - 1 - height))
    return (left, top, left + width, top + height)


def _overlap(a: Box, b: Box) -> float:
    return max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
