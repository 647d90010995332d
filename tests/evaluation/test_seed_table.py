"""Tables over seeds: means and spreads as NumPy counts them, stars only where the two-level interval excludes zero."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from toy_predictions import simulated
from typer.testing import CliRunner

from lineament.cli import app
from lineament.errors import DataError, UsageError
from lineament.evaluation.predictions import save
from lineament.evaluation.seed_table import seed_table, system_name, to_csv, to_latex, to_markdown
from lineament.metrics.bootstrap import two_level, two_level_difference

BASE = simulated(600, seed=0)


def noisier(seed: int, share: float):
    """BASE with a share of its answers turned over."""
    flip = np.random.default_rng(seed).random(BASE.raw.shape) < share
    return replace(BASE, raw=np.where(flip, 1 - BASE.raw, BASE.raw))


SYSTEMS = {
    "worse": [noisier(seed, 0.15) for seed in (1, 2, 3)],
    "base": [noisier(seed, 0.02) for seed in (4, 5, 6)],
    "same": [noisier(seed, 0.02) for seed in (7, 8, 9)],
}


def test_numbers_are_those_of_numpy_and_of_the_two_level_bootstrap() -> None:
    table = seed_table(SYSTEMS, "base", draws=300)
    assert [row.name for row in table.rows] == ["base", "worse", "same"]
    for row in table.rows:
        right = np.array([((one.raw >= 0.5) == BASE.targets).mean() for one in SYSTEMS[row.name]]) * 100
        assert row.mean == pytest.approx(right.mean())
        assert row.spread == pytest.approx(right.std(ddof=1))
    labels = [[one.raw >= 0.5 for one in SYSTEMS[row.name]] for row in table.rows]
    drawn = two_level(labels, BASE.targets, BASE.known, BASE.identity, draws=300)
    mean, each = two_level_difference(drawn[1], drawn[0])
    assert table.rows[1].low == pytest.approx(100 * float(mean.low))
    assert table.rows[1].starred == tuple(each.excludes_zero.tolist())


def test_stars_stand_only_beyond_the_noise() -> None:
    table = seed_table(SYSTEMS, "base", draws=300)
    base, worse, same = table.rows
    assert worse.better_or_worse
    assert any(worse.starred)
    assert not same.better_or_worse
    assert not any(same.starred)
    assert not any(base.starred)
    page = to_markdown(table)
    assert f"{worse.difference:+.2f}*" in page
    assert f"{same.difference:+.2f} |" in page


def test_a_face_that_was_not_found_is_wrong_everywhere() -> None:
    lost = np.arange(len(BASE)) >= 300
    raw = np.where(lost[:, None], np.nan, BASE.raw)
    half = replace(BASE, raw=raw, detected=~lost)
    table = seed_table({"base": [BASE], "half": [half]}, "base", draws=50)
    assert table.rows[1].mean == pytest.approx(
        100 * ((BASE.raw >= 0.5) == BASE.targets)[:300].sum() / BASE.targets.size
    )
    assert "One training only: base, half" in table.notes[-1]


def test_files_are_grouped_by_their_seed_and_written_in_three_forms(tmp_path: Path) -> None:
    for name, trainings in SYSTEMS.items():
        for seed, one in enumerate(trainings):
            save(one, tmp_path / f"{name}-s{seed}.csv")
    files = [str(path) for path in sorted(tmp_path.glob("*.csv"))]
    out = [str(tmp_path / "out" / name) for name in ("t.csv", "t.tex", "t.md")]
    given = [
        "table",
        *files,
        "--group-seeds",
        "--baseline",
        "base",
        "--draws",
        "100",
        "--csv",
        out[0],
        "--latex",
        out[1],
        "--md",
        out[2],
    ]
    done = CliRunner().invoke(app, given)
    assert done.exit_code == 0, done.output
    rows = list(csv.DictReader(io.StringIO(Path(out[0]).read_text())))
    means = {row["system"]: row for row in rows if row["attribute"] == "mean"}
    assert (means["worse"]["seeds"], means["worse"]["beyond_noise"], means["same"]["beyond_noise"]) == ("3", "1", "0")
    assert len(rows) == 3 * 7
    tex = Path(out[1]).read_text()
    assert tex.count(r"\begin{tabular}") == tex.count(r"\end{tabular}") == 2
    assert "5\\_o\\_Clock" in tex
    assert "worse: -" in done.stderr
    alone = CliRunner().invoke(app, ["table", *files, "--baseline", "base"])
    assert alone.exit_code == 2
    assert "Is --group-seeds missing?" in alone.stderr


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(DataError, match="different images"):
        seed_table({"base": [BASE], "other": [BASE.take(np.arange(20))]}, "base", draws=10)
    with pytest.raises(DataError, match="no targets"):
        seed_table({"base": [replace(BASE, known=np.zeros_like(BASE.known))]}, "base", draws=10)
    with pytest.raises(UsageError, match="No metric"):
        seed_table(SYSTEMS, "base", metric="auc", draws=10)
    assert system_name("a_seed3.parquet", group_seeds=True) == "a"
    assert system_name("a_seed3.parquet", group_seeds=False) == "a_seed3"
    table = seed_table(SYSTEMS, "base", draws=20)
    assert to_csv(table).splitlines()[0].startswith("system,seeds,attribute,accuracy")
    assert to_latex(table).startswith("%")
