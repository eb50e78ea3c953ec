"""Random numbers: their distributions, their reproducibility, and what they refuse.

Seeds are fixed, so a test that passes keeps passing; 1e-4 is below what a right generator would
give for about one seed in ten thousand.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import special, stats

import chainrule as cr
from chainrule import random
from chainrule.dtypes import FLOATS, bool_, float32, float64, int64
from chainrule.errors import ChainruleError
from chainrule.random import Generator

N = 200_000
LEVEL = 1e-4


def draws(x: cr.Tensor) -> np.ndarray[Any, Any]:
    return x.numpy().astype(np.float64)


# ── goodness of fit ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("seed", [1, 2**40 + 5])
@pytest.mark.parametrize("dtype", [float32, float64], ids=str)
def test_uniform(dtype: Any, seed: int) -> None:
    x = Generator(seed).uniform((N,), low=-2.0, high=3.0, dtype=dtype)
    assert (x.shape, x.dtype) == ((N,), dtype)
    assert draws(x).min() >= -2
    assert draws(x).max() < 3
    assert stats.kstest(draws(x), stats.uniform(-2, 5).cdf).pvalue > LEVEL
    pairs, *_ = np.histogram2d(draws(x)[::2], draws(x)[1::2], bins=10)  # neighbours: independent
    assert stats.chisquare(pairs.ravel()).pvalue > LEVEL


def test_every_bit_of_uniform_is_fair() -> None:
    """24 bits in float32, 53 in float64, and nothing below them."""
    generator = Generator(3)
    for dtype, count in ((float32, 24), (float64, 53)):
        scaled = draws(generator.uniform((4096,), dtype=dtype)) * 2.0**count
        whole = scaled.astype(np.uint64)
        assert (whole == scaled).all()
        for bit in range(count):
            ones = int((whole >> np.uint64(bit) & np.uint64(1)).sum())
            assert stats.binomtest(ones, 4096).pvalue > LEVEL


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_uniform_never_gives_its_upper_end(dtype: Any) -> None:
    """Even where rounding would: half of the numbers between 1 and its neighbour go up."""
    generator, high = Generator(4), float(np.nextafter(np.array(1, dtype), np.array(2, dtype)))
    x = draws(generator.uniform((1000,), low=1.0, high=high, dtype=dtype))
    assert set(x) == {1.0}
    x = draws(generator.uniform((N,), dtype=dtype))  # in bfloat16 one in 512 would round to 1
    assert x.min() >= 0
    assert x.max() < 1
    assert draws(generator.uniform((5,), low=2.0, high=2.0, dtype=dtype)).tolist() == [2.0] * 5


@pytest.mark.parametrize("dtype", [float32, float64], ids=str)
def test_normal(dtype: Any) -> None:
    x = draws(Generator(5).normal((N,), mean=1.0, std=2.0, dtype=dtype))
    z = (x - 1) / 2
    assert stats.kstest(z, stats.norm.cdf).pvalue > LEVEL
    for power, moment, spread in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        error = ((z**power).mean() - moment) / math.sqrt(spread / N)  # spread: Var(z^power)
        assert abs(error) < stats.norm.isf(LEVEL / 2)
    for bound in (2.0, 3.0, 4.0):
        for side in (z, -z):
            beyond = int((side > bound).sum())
            assert stats.binomtest(beyond, N, stats.norm.sf(bound)).pvalue > LEVEL
    assert np.isfinite(x).all()


@pytest.mark.parametrize("p", [0.0, 1e-3, 0.5, 0.9, 1.0])
def test_bernoulli(p: float) -> None:
    x = Generator(6).bernoulli(p, (N,))
    assert (x.shape, x.dtype) == ((N,), bool_)
    ones = int(x.numpy().sum())
    assert stats.binomtest(ones, N, p).pvalue > LEVEL
    assert p not in (0, 1) or ones == p * N


def test_bernoulli_with_a_probability_each() -> None:
    p = np.linspace(0.05, 0.95, 10)
    x = Generator(7).bernoulli(Tensor64(p), (N // 10, 10)).numpy().sum(0)
    expected = p * N / 10
    table = np.concatenate(
        [(x - expected) ** 2 / expected, (x - expected) ** 2 / (N / 10 - expected)]
    )
    assert stats.chi2.sf(table.sum(), 10) > LEVEL
    assert Generator(7).bernoulli(Tensor64(p)).shape == (10,)


def Tensor64(x: Any) -> cr.Tensor:  # noqa: N802
    return cr.asarray(np.asarray(x, np.float64))


@pytest.mark.parametrize(("low", "high"), [(0, 2), (-3, 7), (10, 1010), (-(2**62), -(2**62) + 3)])
def test_integers(low: int, high: int) -> None:
    x = Generator(8).integers(low, high, (N,))
    assert (x.shape, x.dtype) == ((N,), int64)
    values = x.numpy()
    assert values.min() >= low
    assert values.max() < high
    counts = np.bincount(values - low, minlength=high - low)
    assert stats.chisquare(counts).pvalue > LEVEL


def test_integers_over_the_whole_range() -> None:
    low, high = -(2**63), 2**63 - 1
    x = Generator(9).integers(low, high, (N,)).numpy()
    assert stats.kstest(x.astype(np.float64), stats.uniform(low, 2.0**64).cdf).pvalue > LEVEL
    assert Generator(9).integers(high - 1, high, (3,)).tolist() == [high - 1] * 3


def test_permutation() -> None:
    generator, size, times = Generator(10), 6, 6000
    counts = np.zeros((size, size))
    orders: dict[tuple[int, ...], int] = {}
    for _ in range(times):
        order = generator.permutation(size).numpy()
        assert sorted(order) == list(range(size))
        counts[np.arange(size), order] += 1
        key = tuple(order[:3].tolist())
        orders[key] = orders.get(key, 0) + 1
    for place in counts:  # the first element, and every other
        assert stats.chisquare(place).pvalue > LEVEL
    assert len(orders) == 120
    assert stats.chisquare(list(orders.values())).pvalue > LEVEL


def test_permutation_of_rows() -> None:
    rows = np.arange(12.0).reshape(6, 2)
    out = Generator(11).permutation(rows).numpy()
    assert out.tolist() != rows.tolist()
    assert sorted(out.tolist()) == rows.tolist()
    assert Generator(11).permutation(0).shape == (0,)


@pytest.mark.parametrize("dtype", [float32, float64], ids=str)
def test_categorical(dtype: Any) -> None:
    logits = np.array([0.0, 1.0, -2.0, 3.0, -np.inf, -5.0])
    x = Generator(12).categorical(cr.asarray(logits.astype(dtype)), (N,))
    assert (x.shape, x.dtype) == ((N,), int64)
    counts = np.bincount(x.numpy(), minlength=6)
    assert counts[4] == 0
    there = [0, 1, 2, 3, 5]
    assert stats.chisquare(counts[there], special.softmax(logits)[there] * N).pvalue > LEVEL


def test_categorical_for_rows_of_logits() -> None:
    logits = np.log(
        [[0.5, 0.5, 0.0], [0.1, 0.2, 0.7]],
        where=[[1, 1, 0], [1, 1, 1]],
        out=np.full((2, 3), -np.inf),
    )
    x = Generator(13).categorical(cr.asarray(logits), (20_000,)).numpy()
    assert x.shape == (20_000, 2)
    assert stats.binomtest(int((x[:, 0] == 1).sum()), 20_000).pvalue > LEVEL
    counts = np.bincount(x[:, 1], minlength=3)
    assert stats.chisquare(counts, np.array([0.1, 0.2, 0.7]) * 20_000).pvalue > LEVEL


def test_the_most_extreme_bits_stay_finite(monkeypatch: pytest.MonkeyPatch) -> None:
    """All zeros and all ones: no infinite normal number, no infinite Gumbel number."""
    for word in (0, 2**32 - 1):

        def bits(self: Generator, shape: Any, word: int = word) -> cr.Tensor:
            return cr.asarray(np.full(shape, word, np.uint32))

        monkeypatch.setattr(Generator, "bits", bits)
        for dtype, most in ((float32, 5.5), (float64, 8.3)):
            z = draws(Generator().normal((3,), dtype=dtype))
            assert (np.abs(z) < most).all()
            assert (np.sign(z) == (1 if word else -1)).all()
            logits = np.array([-np.inf, 0.0]).astype(dtype)
            assert Generator().categorical(cr.asarray(logits), (3,)).tolist() == [1, 1, 1]
            u = draws(Generator().uniform((3,), dtype=dtype))
            assert ((u >= 0) & (u < 1)).all()


# ── the same seed, the same bits ─────────────────────────────────────────────────────────────────

KINDS: dict[str, Callable[[Generator], cr.Tensor]] = {
    "bits": lambda g: g.bits((7,)),
    "uniform": lambda g: g.uniform((2, 3), low=-1.0, high=5.0),
    "uniform64": lambda g: g.uniform((5,), dtype=cr.float64),
    "uniform16": lambda g: g.uniform((5,), dtype=cr.bfloat16),
    "normal": lambda g: g.normal((4, 2)),
    "normal64": lambda g: g.normal((5,), mean=1.0, std=3.0, dtype=cr.float64),
    "bernoulli": lambda g: g.bernoulli(0.3, (20,)),
    "integers": lambda g: g.integers(-5, 50, (6,)),
    "permutation": lambda g: g.permutation(9),
    "categorical": lambda g: g.categorical(cr.zeros((3, 4)), (2,)),
}


ROUNDED = ("uniform", "normal", "normal64")  # computed from the bits in floating point


@pytest.mark.parametrize("backend", ["reference", "native"])
@pytest.mark.parametrize("kind", KINDS)
def test_compiled_gives_the_same_bits_as_eager(
    kind: str, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHAINRULE_BACKEND", backend)
    draw = KINDS[kind]
    eager, traced = Generator(14), Generator(14)

    @cr.compile
    def step() -> cr.Tensor:
        return draw(traced)

    for _ in range(3):
        a, b = draw(eager), step()
        assert a.dtype == b.dtype
        if backend == "native" and kind in ROUNDED:  # the last bit may be rounded otherwise
            np.testing.assert_array_max_ulp(a.numpy(), b.numpy(), 4)
        else:
            assert a.numpy().tobytes() == b.numpy().tobytes()
    assert eager.state.tolist() == traced.state.tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_seeds_and_draws(kind: str) -> None:
    """The same seed repeats; another seed and the next draw differ."""
    draw = KINDS[kind]
    one, same, other = Generator(15), Generator(15), Generator(16)
    first = draw(one).tolist()
    assert draw(same).tolist() == first
    assert draw(other).tolist() != first
    assert draw(one).tolist() != first
    one.seed(15)
    assert draw(one).tolist() == first


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_state_continues_the_sequence(kind: str) -> None:
    draw = KINDS[kind]
    generator = Generator(2**64 - 1)
    draw(generator)
    saved = generator.state
    wanted = [draw(generator).tolist() for _ in range(3)]
    for state in (saved, saved.numpy(), saved.tolist()):
        if isinstance(state, list):
            state = np.array(state, np.uint64)
        again = Generator(0)
        again.set_state(state)
        assert [draw(again).tolist() for _ in range(3)] == wanted
    assert saved.tolist() == [2**64 - 1, 1], "what was saved does not move on"


def test_a_longer_draw_begins_with_the_shorter() -> None:
    long, short = Generator(17).bits((100,)).tolist(), Generator(17).bits((3,)).tolist()
    assert long[:3] == short


def test_draws_do_not_overlap() -> None:
    """The streams of 50 draws of one seed, and of 50 seeds, have no word pair in common."""
    seen: set[tuple[int, int]] = set()
    one = Generator(18)
    for generator in [one] * 50 + [Generator(seed) for seed in range(50, 100)]:
        words = generator.bits((64, 2)).tolist()
        pairs = {(a, b) for a, b in words}
        assert len(pairs) == 64
        assert not pairs & seen
        seen |= pairs


def test_the_module_s_functions_share_one_generator() -> None:
    before = random.default.state
    random.seed(19)
    a, b = random.uniform((3,)), random.normal((3,))
    fresh = Generator(19)
    assert a.tolist() == fresh.uniform((3,)).tolist()
    assert b.tolist() == fresh.normal((3,)).tolist()
    random.default.set_state(before)


# ── what is refused ──────────────────────────────────────────────────────────────────────────────

WRONG: dict[str, Callable[[], Any]] = {
    "uniform-order": lambda: random.uniform((2,), low=3.0, high=1.0),
    "uniform-infinite": lambda: random.uniform((2,), high=math.inf),
    "uniform-nan": lambda: random.uniform((2,), low=math.nan),
    "uniform-dtype": lambda: random.uniform((2,), dtype=cr.int32),
    "dtype-unknown": lambda: random.normal((2,), dtype="f128"),
    "shape-negative": lambda: random.uniform((2, -1)),
    "shape-fraction": lambda: random.normal(2.5),
    "normal-std": lambda: random.normal((2,), std=-1.0),
    "normal-nan": lambda: random.normal((2,), std=math.nan),
    "bernoulli-above": lambda: random.bernoulli(1.5),
    "bernoulli-below": lambda: random.bernoulli([0.5, -0.1]),
    "bernoulli-nan": lambda: random.bernoulli(math.nan),
    "integers-empty": lambda: random.integers(3, 3),
    "integers-fraction": lambda: random.integers(0, 2.5),  # type: ignore[arg-type]
    "integers-wide": lambda: random.integers(0, 2**64),
    "permutation-negative": lambda: random.permutation(-1),
    "permutation-scalar": lambda: random.permutation(1.5),
    "categorical-scalar": lambda: random.categorical(0.0),
    "categorical-empty": lambda: random.categorical(np.zeros((2, 0))),
    "seed-negative": lambda: random.seed(-1),
    "seed-wide": lambda: random.seed(2**64),
    "seed-fraction": lambda: random.seed(0.5),  # type: ignore[arg-type]
    "seed-bool": lambda: Generator(True),
    "state-size": lambda: random.default.set_state(np.zeros(3, np.uint64)),
    "state-dtype": lambda: random.default.set_state([0.5, 1.0]),
}


@pytest.mark.parametrize("what", WRONG)
def test_bad_arguments_are_told(what: str) -> None:
    with pytest.raises(ChainruleError, match=r"^\[\w+\] got .+; .+; .+"):
        WRONG[what]()


@pytest.mark.parametrize("name", ["normal", "uniform"])
def test_a_shape_in_pieces_is_refused(name: str) -> None:
    """normal(2, 3) would be two numbers around 3: never what is meant."""
    pattern = rf"\[{name}\] got {name}\(2, 3\); expected .* one argument: {name}\(\(2, 3\)\)"
    with pytest.raises(ChainruleError, match=pattern) as caught:
        getattr(random, name)(2, 3)
    assert "at test_random.py" in str(caught.value)
    assert getattr(random, name)(2).shape == (2,)
