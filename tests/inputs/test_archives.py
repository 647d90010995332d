"""Archives: every compression, links, companions, zips of every origin; damaged members are records."""

from __future__ import annotations

import io
import struct
import tarfile
import zipfile
from pathlib import Path

import pytest

from lineament.inputs.expand import items
from lineament.search.photo_list import list_photos


def found(path: Path) -> list[tuple[str, bytes | str]]:
    """Return (member, data or error code) of each item of an archive."""
    out = []
    for item in items([str(path)]):
        out.append(
            (item.source.removeprefix(f"{path}::"), item.error.code if item.error is not None else bytes(item.data))
        )
    return out


def write_tar(path: Path, members: list[tuple[str, bytes | None, bytes, str]], mode: str = "w") -> Path:
    """Write members (name, data, type, link name)."""
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, data, kind, link in members:
            header = tarfile.TarInfo(name)
            header.type, header.linkname, header.size = kind, link, len(data or b"")
            archive.addfile(header, io.BytesIO(data or b""))
    return path


LINKS = [
    ("./b.jpg", b"one", tarfile.REGTYPE, ""),
    ("./a.jpg", None, tarfile.LNKTYPE, "./b.jpg"),
    ("./c.jpg", None, tarfile.SYMTYPE, "a.jpg"),
    ("d/e.png", None, tarfile.SYMTYPE, "../later.png"),
    ("later.png", b"two", tarfile.REGTYPE, ""),
]


@pytest.mark.parametrize(
    ("suffix", "mode"),
    [
        (".tar", "w"), (".tar.gz", "w:gz"), (".tgz", "w:gz"), (".tar.bz2", "w:bz2"), (".tbz2", "w:bz2"),
        (".tar.xz", "w:xz"), (".txz", "w:xz"), (".TAR.XZ", "w:xz"), (".tar", "w:xz"),
    ],
)  # fmt: skip
def test_links_are_photos_in_every_compression(tmp_path: Path, suffix: str, mode: str) -> None:
    path = write_tar(tmp_path / f"shard{suffix}", LINKS, mode)
    expected = {"./b.jpg": b"one", "./a.jpg": b"one", "./c.jpg": b"one", "d/e.png": b"two", "later.png": b"two"}
    assert dict(found(path)) == expected
    assert len(found(path)) == len(expected)


def test_links_that_lead_nowhere_are_records(tmp_path: Path) -> None:
    members = [
        ("a.jpg", None, tarfile.SYMTYPE, "b.jpg"), ("b.jpg", None, tarfile.SYMTYPE, "a.jpg"),
        ("c.jpg", None, tarfile.SYMTYPE, "/etc/passwd"), ("d.jpg", None, tarfile.LNKTYPE, "gone.jpg"),
        ("e.jpg", b"one", tarfile.REGTYPE, ""), ("folder", None, tarfile.SYMTYPE, "gone"),
    ]  # fmt: skip
    expected = {"a.jpg": "not_found", "b.jpg": "not_found", "c.jpg": "not_found", "d.jpg": "not_found", "e.jpg": b"one"}
    assert dict(found(write_tar(tmp_path / "links.tar", members))) == expected


HIDDEN = ["._a.jpg", "in/._a.jpg", ".thumbs/a.jpg", "in/@eaDir/a.jpg/SYNOPHOTO_THUMB_M.jpg", "__MACOSX/a.jpg"]


