"""The contract every network here keeps, as a suite you can run on your own: `check_model(lambda: MyNet(...))`.

A network is an `nn.Module` with `.attributes`, `.groups` (each attribute in exactly one), `.preprocess`, and
`forward(x, region=None)` that returns a `TorchOutput`. Each check raises AssertionError with one sentence on what is
wrong.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from lineament.config import TrainConfig
from lineament.data.synthetic import make
from lineament.errors import UsageError
from lineament.models.checkpoint import load_tensors, save_tensors
from lineament.models.layers import TorchOutput
from lineament.objectives.landmarks import landmark_loss
from lineament.objectives.losses import bce, masked_terms, reduce
from lineament.runtime.card import Card
from lineament.schema import CELEBA_40, check_partition

Factory = Callable[[], nn.Module]
_SAME = 2e-4
"""Largest logit difference that batching may cause: convolutions choose other summation orders for other batch
sizes."""
_SHARE, _ROUNDING = 0.02, 1e-6
"""An untrained network answers nearly the same for every face, so the difference must also be small beside how much
faces differ (`_SHARE` of it), or no larger than rounding makes it (`_ROUNDING` of the largest logit)."""


def _built(make_model: Factory, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return make_model()


def _crops(n: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (n, 3, 218, 178), np.uint8))


def _varied() -> Tensor:
    """Return five pictures that no network confuses: two drawn faces, noise, black, white."""
    flat = torch.stack([torch.zeros(3, 218, 178, dtype=torch.uint8), torch.full((3, 218, 178), 255, dtype=torch.uint8)])
    return torch.cat([torch.from_numpy(make(2, seed=5).crops), _crops(1), flat])


def _allowed(logits: Tensor) -> float:
    """Return the largest difference that is no fault, given the answers (N,A) to different pictures."""
    return min(_SAME, max(_SHARE * float(logits.std(0).mean()), _ROUNDING * float(logits.abs().max())))


def _run(network: nn.Module, crops: Tensor, region: Tensor | None = None) -> TorchOutput:
    output = network(network.preprocess(crops), region=region)  # type: ignore[operator]
    assert isinstance(output, TorchOutput), f"forward must return a TorchOutput, not {type(output).__name__}."
    return output


def _logits(network: nn.Module, crops: Tensor) -> Tensor:
    with torch.no_grad():
        return _run(network.eval(), crops).logits


def check_declaration(make_model: Factory) -> None:
    """Attributes, groups and preprocessing are declared, and the groups are a partition of the attributes."""
    network = _built(make_model)
    for name in ("attributes", "groups", "preprocess"):
        assert hasattr(network, name), f"the network has no `.{name}`."
    attributes: Sequence[str] = network.attributes  # type: ignore[assignment]
    groups: Mapping[str, Sequence[str]] = network.groups  # type: ignore[assignment]
    assert len(attributes) > 0, "the network has no attribute."
    try:
        check_partition(groups, attributes)
    except UsageError as error:
        raise AssertionError(str(error)) from error


def check_shapes(make_model: Factory) -> None:
    """Logits are (N,A) float32 and finite for noise, black and white, at full size and cropped; maps and landmarks have
    their shapes."""
    network = _built(make_model).eval()
    crops = torch.cat(
        [
            _crops(1),
            torch.zeros(1, 3, 218, 178, dtype=torch.uint8),
            torch.full((1, 3, 218, 178), 255, dtype=torch.uint8),
        ]
    )
    with torch.no_grad():
        x = network.preprocess(crops)  # type: ignore[operator]
        for view in (x, x[..., 3:-8, 2:-9]):
            _check_output(network(view, region=None), len(crops), len(network.attributes))  # type: ignore[arg-type]
        _check_output(network(x, region=torch.rand(3, 8, 28, 24)), len(crops), len(network.attributes))  # type: ignore[arg-type]


def _check_output(output: TorchOutput, n: int, attributes: int) -> None:
    assert output.logits.shape == (n, attributes), (
        f"logits are {tuple(output.logits.shape)}, expected {(n, attributes)}."
    )
    assert output.logits.dtype == torch.float32, (
        f"logits are {output.logits.dtype}; return .float() also under autocast."
    )
    assert torch.isfinite(output.logits).all(), "logits are not finite for a noise, black or white image."
    if output.region is not None:
        assert output.region.ndim == 4, f"region must be (N,M,h,w), not {tuple(output.region.shape)}."
        assert len(output.region) == n, f"region is of {len(output.region)} faces, expected {n}."
    if output.landmarks is not None:
        assert output.landmarks.ndim == 3, f"landmarks must be (N,L,2), not {tuple(output.landmarks.shape)}."
        assert output.landmarks.shape[::2] == (n, 2), (
            f"landmarks must be ({n},L,2), not {tuple(output.landmarks.shape)}."
        )


def check_gradients(make_model: Factory) -> None:
    """Every trainable parameter gets a finite, nonzero gradient from logits, landmarks and embeddings; no other gets
    one."""
    network = _built(make_model).train()
    output = _run(network, _crops(4))
    loss = bce(
        output.logits, (torch.arange(output.logits.numel()).reshape(output.logits.shape) % 3 == 0).float()
    ).mean()
    if output.landmarks is not None:
        loss = loss + (output.landmarks**2).mean()
    if output.embedding is not None:
        loss = loss + (output.embedding**2).mean()
    loss.backward()  # type: ignore[no-untyped-call]
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            assert parameter.grad is None, f"frozen parameter {name} got a gradient."
            continue
        assert parameter.grad is not None, f"parameter {name} gets no gradient: unused, or detached."
        assert torch.isfinite(parameter.grad).all(), f"the gradient of {name} is not finite."
        assert parameter.grad.abs().sum() > 0, f"the gradient of {name} is zero everywhere."


def check_batch(make_model: Factory) -> None:
    """A batch of N answers as N batches of one: no face's answer depends on its neighbours."""
    network, crops = _built(make_model), _varied()
    together = _logits(network, crops)
    alone = torch.cat([_logits(network, crops[i : i + 1]) for i in range(len(crops))])
    worst = float((together - alone).abs().max())
    allowed = _allowed(together)
    assert worst <= allowed, (
        f"answers change by {worst:.2g} logits with the batch they are in. Is a norm in training mode in eval()?"
    )


