"""The page docs/benchmarks/decision.md, from decision.json: written by `make refit`, never by hand."""

from __future__ import annotations

from typing import Any

from lineament.report.tables import percent as pc


def decision_page(document: dict[str, Any], name: str) -> str:
    """Return docs/benchmarks/decision.md."""
    parts = [_head(document, name), _figures(document), _note(), _sizes(document["scorecard"], document["sizes"]), _attributes(document)]
    return "\n".join(line for part in parts for line in part) + "\n"


def _head(document: dict[str, Any], name: str) -> list[str]:
    images, people = f"{document['scorecard']['images']:,}", f"{document['people']:,}"
    return [
        f"# The decision layer of `{name}`: what it is worth on people it was not fitted on",
        "",
        f"Written by `make refit` on {images} official validation images of {people} people ({document['fitted_on']}).",
        f"Every figure is cross-fitted by identity, {document['plan']['folds']} folds: a person's images are judged by a layer fitted without",
        "them. Percent.",
        "",
    ]


def _figures(document: dict[str, Any]) -> list[str]:
    scored, errors, thresholds, chosen, both = (document[key] for key in ("scorecard", "calibration", "thresholds", "selective", "consistency"))
    _, low, high = thresholds["difference"]
    verdict = "inside the noise" if thresholds["inside_the_noise"] else "outside the noise"
    agreement = f"{pc(scored['mean_accuracy_high_agreement'])} / {pc(scored['mean_accuracy_low_agreement'])}"
    other = f"{pc(scored['balanced_accuracy'])}, {pc(scored['macro_f1'])}, {pc(scored['mean_ap'])}"
    beside = f"uncalibrated {pc(errors['ece_raw'])}, simulated floor {pc(errors['ece_floor'])}"
    rows = [
        ("mean accuracy, raw sigmoid at 0.5", pc(scored["mean_accuracy"]), f"majority {pc(scored['majority_accuracy'])}"),
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
        ("faces that break a rule", pc(both["violations"]), f"decoded consistently {pc(both['violations_consistent'])}"),
        ("accuracy, consistent decoding", pc(both["accuracy_consistent"], 3), f"independent thresholds {pc(both['accuracy'], 3)}"),
    ]
    return ["| figure | value | beside it |", "|---|---:|---|", *(f"| {' | '.join(row)} |" for row in rows), ""]


def _note() -> list[str]:
    return [
        "`prob` is calibrated on these validation images. `keep` leaves every label what the raw sigmoid says at 0.5 (its threshold is 0.5 carried",
        "to the calibrated scale): CelebA's class rates differ between train, validation and test, so thresholds moved to validation's rates gain",
        "there and can lose elsewhere.",
        "",
    ]


def _sizes(scored: dict[str, Any], sizes: dict[str, Any]) -> list[str]:
    every = round(scored["images"] / sizes["images"])
    return [
        "## Face size",
        "",
        f"Every {every}th image, shrunk until the eyes are this many pixels apart, then enlarged again (`scripts/measure_size.py`).",
        "",
        "| eyes apart | mean accuracy | mean AP |",
        "|---:|---:|---:|",
        *(f"| {row['eye_distance']} px | {pc(row['mean_accuracy'])} | {pc(row['mean_ap'])} |" for row in sizes["sizes"]),
        "",
        f"Always the more common answer gives {pc(sizes['majority_accuracy'])}. At most {100 * sizes['most_lost']:.0f} point is lost down to",
        f'{sizes["min_eye_distance"]} px; under that, `--abstain` says "cannot tell".',
        "",
    ]


def _attributes(document: dict[str, Any]) -> list[str]:
    lines = [
        "## Per attribute",
        "",
        "| attribute | ECE raw | ECE | floor | method | threshold | accuracy at 0.5 | fitted | coverage | accuracy answered |",
        "|---|---:|---:|---:|---|---:|---:|---:|---:|---:|",
    ]
    for attribute, row in document["attributes"].items():
        errors = [pc(row[key]) for key in ("ece_raw", "ece", "ece_floor")]
        rest = [pc(row[key]) for key in ("accuracy_fixed", "accuracy_fitted", "coverage", "accuracy_answered")]
        lines.append(f"| {attribute} | {' | '.join(errors)} | {row['method'] or '-'} | {row['threshold']:.3f} | {' | '.join(rest)} |")
    return lines
