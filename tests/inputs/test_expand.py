"""What inputs mean: files, folders, patterns, lists, archives, shards."""

from __future__ import annotations

import io
import os
import sys
import tarfile
from pathlib import Path

import pytest
from analyze_kit import photo, save
from hypothesis import given
from hypothesis import strategies as st

from lineament.errors import UsageError
from lineament.inputs.expand import items
from lineament.inputs.item import Item, in_shard, parse_shard

LINUX_ONLY = pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes on Linux only")


def names(*inputs: str | Path) -> list[str]:
    return [item.source for item in items([str(one) for one in inputs])]


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("in/b.JPG", "in/a.png", "in/sub/deep/c.webp", "in/z.jpg/inside.png", "in/notes.txt", "in/Sub2/d.tif"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


def test_a_folder_gives_its_pictures_sorted_depth_first(tree: Path) -> None:
    expected = ["in/Sub2/d.tif", "in/a.png", "in/b.JPG", "in/sub/deep/c.webp", "in/z.jpg/inside.png"]
    assert names("in") == [name.replace("/", os.sep) for name in expected]
    assert names("in") == names("in")


def test_sources_are_the_paths_as_given(tree: Path) -> None:
    assert names("in/a.png", "./in/a.png", str(tree / "in/a.png")) == ["in/a.png", "./in/a.png", str(tree / "in/a.png")]
    assert names("in/notes.txt") == ["in/notes.txt"]  # named by itself, it is tried
    assert names("gone.jpg") == ["gone.jpg"]


def test_patterns(tree: Path) -> None:
    assert names("in/*.png") == ["in/a.png"]
    assert names("in/**/*.png") == ["in/a.png", "in/z.jpg/inside.png"]
    (tree / "in/[1].png").write_bytes(b"x")
    assert names("in/[1].png") == ["in/[1].png"]  # an existing file is never read as a pattern
    (missed,) = items(["in/*.gif"])
    assert missed.error is not None
    assert missed.error.code == "not_found"


@LINUX_ONLY
def test_lists_hold_any_file_name(tree: Path) -> None:
    odd = [b"in/a.png", b"in/# not a comment.png", b" leading space.png", b"in/\xff\xfe.jpg", b"caf\xc3\xa9.jpg"]
    (tree / "lf.txt").write_bytes(b"\n".join(odd) + b"\n\n")
    (tree / "crlf.txt").write_bytes(b"\r\n".join(odd))
    (tree / "nul.txt").write_bytes(b"\0".join(odd) + b"\0")
    for name in ("lf.txt", "crlf.txt", "nul.txt"):
        assert [os.fsencode(source) for source in names(f"@{name}")] == odd
    with pytest.raises(UsageError, match=r"@gone\.txt"):
        names("@gone.txt")


def test_stdin_is_a_list_or_a_picture(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stdin:
        def __init__(self, data: bytes) -> None:
            self.buffer = io.BytesIO(data)

    monkeypatch.setattr(sys, "stdin", Stdin(b"in/a.png\nin/b.JPG\n"))
    assert names("-") == ["in/a.png", "in/b.JPG"]
    picture = save(tree / "real.png", photo(1)).read_bytes()
    monkeypatch.setattr(sys, "stdin", Stdin(picture))
    (item,) = items(["-"])
    assert (item.source, item.data) == ("-", picture)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may list every folder")
def test_a_folder_that_may_not_be_listed_is_an_item(tree: Path) -> None:
    (tree / "in/sub").chmod(0)
    try:
        (closed,) = (item for item in items(["in"]) if item.error)
        assert (closed.source, closed.error.code) == ("in/sub", "permission")  # type: ignore[union-attr]
    finally:
        (tree / "in/sub").chmod(0o755)


@LINUX_ONLY
def test_links_and_pipes_in_a_folder(tree: Path) -> None:
    (tree / "in/loop").symlink_to(tree / "in")
    (tree / "in/dangling.jpg").symlink_to(tree / "gone.jpg")
    os.mkfifo(tree / "in/pipe.png")
    found = names("in")
    assert "in/dangling.jpg" in found
    assert "in/pipe.png" in found
    assert not any("loop" in name for name in found)


def tar(path: Path, members: dict[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, data in members.items():
            header = tarfile.TarInfo(name)
            header.size = len(data)
            archive.addfile(header, io.BytesIO(data))
    return path


@pytest.mark.parametrize(("suffix", "mode"), [(".tar", "w"), (".tar.gz", "w:gz"), (".tgz", "w:gz")])
def test_tar_members_are_items(tree: Path, suffix: str, mode: str) -> None:
    path = tar(tree / f"shard{suffix}", {"1.jpg": b"one", "1.json": b"{}", "d/2.png": b"two"}, mode)
    found = list(items([str(path)]))
    assert [(item.source, item.data) for item in found] == [(f"{path}::1.jpg", b"one"), (f"{path}::d/2.png", b"two")]


def test_a_cut_tar_gives_what_it_holds_and_says_that_it_is_cut(tree: Path) -> None:
    path = tar(tree / "shard.tar", {f"{n}.jpg": bytes([n]) * 3000 for n in range(4)})
    path.write_bytes(path.read_bytes()[:9000])
    found = list(items([str(path)]))
    assert [item.data for item in found[:-1]] == [bytes([0]) * 3000, bytes([1]) * 3000]
    assert found[-1].error is not None
    assert found[-1].error.code == "truncated"
    (missing,) = items([str(tree / "gone.tar")])
    assert missing.error is not None
    assert missing.error.code == "not_found"


def test_parquet_rows_are_items(tree: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    rows = [{"bytes": b"one", "path": "1.jpg"}, {"bytes": None, "path": "2.jpg"}, {"bytes": b"three", "path": "3.jpg"}]
    pq.write_table(pa.table({"image": rows, "label": [1, 2, 3]}), tree / "hub.parquet")
    found = list(items(["hub.parquet"]))
    assert [item.source for item in found] == [f"hub.parquet::{row}" for row in range(3)]
    assert [item.data for item in found] == [b"one", None, b"three"]
    assert found[1].error is not None
    (tree / "bad.parquet").write_bytes(b"not parquet")
    (bad,) = items(["bad.parquet"])
    assert bad.error is not None


@pytest.mark.parametrize("text", ["", "1", "1/", "/2", "3/2", "-1/2", "1/0", "a/b", "1/2/3"])
def test_shards_that_cannot_be(text: str) -> None:
    with pytest.raises(UsageError, match="I/N"):
        parse_shard(text)


@given(
    st.lists(st.text(st.characters(min_codepoint=1, max_codepoint=0x2FFF), min_size=1), unique=True), st.integers(1, 7)
)
def test_each_source_is_in_exactly_one_shard(sources: list[str], parts: int) -> None:
    for source in sources:
        assert sum(in_shard(source, (part, parts)) for part in range(1, parts + 1)) == 1


def test_shards_are_the_same_on_every_machine() -> None:
    assert [in_shard("a/b.jpg", (part, 3)) for part in (1, 2, 3)] == [False, False, True]
    assert in_shard("caf\udce9.jpg", (1, 1))


def test_fingerprints_change_with_the_photo(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    item = Item(str(path), path)
    assert item.fingerprint() == "-"
    path.write_bytes(b"one")
    first = item.fingerprint()
    os.utime(path, ns=(1, 1))
    assert item.fingerprint() == "3:1" != first
    assert Item("x", data=b"a").fingerprint() != Item("x", data=b"b").fingerprint()
