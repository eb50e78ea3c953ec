"""Augmented images: what each change does, by Pillow or by hand, and how mixed targets follow."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageEnhance
from scipy import stats

from chainrule.data import Augment, CutMix, Draws, MixUp
from chainrule.data.draws import _BLOCKS, _KEY
from chainrule.data.images.mixing import beta_table
from chainrule.data.images.resampling import turned
from chainrule.errors import ArgumentError, ShapeError
from chainrule.random import Generator

rng = np.random.default_rng(0)
COLOURS = rng.integers(0, 256, (40, 12, 10, 3), np.uint8)
MILD = (rng.integers(70, 170, (40, 12, 10, 3))).astype(np.uint8)  # factors near 1 do not clip them
Y = np.arange(40) % 4


def draws(rows: Any = None, seed: int = 0, epoch: int = 0) -> Draws:
    return Draws(seed, epoch, np.arange(40) if rows is None else np.asarray(rows))


def test_the_numbers_of_a_row_are_those_of_the_generator() -> None:
    generator = Generator(0)
    generator.set_state(np.array([7 ^ _KEY, 3 + (2 << 32)], np.uint64))
    words = generator.bits((2 * 4 * _BLOCKS,)).numpy().reshape(2, -1)
    some = Draws(7, 3, np.array([1, 0]), stream=2)
    np.testing.assert_array_equal(some.words(11), words[[1, 0], :11])
    np.testing.assert_array_equal(some.uniform(3), (words[[1, 0], :3] >> 8) * 2.0**-24)


@pytest.mark.parametrize("kind", [np.uint8, np.float32])
@pytest.mark.parametrize(
    "augment",
    [
        Augment(flip=True, shift=3, rotate=20, scale=0.2, brightness=0.5, contrast=0.4, cutout=4),
        Augment(saturation=0.5, hue=40),
        MixUp(4),
        CutMix(4),
    ],
    ids=repr,
)
def test_changes_by_seed_epoch_and_row(augment: Any, kind: Any) -> None:
    x = COLOURS.astype(kind)
    out, y = augment(x, Y, draws())
    assert (out.dtype, out.shape) == (kind, x.shape)
    np.testing.assert_array_equal(augment(x, Y, draws())[0], out)
    for other in (draws(seed=1), draws(epoch=1), draws(rows=np.arange(40)[::-1])):
        assert (augment(x, Y, other)[0] != out).any()
    if isinstance(augment, Augment):  # a mixture depends on the next image of the batch
        rows = np.array([30, 2, 17])
        np.testing.assert_array_equal(augment(x[rows], Y[rows], draws(rows))[0], out[rows])
        assert y is Y


def test_half_of_the_images_are_mirrored() -> None:
    out, _ = Augment(flip=True)(COLOURS, Y, draws())
    mirrored = (out == COLOURS[:, :, ::-1]).all((1, 2, 3))
    assert (mirrored | (out == COLOURS).all((1, 2, 3))).all()
    assert 10 < mirrored.sum() < 30


def test_a_shift_is_a_crop_after_padding() -> None:
    out, _ = Augment(shift=2)(COLOURS, Y, draws())
    seen = set()
    for before, after in zip(COLOURS, out, strict=True):
        wide = np.pad(before, [(2, 2), (2, 2), (0, 0)], mode="edge")
        places = [
            (i, j)
            for i in range(5)
            for j in range(5)
            if (wide[i : i + 12, j : j + 10] == after).all()
        ]
        assert places
        seen.add(places[0])
    assert {i for i, _ in seen} == {j for _, j in seen} == set(range(5))


def test_a_quarter_turn_and_a_shift() -> None:
    x = COLOURS[:, :10]
    quarter, one, zero = np.full(40, math.pi / 2), np.ones(40), np.zeros(40)
    np.testing.assert_array_equal(turned(x, quarter, one, zero, zero), np.rot90(x, -1, (1, 2)))
    moved = turned(x, zero, one, zero + 2, zero - 1)
    np.testing.assert_array_equal(moved[:, 2:, :-1], x[:, :-2, 1:])
    np.testing.assert_array_equal(moved[:, :2], np.repeat(moved[:, 2:3], 2, 1))


@pytest.mark.parametrize("channels", [1, 3])
def test_turning_and_scaling_are_those_of_pillow(channels: int) -> None:
    """Pillow's affine transformation in fractions, inside: outside it puts 0."""
    x = rng.normal(size=(5, 21, 17, channels)).astype(np.float32)
    angle, scale = rng.uniform(-1, 1, 5), rng.uniform(0.7, 1.4, 5)
    down, right = rng.integers(-2, 3, (2, 5))
    out = turned(x, angle, scale, down, right)
    for k in range(5):
        cos, sin = math.cos(angle[k]) / scale[k], math.sin(angle[k]) / scale[k]
        # Pixels are squares here: the centre of the first one is at 1/2.
        j, i = 8.5 + right[k], 10.5 + down[k]
        matrix = (cos, sin, 8.5 - cos * j - sin * i, -sin, cos, 10.5 + sin * j - cos * i)
        for c in range(channels):
            image = Image.fromarray(x[k, ..., c])
            wanted = np.asarray(
                image.transform((17, 21), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR)
            )
            mask = np.asarray(
                Image.fromarray(np.pad(np.ones((17, 13), np.float32), 2)).transform(
                    (17, 21), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR
                )
            )
            inside = mask == 1
            assert inside.sum() > 60
            np.testing.assert_allclose(out[k, ..., c][inside], wanted[inside], atol=1e-4)


