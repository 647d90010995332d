"""Drawn faces: repeatable, labelled exactly, readable in every layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lineament.data.celeba import Official
from lineament.data.regions import GROUPS
from lineament.data.synthetic import NOT_DRAWN, SyntheticSource, attributes_of, make, synthetic_table
from lineament.data.synthetic_files import DRAWN, write_arrays, write_official, write_parquet, write_table
from lineament.data.table import LabelTable
from lineament.images import load_image
from lineament.schema import CELEBA_40

FACES = make(9, seed=2)


def test_face_depends_on_seed_and_row_only() -> None:
    again = make(4, seed=2)
    for name in ("crops", "targets", "landmarks", "regions"):
        assert np.array_equal(getattr(FACES, name)[:4], getattr(again, name)), name
    assert not np.array_equal(make(2, seed=3).crops, FACES.crops[:2])
    assert len(make(0)) == 0


def test_shapes_and_ranges() -> None:
    assert FACES.crops.shape == (9, 3, 218, 178)
    assert FACES.crops.dtype == np.uint8
    assert FACES.landmarks.shape == (9, 68, 2)
    assert ((FACES.landmarks >= 0) & (FACES.landmarks <= [178, 218])).all()
    assert FACES.regions.shape == (9, 8, 218, 178)
    assert (FACES.crops.reshape(9, -1).std(1) > 20).all()


def test_keypoints_lie_in_their_regions() -> None:
    eyes, mouth, nose = GROUPS.index("Eyes"), GROUPS.index("Mouth"), GROUPS.index("Nose")
    for points, region in zip(FACES.keypoints, FACES.regions, strict=True):
        for point, group in ((points[0], eyes), (points[1], eyes), (points[2], nose), (points[3:].mean(0), mouth)):
            x, y = np.floor(point).astype(int)
            assert region[group, y - 2 : y + 3, x - 2 : x + 3].any()
        assert points[0, 0] < points[1, 0], "the subject's right eye is on the picture's left"


def test_labels_follow_their_own_logic() -> None:
    table = synthetic_table(400, seed=7)
    has = {name: table.targets[:, i].astype(bool) for i, name in enumerate(CELEBA_40)}
    known = {name: table.known[:, i].all() for i, name in enumerate(CELEBA_40)}
    assert {name for name, all_known in known.items() if not all_known} == set(NOT_DRAWN)
    beard = has["5_o_Clock_Shadow"] | has["Goatee"] | has["Mustache"] | has["Sideburns"]
    assert np.array_equal(has["No_Beard"], ~beard)
    assert sum(has[name].astype(int) for name in ("Black_Hair", "Blond_Hair", "Brown_Hair", "Gray_Hair")).max() == 1
    assert not (has["Bald"] & has["Bangs"]).any()
    assert has["Wearing_Lipstick"][has["Heavy_Makeup"]].all()
    for name in DRAWN:
        assert 0 < has[name].mean() < 1, f"{name} never varies"


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("Eyeglasses", "Eyes"),
        ("Wearing_Lipstick", "Mouth"),
        ("Wearing_Hat", "Hair"),
        ("Wearing_Earrings", "Ear"),
        ("Goatee", "Lower Face"),
    ],
)
def test_attribute_changes_its_own_region(name: str, group: str) -> None:
    """Toggling one attribute of one face changes pixels in or beside that attribute's region."""
    from lineament.data.portrait import portrait

    has = dict.fromkeys(CELEBA_40, False) | {"Brown_Hair": True, name: False}
    without, _, _ = portrait(has, (0, 1))
    with_it, _, region = portrait(has | {name: True}, (0, 1))
    changed = np.abs(with_it.astype(int) - without).max(2) > 40
    place = region[GROUPS.index(group)]
    assert changed.any()
    assert (changed & place).sum() > 0.05 * changed.sum()


def test_source_reads_what_make_draws() -> None:
    source = SyntheticSource(9, seed=2)
    assert np.array_equal(load_image(source.read_bytes(5)).pixels.transpose(2, 0, 1), FACES.crops[5])
    assert np.array_equal(source.table.targets, FACES.targets)
    val = SyntheticSource(60, seed=2, split="val")
    assert 0 < len(val.table) < 60
    assert set(val.table.split) == {"val"}
    row = int(val.table.files[0].removesuffix(".png"))
    assert val.table.targets[0, CELEBA_40.index("Smiling")] == attributes_of(row, 2)["Smiling"]


def test_layouts_round_trip(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    from lineament.data.hub_parquet import HubParquet

    readers = {
        "official": Official(write_official(tmp_path / "official", FACES)),
        "parquet": HubParquet(write_parquet(tmp_path / "parquet", FACES)),
        "csv": LabelTable(write_table(tmp_path / "csv" / "labels.csv", FACES)),
    }
    for name, reader in readers.items():
        columns = [CELEBA_40.index(attribute) for attribute in reader.table.attributes]
        known = FACES.known[:, columns]
        assert np.array_equal(reader.table.known, known), name
        assert np.array_equal(reader.table.targets[known], FACES.targets[:, columns][known]), name
        assert np.array_equal(reader.table.identity, FACES.identity), name
        pixels = load_image(reader.read_bytes(3)).pixels.transpose(2, 0, 1).astype(int)
        assert np.abs(pixels - FACES.crops[3]).mean() < 6, name


def test_arrays_are_what_training_reads(tmp_path: Path) -> None:
    regions, landmarks = (np.load(path) for path in write_arrays(tmp_path, FACES))
    assert regions.shape == (9, 8, 109, 89)
    assert np.abs(regions.mean((2, 3)) / 255 - FACES.regions.mean((2, 3))).max() < 0.01
    np.testing.assert_allclose(landmarks * [178, 218], FACES.keypoints, atol=1e-3)
