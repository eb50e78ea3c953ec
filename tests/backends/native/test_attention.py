"""Attention in machine code: results and gradients are the reference's, and no matrix is stored."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import chainrule as cr
from chainrule import nn

F = nn.functional
TOLERANCE = {"float32": 2e-6, "float64": 4e-15}


def operands(rng, n, h, t, s, d, e, dtype="float32"):
    """A query, a key, a value, and factors of the result."""
    shapes = (n, h, t, d), (n, h, s, d), (n, h, s, e), (n, h, t, e)
    return [rng.normal(size=shape).astype(dtype) for shape in shapes]


def result_and_gradients(q, k, v, factors, *masks, causal=False):
    """Of attention with one mask or none, a function of tensors alone."""

    def attended(q, k, v):
        return F.scaled_dot_product_attention(q, k, v, *masks, is_causal=causal)

    out = attended(q, k, v)
    return out, *cr.grad(lambda *xs: (attended(*xs) * factors).sum(), argnums=(0, 1, 2))(q, k, v)


def both(arrays, function):
    """A function's results on both backends, as arrays."""
    tensors = [cr.Tensor(a) for a in arrays]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHAINRULE_BACKEND", "reference")
        expected = [t.numpy() for t in cr.compile(function)(*tensors)]
        patch.setenv("CHAINRULE_BACKEND", "native")
        return [t.numpy() for t in cr.compile(function)(*tensors)], expected


def check_equal(found, expected, tolerance):
    for a, b in zip(found, expected, strict=True):
        size = np.abs(b[np.isfinite(b)]).max(initial=1.0)
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * size)


MASKS = {
    "none": lambda rng, n, h, t, s: [],
    "pairs": lambda rng, n, h, t, s: [rng.uniform(size=(t, s)) < 0.5],
    "pairs of each head": lambda rng, n, h, t, s: [rng.uniform(size=(n, h, t, s)) < 0.5],
    "keys": lambda rng, n, h, t, s: [rng.uniform(size=(n, 1, 1, s)) < 0.5],
    "queries": lambda rng, n, h, t, s: [rng.uniform(size=(h, t, 1)) < 0.5],
    "added": lambda rng, n, h, t, s: [rng.normal(size=(h, t, s))],
    "added to keys": lambda rng, n, h, t, s: [rng.normal(size=(1, 1, s))],
}


@settings(max_examples=10)
@given(
    mask=st.sampled_from(list(MASKS)),
    causal=st.booleans(),
    dtype=st.sampled_from(["float32", "float64"]),
    features=st.sampled_from(["", "avx2", "sse"]),
    sizes=st.tuples(st.integers(1, 2), st.integers(1, 2), st.integers(1, 90), st.integers(0, 140)),
    widths=st.tuples(st.integers(1, 40), st.integers(1, 40)),
)
def test_native_equals_reference(mask, causal, dtype, features, sizes, widths):
    rng = np.random.default_rng(0)
    arrays = operands(rng, *sizes, *widths, dtype)
    masks = MASKS[mask](rng, *sizes)
    masks = [m if m.dtype == bool else m.astype(dtype) for m in masks]

    def function(*xs):
        return result_and_gradients(*xs, causal=causal)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHAINRULE_FEATURES", features)
        check_equal(*both([*arrays, *masks], function), TOLERANCE[dtype])


def test_heads_that_are_parts_of_one_product():
    """Queries, keys and values are read where a layer has put them, each third of its result."""
    n, t, h, d = 3, 40, 2, 8
    rng = np.random.default_rng(0)
    x, w = (rng.normal(size=s).astype(np.float32) for s in ((n, t, h * d), (3 * h * d, h * d)))

    def function(x, w):
        def attended(x, w):
            parts = cr.reshape(F.linear(x, w), (n, t, 3, h, d))
            q, k, v = cr.permute_dims(parts, (2, 0, 3, 1, 4))
            out = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            joined = cr.reshape(cr.permute_dims(out, (0, 2, 1, 3)), (n, t, h * d))
            return F.linear(joined, w[: h * d])

        return attended(x, w), *cr.grad(lambda *a: (attended(*a) ** 2).sum(), argnums=(0, 1))(x, w)

    check_equal(*both([x, w], function), 1e-5)
    plan = cr.compile(lambda x, w: function(x, w)[0]).plan(cr.Tensor(x), cr.Tensor(w))
    groups = [line.split()[1].strip(":,") for line in str(plan).splitlines()[1:]]
    assert groups == ["matmul", "attention", "matmul", "elementwise"]  # the last is a copy


@pytest.mark.parametrize("causal", [False, True])
def test_no_matrix_of_all_queries_and_keys_is_stored(causal):
    t = s = 512
    arrays = operands(np.random.default_rng(0), 1, 2, t, s, 8, 8)
    tensors = [cr.Tensor(a) for a in arrays]
    step = cr.compile(lambda *xs: result_and_gradients(*xs, causal=causal))
    plan = str(step.plan(*tensors))
    sizes = [
        np.prod(list(map(int, found.split(",")))) for found in re.findall(r"\[([\d,]+)\]", plan)
    ]
    assert max(sizes) == 2 * t * 8
    assert "numpy" not in plan


def test_rows_without_a_key_and_what_is_not_finite():
    rng = np.random.default_rng(0)
    q, k, v, factors = operands(rng, 1, 2, 40, 70, 8, 8)
    mask = rng.uniform(size=(40, 70)) < 0.5
    mask[[3, 39]] = False
    found, expected = both([q, k, v, factors, mask], result_and_gradients)
    check_equal(found, expected, TOLERANCE["float32"])
    assert not found[0][:, :, [3, 39]].any()
    assert not found[1][:, :, [3, 39]].any()
    q[0, 0, 5], q[0, 1, 7] = np.nan, np.inf
    k[0, 1, 69] = -np.inf
    for found, expected in zip(*both([q, k, v, factors], result_and_gradients), strict=True):
        np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))


def test_large_scores():
    """Nothing overflows where scores are thousands apart."""
    q, k, v, factors = operands(np.random.default_rng(0), 1, 2, 40, 70, 8, 8)
    check_equal(*both([100 * q, 100 * k, v, factors], result_and_gradients), 3e-4)


@pytest.mark.parametrize("mask", MASKS)
def test_second_derivatives_of_compiled_steps(mask):
    rng = np.random.default_rng(0)
    sizes = (1, 2, 5, 7)
    arrays = operands(rng, *sizes, 3, 4, "float64")
    masks = [m if m.dtype == bool else m.astype("float64") for m in MASKS[mask](rng, *sizes)]

    def function(*xs):
        def squared(q, k, v):
            parts = result_and_gradients(q, k, v, *xs[3:])
            return sum((part**2).sum() for part in parts)

        return cr.grad(squared, argnums=(0, 1, 2))(*xs[:3])

    check_equal(*both([*arrays, *masks], function), 1e-12)


def test_the_same_bits_for_any_number_of_threads(of_threads):
    arrays = operands(np.random.default_rng(0), 2, 3, 130, 150, 32, 32)

    def step(*xs):
        return result_and_gradients(*xs, causal=True)

    plan = str(cr.compile(step).plan(*map(cr.Tensor, arrays)))
    assert re.search(r"attention_derivative, \d+ parts", plan)
    alone, two = of_threads(step, *arrays)
    assert two == alone
