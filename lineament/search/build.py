"""Build an index of a folder and keep it true, doing only the work that changed.

    folder -> photos -> (unchanged | known bytes | new or changed) -> reports + looks -> rows, a transaction per batch

A photo is unchanged when size and modification time are (with `verify`, when its bytes are); a photo whose bytes the
index already knows (renamed, copied, touched) keeps its answers without running the network. A photo's rows are
replaced in one transaction, so killing the process at any moment leaves whole photos, and the next run goes on from
there. The index holds every attribute, whatever the profile. Photos that are gone leave no byte behind: the file is
written anew without them (`search/erase.py`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from lineament.detection.eyes import EyeLids
from lineament.errors import UsageError
from lineament.files import sha256_of
from lineament.inputs.item import Item
from lineament.search.begin import folder_id, open_index
from lineament.search.bursts import difference_hash
from lineament.search.database import connect
from lineament.search.erase import clear_rest, is_marked, rewrite
from lineament.search.photo_list import Listing, PhotoFile, list_photos, readable
from lineament.search.write import PhotoFindings, Writer
from lineament.types import Float32, Report, UInt8

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from lineament.runtime.card import Card

BATCH = 64
_ANSWERED = ("ok", "no_face")
_TRY_AGAIN = ("permission", "timed_out", "not_found")
"""Failures that the same bytes may not give again; the others wait for the file to change, or for `retry_failed`."""

Progress = Callable[[int, int], None]
ReadEyes = Callable[[UInt8, Float32], Float32]
"""(pixels (H,W,3), keypoints (N,5,2)) -> how far each face's right and left eye are open (N,2):
`detection.eyes.EyeLids.ratios`."""


Answers = Callable[[Iterable[Item]], Iterable[tuple[Report, PhotoFindings]]]
"""Photos -> the report of each, and what bursts need of its pixels."""


class IndexModel(Protocol):
    """What an index needs of a model; `lineament.load(..., profile="all")` gives one."""

    @property
    def id(self) -> str: ...
    @property
    def card(self) -> Card: ...
    def stream(self, sources: Iterable[str | Item], /, *, after: Callable[[Report], None]) -> Iterable[Report]: ...


@dataclass(frozen=True)
class IndexSummary:
    """What a run did and what the folder's index holds now.

    added, changed, known (bytes the index had already), unchanged, removed: photos of this run. failed: photos that
    have no answer now;
    faces: faces now; unreadable_folders: kept as they were.
    """

    added: int
    changed: int
    known: int
    unchanged: int
    removed: int
    failed: int
    faces: int
    unreadable_folders: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Known:
    """A file as the index has it."""

    file_id: int
    size: int
    mtime_ns: int
    status: str


def build_index(
    folder: str | Path, db: str | Path, model: IndexModel, *, rebuild: bool = False, verify: bool = False,
    retry_failed: bool = False, prune: bool = False, batch: int = BATCH, threads: int | None = None,
    progress: Progress | None = None, read_eyes: ReadEyes | None = None, answers: Answers | None = None,
) -> IndexSummary:  # fmt: skip
    """Index the photos of a folder, or bring its index up to date.

    Convention: photos that are gone are forgotten, except under folders that could not be read now. Several folders may
    share an index.
    Args: model: loaded with profile "all". rebuild: start over when the index was made with another model. verify:
        compare bytes, not only size and time. retry_failed: try photos again that gave no answer. prune: allow
        forgetting every photo of a folder.
        batch: photos per transaction. progress: called with (photos done, photos to do). read_eyes: None is the bundled
        `EyeLids`.
        answers: who answers photos, in place of this process (`InThreads`).
    Raises: UsageError naming the fix for another model, a folder inside an indexed one, a folder now empty, or an index
        in use.
    """
    root = Path(folder).resolve()
    if not root.is_dir():
        raise UsageError(f"{folder} is not a folder. `lineament index` takes a folder of photos.")
    answer = answers or InThreads(model, read_eyes)
    with writing(Path(db), threads) as con:
        meta = open_index(con, Path(db), model.id, model.card, model.card.attributes, rebuild)
        root_id = folder_id(con, root)
        writer = Writer(con, root_id=root_id, model=meta.model, attributes=meta.attributes, size=batch)
        run = _Run(con, root_id, writer, answer, verify, retry_failed)
        listing = list_photos(root)
        gone, todo = run.update(listing, prune, progress)
        due = is_marked(con)
    if gone or due:
        rewrite(Path(db), without=gone)
    with writing(Path(db), threads) as con:
        return run.summary(con, listing, todo, len(gone))


@contextmanager
def writing(db: Path, threads: int | None) -> Iterator[DuckDBPyConnection]:
    """Yield an index opened to write, and close it; what a killed run left beside it goes first."""
    con = connect(db, read_only=False, threads=threads)
    try:
        clear_rest(db)
        yield con
    finally:
        con.close()


class InThreads:
    """Answers photos in this process: each report, and what bursts need of its pixels. read_eyes: None is the bundled
    `EyeLids`."""

    def __init__(self, model: IndexModel, read_eyes: ReadEyes | None = None) -> None:
        self._model, self._look = model, Looker(read_eyes or EyeLids().ratios)

    def __call__(self, items: Iterable[Item]) -> Iterator[tuple[Report, PhotoFindings]]:
        given = (item if item.path is None else item.source for item in items)
        for report in self._model.stream(given, after=self._look):
            yield report, self._look.taken(report.source)


class Looker:
    """Reads what bursts need from a photo while its pixels are there; called from the model's workers, once per
    photo."""

    def __init__(self, read_eyes: ReadEyes) -> None:
        self._read_eyes = read_eyes
        self._looks: dict[str, PhotoFindings] = {}

    def __call__(self, report: Report) -> None:
        if report.faces and report.pixels is not None:
            eyes = self._read_eyes(report.pixels, np.array([face.keypoints for face in report.faces], np.float32))
            ratios = tuple((float(right), float(left)) for right, left in eyes)
            self._looks[report.source] = PhotoFindings(difference_hash(report.pixels), ratios)

    def taken(self, source: str) -> PhotoFindings:
        """Return a photo's look, once."""
        return self._looks.pop(source, PhotoFindings())


