"""Turn detection.json into detection.md: every number on the page comes from the file."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


def percent(value: float | None, digits: int = 1) -> str:
    """Return a fraction as percent, "-" for none."""
    return "-" if value is None else f"{100 * value:.{digits}f} %"


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """Return a Markdown table."""
    lines = [list(head), *(list(row) for row in rows)]
    out = ["| " + " | ".join(str(cell) for cell in line) + " |" for line in lines]
    return "\n".join([out[0], "|" + "---|" * len(lines[0]), *out[1:]]) + "\n"


def compared(part: dict[str, Any]) -> str:
    """Return the table of one set: a row per detector."""
    rows = [
        (
            name, row["faces"], percent(row["recall_centre"]), percent(row["recall_iou50"]),
            row["finds_on_no_labelled_face"], percent(row["nme_median"]), percent(row["nme_p95"]),
            f"{row['ms_median']:.0f}" if "ms_median" in row else "-",
        )
        for name, row in part["detectors"].items()
    ]  # fmt: skip
    return table(
        (
            "detector",
            "faces",
            "found (centre)",
            "found (IoU 0.5)",
            "finds on no labelled face",
            "NME median",
            "NME 95 %",
            "ms",
        ),
        rows,
    )


def page(document: dict[str, Any]) -> str:
    """Return the whole page."""
    parts = [INTRODUCTION.format(**document["machine"])]
    if groups := document.get("groups"):
        parts += [
            GROUPS.format(photos=groups["photos"], narrowest=groups["narrowest_face"], median=groups["median_face"]),
            compared(groups),
        ]
    if landmarks := document.get("landmarks68"):
        parts += [LANDMARKS.format(photos=landmarks["photos"]), compared(landmarks)]
    if thresholds := document.get("thresholds"):
        rows = [
            (k, row["faces"], percent(row["recall_centre"]), row["finds_on_no_labelled_face"])
            for k, row in sorted(thresholds.items())
        ]
        parts += [THRESHOLDS, table(("min_prob", "faces", "found (centre)", "finds on no labelled face"), rows)]
    if wild := document.get("wild"):
        rows = [(name, row["found"], row["several"], row["finds"]) for name, row in wild["detectors"].items()]
        parts += [
            WILD.format(photos=wild["photos"]),
            table(("detector", "photos with a face found", "with several", "finds"), rows),
        ]
    if alignment := document.get("alignment"):
        parts += [ALIGNMENT.format(photos=alignment["photos"]), _alignment(alignment)]
    if turned := document.get("turned"):
        rows = [
            (f"{k}°", row["faces"], percent(row["recall_centre"]), percent(row["nme_median"]), percent(row["nme_p95"]))
            for k, row in turned.items()
        ]
        parts += [
            TURNED,
            table(
                ("turned by", "faces", "found", "NME median", "NME 95 %"),
                sorted(rows, key=lambda row: int(row[0][:-1])),
            ),
        ]
    if sizes := document.get("sizes"):
        rows = [
            (k, row["images"], percent(row["recall"]), percent(row["median_shift"]))
            for k, row in sorted(sizes.items(), key=lambda i: -int(i[0]))
        ]
        parts += [
            SIZES,
            table(("image width, pixels", "images", "face found", "points moved (of the eye distance)"), rows),
        ]
    if crowd := document.get("crowd"):
        rows = [(k, percent(crowd[k])) for k in sorted((k for k in crowd if k.isdigit()), key=int)]
        parts += [CROWD.format(faces=3 * crowd["faces_in_source"]), table(("median face width, pixels", "found"), rows)]
    if sharp := document.get("sharpness"):
        parts.append(SHARPNESS.format(**sharp))
    return "\n".join(parts)


def _alignment(part: dict[str, Any]) -> str:
    names = {
        "registered": "official placement found by registering the pictures",
        "detected_on_both": "our detector on both pictures",
    }
    rows = [
        (names[key], f"{row['median_px']:.2f}", percent(row["median_of_eye_distance"]), f"{row['max_px']:.2f}")
        for key, row in sorted(part["summary"].items(), reverse=True)
    ]
    return table(("measured by", "median, crop pixels", "of the eye distance", "largest"), rows)


INTRODUCTION = """# Detection and alignment

`python benchmarks/detection.py` made this page and `detection.json` from the shared data folder; dlib's rows need `pip install dlib-bin`.
Python {python}, {machine}, {cpus} CPUs, {threads} thread, NumPy {numpy}, Pillow {pillow}, ONNX Runtime {onnxruntime}. Detectors run at
their defaults; dlib's HOG with one upsampling.

**How a find is judged.** Truth is iBUG's 68 points. *Centre*: the found box holds the mean of the face's five points; each find serves one
face. *IoU 0.5*: box conventions differ (ours runs from the forehead to the chin, dlib's from under the brows to just above the chin), so the truth
box is the tight box of the 68 points, stretched on each side by what that detector's boxes reach beyond it in the median on every fourth photo
of the *train* split of `landmarks68/` (`box_reach` in the JSON). *NME*: mean distance of the five points (eyes as the mean of their six
contour points, nose tip, mouth corners) over the distance of the eyes. The 68-point scheme and the detector's five points are not quite the
same places, so some of it is definition, not error. Finds on no labelled face may be faces that nobody labelled.
"""
GROUPS = """## Several faces: `groups/`

{photos} photos with labels (dlib's `testing` and `training` XML); the narrowest face is {narrowest:.0f} pixels wide, the median {median:.0f}.
The set flatters dlib: four of the photos are those of dlib's own training example, and its points were placed by dlib's landmark model.
`groups/` also holds three photos without labels; on the one of four dogs, one dog is taken for a face.
"""
LANDMARKS = """## One face, often filling the frame: `landmarks68/`, test split

{photos} photos of Helen and AFW, cropped near the face; one face of each is labelled.
"""
THRESHOLDS = """## Which probability is a face?

Both sets above, one run at 0.3. A find's probability is the lower of what the first and the second look said. The default is 0.6.
"""
WILD = """## Uncropped CelebA originals: `wild/`

{photos} photos, each with at least one face.
"""
ALIGNMENT = """## Does our alignment land where CelebA's does?

{photos} photos of `wild/` whose official aligned image is in `train-parquet`. CelebA was aligned to points that people clicked, ours to
detected ones. Distances are means over the five points. Registration moves our warp of the photo until it is most like the official image,
so it tells where CelebA put the face without asking a detector.
"""
TURNED = """## Photos turned in the plane

Every third photo of the `landmarks68/` test split. The second look, and a third at the other quarter turns where it does
not quite convince, make points nearly independent of the turn.
"""
SIZES = """## Small photos

Every tenth official validation image, shrunk; the face is about half as wide as the image. Points are compared with those found at full size.
"""
CROWD = """## Small faces in twelve megapixels

`bald_guys.jpg`, shrunk and set three times into a plain photo of 4000x3000: {faces} faces.
"""
SHARPNESS = """## Sharpness against CelebA's Blurry

Official validation crops: {images} images, {blurry} called Blurry. `quality.sharpness` ranks the two with an area under the curve of
{auc:.3f}; its median is {median:.2f}, and {median_blurry:.2f} where annotators said Blurry.
"""
