"""The model card as a person reads it, generated from the card that the model file carries; Markdown and HTML.

    card (JSON object) -> headings with paragraphs, lists and tables -> Markdown, or HTML

Source: Mitchell et al., Model Cards for Model Reporting, FAT* 2019 (arXiv 1810.03993): the nine headings are theirs.
What the file does not know is said to be unknown, not left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

from lineament.report.pages import page, paragraphs, plain_table, terms_list
from lineament.report.tables import percent
from lineament.schema import LOW_AGREEMENT, SENSITIVE


@dataclass(frozen=True)
class Block:
    """A part under a heading: a sentence, a list of (term, text), or a table (heads, rows)."""

    text: str = ""
    terms: Sequence[tuple[str, str]] = ()
    heads: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = field(default_factory=tuple)


def sections(card: Mapping[str, Any]) -> list[tuple[str, list[Block]]]:
    """Return (heading, blocks) in the order of the paper."""
    return [
        ("Model details", _details(card)),
        ("Intended use", _use(card)),
        ("Factors", _factors(card)),
        ("Metrics", _metrics()),
        ("Evaluation data", _evaluation(card)),
        ("Training data", _training(card)),
        ("Quantitative analyses", _quantities(card)),
        ("Ethical considerations", _ethics(card)),
        ("Caveats and recommendations", _caveats(card)),
    ]


def _details(card: Mapping[str, Any]) -> list[Block]:
    terms = [("Name", str(card["name"])), ("Architecture", str(card["architecture"]))]
    for key, label, unit in (
        ("parameters", "Parameters", 1e6),
        ("macs", "Multiply-adds a face", 1e6),
        ("file_bytes", "Size", 1e6),
    ):
        if key in card:
            terms.append((label, f"{card[key] / unit:.1f} {'MB' if key == 'file_bytes' else 'million'}"))
    terms += [("Precision", str(card.get("precision", "not stated"))), ("Licence", str(card["licence"]))]
    if "file_sha256" in card:
        terms.append(("SHA-256", str(card["file_sha256"])))
    attributes = card["attributes"]
    shape = "x".join(str(side) for side in card["input"]["shape"][1:])
    return [
        Block(
            f"Answers {len(attributes)} yes-or-no attributes of one face at a time: "
            f"{', '.join(name.replace('_', ' ') for name in attributes)}."
        ),
        Block(terms=terms),
        Block(
            f"Input: an aligned face, {shape} {card['input']['channels']} in CelebA's layout; alignment: "
            f"{card.get('alignment', 'not stated')}."
        ),
    ]


def _use(card: Mapping[str, Any]) -> list[Block]:
    return [
        Block(f"Meant for: {card['intended_use']}."),
        Block(
            "Out of scope: decisions about people; identification; inferring who or what somebody is; people who did "
            "not agree to be looked at."
        ),
    ]


def _factors(card: Mapping[str, Any]) -> list[Block]:
    least = card["decision"].get("min_eye_distance", {}).get("*")
    small = (
        f" Under {least:g} pixels between the eyes (more for fine attributes) it should say nothing: --abstain."
        if least
        else ""
    )
    return [
        Block(
            f"Size and sharpness of the face.{small} Pose, lighting and occlusion matter too and are not measured here."
        ),
        Block(
            "Who is shown: age, sex, skin tone and style of dress and make-up. `lineament audit` measures your own "
            "cohorts, with intervals."
        ),
        Block(
            "Annotators: two of them agree on 95 % of images or more for only 12 of CelebA's 40 attributes (which 12 "
            "is reconstructed)."
        ),
    ]


def _metrics() -> list[Block]:
    return [
        Block(
            "Accuracy always beside the majority answer (always saying the more common one), since rare attributes "
            "flatter; balanced accuracy, where "
            "50 % is chance; F1; average precision. Calibration error over 15 bins of equal mass beside its floor, "
            "what perfect probabilities would "
            "show. Coverage: the share answered where the model may say \u201ccannot tell\u201d."
        )
    ]


def _evaluation(card: Mapping[str, Any]) -> list[Block]:
    sets = [f"{name.replace('_', ' ')}: {row['images']} images" for name, row in (card.get("metrics") or {}).items()]
    blocks = [Block("; ".join(sets) + ".") if sets else Block("Not stated in this file.")]
    if evidence := card.get("decision_evidence"):
        people = f" of {evidence['people']} people" if "people" in evidence else ""
        blocks.append(
            Block(
                f"The decision layer is judged on {evidence.get('images', 'unnumbered')} images{people}, in folds by "
                "identity."
            )
        )
    if fitted := card.get("fitted_on"):
        blocks.append(Block(f"Thresholds and calibration that ship were fitted on {fitted}."))
    return blocks


def _training(card: Mapping[str, Any]) -> list[Block]:
    claim = ((card.get("training") or {}).get("config") or {}).get("claim") or {}
    return [Block(f"{card['data']}."), *([Block(f"Cost: {claim['cost']}.")] if claim.get("cost") else [])]


_MEASURES = {
    "mean_accuracy": "Accuracy, raw sigmoid at 0.5", "majority_accuracy": "Always the more common answer",
    "balanced_accuracy": "Balanced accuracy", "macro_f1": "Macro F1", "mean_ap": "Mean average precision",
    "mean_accuracy_high_agreement": "Accuracy where annotators agree",
    "mean_accuracy_low_agreement": "Accuracy where annotators disagree",
}  # fmt: skip


def _quantities(card: Mapping[str, Any]) -> list[Block]:
    blocks = []
    for name, row in (card.get("metrics") or {}).items():
        rows = [(words, f"{percent(row[key])} %") for key, words in _MEASURES.items() if row.get(key) is not None]
        blocks.append(Block(heads=(f"On {name.replace('_', ' ')} ({row.get('images', '?')} images)", ""), rows=rows))
    if rows := _evidence_rows(card.get("decision_evidence") or {}):
        blocks.append(Block(heads=("The decision layer, held out by identity", ""), rows=rows))
    costs = [
        (kind, runtime, f"{100 * cost:+.3f} points")
        for kind, row in (card.get("precisions") or {}).items()
        if isinstance(row, Mapping)
        for runtime, cost in (row.get("cost") or {}).items()
    ]
    if costs:
        blocks.append(Block(heads=("Precision", "runtime", "cost in accuracy"), rows=costs))
    if not blocks:
        blocks.append(
            Block(
                "Nothing was measured into this file. `lineament evaluate` and `lineament report` measure it on "
                "labelled photos."
            )
        )
    return [
        *blocks,
        Block(
            "By cohort: not in the file, since cohorts are the user's. `lineament audit` and `lineament report --by` "
            "measure them."
        ),
    ]


def _evidence_rows(evidence: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows = []
    if calibration := evidence.get("calibration"):
        floor = f" (perfect would show {percent(calibration['ece_floor'])})"
        rows.append(
            ("Calibration error", f"{percent(calibration['ece'])} points{floor if 'ece_floor' in calibration else ''}")
        )
    if selective := evidence.get("selective"):
        rows.append(
            (
                "With \u201ccannot tell\u201d",
                f"{percent(selective['accuracy'])} % right at {percent(selective['coverage'])} % coverage",
            )
        )
    if both := evidence.get("consistency"):
        rows.append(("Faces with answers that cannot be true together", f"{percent(both['violations'])} %"))
    return rows


def _ethics(card: Mapping[str, Any]) -> list[Block]:
    judging = [name for name in card["attributes"] if name in SENSITIVE]
    blocks = [
        Block("The training images are of celebrities who were not asked, labelled by guesses about how they look.")
    ]
    if judging:
        names = ", ".join(name.replace("_", " ") for name in judging)
        blocks.append(
            Block(
                f"{len(judging)} attributes judge or profile a person and are left out unless asked for by --profile "
                f"all: {names}."
            )
        )
    blocks.append(
        Block(
            "An answer says how a picture looks to this network. It does not say what a person is. Nobody can be "
            "recognised with it."
        )
    )
    return blocks


def _caveats(card: Mapping[str, Any]) -> list[Block]:
    low = sum(name in LOW_AGREEMENT for name in card["attributes"])
    return [
        Block(
            f"For {low} of {len(card['attributes'])} attributes the labels themselves are in doubt; small differences "
            "there mean nothing."
        ),
        Block(
            "Class rates differ from place to place; where yours are known, --rates moves the probabilities to them."
        ),
        Block(
            "Measure on your own photos before relying on it: evaluate, audit, report. Look at the audit before the "
            "average."
        ),
    ]


def to_markdown(card: Mapping[str, Any]) -> str:
    """Return the card as Markdown."""
    lines = [
        f"# Model card: {card['name']}",
        "",
        "Generated from the model file. Headings: Mitchell et al., FAT* 2019.",
        "",
    ]
    for heading, blocks in sections(card):
        lines += [f"## {heading}", ""]
        for block in blocks:
            lines += [*_markdown(block), ""]
    return "\n".join(lines).rstrip() + "\n"


def _markdown(block: Block) -> list[str]:
    if block.rows:
        heads = [head or " " for head in block.heads]
        return [f"| {' | '.join(cells)} |" for cells in (heads, ["---"] * len(heads), *block.rows)]
    if block.terms:
        return [f"- **{term}**: {text}" for term, text in block.terms]
    return [block.text]


def to_html(card: Mapping[str, Any]) -> str:
    """Return the card as the inside of a page's section."""
    return '<p class="quiet">Generated from the model file. Headings: Mitchell et al., FAT* 2019.</p>' + "".join(
        f"<h3>{escape(heading)}</h3>{''.join(_html(block) for block in blocks)}" for heading, blocks in sections(card)
    )


def _html(block: Block) -> str:
    if block.rows:
        return plain_table(block.heads, block.rows)
    return terms_list(block.terms) if block.terms else paragraphs([block.text.replace("`", "")])


def card_page(card: Mapping[str, Any]) -> str:
    """Return the card as a page."""
    parts = [
        (heading.lower().replace(" ", "-"), heading, "".join(_html(block) for block in blocks))
        for heading, blocks in sections(card)
    ]
    return page(
        f"Model card: {card['name']}", "Generated from the model file. Headings: Mitchell et al., FAT* 2019.", parts
    )
