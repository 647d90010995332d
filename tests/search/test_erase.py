"""Erasure, by searching the bytes: of the index and of everything beside it, also after a kill in the middle."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path

import duckdb
import numpy as np
import pytest
from search_toys import ToyModel, contents, photo
from typer.testing import CliRunner

from lineament.cli import app
from lineament.errors import DataError, UsageError
from lineament.search.build import build_index
from lineament.search.erase import forget
from lineament.search.index import Index

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def made(tmp_path: Path) -> tuple[Path, Path]:
    """A folder of 40 photos and their index, alone in a folder of its own."""
    folder = tmp_path / "photos"
    for i in range(40):
        photo(folder / ("kept" if i < 5 else "gone") / f"person-{i:03}-of-forty.png", i)
    db = tmp_path / "index" / "faces.duckdb"
    db.parent.mkdir()
    build_index(folder, db, ToyModel(), threads=1)
    return folder, db


def traces(db: Path) -> dict[str, list[bytes]]:
    """Per photo: its name, its hash, and its faces' probabilities as eight raw bytes of two attributes that lie side by
    side in memory."""
    found: dict[str, list[bytes]] = {}
    with duckdb.connect(str(db), read_only=True) as con:
        for name, digest in con.execute("SELECT file, sha256 FROM files").fetchall():
            found[name] = [name.rpartition("/")[2].encode(), digest.encode()]
        probs = con.execute(
            "SELECT file, faces.* FROM faces JOIN files USING (file_id) ORDER BY faces.rowid"
        ).fetchall()
        for row in probs:  # a row as NumPy or a log writes it
            found[row[0]].append(np.array(row[-2:], np.float32).tobytes())
        for column in range(-40, 0):  # a column as the file stores it: two faces of one photo follow each other
            for first, second in itertools.pairwise(probs):
                if first[0] == second[0]:
                    found[first[0]].append(np.array([first[column], second[column]], np.float32).tobytes())
    return found


def left(folder: Path, wanted: dict[str, list[bytes]]) -> set[str]:
    """The photos of which any trace is in any file of the folder."""
    data = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    return {name for name, marks in wanted.items() if any(mark in data for mark in marks)}


def test_the_search_of_bytes_can_fail(made: tuple[Path, Path]) -> None:
    """Rows deleted by the database alone stay in the file: names, hashes and probabilities are all found."""
    _, db = made
    wanted = traces(db)
    with duckdb.connect(str(db)) as con:
        for table in ("faces", "files"):
            con.execute(f"DELETE FROM {table}")
    data = db.read_bytes()
    for kind in (0, 1):
        assert all(marks[kind] in data for marks in wanted.values())
    assert any(mark in data for marks in wanted.values() for mark in marks[2:]), (
        "probabilities are stored so that this search can see them"
    )


def test_pruned_photos_leave_no_byte(made: tuple[Path, Path]) -> None:
    folder, db = made
    wanted = traces(db)
    before = [row for row in contents(db) if b"kept" in row[0]]
    for path in (folder / "gone").iterdir():
        path.unlink()
    summary = build_index(folder, db, ToyModel(), threads=1)
    assert (summary.removed, summary.unchanged) == (35, 5)
    assert contents(db) == before
    assert left(db.parent, wanted) == {name for name in wanted if name.startswith("kept/")}
    assert [path.name for path in db.parent.iterdir()] == ["faces.duckdb"]


def test_a_folder_that_is_empty_now_is_forgotten_with_prune(made: tuple[Path, Path]) -> None:
    folder, db = made
    wanted = traces(db)
    for path in folder.rglob("*.png"):
        path.unlink()
    with pytest.raises(UsageError, match="--prune"):
        build_index(folder, db, ToyModel(), threads=1)
    assert build_index(folder, db, ToyModel(), prune=True, threads=1).removed == 40
    assert left(db.parent, wanted) == set()
    assert str(folder).encode() not in db.read_bytes(), "the folder's own name is a name too"


def test_changed_photos_leave_their_old_hash_and_answers_nowhere(made: tuple[Path, Path]) -> None:
    folder, db = made
    wanted = traces(db)
    for i in range(5, 40):
        photo(folder / "gone" / f"person-{i:03}-of-forty.png", 1000 + i)
    assert build_index(folder, db, ToyModel(), threads=1).changed == 35
    old = {name: marks[1:] for name, marks in wanted.items() if name.startswith("gone/")}
    assert left(db.parent, old) == set()


def test_another_model_leaves_nothing_of_the_first(made: tuple[Path, Path]) -> None:
    folder, db = made
    wanted = {name: marks[2:] for name, marks in traces(db).items()}

    class Other(ToyModel):
        def analyze_path(self, path: str) -> object:  # type: ignore[override]
            from dataclasses import replace

            return replace(super().analyze_path(path), faces=(), status="no_face")

    build_index(folder, db, Other("other@00000000"), rebuild=True, threads=1)
    assert left(db.parent, wanted) == set()


def test_forget_by_photo_and_by_folder(made: tuple[Path, Path]) -> None:
    folder, db = made
    wanted = traces(db)
    with Index(db, threads=1) as index:
        faces = index.search("").matched
    done = forget(db, [folder / "kept" / "person-000-of-forty.png", folder / "gone", "nobody.png"], threads=1)
    assert (done.photos, done.unknown) == (36, ("nobody.png",))
    assert left(db.parent, wanted) == {f"kept/person-{i:03}-of-forty.png" for i in range(1, 5)}
    with Index(db, threads=1) as index:
        assert index.search("").matched == faces - done.faces
    assert forget(db, [folder]).photos == 4
    assert left(db.parent, wanted) == set()


def test_forget_finds_a_relative_name_and_a_name_that_is_no_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    odd = os.fsdecode(b"caf\xe9.png")
    for i, name in enumerate((odd, "a.png", "ab.png")):
        photo(tmp_path / "photos" / name, i)
    build_index("photos", "faces.duckdb", ToyModel(), threads=1)
    assert forget("faces.duckdb", ["photos/a.png", f"photos/{odd}"]).photos == 2
    data = Path("faces.duckdb").read_bytes()
    assert b"caf" not in data
    assert b"ab.png" in data


def test_the_command_line_says_what_it_did(made: tuple[Path, Path]) -> None:
    folder, db = made
    found = CliRunner().invoke(app, ["forget", str(db), str(folder / "gone")])
    assert found.exit_code == 0
    assert "35 photos" in found.output
    assert CliRunner().invoke(app, ["forget", str(db), str(folder / "gone")]).exit_code == 3
    assert CliRunner().invoke(app, ["forget", str(db.with_name("none.duckdb")), "a"]).exit_code == 2


def test_an_index_in_use_is_not_rewritten(made: tuple[Path, Path]) -> None:
    """A reader keeps the old bytes open: erasing under it would erase nothing."""
    folder, db = made
    program = (
        "import sys, duckdb; con = duckdb.connect(sys.argv[1], read_only=True); print('open', flush=True); "
        "sys.stdin.read()"
    )
    reader = subprocess.Popen([sys.executable, "-c", program, str(db)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert reader.stdout is not None
    reader.stdout.readline()
    try:
        with pytest.raises(UsageError, match="in use"):
            forget(db, [folder / "gone"])
    finally:
        reader.kill()
        reader.wait()
    assert forget(db, [folder / "gone"]).photos == 35


@pytest.mark.parametrize("moment", ["copied", "synced", "renamed"])
def test_a_kill_in_the_middle_loses_nothing_and_is_finished_by_the_same_command(
    made: tuple[Path, Path], moment: str
) -> None:
    folder, db = made
    wanted = traces(db)
    before = contents(db)
    program = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "import lineament.search.erase as erase\n"
        "die = lambda *given: os.kill(os.getpid(), signal.SIGKILL)\n"
        "sync, copied = erase.sync, erase._copy\n"
        "moment = sys.argv[3]\n"
        "if moment == 'copied': erase._copy = lambda con, ids: (copied(con, ids), die())\n"
        "if moment == 'synced': erase.sync = die\n"
        "if moment == 'renamed': erase.sync = lambda path: die() if path.is_dir() else sync(path)\n"
        "erase.forget(sys.argv[1], [sys.argv[2]])\n"
    )
    killed = subprocess.run(
        [sys.executable, "-c", program, str(db), str(folder / "gone"), moment], cwd=ROOT, check=False
    )
    assert killed.returncode == -9
    if moment == "renamed":
        assert left(db.parent, wanted) == {name for name in wanted if name.startswith("kept/")}
    else:
        assert contents(db) == before
    forget(db, [folder / "gone"])
    assert contents(db) == [row for row in before if b"kept" in row[0]]
    assert left(db.parent, wanted) == {name for name in wanted if name.startswith("kept/")}
    assert [path.name for path in db.parent.iterdir()] == ["faces.duckdb"]


def test_what_is_replaced_in_a_killed_run_is_erased_by_the_next(made: tuple[Path, Path]) -> None:
    folder, db = made
    wanted = {name: marks[1:] for name, marks in traces(db).items() if name.startswith("gone/")}
    for i in range(5, 40):
        photo(folder / "gone" / f"person-{i:03}-of-forty.png", 1000 + i)

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lineament.search.build.rewrite", stop)
        with pytest.raises(KeyboardInterrupt):
            build_index(folder, db, ToyModel(), threads=1)
    assert left(db.parent, wanted) != set(), "the control: the interrupted run's old bytes are still there"
    assert build_index(folder, db, ToyModel(), threads=1).changed == 0
    assert left(db.parent, wanted) == set()


def test_a_file_that_is_no_index_is_left_alone(tmp_path: Path) -> None:
    with duckdb.connect(str(tmp_path / "other.duckdb")) as con:
        con.execute("CREATE TABLE mine (a INTEGER)")
    with pytest.raises(DataError, match="no Lineament index"):
        forget(tmp_path / "other.duckdb", ["a"])
