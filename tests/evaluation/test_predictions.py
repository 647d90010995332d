"""Prediction files: what is written is read back exactly; what is wrong is refused by name."""

import numpy as np
import pytest
from toy_predictions import simulated

from lineament.errors import DataError
from lineament.evaluation.predictions import load, save

GOOD = "file,raw_Smiling,target_Smiling\na.jpg,0.25,1\nb.jpg,0.5,0\n"


def written(tmp_path, text):
    path = tmp_path / "p.csv"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_round_trip_keeps_every_digit_and_every_gap(tmp_path, suffix):
    before = simulated(50, calibrated=True)
    before.known[3, 1] = False
    before.detected[5] = False
    before.raw[5] = before.probs[5] = np.nan
    before.identity[7] = -1
    save(before, tmp_path / f"p{suffix}")
    after = load(tmp_path / f"p{suffix}")
    assert after.files == before.files
    assert after.attributes == before.attributes
    assert np.array_equal(after.raw, before.raw, equal_nan=True)
    assert np.array_equal(after.probs, before.probs, equal_nan=True)
    assert np.array_equal(after.known, before.known)
    assert np.array_equal(after.targets[after.known], before.targets[before.known])
    assert np.array_equal(after.detected, before.detected)
    assert np.array_equal(after.identity, before.identity)
    assert after.split.tolist() == before.split.tolist()
    assert len(after.found()) == 49


def test_parquet_keeps_what_the_writer_said_of_itself(tmp_path):
    from dataclasses import replace

    save(replace(simulated(5), meta={"model": "toy@12345678"}), tmp_path / "p.parquet")
    assert load(tmp_path / "p.parquet").meta == {"model": "toy@12345678"}


def test_foreign_files_may_hold_few_attributes_in_any_case_and_no_labels(tmp_path):
    found = load(written(tmp_path, "file,raw_smiling,raw_eyeglasses,raw_Tattoo\na.jpg,0.1,0.2,0.3\n"))
    assert found.attributes == ("Eyeglasses", "Smiling", "Tattoo")  # CelebA's order and spelling, then others
    assert found.raw.tolist() == [[0.2, 0.1, 0.3]]
    assert not found.labelled


def test_a_face_that_was_not_found_is_a_row_without_probabilities(tmp_path):
    found = load(written(tmp_path, "file,raw_Smiling,raw_Young,target_Smiling\na.jpg,,,1\nb.jpg,0.1,0.2,0\n"))
    assert found.detected.tolist() == [False, True]
    assert found.known[:, 0].tolist() == [True, True]


def test_several_faces_of_a_file_need_a_face_column(tmp_path):
    assert len(load(written(tmp_path, "file,face,raw_Smiling\na.jpg,0,0.1\na.jpg,1,0.1\n"))) == 2


FAULTS = {
    "duplicate file": ("file,raw_Smiling\na.jpg,0.1\na.jpg,0.2\n", "'a.jpg' .face 0. stands twice"),
    "nan": ("file,raw_Smiling\na.jpg,0.1\nb.jpg,nan\n", "raw_Smiling is NaN in row 2"),
    "above one": ("file,raw_Smiling\na.jpg,1.5\n", "raw_Smiling is 1.5 in row 1, not a probability"),
    "logits": ("file,raw_Smiling\na.jpg,-2.5\n", "Write the sigmoid"),
    "infinite": ("file,raw_Smiling\na.jpg,inf\n", "not a probability"),
    "no file column": ("name,raw_Smiling\na.jpg,0.1\n", "no column `file`"),
    "no raw column": ("file,Smiling\na.jpg,0.1\n", "no `raw_NAME` column"),
    "target without raw": ("file,raw_Smiling,target_Young\na.jpg,0.1,1\n", "'Young'.*no raw_ column"),
    "prob for some": ("file,raw_Smiling,raw_Young,prob_Young\na.jpg,0.1,0.2,0.2\n", "not for .'Smiling'."),
    "prob missing in a row": ("file,raw_Smiling,prob_Smiling\na.jpg,0.1,\n", "raw_ without prob_"),
    "target -1": ("file,raw_Smiling,target_Smiling\na.jpg,0.1,-1\n", "Write CelebA's -1 as 0"),
    "a word": ("file,raw_Smiling\na.jpg,yes\n", "'yes', which is not a number"),
    "some probabilities": ("file,raw_Smiling,raw_Young\na.jpg,0.1,\n", "lacks some probabilities"),
    "no name": ("file,raw_Smiling\n,0.1\n", "row 1 has no file name"),
    "ragged": ("file,raw_Smiling\na.jpg,0.1,7\n", "3 cells where the header has 2"),
    "header twice": ("file,raw_Smiling,raw_Smiling\na.jpg,0.1,0.1\n", "stand twice"),
    "identity": ("file,identity,raw_Smiling\na.jpg,1.5,0.1\n", "not a whole number"),
    "empty": ("", "is empty"),
    "torn parquet": ("PAR1 and then nothing", "not a whole Parquet file"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_are_named(tmp_path, fault):
    text, message = FAULTS[fault]
    with pytest.raises(DataError, match=message):
        load(written(tmp_path, text))


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DataError, match=r"nowhere\.csv"):
        load(tmp_path / "nowhere.csv")


def test_header_only_is_no_rows(tmp_path):
    assert len(load(written(tmp_path, "file,raw_Smiling\n"))) == 0


def test_without_pyarrow_csv_works_and_parquet_names_the_extra(tmp_path, monkeypatch):
    import sys

    from lineament.errors import MissingExtraError

    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert len(load(written(tmp_path, GOOD))) == 2
    with pytest.raises(MissingExtraError, match=r"lineament\[parquet\]"):
        save(simulated(3), tmp_path / "p.parquet")
