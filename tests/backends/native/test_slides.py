"""Convolutions and pooling in machine code: all threads and processors, and what is around them.

`tests/parity/test_convolutions.py` compares their values and gradients with PyTorch's.
"""

from functools import partial

import numpy as np
import pytest
from test_attention import both, check_equal

import chainrule as cr
from chainrule import nn, optim
from sharing import same_bits

RNG = np.random.default_rng(0)


def f32(*shape):
    return RNG.normal(size=shape).astype(np.float32)


def with_gradients(function, *xs):
    """The result, and the gradients of half its squares."""
    y, back = cr.vjp(function, *xs)
    return y, *back(y)


def convolved(**how):
    return partial(with_gradients, lambda x, w: cr.convolution(x, w, **how))


def pooled(x):
    """What each pooling makes of x, and all their gradients."""
    kinds = (
        lambda x: cr.max_pool(x, 3, stride=2, padding=1),
        lambda x: cr.max_pool(x, 2),
        lambda x: cr.avg_pool(x, 3, stride=2, padding=1),
        lambda x: cr.sum_pool(x, 2, stride=1),
    )
    return [v for kind in kinds for v in with_gradients(kind, x)]


# x, w, settings
SLIDES = {
    "plain": ((3, 7, 6, 5), (3, 2, 5, 17), {"padding": 1}),
    "tiles of 3 × 3": ((2, 13, 12, 16), (3, 3, 16, 32), {"padding": 1}),
    "strided": ((2, 9, 8, 3), (3, 3, 3, 16), {"stride": 2, "padding": 1}),
    "dilated": ((2, 9, 8, 3), (3, 3, 3, 8), {"kernel_dilation": 2, "padding": 2}),
    "spread": ((2, 5, 4, 6), (4, 4, 6, 9), {"input_dilation": 2, "padding": 2}),
    "gaps": ((1, 4, 4, 3), (2, 1, 3, 4), {"input_dilation": 3, "padding": 1}),
    "cropped": ((2, 9, 9, 4), (3, 3, 4, 4), {"padding": ((-2, 1), (0, -3))}),
    "depthwise": ((2, 8, 7, 19), (3, 3, 1, 19), {"groups": 19, "padding": 1}),
    "multiplied": ((2, 8, 7, 3), (3, 3, 1, 12), {"groups": 3}),
    "few per group": ((2, 6, 6, 8), (3, 3, 4, 6), {"groups": 2, "padding": 1}),
    "many per group": ((2, 6, 6, 8), (3, 3, 4, 40), {"groups": 2, "padding": 1}),
    "as many per group": ((2, 6, 7, 36), (3, 3, 4, 36), {"groups": 9, "padding": 1}),
    "pairs": ((2, 7, 6, 10), (3, 2, 2, 10), {"groups": 5, "stride": 2}),
    "in 1 size": ((4, 33, 3), (5, 3, 18), {"stride": 3}),
    "in 3 sizes": ((2, 4, 5, 3, 2), (2, 3, 2, 2, 5), {"padding": 1}),
}


@pytest.mark.parametrize(
    ("dtype", "features"),
    [("float32", ""), ("float64", ""), ("float32", "avx2"), ("float64", "sse")],
)
def test_native_equals_reference(dtype, features, monkeypatch):
    monkeypatch.setenv("CHAINRULE_FEATURES", features)
    arrays = [f32(*shape).astype(dtype) for x, w, _ in SLIDES.values() for shape in (x, w)]
    settings = [how for _, _, how in SLIDES.values()]

    def function(*arrays):
        pairs = zip(arrays[::2], arrays[1::2], settings, strict=True)
        slides = [v for x, w, how in pairs for v in convolved(**how)(x, w)]
        return [*slides, *pooled(arrays[0])]

    check_equal(*both(arrays, function), {"float32": 1e-5, "float64": 1e-13}[dtype])