def check_permutation(make_model: Factory) -> None:
    """Permuting the faces permutes the answers."""
    network, crops = _built(make_model), _varied()
    order, straight = torch.tensor([3, 0, 4, 1, 2]), _logits(network, crops)
    worst = float((straight[order] - _logits(network, crops[order])).abs().max())
    assert worst <= _allowed(straight), f"answers change by {worst:.2g} logits with the order of the faces."


def check_determinism(make_model: Factory) -> None:
    """In eval mode the same faces get the same answers, bit by bit; the global random state is not touched."""
    network, crops = _built(make_model), _crops(2)
    before = torch.random.get_rng_state()
    first = _logits(network, crops)
    assert torch.equal(before, torch.random.get_rng_state()), "forward in eval mode draws random numbers."
    assert torch.equal(first, _logits(network, crops)), "two passes in eval mode differ."


def check_checkpoint(make_model: Factory) -> None:
    """Saved weights give a fresh instance the same answers, and the card survives as JSON."""
    from lineament.export.onnx_export import describe

    network, other, crops = _built(make_model, 0), _built(make_model, 1), _crops(2)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "check.safetensors"
        save_tensors(path, network.state_dict(), {"attributes": list(network.attributes)})  # type: ignore[arg-type]
        tensors, header = load_tensors(path)
    other.load_state_dict(tensors)
    assert torch.equal(_logits(network, crops), _logits(other, crops)), (
        "reloaded weights answer otherwise: some state is not in state_dict."
    )
    assert header["attributes"] == list(network.attributes), "the header lost the attribute names."  # type: ignore[arg-type]
    card = Card(describe(network, TrainConfig("check"), None, "check"))
    again = Card.from_json(card.to_json(), origin="check")
    assert again.attributes == tuple(network.attributes), "the card lost the attribute names."  # type: ignore[arg-type]
    assert again.to_json() == card.to_json(), "the card does not survive JSON."


