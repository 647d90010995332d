"""The page docs/benchmarks/decision.md, from decision.json: written by `make refit`, never by hand."""

from __future__ import annotations

from typing import Any

from lineament.report.tables import marked
from lineament.report.tables import percent as pc


def decision_page(document: dict[str, Any], name: str) -> str:
    """Return docs/benchmarks/decision.md."""
    parts = [
        _head(document, name),
        _figures(document),
        _carried(document),
        _labels(document),
        _limits(document),
        _attributes(document),
    ]
    return "\n".join(line for part in parts for line in part) + "\n"


def _head(document: dict[str, Any], name: str) -> list[str]:
    images, people = f"{document['scorecard']['images']:,}", f"{document['people']:,}"
    return [
        f"# The decision layer of `{name}`: what it is worth on people it was not fitted on",
        "",
        f"Written by `make refit` on {images} official validation images of {people} people ({document['fitted_on']}).",
        f"Every figure is cross-fitted by identity, {document['plan']['folds']} folds: a person's images are judged "
        "by a layer fitted without",
        "them. Percent.",
        "",
    ]


def _figures(document: dict[str, Any]) -> list[str]:
    scored, errors, thresholds, chosen, both = (
        document[key] for key in ("scorecard", "calibration", "thresholds", "selective", "consistency")
    )
    _, low, high = thresholds["difference"]
    verdict = "inside the noise" if thresholds["inside_the_noise"] else "outside the noise"
    agreement = f"{pc(scored['mean_accuracy_high_agreement'])} / {pc(scored['mean_accuracy_low_agreement'])}"
    other = f"{pc(scored['balanced_accuracy'])}, {pc(scored['macro_f1'])}, {pc(scored['mean_ap'])}"
    beside = f"uncalibrated {pc(errors['ece_raw'])}, simulated floor {pc(errors['ece_floor'])}"
    rows = [
        (
            "mean accuracy, raw sigmoid at 0.5",
            pc(scored["mean_accuracy"]),
            f"majority {pc(scored['majority_accuracy'])}",
        ),
        ("the same without / only low-agreement attributes", agreement, ""),
        ("balanced accuracy, macro F1, mean AP", other, ""),
        ("calibration error, mean over attributes", pc(errors["ece"]), beside),
        ("Brier score (times 100)", pc(errors["brier"]), f"uncalibrated {pc(errors['brier_raw'])}"),
        (
            f"accuracy at the shipped thresholds (goal `{document['plan']['goal']}`)",
            pc(thresholds["accuracy_fitted"]),
            f"fixed 0.5: {pc(thresholds['accuracy_fixed'])}; difference {pc(low)} .. {pc(high)}, {verdict}",
        ),
        (
            f"accuracy at {pc(chosen['coverage'], 1)} % coverage within each attribute",
            pc(chosen["accuracy"]),
            f"full coverage {pc(chosen['accuracy_full'])}: {pc(chosen['gain'])} points more",
        ),
        (
            "faces that break a rule",
            pc(both["violations"]),
            f"decoded consistently {pc(both['violations_consistent'])}",
        ),
        (
            "accuracy, consistent decoding",
            pc(both["accuracy_consistent"], 3),
            f"independent thresholds {pc(both['accuracy'], 3)}",
        ),
    ]
    return ["| figure | value | beside it |", "|---|---:|---|", *(f"| {' | '.join(row)} |" for row in rows), ""]