@pytest.mark.parametrize(("dtype", "rounding"), [("float16", 2**-10), ("bfloat16", 2**-7)])
def test_halves_are_rounded_as_in_numpy(dtype, rounding):
    """Up to one rounding: a sum that lies in the middle between two may go either way."""
    x, w, v = (f32(*shape).astype(dtype) for shape in ((2, 7, 6, 4), (3, 3, 4, 5), (3, 3, 1, 4)))

    def function(x, w, v):
        return [*convolved(padding=1)(x, w), *convolved(groups=4, stride=2)(x, v), *pooled(x)]

    for a, b in zip(*both([x, w, v], function), strict=True):
        assert a.dtype == b.dtype == x.dtype
        a, b = a.astype(np.float64), b.astype(np.float64)
        np.testing.assert_allclose(a, b, rtol=rounding, atol=rounding)


# ── threads ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("x", "w", "how"),
    [
        ((1, 200, 200, 16), (3, 3, 16, 16), {"padding": 1}),
        ((1, 200, 200, 16), (3, 2, 16, 5), {"padding": 1}),
        ((1, 60, 60, 16), (4, 4, 16, 16), {"padding": 2, "input_dilation": 2}),
        ((1, 120, 121, 40), (3, 3, 1, 40), {"padding": 1, "groups": 40}),
        ((1, 50_000, 8), (9, 8, 8), {"padding": 4, "stride": 2}),
        ((9, 46, 45, 4), (3, 3, 4, 8), {"padding": 1}),
        ((33, 10, 10, 5), (3, 3, 5, 17), {"padding": 1}),
        ((17, 30, 31, 16), (3, 3, 16, 16), {"padding": 1}),
    ],
)
def test_the_same_bits_for_any_number_of_threads(x, w, how, monkeypatch):
    """Images that are cut in bands, batches that are cut in images and in parts of a gradient."""
    same_bits(lambda t: [*convolved(**how)(*t)], [f32(*x), f32(*w)], monkeypatch)


def test_a_network_trains_to_the_same_bits(of_threads):
    """With batch norm, whose statistics are of all images."""
    x, y = f32(20, 16, 17, 3), RNG.integers(0, 10, 20)

    def train(x, y):
        cr.random.seed(0)
        model = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(32, 32, 3, padding=1, groups=32),
            nn.BatchNorm2d(32),
            nn.AvgPool2d(2),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(32 * 2 * 2, 10),
        )
        optimizer = optim.Adam(model.parameters(), lr=0.01)

        def step(x, y):
            loss = nn.functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            return loss

        compiled = cr.compile(step)
        losses = [compiled(x, y) for _ in range(5)]
        return [*losses, *model.state_dict().values()]

    alone, two = of_threads(train, x, y, compiled=False)
    assert two == alone
    assert np.frombuffer(alone[4], np.float32) < 0.3 * np.frombuffer(alone[0], np.float32)


# ── what is around them ──────────────────────────────────────────────────────────────────────────

VIEWS = {
    "itself": lambda x: x,
    "mirrored": lambda x: cr.flip(x, axis=(1, 2)),
    "channels mirrored": lambda x: cr.flip(x, axis=3),
    "sizes exchanged": lambda x: cr.permute_dims(x, (0, 2, 1, 3)),
    "channels first": lambda x: cr.permute_dims(x, (0, 3, 1, 2)),
    "every other": lambda x: x[::2, 1:-1, ::2],
    "half of the channels": lambda x: x[..., 4:],
    "one image for all": lambda x: cr.broadcast_to(x[:1], x.shape),
    "one row for all": lambda x: cr.broadcast_to(x[:, :1], x.shape),
    "one channel for all": lambda x: cr.broadcast_to(x[..., :1], x.shape),
    "an expression": lambda x: cr.tanh(x)[:, 1:],
    "rows split": lambda x: cr.reshape(x, (x.shape[0], 2, -1, x.shape[-1])),
    "joined": lambda x: cr.concat([cr.maximum(x, 0), x], axis=3),
    "windows": lambda x: cr.reshape(cr.unfold(x, 3, stride=1), (x.shape[0], 6, 6, -1)),
}


