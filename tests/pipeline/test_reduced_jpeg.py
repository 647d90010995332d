"""Huge JPEGs: answered from a smaller decode where every face is large enough in it, else exactly as without one."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from analyze_kit import toy
from PIL import Image
from toy_model import write_toy_model

from lineament import geometry
from lineament.api import Model, make_settings
from lineament.detection.retinaface import RetinaFace
from lineament.errors import NotFoundError, TooManyFacesError, TruncatedError
from lineament.images import load_image, read_photo
from lineament.inputs.given_faces import GivenFaces
from lineament.pipeline import reduced_jpeg
from lineament.pipeline.analyze import Settings
from lineament.pipeline.reduced_jpeg import find_in_reduced, in_whole, large_enough
from lineament.runs.decoder_process import TimedDecoder
from lineament.types import DecodedImage, Faces

POINTS = geometry.TEMPLATE - geometry.TEMPLATE.mean(0)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    network = toy(write_toy_model(tmp_path_factory.mktemp("model") / "toy.onnx")).network
    return Model(network, RetinaFace(threads=1), make_settings(Settings(), {"profile": "all"}))


@pytest.fixture(scope="module")
def jpeg(astronaut: np.ndarray) -> Callable[..., bytes]:
    """Return a maker of JPEGs of the portrait, `side` pixels large on grey: stored turned so that `orientation` sets it
    upright again."""
    turned = {1: None, 3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90}

    @lru_cache(maxsize=8)
    def make(size: tuple[int, int], sides: tuple[int, ...], orientation: int = 1, progressive: bool = False) -> bytes:
        canvas, left = Image.new("RGB", size, (190, 190, 190)), 0
        for side in sides:
            canvas.paste(Image.fromarray(astronaut).resize((side, side), Image.Resampling.BICUBIC), (left, 0))
            left += side
        stored, exif, buffer = canvas, Image.Exif(), io.BytesIO()
        if (turn := turned[orientation]) is not None:
            stored = canvas.transpose(turn)
        exif[0x0112] = orientation
        stored.save(buffer, "JPEG", quality=88, exif=exif, progressive=progressive)
        return buffer.getvalue()

    return make


def in_full(model: Model, data: bytes, **settings: Any) -> Any:
    """Return the report of the pixels of the full decode."""
    return model.analyze(load_image(data).pixels, channels="RGB", source_name="<bytes>", **settings)


@pytest.mark.parametrize(("size", "orientation"), [((2560, 2566), 1), ((2570, 2561), 3), ((2666, 2560), 6)])
def test_a_large_face_is_the_one_of_the_full_decode(
    model: Model, jpeg: Callable[..., bytes], size: tuple[int, int], orientation: int
) -> None:
    data = jpeg(size, (min(size),), orientation)
    small, full = model.analyze(data), in_full(model, data)
    assert small.pixels is not None
    assert max(small.pixels.shape) < 1400
    assert (small.width, small.height) == (full.width, full.height) == size
    assert (small.status, len(small.faces), len(full.faces)) == ("ok", 1, 1)
    ours, theirs = small.faces[0], full.faces[0]
    np.testing.assert_allclose(ours.keypoints, theirs.keypoints, atol=4)  # 2 % of an eye distance
    np.testing.assert_allclose(
        ours.box_xyxy, theirs.box_xyxy, atol=6
    )  # from the detector's first looks: 1 % of the box
    assert ours.quality.eye_distance == pytest.approx(theirs.quality.eye_distance, rel=0.01)
    assert np.abs(small.crops().astype(int) - full.crops()).mean() < 6


@pytest.mark.parametrize(
    ("size", "sides"),
    [((2600, 2000), (900,)), ((3600, 2560), (2560, 600)), ((2700, 1800), ())],
    ids=["small", "both", "none"],
)
def test_small_faces_and_none_are_answered_as_before(
    model: Model, jpeg: Callable[..., bytes], size: tuple[int, int], sides: tuple[int, ...]
) -> None:
    data = jpeg(size, sides)
    report = model.analyze(data)
    assert report.whole is None
    assert len(report.faces) == len(sides)
    assert report.to_dict() == in_full(model, data).to_dict()


def test_what_decides_is_every_face_whatever_is_kept(model: Model, jpeg: Callable[..., bytes]) -> None:
    data = jpeg((3600, 2560), (2560, 600))
    assert model.analyze(data, keep="largest").to_dict() == in_full(model, data, keep="largest").to_dict()


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("end", [b"", b"\xff\xd9"], ids=["cut", "cut and ended"])
def test_a_cut_file_is_never_a_partial_picture(
    model: Model, jpeg: Callable[..., bytes], tmp_path: Path, progressive: bool, end: bytes
) -> None:
    whole = jpeg((2560, 2560), (2560,), progressive=progressive)
    assert model.analyze(whole).whole is not None
    path = tmp_path / "cut.jpg"
    for kept in (0.6, 0.98):
        data = whole[: int(len(whole) * kept)] + end
        path.write_bytes(data)
        with pytest.raises(TruncatedError):
            model.analyze(data)
        assert [report.status for report in model.stream([path])] == ["truncated"]


def test_every_way_in_gives_one_record(model: Model, jpeg: Callable[..., bytes], tmp_path: Path) -> None:
    paths = [tmp_path / f"{name}.jpg" for name in ("large", "small")]
    paths[0].write_bytes(jpeg((2560, 2560), (2560,)))
    paths[1].write_bytes(jpeg((2600, 2000), (900,)))
    decoder, pixels = TimedDecoder(120, 64_000_000), []
    try:
        timed = list(
            model.stream(
                paths, decode=decoder, after=lambda report: pixels.append((report.pixels.shape, report.draw().size))
            )
        )
    finally:
        decoder.close()
    streamed = list(model.stream(paths))
    assert (
        [one.to_dict() for one in timed]
        == [one.to_dict() for one in streamed]
        == [model.analyze(path).to_dict() for path in paths]
    )
    assert pixels == [((1280, 1280, 3), (2560, 2560)), ((2000, 2600, 3), (2600, 2000))]
    assert all(one.whole is None and one.pixels is None for one in (*timed, *streamed))
    with paths[0].open("rb") as file:
        assert model.analyze(file, source_name=str(paths[0])).to_dict() == streamed[0].to_dict()


def test_the_photo_drawn_is_the_whole_one(model: Model, jpeg: Callable[..., bytes]) -> None:
    data = jpeg((2560, 2566), (2560,))
    report = model.analyze(data)
    whole = np.asarray(replace(report, pixels=load_image(data).pixels, whole=None).draw())
    np.testing.assert_array_equal(np.asarray(report.draw()), whole)


@pytest.mark.parametrize("there", [False, True], ids=["gone", "another"])
def test_a_photo_that_changed_before_it_was_drawn_is_enlarged(
    model: Model, jpeg: Callable[..., bytes], there: bool
) -> None:
    def read() -> DecodedImage:
        if there:
            return DecodedImage(np.zeros((10, 20, 3), np.uint8))
        raise NotFoundError("gone")

    report = model.analyze(jpeg((2560, 2566), (2560,)))
    drawn, whole = replace(report, whole=read).draw(), report.draw()
    assert drawn.size == whole.size
    assert np.abs(np.asarray(drawn).astype(int) - np.asarray(whole)).mean() < 3


def test_crops_are_what_was_answered(model: Model, jpeg: Callable[..., bytes]) -> None:
    seen: list[Any] = []
    watched = replace(model, network=Watched(model.network, seen))  # type: ignore[arg-type]
    report = watched.analyze(jpeg((2560, 2566), (2560,)))
    assert report.whole is not None
    np.testing.assert_array_equal(report.crops(), seen[0].pixels)
    landed = geometry.transform_points(seen[0].crop_from_image[0], np.array(report.faces[0].keypoints))
    assert np.abs(landed - geometry.TEMPLATE).max() < 12  # matrices are of the whole photo's points
    again = model.analyze(np.moveaxis(report.crops()[0], 0, 2), channels="RGB", faces="aligned")
    assert again.faces[0].attributes == report.faces[0].attributes


class Watched:
    """A network that keeps the crops it was given."""

    def __init__(self, network: Any, seen: list[Any]) -> None:
        self._network, self._seen = network, seen

    def __getattr__(self, name: str) -> Any:
        return getattr(self._network, name)

    def __call__(self, crops: Any) -> Any:
        self._seen.append(crops)
        return self._network(crops)


def test_given_faces_and_aligned_crops_are_decoded_in_full(
    model: Model, jpeg: Callable[..., bytes], tmp_path: Path
) -> None:
    photo, table = tmp_path / "photo.jpg", tmp_path / "boxes.csv"
    photo.write_bytes(jpeg((2560, 2560), (2560,)))
    face = model.analyze(photo).faces[0]
    table.write_text("source,x1,y1,x2,y2\n" + ",".join([str(photo), *map(str, face.box_xyxy)]) + "\n")
    shapes: list[Any] = []
    (report,) = model.stream([photo], find=GivenFaces(table), after=lambda one: shapes.append(one.pixels.shape))
    assert (report.status, shapes) == ("ok", [(2560, 2560, 3)])
    aligned = io.BytesIO()
    Image.new("RGB", (178 * 15, 218 * 15), (9, 99, 199)).save(aligned, "JPEG")
    assert model.analyze(aligned.getvalue(), faces="aligned").whole is None


# --- the decision by itself
# ----------------------------------------------------------------------------------------------------------


def faces_of(*scales: float) -> Faces:
    """Return upright faces with so many pixels per crop pixel."""
    points = np.array([100 + POINTS * scale for scale in scales], np.float32).reshape(-1, 5, 2)
    return Faces(
        np.tile(np.array([[0, 0, 9, 9]], np.float32), (len(scales), 1)), np.ones(len(scales), np.float32), points
    )


def test_large_enough_is_every_face_at_any_turn() -> None:
    assert large_enough(faces_of(reduced_jpeg.ENOUGH * 1.01, 9))
    assert not large_enough(faces_of(9, reduced_jpeg.ENOUGH * 0.99))
    assert not large_enough(faces_of())
    turned = faces_of(reduced_jpeg.ENOUGH * 1.01).keypoints @ np.array([[0, 1], [-1, 0]], np.float32)
    assert large_enough(replace(faces_of(1), keypoints=turned))


def test_enough_is_sixty_four_pixels_between_the_eyes_of_a_crop_with_room() -> None:
    """A crop has 38.4 pixels between the eyes, needs one and a half of the photo's for each, and the last look shows
    64: 2.5 in all."""
    assert large_enough(faces_of(2.51))
    assert not large_enough(faces_of(2.49))
    assert not large_enough(faces_of(1.26))


@pytest.mark.parametrize("crowd", [False, True])
def test_look_asks_twice_only_where_it_must(crowd: bool) -> None:
    asked: list[int | None] = []

    def read(*, max_side: int | None) -> DecodedImage:
        asked.append(max_side)
        return (
            DecodedImage(np.zeros((4, 5, 3), np.uint8), None, (10, 8))
            if max_side
            else DecodedImage(np.zeros((8, 10, 3), np.uint8))
        )

    def find(pixels: Any, source: str) -> Faces:
        if crowd and len(pixels) == 4:
            raise TooManyFacesError("many")
        return faces_of(5)

    image, faces = find_in_reduced(read, lambda pixels, source: faces_of(5), find, "x")
    assert asked == ([reduced_jpeg.SIDE, None] if crowd else [reduced_jpeg.SIDE])
    assert image.width == (10 if crowd else 5)
    np.testing.assert_array_equal(faces.keypoints, faces_of(5).keypoints * (1 if crowd else 2))


@pytest.mark.parametrize(("seen", "tried"), [((), False), ((0.7,), False), ((0.9,), True), ((0.9, 0.3), False)])
def test_a_glance_that_sees_none_or_small_ones_ends_it(seen: tuple[float, ...], tried: bool) -> None:
    searched: list[int] = []

    def read(*, max_side: int | None) -> DecodedImage:
        side = 1280 if max_side else 2560
        return DecodedImage(np.zeros((side // 2, side, 3), np.uint8), None, (2560, 1280) if max_side else None)

    def find(pixels: Any, source: str) -> Faces:
        searched.append(pixels.shape[1])
        return faces_of(reduced_jpeg.ENOUGH * 2)

    def glance(pixels: Any, source: str) -> Faces:
        assert pixels.shape == (reduced_jpeg.GLANCE // 2, reduced_jpeg.GLANCE, 3)
        return faces_of(*(reduced_jpeg.ENOUGH * share * reduced_jpeg.GLANCE / 1280 for share in seen))

    assert find_in_reduced(read, glance, find, "x")[0].width == (1280 if tried else 2560)
    assert searched == ([1280] if tried else [2560])


@pytest.mark.parametrize(("searched_from", "enough"), [(20, False), (80, True), (None, True)])
def test_a_search_to_the_smaller_decodes_own_scale_asks_for_the_whole_photo(
    searched_from: int | None, enough: bool
) -> None:
    """Something small sent it there, so that the whole photo must be searched; a detector that does not say is
    believed."""

    def read(*, max_side: int | None) -> DecodedImage:
        side = 1280 if max_side else 2560
        return DecodedImage(np.zeros((side // 2, side, 3), np.uint8), None, (2560, 1280) if max_side else None)

    large = replace(faces_of(reduced_jpeg.ENOUGH * 2), searched_from=searched_from)
    image, faces = find_in_reduced(read, lambda pixels, source: large, lambda pixels, source: large, "x")
    assert image.width == (1280 if enough else 2560)
    assert faces.searched_from == (None if searched_from is None else searched_from * (2 if enough else 1))


def test_boxes_stay_inside_photos_of_odd_sizes() -> None:
    faces = replace(faces_of(3), boxes_xyxy=np.array([[0, 1, 5, 4]], np.float32))
    assert in_whole(faces, 2, (9, 8)).boxes_xyxy.tolist() == [[0, 2, 9, 8]]


@pytest.mark.parametrize("decoded", [2, 4, 8])
def test_a_smaller_decode_gives_the_same_crop(decoded: int) -> None:
    y, x = np.mgrid[0:1200, 0:1600] + 0.5
    full = np.stack([127 + 100 * np.sin(x / 60 + c) * np.cos(y / 75) for c in range(3)], 2)
    small = full.reshape(1200 // decoded, decoded, 1600 // decoded, decoded, 3).mean((1, 3))
    turn = np.array([[0.16, 0.05, -51.3], [-0.05, 0.16, 22.7]]) * 0.7
    ours = geometry.warp(np.rint(small).astype(np.uint8), turn, decoded=decoded)
    theirs = geometry.warp(np.rint(full).astype(np.uint8), turn)
    assert np.abs(ours.astype(int) - theirs).max() <= 3
    assert np.ptp(theirs) > 150


def test_reading_a_photo_once_keeps_what_is_no_file(tmp_path: Path, jpeg: Callable[..., bytes]) -> None:
    data, array = jpeg((2560, 2560), (2560,)), np.zeros((2, 2, 3), np.uint8)
    path = tmp_path / "photo.jpg"
    path.write_bytes(data)
    assert read_photo(path) == read_photo(str(path)) == read_photo(io.BytesIO(data)) == data
    assert read_photo(data) is data
    assert read_photo(array) is array
    with pytest.raises(NotFoundError):
        read_photo(tmp_path / "none.jpg")
