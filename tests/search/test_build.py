"""The index stays true to its folder, does only the work that changed, and survives being killed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("duckdb")

from lineament.errors import DataError, UsageError
from lineament.search.build import build_index
from lineament.search.photo_list import list_photos
from lineament.types import Report
from tests.search_toys import ToyModel, contents, photo

MANY = 12


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i in range(MANY):
        photo(tmp_path / "photos" / f"d{i % 3}" / f"IMG_{i:03}.jpg", i)
    (tmp_path / "photos" / "notes.txt").write_text("not a photo")
    photo(tmp_path / "photos" / ".thumbnails" / "x.jpg", 99)
    return tmp_path / "photos"


def fresh(folder: Path, db: Path) -> list[tuple[object, ...]]:
    build_index(folder, db, ToyModel())
    return contents(db)


def test_first_run_holds_what_the_model_said(folder: Path, tmp_path: Path) -> None:
    model = ToyModel()
    summary = build_index(folder, tmp_path / "a.duckdb", model, batch=5)
    reports = [model.analyze_path(p.path) for p in list_photos(folder).photos]
    assert (summary.added, summary.changed, summary.unchanged, summary.removed, summary.failed) == (MANY, 0, 0, 0, 0)
    assert summary.faces == sum(len(r.faces) for r in reports) > 3
    rows = [row for row in contents(tmp_path / "a.duckdb") if row[8] is not None]
    expected = np.array([[a.prob for a in f.attributes.values()] for r in reports for f in r.faces], np.float32)
    np.testing.assert_array_equal(np.array([row[-40:] for row in rows], np.float32), expected)


def test_second_run_does_nothing(folder: Path, tmp_path: Path) -> None:
    db, model = tmp_path / "a.duckdb", ToyModel()
    build_index(folder, db, model)
    before = contents(db)
    model.calls[0] = 0
    summary = build_index(folder, db, model)
    assert (model.calls[0], summary.unchanged, summary.added + summary.changed + summary.removed) == (0, MANY, 0)
    assert contents(db) == before


def test_added_changed_renamed_deleted_and_touched_equal_a_fresh_index(folder: Path, tmp_path: Path) -> None:
    db, model = tmp_path / "a.duckdb", ToyModel()
    build_index(folder, db, model)
    photo(folder / "d9" / "new.jpg", 50)
    photo(folder / "d0" / "IMG_000.jpg", 51)
    (folder / "d1" / "IMG_001.jpg").unlink()
    shutil.move(folder / "d2" / "IMG_002.jpg", folder / "d2" / "renamed.jpg")
    os.utime(folder / "d0" / "IMG_003.jpg", ns=(1, 1))
    model.calls[0] = 0
    summary = build_index(folder, db, model, batch=1)
    assert model.calls[0] == 2  # the new one and the changed one; the renamed and the touched one keep their answers
    assert (summary.added, summary.changed, summary.known, summary.removed) == (2, 2, 2, 2)
    assert contents(db) == fresh(folder, tmp_path / "b.duckdb")


def test_known_bytes_whose_rows_were_just_replaced_are_analysed_again(folder: Path, tmp_path: Path) -> None:
    db, model = tmp_path / "a.duckdb", ToyModel()
    build_index(folder, db, model)
    shutil.copy(folder / "d0" / "IMG_000.jpg", folder / "d2" / "zz.jpg")
    photo(folder / "d0" / "IMG_000.jpg", 77)
    build_index(folder, db, model, batch=1)
    assert contents(db) == fresh(folder, tmp_path / "b.duckdb")


def test_same_size_and_time_but_other_bytes_needs_verify(folder: Path, tmp_path: Path) -> None:
    db, path = tmp_path / "a.duckdb", folder / "d0" / "IMG_000.jpg"
    build_index(folder, db, ToyModel())
    data, seen = bytearray(path.read_bytes()), path.stat()
    data[-3] ^= 0xFF
    path.write_bytes(data)
    os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    assert build_index(folder, db, ToyModel()).changed == 0
    model = ToyModel()
    assert build_index(folder, db, model, verify=True).changed == MANY
    assert model.calls[0] == 1


def test_failures_are_kept_and_tried_again_only_when_asked_or_changed(folder: Path, tmp_path: Path) -> None:
    db, bad, model = tmp_path / "a.duckdb", folder / "bad.jpg", ToyModel()
    bad.write_bytes(b"BAD")
    assert build_index(folder, db, model).failed == 1
    model.calls[0] = 0
    assert build_index(folder, db, model).failed == 1
    os.utime(bad, ns=(5, 5))
    assert build_index(folder, db, model).failed == 1
    assert model.calls[0] == 0
    assert build_index(folder, db, model, retry_failed=True).failed == 1
    assert model.calls[0] == 1
    photo(bad, 3000)
    assert build_index(folder, db, model).failed == 0


def test_another_model_is_refused_unless_rebuilt(folder: Path, tmp_path: Path) -> None:
    db = tmp_path / "a.duckdb"
    before = fresh(folder, db)
    with pytest.raises(UsageError, match=r"made with toy@00000000.*--rebuild"):
        build_index(folder, db, ToyModel("toy@11111111"))
    assert contents(db) == before
    assert build_index(folder, db, ToyModel("toy@11111111"), rebuild=True).added == MANY


def test_an_index_of_an_older_version_says_rebuild_and_rebuilds(folder: Path, tmp_path: Path) -> None:
    import duckdb

    db = tmp_path / "a.duckdb"
    fresh(folder, db)
    with duckdb.connect(str(db)) as con:
        con.execute("UPDATE meta SET value = '1' WHERE key = 'schema'")
    with pytest.raises(DataError, match=r"schema 1.*--rebuild"):
        build_index(folder, db, ToyModel())
    assert build_index(folder, db, ToyModel(), rebuild=True).added == MANY


def test_a_model_with_a_narrow_profile_is_refused(folder: Path, tmp_path: Path) -> None:
    model = ToyModel(attributes=("Smiling", "Bald"))
    model.card = ToyModel().card
    with pytest.raises(UsageError, match="profile='all'"):
        build_index(folder, tmp_path / "a.duckdb", model)


def test_a_probability_that_is_none_is_refused(folder: Path, tmp_path: Path) -> None:
    class Broken(ToyModel):
        def analyze_path(self, path: str) -> Report:
            from tests.search_toys import face

            return Report(path, "ok", self.id, "all", (face(np.full(40, np.nan)),))

    with pytest.raises(UsageError, match=r"outside 0\.\.1"):
        build_index(folder, tmp_path / "a.duckdb", Broken())
    assert contents(tmp_path / "a.duckdb") == []


def test_an_emptied_folder_needs_prune(folder: Path, tmp_path: Path) -> None:
    db = tmp_path / "a.duckdb"
    before = fresh(folder, db)
    shutil.rmtree(folder)
    folder.mkdir()
    with pytest.raises(UsageError, match=r"not mounted.*--prune"):
        build_index(folder, db, ToyModel())
    assert contents(db) == before
    assert build_index(folder, db, ToyModel(), prune=True).removed == MANY
    assert contents(db) == []


def test_two_folders_share_an_index_but_not_nested_ones(folder: Path, tmp_path: Path) -> None:
    db = tmp_path / "a.duckdb"
    photo(tmp_path / "other" / "x.jpg", 1000)
    build_index(folder, db, ToyModel())
    assert build_index(tmp_path / "other", db, ToyModel()).added == 1
    assert build_index(folder, db, ToyModel()).unchanged == MANY
    for nested in (folder / "d0", tmp_path):
        with pytest.raises(UsageError, match="lie in each other"):
            build_index(nested, db, ToyModel())


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX file names")
def test_undecodable_names_survive(tmp_path: Path) -> None:
    name = b"caf\xe9 \xff.jpg"
    root = tmp_path / "photos"
    photo(root / "plain.jpg", 1)
    try:
        (root / "plain.jpg").rename(root / os.fsdecode(name))
    except OSError:
        pytest.skip("this file system refuses undecodable names")
    rows = fresh(root, tmp_path / "a.duckdb")
    assert bytes(rows[0][0]) == name  # type: ignore[call-overload]
    assert build_index(root, tmp_path / "a.duckdb", ToyModel()).unchanged == 1


class Stops(ToyModel):
    """Stops the run with Ctrl-C after a few photos."""

    def stream(self, sources: Iterable[str], /, *, after: Callable[[Report], None]) -> Iterator[Report]:
        for i, report in enumerate(super().stream(sources, after=after)):
            if i == 7:
                raise KeyboardInterrupt
            yield report


def test_ctrl_c_keeps_what_is_answered(folder: Path, tmp_path: Path) -> None:
    db = tmp_path / "a.duckdb"
    with pytest.raises(KeyboardInterrupt):
        build_index(folder, db, Stops(), batch=100)
    assert build_index(folder, db, ToyModel()).unchanged == 7
    assert contents(db) == fresh(folder, tmp_path / "b.duckdb")


_VICTIM = """
import sys, time
from tests.search_toys import ToyModel
from lineament.search.build import build_index
class Slow(ToyModel):
    def analyze_path(self, path):
        time.sleep(0.03)
        return super().analyze_path(path)