@pytest.mark.parametrize("kind", ["plain", "depthwise", "pooled"])
def test_the_input_is_a_view_or_an_expression(kind):
    x = f32(3, 8, 8, 8)
    channels = [view(cr.Tensor(x)).shape[-1] for view in VIEWS.values()]
    kernels = [
        f32(3, 2, 1 if kind == "depthwise" else c, c if kind == "depthwise" else 5)
        for c in channels
    ]

    def one(view, x, w):
        if kind == "pooled":
            return pooled(view(x))
        how = {"groups": w.shape[-1]} if kind == "depthwise" else {}
        return with_gradients(lambda x, w: cr.convolution(view(x), w, padding=1, **how), x, w)

    def function(x, *kernels):
        pairs = zip(VIEWS.values(), kernels, strict=True)
        return [v for view, w in pairs for v in one(view, x, w)]

    check_equal(*both([x, *kernels], function), 1e-5)


KERNELS = {
    "mirrored": lambda w: cr.flip(w, axis=(0, 1)),
    "channels exchanged": lambda w: cr.permute_dims(w, (0, 1, 3, 2)),
    "one row for all": lambda w: cr.broadcast_to(w[:1], w.shape),
    "one output for all": lambda w: cr.broadcast_to(w[..., :1], w.shape),
    "every other": lambda w: w[::2, :, :, ::2],
    "of PyTorch's layout": lambda w: cr.permute_dims(cr.reshape(w, (8, 8, 3, 3)), (2, 3, 1, 0)),
    "normalized": lambda w: w / cr.sum(w * w, axis=(0, 1, 2), keepdims=True),
}


def test_the_kernel_is_a_view_or_an_expression():
    def function(x, w):
        kinds = (lambda x, w, view=view: cr.convolution(x, view(w)) for view in KERNELS.values())
        return [v for kind in kinds for v in with_gradients(kind, x, w)]

    check_equal(*both([f32(3, 8, 8, 8), f32(3, 3, 8, 8)], function), 1e-5)


ENDINGS = {
    "bias and activation": lambda y, b, r: cr.maximum(y + b, 0),
    "a residual": lambda y, b, r: cr.maximum(y + b + r, 0),
    "two results": lambda y, b, r: (y * y, y > 0, y),
    "channels first": lambda y, b, r: cr.permute_dims(cr.tanh(y), (0, 3, 1, 2)),
    "flat": lambda y, b, r: cr.reshape(y, (y.shape[0], -1)) + 1,
    "a part": lambda y, b, r: cr.tanh(y[:, 1:]) * 2,
    "means": lambda y, b, r: cr.mean(cr.maximum(y, 0), axis=(1, 2)),
    "statistics": lambda y, b, r: (y - cr.mean(y, axis=(0, 1, 2))) * b,
    "a factor per image": lambda y, b, r: y * cr.sum(r, axis=(1, 2, 3), keepdims=True),
    "a factor per position": lambda y, b, r: y * r[..., :1],
    "the same for all images": lambda y, b, r: y * r[:1],
    "channels split": lambda y, b, r: cr.reshape(y, (*y.shape[:-1], 2, 8)) * cr.reshape(b, (2, 8)),
    "pooled": lambda y, b, r: cr.avg_pool(cr.maximum(y, 0), 2),
}


