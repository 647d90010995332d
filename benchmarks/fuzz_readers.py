"""What is fuzzed: for each reader its valid inputs, how they are damaged, and how they are read."""

from __future__ import annotations

import asyncio
import io
import random
import tarfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image, features

EDGES = (0, 1, 2, 3, 7, 8, 15, 16, 31, 32, 63, 64, 127, 128, 255)
WORDS = (
    b"nan",
    b"inf",
    b"-1",
    b"1e999",
    b"99999999999999999999",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\0",
    b"\n",
    b"\r\n",
    b",",
    b'"',
    b"'",
    b"\t",
    b"%s",
    b"{}",
    b"../",
    b"\xed\xa0\x80",
)


class Reader(Protocol):
    """One reader: a case of its own random numbers, and the outcomes of reading it."""

    def make(self, rng: random.Random) -> Any: ...
    def read(self, case: Any) -> Iterable[str]: ...


def damaged(data: bytes, rng: random.Random) -> bytes:
    """Return bytes with one to eight changes, sometimes none."""
    out = bytearray(data)
    for _ in range(rng.choice((0, 1, 1, 1, 2, 4, 8))):
        at = rng.randrange(len(out) + 1)
        kind = rng.randrange(8)
        if kind == 0 and at < len(out):
            out[at] ^= 1 << rng.randrange(8)
        elif kind == 1 and at < len(out):
            out[at] = rng.choice(EDGES)
        elif kind == 2:
            del out[at:]
        elif kind == 3:
            del out[at : at + rng.randrange(1, 40)]
        elif kind == 4:
            out[at:at] = out[at : at + rng.randrange(1, 40)]
        elif kind == 5:
            width = rng.choice((2, 4, 8))
            out[at : at + width] = rng.choice(
                (0, 1, (1 << (8 * width)) - 1, 1 << (8 * width - 1), rng.getrandbits(8 * width))
            ).to_bytes(width, "little")
        elif kind == 6:
            out[at:at] = rng.choice(WORDS)
        else:
            out[at : at + 16] = rng.randbytes(rng.randrange(16))
    return bytes(out)


class Bytes:
    """A reader of bytes: seeds are damaged, a file is written where the reader wants one."""

    def __init__(self, seeds: list[bytes], read: Callable[[bytes], Iterable[str]]) -> None:
        self.seeds, self.read = seeds, read

    def make(self, rng: random.Random) -> bytes:
        return damaged(rng.choice(self.seeds), rng)


@cache
def pictures() -> list[bytes]:
    """Return small pictures of every format that this Pillow writes."""
    rng = np.random.default_rng(0)
    colour, out = Image.fromarray(rng.integers(0, 255, (13, 11, 3), np.uint8)), []
    deep = Image.fromarray(rng.integers(0, 65535, (13, 11)).astype(np.uint16))
    exif = Image.Exif()
    exif[0x0112] = 6
    ways: list[tuple[Image.Image, dict[str, Any]]] = [
        (colour, {"format": "JPEG", "exif": exif}), (colour, {"format": "JPEG", "progressive": True}),
        (colour.convert("CMYK"), {"format": "JPEG"}), (colour, {"format": "PNG"}),
        (colour.convert("P"), {"format": "PNG", "transparency": 0}), (deep, {"format": "PNG"}),
        (colour, {"format": "GIF"}), (colour, {"format": "WEBP"}), (colour, {"format": "WEBP", "lossless": True}),
        (colour, {"format": "TIFF"}), (deep, {"format": "TIFF"}),
        (colour, {"format": "TIFF", "compression": "tiff_lzw"}), (colour, {"format": "TIFF", "compression": "jpeg"}),
        (colour, {"format": "BMP"}), (colour.convert("P"), {"format": "BMP"}),
    ]  # fmt: skip
    if features.check("avif"):
        ways.append((colour, {"format": "AVIF"}))
    for image, how in ways:
        buffer = io.BytesIO()
        image.save(buffer, **how)
        out.append(buffer.getvalue())
    return out


def images(folder: Path) -> Reader:
    from lineament.images import load_image

    def read(data: bytes) -> list[str]:
        load_image(data, max_pixels=100_000)
        return ["read"]

    return Bytes(pictures(), read)


