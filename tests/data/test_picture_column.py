"""Pictures in every shape of Parquet column that pandas and the hubs' libraries write, in `analyze` and in
`evaluate`."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lineament.data.hub_parquet import HubParquet
from lineament.errors import DataError, ImageError
from lineament.inputs.expand import items

pa = pytest.importorskip("pyarrow", reason="Parquet needs the extra [parquet]")
pq = pytest.importorskip("pyarrow.parquet")


def png(level: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((218, 178, 3), level, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


DATA = [png(level) for level in (10, 20, 30)]
WIDTH = max(map(len, DATA))
STRUCT = [{"bytes": data, "path": f"{row}.png"} for row, data in enumerate(DATA)]
HUB = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
SHAPES: dict[str, Any] = {
    "struct": lambda: pa.array(STRUCT),
    "struct_null_path": lambda: pa.array([{"bytes": data, "path": None} for data in DATA]),
    "struct_large": lambda: pa.array(STRUCT, pa.struct([("bytes", pa.large_binary()), ("path", pa.large_string())])),
    "struct_view": lambda: pa.array(STRUCT, pa.struct([("bytes", pa.binary_view()), ("path", pa.string())])),
    "struct_any_case": lambda: pa.array([{"Path": None, "Bytes": data} for data in DATA]),
    "binary": lambda: pa.array(DATA),
    "large_binary": lambda: pa.array(DATA, pa.large_binary()),
    "binary_view": lambda: pa.array(DATA, pa.binary_view()),
    "fixed_size": lambda: pa.array([data.ljust(WIDTH, b"\0") for data in DATA], pa.binary(WIDTH)),
    "dictionary": lambda: pa.array(DATA).dictionary_encode(),
    "list_binary": lambda: pa.array([[data] for data in DATA]),
    "large_list_struct": lambda: pa.array([[one] for one in STRUCT], pa.large_list(HUB)),
    "fixed_list": lambda: pa.array([[data] for data in DATA], pa.list_(pa.binary(), 1)),
    "list_uint8": lambda: pa.array([list(data) for data in DATA], pa.list_(pa.uint8())),
    "list_int64": lambda: pa.array([list(data) for data in DATA]),
    "paths": lambda: pa.array([f"{row}.png" for row in range(3)]),
    "paths_view": lambda: pa.array([f"{row}.png" for row in range(3)], pa.string_view()),
    "paths_dictionary": lambda: pa.array([f"{row}.png" for row in range(3)]).dictionary_encode(),
    "struct_paths_only": lambda: pa.array([{"bytes": None, "path": f"{row}.png"} for row in range(3)], HUB),
    "windows_paths": lambda: pa.array([{"bytes": None, "path": f"deep\\{row}.png"} for row in range(3)], HUB),
}  # fmt: skip


def write(path: Path, column: Any, name: str = "image", **others: Any) -> Path:
    (path.parent / "deep").mkdir(exist_ok=True)
    for row, data in enumerate(DATA):
        (path.parent / f"{row}.png").write_bytes(data)
        (path.parent / "deep" / f"{row}.png").write_bytes(data)
    pq.write_table(pa.table({name: column, **others}), path)
    return path


def read(path: Path) -> list[bytes]:
    return [bytes(item.data) if item.data is not None else item.path.read_bytes() for item in items([str(path)])]  # type: ignore[union-attr]


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_is_read_by_analyze(tmp_path: Path, shape: str) -> None:
    found = read(write(tmp_path / "t.parquet", SHAPES[shape]()))
    assert [data[: len(DATA[row])] for row, data in enumerate(found)] == DATA


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_is_read_by_evaluate(tmp_path: Path, shape: str) -> None:
    source = HubParquet(write(tmp_path / "t.parquet", SHAPES[shape](), Smiling=[1, -1, 1]))
    assert [source.read_bytes(row)[: len(DATA[row])] for row in range(3)] == DATA
    assert source.table.targets[:, 0].tolist() == [1, 0, 1]
    assert len(set(source.table.files)) == 3


@pytest.mark.parametrize("name", ["image", "IMAGE", "img", "Img", "picture", "jpg", "image_bytes", "anything_else"])
def test_the_column_by_any_name(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / "t.parquet", pa.array(DATA), name, label=[1, 2, 3], text=["a", "b", "c"])
    assert read(path) == DATA


def test_the_hubs_own_word_for_an_image_counts_first(tmp_path: Path) -> None:
    table = pa.table({"image": pa.array([b"thumbnail"] * 3), "face": pa.array(STRUCT)})
    meta = {b"huggingface": json.dumps({"info": {"features": {"face": {"_type": "Image"}}}}).encode()}
    pq.write_table(table.replace_schema_metadata(meta), tmp_path / "t.parquet")
    assert read(tmp_path / "t.parquet") == DATA
    for broken in (b"{", b"[]", b'{"info": {"features": []}}', b"\xff"):
        pq.write_table(table.replace_schema_metadata({b"huggingface": broken}), tmp_path / "t.parquet")
        assert read(tmp_path / "t.parquet") == [b"thumbnail"] * 3


def test_names_of_rows(tmp_path: Path) -> None:
    """A null path is no duplicate name, nor is a path that two folders share; a file column that repeats itself is an
    error."""
    several = pa.array(
        [{"bytes": data, "path": path} for data, path in zip(DATA, ("a.png", "b.png", "a.png"), strict=True)]
    )
    table = HubParquet(write(tmp_path / "t.parquet", several, SMILING=[1, 0, 1], Celeb_ID=["x", "y", "x"])).table
    assert table.files == ("t.parquet::0", "b.png", "t.parquet::2")
    assert table.attributes == ("Smiling",)
    assert table.identity is not None
    assert table.identity.tolist() == [0, 1, 0]
    with pytest.raises(DataError, match="twice"):
        HubParquet(write(tmp_path / "t.parquet", several, Smiling=[1, 0, 1], File=["a", "a", "b"]))
    with pytest.raises(DataError, match="two columns for smiling"):
        HubParquet(write(tmp_path / "t.parquet", several, Smiling=[1, 0, 1], smiling=[1, 0, 1]))
    with pytest.raises(DataError, match="'maybe' in row 1"):
        HubParquet(write(tmp_path / "t.parquet", several, Smiling=["1", "maybe", "0"]))


def test_splits_by_shard_name_by_column_and_by_the_hubs_words(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for name in ("train-00000-of-00001", "validation-00000-of-00001", "test-00000-of-00001"):
        write(tmp_path / "data" / f"{name}.parquet", pa.array(DATA), Smiling=[1, 0, 1])
    assert HubParquet(tmp_path, split="val").table.files[0] == "validation-00000-of-00001.parquet::0"
    source = HubParquet(
        write(tmp_path / "one.parquet", pa.array(DATA), Smiling=[1, 0, 1], split=["train", "validation", "valid"]),
        split="val",
    )
    assert source.table.files == ("one.parquet::1", "one.parquet::2")
    assert [source.read_bytes(row) for row in range(2)] == DATA[1:]


def test_pandas_frames(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"Image": DATA, "smiling": [True, False, None]}, index=["x", "y", "z"])
    frame.to_parquet(tmp_path / "t.parquet")
    assert read(tmp_path / "t.parquet") == DATA
    source = HubParquet(tmp_path / "t.parquet")
    assert (source.table.attributes, source.table.known[:, 0].tolist()) == (("Smiling",), [True, True, False])


def test_several_pictures_in_a_row(tmp_path: Path) -> None:
    path = write(tmp_path / "t.parquet", pa.array([DATA[:2], [], None, DATA[2:]]))
    found = list(items([str(path)]))
    assert [item.source.rpartition("::")[2] for item in found] == ["0.0", "0.1", "1", "2", "3"]
    assert [item.error is None for item in found] == [True, True, False, False, True]
    with pytest.raises(ImageError, match="2 pictures"):
        HubParquet(write(tmp_path / "u.parquet", pa.array([DATA[:2]]), Smiling=[1])).read_bytes(0)


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        ({"bytes": "aGVsbG8=", "path": None}, "base64"), ({"bytes": None, "path": None}, "holds no picture"),
        ({"bytes": None, "path": "gone.png"}, "relative to the table's folder"),
        ({"bytes": None, "path": "https://a.b/c.jpg"}, "Nothing is fetched"), ("x" * 100_000, "no file in"),
        ([[[1, 2, 3]], [[4, 5, 6]]], "list, not an encoded picture"), ({"bytes": None, "path": "a\0b"}, "no file in"),
    ],
)  # fmt: skip
def test_a_row_without_a_picture_is_one_record_that_says_why(tmp_path: Path, cell: Any, words: str) -> None:
    path = write(tmp_path / "t.parquet", pa.array([cell]))
    (item,) = items([str(path)])
    assert item.error is not None
    assert words in str(item.error)
    assert len(str(item.error)) < 500


def test_text_that_is_not_unicode_is_one_record(tmp_path: Path) -> None:
    column = pa.array([b"\xff\xfe", b"0.png"]).view(pa.string())
    found = list(items([str(write(tmp_path / "t.parquet", column))]))
    assert [item.error is None for item in found] == [False, True]


def test_no_column_of_pictures_names_those_there_are(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1], "b": ["text"]}), tmp_path / "t.parquet")
    (item,) = items([str(tmp_path / "t.parquet")])
    assert "a, b" in str(item.error)
    with pytest.raises(DataError, match="an `image` column"):
        HubParquet(tmp_path / "t.parquet")
