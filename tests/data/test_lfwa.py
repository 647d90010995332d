"""LFWA's reader on files in the published layouts: MATLAB old and new, text; split by row."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lineament.data.lfwa import ALL_ROWS, LFWA, TRAIN_ROWS, read_mat, read_text
from lineament.errors import DataError
from lineament.schema import CELEBA_40

NAMES = [f"Person_{p}/Person_{p}_{i:04d}.jpg" for p in range(5) for i in range(1, 3)]
VALUES = np.random.default_rng(0).integers(0, 2, (10, 40))


def photos(root: Path, names: list[str]) -> None:
    for name in names:
        (root / "lfw" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (250, 250), (200, 150, 100)).save(root / "lfw" / name)


def write_old_mat(path: Path) -> None:
    io = pytest.importorskip("scipy.io")
    cells = {key: np.empty((len(words), 1), object) for key, words in (("AttrName", CELEBA_40), ("name", NAMES))}
    for row, word in enumerate(CELEBA_40):
        cells["AttrName"][row, 0] = word.replace("_", " ") + " "  # as published: words, and a space at the end
    for row, word in enumerate(NAMES):
        cells["name"][row, 0] = word.replace("/", "\\")
    io.savemat(path, {**cells, "label": VALUES.astype(np.float64)})


def write_new_mat(path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(path, "w", userblock_size=512) as file:
        for key, words in (("AttrName", CELEBA_40), ("name", [name.replace("/", "\\") for name in NAMES])):
            codes = [
                file.create_dataset(f"#refs#/{key}{i}", data=np.array([[ord(c)] for c in word], np.uint16))
                for i, word in enumerate(words)
            ]
            file.create_dataset(
                key, data=np.array([[code.ref for code in codes]], h5py.ref_dtype), dtype=h5py.ref_dtype
            )
        file.create_dataset("label", data=VALUES.T.astype(np.float64))
    with path.open("r+b") as raw:  # MATLAB's own first 128 bytes: text, version 2.0, byte order
        raw.write(b"MATLAB 7.3 MAT-file, Platform: TEST".ljust(116) + b"\x00" * 8 + b"\x00\x02IM")


def write_text(path: Path) -> None:
    lines = [f"{name} {' '.join('1' if v else '-1' for v in row)}" for name, row in zip(NAMES, VALUES, strict=True)]
    path.write_text("\n".join([str(len(NAMES)), " ".join(CELEBA_40), *lines]) + "\n")


@pytest.mark.parametrize(
    ("name", "write"),
    [("lfw_att_40.mat", write_old_mat), ("lfw_att_40.mat", write_new_mat), ("lfw_att_40.txt", write_text)],
    ids=["v5", "v7.3", "text"],
)
def test_every_layout_gives_the_same_table(tmp_path: Path, name: str, write) -> None:
    write(tmp_path / name)
    photos(tmp_path, NAMES[:-1])
    found = LFWA(tmp_path)
    assert found.table.attributes == CELEBA_40
    assert found.table.files == tuple(NAMES[:-1])
    assert found.table.missing == 1
    np.testing.assert_array_equal(found.table.targets, VALUES[:-1])
    np.testing.assert_array_equal(found.table.identity, np.arange(9) // 2)
    assert found.read_bytes(3) == (tmp_path / "lfw" / NAMES[3]).read_bytes()


def test_the_split_is_a_cut_by_row(tmp_path: Path) -> None:
    assert ALL_ROWS - TRAIN_ROWS == 6_880
    write_text(tmp_path / "lfw_att_40.txt")
    photos(tmp_path, NAMES)
    parts = {split: LFWA(tmp_path, split, train_rows=6).table for split in ("train", "test", "all")}
    assert parts["train"].files == tuple(NAMES[:6])
    assert parts["test"].files == tuple(NAMES[6:])
    assert list(parts["all"].split) == ["train"] * 6 + ["test"] * 4
    with pytest.raises(DataError, match="train and test"):
        LFWA(tmp_path, "val")


def test_what_is_wrong_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No LFWA labels"):
        LFWA(tmp_path)
    (tmp_path / "lfw_att_40.mat").write_bytes(b"not a matlab file at all" * 20)
    with pytest.raises(DataError, match="MATLAB"):
        read_mat(tmp_path / "lfw_att_40.mat")
    pytest.importorskip("scipy.io").savemat(tmp_path / "other.mat", {"x": 1})
    with pytest.raises(DataError, match="AttrName, label, name"):
        read_mat(tmp_path / "other.mat")
    (tmp_path / "bad.txt").write_text("1\nA B\nP/P_1.jpg 1\n")
    with pytest.raises(DataError, match="line 3"):
        read_text(tmp_path / "bad.txt")
    (tmp_path / "bad.txt").write_text("P/P_1.jpg 1\n")
    with pytest.raises(DataError, match="line 1"):
        read_text(tmp_path / "bad.txt")
    (tmp_path / "lfw_att_40.mat").unlink()
    write_text(tmp_path / "lfw_att_40.txt")
    with pytest.raises(DataError, match="No photo of"):
        LFWA(tmp_path)


@pytest.mark.parametrize("end", ["os.abort()", "raise SystemExit(3)"], ids=["signal", "exit"])
def test_a_file_that_ends_its_reader_is_one_sentence_and_not_the_end_of_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    monkeypatch.setattr("lineament.data.lfwa._READER", f"import os; {end}")
    with pytest.raises(DataError, match=r"not a whole MATLAB file \(its reader ended with .*Download it again"):
        read_mat(tmp_path / "lfw_att_40.mat")


@pytest.mark.parametrize("write", [write_old_mat, write_new_mat], ids=["v5", "v7.3"])
def test_damaged_matlab_files_are_read_or_refused_in_a_sentence(tmp_path: Path, write) -> None:
    write(tmp_path / "whole.mat")
    whole, rng = (tmp_path / "whole.mat").read_bytes(), np.random.default_rng(0)
    for _ in range(6):
        damaged = bytearray(whole[: int(rng.integers(len(whole) // 2, len(whole)))])
        for at in rng.integers(0, len(damaged), 20):
            damaged[at] = int(rng.integers(256))
        (tmp_path / "lfw_att_40.mat").write_bytes(damaged)
        with contextlib.suppress(DataError):
            read_mat(tmp_path / "lfw_att_40.mat")
