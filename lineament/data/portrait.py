"""One face drawn by code: attributes -> pixels, exact landmarks and exact regions. No photo, no person.

    traits -> 68 points -> shapes, back to front -> image (218,178,3), region (8,218,178)

Convention: pixels of the 178x218 crop, centres at +0.5; drawn at twice the size and averaged down; left and right are
the subject's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

from lineament.data.mean_face import MEAN_FACE_68
from lineament.data.regions import GROUPS, hull, rasterize, region_from_landmarks
from lineament.geometry import transform_points
from lineament.types import Float64

Colour = tuple[int, int, int]
SIZE = (218, 178)
_ZOOM = 2

HAIR: Mapping[str, Colour] = {
    "Black_Hair": (24, 21, 22), "Blond_Hair": (222, 190, 112), "Brown_Hair": (101, 62, 36),
    "Gray_Hair": (166, 166, 170),
}  # fmt: skip


class Canvas:
    """A picture and, drawn along with it, the visible pixels of hair, ears, skin and hat."""

    def __init__(self, background: Colour) -> None:
        full = (SIZE[1] * _ZOOM, SIZE[0] * _ZOOM)
        self.image = Image.new("RGB", full, background)
        self.layers = Image.new("L", full, 0)
        self._draw, self._mark = ImageDraw.Draw(self.image), ImageDraw.Draw(self.layers)

    def polygon(self, points: npt.ArrayLike, colour: Colour, layer: int | None = None) -> None:
        """Fill a polygon (P,2); `layer` is what its pixels now show (see `LAYERS`), None leaves that as it is."""
        corners = [(x * _ZOOM - 0.5, y * _ZOOM - 0.5) for x, y in np.asarray(points, np.float64)]
        self._draw.polygon(corners, fill=colour)
        if layer is not None:
            self._mark.polygon(corners, fill=layer)

    def line(self, points: npt.ArrayLike, colour: Colour, width: float) -> None:
        """Draw an open line (P,2) of `width` crop pixels."""
        corners = [(x * _ZOOM - 0.5, y * _ZOOM - 0.5) for x, y in np.asarray(points, np.float64)]
        self._draw.line(corners, fill=colour, width=max(1, round(width * _ZOOM)), joint="curve")

    def finish(self, blur: float) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
        """Return the image (218,178,3) and the layer of each pixel (218,178)."""
        image = self.image.filter(ImageFilter.GaussianBlur(blur * _ZOOM)) if blur else self.image
        small = image.resize((SIZE[1], SIZE[0]), Image.Resampling.BOX)
        return np.asarray(small), np.asarray(self.layers)[_ZOOM // 2 :: _ZOOM, _ZOOM // 2 :: _ZOOM]


LAYERS = ("other", "hair", "ear", "skin", "hat")


def ellipse(
    centre: npt.ArrayLike, radii: tuple[float, float], first: float = 0.0, last: float = 360.0, count: int = 40
) -> Float64:
    """Return points (count,2) of an ellipse's arc, angles in degrees, clockwise from the right (y runs down)."""
    angle = np.deg2rad(np.linspace(first, last, count))
    return np.asarray(centre, np.float64) + np.stack([np.cos(angle) * radii[0], np.sin(angle) * radii[1]], axis=1)


def shade(colour: Colour, factor: float) -> Colour:
    """Return a colour made darker (factor < 1) or lighter."""
    red, green, blue = (int(min(255, max(0, value * factor))) for value in colour)
    return red, green, blue


def mix(first: Colour, second: Colour, share: float) -> Colour:
    """Return `first` with a `share` of `second`."""
    red, green, blue = (int((1 - share) * a + share * b) for a, b in zip(first, second, strict=True))
    return red, green, blue


