"""MGMTN: Mask-Guided Multi-Task Network (arXiv 2601.01408; Gao et al., 2026), Adaptive Mask Learning and Group-Global
Feature Fusion.

    x (N,3,h,w) -> region (N,K,h',w') ;  x -> F_3, F_4, F_5 -> region (x) F_i -> v (N,K,3D) ; GAP(F_5) -> g (N,D)
        -> [v ; g] -> logits (N,A)

| paper symbol | our name |
|---|---|
| P_j, mask of group j | `region[:, j]` |
| F_i, features of stage i = 3, 4, 5 | `features` |
| Gr_i^j = resize(P_j; F_i) (x) F_i | inside `masked_average` |
| g, global feature | `whole` |

Read in the paper (through its reviews): eight groups by name; a UNet with a head per group predicts the masks, no key
points at inference;
ResNeSt-50 at 227x227 with features of stages 3, 4, 5; the mask, resized to each stage's own shape, multiplies the
stage's features; group features are fused with the global feature before each group's attributes are predicted.
Reconstructed here: group membership; polygons and U-Net size (`region_unet.py`, `data/regions.py`); frozen soft masks;
how a mask is resized (by area, so that no part vanishes on a coarse grid); pooling over a stage (masked average with a
floor), its projection and norm, the fusion layer, all widths. Every such choice is a switch. A variation of ours, not
the paper's: `open_object`, where the group Object looks at the whole map.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from lineament.config import expand
from lineament.data.regions import GROUPS, mean_region
from lineament.errors import ConfigError
from lineament.models.backbone import Backbone
from lineament.models.checkpoint import load_tensors
from lineament.models.contributions import at_cells, through_fusion, through_norm, total
from lineament.models.layers import Preprocess, TorchOutput
from lineament.models.region_pooling import MASK_RESIZES, masked_average, on_grid, pooling_shares
from lineament.models.region_unet import region_unet, rgb_of

MASKS = ("learned", "mean", "none")
USES = ("both", "group", "global")


class MGMTN(nn.Module):
    """Mask-guided network. Each switch is one control of the paper's claim.

    Args:
        mask: `learned` (region network, or the cached `region` given to forward), `mean` (one fixed mean-shape mask),
        `none` (plain pooling).
        soft: soft masks, or binarised at 0.5. use: `both`, `group` only or `global` only. last_stage_only: F_5 alone.
        plain_pooling: GAP of the masked features (its scale follows the region's area) in place of the masked average.
        mask_resize: how masks reach a stage's grid, by `area` or sampled (`bilinear`: weights trained before). floor:
            cells of the whole map mixed into a region's average (`region_pooling.py`); 0 gives an absent part a zero
            feature.
        open_object: the group Object sees the whole map, a variation of ours: necklaces and neckties lie outside every
        face region.
        region_scale: `cpu` or `paper` U-Net; region_weights: its trained file; region_trainable: train it with the
        rest.
        width, hidden: sizes of the projections and of the fused feature.

    Source: arXiv 2601.01408, see the file header for what is reconstructed.
    """

    def __init__(
        self,
        backbone: Backbone,
        preprocess: Preprocess,
        attributes: Sequence[str],
        groups: Mapping[str, Sequence[str]],
        *,
        mask: str = "learned",
        soft: bool = True,
        use: str = "both",
        last_stage_only: bool = False,
        plain_pooling: bool = False,
        mask_resize: str = "area",
        floor: float = 0.1,
        open_object: bool = False,
        region_scale: str = "cpu",
        region_weights: str | None = None,
        region_trainable: bool = False,
        width: int = 256,
        hidden: int = 512,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        if mask not in MASKS or use not in USES:
            raise ConfigError(f"mgmtn: mask must be one of {MASKS} and use one of {USES}; got {mask!r}, {use!r}.")
        if mask_resize not in MASK_RESIZES or floor < 0:
            raise ConfigError(
                f"mgmtn: mask_resize must be one of {MASK_RESIZES} and floor at least 0; got {mask_resize!r}, {floor}."
            )
        self.backbone, self.preprocess = backbone, preprocess
        self.attributes, self.groups = tuple(attributes), {name: tuple(members) for name, members in groups.items()}
        self.mask, self.soft, self.use, self.plain_pooling, self.open_object = (
            mask,
            soft,
            use,
            plain_pooling,
            open_object,
        )
        self.mask_resize, self.floor = mask_resize, floor
        self.region_given = region_weights is not None
        self.stages = (2,) if last_stage_only else (0, 1, 2)
        self.region_trainable = region_trainable
        self._build_masks(region_scale, region_weights)
        self._build_fusion(width, hidden, dropout)

    def _build_masks(self, scale: str, weights: str | None) -> None:
        self.region_net: nn.Module | None = None
        self.mean_mask: Tensor | None
        self.register_buffer("mean_mask", None, persistent=False)
        if self.use == "global" or self.mask == "none":
            return
        unknown = [name for name in self.groups if name not in GROUPS]
        if unknown:
            raise ConfigError(
                f"mgmtn has no region for the group {unknown[0]!r}. Use groups among {GROUPS}, or mask: none."
            )
        self.region_rows = [GROUPS.index(name) for name in self.groups]
        if self.mask == "mean":
            self.mean_mask = torch.from_numpy(mean_region(style="paper")).float().unsqueeze(0)
            return
        self.region_net = region_unet(GROUPS, scale)
        if weights is not None:
            tensors, _ = load_tensors(expand(weights))
            self.region_net.load_state_dict(
                {name: t.float() if t.is_floating_point() else t for name, t in tensors.items()}
            )
        self.region_net.requires_grad_(self.region_trainable)

    def _build_fusion(self, width: int, hidden: int, dropout: float) -> None:
        channels = self.backbone.channels
        size = 0
        if self.use != "global":
            self.project = nn.ModuleList(
                nn.Sequential(nn.Linear(channels[i], width), nn.LayerNorm(width)) for i in self.stages
            )
            size += width * len(self.stages)
        if self.use != "group":
            self.project_whole = nn.Linear(channels[-1], width)
            size += width
        self.fuse = nn.Sequential(
            nn.Linear(size, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Dropout(dropout)
        )
        self.heads = nn.ModuleList(nn.Linear(hidden, len(members)) for members in self.groups.values())
        self.order: Tensor
        flat = [name for members in self.groups.values() for name in members]
        self.register_buffer("order", torch.tensor([flat.index(name) for name in self.attributes]), persistent=False)

    def train(self, mode: bool = True) -> MGMTN:
        """Set training mode; a frozen region network stays in eval mode."""
        super().train(mode)
        if self.region_net is not None and not self.region_trainable:
            self.region_net.eval()
        return self

    def check_start(self, fresh: Sequence[str] | None) -> None:
        """Raises: ConfigError before a training whose masks would come from a region network that nothing has trained
        or will train.

        Args: fresh: names of the tensors that the weights it starts from did not fill, None where it starts from none.
        """
        learned = (
            self.region_given
            or self.region_trainable
            or (fresh is not None and not any(name.startswith("region_net.") for name in fresh))
        )
        if self.region_net is not None and not learned:
            raise ConfigError(
                "mgmtn: mask: learned needs a trained region network also where data.regions gives cached masks, since "
                "the exported network predicts "
                "its own. Set model.options.region_weights to a file (`lineament prepare` makes it), region_trainable: "
                "true, or another mask."
            )

    def whole_frame_region(self, n: int) -> Tensor | None:
        """Return the masks (n,8,h',w') that hold for every uncropped face, None where they depend on the image:
        training moves them with its crop."""
        return None if self.mean_mask is None else self.mean_mask.expand(n, -1, -1, -1)

    def predict_region(self, x: Tensor) -> Tensor:
        """Return soft masks of all eight groups (N,8,h',w') in 0..1 for a normalised input."""
        assert self.region_net is not None
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.region_trainable):
            masks: Tensor = torch.sigmoid(self.region_net(rgb_of(x, self.preprocess)).float())
        return masks

    def masks(self, x: Tensor, region: Tensor | None = None) -> Tensor | None:
        """Return the masks used (N,K,h',w') in the order of `groups`, (1,K,h',w') where they are the same for all; None
        without masks.

        Args: x (N,3,h,w) normalised; region (N,8,...) masks of the same frame, taken in place of the region network's
            or the mean face's.
        """
        if self.region_net is None and self.mean_mask is None:
            return None
        if region is None:
            region = self.mean_mask  # one for all: runtimes resize it once, when they load the file
        chosen = (self.predict_region(x) if region is None else region)[:, self.region_rows]
        if not self.soft:
            chosen = (chosen >= 0.5).to(chosen.dtype)
        if self.open_object and "Object" in self.groups:
            row = list(self.groups).index("Object")
            keep = torch.ones(1, len(self.groups), 1, 1, device=chosen.device, dtype=chosen.dtype)
            keep[:, row] = 0
            chosen = chosen * keep + (1 - keep)
        return chosen

    def forward(self, x: Tensor, region: Tensor | None = None) -> TorchOutput:
        features = self.backbone(x)  # F_3, F_4, F_5
        masks = self.masks(x, region)  # (N,K,h',w'), or one for all
        tokens = self.fuse_inputs(features, masks)  # (N,K,D)
        n, k, d = tokens.shape
        fused = self.fuse(tokens.reshape(n * k, d)).reshape(n, k, -1)  # (N,K,hidden)
        logits = torch.cat([head(fused[:, j]) for j, head in enumerate(self.heads)], dim=1)  # (N,A) in group order
        logits = logits.index_select(1, self.order).float()
        if self.training:
            return TorchOutput(logits, masks)
        pooled = features[-1].mean((2, 3)).float()  # (N,C5)
        return TorchOutput(
            logits, self.class_maps(features, masks, fused) if self.region_net is None else masks, features=pooled
        )

    def maps_of(self) -> dict[str, object]:
        """Return what the maps are, for the card: learned masks, or each answer taken apart where masks are the same
        for all and show nothing."""
        if self.region_net is not None:
            return {"kind": "region", "of": list(self.groups)}
        return {"kind": "class_activation", "of": list(self.attributes)}

    def class_maps(self, features: Sequence[Tensor], masks: Tensor | None, fused: Tensor) -> Tensor:
        """Return class-activation maps (N,A,h,w) on the grid of the middle stage: a cell's part in each logit
        (`contributions.py`).

        Args: features F_3, F_4, F_5; masks (N,K,h',w'); fused (N,K,hidden) after the ReLU.
        """
        groups = [j for j, members in enumerate(self.groups.values()) for _ in members]
        place = torch.tensor(groups, device=fused.device).index_select(0, self.order)  # each attribute's group
        rows = torch.cat([head.weight for head in self.heads]).index_select(0, self.order)  # type: ignore[misc]
        signal = through_fusion(rows, (fused > 0).to(fused.dtype).index_select(1, place), self.fuse)  # (N,A,D)
        parts, at = [], 0
        for project, stage in zip(self.project, self.stages, strict=True) if self.use != "global" else ():
            linear, norm = project[0], project[1]  # type: ignore[index]
            before = linear(self._pool(features[stage], masks)).index_select(1, place)
            back = through_norm(signal[:, :, at : at + norm.normalized_shape[0]], norm, before) @ linear.weight
            share = None if masks is None else self._shares(features[stage], masks)
            parts.append(at_cells(back, features[stage], None if share is None else share.index_select(1, place)))
            at += norm.normalized_shape[0]
        if self.use != "group":
            parts.append(at_cells(signal[:, :, at:] @ self.project_whole.weight, features[-1], None))
        grid = features[self.stages[len(self.stages) // 2]].shape[-2:]
        return total([part.float() for part in parts], (int(grid[0]), int(grid[1])))

    def fuse_inputs(self, features: Sequence[Tensor], masks: Tensor | None) -> Tensor:
        """Return [v^j ; g] of each group (N,K,D)."""
        k = len(self.groups)
        parts = []
        if self.use != "global":
            for project, stage in zip(self.project, self.stages, strict=True):
                parts.append(project(self._pool(features[stage], masks)))  # (N,K,width)
        if self.use != "group":
            whole = self.project_whole(features[-1].mean((2, 3)))  # g (N,width)
            parts.append(whole.unsqueeze(1).expand(-1, k, -1))
        return torch.cat(parts, dim=2)

    def _pool(self, feature: Tensor, masks: Tensor | None) -> Tensor:
        if masks is None:
            return feature.mean((2, 3)).unsqueeze(1).expand(-1, len(self.groups), -1)
        return masked_average(
            feature, on_grid(masks, feature, self.mask_resize), plain=self.plain_pooling, floor=self.floor
        )

    def _shares(self, feature: Tensor, masks: Tensor) -> Tensor:
        return pooling_shares(on_grid(masks, feature, self.mask_resize), plain=self.plain_pooling, floor=self.floor)
