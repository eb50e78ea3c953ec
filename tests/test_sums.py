"""Sums of ten million numbers: float32 against float64, whatever the axis and the backend."""

import functools
import itertools
import math

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim, sums
from chainrule.backends.native.run import team
from chainrule.train.evaluation import metrics

BOUND = 1e-6  # of the sum of the absolute values


# ── any layout, any axes ─────────────────────────────────────────────────────────────────────────

SHAPES = [
    (),
    (100, 0, 3),
    (0, 100),
    (70_000,),
    (129, 10),
    (3, 5000, 7),
    (3000, 1, 33),
    (80, 3, 90, 2),
]


def layouts(x):
    """The same shape in other places of memory: in order, backwards, every second, repeated."""
    yield x
    yield np.flip(x)
    yield np.repeat(x, 2, -1)[..., ::2] if x.ndim else x
    yield np.broadcast_to(x[:1], x.shape) if x.size and x.ndim else x


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", SHAPES)
def test_any_layout_and_axes(shape, dtype):
    bound = BOUND if dtype == np.float32 else 1e-14
    whole = np.random.default_rng(0).random(shape).astype(dtype)
    for x in itertools.chain(layouts(whole), layouts(whole.T)):
        for count in range(len(shape) + 1):
            for axis in itertools.combinations(range(len(shape)), count):
                found, exact = sums.total(x, axis), x.sum(axis, np.longdouble, keepdims=True)
                assert (found.shape, found.dtype) == (exact.shape, dtype)
                np.testing.assert_allclose(found, exact, rtol=bound)


# ── ten million elements ─────────────────────────────────────────────────────────────────────────

POINT_ONE = float(np.float32(0.1))
REDUCTIONS = {  # and what they are of n numbers 0.1, where that is not 0
    "sum": (cr.sum, np.sum, lambda n: n * POINT_ONE),
    "mean": (cr.mean, np.mean, lambda n: POINT_ONE),
    "std": (cr.std, np.std, None),
    "norm": (cr.norm, lambda x, axis: np.sqrt(np.sum(x * x, axis)), lambda n: n**0.5 * POINT_ONE),
    "logsumexp": (
        cr.logsumexp,
        lambda x, axis: np.log(np.sum(np.exp(x), axis)),
        lambda n: math.log(n) + POINT_ONE,
    ),
}
PLACES = [
    ((10_000_000,), None),
    ((3125, 3200), None),
    ((3125, 3200), 0),
    ((3125, 3200), 1),
    ((1_000_001, 10), 0),
    ((2_500_000, 4), 0),
    ((64, 3125, 50), (0, 2)),
    ((16, 125, 100, 50), (0, 1, 2)),
]


def errors(found, exact):
    return float(np.abs(np.asarray(found, np.float64) / exact - 1).max())


