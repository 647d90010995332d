"""Class rates: move probabilities from the shares of yes that a card assumes to those among the people asked about.

    FILE (CSV or JSON: attribute -> share of yes) -> {name: share} -> Decision whose log-odds are moved

**Convention**: a share lies strictly between 0 and 1. With prior odds moved by a factor r, Bayes' rule multiplies
posterior odds by r, so a log-odds moves by logit(share) - logit(card's share), whatever the photo shows. This holds
where what a face with the attribute looks like is the same among both sets of people (prior probability shift, also
called label shift), and only there.

**Source**: Saerens, Latinne, Decaestecker, Neural Computation 2002, equation 2.4, for two classes.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from lineament.decision.layer import Decision
from lineament.errors import UsageError
from lineament.schema import resolve


def read_rates(path: str | Path, known: Sequence[str]) -> dict[str, float]:
    """Return attribute -> share of yes from a CSV (two columns, with or without a heading) or a JSON object.

    Args: known: the model's attribute names; case does not matter in the file.
    Raises: UsageError for a file that cannot be read, an unknown or repeated attribute, a share that is no number
        between 0 and 1.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else "it is not text in UTF-8"
        raise UsageError(
            f"Cannot read the rates {path}: {why}. Give a CSV or JSON file of attribute and share of yes."
        ) from error
    pairs = _json_pairs(text, path) if text.lstrip().startswith("{") else _csv_pairs(text, path)
    return _checked(pairs, known, str(path))


def check_rates(rates: Mapping[str, float], known: Sequence[str]) -> dict[str, float]:
    """Return given rates under the model's spelling of its names. Raises: UsageError as `read_rates`."""
    return _checked(list(rates.items()), known, "rates")


def _checked(pairs: Sequence[tuple[str, Any]], known: Sequence[str], origin: str) -> dict[str, float]:
    rates: dict[str, float] = {}
    for name, value in pairs:
        attribute = resolve(name, known)
        if attribute in rates:
            raise UsageError(f"{origin} names {attribute} twice. Keep one share for it.")
        rates[attribute] = _share(value, attribute, origin)
    if not rates:
        raise UsageError(
            f"{origin} holds no rate. Give a line ATTRIBUTE,SHARE for each attribute to move, for example Smiling,0.3."
        )
    return rates


def rates_hash(rates: Mapping[str, float]) -> str:
    """Return the 8 hex digits by which records name a set of rates: of what was said, whatever the file's form.

    >>> rates_hash({"Smiling": 0.5}) == rates_hash({"Smiling": 0.50})
    True
    """
    return sha256(json.dumps(dict(sorted(rates.items()))).encode("utf-8")).hexdigest()[:8]


def under_rates(decision: Decision, rates: Mapping[str, float]) -> Decision:
    """Return the decision layer for people among whom `rates` of each attribute are yes; attributes it leaves out stay
    as they are.

    Raises: UsageError where the card states no rate of its own for an attribute.

    >>> moved = under_rates(Decision(rates={"Smiling": 0.5}), {"Smiling": 0.2})
    >>> round(float(moved.probs([[0.0]], ("Smiling",))[0, 0]), 4)
    0.2
    """
    unstated = sorted(name for name in rates if name not in decision.rates)
    if unstated:
        raise UsageError(
            f"The model's card states no rate of its own for {', '.join(unstated)}, so its probabilities cannot be "
            "moved from it. "
            "Fit the card with `lineament calibrate`, or leave the attribute out of --rates."
        )
    shift = {name: _logit(rate) - _logit(decision.rates[name]) for name, rate in rates.items()}
    return replace(decision, log_odds_shift=shift, rates_id=rates_hash(rates))


def _logit(share: float) -> float:
    return math.log(share) - math.log1p(-share)


def _share(value: Any, attribute: str, origin: str) -> float:
    try:
        share = float(value)
    except (TypeError, ValueError):
        share = math.nan
    if isinstance(value, bool) or not 0 < share < 1:
        raise UsageError(
            f"The share of {attribute} in {origin} is {value!r}. Give a number between 0 and 1, both excluded, for "
            "example 0.3."
        )
    return share


def _json_pairs(text: str, path: str | Path) -> list[tuple[str, Any]]:
    try:
        return list(json.loads(text, object_pairs_hook=list))
    except (json.JSONDecodeError, RecursionError, TypeError) as error:
        raise UsageError(f"{path} is not JSON ({error}). Give an object of attribute and share, or a CSV.") from error


def _csv_pairs(text: str, path: str | Path) -> list[tuple[str, Any]]:
    try:
        rows = [row for row in csv.reader(io.StringIO(text)) if any(cell.strip() for cell in row)]
    except csv.Error as error:
        raise UsageError(f"{path} is not a CSV ({error}). Give lines of ATTRIBUTE,SHARE.") from error
    wrong = next((row for row in rows if len(row) != 2), None)
    if wrong is not None:
        raise UsageError(
            f"{path} has a line of {len(wrong)} columns, {','.join(wrong)[:60]!r}. Give lines of ATTRIBUTE,SHARE."
        )
    if rows and rows[0][0].strip().lower() in ("attribute", "name"):
        rows = rows[1:]
    return [(name.strip(), value.strip()) for name, value in rows]