def shape_points(has: Mapping[str, bool], rng: np.random.Generator) -> Float64:
    """Return the 68 points of a face with these attributes, before it is moved by a small similarity."""
    p = MEAN_FACE_68.copy()
    centre = p[27:36, 0].mean()
    wide = 1.12 if has["Chubby"] else (0.95 if has["Oval_Face"] else 1.03)
    p[:17, 0] = centre + (p[:17, 0] - centre) * wide
    p[6:11, 1] += 4 if has["Oval_Face"] else -1
    if has["Smiling"]:
        p[[48, 54, 60, 64], 0] += [-4, 4, -3, 3]
        p[[48, 54, 60, 64], 1] -= 3.5
        p[[49, 53, 59, 55], 1] -= 1.5
    lips, middle = np.arange(48, 68), p[48:68, 1].mean()
    p[lips, 1] = middle + (p[lips, 1] - middle) * (1.45 if has["Big_Lips"] else 0.85)
    p[60:68, 1] = p[[60, 64], 1].mean() if not has["Mouth_Slightly_Open"] else p[60:68, 1]
    if has["Mouth_Slightly_Open"]:
        p[[55, 56, 57, 58, 59, 65, 66, 67], 1] += 5
        p[[61, 62, 63], 1] -= 1
    p[31:36, 0] = centre + (p[31:36, 0] - centre) * (1.5 if has["Big_Nose"] else 0.9)
    p[30] += [0, -3 if has["Pointy_Nose"] else 1]
    open_by = 0.55 if has["Narrow_Eyes"] else 1.25
    for eye in (slice(36, 42), slice(42, 48)):
        p[eye, 1] = p[eye, 1].mean() + (p[eye, 1] - p[eye, 1].mean()) * open_by
    for brow in (range(17, 22), range(22, 27)):
        lift = np.array([1.5, -1.5, -4.5, -1.5, 1.5]) if has["Arched_Eyebrows"] else np.array([0, 0.5, 1, 0.5, 0])
        p[list(brow), 1] = p[list(brow), 1].mean() + lift
    return p + rng.normal(0, 0.4, p.shape)


def small_similarity(rng: np.random.Generator) -> Float64:
    """Return a matrix (2,3) that turns by up to 4 degrees, scales by up to 4 % and shifts by up to 3 pixels about the
    middle."""
    angle, scale = np.deg2rad(rng.uniform(-4, 4)), rng.uniform(0.96, 1.04)
    linear = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    middle = np.array([SIZE[1], SIZE[0]]) / 2
    return np.column_stack([linear, middle + rng.uniform(-3, 3, 2) - linear @ middle])


