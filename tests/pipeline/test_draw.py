"""Annotated photos and folders of pictures: what is drawn is inside the photo, file names never collide."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from analyze_kit import photo, toy
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from toy_model import write_toy_model

from lineament.api import Model
from lineament.errors import UsageError
from lineament.outputs.pictures import CropFolder, DrawFolder, name_of
from lineament.pipeline.draw import _distance, _overlaps, layout, lines_of
from lineament.pipeline.notable import TYPICAL_RATES, bits, notable
from lineament.schema import CELEBA_40
from lineament.types import Answer, FaceReport, Quality, Report

QUALITY = Quality(30.0, 0.5, 0.0, 0.0, 0.0)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return toy(write_toy_model(tmp_path_factory.mktemp("model") / "toy.onnx"))


def report(size: tuple[int, int], boxes: list[tuple[float, float, float, float]], answers: int = 5) -> Report:
    attributes = {f"Attribute_{n}": Answer(0.9 + n / 1000, "yes") for n in range(answers)}
    faces = tuple(FaceReport(box, 0.9, ((box[0] + 1, box[1] + 1),) * 5, QUALITY, attributes) for box in boxes)
    grey = np.full((*size, 3), 128, np.uint8)
    return Report("x", "ok", "toy@00000000", "default", faces, width=size[1], height=size[0], pixels=grey)


@pytest.mark.parametrize("size", [(1, 1), (8, 600), (40, 40), (480, 640), (3000, 2000)])
def test_any_photo_size_is_drawn_legibly(size: tuple[int, int]) -> None:
    height, width = size
    drawn = report(size, [(width * 0.1, height * 0.1, width * 0.9, height * 0.9)]).draw()
    assert max(drawn.size) >= 480
    scale = max(1, -(-480 // max(size)))
    assert drawn.width >= width * scale, "the photo is whole; under it there may be a legend"
    assert drawn.height >= height * scale
    assert (np.asarray(drawn) != 128).any()


def test_small_faces_stay_visible_in_a_crowd() -> None:
    boxes = [
        (20.0 + 90 * (n % 6), 20.0 + 150 * (n // 6), 60.0 + 90 * (n % 6), 70.0 + 150 * (n // 6)) for n in range(12)
    ]
    drawn = np.asarray(report((480, 640), boxes).draw())
    inside = [drawn[int(y1) + 8 : int(y2) - 8, int(x1) + 8 : int(x2) - 8] for x1, y1, x2, y2 in boxes]
    assert sum((part == 128).all(axis=2).mean() > 0.9 for part in inside) >= 10


def test_lines_are_sorted_and_counted() -> None:
    face = report((100, 100), [(0, 0, 50, 50)], answers=20).faces[0]
    lines = lines_of(face, 4)
    assert lines == ["Attribute 19 0.92", "Attribute 18 0.92", "Attribute 17 0.92", "and 17 more"]
    assert len(lines_of(face, 20)) == 20
    no = FaceReport(
        (0, 0, 1, 1), None, ((0, 0),) * 5, QUALITY, {"A": Answer(0.9, "no"), "B": Answer(0.9, "cannot_tell")}
    )
    assert lines_of(no) == ["nothing stands out"]


def test_the_photo_itself_is_not_touched(model: Model) -> None:
    pixels = photo(2)
    made = model.analyze(pixels, channels="RGB")
    before = made.pixels.copy()  # type: ignore[union-attr]
    made.draw()
    np.testing.assert_array_equal(made.pixels, before)


def test_streamed_reports_say_why_they_cannot_be_drawn(model: Model, tmp_path: Path) -> None:
    Image.fromarray(photo(1)).save(tmp_path / "a.png")
    (streamed,) = model.stream([tmp_path / "a.png"])
    with pytest.raises(UsageError, match="analyze"):
        streamed.draw()
    with pytest.raises(UsageError, match="analyze"):
        streamed.crops()


def test_folders_hold_one_picture_per_photo_and_per_face(model: Model, tmp_path: Path) -> None:
    draw, crops = DrawFolder(tmp_path / "d"), CropFolder(tmp_path / "c")
    for source, faces in (("one/a.jpg", 2), ("two/a.jpg", 1), ("none.jpg", 0)):
        made = model.analyze(photo(faces), channels="RGB", source_name=source)
        draw(made)
        crops(made)
        if faces:
            stored = np.asarray(Image.open(tmp_path / "c" / f"{name_of(source)}-0.png"))
            np.testing.assert_array_equal(stored, made.crops()[0].transpose(1, 2, 0))
    assert len(list((tmp_path / "d").iterdir())) == 3
    assert len(list((tmp_path / "c").iterdir())) == 3
    assert not [path for path in tmp_path.rglob("*.part")]


@given(st.lists(st.text(st.characters(exclude_characters="\0"), min_size=1, max_size=300), unique=True, max_size=20))
def test_names_are_safe_and_never_meet(sources: list[str]) -> None:
    names = [name_of(source) for source in sources if not any("\ud800" <= c <= "\udfff" for c in source)]
    assert len({name.lower() for name in names}) == len(names)
    for name in names:
        assert len(name) < 100
        assert name.isascii()
        assert not set(name) & set('/\\:*?"<>| ')
        assert not name.startswith(".")


def told(answers: dict[str, tuple[float, str]], rates: dict[str, float] | None = None) -> list[tuple[str, float]]:
    face = FaceReport(
        (0, 0, 1, 1), None, ((0, 0),) * 5, QUALITY, {name: Answer(*answer) for name, answer in answers.items()}
    )
    return [(words, round(prob, 2)) for words, prob in notable(face, rates)]


def test_only_what_tells_something_is_written() -> None:
    said = told(
        {
            "No_Beard": (1.0, "yes"),
            "Eyeglasses": (0.99, "yes"),
            "Smiling": (0.98, "yes"),
            "Young": (0.97, "yes"),
            "Bald": (0.01, "no"),
        }
    )
    assert said == [("Eyeglasses", 0.99), ("Smiling", 0.98)]
    assert told({"No_Beard": (0.02, "no"), "Goatee": (0.5, "cannot_tell")}) == [("Beard", 0.98)]
    assert told({"Smiling": (0.98, "yes")}, {"Smiling": 0.97}) == [], "the card's rates come before the table's"
    assert set(TYPICAL_RATES) == set(CELEBA_40)


@pytest.mark.parametrize(
    ("answers", "lines"),
    [
        ({"No_Beard": Answer(0.99, "yes"), "Bald": Answer(0.01, "no")}, ["nothing stands out"]),
        ({"Smiling": Answer(0.98, "yes"), "Bald": Answer(0.01, "no")}, ["Smiling 0.98"]),
        (dict.fromkeys(("Bald", "Young"), Answer(0.4, "cannot_tell", because="small")), ["cannot tell: too small"]),
        (dict.fromkeys(("Bald", "Young"), Answer(0.4, "cannot_tell", because="near")), ["nothing stands out"]),
        ({}, []),
    ],
)
def test_a_box_is_never_left_without_a_word(answers: dict[str, Answer], lines: list[str]) -> None:
    assert lines_of(FaceReport((0, 0, 1, 1), None, ((0, 0),) * 5, QUALITY, answers)) == lines


@given(st.floats(0, 1), st.floats(0.01, 0.99))
def test_bits_are_the_divergence(prob: float, rate: float) -> None:
    p, r = np.array([prob, 1 - prob]), np.array([rate, 1 - rate])
    with np.errstate(divide="ignore", invalid="ignore"):
        oracle = np.nansum(np.where(p > 0, p * np.log2(p / r), 0))
    assert bits(prob, rate) == pytest.approx(oracle, abs=1e-9)
    assert bits(prob, rate) >= -1e-9


@given(
    st.lists(st.tuples(st.integers(0, 560), st.integers(0, 400), st.integers(10, 120)), max_size=12),
    st.integers(30, 200),
    st.integers(20, 150),
)
def test_no_label_ever_covers_a_face_or_another_label(
    faces: list[tuple[int, int, int]], width: int, height: int
) -> None:
    boxes = [(float(x), float(y), float(x + side), float(y + side)) for x, y, side in faces]
    placed = layout(boxes, [(float(width), float(height))] * len(boxes), (640, 480), 12)
    assert sorted([*placed.panels, *placed.legend]) == list(range(len(boxes))), "every face is told about, once"
    panels = list(placed.panels.items())
    for at, (index, panel) in enumerate(panels):
        assert panel[0] >= 0
        assert panel[1] >= 0
        assert panel[2] < 640
        assert panel[3] < 480
        assert not any(_overlaps(panel, box) for box in boxes)
        assert not any(_overlaps(panel, other) for _, other in panels[:at])
        assert _distance(panel, boxes[index]) <= 0.15 * 640 + 1e-6


def test_a_face_without_a_free_place_is_told_about_under_the_photo() -> None:
    crowded = report((480, 640), [(2.0, 2.0, 638.0, 478.0)])
    drawn = crowded.draw()
    assert drawn.width == 640
    assert drawn.height > 480
    inside = np.asarray(drawn)[40:440, 60:600]
    assert (inside == 128).all(axis=2).mean() > 0.99, "the face stays free"
    assert report((480, 640), [(200.0, 150.0, 300.0, 270.0)]).draw().size == (640, 480)
