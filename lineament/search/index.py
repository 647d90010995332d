"""The index as it is asked: by attributes, by likeness of attribute profile, or for the best shot of each burst.

    query -> tree -> SQL -> (row, score) of the best -> hits, whole or in parts

Attributes outside the profile are neither searched nor returned. Nothing here can say who a face belongs to
(`docs/search.md`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from lineament.detection.eyes import open_prob
from lineament.errors import DataError, UsageError
from lineament.schema import in_profile
from lineament.search.bursts import RankedShot, Shot, bursts, rank_burst
from lineament.search.database import connect, has_keys, read_meta
from lineament.search.paths import full_path
from lineament.search.query import parse, parse_change
from lineament.search.query_tree import names_in, unparse
from lineament.search.sql import Sql, change_sql, column, order_sql, score_sql, where_sql
from lineament.types import PIXEL_DECIMALS, PROB_DECIMALS, Report

LIMIT = 50
PART = 4096
"""Hits that are in memory at once where a long result is written to a file."""
RESULT_VERSION = 1
_LISTED = "SELECT unnest(CAST(? AS BIGINT[]))"
"""Fifty numbers as a table: DuckDB turns the semi-join into a filter of the scan, which it does not do with a plain IN
list."""


@dataclass(frozen=True)
class Hit:
    """A face that matches. path: absolute, as the file system spells it (undecodable bytes as surrogates); attributes:
    the profile's.
    id, columns: what came with the photo from a table or a record (`index --from`)."""

    path: str
    face: int
    box_xyxy: tuple[float, float, float, float]
    score: float
    eye_distance: float | None
    attributes: Mapping[str, float]
    size: int
    mtime_ns: int
    id: str | None = None
    columns: Mapping[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        keys = {name: value for name, value in (("id", self.id), ("columns", self.columns)) if value is not None}
        return {
            "file": self.path, "face": self.face, "score": round(self.score, 6),
            "box_xyxy": [round(v, PIXEL_DECIMALS) for v in self.box_xyxy],
            "eye_distance": None if self.eye_distance is None else round(self.eye_distance, 1),
            "attributes": {name: round(prob, PROB_DECIMALS) for name, prob in self.attributes.items()}, **keys,
        }  # fmt: skip


@dataclass(frozen=True)
class SearchResult:
    """Hits, best first, and what they were drawn from. mentioned: attributes the query names; matched: faces; photos:
    their photos;
    offset: hits before the first of these."""

    query: str
    mentioned: tuple[str, ...]
    profile: str
    model: str
    hits: tuple[Hit, ...]
    matched: int
    photos: int
    indexed_faces: int
    offset: int = 0

    @property
    def more(self) -> bool:
        """Whether faces follow after these hits."""
        return self.offset + len(self.hits) < self.matched

    @property
    def shown(self) -> str:
        """Which of the matching faces these are, in words."""
        count = len(self.hits)
        return f"{self.offset + 1} to {self.offset + count} shown" if self.offset and count else f"{count} shown"

    def numbered(self) -> Iterator[tuple[int, Hit]]:
        """Yield each hit with its rank: its place in the whole result, not on this page."""
        return enumerate(self.hits, self.offset + 1)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON record of `lineament search --json`."""
        return {
            "schema_version": RESULT_VERSION, "query": self.query, "profile": self.profile, "model": self.model,
            "matched_faces": self.matched, "matched_photos": self.photos, "indexed_faces": self.indexed_faces,
            "offset": self.offset, "more": self.more,
            "hits": [{"rank": rank, **hit.to_dict()} for rank, hit in self.numbered()],
        }  # fmt: skip


