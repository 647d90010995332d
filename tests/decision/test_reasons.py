"""Why nothing is told: of small, blurred and near the first, beside labels that agree; and the columns of tables."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lineament.decision.layer import Decision
from lineament.outputs.parquet_sink import ParquetSink
from lineament.outputs.sinks import CsvSink
from lineament.types import Answer, FaceReport, Quality, Report

LAYER = Decision(abstain={"A": (0.4, 0.6)}, min_eye_distance={"*": 20.0, "B": 5.0}, min_sharpness={"A": 0.3})
unit = st.floats(0, 1)


@given(
    st.lists(st.tuples(unit, unit, st.floats(0, 40), st.one_of(unit, st.just(float("nan")))), min_size=1, max_size=6)
)
def test_reasons_follow_their_definition_and_labels_agree(faces: list[tuple[float, float, float, float]]) -> None:
    table = np.array(faces)
    probs, eyes, sharp = table[:, :2], table[:, 2], table[:, 3]
    found = LAYER.reasons(probs, ("A", "B"), eye_distance=eyes, sharpness=sharp)
    for row in range(len(faces)):
        first = (
            "small"
            if eyes[row] < 20
            else "blurred"
            if sharp[row] < 0.3
            else "near"
            if 0.4 < probs[row, 0] < 0.6
            else ""
        )
        assert found[row].tolist() == [first, "small" if eyes[row] < 5 else ""]
    labels = LAYER.labels(probs, ("A", "B"), abstain=True, eye_distance=eyes, sharpness=sharp)
    assert ((labels == "cannot_tell") == (found != "")).all()
    poor = LAYER.too_poor(len(faces), ("A", "B"), eyes, sharp)
    assert (poor == np.isin(found, ("small", "blurred"))).all()
    assert not (LAYER.labels(probs, ("A", "B"), eye_distance=eyes, sharpness=sharp) == "cannot_tell").any()


def test_the_edges_of_a_band_are_answers() -> None:
    """ "low < prob < high" is near: at either edge there is an answer."""
    assert LAYER.reasons(np.array([[0.4, 0], [0.6, 0], [np.nextafter(0.4, 1), 0], [0.5, 0]]), ("A", "B"))[
        :, 0
    ].tolist() == ["", "", "near", "near"]
    assert LAYER.labels(np.array([[0.4]]), ("A",), abstain=True).tolist() == [["no"]]


def test_tables_have_a_column_for_it_with_abstain_only(tmp_path: Path) -> None:
    answers = {"Bald": Answer(0.5, "cannot_tell", because="near"), "Smiling": Answer(0.9, "yes")}
    report = Report(
        "a.jpg",
        "ok",
        "t@00000000",
        "all",
        (FaceReport((0, 0, 9, 9), 0.9, ((1.0, 1.0),) * 5, Quality(40, 0.5, 0, 0, 0), answers),),
    )
    for sink in (
        CsvSink(str(tmp_path / "a.csv"), list(answers), abstain=True),
        ParquetSink(str(tmp_path / "a.parquet"), list(answers), abstain=True),
    ):
        sink.open(resume=False)
        sink.write(report)
        sink.close(complete=True)
    with (tmp_path / "a.csv").open() as file:
        (row,) = csv.DictReader(file)
    import pyarrow.parquet as pq

    (same,) = pq.read_table(tmp_path / "a.parquet").to_pylist()
    assert (row["because_Bald"], row["because_Smiling"]) == ("near", "")
    assert (same["because_Bald"], same["because_Smiling"]) == ("near", None)
    assert "because_Bald" not in CsvSink(str(tmp_path / "b.csv"), list(answers))._columns
    assert Report.from_dict(report.to_dict()) == report
