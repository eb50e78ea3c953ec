"""Images of another size, beside PyTorch's: values and gradients in float64."""

import numpy as np
import pytest
import torch

import chainrule as cr
from chainrule import nn
from chainrule.errors import ArgumentError

F, G = nn.functional, torch.nn.functional
RNG = np.random.default_rng(0)
IMAGE, VOLUME = RNG.normal(size=(2, 5, 6, 3)), RNG.normal(size=(2, 5, 6, 3, 2))


def compare(x, ours, theirs):
    """Values, gradients, and the gradients of their squares."""
    a, b = cr.Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    found, expected = ours(a), theirs(b.movedim(-1, 1)).movedim(1, -1)
    np.testing.assert_allclose(found.numpy(), expected.numpy(force=True), rtol=1e-9, atol=1e-9)
    factor = RNG.normal(size=found.shape)
    (cr.Tensor(factor) * found**3).sum().backward()
    (torch.tensor(factor) * expected**3).sum().backward()
    np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("n", [1, 2, 7, 13, 26])
@pytest.mark.parametrize(
    ("mode", "align_corners"),
    [("nearest", None), ("nearest-exact", None), ("linear", False), ("linear", True)],
)
def test_lines_of_many_sizes(n, mode, align_corners):
    """float32 too: which element is nearest depends on how its place is rounded."""
    sizes = [{"size": m} for m in range(1, 40)]
    factors = [{"scale_factor": f} for f in (1 / 3, 0.7, 1.0, 1.3, 1.5, 2, 2.7, 3.3) if n * f >= 1]
    for dtype in (np.float64, np.float32):
        x = RNG.normal(size=(1, n, 1)).astype(dtype)
        for given in sizes + factors:
            settings = {**given, "mode": mode, "align_corners": align_corners}
            found = F.interpolate(x, **settings).numpy()
            expected = G.interpolate(torch.tensor(x).movedim(-1, 1), **settings).movedim(1, -1)
            tolerance = 1e-9 if dtype is np.float64 else 1e-5
            np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance, err_msg=str(given))


SIZES = [{"size": 1}, {"size": (8, 3)}, {"size": (5, 11)}, {"size": 6}]
FACTORS = [{"scale_factor": f} for f in (2, 3.0, 1.3, 0.6, (2.5, 1.1))]


@pytest.mark.parametrize("align_corners", [None, True])
@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("given", SIZES + FACTORS, ids=str)
def test_images(given, mode, align_corners):
    settings = {**given, "mode": mode, "align_corners": align_corners}
    compare(IMAGE, nn.Upsample(**settings), torch.nn.Upsample(**settings))


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact", "trilinear"])
@pytest.mark.parametrize("given", [{"size": (3, 9, 4)}, {"scale_factor": (2, 1.5, 3)}], ids=str)
def test_volumes(given, mode):
    settings = {**given, "mode": mode}
    compare(VOLUME, nn.Upsample(**settings), torch.nn.Upsample(**settings))


@pytest.mark.parametrize("mode", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize("recomputed", [False, True])
def test_a_factor_that_decides_sizes_alone(mode, recomputed):
    settings = {"scale_factor": 1.7, "mode": mode, "recompute_scale_factor": recomputed}
    compare(IMAGE, nn.Upsample(**settings), torch.nn.Upsample(**settings))


@pytest.mark.parametrize("factor", [1.01, 1.1, 1.3, 2.0, 2.05, 2.1, 2.3, 0.7])
@pytest.mark.parametrize("mode", ["nearest", "nearest-exact"])
def test_sizes_that_stay_or_double_by_a_factor_of_something_else(mode, factor):
    for n in range(2, 12):
        x = RNG.normal(size=(1, n, 3, 2))
        settings = {"scale_factor": factor, "mode": mode}
        compare(x, nn.Upsample(**settings), torch.nn.Upsample(**settings))
    line = np.arange(3.0)[None, :, None]
    theirs = torch.nn.functional.interpolate(torch.tensor(line).mT, scale_factor=1.3)
    assert F.interpolate(line, scale_factor=1.3).numpy().ravel().tolist() == theirs.ravel().tolist()


@pytest.mark.parametrize(
    ("factor", "says"),
    [(float("inf"), "below 2⁶³"), (1e308, "below 2⁶³"), (1e9, "GB, the memory"), (1e18, "GB")],
)
def test_a_factor_that_is_too_large(factor, says):
    with pytest.raises(ArgumentError, match=says):
        F.interpolate(IMAGE, scale_factor=factor)


def test_linear_is_the_mode_of_any_number_of_sizes():
    for x, name in ((IMAGE, "bilinear"), (VOLUME, "trilinear")):
        found = F.interpolate(x, 4, mode="linear").numpy()
        np.testing.assert_array_equal(found, F.interpolate(x, 4, mode=name).numpy())


def test_second_derivatives():
    for mode in ("bilinear", "bicubic"):
        cr.check_gradients(lambda x, m=mode: F.interpolate(x, (3, 4), mode=m) ** 3, IMAGE[:1, :2])


@pytest.mark.parametrize("mode", ["nearest", "bilinear", "bicubic"])
def test_compiled(mode):
    up = nn.Upsample(scale_factor=1.7, mode=mode)

    def slopes(x):
        return cr.grad(lambda x: (up(x) ** 2).sum())(x)

    found = cr.compile(slopes)(cr.Tensor(IMAGE)).numpy()
    np.testing.assert_allclose(found, slopes(cr.Tensor(IMAGE)).numpy(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("r", [1, 2, 3])
def test_pixels_as_channels(r):
    x = RNG.normal(size=(2, 3, 4, 5 * r * r))
    compare(x, nn.PixelShuffle(r), torch.nn.PixelShuffle(r))
    wide = nn.PixelShuffle(r)(x)
    np.testing.assert_array_equal(nn.PixelUnshuffle(r)(wide).numpy(), x)
    compare(wide.numpy(), nn.PixelUnshuffle(r), torch.nn.PixelUnshuffle(r))