build_index(sys.argv[1], sys.argv[2], Slow(), batch=2, progress=lambda done, total: print(done, flush=True))
"""


@pytest.mark.parametrize("after", [1, 6])
def test_kill_9_is_harmless(folder: Path, tmp_path: Path, after: int) -> None:
    db = tmp_path / "a.duckdb"
    build_index(folder, db, ToyModel())
    for i in range(MANY):  # every photo changes, so every batch replaces rows
        photo(folder / f"d{i % 3}" / f"IMG_{i:03}.jpg", 200 + i)
    repository = Path(__file__).parents[2]
    victim = subprocess.Popen(
        [sys.executable, "-c", _VICTIM, str(folder), str(db)], stdout=subprocess.PIPE, text=True, cwd=repository
    )
    assert victim.stdout is not None
    for line in victim.stdout:
        if int(line) == after:
            break
    time.sleep(0.01)
    victim.send_signal(signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
    victim.wait()
    summary = build_index(folder, db, ToyModel())
    assert summary.unchanged >= after - 2
    assert contents(db) == fresh(folder, tmp_path / "b.duckdb")


def test_what_is_no_index_is_said(tmp_path: Path) -> None:
    import duckdb

    text = tmp_path / "notes.duckdb"
    text.write_text("not a database at all")
    with pytest.raises(DataError, match="is not an index"):
        build_index(tmp_path, text, ToyModel())
    other = tmp_path / "other.duckdb"
    with duckdb.connect(str(other)) as con:
        con.execute("CREATE TABLE cats (name VARCHAR)")
    with pytest.raises(DataError, match="no Lineament index"):
        build_index(tmp_path, other, ToyModel())
    with pytest.raises(UsageError, match="is not a folder"):
        build_index(tmp_path / "nowhere", other, ToyModel())


def test_an_index_in_use_is_said(folder: Path, tmp_path: Path) -> None:
    db = tmp_path / "a.duckdb"
    fresh(folder, db)
    hold = f"import duckdb, sys; con = duckdb.connect({str(db)!r}); print('held', flush=True); sys.stdin.read()"
    holder = subprocess.Popen([sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline().strip() == "held"
    try:
        with pytest.raises(UsageError, match="in use by another process"):
            build_index(folder, db, ToyModel())
    finally:
        holder.communicate()
