"""Attribute names: 40 of them, each in one group of every paper, and a wrong name is told the nearest right one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lineament.errors import UnknownAttributeError, UsageError
from lineament.schema import (
    CELEBA_40,
    MGMTN_GROUPS,
    OBJECTIVE_23,
    SENSITIVE,
    SUBJECTIVE_17,
    check_partition,
    in_profile,
    resolve,
)


def test_forty_names_in_celebas_order() -> None:
    assert len(CELEBA_40) == len(set(CELEBA_40)) == 40
    assert list(CELEBA_40) == sorted(CELEBA_40)  # CelebA lists them alphabetically, digits first


def test_every_grouping_is_a_partition() -> None:
    check_partition(MGMTN_GROUPS)
    check_partition({"objective": OBJECTIVE_23, "subjective": SUBJECTIVE_17})
    assert (len(OBJECTIVE_23), len(SUBJECTIVE_17)) == (23, 17)


@pytest.mark.parametrize(
    "groups",
    [{"a": CELEBA_40, "b": ("Bald",)}, {"a": CELEBA_40[1:]}, {"a": (*CELEBA_40, "Tall")}],
    ids=["twice", "missing", "unknown"],
)
def test_what_is_no_partition_is_refused(groups: dict[str, tuple[str, ...]]) -> None:
    with pytest.raises(UsageError, match="exactly once"):
        check_partition(groups)


def test_profiles() -> None:
    assert set(in_profile("all")) - set(in_profile("default")) == SENSITIVE
    assert len(SENSITIVE) == 11
    with pytest.raises(UsageError, match="Unknown profile"):
        in_profile("none")


@given(st.sampled_from(CELEBA_40), st.randoms(use_true_random=False))
def test_case_does_not_matter(name: str, random: object) -> None:
    mixed = "".join(letter.upper() if random.random() < 0.5 else letter.lower() for letter in name)  # type: ignore[attr-defined]
    assert resolve(f" {mixed} ") == name


@pytest.mark.parametrize(
    ("wrong", "right"),
    [("hat", "Wearing_Hat"), ("smilng", "Smiling"), ("Wavy Hair", "Wavy_Hair"), ("necktie", "Wearing_Necktie")],
)
def test_a_wrong_name_is_told_the_right_one(wrong: str, right: str) -> None:
    with pytest.raises(UnknownAttributeError, match=f"Did you mean {right}"):
        resolve(wrong)


def test_a_name_like_none_gets_no_guess() -> None:
    with pytest.raises(UnknownAttributeError) as caught:
        resolve("xylophone")
    assert "Did you mean" not in str(caught.value)
