"""Labels are never guessed: what a reader does not understand, or was asked for and lacks, is an error that names
it."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from lineament.config import DataConfig
from lineament.data.labelled import LabelledFiles
from lineament.data.synthetic import make
from lineament.data.synthetic_files import write_official, write_parquet, write_table
from lineament.data.table import LabelTable
from lineament.errors import DataError

FACES = make(9, seed=2)


def test_shards_of_ones_and_minus_ones_are_read_as_yes_and_no(tmp_path: Path) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    from lineament.data.hub_parquet import HubParquet

    image = [{"bytes": b"", "path": f"{row}.jpg"} for row in range(4)]
    columns = {"image": image, "file": [f"{row}.jpg" for row in range(4)], "celeb_id": [1, None, 2, 2]}
    pq.write_table(
        pa.table(columns | {"Smiling": [1, -1, None, -1], "Bald": [True, False, None, True]}), tmp_path / "a.parquet"
    )
    table = HubParquet(tmp_path).table
    assert table.attributes == ("Bald", "Smiling")
    assert table.targets.tolist() == [[1, 1], [0, 0], [0, 0], [1, 0]]
    assert table.known.tolist() == [[True, True], [True, True], [False, False], [True, True]]
    assert table.identity is not None
    assert table.identity.tolist() == [1, -1, 2, 2]
    pq.write_table(pa.table(columns | {"Smiling": [1, -1, 0, 1]}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match="column Smiling holds"):
        HubParquet(tmp_path)


def test_a_split_that_no_shard_is_named_after_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    from lineament.data.hub_parquet import HubParquet

    write_parquet(tmp_path, FACES)
    with pytest.raises(DataError, match=r"No shard .* has the split 'test'"):
        HubParquet(tmp_path, split="test")
    assert len(HubParquet(next(tmp_path.glob("*.parquet")), split="test").table), (
        "a file named outright is what was asked for"
    )


def test_a_wanted_attribute_needs_exactly_one_column(tmp_path: Path) -> None:
    path = write_table(tmp_path / "labels.csv", FACES)
    with pytest.raises(DataError, match="no column for the attribute Smirking"):
        LabelTable(path, attributes=("Smiling", "Smirking"))
    assert LabelTable(path, attributes=("Smiling", "Smirking"), partly=True).table.attributes == ("Smiling",)
    with pytest.raises(DataError, match="named twice"):
        LabelTable(path, attributes=("Smiling", "smiling"))
    with path.open() as file:
        rows = list(csv.reader(file))
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([[*row, name] for row, name in zip(rows, ["SMILING", *"101010101"], strict=True)])
    with pytest.raises(DataError, match="two columns for Smiling: Smiling and SMILING"):
        LabelTable(path)


@pytest.mark.parametrize("layout", ["official", "parquet", "table", "synthetic"])
def test_every_layout_trains_on_the_attributes_a_config_names(tmp_path: Path, layout: str) -> None:
    pytest.importorskip("torch")
    if layout == "parquet":
        pytest.importorskip("pyarrow")
    from lineament.training.dataset import open_training_source

    made = {
        "official": write_official,
        "parquet": write_parquet,
        "table": lambda folder, faces: write_table(folder / "labels.csv", faces),
    }
    path = made[layout](tmp_path, FACES) if layout in made else tmp_path
    everything = open_training_source(DataConfig(layout=layout, path=str(path), limit=9)).table
    chosen = open_training_source(
        DataConfig(layout=layout, path=str(path), limit=9, attributes=("Smiling", "Bangs"))
    ).table
    assert chosen.attributes == ("Smiling", "Bangs")
    assert chosen.files == everything.files
    for place, name in enumerate(chosen.attributes):
        column = everything.attributes.index(name)
        np.testing.assert_array_equal(chosen.targets[:, place], everything.targets[:, column])
        np.testing.assert_array_equal(chosen.known[:, place], everything.known[:, column])
    with pytest.raises(DataError, match="My_Own"):
        open_training_source(DataConfig(layout=layout, path=str(path), limit=9, attributes=("Smiling", "My_Own")))


def test_rows_without_an_identity_are_not_one_person() -> None:
    pytest.importorskip("torch")
    from lineament.data.loader import split_by_identity

    identity = np.array([-1] * 20 + [7] * 5)
    table = LabelledFiles(
        tuple(map(str, range(25))), ("a",), np.zeros((25, 1), np.int8), np.ones((25, 1), bool), identity
    )
    for seed in range(20):
        train, held = split_by_identity(table, 4, seed)
        assert 4 <= len(held) <= 8, "single images, or the one person of five"
        assert len(train) + len(held) == 25
        assert len({7} & set(identity[train]) & set(identity[held])) == 0


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
@pytest.mark.parametrize("between", [",", ";", "\t"])
def test_tables_as_spreadsheets_write_them(tmp_path: Path, encoding: str, between: str) -> None:
    (tmp_path / "лицо.png").write_bytes(b"x")
    text = "file,Smiling,identity\r\nлицо.png,1,7\r\ngone.png,0,\r\n".replace(",", between)
    (tmp_path / "labels.csv").write_bytes(text.encode(encoding))
    table = LabelTable(tmp_path / "labels.csv").table
    assert (table.files, table.missing, table.targets.tolist()) == (("лицо.png",), 1, [[1]])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("file,Smiling,identity\na.png,1,inf\n", "whole number"),
        ("file,Smiling,identity\na.png,1,0.5\n", "whole number"),
        ("file,Smiling,identity\na.png,1,1e300\n", "whole number"), ("file,Smiling\na.png,nan\n", "holds"),
        ("", "is empty"), ("file,file\na,b\n", "stand twice"),
        ("file,Smiling\na.png\n", "1 cells where the header has 2"),
    ],
)  # fmt: skip
def test_tables_that_are_none_are_one_sentence(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(DataError, match=words):
        LabelTable(tmp_path / "labels.csv")


def test_file_names_that_no_file_can_have_are_missing(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text(f"file,Smiling\n{'x' * 5000}.png,1\n,0\n")
    assert LabelTable(tmp_path / "labels.csv").table.missing == 2
