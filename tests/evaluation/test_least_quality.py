"""Limits of size and blur: from a known fall of informedness, on other people than they are judged on, and on real
degraded crops."""

import json
from dataclasses import replace

import numpy as np
import pytest

from lineament.data.labelled import Subset
from lineament.errors import UsageError
from lineament.evaluation.least_quality import (
    MIN_IMAGES,
    SHARE,
    Degraded,
    Way,
    cross_fitted,
    crossing,
    degrade,
    evidence,
    fit_limits,
    informedness,
    read_limits,
)
from lineament.pipeline.quality import sharpness

WIDTHS = (178, 80, 40, 20)
NAMES = ("Fine", "Coarse", "Rare", "Blurry")


def toy(images=4000, seed=0, people=800):
    """Answers whose informedness on shrunk crops is known: Fine halves with every halving of the size, Coarse keeps all
    of it."""
    rng = np.random.default_rng(seed)
    ways = (Way("whole"), *(Way("size", width) for width in WIDTHS[1:]), Way("defocus", 2.0))
    targets = (rng.random((images, 4)) < (0.4, 0.4, 0.2 * MIN_IMAGES / images, 0.4)).astype(np.int8)
    told = np.array([[1.0, 1, 1, 1], [0.5, 1, 1, 0.5], [0.25, 1, 1, 0.2], [0.1, 1, 1, 0.1], [0.3, 1, 1, 0.1]])
    knows = rng.random((5, images, 4)) < told[:, None]
    said = np.where(
        knows, targets == 1, rng.random((5, images, 4)) < 0.4
    )  # who does not know, guesses: informedness is the share that knows
    sizes = np.repeat([38.4, 17.3, 8.6, 4.3, 38.4], images).reshape(5, images)
    sharp = np.round(np.repeat([0.7, 0.4, 0.3, 0.2, 0.2], images).reshape(5, images), 2)
    names = tuple(f"identity {one}" for one in rng.integers(0, people, images))
    return Degraded(ways, NAMES, said, sizes, sharp, targets, np.ones(targets.shape, bool), names)


def test_limits_lie_where_the_known_fall_crosses_the_share():
    found = fit_limits(toy())
    # 1 at 38.4 px, 0.5 at 17.3 px, 0.25 at 8.6 px: half is left at 17.3
    assert found.eye_distance["Fine"] == pytest.approx(17.3, abs=1.5)
    assert found.eye_distance["Coarse"] == 0.0
    assert found.eye_distance["Blurry"] == 0.0, "blur makes it true: nothing is withheld for it"
    assert "Rare" not in found.eye_distance, "too few images for a limit of its own: the median serves it"
    assert found.eye_distance["*"] == pytest.approx(
        np.median([found.eye_distance["Fine"], 0.0]), abs=0.051
    )  # rounded to 0.1
    assert found.sharpness["Fine"] == pytest.approx(
        np.exp(np.log(0.2) + (0.5 - 0.3) / 0.7 * np.log(0.7 / 0.2)), abs=0.03
    )


def test_what_is_withheld_was_fitted_on_other_people():
    sample = toy(people=60)
    withheld, limits = cross_fitted(sample, 5)
    assert len(limits) == 5
    person = np.array([name == sample.people[0] for name in sample.people])
    said = sample.said.copy()
    said[:, person] = ~said[:, person]
    again, _ = cross_fitted(replace(sample, said=said), 5)
    assert np.array_equal(again[:, person], withheld[:, person])


def test_answers_given_keep_more_than_answers_withheld():
    sample = toy()
    found = evidence(sample, cross_fitted(sample, 5)[0])
    assert found["left_given"] > found["left_withheld"]
    fine = replace(
        sample,
        attributes=("Fine",),
        said=sample.said[..., :1],
        targets=sample.targets[:, :1],
        known=sample.known[:, :1],
    )
    alone = evidence(fine, cross_fitted(fine, 5)[0])
    assert alone["left_given"] > SHARE > alone["left_withheld"], (
        "of the one attribute whose answers fall, on either side of the rule"
    )
    assert [row["kind"] for row in found["ways"]] == ["whole", "size", "size", "size", "defocus"]
    assert found["ways"][0]["withheld"] == 0
    assert found["ways"][0]["left_given"] == pytest.approx(1.0)
    assert found["ways"][0]["left_withheld"] is None, "no data, not 0"
    assert found["ways"][3]["withheld"] > 0
    json.dumps(found, allow_nan=False)