class Index:
    """An index opened for reading. Safe to use from several threads; close it, or use it in a `with`."""

    def __init__(self, db: str | Path, *, threads: int | None = None) -> None:
        self.path = Path(db)
        self._con = connect(self.path, read_only=True, threads=threads)
        meta = read_meta(self._con, self.path)
        if meta is None:
            raise DataError(f"{db} is empty. Fill it with: lineament index FOLDER --db {db}")
        self.meta = meta
        self._keys = (
            ("keys.id, keys.columns", " LEFT JOIN keys USING (file_id)") if has_keys(self._con) else ("NULL, NULL", "")
        )

    def __enter__(self) -> Index:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._con.close()

    def search(
        self, query: str, *, profile: str = "default", limit: int = LIMIT, offset: int = 0, loose: bool = False,
        thresholds: Mapping[str, float] | None = None,
    ) -> SearchResult:  # fmt: skip
        """Return the faces that match a query, best first: `limit` of them after the first `offset`.

        Args: loose: bare names only rank, comparisons still filter. thresholds: name -> t, over those of the index's
            card.
        Raises: QueryError pointing at the word; UsageError for an unknown profile.
        """
        return self.rank(query, profile=profile, limit=limit, offset=offset, loose=loose, thresholds=thresholds).whole()

    def rank(
        self, query: str, *, profile: str = "default", limit: int = LIMIT, offset: int = 0, loose: bool = False,
        thresholds: Mapping[str, float] | None = None,
    ) -> Ranked:  # fmt: skip
        """Return what `search` returns, to be read in parts while this index is open: as many hits as there are fit in
        memory."""
        tree = parse(query, attributes=self.meta.attributes, profile=profile)
        keep = where_sql(tree.where, self._thresholds(thresholds), loose=loose)
        mentioned = tuple(
            dict.fromkeys((*names_in(tree.where), *(key.name for key in tree.sort if key.name in self.meta.attributes)))
        )
        best = self._best(keep, score_sql(tree.where), order_sql(tree.sort), limit, offset)
        return Ranked(self, self._found(unparse(tree), mentioned, profile, keep, offset), *best)

    def like(
        self, report: Report, change: str = "", *, face: int = 0, profile: str = "default", limit: int = LIMIT,
        offset: int = 0, thresholds: Mapping[str, float] | None = None, exclude_sha256: str | None = None,
    ) -> SearchResult:  # fmt: skip
        """Return the faces whose attribute profile is nearest a photo's, as changed by
        `but with mustache and without eyeglasses`.

        Args as of `rank_like`.
        """
        return self.rank_like(
            report,
            change,
            face=face,
            profile=profile,
            limit=limit,
            offset=offset,
            thresholds=thresholds,
            exclude_sha256=exclude_sha256,
        ).whole()

    def rank_like(
        self, report: Report, change: str = "", *, face: int = 0, profile: str = "default", limit: int = LIMIT,
        offset: int = 0, thresholds: Mapping[str, float] | None = None, exclude_sha256: str | None = None,
    ) -> Ranked:  # fmt: skip
        """Return what `like` returns, to be read in parts while this index is open.

        Args: report: of the photo, by the index's model with profile "all". face: which of its faces, 0 the largest.
            exclude_sha256:
            leave out files with these bytes (the photo itself). Raises: UsageError for another model or a photo without
                that face.
        """
        shown = in_profile(profile, self.meta.attributes)
        wanted = parse_change(change, attributes=self.meta.attributes, profile=profile)
        own = self._profile_of(report, face, shown)
        keep, score = change_sql(wanted, own, shown, self._thresholds(thresholds))
        if exclude_sha256 is not None:
            keep = Sql(
                f"{keep.text} AND file_id NOT IN (SELECT file_id FROM files WHERE sha256 = ?)",
                (*keep.params, exclude_sha256),
            )
        text = " and ".join(f"{'with' if yes else 'without'} {name}" for name, yes in wanted.wanted)
        asked = f"like {report.source}{f' but {text}' if text else ''}"
        best = self._best(keep, score, order_sql(()), limit, offset)
        return Ranked(self, self._found(asked, tuple(dict(wanted.wanted)), profile, keep, offset), *best)

    def brings_keys(self) -> bool:
        """Return whether a photo came with an id or columns of its own."""
        sql = "SELECT 1 FROM keys WHERE id IS NOT NULL OR columns IS NOT NULL LIMIT 1"
        return bool(has_keys(self._con) and self._rows(sql, ()))

    def read(self, numbers: npt.NDArray[np.int64], scores: npt.NDArray[np.float64], profile: str) -> tuple[Hit, ...]:
        """Return the hits of faces that a search ranked, whole rows of these only, in the given order."""
        shown = in_profile(profile, self.meta.attributes)
        rows = self._rows(
            f"WITH best AS (SELECT rowid AS number, * FROM faces WHERE rowid IN ({_LISTED})) SELECT number, "
            "roots.path, files.path, face,"
            f" x1, y1, x2, y2, eye_distance, size, mtime_ns, {self._keys[0]}, "
            f"{', '.join(column(name) for name in shown)}"
            f" FROM best JOIN files USING (file_id) JOIN roots USING (root_id){self._keys[1]}", [numbers.tolist()],
        )  # fmt: skip
        by_id = {row[0]: row[1:] for row in rows}
        return tuple(
            _hit(by_id[number], value, shown) for number, value in zip(numbers.tolist(), scores.tolist(), strict=True)
        )

    def best_shots(
        self, query: str = "", *, profile: str = "default", thresholds: Mapping[str, float] | None = None
    ) -> list[list[RankedShot]]:
        """Return each burst of photos of one moment, ranked by everyone smiling with open eyes (`search/bursts.py`
        holds both conventions).

        Args: query: only photos with a face that matches.
        """
        if "Smiling" not in self.meta.attributes:
            raise UsageError(
                f"{self.path} was made with {self.meta.model}, which knows no Smiling: there is no best shot to choose "
                "by."
            )
        keep = where_sql(
            parse(query, attributes=self.meta.attributes, profile=profile).where, self._thresholds(thresholds)
        )
        rows = self._rows(
            f"SELECT file_id, roots.path, files.path, scene, taken, list({column('Smiling')} ORDER BY face),"
            " list(coalesce(eye_distance, 0) ORDER BY face), list(right_eye_ratio ORDER BY face), list(left_eye_ratio "
            "ORDER BY face)"
            " FROM faces JOIN files USING (file_id) JOIN roots USING (root_id)"
            f" WHERE scene IS NOT NULL AND file_id IN (SELECT file_id FROM faces WHERE {keep.text}) GROUP BY ALL",
            keep.params,
        )
        return [rank_burst(group) for group in bursts(_shot(row) for row in rows)]

    def _thresholds(self, given: Mapping[str, float] | None) -> Mapping[str, float]:
        return {**self.meta.decision.thresholds, **(given or {})}

    def _profile_of(self, report: Report, face: int, shown: Sequence[str]) -> list[float]:
        if report.error is not None:
            raise UsageError(f"{report.source}: {report.error[1]}")
        if report.model != self.meta.model:
            raise UsageError(
                f"The index was made with {self.meta.model}, the photo was read by {report.model}. Name the same with "
                "--model."
            )
        if not 0 <= face < len(report.faces):
            raise UsageError(
                f"{report.source} shows {len(report.faces)} face(s); face {face} is not among them (0 is the largest)."
            )
        answers = report.faces[face].attributes
        if not set(shown) <= set(answers):
            raise UsageError("The photo's report lacks attributes of the profile: load the model with profile='all'.")
        return [answers[name].prob for name in shown]

    def _rows(self, sql: str, params: Sequence[Any]) -> list[tuple[Any, ...]]:
        with self._con.cursor() as cursor:  # a cursor of its own: connections are not to be shared between threads
            return cursor.execute(sql, list(params)).fetchall()

    def _best(
        self, keep: Sql, score: Sql, order: str, limit: int, offset: int
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
        """Rank on the few columns that matter: return row numbers and scores, best first."""
        if limit < 1 or offset < 0:
            raise UsageError(f"--limit is at least 1 and --offset at least 0; got {limit} and {offset}.")
        sql = f"SELECT rowid, {score.text} AS score FROM faces WHERE {keep.text} ORDER BY {order} LIMIT ? OFFSET ?"
        with self._con.cursor() as cursor:
            found = cursor.execute(sql, [*score.params, *keep.params, limit, offset]).fetchnumpy()
        return np.asarray(found["rowid"], np.int64), np.asarray(found["score"], np.float64)

    def _found(self, query: str, mentioned: tuple[str, ...], profile: str, keep: Sql, offset: int) -> SearchResult:
        counted = f"SELECT count(*), count(DISTINCT file_id), (SELECT count(*) FROM faces) FROM faces WHERE {keep.text}"
        matched, photos, faces = self._rows(counted, keep.params)[0]
        return SearchResult(query, mentioned, profile, self.meta.model, (), matched, photos, faces, offset)


@dataclass(frozen=True)
class Ranked:
    """A search that is ranked, its hits read when asked for: in parts, in order, as often as wanted. head: the result
    without its hits."""

    index: Index
    head: SearchResult
    numbers: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.numbers)

    def parts(self, size: int = PART) -> Iterator[SearchResult]:
        """Yield the result in parts of at most `size` hits, each with its own offset; one without hits where there are
        none."""
        for start in range(0, max(len(self), 1), size):
            hits = self.index.read(
                self.numbers[start : start + size], self.scores[start : start + size], self.head.profile
            )
            yield replace(self.head, hits=hits, offset=self.head.offset + start)

    def whole(self) -> SearchResult:
        """Return the result with all of its hits."""
        return replace(self.head, hits=self.index.read(self.numbers, self.scores, self.head.profile))


def _shot(row: tuple[Any, ...]) -> Shot:
    file_id, root, relative, scene, taken, smiling, eye_distances, right, left = row
    eyes_open = tuple(open_prob(*ratios) for ratios in zip(right, left, strict=True))
    return Shot(file_id, full_path(root, relative), scene, taken, tuple(smiling), tuple(eye_distances), eyes_open)


def _hit(row: tuple[Any, ...], score: float, shown: Sequence[str]) -> Hit:
    root, relative, face, x1, y1, x2, y2, eye_distance, size, mtime_ns, key, columns, *probs = row
    attributes, kept = dict(zip(shown, probs, strict=True)), None if columns is None else json.loads(columns)
    return Hit(
        full_path(root, relative), face, (x1, y1, x2, y2), score, eye_distance, attributes, size, mtime_ns, key, kept
    )
