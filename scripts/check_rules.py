"""How often do CelebA's own labels break each declared rule? Writes docs/benchmarks/rules.md.

python scripts/check_rules.py [--data ../shared/data]
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from lineament.data.celeba import Official
from lineament.data.hub_parquet import HubParquet
from lineament.decision.consistency import RULES, violations

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "benchmarks" / "rules.md"


def measure(data: Path) -> str:
    """Return the page: per rule and pair, labels that break it, in the train images at hand and in official
    validation."""
    train, val = (
        HubParquet(data / "celeba" / "train-parquet").table,
        Official(data / "celeba" / "official", "val").table,
    )
    lines = [
        "# How often CelebA's own labels break the rules",
        "",
        "Written by `python scripts/check_rules.py`. The rules are `lineament.decision.consistency.RULES`; decoding "
        "with `--consistent` never",
        "breaks one, the labels do. Percent of images; for a pair also percent of the rarer label.",
        "",
        f"| rule | forbids together | train, {len(train):,} images | official val, {len(val):,} images | of the rarer "
        "label, train |",
        "|---|---|---:|---:|---:|",
    ]
    for rule in RULES:
        rates = [100 * violations(table.targets, table.attributes)[rule.name].mean() for table in (train, val)]
        lines.append(f"| **{rule.name}** | | **{rates[0]:.2f}** | **{rates[1]:.2f}** | |")
        for a, b in rule.pairs:
            both = [
                table.targets[:, table.attributes.index(a)] & table.targets[:, table.attributes.index(b)]
                for table in (train, val)
            ]
            rarer = min(int(train.targets[:, train.attributes.index(name)].sum()) for name in (a, b))
            share = f"{100 * both[0].sum() / rarer:.1f}"
            lines.append(f"| | {a}, {b} | {100 * both[0].mean():.2f} | {100 * both[1].mean():.2f} | {share} |")
    lines += [
        "",
        "Left out on purpose: Bald with Gray_Hair (a quarter of the bald carry both: hair at the sides).",
        "Kept although the labels break them often: No_Beard with 5_o_Clock_Shadow and Bald with Receding_Hairline, "
        "because the words exclude",
        "each other; the effect on accuracy is measured in `decision.md`.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, default=Path(os.environ.get("LINEAMENT_DATA") or ROOT.parent / "shared" / "data")
    )
    PAGE.write_text(measure(parser.parse_args().data), encoding="utf-8")


if __name__ == "__main__":
    main()