def test_one_class_or_no_image_has_no_limit():
    sample = toy(200)
    assert fit_limits(replace(sample, targets=np.zeros_like(sample.targets))).eye_distance == {}
    assert np.isnan(informedness(np.ones(3, bool), np.ones(3, bool), np.ones(3, bool)))


def test_a_noisy_dip_does_not_move_the_limit():
    measure, left = np.array([2.0, 4.0, 8.0, 16.0, 32.0]), np.array([0.0, 0.1, 0.9, 0.7, 1.0])
    assert crossing(measure, left, np.ones(5), 0.75) == pytest.approx(
        np.exp(np.log(4) + (0.65 / 0.7) * np.log(2)), abs=0.01
    )
    assert crossing(measure, np.ones(5), np.ones(5), 0.75) == 0.0
    assert crossing(measure, np.zeros(5), np.ones(5), 0.75) == pytest.approx(32.0)


def test_crops_are_made_worse_in_the_way_that_is_said():
    from lineament.data.synthetic import make
    from lineament.evaluation.least_quality import _answer

    crop = make(1).crops[0].transpose(1, 2, 0)
    seen = []

    def network(crops):
        seen.append(crops.pixels[0])
        from lineament.types import ModelOutput

        return ModelOutput(np.array([[1.0, -1.0]], np.float32), ("a", "b"), None)

    said, distance, whole = _answer(*Way("whole").apply(crop), network, [1, 0])
    assert said.tolist() == [False, True]
    assert distance == pytest.approx(38.4, abs=0.1)
    _, distance, small = _answer(*Way("size", 40).apply(crop), network, [0])
    assert distance == pytest.approx(38.4 * 40 / 178, abs=0.1)
    assert small < whole
    for across in (True, False):
        blurred, _ = Way("motion", 15).apply(crop, across)
        assert sharpness(blurred.transpose(2, 0, 1)) < whole
        line = (
            np.rint(crop[100].astype(float)[:15].mean(0)) if across else np.rint(crop[:15, 100].astype(float).mean(0))
        )
        assert np.abs((blurred[100, 7] if across else blurred[7, 100]) - line).max() <= 1, (
            "the mean along the way that was moved"
        )
    assert np.array_equal(seen[0].transpose(1, 2, 0), crop)


def test_a_network_is_asked_about_every_crop_in_every_way(tmp_path):
    from toy_model import write_toy_model

    from lineament.data.celeba import Official
    from lineament.data.synthetic import make
    from lineament.data.synthetic_files import write_official
    from lineament.evaluation.evaluate import predict
    from lineament.runtime.registry import load_network

    source = Official(write_official(tmp_path / "official", make(40)), "val")
    source = Subset(source, np.arange(5))
    network = load_network(str(write_toy_model(tmp_path / "toy.onnx")), threads=1)
    ticks = []
    sample = degrade(
        source,
        network,
        network.card.attributes,
        ways=(Way("whole"), Way("size", 40)),
        threads=2,
        progress=lambda: ticks.append(1),
    )
    found = predict(source, network, network.card.attributes).predictions
    at = [found.attributes.index(name) for name in sample.attributes]
    assert np.array_equal(sample.said[0], found.raw[:, at] >= 0.5)
    assert np.array_equal(sample.sharpness[0], found.sharpness)
    assert np.array_equal(sample.eye_distance[0], found.eye_distance)
    assert np.array_equal(sample.targets, found.targets[:, at])
    assert len(ticks) == 5


def test_a_measurement_is_read_and_anything_else_is_refused(tmp_path):
    path = tmp_path / "limits.json"
    path.write_text(json.dumps({"min_eye_distance": {"*": 9}, "min_sharpness": {}, "limits_of_fold": [], "images": 3}))
    assert read_limits(path) == {"min_eye_distance": {"*": 9}, "min_sharpness": {}, "limits_of_fold": []}
    for text in ("{}", "no json", "[1]"):
        path.write_text(text)
        with pytest.raises(UsageError, match="holds no limits"):
            read_limits(path)
