"""Ordinary photos: JPEG against Pillow's own, fewer pixels, a side cut off; each on the share of images asked for, and
on no other."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

torch = pytest.importorskip("torch")

from lineament.config import AugmentConfig  # noqa: E402
from lineament.data.degrade import cut, degrade, jpeg, shrink  # noqa: E402


def face(astronaut: np.ndarray, size: tuple[int, int] = (218, 178)) -> torch.Tensor:
    """Return the portrait's head (1,3,h,w) as float RGB."""
    head = Image.fromarray(astronaut[0:218, 130:308]).resize(size[::-1])
    return torch.from_numpy(np.asarray(head).transpose(2, 0, 1).copy()).float().unsqueeze(0)


def by_pillow(x: torch.Tensor, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(x[0].byte().numpy().transpose(1, 2, 0)).save(file, "JPEG", quality=quality, subsampling=2)
    return np.asarray(Image.open(file), np.float64).transpose(2, 0, 1)


@pytest.mark.parametrize("quality", [25, 50, 75, 95])
def test_jpeg_is_pillow_s(astronaut: np.ndarray, quality: int) -> None:
    """Nearer to what Pillow's encoder and decoder give back than that is to the picture, by far: the same tables,
    blocks and colour at half size."""
    x = face(astronaut)
    ours, theirs = jpeg(x, torch.tensor([float(quality)]))[0].double().numpy(), by_pillow(x, quality)
    difference, loss = np.abs(ours - theirs).mean(), np.abs(theirs - x[0].numpy()).mean()
    assert difference < max(
        0.35 * loss, 0.8
    )  # at 95 what is left is whole numbers between the steps, which theirs rounds to and ours does not
    assert np.abs(np.abs(ours - x[0].numpy()).mean() - loss) < 0.15 * loss


def test_a_batch_has_each_image_s_own_quality(astronaut: np.ndarray) -> None:
    x = face(astronaut)
    both = jpeg(x.expand(2, -1, -1, -1), torch.tensor([25.0, 95.0]))
    torch.testing.assert_close(both[:1], jpeg(x, torch.tensor([25.0])))
    assert (both[0] - x[0]).abs().mean() > 2 * (both[1] - x[0]).abs().mean()


def test_fewer_pixels_take_detail_and_leave_the_mean(astronaut: np.ndarray) -> None:
    x = face(astronaut).expand(3, -1, -1, -1)
    out = shrink(x, torch.tensor([1.0, 2.0, 4.0]))
    assert torch.equal(out[0], x[0])
    detail = [(one[:, 1:] - one[:, :-1]).abs().mean() for one in out]
    assert detail[0] > detail[1] > detail[2]
    np.testing.assert_allclose(out.mean((1, 2, 3)).numpy(), x.mean((1, 2, 3)).numpy(), atol=1.0)


@pytest.mark.parametrize(("side", "gone"), list(enumerate(["top", "bottom", "left", "right"])))
def test_a_cut_side_is_the_edge_repeated(side: int, gone: str) -> None:
    x = torch.arange(20.0).view(1, 1, 20, 1).expand(1, 3, 20, 16) * 100 + torch.arange(16.0)
    out = cut(x, torch.tensor([side]), torch.tensor([0.25]))[0, 0].numpy()
    expected = x[0, 0].numpy().copy()
    if gone == "top":
        expected[:5] = expected[5]
    elif gone == "bottom":
        expected[15:] = expected[14]
    elif gone == "left":
        expected[:, :4] = expected[:, 4:5]
    else:
        expected[:, 12:] = expected[:, 11:12]
    np.testing.assert_array_equal(out, expected)
    assert torch.equal(cut(x, torch.tensor([side]), torch.tensor([0.0])), x)


@pytest.mark.parametrize("name", ["cut", "resolution", "jpeg"])
def test_each_is_done_to_its_share_of_the_images(name: str) -> None:
    x = torch.rand(400, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 255
    kept = x.clone()
    out = degrade(x, AugmentConfig(**{name: 0.3}), torch.Generator().manual_seed(0))
    assert torch.equal(x, kept), "the batch given is left as it is"
    changed = (out != x).flatten(1).any(1).float().mean()
    assert 0.2 < float(changed) < 0.4
    assert degrade(x, AugmentConfig(), torch.Generator()) is x