def test_one_rule_for_companions_in_folders_archives_and_indexes(tmp_path: Path) -> None:
    names = ["a.jpg", "in/b.jpg", *HIDDEN]
    for name in names:
        (tmp_path / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tree" / name).write_bytes(b"x")
    packed = write_tar(tmp_path / "all.tar", [(name, b"x", tarfile.REGTYPE, "") for name in names])
    zipped = write_zip(tmp_path / "all.zip", dict.fromkeys(names, b"x"))
    assert [name for name, _ in found(packed)] == [name for name, _ in found(zipped)] == ["a.jpg", "in/b.jpg"]
    assert [item.source for item in items([str(tmp_path / "tree")])] == [
        str(tmp_path / "tree" / name) for name in ("a.jpg", "in/b.jpg")
    ]
    assert [photo.relative for photo in list_photos(tmp_path / "tree").photos] == [b"a.jpg", b"in/b.jpg"]
    assert [item.source for item in items([str(tmp_path / "tree/**/*.jpg")])] == [
        str(tmp_path / "tree" / name) for name in ("a.jpg", "in/b.jpg")
    ]
    named = str(tmp_path / "tree" / "._a.jpg")
    assert [item.source for item in items([named])] == [named], "a file named by itself is tried"
    assert len(list(items([str(tmp_path / "tree" / "in/@eaDir/a.jpg/*.jpg")]))) == 1, (
        "what a pattern spells out is meant"
    )


def write_zip(path: Path, members: dict[str, bytes], kind: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", kind) as archive:
        for name, data in members.items():
            info = zipfile.ZipInfo(name)
            info.filename = name  # as written, backslashes included
            archive.writestr(info, data, kind)
    return path


@pytest.mark.parametrize("kind", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_zip_members_are_items(tmp_path: Path, kind: int) -> None:
    path = write_zip(
        tmp_path / "album.zip", {"1.jpg": b"one", "1.txt": b"no", "d\\2.PNG": b"two", "straße.jpg": b"three"}, kind
    )
    assert found(path) == [("1.jpg", b"one"), ("d/2.PNG", b"two"), ("straße.jpg", b"three")]


def encrypted(data: bytes) -> bytes:
    """Return a zip whose members all say that they are encrypted (bit 0 of their flags)."""
    out = bytearray(data)
    for mark, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = out.find(mark)
        while at >= 0:
            struct.pack_into("<H", out, at + flags, struct.unpack_from("<H", out, at + flags)[0] | 1)
            at = out.find(mark, at + 4)
    return bytes(out)


def test_an_encrypted_zip_is_one_clear_sentence(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "album.zip", {"1.jpg": b"one", "2.jpg": b"two"})
    path.write_bytes(encrypted(path.read_bytes()))
    (item,) = items([str(path)])
    assert item.error is not None
    assert "2 of the 2 photos in this zip are encrypted" in str(item.error)


def test_a_damaged_member_of_a_zip_is_a_record_and_the_next_is_read(tmp_path: Path) -> None:
    path = write_zip(
        tmp_path / "album.zip", {"1.jpg": b"1" * 500, "2.jpg": b"two", "3.jpg": b"three"}, zipfile.ZIP_STORED
    )
    data = path.read_bytes()
    path.write_bytes(data.replace(b"1" * 500, b"1" * 499 + b"2"))
    assert found(path) == [("1.jpg", "truncated"), ("2.jpg", b"two"), ("3.jpg", b"three")]
    path.write_bytes(data[: len(data) // 2])
    (item,) = items([str(path)])
    assert item.error is not None
    assert item.error.code == "truncated"


def test_links_in_a_zip(tmp_path: Path) -> None:
    path = tmp_path / "links.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("in/a.jpg", b"one")
        for name, target in (("in/b.jpg", "a.jpg"), ("c.jpg", "in/b.jpg"), ("d.jpg", "gone.jpg"), ("e.jpg", "e.jpg")):
            info = zipfile.ZipInfo(name)
            info.create_system, info.external_attr = 3, 0o120777 << 16
            archive.writestr(info, target)
    expected = [
        ("in/a.jpg", b"one"),
        ("in/b.jpg", b"one"),
        ("c.jpg", b"one"),
        ("d.jpg", "not_found"),
        ("e.jpg", "not_found"),
    ]
    assert found(path) == expected


def test_what_is_no_archive_says_so_in_one_line(tmp_path: Path) -> None:
    for name, data in (
        ("text.tar", b"no tar\n" * 300),
        ("z.tar.zst", b"\x28\xb5\x2f\xfd" + bytes(40)),
        ("text.zip", b"text"),
        ("e.tgz", b""),
    ):
        (tmp_path / name).write_bytes(data)
        (item,) = items([str(tmp_path / name)])
        assert item.error is not None
        assert "\n" not in str(item.error)
        assert item.error.code in ("truncated", "unsupported")
