"""DMM-CNN: Deep Multi-task Multi-label CNN (arXiv 2002.03683; Mao, Yan, Xue, Wang; IEEE T-AffC 2022).

    x -> trunk -> F (N,C,h,w) -> landmarks (N,L,2)
                              -> objective branch (N,A_o), subjective branch (N,A_s) -> logits (N,A)

| paper's term | our name |
|---|---|
| objective / subjective attributes | `OBJECTIVE_23` / `SUBJECTIVE_17` of `schema.py` |
| dynamic weighting | `objectives/weighting.py`, strategy `dmm` |
| adaptive threshold | `objectives/thresholds.py` |

Read in the paper (abstract and reading notes): landmark detection trained jointly to help the attributes; attributes
split into objective and subjective, each with its own network design; loss weights set per attribute during training;
thresholds set per attribute.
Remembered, not re-read: ResNet-50, 72 landmarks, spatial pyramid pooling in one branch. Reconstructed here: which
branch has the pyramid (`swap` exchanges them), which stages each reads, the plain network's answer beside the pyramid
(`beside`), what the branch of judgements is (`judging`), the split, every layer size, the landmark head and its loss
(`objectives/landmarks.py`).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from lineament.errors import ConfigError
from lineament.models.backbone import Backbone
from lineament.models.layers import Preprocess, TorchOutput
from lineament.schema import SUBJECTIVE_17

LANDMARK_COUNTS = (0, 5, 68, 72, 98, 468)
POOLS = ("max", "mean")
JUDGING = ("residual", "deep")
_SMALL = 0.03
"""What layers beside the plain network's path begin at, times the usual scale: not zero, since what lies before them
must learn from the first step."""


class PyramidPooling(nn.Module):
    """Spatial pyramid pooling: the maximum (or mean) over each cell of 1x1, 2x2 and 4x4 grids. (N,C,h,w) -> (N,21C).

    Convention: cell i of n covers rows floor(i h / n) to ceil((i+1) h / n), so any map size works and neighbours may
    overlap by a row.
    Source: He et al., ECCV 2014 (arXiv 1406.4729), with overlap where h is no multiple of n.
    """

    def __init__(self, levels: Sequence[int] = (1, 2, 4), pool: str = "max") -> None:
        super().__init__()
        if pool not in POOLS:
            raise ConfigError(f"dmm-cnn: pool must be one of {POOLS}, not {pool!r}.")
        self.levels, self.pool = tuple(levels), pool

    @property
    def cells(self) -> int:
        return sum(n * n for n in self.levels)

    def forward(self, feature: Tensor) -> Tensor:
        h, w = int(feature.shape[2]), int(feature.shape[3])
        cells = [
            feature[:, :, (i * h) // n : -(-(i + 1) * h // n), (j * w) // n : -(-(j + 1) * w // n)]
            for n in self.levels
            for i in range(n)
            for j in range(n)
        ]
        return torch.cat([cell.amax((2, 3)) if self.pool == "max" else cell.mean((2, 3)) for cell in cells], dim=1)


class PyramidBranch(nn.Module):
    """1x1 convolution -> pyramid, of each stage given -> hidden layer -> logits: the design for attributes that are the
    presence of a thing.

    `beside`: the plain network's answer, one linear layer on the last stage's mean, is added, and what the pyramid adds
    begins small. Alone, the pyramid sees the trunk through `inner` channels, and ranked these attributes worse than the
    plain network (-1.0 points of average precision).
    """

    def __init__(
        self,
        channels: Sequence[int],
        inner: int,
        hidden: int,
        outputs: int,
        dropout: float,
        pool: str = "max",
        beside: bool = False,
    ) -> None:
        super().__init__()
        pyramid = PyramidPooling(pool=pool)
        *earlier, last = channels
        self.look = nn.Sequential(nn.Conv2d(last, inner, 1), nn.ReLU())
        self.look_earlier = nn.ModuleList(nn.Sequential(nn.Conv2d(cin, inner, 1), nn.ReLU()) for cin in earlier)
        self.answer = nn.Sequential(
            nn.Flatten(), *_answer(inner * pyramid.cells * len(channels), hidden, outputs, dropout)
        )
        self.pyramid = pyramid
        self.plain = nn.Sequential(nn.Dropout(dropout), nn.Linear(last, outputs)) if beside else None
        if beside:
            for parameter in self.answer[-1].parameters():
                nn.init.normal_(parameter, std=_SMALL * hidden**-0.5)

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return logits (N,A_b) and the map they rest on (N,h,w), that of the last stage."""
        *earlier, last = features
        seen = self.look(last)
        parts = [self.pyramid(look(feature)) for look, feature in zip(self.look_earlier, earlier, strict=True)]
        logits: Tensor = self.answer(torch.cat([*parts, self.pyramid(seen)], dim=1))
        if self.plain is not None:
            logits = logits + self.plain(last.mean((2, 3)))
        return logits, seen.mean(1).float()


