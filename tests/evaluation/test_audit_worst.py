"""For whom it is worst: the named cohorts are those of an independent recomputation; records are audited as they
are."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from toy_predictions import simulated
from typer.testing import CliRunner

from lineament.cli import app
from lineament.errors import DataError, UsageError
from lineament.evaluation.audit import audit, join
from lineament.evaluation.records import load_any
from lineament.outputs.parquet_sink import ParquetSink
from lineament.outputs.sinks import CsvSink, JsonlSink, JsonSink
from lineament.report.audit_tables import audit_lines, audit_sentence, gap_rows, lead_rows, leading_rate
from lineament.report.pages import audit_page
from lineament.schema import CELEBA_40
from lineament.types import Answer, FaceReport, Quality, Report


@pytest.fixture(scope="module")
def crossed():
    found = simulated(900, CELEBA_40, people=200, sharpness=1.2)
    return found, audit(join(found, None, ["Male", "Young"]), draws=100)


def recomputed(found, rate):
    """Return attribute -> {cohort: (rate, size)} of cohorts with at least 20 to rest on, by plain loops over rows."""
    names = ["5_o_Clock_Shadow", *found.attributes][1:]
    male, young = names.index("Male"), names.index("Young")
    tables = {}
    for a, name in enumerate(names):
        cells = {}
        for row in range(len(found.files)):
            cohort = (
                f"Male={'yes' if found.targets[row, male] else 'no'}, "
                f"Young={'yes' if found.targets[row, young] else 'no'}"
            )
            said, truth = found.raw[row, a] >= 0.5, found.targets[row, a] == 1
            counted, hit = {
                "tpr": (truth, said), "fpr": (not truth, said), "accuracy": (True, said == truth),
                "answer_rate": (True, said),
            }[rate]  # fmt: skip
            over, under = cells.get(cohort, (0, 0))
            cells[cohort] = (over + int(counted and hit), under + int(counted))
        tables[name] = {cohort: (over / under, under) for cohort, (over, under) in cells.items() if under >= 20}
    return tables


@pytest.mark.parametrize("rate", ["tpr", "fpr", "accuracy", "answer_rate"])
def test_the_cohorts_of_every_gap_are_those_of_an_independent_recomputation(crossed, rate):
    found, document = crossed
    assert len(document["gaps"]) == 40
    truth = recomputed(found, rate)
    gaps = {}
    for name, cells in truth.items():
        row = document["gaps"][name]
        values = {cohort: value for cohort, (value, _) in cells.items()}
        if len(values) < 2:
            assert row[f"{rate}_gap"] is None
            assert f"{rate}_cohorts" not in row
            continue
        highest, lowest = max(values.values()), min(values.values())
        gaps[name] = highest - lowest
        assert row[f"{rate}_gap"] == pytest.approx(highest - lowest, abs=1e-6)
        over, under = row[f"{rate}_gap_between"]
        assert (values[over], values[under]) == (pytest.approx(highest), pytest.approx(lowest))
        ends = row[f"{rate}_cohorts"]
        assert [ends["worst"]["cohort"], ends["best"]["cohort"]] == ([over, under] if rate == "fpr" else [under, over])
        for end in ("worst", "best", "next"):
            if ends[end] is not None:
                value, size = cells[ends[end]["cohort"]]
                assert ends[end]["rate"] == pytest.approx(value, abs=1e-6)
                assert ends[end]["size"] == size
                low, high = ends[end]["interval"]
                assert low <= value <= high
        if len(values) > 2:
            ranked = sorted(values.values(), reverse=rate == "fpr")
            assert values[ends["next"]["cohort"]] == pytest.approx(ranked[1])
    order = [name for name in document["by_gap"][rate] if name in gaps]
    assert [gaps[name] for name in order] == sorted(gaps.values(), reverse=True)
    assert sorted(document["by_gap"][rate]) == sorted(CELEBA_40)


def test_terminal_and_page_name_the_cohorts_of_each_gap(crossed):
    _, document = crossed
    widest = document["by_gap"]["tpr"][0]
    first, *_ = lead_rows(document, "tpr")
    ends = document["gaps"][widest]["tpr_cohorts"]
    assert first[0].removesuffix(" *") == widest
    assert [cell.split("\n")[0] for cell in first[2:]] == [ends[key]["cohort"] for key in ("worst", "next", "best")]
    assert f"of {ends['worst']['size']}" in first[2]
    page = audit_page(document | {"by": ["Male", "Young"], "rate": "tpr"})
    for cells in gap_rows(document, "tpr"):
        for cell, rate in zip(cells[1:], ("tpr", "fpr", "accuracy", "answer_rate"), strict=True):
            between = document["gaps"][cells[0].removesuffix(" *")][f"{rate}_gap_between"]
            assert cell.endswith(" over ".join(between) if between else "-")
            assert not between or " over ".join(between) in page
    assert "Worst for" in audit_sentence(document)


def answered(label_of=lambda p: "yes" if p >= 0.5 else "no"):
    """Eight photos: two of them without a face, one that failed, one with two faces."""
    reports = []
    for number in range(8):
        faces = []
        for face in range(2 if number == 3 else 1):
            prob = round((number + face) / 10, 2)
            answers = {name: Answer(prob, label_of(prob)) for name in ("Smiling", "Bangs")}
            faces.append(FaceReport((0, 0, 9, 9), 0.9, ((1.0, 1.0),) * 5, Quality(40, 0.5, 0, 0, 0), answers))
        status = {6: "no_face", 7: "no_face"}.get(number, "ok")
        error = ("unreadable", "Damaged.") if number == 5 else None
        reports.append(
            Report(
                f"in/{number}.jpg",
                error[0] if error else status,
                "toy@00000000",
                "default",
                () if error or status != "ok" else tuple(faces),
                error,
            )
        )
    return reports


SINKS = {
    "jsonl": JsonlSink, "json": JsonSink, "csv": lambda path: CsvSink(path, ["Bangs", "Smiling"]),
    "parquet": lambda path: ParquetSink(path, ["Bangs", "Smiling"]),
}  # fmt: skip


@pytest.mark.parametrize("kind", SINKS)
def test_records_are_read_as_answers_whatever_their_format(tmp_path: Path, kind: str) -> None:
    sink = SINKS[kind](str(tmp_path / f"out.{kind}"))
    sink.open(resume=False)
    for report in answered(lambda p: "cannot_tell" if p == 0.2 else "yes" if p >= 0.5 else "no"):
        sink.write(report)
    sink.close(complete=True)
    found = load_any(tmp_path / f"out.{kind}")
    assert found.attributes == ("Bangs", "Smiling")
    assert found.keys == (
        *((f"in/{n}.jpg", 0) for n in range(4)),
        ("in/3.jpg", 1),
        ("in/4.jpg", 0),
        ("in/6.jpg", 0),
        ("in/7.jpg", 0),
    )
    assert found.detected.tolist() == [True] * 6 + [False] * 2
    assert found.said[:6, 1].tolist() == [0, 0, -1, 0, 0, 0]
    assert found.raw[4, 0] == pytest.approx(0.4)
    assert found.meta["failed"] == 1
    assert not found.labelled


def test_the_audit_of_records_compares_answer_rates_and_calls_calibration_by_its_name(tmp_path: Path) -> None:
    lines = []
    for number in range(120):
        prob = 0.9 if number % 3 == 0 else 0.2
        prob = 0.6 if number % 2 else prob
        face = FaceReport(
            (0, 0, 9, 9),
            0.9,
            ((1.0, 1.0),) * 5,
            Quality(40, 0.5, 0, 0, 0),
            {"Smiling": Answer(prob, "yes" if prob > 0.5 else "no")},
        )
        lines.append(json.dumps(Report(f"photos/{number}.jpg", "ok", "toy@00000000", "default", (face,)).to_dict()))
    (tmp_path / "r.jsonl").write_text("\n".join(lines) + "\n")
    (tmp_path / "who.csv").write_text(
        "file,team\n" + "".join(f"{n}.jpg,{'odd' if n % 2 else 'even'}\n" for n in range(120))
    )
    arguments = [
        "audit",
        str(tmp_path / "r.jsonl"),
        "--cohorts",
        str(tmp_path / "who.csv"),
        "--by",
        "team",
        "--json",
        str(tmp_path / "a.json"),
    ]
    ran = CliRunner().invoke(app, [*arguments, "--html", str(tmp_path / "a.html")])
    assert ran.exit_code == 0, ran.output
    document = json.loads((tmp_path / "a.json").read_text())
    assert document["calibration_by"] == "class rates"
    assert document["rate"] == "answer_rate"
    assert "part" in document["joined_by"]
    odd, even = (document["cohorts"][f"team={side}"]["attributes"]["Smiling"] for side in ("odd", "even"))
    assert (odd["answer_rate"], even["answer_rate"]) == (1.0, pytest.approx(1 / 3))
    assert odd["mean_prob_minus_answer_rate"] == pytest.approx(0.6 - 1)
    assert odd["ece"] is None
    assert document["gaps"]["Smiling"]["answer_rate_gap_between"] == ["team=odd", "team=even"]
    assert "by class rates only" in ran.output.replace("\n", " ")
    assert "team=odd over team=even" in (tmp_path / "a.html").read_text()
    assert CliRunner().invoke(app, [*arguments, "--rate", "tpr"]).exit_code == 2
    assert "without labels nobody knows" in audit_sentence(document)
    assert any("Furthest apart: Smiling in team=odd" in line for line in audit_lines(document))


def test_withheld_answers_are_no_share_of_yes() -> None:
    found = simulated(200, CELEBA_40[:3])
    said = np.where(found.raw >= 0.5, 1, 0).astype(np.int8)
    said[::2, 0] = -1
    document = audit(join(replace(found, said=said), None, [CELEBA_40[2]]), draws=100)
    for side, inside in (("yes", found.targets[:, 2] == 1), ("no", found.targets[:, 2] == 0)):
        row = document["cohorts"][f"{CELEBA_40[2]}={side}"]["attributes"][CELEBA_40[0]]
        odd = inside & (np.arange(200) % 2 == 1)
        assert row["answer_rate"] == pytest.approx((found.raw[odd, 0] >= 0.5).mean(), abs=1e-6)
        assert row["cannot_tell"] == pytest.approx(1 - odd.sum() / inside.sum(), abs=1e-6)


def test_faults_are_named(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text('{"a": 1}\n')
    with pytest.raises(DataError, match="line 1: no record"):
        load_any(tmp_path / "x.jsonl")
    with pytest.raises(DataError, match="No file at"):
        load_any(tmp_path / "none")
    with pytest.raises(UsageError, match="Unknown --rate"):
        leading_rate({"labelled": True}, "f1")