def test_outside_are_the_nearest_border_pixels() -> None:
    x = np.arange(25, dtype=np.float32).reshape(1, 5, 5, 1)
    out = turned(x, np.zeros(1), np.full(1, 0.5), np.zeros(1), np.zeros(1))[0, ..., 0]
    places = np.clip(2 + (np.arange(5) - 2) * 2, 0, 4)
    np.testing.assert_array_equal(out, x[0, places][:, places, 0])


@pytest.mark.parametrize(
    ("name", "enhancer"),
    [
        ("brightness", ImageEnhance.Brightness),
        ("contrast", ImageEnhance.Contrast),
        ("saturation", ImageEnhance.Color),
    ],
)
def test_colours_are_those_of_pillow(name: str, enhancer: Any) -> None:
    column = {"brightness": 5, "contrast": 6, "saturation": 7}[name]
    factors = 1 + 0.3 * (2 * draws().uniform(11)[:, column].astype(float) - 1)
    assert np.ptp(factors) > 0.5
    out, _ = Augment(**{name: 0.3})(MILD, Y, draws())
    for before, after, factor in zip(MILD, out, factors, strict=True):
        wanted = np.asarray(enhancer(Image.fromarray(before)).enhance(factor)).astype(int)
        assert np.abs(after - wanted).max() <= 1


def test_colours_are_cut_at_black_and_white() -> None:
    bright = np.full((40, 2, 2, 1), 250, np.uint8)
    out, _ = Augment(brightness=0.5)(bright, Y, draws())
    assert {0, 255} & set(out.ravel().tolist()) == {255}
    shares, _ = Augment(brightness=0.5, white=1.0)(bright.astype(np.float32) / 255, Y, draws())
    assert shares.max() == 1


def test_hue_turns_colours_about_grey() -> None:
    grey = np.repeat(COLOURS[..., :1], 3, -1)
    np.testing.assert_array_equal(Augment(hue=180)(grey, Y, draws())[0], grey)
    before = rng.uniform(110, 140, (40, 4, 4, 3)).astype(np.float32)
    after, _ = Augment(hue=60)(before, Y, draws())
    weights = [0.299, 0.587, 0.114]
    np.testing.assert_allclose(after @ weights, before @ weights, rtol=1e-5)
    # The two differences of colours of the American television standard keep their length.
    differences = np.array([[0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]]).T
    lengths = [np.hypot(*np.moveaxis(v @ differences, -1, 0)) for v in (before, after)]
    np.testing.assert_allclose(*lengths, rtol=1e-3, atol=1e-3)
    assert np.abs(after - before).max() > 5


