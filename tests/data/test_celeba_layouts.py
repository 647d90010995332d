"""CelebA as its authors, torchvision and the CSV copies lay it out, packed and unpacked, by every tool and in every
encoding."""

from __future__ import annotations

import io
import struct
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from lineament.data.celeba import Official
from lineament.errors import DataError, UnreadableError

NAMES = ("000001.jpg", "000002.jpg", "000003.jpg")
ATTRIBUTES = "3\nSmiling Male\n000001.jpg  1 -1\n000002.jpg -1 -1\n000003.jpg -1  1\n"
PARTS = "000001.jpg 0\n000002.jpg 1\n000003.jpg 2\n"
PEOPLE = "000001.jpg 7\n000002.jpg 8\n000003.jpg 9\n"
LISTS = {"list_attr_celeba.txt": ATTRIBUTES, "list_eval_partition.txt": PARTS, "identity_CelebA.txt": PEOPLE}


def picture(level: int, kind: str = "JPEG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (178, 218), (level, level, level)).save(buffer, kind)
    return buffer.getvalue()


IMAGES = {name: picture(level * 20) for level, name in enumerate(NAMES)}


def put(root: Path, files: dict[str, bytes | str]) -> Path:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data.encode() if isinstance(data, str) else data)
    return root


def packed(files: dict[str, bytes | str], kind: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", kind) as archive:
        for name, data in files.items():
            info = zipfile.ZipInfo(name)
            info.filename = name
            archive.writestr(info, data, kind)
    return buffer.getvalue()


def csv_of(text: str, header: str) -> str:
    return header + "\n" + "".join(",".join(line.split()) + "\n" for line in text.splitlines())


def below(folder: str, files: dict[str, bytes] = IMAGES) -> dict[str, bytes | str]:
    return {f"{folder}/{name}": data for name, data in files.items()}


AUTHORS = {
    "Anno/list_attr_celeba.txt": ATTRIBUTES,
    "Anno/identity_CelebA.txt": PEOPLE,
    "Eval/list_eval_partition.txt": PARTS,
    "README.txt": "x",
}
COPIES = {
    "list_attr_celeba.csv": csv_of("\n".join(ATTRIBUTES.splitlines()[2:]), "image_id,Smiling,Male"),
    "list_eval_partition.csv": csv_of(PARTS, "image_id,partition"),
    "identity_CelebA.csv": csv_of(PEOPLE, "image_id,identity"),
    "list_bbox_celeba.csv": "image_id,x_1,y_1,width,height\n",
}  # fmt: skip
PNGS = {f"{Path(name).stem}.png": picture(level * 20, "PNG") for level, name in enumerate(NAMES)}
BESIDE: dict[str, bytes | str] = {"._list_attr_celeba.txt": b"\0\5\26\7", "img_align_celeba/._000001.jpg": b""}
LAYOUTS: dict[str, dict[str, bytes | str]] = {
    "authors": AUTHORS | {"Img/img_align_celeba.zip": packed(below("img_align_celeba"))},
    "authors_unpacked": AUTHORS | below("Img/img_align_celeba"),
    "authors_below": {f"CelebA/{name}": data for name, data in (AUTHORS | below("Img/img_align_celeba")).items()},
    "authors_png": AUTHORS | below("Img/img_align_celeba_png",
    PNGS) | {"Img/img_align_celeba_png.7z/img_align_celeba_png.7z.001": b"7z"},
    "torchvision": {f"celeba/{name}": data for name, data in (LISTS | below("img_align_celeba")).items()},
    "torchvision_packed": {f"celeba/{name}": data for name,
    data in (LISTS | {"img_align_celeba.zip": packed(below("img_align_celeba"))}).items()},
    "torchvision_not_unpacked": LISTS | {"img_align_celeba/.keep": b"",
    "img_align_celeba.zip": packed(below("img_align_celeba"))},
    "csv_copies": COPIES | below("img_align_celeba/img_align_celeba"),
    "csv_zeros": {key: str(data).replace("-1", "0") for key, data in COPIES.items()} | below("img_align_celeba"),
    "no_count": LISTS | {"list_attr_celeba.txt": ATTRIBUTES.partition("\n")[2]} | below("img_align_celeba"),
    "companions": LISTS | below("img_align_celeba") | below("img_align_celeba/@eaDir") | BESIDE,
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("how", ["folder", "zip", "zip_with_folder", "backslashes"])
def test_every_layout_says_the_same(tmp_path: Path, layout: str, how: str) -> None:
    files = LAYOUTS[layout]
    if how == "folder":
        root = put(tmp_path / "release", files)
    else:
        prefix = "release/" if how == "zip_with_folder" else ""
        change = {
            f"{prefix}{name}".replace("/", "\\" if how == "backslashes" else "/"): data for name, data in files.items()
        }
        root = (
            put(tmp_path, {"release.zip": packed(change | {"__MACOSX/release/._list_attr_celeba.txt": b"x"})})
            / "release.zip"
        )
    whole = Official(root)
    assert whole.table.files == NAMES
    assert whole.table.missing == 0
    assert whole.table.attributes == ("Smiling", "Male")
    assert whole.table.targets.tolist() == [[1, 0], [0, 0], [0, 1]]
    assert whole.table.split is not None
    assert whole.table.split.tolist() == ["train", "val", "test"]
    assert whole.table.identity is not None
    assert whole.table.identity.tolist() == [7, 8, 9]
    expected = list((PNGS if "png" in layout else IMAGES).values())
    assert [whole.read_bytes(row) for row in range(3)] == expected
    assert Official(root, "val").table.files == ("000002.jpg",)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("lists", ["text", "csv"])
def test_lists_in_every_encoding(tmp_path: Path, encoding: str, end: str, lists: str) -> None:
    files = LISTS if lists == "text" else COPIES
    root = put(
        tmp_path,
        {name: str(text).replace("\n", end).encode(encoding) for name, text in files.items()}
        | below("img_align_celeba"),
    )
    table = Official(root).table
    assert (table.files, table.missing, table.attributes) == (NAMES, 0, ("Smiling", "Male"))
    assert Official(root, "train").table.files == NAMES[:1]


def locked(data: bytes) -> bytes:
    out = bytearray(data)
    for mark, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = out.find(mark)
        while at >= 0:
            struct.pack_into("<H", out, at + flags, struct.unpack_from("<H", out, at + flags)[0] | 1)
            at = out.find(mark, at + 4)
    return bytes(out)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"release.zip": locked(packed(LISTS | below("img_align_celeba")))}, "encrypted"),
        (LISTS | {"img_align_celeba.zip": locked(packed(below("x")))}, "3 images in .* are encrypted"),
        (LISTS | {"img_align_celeba.zip": b"PK\x03\x04 no zip"}, "no zip archive, or damaged"),
        (AUTHORS | {"Img/img_align_celeba_png.7z/img_align_celeba_png.7z.001": b"7z"}, (
            r"7z archive.*Unpack it \(7z x .*img_align_celeba_png"
        )),
        ({"release.7z": b"7z\xbc\xaf\x27\x1c"}, "7z x"),
        ({"release.zip": packed(LISTS | {"img_align_celeba.zip": packed(below("x"))}, zipfile.ZIP_DEFLATED)},
        "packed twice"),
        (LISTS, "belong in one of them"),
        (below("img_align_celeba"), "list_attr_celeba.txt is missing"),
        (LISTS | {"list_attr_celeba.txt": ""} | below("img_align_celeba"), "list_attr_celeba.txt is empty"),
        (LISTS | {"list_attr_celeba.txt": "0\n"} | below("img_align_celeba"), "list_attr_celeba.txt is empty"),
        (COPIES | {"list_attr_celeba.csv": ""} | below("img_align_celeba"), "list_attr_celeba.csv is empty"),
        (LISTS | {"list_attr_celeba.txt": "1\nSmiling Smiling\n"} | below("img_align_celeba"), "twice"),
        (LISTS | {"list_eval_partition.txt": "000001.jpg 3\n"} | below("img_align_celeba"), "has the part 3"),
        (LISTS | {"list_eval_partition.txt": "000001.jpg 0 1\n"} | below("img_align_celeba"), "line 1.*FILE NUMBER"),
        (LISTS | {"identity_CelebA.txt": f"000001.jpg {10**30}\n"} | below("img_align_celeba"), "line 1.*FILE NUMBER"),
        (COPIES | {"list_attr_celeba.csv": "image_id,A\na.jpg,1\nb.jpg,0\nc.jpg,-1\n"} | below("img_align_celeba"),
        "line 3"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_one_sentence(tmp_path: Path, files: dict[str, bytes | str], words: str) -> None:
    put(tmp_path, files)
    single = [name for name in files if name.startswith("release.")]
    with pytest.raises(DataError, match=words):
        Official(tmp_path / single[0] if single else tmp_path)


@pytest.mark.parametrize("word", ["validation", "valid", "dev", "Validation"])
def test_a_split_by_another_name_is_told_the_right_one(tmp_path: Path, word: str) -> None:
    put(tmp_path, LISTS | below("img_align_celeba"))
    with pytest.raises(DataError, match="use --split val"):
        Official(tmp_path, word)


def test_images_kept_elsewhere(tmp_path: Path) -> None:
    put(tmp_path / "lists", LISTS)
    put(tmp_path / "photos", IMAGES)
    put(tmp_path, {"photos.zip": packed(below("deep/er"))})
    for images in ("photos", "photos.zip"):
        source = Official(tmp_path / "lists", images=tmp_path / images)
        assert [source.read_bytes(row) for row in range(3)] == list(IMAGES.values())


def test_a_damaged_image_in_a_zip_is_one_unreadable_image(tmp_path: Path) -> None:
    data = packed(below("img_align_celeba"))
    put(
        tmp_path,
        LISTS | {"img_align_celeba.zip": data.replace(IMAGES["000002.jpg"], b"\0" * len(IMAGES["000002.jpg"]))},
    )
    source = Official(tmp_path)
    assert source.read_bytes(0) == IMAGES["000001.jpg"]
    with pytest.raises(UnreadableError, match=r"000002.jpg .* is damaged"):
        source.read_bytes(1)
