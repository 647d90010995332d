"""Scorecards and decision layers: interface names, missed faces, faults as no data, cross-fitted evidence that holds on
new people."""

import json
from dataclasses import replace

import numpy as np
import pytest
from toy_predictions import simulated

from lineament.decision.consistency import decode_consistent, fit_precedence
from lineament.decision.layer import Decision
from lineament.errors import DataError, UsageError
from lineament.evaluation.calibrate import Plan, calibrate, cross_fit, fit_decision
from lineament.evaluation.folds import folds_of
from lineament.evaluation.scorecard import scorecard
from lineament.metrics import calibration
from lineament.schema import CELEBA_40


def test_the_scorecard_has_the_names_of_the_interface_and_no_nan():
    card = scorecard(
        simulated(120, CELEBA_40, calibrated=True),
        missing=3,
        model="toy@0",
        data="val@1",
        decision=Decision(thresholds={"Bald": 0.3}),
    )
    for key in (
        "images",
        "missing",
        "undetected",
        "mean_accuracy",
        "majority_accuracy",
        "balanced_accuracy",
        "macro_f1",
        "mean_ap",
        "attributes",
    ):
        assert key in card
    assert {"accuracy", "tpr", "tnr", "ap", "positives"} <= set(card["attributes"]["Bald"])
    assert {"ece", "brier"} <= set(card["calibrated"])
    assert {"mean_accuracy", "thresholds", "fitted_on"} <= set(card["fitted"])
    assert (card["images"], card["missing"], card["model"], card["data"]) == (120, 3, "toy@0", "val@1")
    json.dumps(card, allow_nan=False)


def test_mean_accuracy_is_of_the_raw_sigmoid_at_one_half_whatever_the_card_says():
    found = simulated(200)
    plain = scorecard(found)
    odd = scorecard(
        replace(found, probs=1 - found.raw), decision=Decision(thresholds=dict.fromkeys(found.attributes, 0.9))
    )
    assert (
        odd["mean_accuracy"] == plain["mean_accuracy"] == round(float(np.mean((found.raw >= 0.5) == found.targets)), 6)
    )
    assert odd["fitted"]["mean_accuracy"] != plain["mean_accuracy"]


def test_a_missed_face_is_wrong_in_every_attribute():
    found = simulated(100)
    right = replace(found, raw=np.where(found.targets == 1, 0.9, 0.1))
    assert scorecard(right)["mean_accuracy"] == 1.0
    right.detected[:10] = False
    right.raw[:10] = np.nan
    card = scorecard(right)
    assert card["undetected"] == 10
    assert card["mean_accuracy"] == pytest.approx(0.9)
    assert all(row["ap"] < 1 for row in card["attributes"].values())


def test_missing_labels_and_constant_attributes_are_no_data():
    found = simulated(60)
    found.known[:, 0] = False
    found.targets[:, 1] = 0
    card = scorecard(found)
    absent, constant = (card["attributes"][name] for name in found.attributes[:2])
    assert absent["accuracy"] is None
    assert absent["images"] == 0
    assert constant["tpr"] is None
    assert constant["ap"] is None
    assert constant["balanced_accuracy"] is None
    assert constant["accuracy"] is not None
    assert scorecard(found.take(np.arange(1)))["images"] == 1


def test_unlabelled_predictions_have_a_scorecard_without_accuracy():
    found = replace(simulated(30), known=np.zeros((30, 6), bool))
    card = scorecard(found)
    assert card["mean_accuracy"] is None
    assert card["mean_ap"] is None