def _items_of(path: Path, name: str = "") -> Counter[str]:
    from lineament.inputs.expand import items

    return Counter("read" if item.error is None else type(item.error).__name__ for item in items([name or str(path)]))


def tar(folder: Path) -> Reader:
    seeds = []
    for mode in ("w", "w:gz", "w:bz2", "w:xz"):
        for layout in (tarfile.USTAR_FORMAT, tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
            buffer = io.BytesIO()
            with tarfile.open(fileobj=buffer, mode=mode, format=layout) as archive:  # type: ignore[call-overload]
                for name, kind, link in (
                    ("b.jpg", b"0", ""),
                    ("a.jpg", b"1", "b.jpg"),
                    ("é/c.jpg", b"2", "../a.jpg"),
                    ("x" * (120 if layout != tarfile.USTAR_FORMAT else 80) + ".png", b"0", ""),
                ):
                    header = tarfile.TarInfo(name)
                    header.type, header.linkname, header.size = kind, link, 40 if kind == b"0" else 0
                    archive.addfile(header, io.BytesIO(b"data" * 10))
            seeds.append(buffer.getvalue()[: 12 * 512] if mode == "w" else buffer.getvalue())

    def read(data: bytes) -> Counter[str]:
        (folder / "t.tar").write_bytes(data)
        return _items_of(folder / "t.tar")

    return Bytes(seeds, read)


def zips(folder: Path) -> Reader:
    seeds = []
    for kind in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", kind) as archive:
            for name in ("a.jpg", "é\\b.png", "c.jpg"):
                archive.writestr(zipfile.ZipInfo(name), b"data" * 10, kind)
            link = zipfile.ZipInfo("l.jpg")
            link.create_system, link.external_attr = 3, 0o120777 << 16
            archive.writestr(link, "a.jpg")
        seeds.append(buffer.getvalue())

    def read(data: bytes) -> Counter[str]:
        (folder / "t.zip").write_bytes(data)
        return _items_of(folder / "t.zip")

    return Bytes(seeds, read)


def lists(folder: Path) -> Reader:
    text = "in/a.png\nфото/b.jpg\r\n写真.jpeg\n"
    seeds = [
        text.encode(encoding)
        for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be")
    ]
    seeds += [text.replace("\n", "\0").encode(), b"caf\xe9.jpg\nb.jpg"]

    def read(data: bytes) -> Counter[str]:
        from lineament.inputs.item import in_shard
        from lineament.inputs.lists import _is_list, listed

        (folder / "list.txt").write_bytes(data)
        counts = Counter([f"stdin: {'list' if _is_list(data) else 'picture'}"])
        for item in listed(data):
            in_shard(item.source, (1, 3))
            item.fingerprint()
        return counts + _items_of(folder, f"@{folder / 'list.txt'}")

    return Bytes(seeds, read)


PNG = next(data for data in pictures() if data.startswith(b"\x89PNG"))
LISTS = {
    "list_attr_celeba.txt": b"2\nSmiling Male\n000001.jpg  1 -1\n000002.jpg -1 -1\n",
    "list_eval_partition.txt": b"000001.jpg 0\n000002.jpg 1\n", "identity_CelebA.txt": b"000001.jpg 7\n000002.jpg 8\n",
    "list_attr_celeba.csv": b"image_id,Smiling,Male\n000001.jpg,1,-1\n000002.jpg,-1,-1\n",
    "list_eval_partition.csv": b"image_id,partition\n000001.jpg,0\n000002.jpg,1\n",
}  # fmt: skip


class Official:
    """CelebA's lists, one of them damaged, as text or CSV; sometimes the zip that holds everything."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.images = {f"img_align_celeba/{name}": PNG for name in ("000001.jpg", "000002.jpg")}

    def make(self, rng: random.Random) -> tuple[str, bytes]:
        if rng.random() < 0.2:
            buffer = io.BytesIO()
            with zipfile.ZipFile(buffer, "w", rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
                for name, data in (LISTS | self.images).items():
                    archive.writestr(zipfile.ZipInfo(name), data)
            return "release.zip", damaged(buffer.getvalue(), rng)
        name = rng.choice(list(LISTS))
        return name, damaged(LISTS[name].decode().encode(rng.choice(("utf-8", "utf-8", "utf-16", "utf-8-sig"))), rng)

    def read(self, case: tuple[str, bytes]) -> list[str]:
        from lineament.data import celeba
        from lineament.data.labelled import read_or_error

        name, data = case
        root = self.folder / ("zip" if name.endswith(".zip") else "csv" if name.endswith(".csv") else "txt")
        if not root.is_dir():
            for file, content in (LISTS | self.images).items():
                if root.name != "zip" and (file.endswith((root.name, ".jpg"))):
                    (root / file).parent.mkdir(parents=True, exist_ok=True)
                    (root / file).write_bytes(content)
            root.mkdir(exist_ok=True)
        (root / name).write_bytes(data)
        try:
            source = celeba.Official(root / name if root.name == "zip" else root)
            return ["read"] + [type(read_or_error(source, row)).__name__ for row in range(len(source.table))]
        finally:
            if root.name != "zip":
                (root / name).write_bytes(LISTS[name])


def _files(folder: Path, name: str, seeds: list[bytes], read: Callable[[Path], Any]) -> Reader:
    def both(data: bytes) -> list[str]:
        (folder / name).write_bytes(data)
        read(folder / name)
        return ["read"]

    return Bytes(seeds, both)


def label_tables(folder: Path) -> Reader:
    from lineament.data.table import LabelTable

    (folder / "a.png").write_bytes(PNG)
    text = "file,Smiling,MALE,identity,split\na.png,1,0,7,train\nb.png,-1,,,val\n"
    ways = [
        text.encode(),
        text.encode("utf-16"),
        text.replace(",", ";").encode("utf-8-sig"),
        b'file,Smiling\n"a.png",true\n',
    ]
    return _files(folder, "labels.csv", ways, LabelTable)


def lfwa(folder: Path) -> Reader:
    """The text layout. SciPy's reader of `.mat` ends the process (a fault in its C code) on some damaged files, so it
    is not fuzzed here."""
    from lineament.data.lfwa import LFWA

    (folder / "lfw" / "A_B").mkdir(parents=True)
    (folder / "lfw" / "A_B" / "A_B_0001.jpg").write_bytes(PNG)
    seeds = [b"2\nSmiling Male\nA_B/A_B_0001.jpg 1 -1\nA_B\\A_B_0002.jpg 0 1\n"]

    def read(data: bytes) -> list[str]:
        where = folder / "lfw_att_40.txt"
        where.write_bytes(data)
        LFWA(where)
        return ["read"]

    return Bytes(seeds, read)


def predictions(folder: Path) -> Reader:
    from lineament.evaluation.predictions import load

    rows = [
        "file,face,identity,split,sharpness,raw_Smiling,prob_Smiling,target_Smiling",
        "a.png,0,1,val,0.5,0.9,0.8,1",
        "b.png,0,,val,,,,",
    ]
    return _files(folder, "p.csv", ["\n".join(rows).encode(), "\r\n".join(rows).encode("utf-16")], load)


def boxes(folder: Path) -> Reader:
    from lineament.inputs.given_faces import GivenFaces

    table = b"source,x1,y1,x2,y2\na.jpg,1,2,30,40\nb.jpg,,,,\n"
    lines = b'{"source": "a.jpg", "x1": 1, "y1": 2, "x2": 30, "y2": 40}\n{"source": "b.jpg", "x1": null}\n'

    def read(data: bytes) -> list[str]:
        where = folder / ("b.jsonl" if data.lstrip().startswith(b"{") else "b.csv")
        where.write_bytes(data)
        GivenFaces(where)(np.zeros((50, 50, 3), np.uint8), "a.jpg")
        return ["read"]

    return Bytes([table, table.decode().encode("utf-16"), lines], read)


class Schemas:
    """Parquet tables of random types and values, read as photos, as labelled shards, as labels and as predictions."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "t.parquet"

    def make(self, rng: random.Random) -> Any:
        import pyarrow as pa

        rows = rng.randrange(4)
        names = rng.sample(
            (
                "image",
                "IMG",
                "image",
                "file",
                "path",
                "Smiling",
                "smiling",
                "raw_Smiling",
                "target_Smiling",
                "identity",
                "split",
                "face",
                "a.b",
                "",
            ),
            4,
        )
        arrays = [self._column(rng, rows) for _ in names]
        meta = rng.choice(
            (
                None,
                {b"huggingface": b"{"},
                {b"huggingface": b'{"info": {"features": {"path": {"_type": "Image"}}}}'},
                {b"lineament": b"[1]"},
            )
        )
        return pa.Table.from_arrays(arrays, names).replace_schema_metadata(meta)

    def _column(self, rng: random.Random, rows: int) -> Any:
        import pyarrow as pa

        kind = self._type(rng, 0)
        values = [None if rng.random() < 0.2 else self._value(rng, kind) for _ in range(rows)]
        try:
            return pa.array(values, kind)
        except (pa.ArrowException, ValueError, TypeError, OverflowError):
            return pa.nulls(rows)

    def _type(self, rng: random.Random, depth: int) -> Any:
        import pyarrow as pa

        plain = [
            pa.binary(), pa.large_binary(), pa.binary_view(), pa.binary(3), pa.string(), pa.large_string(),
            pa.string_view(), pa.int8(), pa.int64(), pa.uint64(), pa.float32(), pa.float64(), pa.bool_(), pa.null(),
            pa.timestamp("ns"), pa.date32(), pa.decimal128(10, 2), pa.dictionary(pa.int32(), pa.string()),
            pa.dictionary(pa.int8(), pa.binary()), pa.float16(), pa.duration("s"), pa.time64("us"),
        ]  # fmt: skip
        if depth > 2 or rng.random() < 0.6:
            return rng.choice(plain)
        inner = self._type(rng, depth + 1)
        return rng.choice(
            (
                lambda: pa.list_(inner), lambda: pa.large_list(inner), lambda: pa.list_(inner, 2),
                lambda: pa.map_(pa.string(), inner),
                lambda: pa.struct([(rng.choice(("bytes", "Bytes", "data")), inner),
                (rng.choice(("path", "PATH", "x")), self._type(rng, depth + 1))]),
            )
        )()  # fmt: skip

    def _value(self, rng: random.Random, kind: Any) -> Any:
        import pyarrow as pa

        if pa.types.is_struct(kind):
            return {
                kind.field(i).name: None if rng.random() < 0.2 else self._value(rng, kind.field(i).type)
                for i in range(kind.num_fields)
            }
        if pa.types.is_map(kind):
            return [("k", self._value(rng, kind.item_type))]
        if pa.types.is_fixed_size_list(kind):
            return [self._value(rng, kind.value_type) for _ in range(2)]
        if "list" in str(kind):
            return [self._value(rng, kind.value_type) for _ in range(rng.randrange(3))]
        text = str(kind.value_type if pa.types.is_dictionary(kind) else kind)
        if "binary" in text:
            return b"abc" if "3" in text else rng.choice((PNG, b"", b"\xff", b"text"))
        if "string" in text:
            return rng.choice(
                ("a.png", "", "1", "-1", "true", "https://a/b.png", "../x", "train", "validation", "nan", "\0")
            )
        if "int" in text:
            return rng.choice((0, 1, 7, 127))
        if "float" in text or "double" in text:
            return rng.choice((0.0, 1.0, 0.5, float("nan"), float("inf"), -1.0))
        return {"bool": True, "date32[day]": 3}.get(text, rng.choice((None, 1)))

    def read(self, case: Any) -> Counter[str]:
        import pyarrow.parquet as pq

        from lineament.data.hub_parquet import HubParquet
        from lineament.data.labelled import read_or_error
        from lineament.data.table import LabelTable
        from lineament.errors import LineamentError
        from lineament.evaluation.predictions import load

        try:
            pq.write_table(case, self.path)
        except Exception:  # noqa: BLE001 - a type that Parquet does not hold: no case
            return Counter(["not written"])
        out = _items_of(self.path)
        for how in (self._hub(HubParquet, read_or_error), LabelTable if case.num_rows % 2 else load):
            try:
                how(self.path)
                out["read"] += 1
            except LineamentError as error:
                out[type(error).__name__] += 1
        return out

    def _hub(self, kind: Any, read: Any) -> Callable[[Path], None]:
        def all_rows(path: Path) -> None:
            source = kind(path, split="val" if path.stat().st_size % 4 == 0 else "all")
            for row in range(len(source.table)):
                read(source, row)

        return all_rows


class Queries:
    """Words of the query language in random order, with odd characters between them."""

    WORDS = (
        "Smiling", "not", "and", "or", "(", ")", "^", "2", "1e9", "0.5", ">", ">=", "<", "sort by", "asc", "desc", ",",
        "male", "Smilling", "quality", "5_o_Clock_Shadow", "-", "é", "\0", "𝟙", "'", '"', "Wears glasses", "%",
        "\u202e", "without", "with", "but", "١", "1" * 400,
    )  # fmt: skip

    def make(self, rng: random.Random) -> str:
        words = rng.choices(self.WORDS, k=rng.choice((0, 1, 2, 3, 5, 8, 40)))
        return rng.choice((" ", "", " ")).join(words) * rng.choice((1, 1, 1, 30))

    def read(self, case: str) -> list[str]:
        from lineament.errors import LineamentError
        from lineament.search.query import parse, parse_change
        from lineament.search.query_tree import unparse

        out = []
        for how in (parse, parse_change):
            try:
                found = how(case)
                if how is parse:
                    parse(unparse(found))  # type: ignore[arg-type]
                out.append("read")
            except LineamentError as error:
                out.append(type(error).__name__)
        return out


class Bodies:
    """Bodies of HTTP requests, in random chunks: forms and raw photos, under random headers."""

    FORM = (
        b'--b\r\nContent-Disposition: form-data; name="files"; filename="a.jpg"\r\nContent-Type: '
        b"image/jpeg\r\n\r\ndata\r\n"
        b"--b\r\nContent-Disposition: form-data; name=\"files\"; filename*=UTF-8''%C3%A9.jpg\r\n\r\nmore\r\n--b--\r\n"
    )
    TYPES = (
        b"multipart/form-data; boundary=b",
        b"multipart/form-data",
        b"image/jpeg",
        b"",
        b"multipart/form-data; boundary=\xff",
        b"text/html",
        b"multipart/form-data; boundary=" + b"b" * 300,
    )

    def make(self, rng: random.Random) -> tuple[bytes, bytes, bytes, int]:
        kind = self.TYPES[0] if rng.random() < 0.7 else rng.choice(self.TYPES)
        length = rng.choice((b"", b"10", b"-1", b"99999999999", "١".encode(), b"x"))
        return (
            damaged(kind, rng) if rng.random() < 0.2 else kind,
            damaged(self.FORM, rng),
            length,
            rng.choice((1, 7, 1000)),
        )

    def read(self, case: tuple[bytes, bytes, bytes, int]) -> list[str]:
        from starlette.requests import Request

        from lineament.serve.body import Body, Buffer
        from lineament.serve.limits import Limits, RefusedError
        from lineament.serve.metrics import Metrics

        kind, body, length, step = case
        chunks = [body[at : at + step] for at in range(0, len(body), step)] or [b""]
        messages = iter(
            [
                {"type": "http.request", "body": chunk, "more_body": at < len(chunks) - 1}
                for at, chunk in enumerate(chunks)
            ]
        )

        async def receive() -> Any:
            return next(messages, {"type": "http.disconnect"})

        headers = [(b"content-type", kind)] + ([(b"content-length", length)] if length else [])
        limits, self.metrics = Limits(body_bytes=2_000, files=4), getattr(self, "metrics", None) or Metrics()
        request = Body(
            Request({"type": "http", "method": "POST", "headers": headers}, receive),
            limits,
            Buffer(limits, self.metrics),
        )
        try:
            uploads, _ = asyncio.run(request.read())
            return ["read"] * max(1, len(uploads))
        except RefusedError as error:
            return [f"refused {error.status}"]
        finally:
            request.close()


READERS: dict[str, Callable[[Path], Reader]] = {
    "boxes": boxes, "http": lambda folder: Bodies(), "images": images, "labels-lfwa": lfwa, "labels-official": Official,
    "labels-table": label_tables, "lists": lists, "parquet": Schemas, "predictions": predictions,
    "queries": lambda folder: Queries(), "tar": tar, "zip": zips,
}  # fmt: skip