def check_onnx(make_model: Factory) -> None:
    """The exported graph answers as the network does, for any batch size."""
    from lineament.export.onnx_export import PARITY_TOLERANCE, parity, to_onnx

    network = _built(make_model)
    proto, _ = to_onnx(network)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "check.onnx"
        path.write_bytes(proto.SerializeToString())
        difference = parity(network, path)
    assert difference <= PARITY_TOLERANCE, f"ONNX Runtime differs from torch by {difference:.2g} logits."


def check_overfit(make_model: Factory, steps: int = 120, rates: Sequence[float] = (8e-3, 1e-3)) -> None:
    """Eight drawn faces are learned by heart: the network can learn at all, heads and attributes are wired in order.

    Convention: the learning rates are tried in turn, since small random networks and large pretrained ones want
    different ones; then all of them with twice the steps, since the same steps end a little elsewhere on another
    processor.
    """
    best = 0.0
    for length, rate in [(length, rate) for length in (steps, 2 * steps) for rate in rates]:
        best = max(best, _learned_share(_built(make_model), length, rate))
        if best > 0.97:
            return
    raise AssertionError(
        f"after {2 * steps} steps on eight faces only {best:.0%} of their labels are right. Check heads, losses and "
        "freezing."
    )


def _eight_faces(names: Sequence[str]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return crops, targets, known and key points in 0..1; a name that a drawing does not know gets an arbitrary
    pattern to learn."""
    faces = make(8, seed=5)
    place = np.array([CELEBA_40.index(name) if name in CELEBA_40 else -1 for name in names])
    own = torch.from_numpy(place < 0)
    targets = torch.where(
        own, (torch.arange(8) % 2).float()[:, None], torch.from_numpy(faces.targets[:, place]).float()
    )
    known = torch.from_numpy(faces.known[:, place]) | own
    return (
        torch.from_numpy(faces.crops),
        targets,
        known,
        torch.from_numpy(faces.keypoints) / torch.tensor([178.0, 218.0]),
    )


def _learned_share(network: nn.Module, steps: int, rate: float) -> float:
    crops, targets, known, keypoints = _eight_faces(network.attributes)  # type: ignore[arg-type]
    optimiser = torch.optim.AdamW([p for p in network.train().parameters() if p.requires_grad], lr=rate)
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = rate * min(1.0, 2 * (steps - step) / steps)
        output = _run(network, crops)
        loss = reduce(masked_terms(bce, output.logits, targets, known), known, torch.ones(targets.shape[1]))
        if output.landmarks is not None and output.landmarks.shape[1] == 5:
            loss = loss + landmark_loss(output.landmarks, keypoints)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return float(((_logits(network, crops) >= 0) == (targets > 0.5))[known].float().mean())


CHECKS: Mapping[str, Callable[[Factory], None]] = {
    "declaration": check_declaration,
    "shapes": check_shapes,
    "gradients": check_gradients,
    "batch": check_batch,
    "permutation": check_permutation,
    "determinism": check_determinism,
    "checkpoint": check_checkpoint,
    "onnx": check_onnx,
    "overfit": check_overfit,
}
"""Every check by name, for `pytest.mark.parametrize`."""


def check_model(make_model: Factory, *, skip: Sequence[str] = ()) -> None:
    """Run the contract suite on a network.

    Args: make_model: builds a fresh network each call (the suite seeds torch before); skip: names in `CHECKS` to leave
        out.
    Raises: AssertionError from the first check that fails; UsageError for an unknown name in `skip`.
    """
    unknown = sorted(set(skip) - set(CHECKS))
    if unknown:
        raise UsageError(f"No check is called {unknown[0]!r}. The checks: {', '.join(CHECKS)}.")
    for name, check in CHECKS.items():
        if name not in skip:
            check(make_model)