@pytest.mark.parametrize(("method", "tolerance"), [("platt", 0.006), ("auto", 0.006), ("isotonic", 0.01)])
def test_calibration_undoes_a_distortion_on_people_it_has_not_seen(method, tolerance):
    found, new = simulated(4000, distortion=2.5, people=800), simulated(4000, distortion=2.5, people=800, seed=9)
    fitted = calibrate(found, Plan(method=method), draws=100)
    layer = fitted.decision
    before = calibration.per_attribute(calibration.ece_1d, new.raw, new.targets).mean()
    after = calibration.per_attribute(
        calibration.ece_1d, layer.probs(calibration.logit(new.raw), new.attributes), new.targets
    ).mean()
    assert after < 0.5 * before
    assert fitted.evidence["calibration"]["ece"] == pytest.approx(
        after, abs=tolerance
    )  # what was promised is what new people show
    answers = layer.labels(layer.probs(calibration.logit(new.raw), new.attributes), new.attributes, abstain=True)
    assert np.mean(answers != "cannot_tell") == pytest.approx(0.9, abs=0.015)
    assert fitted.evidence["selective"]["gain"] > 0.01


@pytest.mark.parametrize("method", ["platt", "isotonic", "temperature", "none"])
def test_keep_leaves_every_label_as_the_raw_sigmoid_at_one_half(method):
    found = simulated(1500, distortion=1.8)
    layer = fit_decision(found, Plan(method=method, goal="keep"))
    labels = layer.labels(layer.probs(calibration.logit(found.raw), found.attributes), found.attributes)
    assert np.array_equal(labels == "yes", found.raw >= 0.5)


def test_by_default_yes_is_said_exactly_from_one_half_of_the_shipped_probability():
    found = simulated(1500, distortion=1.8)
    layer = calibrate(found, Plan(), draws=100).decision
    assert layer.thresholds == {}
    probs = layer.probs(calibration.logit(found.raw), found.attributes)
    assert np.array_equal(layer.labels(probs, found.attributes) == "yes", probs >= 0.5)
    shipped = scorecard(replace(found, probs=probs), decision=layer)
    assert shipped["fitted"]["thresholds"] == dict.fromkeys(found.attributes, 0.5)
    assert shipped["fitted"]["mean_accuracy"] == pytest.approx(np.mean((probs >= 0.5) == found.targets), abs=1e-6)
    assert shipped["mean_accuracy"] == pytest.approx(np.mean((found.raw >= 0.5) == found.targets), abs=1e-6)


def test_small_and_blurred_faces_count_as_unanswered_in_the_coverage_that_was_asked_for():
    rng = np.random.default_rng(3)
    found = replace(
        simulated(4000, people=2000),
        eye_distance=rng.choice([8.0, 40.0], 4000, p=[0.04, 0.96]),
        sharpness=rng.uniform(0, 1, 4000),
    )
    plan = Plan(min_eye_distance={"*": 10.0}, min_sharpness={found.attributes[0]: 0.02})
    layer = calibrate(found, plan, draws=100)
    answers = layer.decision.labels(
        layer.decision.probs(calibration.logit(found.raw), found.attributes), found.attributes, abstain=True,
        eye_distance=found.eye_distance, sharpness=found.sharpness,
    )  # fmt: skip
    assert (answers[found.eye_distance < 10] == "cannot_tell").all()
    assert (answers[found.sharpness < 0.02, 0] == "cannot_tell").all()
    assert not (answers[found.sharpness < 0.02, 1] == "cannot_tell").all()
    assert (answers != "cannot_tell").mean(0) == pytest.approx(np.full(6, 0.9), abs=0.005)
    assert layer.evidence["selective"]["coverage"] == pytest.approx(0.9, abs=0.02)
    assert layer.evidence["plan"]["min_eye_distance"] == {"*": 10.0}


def test_limits_of_a_fold_judge_that_fold():
    found = replace(simulated(1000), eye_distance=np.full(1000, 20.0), sharpness=np.ones(1000))
    per_fold = [({"*": 30.0 if part == 2 else 0.0}, {}) for part in range(5)]
    answers = cross_fit(found, Plan(bands="none", limits_of_fold=per_fold)).answers
    assert np.array_equal((answers == "cannot_tell").all(1), folds_of(found, 5) == 2)
    with pytest.raises(UsageError, match="5 folds of limits for 4"):
        Plan(folds=4, limits_of_fold=per_fold)


