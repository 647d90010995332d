"""Files are written whole or not at all; hashes and names of the disk."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lineament.files import escaped, replacing, sha256_of


@pytest.mark.parametrize("unique", [False, True])
def test_the_old_file_stays_until_the_new_one_is_whole(tmp_path: Path, unique: bool) -> None:
    target = tmp_path / "a.json"
    target.write_text("old")
    with replacing(target, unique=unique) as partial:
        partial.write_text("new")
        assert target.read_text() == "old"
        assert partial.parent == tmp_path, "a rename within one folder, so within one file system"
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a.json": "new"}


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "a.json"
    target.write_text("old")

    def torn() -> None:
        with replacing(target) as partial:
            partial.write_text("ne")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        torn()
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a.json": "old"}


def test_a_block_that_wrote_nothing_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "a"):
        pass
    assert (tmp_path / "a").read_text() == "old"


def test_threads_do_not_write_into_each_other_s_file(tmp_path: Path) -> None:
    def write(number: int) -> Path:
        with replacing(tmp_path / "a", unique=True) as partial:
            partial.write_text(str(number) * 1000)
            return partial

    with ThreadPoolExecutor(4) as pool:
        seen = set(pool.map(write, range(8)))
    assert len({*(tmp_path / "a").read_text()}) == 1
    assert all(path.name.startswith(".a.") for path in seen)


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1])
def test_the_hash_is_that_of_all_bytes(tmp_path: Path, size: int) -> None:
    data = bytes(range(256)) * (size // 256 + 1)
    (tmp_path / "a").write_bytes(data[:size])
    assert sha256_of(tmp_path / "a") == hashlib.sha256(data[:size]).hexdigest()


def test_names_that_are_no_text_are_escaped_and_others_stay() -> None:
    assert escaped("é\udcff") == "é\\udcff"
    escaped("é\udcff").encode("utf-8")