@pytest.mark.parametrize(("shape", "axis"), PLACES)
def test_ten_million_elements(shape, axis, monkeypatch):
    """In eager mode and compiled; 0.1 everywhere is the worst case."""
    monkeypatch.setenv("CHAINRULE_BACKEND", "native")

    def all_of_them(x):
        return [function(x, axis=axis) for function, _, _ in REDUCTIONS.values()]

    x = np.random.default_rng(0).random(shape, dtype=np.float32)
    compiled, wide = cr.compile(all_of_them), x.astype(np.float64)
    exact = [function(wide, axis=axis) for _, function, _ in REDUCTIONS.values()]
    for mode in (all_of_them, compiled):
        for name, found, expected in zip(REDUCTIONS, mode(x), exact, strict=True):
            assert errors(found, expected) < BOUND, (name, mode)
    x[...] = 0.1
    for mode in (all_of_them, compiled):
        for (name, (_, _, of)), found in zip(REDUCTIONS.items(), mode(x), strict=True):
            if of is not None:
                assert errors(found, of(x.size // found.size)) < BOUND, (name, mode)


def test_the_same_bits_for_any_number_of_threads(all_threads, monkeypatch):
    monkeypatch.setenv("CHAINRULE_BACKEND", "native")
    x = np.random.default_rng(0).random((3125, 3200), dtype=np.float32)
    found = []
    for threads in ("1", "2"):
        monkeypatch.setenv("CHAINRULE_THREADS", threads)
        team.threads.cache_clear()
        step = cr.compile(lambda x: [cr.sum(x * x, axis=axis) for axis in (None, 0, 1)])
        found.append([t.numpy().tobytes() for t in step(x)])
    assert found[0] == found[1]


def test_few_columns_many_and_what_is_not_in_order(monkeypatch):
    """What lies backwards, is turned, cut, repeated or looked up; of float64 too."""
    monkeypatch.setenv("CHAINRULE_BACKEND", "native")
    rng = np.random.default_rng(0)
    rows = cr.Tensor(rng.integers(0, 500, 3000))

    def all_of_them(x):
        yield cr.sum(x, axis=0)
        yield cr.sum(cr.flip(x, axis=-1), axis=-1)
        yield cr.sum(cr.permute_dims(x, (1, 0)), axis=-1)
        yield cr.sum(cr.broadcast_to(x[:, None], (500, 70, x.shape[1])), axis=1)
        for axis in (None, 0):
            yield cr.sum(x.reshape(-1, 4), axis=axis)
            yield cr.sum(cr.take(x, rows, axis=0), axis=axis)
            yield cr.sum(x[::2, ::2], axis=axis)

    for columns, dtype, bound in (
        (6, np.float32, BOUND),
        (3000, np.float32, BOUND),
        (300, np.float64, 1e-13),
    ):
        x = rng.random((500, columns)).astype(dtype)
        compiled = cr.compile(lambda x: [*all_of_them(x)])(x)
        for k, exact in enumerate(all_of_them(x.astype(np.float64))):
            assert errors(compiled[k], exact.numpy()) < bound, (k, columns, dtype)


# ── norms and products ───────────────────────────────────────────────────────────────────────────

BACKENDS = ["eager", "reference", "native"]


@pytest.fixture
def mode(request, monkeypatch):
    """A function in eager mode, or compiled for a backend."""
    if request.param == "eager":
        return lambda function: function
    monkeypatch.setenv("CHAINRULE_BACKEND", request.param)
    return cr.compile


@pytest.mark.parametrize("mode", BACKENDS, indirect=True)
def test_norms_neither_overflow_nor_vanish(mode):
    """√(3² + 4²) = 5, along every axis and in all of a matrix, whatever they are multiplied by."""
    x = np.zeros((40, 300))
    x[1, 0], x[1, 299], x[7, 299] = 3, 4, 3
    for dtype, scales in (
        (np.float32, (1e20, 1e-25, 4e37)),
        (np.float64, (1e200, 1e-300, 1e-160)),
    ):
        for scale, order in itertools.product(scales, (2, 3, 1.5)):
            both = mode(lambda x, p=order: [cr.norm(x, ord=p, axis=a) for a in (None, 0, 1)])
            slope = mode(lambda x, p=order: cr.grad(lambda x: cr.norm(x, ord=p))(x))
            scaled = (x * scale).astype(dtype)
            for axis, found in zip((None, 0, 1), both(scaled), strict=True):
                exact = (x**order).sum(axis) ** (1 / order)
                np.testing.assert_allclose(found.numpy() / scale, exact, rtol=1e-6)
            exact = (x / (x**order).sum() ** (1 / order)) ** (order - 1)
            np.testing.assert_allclose(slope(scaled).numpy(), exact, rtol=1e-5)


@pytest.mark.parametrize("mode", BACKENDS, indirect=True)
def test_norms_of_what_is_zero_infinite_or_no_number(mode):
    inf, nan = np.inf, np.nan
    x = [[0, -0.0], [inf, 1], [-inf, 0], [nan, 1], [nan, inf], [1e30, 1e30], [3, 4]]
    for dtype, order in itertools.product((np.float32, np.float64), (2, 3)):
        found = mode(lambda x, p=order: cr.norm(x, ord=p, axis=1))(np.array(x, dtype))
        last = (3**order + 4**order) ** (1 / order)
        expected = [0, inf, inf, nan, nan, 2 ** (1 / order) * 1e30, last]
        np.testing.assert_allclose(found, expected, rtol=1e-6)
    found = mode(lambda x: cr.std(x))(np.array([3e30, -3e30], np.float32))
    np.testing.assert_allclose(found, 3e30, rtol=1e-6)


@pytest.mark.parametrize("mode", BACKENDS, indirect=True)
def test_products_in_the_order_of_the_index(mode):
    """Which decides what overflows, and whether infinity meets 0; of a turned array too."""
    rng = np.random.default_rng(0)
    x = rng.choice(np.float32([1e30, 1e-30, -1e20, 1e-20, 2, 3, 0.1]), (40, 30))
    x[5] = 0
    for array, turned in ((x, False), (x.T.copy(), True)):
        for axis in (0, 1, None):
            shown = np.moveaxis(x, 1, 0) if axis == 1 else x if axis == 0 else x.reshape(-1)
            with np.errstate(all="ignore"):
                expected = functools.reduce(np.multiply, shown)
            function = mode(lambda t, a=axis, turned=turned: cr.prod(t.T if turned else t, axis=a))
            np.testing.assert_array_equal(function(array), expected)


# ── what training sums up ────────────────────────────────────────────────────────────────────────


def test_batch_normalization_of_a_constant_image_is_0(monkeypatch):
    monkeypatch.setenv("CHAINRULE_BACKEND", "native")
    for shape in ((16, 56, 56, 2), (4, 112, 112, 33)):
        image = np.full(shape, 0.7, np.float32)
        for compiled in (False, True):
            layer = nn.BatchNorm2d(shape[-1])
            found = (cr.compile(layer) if compiled else layer)(image).numpy()
            assert np.abs(found).max() < 1e-4
            np.testing.assert_allclose(layer.running_mean, 0.07, rtol=1e-6)


def test_losses_and_bias_gradients_over_a_million_rows(monkeypatch):
    """The loss, the gradient of a bias and the norm to which it is clipped, eager and compiled."""
    monkeypatch.setenv("CHAINRULE_BACKEND", "native")
    rng = np.random.default_rng(0)
    x = np.full((1_000_000, 3), 0.1, np.float32)
    classes, numbers = rng.integers(0, 3, 1_000_000), x + np.float32(0.3)
    losses = nn.functional.cross_entropy, nn.functional.mse_loss, nn.functional.l1_loss
    for loss, target in zip(losses, (classes, numbers, numbers), strict=True):
        results = []
        for dtype, compiled in ((np.float64, False), (np.float32, False), (np.float32, True)):
            bias = cr.Tensor(np.array([0.0, 0.1, -0.2], dtype), requires_grad=True)
            goal = target if target is classes else target.astype(dtype)

            def step(x, goal, bias=bias, loss=loss):
                value = loss(x + bias, goal)
                value.backward()
                return value, nn.utils.clip_grad_norm_([bias], 1.0), bias.grad

            results.append((cr.compile(step) if compiled else step)(x.astype(dtype), goal))
        exact, *found = results
        for one in found:
            for value, expected in zip(one, exact, strict=True):
                np.testing.assert_allclose(value.numpy(), expected.numpy(), rtol=3e-6)


def test_norms_to_which_gradients_are_clipped(monkeypatch):
    monkeypatch.setenv("CHAINRULE_BACKEND", "native")
    for value in (0.1, 1e25, 1e-25):
        for compiled in (False, True):
            shapes = [(2000, 1500), (3, 700_000), (1_000_000, 2), (100_000,)]
            parameters = [cr.Tensor(np.zeros(s, np.float32), requires_grad=True) for s in shapes]
            arrays = [np.full(s, value, np.float32) for s in shapes]

            def step(*slopes, parameters=parameters):
                for p, g in zip(parameters, slopes, strict=True):
                    p.grad = g
                return nn.utils.clip_grad_norm_(parameters, 1.0)

            found = (cr.compile(step) if compiled else step)(*map(cr.Tensor, arrays))
            exact = float(np.float32(value)) * sum(p.size for p in parameters) ** 0.5
            assert errors(found, exact) < BOUND


def test_metrics_of_ten_million():
    t = np.zeros(10_000_000, np.float32)
    y = np.full_like(t, 0.1)
    for name in ("mae", "rmse"):
        assert errors(metrics.METRICS[name](y, t), POINT_ONE) < BOUND
    t[::2] = 1.0
    assert errors(metrics.METRICS["r2"](t + y, t), 1 - POINT_ONE**2 / 0.25) < BOUND


# ── what is added at the same index ──────────────────────────────────────────────────────────────

ROWS = 1_000_000


def gradient(parameter, loss):
    loss.backward()
    found = parameter.grad
    return found if isinstance(found, cr.Tensor) else found.to_dense()


TABLE = nn.Embedding(3, 2)
PLAIN, MOVED = (nn.Parameter(cr.zeros((3, 2))) for _ in range(2))
STEP = optim.SGD([MOVED], lr=1.0)


def of_embedding(index):
    return gradient(TABLE.weight, (TABLE(index) * 0.1).sum())


def of_index(index):
    return gradient(PLAIN, ((PLAIN * 1.0)[index] * 0.1).sum())


def of_step(index):
    with cr.no_grad():
        MOVED[...] = 0.0
    (cr.take(MOVED, index, axis=0) * -0.1).sum().backward()
    STEP.step()
    return MOVED * 1.0


SAME_PLACE = {
    "scatter_add": lambda index: cr.scatter_add(cr.full((ROWS, 2), 0.1), index, size=3),
    "Embedding": of_embedding,
    "indexing": of_index,
    "SGD": of_step,
}


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("name", SAME_PLACE)
def test_a_million_at_one_index(name, compiled):
    run = cr.compile(SAME_PLACE[name]) if compiled else SAME_PLACE[name]
    found = run(cr.zeros(ROWS, dtype=cr.int64)).numpy()
    np.testing.assert_allclose(found, [[POINT_ONE * ROWS] * 2, [0, 0], [0, 0]], rtol=BOUND)