def test_a_layer_survives_its_json():
    found = simulated(800, distortion=1.8)
    layer = fit_decision(found, Plan(method="isotonic"))
    again = Decision.from_dict(json.loads(json.dumps(layer.to_dict())))
    logits = calibration.logit(found.raw)
    assert np.array_equal(again.probs(logits, found.attributes), layer.probs(logits, found.attributes))
    assert again.abstain == layer.abstain


def test_people_never_cross_folds_and_the_held_out_part_is_not_fitted():
    found = simulated(600)
    fold = folds_of(found, 5)
    assert all(len(set(fold[found.identity == person])) == 1 for person in np.unique(found.identity))
    alone = folds_of(replace(found, identity=None), 5)
    assert len(set(alone)) == 5
    flipped = found.take(np.arange(600))
    flipped.targets[fold == 0] = 1 - flipped.targets[fold == 0]
    plan = Plan(method="platt")
    assert np.array_equal(cross_fit(found, plan).probs[fold == 0], cross_fit(flipped, plan).probs[fold == 0])


def test_fitted_thresholds_are_taken_only_where_they_help():
    found = simulated(3000, people=1500, seed=1)
    moved = replace(
        found, raw=np.where(np.arange(6) == 2, np.clip(found.raw * 0.4, 0, 1), found.raw)
    )  # one attribute says no too often
    layer = calibrate(moved, Plan(method="none", goal="accuracy"), draws=300).decision
    assert set(layer.thresholds) == {found.attributes[2]}
    assert layer.thresholds[found.attributes[2]] < 0.35
    assert len(calibrate(moved, Plan(method="none", goal="accuracy", force=True), draws=100).decision.thresholds) > 1


def test_conformal_bands_miss_no_more_than_they_say():
    found, new = simulated(4000, people=4000), simulated(4000, people=4000, seed=5)
    layer = fit_decision(found, Plan(bands="conformal", share=0.1))
    answers = layer.labels(layer.probs(calibration.logit(new.raw), new.attributes), new.attributes, abstain=True)
    wrong = (answers != "cannot_tell") & ((answers == "yes") != new.targets)
    for value in (0, 1):
        assert wrong[new.targets == value].mean() < 0.12


def test_faults_of_calibration():
    with pytest.raises(DataError, match="needs targets"):
        calibrate(replace(simulated(100), known=np.zeros((100, 6), bool)))
    with pytest.raises(DataError, match="too few"):
        calibrate(simulated(20))
    with pytest.raises(DataError, match="one person"):
        calibrate(simulated(100, people=1))
    for wrong in ({"method": "magic"}, {"goal": "speed"}, {"bands": "rubber"}, {"share": 1.5}, {"folds": 1}):
        with pytest.raises(UsageError):
            Plan(**wrong)
    constant = simulated(200)
    constant.targets[:, 0] = 0
    fitted = calibrate(constant, draws=50)
    assert constant.attributes[0] not in fitted.decision.calibration


def test_precedence_is_learned_from_conflicts_and_helps_new_people():
    """Two answers that are often wrong together: of the two, the first is right nine times in ten, whatever the
    probabilities say."""

    def conflicts(seed):
        rng = np.random.default_rng(seed)
        first = rng.random(600) < 0.9
        targets = np.stack([first, ~first], 1).astype(np.int8)
        return replace(
            simulated(600, ("No_Beard", "5_o_Clock_Shadow"), people=300, seed=seed),
            raw=rng.uniform(0.55, 0.95, (600, 2)),
            targets=targets,
        )

    found, new = conflicts(0), conflicts(1)
    strength = fit_precedence(found.raw, [0.5, 0.5], found.targets, found.known, found.attributes)
    assert strength["No_Beard"] > 1
    assert strength["5_o_Clock_Shadow"] == pytest.approx(-strength["No_Beard"], abs=1e-6)
    plain, _ = decode_consistent(new.raw, [0.5, 0.5], new.attributes)
    fitted, _ = decode_consistent(new.raw, [0.5, 0.5], new.attributes, precedence=strength)
    assert (plain == new.targets).mean() < 0.6
    assert (fitted == new.targets).mean() > 0.85
    assert fit_precedence(found.raw, [0.99, 0.99], found.targets, found.known, found.attributes) == {}
