"""Class rates: Bayes' rule against a count of an imagined population, the file's forms, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lineament.decision.layer import Decision
from lineament.decision.rates import check_rates, rates_hash, read_rates, under_rates
from lineament.errors import UnknownAttributeError, UsageError
from lineament.schema import CELEBA_40

shares = st.floats(0.01, 0.99)
NAMES = ("Smiling", "Bald")


@given(prob=st.floats(0.001, 0.999), old=shares, new=shares)
def test_bayes_rule_on_counted_people(prob: float, old: float, new: float) -> None:
    """The oracle counts: of people with this very look, so many per yes and per no; then yes and no become more or
    fewer."""
    yes, no = prob * new / old, (1 - prob) * (1 - new) / (1 - old)
    moved = under_rates(Decision(rates={"Bald": old}), {"Bald": new})
    logit = np.log(prob) - np.log1p(-prob)
    assert moved.probs([[0.3, logit]], NAMES)[0, 1] == pytest.approx(yes / (yes + no), abs=1e-9)
    assert moved.probs([[0.3, logit]], NAMES)[0, 0] == Decision().probs([[0.3, logit]], NAMES)[0, 0], (
        "what is not named stays"
    )


@given(old=shares, new=shares)
def test_there_and_back_is_where_it_was(old: float, new: float) -> None:
    logits = np.linspace(-4, 4, 9)[:, None]
    there = under_rates(Decision(rates={"Bald": old}), {"Bald": new}).probs(logits, ("Bald",))
    back = under_rates(Decision(rates={"Bald": new}), {"Bald": old})
    assert np.allclose(
        back.probs(np.log(there) - np.log1p(-there), ("Bald",)), Decision().probs(logits, ("Bald",)), atol=1e-9
    )


def test_the_shift_comes_after_the_calibration_and_moves_the_label() -> None:
    layer = Decision(calibration={"Bald": {"method": "platt", "a": 2.0, "b": -1.0}}, rates={"Bald": 0.5})
    moved = under_rates(layer, {"Bald": 0.9})
    assert moved.probs([[0.5]], ("Bald",))[0, 0] == pytest.approx(0.9)
    assert layer.labels(layer.probs([[0.0]], ("Bald",)), ("Bald",)).tolist() == [["no"]]
    assert moved.labels(moved.probs([[0.0]], ("Bald",)), ("Bald",)).tolist() == [["yes"]]
    assert Decision.from_dict(json.loads(json.dumps(moved.to_dict()))) == moved


def test_csv_and_json_say_the_same(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("attribute,rate\nsmiling, 0.3\n\nBald,0.02\n", "utf-8-sig")
    (tmp_path / "b.csv").write_text("Bald,0.02\nSmiling,0.30\n", "utf-8")
    (tmp_path / "c.json").write_text('{"Smiling": 0.3, "BALD": 0.02}', "utf-8")
    read = [read_rates(tmp_path / name, CELEBA_40) for name in ("a.csv", "b.csv", "c.json")]
    assert read[0] == read[1] == read[2] == {"Smiling": 0.3, "Bald": 0.02}
    assert len({rates_hash(one) for one in read}) == 1
    assert rates_hash({"Smiling": 0.3}) != rates_hash({"Smiling": 0.31})


@pytest.mark.parametrize(
    "text",
    [
        "", "attribute,rate\n", "Smiling\n", "Smiling,0.3,x\n", "Smiling,0\n", "Smiling,1\n", "Smiling,nan\n",
        "Smiling,many\n", "Smiling,-1\n",
        "Smiling,0.3\nsmiling,0.4\n", "{", '{"Smiling": true}', '{"Smiling": null}', '{"Smiling": [0.3]}', "{}",
    ],
)  # fmt: skip
def test_what_is_no_table_of_rates_is_one_sentence(tmp_path: Path, text: str) -> None:
    (tmp_path / "rates").write_text(text, "utf-8")
    with pytest.raises(UsageError):
        read_rates(tmp_path / "rates", CELEBA_40)


def test_an_unknown_name_and_a_missing_file_are_said(tmp_path: Path) -> None:
    (tmp_path / "rates.csv").write_text("Smilling,0.3\n", "utf-8")
    with pytest.raises(UnknownAttributeError):
        read_rates(tmp_path / "rates.csv", CELEBA_40)
    with pytest.raises(UsageError, match="Cannot read"):
        read_rates(tmp_path / "none.csv", CELEBA_40)


def test_a_card_without_rates_says_so() -> None:
    with pytest.raises(UsageError, match="states no rate of its own for Bald"):
        under_rates(Decision(rates={"Smiling": 0.5}), check_rates({"bald": 0.2, "Smiling": 0.3}, CELEBA_40))
