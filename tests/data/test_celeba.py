"""The official layout, as folder and zip, on a release the test writes; and CelebA's own facts where it is there."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lineament.data.celeba import Official
from lineament.errors import DataError


def _jpeg(level: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (178, 218), (level, level, level)).save(buffer, "JPEG")
    return buffer.getvalue()


def _release(root: Path) -> None:
    images = root / "img_align_celeba"
    images.mkdir(parents=True)
    (root / "list_attr_celeba.txt").write_text("4\nSmiling Male \na.jpg  1 -1\nb.jpg -1 -1\nc.jpg -1  1\nd.jpg  1  1\n")
    (root / "list_eval_partition.txt").write_text("a.jpg 0\nb.jpg 1\nc.jpg 1\nd.jpg 2\n")
    (root / "identity_CelebA.txt").write_text("a.jpg 7\nb.jpg 8\nc.jpg 8\nd.jpg 9\n")
    for level, name in enumerate("abd"):  # c is listed and missing
        (images / f"{name}.jpg").write_bytes(_jpeg(level * 20))


def test_a_folder_gives_the_rows_that_have_both_and_counts_the_rest(tmp_path: Path) -> None:
    _release(tmp_path)
    whole = Official(tmp_path)
    assert whole.table.files == ("a.jpg", "b.jpg", "d.jpg")
    assert whole.table.missing == 1
    np.testing.assert_array_equal(whole.table.targets, [[1, 0], [0, 0], [1, 1]])
    assert list(whole.table.split) == ["train", "val", "test"]
    assert whole.read_bytes(2) == _jpeg(40)
    val = Official(tmp_path, "val").table
    assert (val.files, val.missing, list(val.identity)) == (("b.jpg",), 1, [8])


def test_a_zip_and_a_folder_say_the_same(tmp_path: Path) -> None:
    _release(tmp_path / "celeba")
    archive = tmp_path / "celeba.zip"
    with zipfile.ZipFile(archive, "w") as out:
        for file in sorted((tmp_path / "celeba").rglob("*")):
            if file.is_file():
                out.write(file, file.relative_to(tmp_path))
    packed, folder = Official(archive), Official(tmp_path / "celeba")
    assert packed.table.fingerprint() == folder.table.fingerprint()
    assert packed.read_bytes(1) == folder.read_bytes(1)


def test_images_may_stay_in_their_own_zip(tmp_path: Path) -> None:
    _release(tmp_path)
    with zipfile.ZipFile(tmp_path / "img_align_celeba.zip", "w") as out:
        for file in (tmp_path / "img_align_celeba").iterdir():
            out.write(file, f"img_align_celeba/{file.name}")
            file.unlink()
    (tmp_path / "img_align_celeba").rmdir()
    assert Official(tmp_path).read_bytes(0) == _jpeg(0)


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        ("list_attr_celeba.txt", "1\nSmiling Male\na.jpg 1 0\n", "line 3"),
        ("list_attr_celeba.txt", "1\nSmiling Male\na.jpg 1\n", "line 3"),
        ("list_eval_partition.txt", "a.jpg zero\n", "FILE NUMBER"),
    ],
)
def test_a_malformed_list_names_its_line(tmp_path: Path, file: str, text: str, words: str) -> None:
    _release(tmp_path)
    (tmp_path / file).write_text(text)
    with pytest.raises(DataError, match=words):
        Official(tmp_path)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    _release(tmp_path)
    (tmp_path / "list_eval_partition.txt").unlink()
    assert Official(tmp_path).table.split is None
    with pytest.raises(DataError, match="--split all"):
        Official(tmp_path, "val")
    with pytest.raises(DataError, match="Unknown split"):
        Official(tmp_path, "dev")
    with pytest.raises(DataError, match="No CelebA release"):
        Official(tmp_path / "nowhere")


@pytest.mark.data
def test_celebas_own_validation_images(data_dir: Path) -> None:
    table = Official(data_dir / "celeba" / "official", "val").table
    assert (len(table), table.missing, len(table.attributes)) == (5185, 0, 40)
    majority = np.maximum(table.targets.mean(0), 1 - table.targets.mean(0)).mean()
    assert 0.79 < majority < 0.82