class Portrait:
    """Draws one face. `points` (68,2) are exact; call `draw()` once."""

    def __init__(self, has: Mapping[str, bool], rng: np.random.Generator) -> None:
        self.has, self.rng = has, rng
        self.move = small_similarity(rng)
        self.upright = shape_points(has, rng)
        self.points = np.asarray(transform_points(self.move, self.upright), np.float64)
        self.skin = mix((122, 78, 52), (240, 200, 170), float(rng.uniform(0.15, 0.75)))
        if has["Pale_Skin"]:
            self.skin = (248, 232, 224)
        named = [HAIR[name] for name in HAIR if has[name]]
        self.hair = named[0] if named else (150, 50, 30)
        self.canvas = Canvas(tuple(int(v) for v in rng.integers(40, 220, 3)))  # type: ignore[arg-type]
        self.width = float(np.ptp(self.upright[:17, 0]))
        self.centre = np.array([self.upright[:17, 0].mean(), 112.0])

    def at(self, points: npt.ArrayLike) -> Float64:
        """Return upright points (P,2) moved to where the face is drawn."""
        return np.asarray(transform_points(self.move, np.asarray(points, np.float64)), np.float64)

    def draw(self) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
        """Return the image (218,178,3) and region (8,218,178)."""
        self._back()
        self._head()
        self._features()
        self._front()
        image, layers = self.canvas.finish(2.2 if self.has["Blurry"] else 0.0)
        noisy = np.clip(image.astype(np.float32) + self.rng.normal(0, 3, image.shape), 0, 255).astype(np.uint8)
        return noisy, self._region(layers)

    # ---- back to front

    def _back(self) -> None:
        has, cx, canvas = self.has, self.centre[0], self.canvas
        if not has["Bald"]:
            self._back_hair()
        neck = [(cx - 20, 160), (cx + 20, 160), (cx + 24, 206), (cx - 24, 206)]
        canvas.polygon(self.at(neck), shade(self.skin, 0.85), 0)
        cloth = tuple(int(v) for v in self.rng.integers(20, 200, 3))
        collar = [(-40, 240), (10, 204), (cx - 24, 197), (cx, 212), (cx + 24, 197), (168, 204), (220, 240)]
        canvas.polygon(self.at(collar), cloth, 0)  # type: ignore[arg-type]
        if has["Wearing_Necktie"]:
            canvas.polygon(self.at([(cx - 6, 203), (cx + 6, 203), (cx + 10, 226), (cx - 10, 226)]), (150, 20, 30))
            canvas.polygon(self.at([(cx - 8, 198), (cx + 8, 198), (cx + 4, 208), (cx - 4, 208)]), (110, 10, 20))
        if has["Wearing_Necklace"]:
            canvas.line(self.at(ellipse((cx, 186), (25, 17), 10, 170)), (238, 206, 70), 2.4)
        if has["Double_Chin"]:
            low = self.upright[4:13] + [0, 11] * np.sin(np.linspace(0, np.pi, 9))[:, None]
            canvas.polygon(self.at(hull(np.concatenate([self.upright[4:13], low]))), shade(self.skin, 0.78), 3)

    def _back_hair(self) -> None:
        """Hair behind the head: long where it is straight or wavy, its outline wavy or not."""
        (cx, _), half = self.centre, self.width / 2
        long_hair = self.has["Straight_Hair"] or self.has["Wavy_Hair"]
        bottom = 190.0 if long_hair else 122.0
        top = ellipse((cx, 90), (half + 15, 66), 180, 360, 30)
        right = np.stack([np.full(30, cx + half + (14 if long_hair else 7)), np.linspace(90, bottom, 30)], axis=1)
        left = right[::-1] * [-1, 1] + [2 * cx, 0]
        if self.has["Wavy_Hair"]:
            wave = 7 * np.sin(np.linspace(0, 5 * np.pi, 30))
            right[:, 0] += wave
            left[:, 0] -= wave[::-1]
        self.canvas.polygon(self.at(np.concatenate([top, right, left])), self.hair, 1)
        if self.has["Straight_Hair"]:
            for x in (cx - half - 9, cx - half - 4, cx + half + 4, cx + half + 9):
                self.canvas.line(self.at([(x, 80), (x, bottom - 2)]), shade(self.hair, 0.7), 0.8)

    def _head(self) -> None:
        (cx, _), half, canvas = self.centre, self.width / 2, self.canvas
        for side in (-1, 1):
            ear = self.at(ellipse((cx + side * (half + 3), 124), (8, 14)))
            canvas.polygon(ear, shade(self.skin, 0.9), 2)
        forehead = ellipse((cx, 112), (half, 58), 0, -180, 40)
        self.outline = np.concatenate([self.upright[:17], forehead])
        canvas.polygon(self.at(self.outline), self.skin, 3)
        if self.has["Oval_Face"]:
            canvas.line(self.at(self.upright[4:13]), shade(self.skin, 0.9), 1)
        if self.has["Rosy_Cheeks"]:
            for side in (-1, 1):
                canvas.polygon(self.at(ellipse((cx + side * 27, 141), (10, 8))), mix(self.skin, (232, 60, 90), 0.5))
        if self.has["High_Cheekbones"]:
            for side in (-1, 1):
                canvas.line(self.at([(cx + side * 37, 129), (cx + side * 20, 139)]), shade(self.skin, 0.72), 2.0)
        self._beard()

    def _beard(self) -> None:
        has, up, canvas = self.has, self.upright, self.canvas
        colour = shade(self.hair, 0.8) if not has["Bald"] else (60, 45, 35)
        jaw = np.concatenate([up[3:14], up[[54]] + [10, 6], up[[57]] + [0, 7], up[[48]] + [-10, 6]])
        if has["5_o_Clock_Shadow"]:
            canvas.polygon(self.at(jaw), mix(self.skin, (70, 75, 85), 0.4))
        if has["Goatee"]:
            chin = np.concatenate([up[7:10] - [0, 1], [up[55] + [2, 4], up[57] + [0, 4], up[59] + [-2, 4]]])
            canvas.polygon(self.at(hull(chin)), colour)
        if has["Mustache"]:
            lip = up[[48, 49, 50, 51, 52, 53, 54]] + [0, -1.5]
            base = up[[35, 33, 31]] + [0, 3]
            canvas.polygon(self.at(np.concatenate([lip, base])), colour)
        if has["Sideburns"]:
            for x, inward in ((up[1, 0], 1), (up[15, 0], -1)):
                canvas.polygon(
                    self.at([(x, 100), (x + 9 * inward, 100), (x + 7 * inward, 146), (x + 2 * inward, 146)]), colour
                )

    def _features(self) -> None:
        has, p, canvas = self.has, self.points, self.canvas
        canvas.line(p[27:31], shade(self.skin, 0.8), 1.6 if has["Pointy_Nose"] else 0.8)
        canvas.polygon(hull(np.concatenate([p[31:36], p[30:31]])), shade(self.skin, 0.84))
        canvas.line(p[31:36], shade(self.skin, 0.55), 1.2)
        for eye, brow in ((p[36:42], p[17:22]), (p[42:48], p[22:27])):
            self._eye(eye, brow)
        lips = (196, 30, 60) if has["Wearing_Lipstick"] else mix(self.skin, (170, 90, 85), 0.55)
        canvas.polygon(p[48:60], lips)
        if has["Mouth_Slightly_Open"]:
            canvas.polygon(p[60:68], (60, 15, 20))
            if has["Smiling"]:
                canvas.polygon(p[[61, 62, 63, 64, 60]], (245, 245, 240))
        else:
            canvas.line(p[60:65], shade(lips, 0.55), 1.0)

    def _eye(self, eye: Float64, brow: Float64) -> None:
        has, canvas, middle = self.has, self.canvas, eye.mean(0)
        if has["Heavy_Makeup"]:
            canvas.polygon(hull(np.concatenate([eye, brow + np.array([0, 4])])), mix(self.skin, (90, 40, 130), 0.6))
        if has["Bags_Under_Eyes"]:
            canvas.line(ellipse(middle + np.array([0, 3]), (9, 6), 20, 160, 12), shade(self.skin, 0.6), 2.2)
        canvas.polygon(eye, (250, 250, 250))
        canvas.polygon(ellipse(middle, (2.6, 2.6 if not has["Narrow_Eyes"] else 1.4), count=14), (50, 40, 40))
        canvas.line(eye[:4], (30, 20, 20), 1.6 if has["Heavy_Makeup"] else 0.8)
        canvas.line(
            brow, shade(self.hair, 0.6) if not has["Bald"] else (70, 50, 40), 4.4 if has["Bushy_Eyebrows"] else 1.6
        )

    def _front(self) -> None:
        has, (cx, _), half, canvas = self.has, self.centre, self.width / 2, self.canvas
        if not has["Bald"]:
            line = 66.0 if has["Receding_Hairline"] else 80.0
            rim = ellipse((cx, 92), (half + 4, 64), 180, 360, 30)
            inner = ellipse((cx, 92), (half - 2, max(6.0, 92 - line)), 0, -180, 30)
            canvas.polygon(self.at(np.concatenate([rim, inner])), self.hair, 1)
            if has["Bangs"]:
                comb = [(cx - half + 4 + i * (2 * half - 8) / 12, 99.0 if i % 2 else 92.0) for i in range(13)]
                canvas.polygon(self.at([(cx - half, 60), *comb, (cx + half, 60)]), shade(self.hair, 0.92), 1)
        if has["Wearing_Hat"]:
            hat = tuple(int(v) for v in self.rng.integers(20, 235, 3))
            canvas.polygon(self.at(ellipse((cx, 84), (half + 9, 72), 180, 360, 30)), hat, 4)  # type: ignore[arg-type]
            brim = [(cx - half - 20, 80), (cx + half + 20, 80), (cx + half + 20, 87), (cx - half - 20, 87)]
            canvas.polygon(self.at(brim), shade(hat, 0.7), 4)  # type: ignore[arg-type]
        if has["Wearing_Earrings"]:
            for side in (-1, 1):
                canvas.polygon(self.at(ellipse((cx + side * (half + 4), 143), (4.2, 6.0), count=16)), (250, 214, 60), 2)
        if has["Eyeglasses"]:
            self._glasses()

    def _glasses(self) -> None:
        right, left = self.upright[36:42].mean(0), self.upright[42:48].mean(0)
        for middle in (right, left):
            self.canvas.line(self.at(ellipse(middle, (14, 10))), (20, 20, 20), 2.2)
        rim = np.array([14, 0])
        self.canvas.line(self.at([right + rim, left - rim]), (20, 20, 20), 2.2)
        for start, end in ((right - rim, self.upright[0]), (left + rim, self.upright[16])):
            self.canvas.line(self.at([start, end]), (20, 20, 20), 1.8)

    def _region(self, layers: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
        """Return the regions: polygons of the exact points, and hair, ears, skin and hat as drawn."""
        region, _ = region_from_landmarks(self.points, SIZE, "tight")
        hair, ear = np.isin(layers, (1, 4)), layers == 2
        region[GROUPS.index("Hair")], region[GROUPS.index("Ear")] = hair, ear
        inside = rasterize([self.at(self.outline)], SIZE)
        region[GROUPS.index("Object")] = hair | ear | (layers == 3) | (inside & (layers != 0))
        return region


def portrait(
    has: Mapping[str, bool], seed: Sequence[int]
) -> tuple[npt.NDArray[np.uint8], Float64, npt.NDArray[np.bool_]]:
    """Draw one face: image (218,178,3) uint8 RGB, landmarks (68,2), region (8,218,178). The same seed draws the same
    face."""
    drawn = Portrait(has, np.random.default_rng(list(seed)))
    image, region = drawn.draw()
    return image, drawn.points, region
