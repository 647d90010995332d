"""The command line as users script it: names, exit statuses, what goes to stdout and what to stderr."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from analyze_kit import MarkedFaces, fill
from toy_model import write_toy_model
from typer.testing import CliRunner

from lineament import __version__
from lineament.cli import COMMANDS, app
from lineament.schema import CELEBA_40, SENSITIVE

ROOT = Path(__file__).resolve().parents[2]


ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="module")
def toy_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_toy_model(tmp_path_factory.mktemp("model") / "toy.onnx")


@pytest.fixture
def analyze(toy_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run `lineament analyze ARGUMENTS` in a folder `in` of 8 photos (one of them text), with the toy model and the
    marked-face detector."""
    monkeypatch.setattr("lineament.api._bundled_detector", lambda network, threads: MarkedFaces())
    monkeypatch.chdir(tmp_path)
    fill(Path("in"), 8)
    runner = CliRunner()

    def run(*arguments: str, **options: Any) -> Any:
        return runner.invoke(app, ["analyze", *arguments, "--model", str(toy_path), "--threads", "2"], **options)

    return run


def records(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_help_lists_every_command_of_the_interface() -> None:
    shown = CliRunner().invoke(app, ["--help"]).output
    promised = (
        *("analyze", "models", "doctor", "schema", "configs", "prepare", "train", "export", "teach"),
        *("evaluate", "calibrate", "compare", "audit"),
        *("audit-labels", "report", "table", "card", "bench", "serve", "index", "search", "forget"),
    )
    assert tuple(COMMANDS) == promised
    assert all(re.search(rf"^\W+{name} ", shown, re.MULTILINE) for name in promised)


@pytest.mark.parametrize(
    "name", [name for name in COMMANDS if (ROOT / "lineament" / "cli" / f"{name.replace('-', '_')}.py").is_file()]
)
def test_every_command_explains_itself(name: str) -> None:
    done = CliRunner().invoke(app, [name, "--help"])
    assert done.exit_code == 0
    assert "Usage" in done.output


def test_flags_are_those_of_the_interface() -> None:
    shown = CliRunner().invoke(app, ["analyze", "--help"], env={"COLUMNS": "200"}).output
    flags = """--json --jsonl --csv --parquet --draw --crops --profile --attributes --abstain
               --consistent --keep --faces --boxes --resume --shard --max-failed --max-pixels
               --timeout --engine --model --runtime --precision --threads --quiet"""
    assert all(re.search(rf"{flag}\b", shown) for flag in flags.split())


def test_version_and_schema() -> None:
    runner = CliRunner()
    assert runner.invoke(app, ["--version"]).output.strip() == __version__
    assert json.loads(runner.invoke(app, ["schema"]).output) == json.loads(
        files("lineament").joinpath("record.schema.json").read_text("utf-8")
    )


def test_wrong_usage_is_status_2_and_one_line(analyze: Any) -> None:
    wrong = [
        ("in", "--keep", "0"), ("in", "--keep", "some"), ("in", "--profile", "mine"),
        ("in", "--attributes", "Smilling"), ("in", "--attributes", ","), ("in", "--shard", "5/4"),
        ("in", "--max-failed", "many"), ("in", "--runtime", "tpu"), ("in", "--precision", "fp8"),
        ("in", "--faces", "guess"), ("in", "--resume"), ("in", "--resume", "--jsonl", "-"),
        ("in", "--jsonl", "-", "--csv", "-"), ("in", "--parquet", "-"), ("@gone.txt",), ("in", "--boxes", "gone.csv"),
        ("in", "--timeout", "0"), ("in", "--engine", "slurm"), ("in", "--jsonl", "in/000.png/out.jsonl"),
        ("in", "--attributes", "Young"), ("in", "--draw", "in/000.png/d"), ("in", "--crops", "in/000.png"),
    ]  # fmt: skip
    for arguments in wrong:
        done = analyze(*arguments)
        assert done.exit_code == 2, arguments
        assert done.stdout == "", arguments
        assert done.stderr.startswith("lineament: "), arguments
        assert "Traceback" not in done.output
    Path("precious.jsonl").write_text("kept")
    assert analyze("in", "@gone.txt", "--jsonl", "precious.jsonl").exit_code == 2
    assert Path("precious.jsonl").read_text() == "kept"


@pytest.mark.parametrize(
    "arguments", [[], ["--no-such-flag"], ["nope"], ["analyze"], ["analyze", "x.jpg", "--threads", "0"]]
)
def test_arguments_that_do_not_parse_are_status_2(arguments: list[str]) -> None:
    assert CliRunner().invoke(app, arguments).exit_code == 2


def test_a_missing_model_names_what_exists(analyze: Any) -> None:
    done = CliRunner().invoke(app, ["analyze", "in", "--model", "no-such-model"])
    assert done.exit_code == 2
    assert "no-such-model" in done.stderr


def test_records_on_stdout_are_pure(analyze: Any) -> None:
    done = analyze("in", "--jsonl", "-", "--max-failed", "1")
    assert done.exit_code == 0
    found = records(done.stdout)
    assert [record["source"] for record in found] == [os.path.join("in", f"{n:03}.png") for n in range(8)]  # noqa: PTH118
    assert "8 inputs" in done.stderr
    assert "006.png" in done.stderr
    assert json.loads(analyze("in", "--json", "-", "--max-failed", "1").stdout) == found
    assert len(list(csv.DictReader(io.StringIO(analyze("in", "--csv", "-", "--max-failed", "1").stdout)))) == 10


def test_quiet_leaves_only_errors(analyze: Any) -> None:
    done = analyze("in", "--jsonl", "out.jsonl", "--quiet")
    assert done.stdout == ""
    assert "inputs" not in done.stderr
    assert "006.png" in done.stderr
    assert analyze("in/001.png", "--jsonl", "out.jsonl", "--quiet").output == ""


@pytest.mark.parametrize(("limit", "status"), [("0", 3), ("1", 0), ("10%", 3), ("13%", 0)])
def test_failed_inputs_decide_the_exit_status(limit: str, status: int, analyze: Any) -> None:
    assert analyze("in", "--jsonl", "out.jsonl", "--max-failed", limit).exit_code == status
    assert len(records(Path("out.jsonl").read_text())) == 8


def test_without_outputs_the_table_is_the_data(analyze: Any) -> None:
    done = analyze("in/002.png", "in/000.png")
    assert done.exit_code == 0
    assert "2 faces" in done.stdout
    assert "no face" in done.stdout
    assert re.search(r"\d\.\d\d", done.stdout)
    broken = analyze("in/006.png")
    assert broken.exit_code == 3
    assert "unreadable" in broken.stdout


def test_profiles_attributes_and_keep(analyze: Any) -> None:
    def faces(*arguments: str) -> list[dict[str, Any]]:
        return records(analyze("in/002.png", "--jsonl", "-", *arguments).stdout)[0]["faces"]

    assert set(faces()[0]["attributes"]) == set(CELEBA_40) - SENSITIVE
    assert set(faces("--profile", "all")[0]["attributes"]) == set(CELEBA_40)
    assert set(faces("--attributes", "smiling, BALD")[0]["attributes"]) == {"Smiling", "Bald"}
    assert [len(faces("--keep", keep)) for keep in ("all", "largest", "1", "7")] == [2, 1, 1, 2]
    header = analyze("in/002.png", "--csv", "-", "--attributes", "Smiling").stdout.splitlines()[0]
    assert header.endswith("roll,prob_Smiling,label_Smiling")


def test_pictures_are_written_and_crops_feed_back(analyze: Any) -> None:
    done = analyze("in", "--draw", "d", "--crops", "c", "--jsonl", "out.jsonl", "--max-failed", "1", "--profile", "all")
    assert done.exit_code == 0
    found = [record for record in records(Path("out.jsonl").read_text()) if record["faces"]]
    assert len(list(Path("d").iterdir())) == 7  # the text has no picture
    crops = sorted(Path("c").iterdir())
    assert len(crops) == sum(len(record["faces"]) for record in found)
    assert analyze("c", "--faces", "aligned", "--jsonl", "again.jsonl", "--profile", "all").exit_code == 0
    again = [record["faces"][0] for record in records(Path("again.jsonl").read_text())]
    assert [face["attributes"] for face in again] == [
        face["attributes"] for record in found for face in record["faces"]
    ]
    assert {face["detection_prob"] for face in again} == {None}


def test_a_run_does_not_answer_the_pictures_it_writes(analyze: Any) -> None:
    options = ["--draw", "in/drawn", "--crops", "in/crops", "--jsonl", "out.jsonl", "--max-failed", "1"]
    for _ in range(2):
        assert analyze("in", *options).exit_code == 0
        assert len(records(Path("out.jsonl").read_text())) == 8
    assert len(list(Path("in/drawn").iterdir())) == 7


def test_boxes_replace_the_detector(analyze: Any) -> None:
    Path("boxes.csv").write_text("source,x1,y1,x2,y2\nin/000.png,10,10,80,100\nin/000.png,80,10,100,40\n")
    done = analyze("in/000.png", "in/001.png", "--boxes", "boxes.csv", "--jsonl", "-")
    first, second = records(done.stdout)
    assert [face["box_xyxy"] for face in first["faces"]] == [[10, 10, 80, 100], [80, 10, 100, 40]]
    assert second["status"] == "no_face"
    assert analyze("in", "--boxes", "boxes.csv", "--faces", "aligned").exit_code == 2


def test_shards_and_resume_through_the_command_line(analyze: Any) -> None:
    analyze("in", "--jsonl", "whole.jsonl")
    whole = Path("whole.jsonl").read_bytes()
    for part in (1, 2):
        analyze("in", "--jsonl", f"part{part}.jsonl", "--shard", f"{part}/2")
    assert sorted((Path("part1.jsonl").read_bytes() + Path("part2.jsonl").read_bytes()).splitlines()) == sorted(
        whole.splitlines()
    )
    Path("whole.jsonl").write_bytes(whole[: len(whole) // 2])
    done = analyze("in", "--jsonl", "whole.jsonl", "--resume")
    assert Path("whole.jsonl").read_bytes() == whole
    assert "done before" in done.stderr
    refused = analyze("in", "--jsonl", "whole.jsonl", "--resume", "--profile", "all")
    assert refused.exit_code == 2
    assert "profile was 'default', is 'all'" in refused.stderr
    refused = analyze("in", "--jsonl", "whole.jsonl", "--resume", "--small-faces", "always")
    assert refused.exit_code == 2
    assert "small_faces was 'auto', is 'always'" in refused.stderr
    unknown = analyze("in", "--jsonl", "other.jsonl", "--small-faces", "perhaps")
    assert (unknown.exit_code, unknown.stderr) == (
        2,
        "lineament: --small-faces must be never, auto or always, not 'perhaps'.\n",
    )
    assert "--keep must be all" in analyze("in", "--jsonl", "other.jsonl", "--keep", "most").stderr
    assert Path("whole.jsonl").read_bytes() == whole


def test_lists_and_stdin(analyze: Any) -> None:
    Path("list.txt").write_text("in/001.png\nin/002.png\n")
    by_list = analyze("@list.txt", "--jsonl", "-").stdout
    assert [record["source"] for record in records(by_list)] == ["in/001.png", "in/002.png"]
    assert analyze("-", "--jsonl", "-", input="in/001.png\nin/002.png\n").stdout == by_list
    (piped,) = records(analyze("-", "--jsonl", "-", input=Path("in/001.png").read_bytes()).stdout)
    (named,) = records(analyze("in/001.png", "--jsonl", "-").stdout)
    assert piped == named | {"source": "-"}


def test_a_time_limit_and_a_pixel_cap(analyze: Any) -> None:
    timed = analyze("in/001.png", "--jsonl", "-", "--timeout", "60").stdout
    assert timed == analyze("in/001.png", "--jsonl", "-").stdout
    done = analyze("in/001.png", "--jsonl", "-", "--max-pixels", "100")
    assert done.exit_code == 3
    assert records(done.stdout)[0]["status"] == "too_large"


def test_an_empty_folder_is_said(analyze: Any) -> None:
    Path("empty").mkdir()
    done = analyze("empty", "--jsonl", "out.jsonl")
    assert done.exit_code == 0
    assert "No photos found in empty" in done.stderr


def test_the_table_of_models_has_licences_in_short_and_json_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    from lineament.cli import models
    from lineament.runtime import registry

    sentence = (
        "for research only; CelebA is non-commercial research data, and weights derived from it inherit the doubt"
    )
    row = {
        "name": "toy",
        "id": "toy@1",
        "precision": "fp32",
        "bytes": 1,
        "mean_accuracy": None,
        "architecture": "toy",
        "origin": "package",
        "views": {},
        "speed": {},
    }
    monkeypatch.setattr(registry, "list_models", lambda: [None])
    monkeypatch.setattr(models, "_row", lambda entry: row | {"licence": sentence})
    shown = CliRunner().invoke(app, ["models"]).stdout
    assert "research only" in shown
    assert "doubt" not in shown
    assert json.loads(CliRunner().invoke(app, ["models", "--json", "-"]).stdout)[0]["licence"] == sentence


def test_models_and_doctor(toy_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lineament.runtime import registry

    (tmp_path / "w").mkdir()
    (tmp_path / "w" / "default.onnx").write_bytes(toy_path.read_bytes())
    monkeypatch.setattr(registry, "weights_folder", lambda: tmp_path / "w")
    monkeypatch.setattr(registry, "systems_folder", lambda: tmp_path / "none")
    runner = CliRunner()
    assert "toy@" in runner.invoke(app, ["models"]).stdout
    (listed,) = json.loads(runner.invoke(app, ["models", "--json", "-"]).stdout)
    assert (listed["name"], listed["attributes"]) == ("default", 40)
    healthy = runner.invoke(app, ["doctor"])
    assert healthy.exit_code == 0, healthy.output
    assert "self-test" in healthy.stdout
    (tmp_path / "w" / "default.card.json").write_text(json.dumps({"file_sha256": "0" * 64}))
    sick = runner.invoke(app, ["doctor", "--json", "-"])
    assert sick.exit_code == 3
    assert [check["name"] for check in json.loads(sick.stdout) if check["ok"] is False] == ["weights default"]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("analyse", "'analyze'"), ("serch", "'search'"), ("audit-label", "'audit-labels'"), ("xyzzy", "")],
)
def test_a_command_that_is_none_is_answered_with_the_nearest(typed: str, meant: str) -> None:
    found = CliRunner().invoke(app, [typed, "a.jpg"])
    assert found.exit_code == 2
    assert f"No such command '{typed}'" in found.output
    assert ("Did you mean" in found.output) == bool(meant)
    assert meant in found.output