class _Run:
    """One run of `build_index` over one folder."""

    def __init__(
        self, con: DuckDBPyConnection, root_id: int, writer: Writer, answers: Answers, verify: bool, retry_failed: bool
    ) -> None:
        self.root_id, self.writer, self.answers, self.verify = root_id, writer, answers, verify
        self.final = _ANSWERED if retry_failed else None
        rows = con.execute("SELECT path, root_id, file_id, size, mtime_ns, status, sha256 FROM files").fetchall()
        self.known = {bytes(row[0]): _Known(*row[2:6]) for row in rows if row[1] == root_id}
        self.by_hash: dict[str, int] = {row[6]: row[2] for row in rows if row[6] is not None and self._is_final(row[5])}
        self.settled: deque[tuple[PhotoFile, int | OSError]] = deque()
        self.asked: dict[str, tuple[PhotoFile, str]] = {}
        self.copied = 0

    def _is_final(self, status: str) -> bool:
        return status not in _TRY_AGAIN if self.final is None else status in self.final

    def update(self, listing: Listing, prune: bool, progress: Progress | None) -> tuple[list[int], list[PhotoFile]]:
        """Bring the folder's rows up to date; return the files that are gone, which the caller takes out, and the
        photos there was work on."""
        gone = self._gone(listing)
        if self.known and len(gone) == len(self.known) and not prune:
            raise UsageError(
                f"None of the {len(gone)} indexed photos is in the folder any more. Is a disk not mounted? Use --prune "
                "to forget them all."
            )
        todo = [photo for photo in listing.photos if not self._unchanged(photo)]
        try:
            for done, _ in enumerate(self._answers(todo), 1):
                if progress is not None:
                    progress(done, len(todo))
        finally:  # an interrupt keeps what is answered
            self.writer.flush()
        return gone, todo

    def _gone(self, listing: Listing) -> list[int]:
        present = {photo.relative for photo in listing.photos}
        away = [path for path in self.known if path not in present and not path.startswith(listing.unreadable)]
        return [self.known[path].file_id for path in away]

    def _unchanged(self, photo: PhotoFile) -> bool:
        known = self.known.get(photo.relative)
        if known is None or self.verify or not self._is_final(known.status):
            return False
        return (known.size, known.mtime_ns) == (photo.size, photo.mtime_ns)

    def _answers(self, todo: list[PhotoFile]) -> Iterator[None]:
        """Yield once per photo, after its rows are in the writer's hands; photos whose known bytes were replaced
        meanwhile come last."""
        while todo:
            again: list[PhotoFile] = []
            for report, look in self.answers(self._to_analyze(todo)):
                yield from self._settle(again)
                if (
                    asked := self.asked.pop(report.source, None)
                ) is None:  # the path became a folder meanwhile: the next run sees it
                    continue
                self.writer.report(*asked, report, look=look, replaces=self._replaced(asked[0]))
                yield None
            yield from self._settle(again)
            self.by_hash = {sha256: number for sha256, number in self.by_hash.items() if number not in self.writer.dead}
            todo = again

    def _to_analyze(self, todo: list[PhotoFile]) -> Iterator[Item]:
        """Yield the photos that need the network. The model may pull from another thread, so this touches files, never
        the database."""
        for photo in todo:
            try:
                sha256 = sha256_of(photo.path)
            except OSError as error:
                self.settled.append((photo, error))
                continue
            if (source := self.by_hash.get(sha256)) is not None:
                self.settled.append((photo, source))
            else:
                self.asked[photo.path] = (photo, sha256)
                yield Item(photo.path, Path(photo.path))

    def _settle(self, again: list[PhotoFile]) -> Iterator[None]:
        """Write the photos that need no network: known bytes (their file id) and unreadable ones."""
        while self.settled:
            photo, outcome = self.settled.popleft()
            if isinstance(outcome, OSError):
                status = "permission" if isinstance(outcome, PermissionError) else "not_found"
                message = f"The file could not be read: {outcome.strerror}."
                self.writer.failure(photo, status, message, replaces=self._replaced(photo))
            elif self.writer.copy(photo, outcome, replaces=self._replaced(photo)):
                self.copied += 1
            else:
                again.append(photo)
                continue
            yield None

    def _replaced(self, photo: PhotoFile) -> int | None:
        known = self.known.get(photo.relative)
        return None if known is None else known.file_id

    def summary(self, con: DuckDBPyConnection, listing: Listing, todo: list[PhotoFile], removed: int) -> IndexSummary:
        """Return the account of the run, from the index as it is now."""
        failed, faces = counts(con, self.root_id)
        new = sum(photo.relative not in self.known for photo in todo)
        return IndexSummary(
            added=new, changed=len(todo) - new, known=self.copied, unchanged=len(listing.photos) - len(todo),
            removed=removed, failed=failed, faces=faces,
            unreadable_folders=tuple(readable(folder) for folder in listing.unreadable),
        )  # fmt: skip


def counts(con: DuckDBPyConnection, root_id: int) -> tuple[int, int]:
    """Return how many photos of a root have no answer, and how many faces there are."""
    failed, faces = con.execute(
        "SELECT (SELECT count(*) FROM files WHERE root_id = ? AND status NOT IN ('ok', 'no_face')),"
        " (SELECT count(*) FROM faces SEMI JOIN files ON files.file_id = faces.file_id AND files.root_id = ?)",
        [root_id, root_id],
    ).fetchall()[0]
    return int(failed), int(faces)
