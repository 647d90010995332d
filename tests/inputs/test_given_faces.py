"""Faces that somebody else found: every format, every mistake in the table, the same records."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from analyze_kit import MarkedFaces, photo, save, toy
from toy_model import write_toy_model

from lineament.api import Model
from lineament.errors import DataError
from lineament.geometry import keypoints_from_boxes
from lineament.inputs.given_faces import BOX_COLUMNS, POINT_COLUMNS, GivenFaces


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return toy(write_toy_model(tmp_path_factory.mktemp("model") / "toy.onnx"))


def table(path: Path, rows: list[dict[str, object]]) -> Path:
    if path.suffix == ".csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(dict.fromkeys(key for row in rows for key in row)))
            writer.writeheader()
            writer.writerows(rows)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        pa = pytest.importorskip("pyarrow")
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def rows_of(source: str, pixels: np.ndarray) -> list[dict[str, object]]:
    """The detector's own finds, smallest first, as a foreign table would hold them."""
    faces = MarkedFaces().detect(pixels)
    rows = []
    for box, points in zip(faces.boxes_xyxy.tolist(), faces.keypoints.reshape(-1, 10).tolist(), strict=True):
        rows.append(
            {
                "source": source,
                **dict(zip(BOX_COLUMNS, box, strict=True)),
                **dict(zip(POINT_COLUMNS, points, strict=True)),
            }
        )
    return rows[::-1]


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
def test_given_faces_give_the_records_of_the_detector_that_gave_them(suffix: str, model: Model, tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", photo(3))
    given = GivenFaces(table(tmp_path / f"boxes{suffix}", rows_of(str(path), photo(3))))
    (detected,), (foreign,) = model.stream([path]), model.stream([path], find=given)
    want = detected.to_dict()
    for face in want["faces"]:
        face["detection_prob"] = None
    assert foreign.to_dict() == want


def test_boxes_alone_get_typical_keypoints(model: Model, tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", photo(1))
    given = GivenFaces(table(tmp_path / "boxes.csv", [{"source": str(path), "x1": 10, "y1": 20, "x2": 70, "y2": 100}]))
    (report,) = model.stream([path], find=given)
    assert report.faces[0].box_xyxy == (10, 20, 70, 100)
    np.testing.assert_allclose(
        report.faces[0].keypoints, keypoints_from_boxes(np.array([[10, 20, 70, 100]]))[0], atol=1e-4
    )


def test_keypoints_alone_get_a_box_around_them(model: Model, tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", photo(1))
    points = [40, 50, 70, 50, 55, 65, 45, 80, 65, 80]
    given = GivenFaces(
        table(tmp_path / "boxes.jsonl", [{"source": str(path), **dict(zip(POINT_COLUMNS, points, strict=True))}])
    )
    (report,) = model.stream([path], find=given)
    x1, y1, x2, y2 = report.faces[0].box_xyxy
    assert x1 < 40 < 70 < x2
    assert y1 < 50 < 80 < y2
    assert np.array(report.faces[0].keypoints).reshape(-1).tolist() == points


def test_a_photo_that_is_not_listed_or_has_no_face(model: Model, tmp_path: Path) -> None:
    path, other = save(tmp_path / "a.png", photo(1)), save(tmp_path / "b.png", photo(1))
    given = GivenFaces(table(tmp_path / "boxes.csv", [{"source": str(path), "x1": "", "y1": "", "x2": "", "y2": ""}]))
    assert [report.status for report in model.stream([path, other], find=given)] == ["no_face", "no_face"]


@pytest.mark.parametrize("box", [[500, 20, 560, 100], [10, -90, 60, -10]])
def test_a_box_outside_its_photo_is_an_error_record(box: list[int], model: Model, tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", photo(1))
    given = GivenFaces(
        table(tmp_path / "boxes.csv", [{"source": str(path), **dict(zip(BOX_COLUMNS, box, strict=True))}])
    )
    (report,) = model.stream([path], find=given)
    assert report.status == "bad_box"
    assert "160x120" in report.error[1]  # type: ignore[index]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"file": "a.png", "x1": 1, "y1": 1, "x2": 2, "y2": 2}, "source"),
        ({"source": "a.png", "left": 3}, "neither"),
        ({"source": "a.png", "x1": 1, "y1": 1, "x2": 5}, "lacks y2"),
        ({"source": "a.png", "x1": 10, "y1": 10, "x2": 5, "y2": 20}, "x1 < x2"),
        ({"source": "a.png", "x1": "one", "y1": 1, "x2": 2, "y2": 2}, "could not convert"),
        ({"source": "a.png", "x1": "nan", "y1": 1, "x2": 2, "y2": 2}, "finite"),
        ({"source": "a.png", **dict.fromkeys(POINT_COLUMNS, 7)}, "one and the same point"),
        ({"source": "a.png", **dict.fromkeys(POINT_COLUMNS[:9], 7)}, "lacks left_mouth_y"),
    ],
)
def test_mistakes_in_the_table_name_the_row_and_the_fix(row: dict[str, object], says: str, tmp_path: Path) -> None:
    for suffix in (".csv", ".jsonl"):
        with pytest.raises(DataError, match=says) as caught:
            GivenFaces(table(tmp_path / f"boxes{suffix}", [row]))
        assert "row 1" in str(caught.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "bad.jsonl").write_text('{"source": \n')
    (tmp_path / "list.jsonl").write_text("[1]\n")
    (tmp_path / "bad.parquet").write_bytes(b"nothing")
    for name, says in (
        ("gone.csv", "No such file"),
        ("bad.jsonl", "line 1"),
        ("list.jsonl", "object"),
        ("bad.parquet", "not a Parquet file"),
    ):
        with pytest.raises(DataError, match=says):
            GivenFaces(tmp_path / name)
