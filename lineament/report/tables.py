"""Scorecards, comparisons and audits as Rich tables for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from lineament.schema import LOW_AGREEMENT


def percent(value: float | None, digits: int = 2) -> str:
    """Return a fraction as a percentage for people, a dash for no data.

    >>> percent(0.9164), percent(None)
    ('91.64', '-')
    """
    return "-" if value is None else f"{100 * value:.{digits}f}"


AGREEMENT = "* two annotators agree on fewer than 95 % of images (membership reconstructed)."


def marked(name: str) -> str:
    """Return an attribute's name, with a star where annotators disagree too often for small differences to mean
    anything.

    >>> marked("Smiling"), marked("Bald")
    ('Smiling *', 'Bald')
    """
    return f"{name} *" if name in LOW_AGREEMENT else name


def scorecard_table(card: Mapping[str, Any]) -> Table:
    """Return the per-attribute table of a scorecard, the majority column beside the accuracy, means last."""
    table = Table(
        title=f"{card.get('model') or 'predictions'} on {card.get('data') or 'its images'}: raw sigmoid at 0.5, percent"
    )
    table.add_column("attribute")
    for name in ("accuracy", "majority", "balanced", "TPR", "TNR", "F1", "AP", "positives"):
        table.add_column(name, justify="right")
    for name, row in card["attributes"].items():
        keys = ("accuracy", "majority", "balanced_accuracy", "tpr", "tnr", "f1", "ap")
        table.add_row(marked(name), *(percent(row[key]) for key in keys), str(row["positives"]))
    means = (
        card["mean_accuracy"],
        card["majority_accuracy"],
        card["balanced_accuracy"],
        None,
        None,
        card["macro_f1"],
        card["mean_ap"],
    )
    table.add_section()
    table.add_row("mean", *(percent(value) for value in means), "", style="bold")
    table.caption = f"{AGREEMENT} majority: always the more common answer."
    return table


def between(pair: Sequence[float | None] | None, digits: int = 2) -> str:
    """Return an interval as "[91.20, 92.10]", nothing where there is none.

    >>> between([0.5, 0.625]), between(None)
    ('[50.00, 62.50]', '')
    """
    return "" if pair is None or None in pair else f"[{', '.join(percent(value, digits) for value in pair)}]"


def scorecard_lines(card: Mapping[str, Any]) -> list[str]:
    """Return the lines said under the table: what was counted, how sure the means are, what is calibrated, fitted,
    consistent."""
    lines = [
        f"{card['images']} images scored, {card['missing']} missing, {card['undetected']} without a detected face "
        "(wrong in all attributes).",
    ]
    if card["mean_accuracy"] is None:
        rule = card["consistency"]["violations"]["any"]
        return [
            *lines,
            "There are no labels, so nothing is said of accuracy or calibration. Rule-breaking faces: "
            f"{percent(rule)}.",
        ]
    if (sure := card.get("intervals", {})).get("mean_accuracy"):
        lines.append(
            f"Mean accuracy {percent(card['mean_accuracy'])} {between(sure['mean_accuracy'])}, balanced "
            f"{percent(card['balanced_accuracy'])} "
            f"{between(sure['balanced_accuracy'])}; 95 % intervals, drawn by {sure['drawn_by']}."
        )
    lines += [
        f"Without the low-agreement attributes: {percent(card['mean_accuracy_high_agreement'])}; "
        f"only those: {percent(card['mean_accuracy_low_agreement'])}.",
    ]
    if calibrated := card.get("calibrated"):
        lines.append(
            f"Calibration error {percent(calibrated['ece'])} {between(calibrated.get('ece_interval'))} (raw "
            f"{percent(calibrated['ece_raw'])}, "
            f"perfectly calibrated predictions of this size would show {percent(calibrated['ece_floor'])}); Brier "
            f"{calibrated['brier']}."
        )
    if fitted := card.get("fitted"):
        lines.append(
            f"Fitted thresholds: {percent(fitted['mean_accuracy'])} (fitted on "
            f"{fitted['fitted_on'] or 'data not named'})."
        )
    if selective := card.get("selective"):
        lines.append(
            f"With 'cannot tell': {percent(selective['accuracy'])} {between(selective.get('accuracy_interval'))} at "
            f"{percent(selective['coverage'])} {between(selective.get('coverage_interval'))} coverage, "
            f"{percent(selective['full_accuracy'])} at full coverage."
        )
    both = card["consistency"]
    lines.append(
        f"Rule-breaking faces: {percent(both['violations']['any'])} (accuracy {percent(both['accuracy'])}); decoded "
        "consistently "
        f"{percent(both['violations_consistent']['any'])} (accuracy {percent(both['accuracy_consistent'])}); "
        f"labels themselves {percent(both['violations_in_targets']['any'])}."
    )
    return lines


def decision_table(document: Mapping[str, Any]) -> Table:
    """Return the per-attribute table of a fitted decision layer's held-out evidence, fixed 0.5 beside fitted."""
    table = Table(title=f"Fitted on {document['fitted_on']}; every figure held out by identity, percent")
    table.add_column("attribute")
    for name in (
        "ECE raw",
        "ECE",
        "floor",
        "method",
        "threshold",
        "acc. at 0.5",
        "acc. fitted",
        "coverage",
        "acc. answered",
    ):
        table.add_column(name, justify="right")
    for name, row in document["attributes"].items():
        errors = (percent(row[key]) for key in ("ece_raw", "ece", "ece_floor"))
        rest = (percent(row[key]) for key in ("accuracy_fixed", "accuracy_fitted", "coverage", "accuracy_answered"))
        table.add_row(marked(name), *errors, row["method"] or "-", f"{row['threshold']:.3f}", *rest)
    mean, thresholds, chosen = document["calibration"], document["thresholds"], document["selective"]
    table.add_section()
    table.add_row(
        "mean", percent(mean["ece_raw"]), percent(mean["ece"]), percent(mean["ece_floor"]), "", "",
        percent(thresholds["accuracy_fixed"]), percent(thresholds["accuracy_fitted"]), percent(chosen["coverage"]),
        percent(chosen["accuracy"]), style="bold",
    )  # fmt: skip
    table.caption = f"{AGREEMENT} floor: what perfectly calibrated predictions of this size would show."
    return table


def decision_lines(document: Mapping[str, Any]) -> list[str]:
    """Return what is said under that table: whether thresholds helped, what abstaining and consistency change."""
    thresholds, chosen, both = document["thresholds"], document["selective"], document["consistency"]
    estimate, low, high = thresholds["difference"]
    verdict = "inside the noise" if thresholds["inside_the_noise"] else "outside the noise"
    return [
        f"Fitted minus fixed 0.5: {percent(estimate)} points [{percent(low)}, {percent(high)}], {verdict}. Class rates "
        "shift between "
        "CelebA's parts, so a gain here can be a loss elsewhere.",
        f"'Cannot tell': {percent(chosen['accuracy'])} at {percent(chosen['coverage'])} coverage, "
        f"{percent(chosen['accuracy_full'])} at full.",
        f"Rule-breaking faces {percent(both['violations'])}, consistent decoding "
        f"{percent(both['violations_consistent'])}; "
        f"accuracy {percent(both['accuracy'], 3)} and {percent(both['accuracy_consistent'], 3)}.",
    ]
