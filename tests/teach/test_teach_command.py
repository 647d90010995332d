"""`lineament teach` and `--with`, end to end on a toy network; the fault table of the issue, one row a test."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from teach_toys import write
from toy_model import toy_card, write_toy_model
from typer.testing import CliRunner

from lineament.cli import app


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toy model, 24 marked and 24 unmarked crops, and what was taught on them."""
    root = tmp_path_factory.mktemp("teach")
    write_toy_model(root / "toy.onnx")
    write(root / "yes", 24, True)
    write(root / "no", 24, False)
    done = run(
        root,
        "blue_chin",
        "--yes",
        "yes",
        "--no",
        "no",
        "--out",
        "own.json",
        "--json",
        "report.json",
        "--sheet",
        "sheet.png",
    )
    assert done.exit_code == 0, done.output
    return root


def run(root: Path, name: str, *arguments: str, model: str = "toy.onnx"):
    places = {"--yes", "--no", "--unsure", "--table", "--out", "--json", "--sheet"}
    full = [
        str(root / text) if before in places else text
        for before, text in zip(("", *arguments), arguments, strict=False)
    ]
    return CliRunner().invoke(
        app, ["teach", name, "--model", str(root / model), "--faces", "aligned", "--threads", "1", *full]
    )


def cli(*arguments: str | Path):
    return CliRunner().invoke(app, [str(one) for one in arguments])