class Refine(nn.Module):
    """F + r(F), r = 1x1, 3x3, 1x1 convolutions; the last begins small, so that the feature is nearly the trunk's own
    until training adds to it."""

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        narrow = [nn.Conv2d(channels, inner, 1, bias=False), nn.BatchNorm2d(inner), nn.ReLU()]
        look = [nn.Conv2d(inner, inner, 3, padding=1, bias=False), nn.BatchNorm2d(inner), nn.ReLU()]
        last = nn.Conv2d(inner, channels, 1)
        nn.init.normal_(last.weight, std=_SMALL * inner**-0.5)
        nn.init.zeros_(last.bias)  # type: ignore[arg-type]
        self.change = nn.Sequential(*narrow, *look, last)

    def forward(self, feature: Tensor) -> Tensor:
        changed: Tensor = self.change(feature)
        return feature + changed


class JudgingBranch(nn.Module):
    """Each stage given, refined (`Refine`) -> global average -> hidden layer -> logits: the design for judgements.

    It begins with what a plain network pools, and with stages 3 and 4 beside it, so that it has nothing to regain
    before it can gain.
    """

    def __init__(
        self, channels: Sequence[int], inner: int, hidden: int, outputs: int, dropout: float, pool: str = "max"
    ) -> None:
        super().__init__()
        self.refine = nn.ModuleList(Refine(size, max(1, inner // 2)) for size in channels)
        self.answer = nn.Sequential(*_answer(sum(channels), hidden, outputs, dropout))

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return logits (N,A_b) and the map they rest on (N,h,w), that of the last stage."""
        seen = [refine(feature) for refine, feature in zip(self.refine, features, strict=True)]
        return self.answer(torch.cat([feature.mean((2, 3)) for feature in seen], dim=1)), seen[-1].mean(1).float()


class DeepBranch(nn.Module):
    """Three 3x3 convolutions on the last stage -> global average -> hidden layer -> logits: the earlier design for
    judgements.

    It reads the last stage alone through layers that all begin at random, and lost 1.9 points of AUC on subjective
    attributes to the plain network.
    """

    def __init__(
        self, channels: Sequence[int], inner: int, hidden: int, outputs: int, dropout: float, pool: str = "max"
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for cin in (channels[-1], inner, inner):
            layers += [nn.Conv2d(cin, inner, 3, padding=1, bias=False), nn.BatchNorm2d(inner), nn.ReLU()]
        self.look = nn.Sequential(*layers)
        self.answer = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), *_answer(inner, hidden, outputs, dropout))

    def forward(self, features: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return logits (N,A_b) and the map they rest on (N,h,w)."""
        seen = self.look(features[-1])
        return self.answer(seen), seen.mean(1).float()


def _answer(size: int, hidden: int, outputs: int, dropout: float) -> list[nn.Module]:
    return [nn.Linear(size, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, outputs)]


class DmmCnn(nn.Module):
    """Landmarks and two kinds of attributes from one trunk.

    Args:
        landmarks: points of the landmark head, 0 for none. It reads means over a grid of `landmark_grid` cells a side
            of stage `landmark_stage` (one cell is the mean of the whole map, which hardly tells where anything is).
        judging: the branch of judgements is `residual` (`JudgingBranch`) or `deep`. swap: exchange the designs of the
            two branches; split: else one pyramid branch for all attributes.
        stages: how many of the trunk's last three stages the pyramid branch reads (1: the last alone); judging_stages:
        the same of the other.
        beside: the pyramid branch adds to the plain network's answer (`PyramidBranch`).
        inner, hidden: layer sizes (512 and 1024 at paper scale); pool: `max` or `mean` over the pyramid's cells.

    Source: arXiv 2002.03683, see the file header for what is reconstructed.
    """

    def __init__(
        self,
        backbone: Backbone,
        preprocess: Preprocess,
        attributes: Sequence[str],
        groups: Mapping[str, Sequence[str]],
        *,
        landmarks: int = 5,
        swap: bool = False,
        split: bool = True,
        inner: int = 128,
        hidden: int = 512,
        pool: str = "max",
        stages: int = 1,
        beside: bool = True,
        judging: str = "residual",
        judging_stages: int = 3,
        landmark_grid: int = 7,
        landmark_stage: int = 4,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        if stages not in (1, 2, 3) or judging_stages not in (1, 2, 3):
            raise ConfigError(
                f"dmm-cnn: stages and judging_stages must be one of (1, 2, 3), not {stages} and {judging_stages}."
            )
        if landmarks not in LANDMARK_COUNTS:
            raise ConfigError(f"dmm-cnn: landmarks must be one of {LANDMARK_COUNTS}, not {landmarks}.")
        if landmark_stage not in (3, 4, 5):
            raise ConfigError(f"dmm-cnn: landmark_stage must be one of (3, 4, 5), not {landmark_stage}.")
        if judging not in JUDGING:
            raise ConfigError(f"dmm-cnn: judging must be one of {JUDGING}, not {judging!r}.")
        self.backbone, self.preprocess = backbone, preprocess
        self.attributes, self.groups, self.landmarks = tuple(attributes), dict(groups), landmarks
        subjective = [i for i, name in enumerate(self.attributes) if split and name in SUBJECTIVE_17]
        objective = [i for i in range(len(self.attributes)) if i not in subjective]
        pyramid = functools.partial(PyramidBranch, beside=beside)
        designs = [(pyramid, stages), (JudgingBranch if judging == "residual" else DeepBranch, judging_stages)]
        kinds = zip(
            ("objective", "subjective"), designs[::-1] if swap else designs, (objective, subjective), strict=True
        )
        built = {name: (design, reads, columns) for name, (design, reads), columns in kinds if columns}
        self.reads = {name: reads for name, (_, reads, _) in built.items()}
        self.branches = nn.ModuleDict(
            {
                name: design(backbone.channels[-reads:], inner, hidden, len(columns), dropout, pool)
                for name, (design, reads, columns) in built.items()
            }
        )
        flat = objective + subjective
        self.order: Tensor
        self.register_buffer("order", torch.tensor([flat.index(i) for i in range(len(flat))]), persistent=False)
        self.landmark_stage = landmark_stage - 3
        self.landmark_head = (
            self._landmark_head(backbone.channels[self.landmark_stage], inner, hidden, landmark_grid)
            if landmarks
            else None
        )

    def _landmark_head(self, channels: int, inner: int, hidden: int, grid: int) -> nn.Sequential:
        last = nn.Linear(hidden, 2 * self.landmarks)
        nn.init.constant_(last.bias, 0.5)  # the middle of the crop
        nn.init.normal_(last.weight, std=1e-2)
        if grid == 1:
            return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, hidden), nn.ReLU(), last)
        look = [nn.Conv2d(channels, inner, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(grid), nn.Flatten()]
        return nn.Sequential(*look, nn.Linear(inner * grid * grid, hidden), nn.ReLU(), last)

    def forward(self, x: Tensor, region: Tensor | None = None) -> TorchOutput:
        features = self.backbone(x)  # of stages 3, 4, 5; the last (N,C,h/32,w/32)
        answers, seen = zip(
            *(branch(features[-self.reads[name] :]) for name, branch in self.branches.items()), strict=True
        )
        logits = torch.cat(answers, dim=1).index_select(1, self.order).float()  # (N,A)
        maps = None if self.training else torch.stack(seen, dim=1)  # (N,2,h/32,w/32)
        pooled = None if self.training else features[-1].mean((2, 3)).float()  # (N,C5)
        landmarks = None
        if self.landmark_head is not None:
            landmarks = self.landmark_head(features[self.landmark_stage]).float().reshape(-1, self.landmarks, 2)
        return TorchOutput(logits, maps, landmarks, features=pooled)

    def maps_of(self) -> dict[str, object]:
        """Return what the maps are, for the card."""
        return {"kind": "branch_activation", "of": list(self.branches)}
