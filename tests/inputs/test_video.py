"""Videos: which frames are taken, upright and exact; faces followed, answers smoothed, changes told."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from analyze_kit import MarkedFaces, photo, toy
from toy_model import write_toy_model
from typer.testing import CliRunner

from lineament.cli import app
from lineament.inputs.expand import Reading, items
from lineament.inputs.video import HYSTERESIS, SMOOTHING, Tracks, iou
from lineament.types import Answer, FaceReport, Quality, Report

av = pytest.importorskip("av", reason="videos need the extra [video]")


def write_video(path: Path, frames: list[np.ndarray], rate: int = 10) -> Path:
    """Write frames without loss, so that exact colours survive."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("png", rate=rate)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "rgb24"
        for pixels in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    return path


def test_frames_are_taken_at_even_times_and_are_exact(tmp_path: Path) -> None:
    frames = [photo(0, seed=number) for number in range(25)]
    path = write_video(tmp_path / "v.avi", frames)
    for every, taken in (
        (1.0, [0, 10, 20]),
        (0.5, [0, 5, 10, 15, 20]),
        (0.25, [0, 3, 5, 8, 10, 13, 15, 18, 20, 23]),
        (100, [0]),
    ):
        found = list(items([str(path)], Reading(every)))
        assert [item.source for item in found] == [f"{path}::t={number / 10:.3f}" for number in taken]
        for item, number in zip(found, taken, strict=True):
            np.testing.assert_array_equal(item.data, frames[number])


def test_what_is_no_video_is_an_item_with_an_error(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video at all, only text that goes on for a while\n" * 20)
    path = write_video(tmp_path / "v.avi", [photo(0, seed=number) for number in range(20)])
    (tmp_path / "cut.avi").write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    for name, code in (("text.mp4", "unreadable"), ("gone.mp4", "not_found")):
        (item,) = items([str(tmp_path / name)])
        assert item.error is not None
        assert item.error.code == code
    cut = list(items([str(tmp_path / "cut.avi")], Reading(0.1)))
    assert 3 <= len(cut) <= 12


def test_a_video_through_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lineament.api._bundled_detector", lambda network, threads: MarkedFaces())
    monkeypatch.chdir(tmp_path)
    write_toy_model(Path("toy.onnx"))
    write_video(Path("v.avi"), [photo(1 + (number >= 15), seed=number) for number in range(30)])
    done = CliRunner().invoke(
        app, ["analyze", "v.avi", "--model", "toy.onnx", "--every", "0.5", "--jsonl", "out.jsonl", "--tracks", "t.json"]
    )
    assert done.exit_code == 0, done.output
    found = [json.loads(line) for line in Path("out.jsonl").read_text().splitlines()]
    assert [len(record["faces"]) for record in found] == [1, 1, 1, 2, 2, 2]
    (video,) = json.loads(Path("t.json").read_text())
    assert [(track["start"], track["end"], track["frames"]) for track in video["tracks"]] == [
        (0.0, 2.5, 6),
        (1.5, 2.5, 3),
    ]
    direct = toy(Path("toy.onnx")).analyze(photo(1, seed=5), channels="RGB", source_name="v.avi::t=0.500")
    assert direct.to_dict() == found[1]
    assert CliRunner().invoke(app, ["analyze", "v.avi", "--model", "toy.onnx", "--every", "0"]).exit_code == 2


def report(seconds: float, *faces: tuple[float, float]) -> Report:
    """A frame of `v` with a face at each x, smiling with a probability."""
    quality = Quality(30, 0.5, 0, 0, 0)
    made = tuple(
        FaceReport((x, 0, x + 50, 60), 0.9, ((x, 0),) * 5, quality, {"Smiling": Answer(prob, "yes")})
        for x, prob in faces
    )
    return Report(f"v::t={seconds:.3f}", "ok" if faces else "no_face", "toy@00000000", "default", made)


def test_tracks_follow_faces_and_end_when_they_are_gone() -> None:
    tracks = Tracks({})
    for second in range(4):
        tracks(report(second, (100 + 5 * second, 0.9), (300 - 5 * second, 0.1)))
    for second in range(4, 9):
        tracks(report(second, (120, 0.9)))
    tracks(report(9, (120, 0.9), (280, 0.1)))  # gone for five frames: somebody new
    tracks(Report("photo.jpg", "ok", "toy@00000000", "default"))  # a photo among the videos is let pass
    (video,) = tracks.to_dict()
    assert [(track["start"], track["end"], track["frames"]) for track in video["tracks"]] == [
        (0, 9, 10),
        (0, 3, 4),
        (9, 9, 1),
    ]


def test_smoothing_is_an_exponential_mean_and_one_odd_frame_is_no_event() -> None:
    probs = [0.9, 0.9, 0.3, 0.9, 0.9, 0.1, 0.1, 0.1, 0.1]
    tracks = Tracks({"Smiling": 0.5})
    smoothed, said, events = probs[0], "yes", []
    for second, prob in enumerate(probs):
        tracks(report(second, (100, prob)))
        smoothed += SMOOTHING * (prob - smoothed) if second else 0
        label = "yes" if smoothed >= 0.5 else "no"
        if label != said and abs(smoothed - 0.5) >= HYSTERESIS:
            events.append((second, said, label))
            said = label
    (track,) = tracks.to_dict()[0]["tracks"]
    assert track["attributes"]["Smiling"] == {"prob": round(smoothed, 4), "label": "no"}
    assert [(event["t"], event["from"], event["to"]) for event in track["events"]] == events == [(6, "yes", "no")]


def test_iou_against_counting_cells() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        a, b = (sorted(rng.integers(0, 12, 2).tolist()) + sorted(rng.integers(0, 12, 2).tolist()) for _ in range(2))
        a, b = [a[0], a[2], a[1], a[3]], [b[0], b[2], b[1], b[3]]
        grids = [np.zeros((12, 12), bool) for _ in range(2)]
        for grid, box in zip(grids, (a, b), strict=True):
            grid[box[1] : box[3], box[0] : box[2]] = True
        union = (grids[0] | grids[1]).sum()
        assert iou(tuple(a), tuple(b)) == pytest.approx((grids[0] & grids[1]).sum() / union if union else 0.0)