def records(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_it_learns_says_so_and_writes_a_small_file(home: Path) -> None:
    report, own = json.loads((home / "report.json").read_text()), json.loads((home / "own.json").read_text())
    assert report["learnable"]
    assert report["scores"]["accuracy"]["low"] > 0.75
    assert report["counts"]["used"] == {"yes": 24, "no": 24, "unsure": 0}
    assert {point["photos"] for point in report["learning_curve"]["points"]} >= {38}
    assert (home / "own.json").stat().st_size < 50_000
    assert own["card"]["agreement"]["onnx fp32"] == 1.0
    assert str(home) not in (home / "own.json").read_text()  # no photo's name leaves with the file
    assert Image.open(home / "sheet.png").format == "PNG"


def test_the_colour_it_was_made_of_is_warned_of(home: Path) -> None:
    kinds = [warning["kind"] for warning in json.loads((home / "report.json").read_text())["warnings"]]
    assert "colour_cast" in kinds
    assert "size" not in kinds


def test_analyze_answers_it_beside_the_others(home: Path, tmp_path: Path) -> None:
    write(tmp_path / "new", 6, True, first=500)
    write(tmp_path / "old", 6, False, first=600)
    common = ("--model", home / "toy.onnx", "--faces", "aligned", "--quiet")
    assert (
        cli(
            "analyze",
            tmp_path / "new",
            tmp_path / "old",
            *common,
            "--with",
            home / "own.json",
            "--jsonl",
            tmp_path / "a.jsonl",
        ).exit_code
        == 0
    )
    assert cli("analyze", tmp_path / "new", tmp_path / "old", *common, "--jsonl", tmp_path / "b.jsonl").exit_code == 0
    with_own, without = records(tmp_path / "a.jsonl"), records(tmp_path / "b.jsonl")
    labels = [record["faces"][0]["attributes"].pop("blue_chin")["label"] for record in with_own]
    assert (labels[:6] + ["no" if one == "yes" else "yes" for one in labels[6:]]).count("yes") >= 11
    assert [one["faces"] for one in with_own] == [one["faces"] for one in without]
    assert "+blue_chin@" in with_own[0]["model"]


def test_resume_refuses_other_own_attributes(home: Path, tmp_path: Path) -> None:
    write(tmp_path / "new", 2, True, first=700)
    common = (
        "analyze",
        tmp_path / "new",
        "--model",
        home / "toy.onnx",
        "--faces",
        "aligned",
        "--quiet",
        "--jsonl",
        tmp_path / "a.jsonl",
    )
    assert cli(*common, "--with", home / "own.json").exit_code == 0
    refused = cli(*common, "--resume")
    assert refused.exit_code == 2
    assert "blue_chin" in refused.output
    assert cli(*common, "--with", home / "own.json", "--resume").exit_code == 0


def test_evaluate_calibrate_audit_and_report_take_it(home: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    rows = [(path, 1) for path in write(tmp_path / "yes", 40, True, first=800)] + [
        (path, 0) for path in write(tmp_path / "no", 40, False, first=900)
    ]
    with (tmp_path / "t.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "blue_chin", "Smiling", "shift"])
        writer.writerows(
            [path.relative_to(tmp_path), label, number % 2, "day" if number % 4 < 2 else "night"]
            for number, (path, label) in enumerate(rows)
        )
    own, predictions = ("--with", home / "own.json"), tmp_path / "p.parquet"
    done = cli(
        "evaluate", tmp_path / "t.csv", "--layout", "table", "--align", "stored", "--model", home / "toy.onnx", *own,
        "--predictions", predictions, "--json", tmp_path / "card.json",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    card = json.loads((tmp_path / "card.json").read_text())
    assert card["attributes"]["blue_chin"]["accuracy"] > 0.9
    assert cli("audit", predictions, "--by", "shift", "--cohorts", tmp_path / "t.csv", *own, "--quiet").exit_code == 0
    assert cli("report", predictions, "--html", tmp_path / "r.html", *own, "--quiet").exit_code == 0
    assert "blue_chin" in (tmp_path / "r.html").read_text()
    done = cli(
        "calibrate",
        "--predictions",
        predictions,
        "--model",
        home / "toy.onnx",
        *own,
        "--out",
        tmp_path / "new" / "toy.onnx",
        "--quiet",
    )
    assert done.exit_code == 0, done.output
    assert json.loads((tmp_path / "new" / "own.json").read_text())["card"]["recalibrated_on"] == 80
    refused = cli(
        "audit", predictions, "--by", "shift", "--cohorts", tmp_path / "t.csv", "--with", tmp_path / "new" / "own.json"
    )
    assert refused.exit_code == 2
    assert "answered by another file" in refused.output


def test_an_index_with_it_is_searched_by_it(home: Path, tmp_path: Path) -> None:
    pytest.importorskip("duckdb")
    from lineament.api import load
    from lineament.search.build import build_index
    from lineament.search.index import Index

    write(tmp_path / "photos" / "a", 5, True, first=1000)
    write(tmp_path / "photos" / "b", 5, False, first=1100)
    model = load(home / "toy.onnx", faces="aligned", profile="all", with_=[home / "own.json"], threads=1)
    build_index(tmp_path / "photos", tmp_path / "i.duckdb", model)
    with Index(tmp_path / "i.duckdb") as index:
        found = index.search("blue_chin", limit=10)
        assert found.matched == 5
        assert all("/a/" in hit.path for hit in found.hits)
        index.search("blue_chin and smiling")
    plain = load(home / "toy.onnx", faces="aligned", profile="all", threads=1)
    with pytest.raises(Exception, match="needs the photos again"):
        build_index(tmp_path / "photos", tmp_path / "i.duckdb", plain)


def test_shuffled_labels_are_not_learnable_and_nothing_is_written(tmp_path: Path) -> None:
    write_toy_model(tmp_path / "toy.onnx")
    write(tmp_path / "yes", 15, False)
    write(tmp_path / "no", 15, False, first=100)
    done = run(tmp_path, "nothing", "--yes", "yes", "--no", "no", "--out", "own.json")
    assert done.exit_code == 3
    assert "not learnable from these photos" in done.output
    assert not (tmp_path / "own.json").exists()


def test_a_table_with_people_and_a_stated_rate(home: Path, tmp_path: Path) -> None:
    rows = [(path, 1) for path in sorted((home / "yes").iterdir())] + [
        (path, 0) for path in sorted((home / "no").iterdir())
    ]
    table = home / "t.csv"
    lines = [f"{path.relative_to(home)},{label},{number // 2}" for number, (path, label) in enumerate(rows)]
    table.write_text("\n".join(["file,chin,identity", *lines, f"{rows[0][0].relative_to(home)}x,1,7"]))
    done = run(home, "chin", "--table", "t.csv", "--out", "t.json", "--rate", "0.1")
    assert done.exit_code == 0, done.output
    own = json.loads((home / "t.json").read_text())
    assert own["rate"] == 0.1
    assert own["card"]["counts"]["different"] == 24
    assert own["card"]["counts"]["people_known"]


# The fault table


def test_an_empty_folder(home: Path, tmp_path: Path) -> None:
    (home / "empty").mkdir(exist_ok=True)
    refused = run(home, "x", "--yes", "empty", "--no", "no", "--out", "x.json")
    assert refused.exit_code == 2
    assert "holds no photo" in refused.output
    assert "There is no folder" in run(home, "x", "--yes", "nowhere", "--no", "no", "--out", "x.json").output


def test_the_same_photo_on_both_sides(home: Path, tmp_path: Path) -> None:
    write_toy_model(tmp_path / "toy.onnx")
    write(tmp_path / "yes", 8, True)
    for path in [
        *write(tmp_path / "no", 8, False),
    ]:
        path.touch()
    (tmp_path / "no" / "copy.png").write_bytes((tmp_path / "yes" / "0003.png").read_bytes())
    refused = run(tmp_path, "x", "--yes", "yes", "--no", "no", "--out", "x.json")
    assert refused.exit_code == 2
    assert "0003.png" in refused.output.replace("\n", "")
    assert "copy.png" in refused.output.replace("\n", "")


def test_one_person_on_a_side(home: Path) -> None:
    rows = [(path, 1, 5) for path in sorted((home / "yes").iterdir())] + [
        (path, 0, n) for n, path in enumerate(sorted((home / "no").iterdir()))
    ]
    (home / "one.csv").write_text(
        "\n".join(["file,anna,identity", *(f"{path.relative_to(home)},{label},{who}" for path, label, who in rows)])
    )
    refused = run(home, "anna", "--table", "one.csv", "--out", "x.json")
    assert refused.exit_code == 2
    assert "recognises no one" in refused.output.replace("\n", " ")
    assert not (home / "x.json").exists()


def test_one_moment_on_a_side(tmp_path: Path) -> None:
    write_toy_model(tmp_path / "toy.onnx")
    write(tmp_path / "no", 8, False)
    first = np.asarray(Image.open(write(tmp_path / "one", 1, True)[0]))
    (tmp_path / "yes").mkdir()
    for number in range(8):
        Image.fromarray(np.clip(first.astype(int) + number, 0, 255).astype(np.uint8)).save(
            tmp_path / "yes" / f"{number}.png"
        )
    refused = run(tmp_path, "x", "--yes", "yes", "--no", "no", "--out", "x.json")
    assert refused.exit_code == 2
    assert "only 1 different people or moments" in refused.output.replace("\n", " ")


def test_no_face_in_half_of_them_goes_on_with_the_rest_and_says_so(home: Path, tmp_path: Path) -> None:
    from lineament.runtime.registry import load_network
    from lineament.teach.examples import collect, of_folders
    from lineament.teach.teach import teach
    from lineament.types import Faces

    network, calls = load_network(home / "toy.onnx", threads=1), []

    def find(pixels: np.ndarray) -> Faces:
        calls.append(1)
        points = np.array([[[69.0, 111], [107, 111], [88, 135], [74, 152], [104, 152]]], np.float32)
        return (
            Faces(np.array([[20, 20, 158, 200]], np.float32), np.ones(1, np.float32), points)
            if len(calls) % 2
            else Faces.empty()
        )

    found = collect(of_folders(home / "yes", home / "no"), network, find)
    taught = teach("x", found, network)
    assert taught.report["counts"]["without_face"] == 24
    assert taught.report["counts"]["used"] == {"yes": 12, "no": 12, "unsure": 0}
    none = collect(of_folders(home / "yes", home / "no"), network, lambda pixels: Faces.empty())
    with pytest.raises(Exception, match=r"Only 0 usable photos for --yes .of 24.*48 of all photos show no face"):
        teach("x", none, network)


def test_contradictory_labels_are_named(home: Path, tmp_path: Path) -> None:
    write_toy_model(tmp_path / "toy.onnx")
    write(tmp_path / "yes", 12, True)
    write(tmp_path / "no", 12, False, first=50)
    again = np.asarray(Image.open(tmp_path / "yes" / "0004.png")).astype(int)
    Image.fromarray(np.clip(again + 1, 0, 255).astype(np.uint8)).save(tmp_path / "no" / "again.png")
    done = run(tmp_path, "x", "--yes", "yes", "--no", "no", "--out", "x.json", "--json", "r.json")
    assert done.exit_code == 0, done.output
    pairs = json.loads((tmp_path / "r.json").read_text())["contradictory"]
    assert [[Path(one).name for one in pair] for pair in pairs] == [["0004.png", "again.png"]]
    suspects = json.loads((tmp_path / "r.json").read_text())["suspects"]
    assert "again.png" in [Path(one[0]).name for one in suspects]


@pytest.mark.parametrize("name", ["smiling", "Wearing_Hat"])
def test_a_name_in_use(home: Path, name: str) -> None:
    refused = run(home, name, "--yes", "yes", "--no", "no", "--out", "x.json")
    assert refused.exit_code == 2
    assert "in use" in refused.output


def test_a_name_of_another_script(home: Path, tmp_path: Path) -> None:
    assert run(home, "マスク", "--yes", "yes", "--no", "no", "--out", "m.json").exit_code == 0
    done = cli(
        "analyze",
        home / "yes",
        "--model",
        home / "toy.onnx",
        "--faces",
        "aligned",
        "--with",
        home / "m.json",
        "--csv",
        tmp_path / "o.csv",
        "--quiet",
    )
    assert done.exit_code == 0
    assert "マスク" in (tmp_path / "o.csv").read_text(encoding="utf-8").splitlines()[0]


def test_a_judging_name_is_noted_and_hidden_by_default(home: Path, tmp_path: Path) -> None:
    done = run(home, "looks_criminal", "--yes", "yes", "--no", "no", "--out", "c.json")
    assert done.exit_code == 0
    assert "judges or profiles a person" in done.output
    common = (
        "analyze",
        home / "yes",
        "--model",
        home / "toy.onnx",
        "--faces",
        "aligned",
        "--with",
        home / "c.json",
        "--quiet",
        "--jsonl",
    )
    assert cli(*common, tmp_path / "a.jsonl").exit_code == 0
    assert cli(*common, tmp_path / "b.jsonl", "--profile", "all").exit_code == 0
    assert "looks_criminal" not in records(tmp_path / "a.jsonl")[0]["faces"][0]["attributes"]
    assert "looks_criminal" in records(tmp_path / "b.jsonl")[0]["faces"][0]["attributes"]


def test_a_hundred_thousand_photos_are_drawn_from_before_any_is_read() -> None:
    from lineament.inputs.item import Item
    from lineament.teach.examples import MOST, Listed, drawn

    listed = [Listed(Item(f"{number}.jpg"), number % 2) for number in range(100_000)]
    kept = drawn(listed)
    assert len(kept) == 2 * MOST
    assert {one.item.source for one in drawn(list(reversed(listed)))} == {one.item.source for one in kept}


def test_a_changed_base_model(home: Path, tmp_path: Path) -> None:
    write_toy_model(tmp_path / "other.onnx", seed=3, card=toy_card(name="other"))
    refused = cli(
        "analyze", home / "yes", "--model", tmp_path / "other.onnx", "--faces", "aligned", "--with", home / "own.json"
    )
    assert refused.exit_code == 2
    assert "Fit it again with the same photos" in refused.output.replace("\n", " ")


def test_folders_and_a_table_exclude_each_other(home: Path) -> None:
    assert "takes the place of" in run(home, "x", "--yes", "yes", "--table", "t.csv", "--out", "x.json").output.replace(
        "\n", " "
    )
    assert "Give two folders" in run(home, "x", "--yes", "yes", "--out", "x.json").output
