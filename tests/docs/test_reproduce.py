"""docs/reproduce.md: its commands parse, name configs of this package, and its tables are what the script computes."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from types import ModuleType

import pytest
from script_kit import script

from lineament.cli import _load
from lineament.config import load_config

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "reproduce.md"
COMMANDS = re.findall(r"^lineament (.+)$", PAGE.read_text("utf-8"), re.MULTILINE)


@pytest.fixture(scope="module")
def hours() -> ModuleType:
    pytest.importorskip("torch")
    pytest.importorskip("timm")
    return script("paper_hours")


def parsed(line: str) -> dict[str, object]:
    name, *arguments = shlex.split(line)
    return dict(_load(name).make_context(name, arguments).params)


@pytest.mark.parametrize("line", COMMANDS)
def test_commands_parse(line: str) -> None:
    assert parsed(line)


def test_a_command_with_a_flag_that_is_none_does_not_parse() -> None:
    with pytest.raises(Exception, match="No such option: --sed"):
        parsed("train --config baseline-celeba --sed 0")


def test_each_paper_s_command_trains_its_config_on_a_card() -> None:
    trained = [parsed(line) for line in COMMANDS if line.startswith("train ")]
    assert {given["config"] for given in trained} == {
        "baseline-celeba",
        "mgmtn-celeba",
        "far-amtn-celeba",
        "dmm-cnn-celeba",
    }
    for given in trained:
        assert load_config(str(given["config"])).optimiser.device == given["device"] == "cuda"


def test_published_numbers_are_those_of_the_configs() -> None:
    rows = dict(re.findall(r"^\| `(\S+-celeba)` \| ([^|]+?) \| not run", PAGE.read_text("utf-8"), re.MULTILINE))
    assert len(rows) == 4
    for name, published in rows.items():
        number = re.match(r"[\d.]+", published)
        paper = load_config(name).claim.paper
        assert number.group() in paper if number else "no number was readable" in paper


def test_hours_are_two_operations_a_multiply_add_over_what_is_had_of_the_peak(hours: ModuleType) -> None:
    cost = hours.Cost("toy", parameters=1, forward=1, training=10**9, images=3_600_000, disk={})
    assert cost.hours(peak=2.0, share=0.5) == pytest.approx(2.0)


def test_multiply_adds_are_those_of_one_image_in_training(hours: ModuleType) -> None:
    import torch

    x = torch.zeros((hours.SAMPLE, 5), device="meta", requires_grad=True)
    network = torch.nn.Linear(5, 7, bias=False).to("meta")
    assert hours.counted(network, x, backward=False) == 35
    assert hours.counted(network, x, backward=True) == 3 * 35, (
        "forward, the gradient of the weights, and that of the input"
    )


@pytest.mark.slow
def test_the_tables_are_fresh(hours: ModuleType) -> None:
    assert hours.main(["--check"]) == 0, "run python scripts/paper_hours.py"