def _carried(document: dict[str, Any]) -> list[str]:
    """What the layer is worth on another split, and on the three views of validation."""
    lines = [
        "## Across splits, and in three views",
        "",
        "A correction is shipped only as far as images of both splits ask for it (train images that the network never "
        "saw, and validation), and only",
        "where it helps people of both who were left out (`lineament/evaluation/cross_split.py`). *agreed*: fitted "
        "and chosen on half of the",
        "people of both, judged on the other half. *A -> B*: the usual Platt scaling fitted on one split alone. Rows "
        "hold three views of an",
        "image: the stored crop, the face as the detector finds it, and the same at half size with up to 15 % of one "
        "side cut off.",
        "",
        "| fitted, judged | calibration error | raw | accuracy | raw |",
        "|---|---:|---:|---:|---:|",
    ]
    keys = ("ece", "ece_raw", "accuracy", "accuracy_raw")
    lines += [
        f"| {what} | {' | '.join(pc(found[key], 3) for key in keys)} |" for what, found in document["across"].items()
    ]
    lines += ["", "Cross-fitted on validation (fitted without the person's fold, on both splits), by view:", ""]
    lines += [
        "| view | pixels between the eyes, median | faces found | calibration error | raw | accuracy | raw |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for view, found in document["views"].items():
        seen = f"{found['faces']:,} of {found['images']:,}"
        lines.append(
            f"| {view} | {found['eye_distance']:.0f} | {seen} | {' | '.join(pc(found[key], 3) for key in keys)} |"
        )
    return [*lines, ""]


def _labels(document: dict[str, Any]) -> list[str]:
    keep, half = document["goals"]["keep"], document["goals"]["half"]
    heads = {
        "accuracy": "accuracy",
        "balanced_accuracy": "balanced accuracy",
        "macro_f1": "macro F1",
        "accuracy_train_rates": "accuracy at train's rates",
    }
    rows = [
        (name, *(pc(row[key], 3) for key in heads))
        for name, row in (("raw sigmoid at 0.5 (`keep`)", keep), ("calibrated at 0.5 (`half`)", half))
    ]
    shipped = document["plan"]["goal"]
    said = {
        "half": (
            "`half` is shipped: yes is said exactly where `prob` is at least 0.5, never beside 0.35. What that costs "
            "or gains is in"
        ),
        "keep": (
            "`keep` is shipped: labels stay what the raw sigmoid says at 0.5, on the scale of `prob`. What that costs "
            "or gains is in"
        ),
    }.get(shipped, f"`{shipped}` is shipped. Beside it stand the two that are not fitted, in")
    return [
        "## From probabilities to labels",
        "",
        said,
        "the table, held out; the last column keeps each attribute's TPR and TNR and puts them at the class rates of "
        "CelebA's train images, as a",
        f"stand-in for data with other rates. {pc(document['goals']['labels_that_differ'])} % of the labels differ. A "
        "scorecard's `mean_accuracy`",
        "is of the raw sigmoid at 0.5 in every case; the labels' own accuracy stands beside it as `fitted`.",
        "",
        f"| labels | {' | '.join(heads.values())} |",
        "|---|" + "---:|" * len(heads),
        *(f"| {' | '.join(row)} |" for row in rows),
        "",
    ]


def _limits(document: dict[str, Any]) -> list[str]:
    plan = document["plan"]
    sizes, sharp = plan["min_eye_distance"], plan["min_sharpness"]
    return [
        "## Too small, too blurred",
        "",
        "Each attribute has a least eye distance and a least sharpness, measured by making validation crops worse: "
        "[face-size.md](face-size.md).",
        f'Under either, `--abstain` says "cannot tell" (median attribute: {sizes.get("*", "-")} pixels, '
        f"{sharp.get('*', '-')}). The coverage above",
        "counts the faces that this withholds; the band of an attribute leaves out the rest.",
        "",
    ]


def _attributes(document: dict[str, Any]) -> list[str]:
    lines = [
        "## Per attribute",
        "",
        "\\*: two annotators agree on fewer than 95 % of images (membership reconstructed).",
        "",
        "| attribute | ECE raw | ECE | floor | method | threshold | accuracy at 0.5 | fitted | coverage | accuracy "
        "answered |",
        "|---|---:|---:|---:|---|---:|---:|---:|---:|---:|",
    ]
    for attribute, row in document["attributes"].items():
        errors = [pc(row[key]) for key in ("ece_raw", "ece", "ece_floor")]
        rest = [pc(row[key]) for key in ("accuracy_fixed", "accuracy_fitted", "coverage", "accuracy_answered")]
        lines.append(
            f"| {marked(attribute)} | {' | '.join(errors)} | {row['method'] or '-'} | {row['threshold']:.3f} | "
            f"{' | '.join(rest)} |"
        )
    return lines