def test_a_square_has_the_mean_colour() -> None:
    out, _ = Augment(cutout=4)(COLOURS, Y, draws())
    sizes = set()
    for before, after in zip(COLOURS, out, strict=True):
        changed = (before != after).any(-1)
        rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
        inside = after[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert np.abs(inside - before.reshape(-1, 3).mean(0)).max() <= 0.5
        sizes.add((np.ptp(rows) + 1, np.ptp(columns) + 1))
    assert max(sizes) == (4, 4)
    assert min(sizes) < (3, 4), "some are cut at the border"


def test_images_are_not_changed_in_place() -> None:
    x = COLOURS.copy()
    x.flags.writeable = False
    for augment in (Augment(flip=True, cutout=3), Augment(brightness=0.2), MixUp(4), CutMix(4)):
        augment(x, Y, draws())
    np.testing.assert_array_equal(x, COLOURS)


# ── mixtures ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("alpha", [0.05, 0.2, 0.5, 1, 3, 40])
def test_shares_follow_the_beta_distribution(alpha: float) -> None:
    p, q = beta_table(alpha)
    np.testing.assert_allclose(stats.beta(alpha, alpha).cdf(q), p, atol=2e-4)


@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_mixup_by_hand(kind: Any) -> None:
    x = COLOURS.astype(kind)
    out, y = MixUp(4, alpha=1.0)(x, Y, draws())
    hard = np.eye(4)[Y]
    following = np.roll(np.arange(40), -1)
    share = y[np.arange(40), Y]  # its own class; that of the next image differs
    np.testing.assert_allclose(share, draws().uniform(1)[:, 0], atol=1e-3)  # Beta(1, 1) is even
    wanted = share[:, None] * hard + (1 - share[:, None]) * hard[following]
    np.testing.assert_allclose(y, wanted, atol=1e-6)
    assert y.dtype == np.float32
    by = share[:, None, None, None].astype(float)
    mixed = by * COLOURS + (1 - by) * COLOURS[following]
    np.testing.assert_allclose(out, mixed, atol=0.501 if kind == np.uint8 else 1e-3)
    again, soft = MixUp(4)(x, y, draws())  # of probabilities
    assert again.shape == x.shape
    np.testing.assert_allclose(soft.sum(1), 1, rtol=1e-6)


def test_cutmix_by_hand() -> None:
    out, y = CutMix(4)(COLOURS, Y, draws())
    following = COLOURS[np.roll(np.arange(40), -1)]
    shares = []
    for k in range(40):
        taken = (out[k] == following[k]).all(-1) & (COLOURS[k] != following[k]).any(-1)
        rows, columns = np.flatnonzero(taken.any(1)), np.flatnonzero(taken.any(0))
        wanted = COLOURS[k].copy()
        if taken.any():
            box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
            wanted[box] = following[k][box]
        np.testing.assert_array_equal(out[k], wanted)
        shares.append(1 - taken.mean())
    np.testing.assert_allclose(y[np.arange(40), Y], shares, atol=1e-6)
    np.testing.assert_allclose(y.sum(1), 1, rtol=1e-6)
    assert np.ptp(shares) > 0.5


# ── errors ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "settings",
    [
        *({"shift": 1.5}, {"shift": -1}, {"cutout": True}, {"rotate": 181}, {"scale": 1}),
        *({"hue": "a"}, {"rotate": math.nan}, {"flip": "no"}, {"flip": 1}, {"white": -1}),
        *({"white": "a"}, {"white": math.nan}, {"white": math.inf}, {"white": True}, {"white": 0}),
    ],
)
def test_settings_that_are_wrong(settings: Any) -> None:
    (name,) = settings
    with pytest.raises(ArgumentError, match=rf"\[Augment\] got {name} .*; expected .*; {name}="):
        Augment(**settings)


def test_inputs_that_are_no_images() -> None:
    some = Draws(0, 0, np.arange(4))
    for x in (np.zeros((4, 6, 5), np.uint8), np.zeros((4, 6, 5, 1))):
        with pytest.raises(ShapeError, match=r"expected images \(N, H, W, C\)"):
            Augment(flip=True)(x, Y[:4], some)
    with pytest.raises(ShapeError, match="leave out saturation and hue"):
        Augment(hue=3)(np.zeros((4, 6, 5, 1), np.uint8), Y[:4], some)


ALL = [
    *(Augment(flip=True), Augment(shift=2), Augment(rotate=9, scale=0.1), Augment(contrast=0.2)),
    *(Augment(saturation=0.2), Augment(cutout=2), MixUp(4), CutMix(4)),
]


@pytest.mark.parametrize("augment", ALL, ids=repr)
def test_a_batch_of_no_images(augment: Any) -> None:
    x, y = augment(COLOURS[:0], Y[:0], Draws(0, 0, np.arange(0)))
    assert (x.shape, len(y)) == ((0, *COLOURS.shape[1:]), 0)


@pytest.mark.parametrize("augment", ALL[:6], ids=repr)
def test_images_of_no_pixels(augment: Any) -> None:
    with pytest.raises(ShapeError, match=r"\(4, 0, 8, 3\); expected one pixel or more"):
        augment(np.zeros((4, 0, 8, 3), np.uint8), Y[:4], Draws(0, 0, np.arange(4)))


@pytest.mark.parametrize("shape", [(4, 6, 5), (4, 6)])
def test_cutmix_of_what_has_no_channels(shape: Any) -> None:
    with pytest.raises(ShapeError, match=r"\[CutMix\] got inputs .*expected images \(N, H, W, C\)"):
        CutMix(4)(np.zeros(shape, np.float32), Y[:4], Draws(0, 0, np.arange(4)))


def test_targets_that_cannot_be_mixed() -> None:
    some, x = Draws(0, 0, np.arange(4)), COLOURS[:4]
    with pytest.raises(ArgumentError, match=r"0 to 3; expected classes from 0 to 2; MixUp\(4\)"):
        MixUp(3)(x, Y[:4], some)
    with pytest.raises(ArgumentError, match=r"float32 \(4,\); expected class numbers"):
        CutMix(4)(x, np.zeros(4, np.float32), some)
    for classes, alpha in ((1, 0.2), (True, 0.2), (3, 0.0), (3, 200), (2.0, 0.2)):
        with pytest.raises(ArgumentError, match=r"\[CutMix\]"):
            CutMix(classes, alpha)  # type: ignore[arg-type]