@pytest.mark.parametrize("x", [(3, 8, 7, 16), (2, 60, 61, 16), (33, 5, 6, 16)])
def test_what_follows_is_done_in_registers_or_not(x):
    """Of Winograd's tiles, of a direct way with a stride, by lanes, with an input dilation."""
    w, b = f32(3, 3, 16, 16), f32(16)
    hows = ({"padding": 1}, {"stride": 2}, {"groups": 16}, {"input_dilation": 2})
    shapes = [
        cr.convolution(cr.zeros(x), cr.zeros((3, 3, 16 // how.get("groups", 1), 16)), **how).shape
        for how in hows
    ]

    def function(x, w, b, *rests):
        out = []
        for how, rest in zip(hows, rests, strict=True):
            y = cr.convolution(x, w[:, :, :1] if "groups" in how else w, **how)
            for ending in ENDINGS.values():
                found = ending(y, b, rest)
                out += found if isinstance(found, tuple) else [found]
        return out

    check_equal(*both([f32(*x), w, b, *(f32(*s) for s in shapes)], function), 2e-5)


def layer(x, w):
    return cr.max_pool(cr.tanh(cr.convolution(x, w, padding=1)), 3, stride=1, padding=1)


def carried(h, xs, w, **how):
    """The last state and all results of a recurrence whose state is an image."""
    return cr.scan(lambda h, x: (layer(h, w) + x, cr.sum_pool(h, 2)), h, xs, **how)


def cube(f):
    return lambda *xs: (f(*xs) ** 3).sum()


INSIDE = {
    "scan": lambda x, w, v: carried(x, cr.stack([x, -x, v + x]), w),
    "scan, first order": lambda x, w, v: cr.grad(
        lambda x, w: sum(cube(lambda y: y)(y) for y in carried(x, cr.stack([x, -x, v + x]), w)),
        argnums=(0, 1),
    )(x, w),
    "scan, checkpoints": lambda x, w, v: cr.grad(
        lambda x, w: carried(x, cr.stack([x, -x, x, v + x]), w, checkpoint_every=2)[0].sum(),
        argnums=(0, 1),
    )(x, w),
    "checkpoint": lambda x, w, v: cr.grad(cube(cr.checkpoint(layer)), argnums=(0, 1))(x, w),
    "jvp": lambda x, w, v: cr.jvp(lambda x: layer(x, w), (x,), (v,)),
    "hvp": lambda x, w, v: cr.hvp(cube(lambda x: layer(x, w)), x, v),
    "jacobian": lambda x, w, v: cr.jacobian(lambda w: layer(x[:1, :2, :2], w))(w),
    "three times": lambda x, w, v: cr.grad(
        lambda w: cr.grad(lambda w: cr.grad(cube(layer), argnums=1)(x, w).sum())(w).sum()
    )(w),
    "one kernel, two layers": lambda x, w, v: with_gradients(
        lambda x, w: layer(layer(x, w), cr.permute_dims(w, (1, 0, 3, 2))), x, w
    ),
    "used twice": lambda x, w, v: (lambda r: layer(r, w) + r)(cr.maximum(x, 0)),
    "without gradients": lambda x, w, v: frozen(x, w),
}


def frozen(x, w):
    with cr.no_grad():
        y = layer(x, w)
    return cr.grad(lambda w: (y * layer(x, w)).sum())(w)


@pytest.mark.parametrize("name", INSIDE)
def test_convolutions_inside_of_what_runs_and_derives_them(name):
    x, w, v = (RNG.normal(size=s) for s in ((2, 6, 6, 4), (3, 3, 4, 4), (2, 6, 6, 4)))

    def function(*xs):
        found = INSIDE[name](*xs)
        return list(found) if isinstance(found, tuple) else [found]

    check_equal(*both([x, 0.3 * w, v], function), 1e-12)


def test_what_is_overwritten_is_read_before():
    def train(x, w):
        x, w = cr.Tensor(x), cr.Tensor(w)

        @cr.compile
        def step():
            before = cr.convolution(x, w, padding=1)
            x[...] = cr.max_pool(x, 3, stride=1, padding=1) - 0.1 * x + before
            x[:, 1:] = cr.sum(cr.unfold(x, (2, 1), stride=1), axis=(3, 4)) * 0.5
            w[...] = 0.9 * w + 0.01 * cr.grad(lambda w: cr.convolution(x, w).sum())(w)

        for _ in range(3):
            step()
        return [x.numpy(), w.numpy()]

    arrays = f32(2, 5, 4, 3), 0.1 * f32(3, 3, 3, 3)
    found = train(*arrays)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHAINRULE_BACKEND", "reference")
        check_equal(found, train(*arrays), 1e-5)


# ── special values, and nothing ──────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e35])
@pytest.mark.parametrize("name", ["plain", "tiles of 3 × 3", "strided", "depthwise", "cropped"])
@pytest.mark.parametrize("place", [0, -1, 95])
def test_a_special_value_stays_in_the_windows_that_have_it(name, value, place):
    """Which these are, a convolution of its mask by ones says."""
    shape, kernel, how = SLIDES[name]
    x, w = f32(*shape), f32(*kernel)
    step = cr.compile(lambda x, w: cr.convolution(x, w, **how))
    clean = step(x, w).numpy()
    mask = np.zeros(shape)
    mask.flat[place] = 1
    touched = cr.convolution(cr.Tensor(mask), cr.ones(kernel, dtype="float64"), **how).numpy() > 0
    x.flat[place] = value
    found = step(x, w).numpy()
    np.testing.assert_allclose(found[~touched], clean[~touched], rtol=0, atol=1e-4)
    assert (np.abs(found[touched]) > 1e30).all() or np.isnan(found[touched]).all()


def test_a_nan_of_the_kernel_is_in_its_outputs():
    x, w = f32(2, 9, 9, 16), f32(3, 3, 16, 32)
    w[2, 0, 5, 7] = np.nan
    y = cr.compile(lambda x, w: cr.convolution(x, w, padding=1))(x, w).numpy()
    assert np.isnan(y[..., 7]).all()
    assert np.isfinite(np.delete(y, 7, axis=-1)).all()


# x, the largest of each two, ∂(their sum)/∂x
LARGEST = [
    ([1.0, 1.0, 0.0, 2.0], [1.0, 2.0], [1, 0, 0, 1]),
    ([np.nan, 5.0, 3.0, np.nan], [np.nan, np.nan], [1, 0, 0, 1]),
    ([np.inf, np.nan, -np.inf, -np.inf], [np.nan, -np.inf], [0, 1, 1, 0]),
    ([-0.0, 0.0, -1.0, -2.0], [0.0, -1.0], [1, 0, 1, 0]),
]


@pytest.mark.parametrize(("x", "largest", "gradient"), LARGEST)
def test_the_first_of_equal_ones_gets_the_gradient_and_so_does_nan(x, largest, gradient):
    x = np.array(x).reshape(1, 4, 1)
    step = cr.compile(lambda x: (cr.max_pool(x, 2), cr.grad(lambda x: cr.max_pool(x, 2).sum())(x)))
    y, slope = step(x)
    np.testing.assert_array_equal(y.numpy().ravel(), largest)
    np.testing.assert_array_equal(slope.numpy().ravel(), gradient)


@pytest.mark.parametrize(
    ("x", "w"),
    [((0, 5, 5, 3), (3, 3, 3, 4)), ((2, 5, 5, 3), (3, 3, 3, 0)), ((2, 5, 0, 3), (2, 1, 3, 4))],
)
def test_nothing_is_convolved(x, w):
    for a, b in zip(*both([f32(*x), f32(*w)], convolved()), strict=True):
        assert a.shape == b.shape
        assert not a.any()


@pytest.mark.parametrize(
    ("x", "w", "how"),
    [
        ((1, 100_000, 16), (9, 16, 16), {"kernel_dilation": 8}),
        ((1, 1000, 1000, 3), (5, 5, 3, 16), {"padding": 2}),
        ((1, 500, 500, 64), (3, 3, 1, 64), {"groups": 64}),
        ((8, 1, 1, 2048), (3, 3, 2048, 8), {"padding": 1}),
        ((1, 40, 40, 4), (31, 31, 4, 4), {"padding": 15}),
        ((1, 64, 64, 64, 4), (3, 3, 3, 4, 4), {}),
    ],
)
def test_scratch_memory_is_that_of_a_band(x, w, how):
    """Not more than twice the cache that bands are made for, and the kernel."""
    step = cr.compile(convolved(**how))
    step(cr.zeros(x), cr.zeros(w))
    plan = next(iter(step._steps.values()))[0].executable.planned().plan
    assert "numpy" not in str(plan)
    assert plan.scratch < 2 * plan.target.caches.second.bytes + 4 * np.prod(w) * 16
