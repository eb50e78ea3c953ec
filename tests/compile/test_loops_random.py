"""Random loops and their derivatives to the second order: the passes change no result."""

from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import chainrule as cr
from chainrule.compile.loops import products
from looping import expect_same, f64

# Each makes another (2, 3) from two (2, 3), a matrix and a vector of constants, and the row.
STATEMENTS = {
    "add": lambda a, b, w, v, x: a + b,
    "multiply": lambda a, b, w, v, x: a * b,
    "tanh": lambda a, b, w, v, x: cr.tanh(a),
    "relu": lambda a, b, w, v, x: cr.relu(a) - 0.5 * b,
    "product": lambda a, b, w, v, x: a @ w,
    "transposed": lambda a, b, w, v, x: a @ w.T + x @ w,
    "vector": lambda a, b, w, v, x: a * cr.exp(v) - v,
    "bias": lambda a, b, w, v, x: x @ cr.sin(w) + v[None, :],
    "row": lambda a, b, w, v, x: cr.sin(x) * a,
    "parts": lambda a, b, w, v, x: cr.concat([a[:, 1:], cr.cos(b[:, :1])], axis=1),
    "mean": lambda a, b, w, v, x: a - b.mean(axis=1, keepdims=True),
    "softmax": lambda a, b, w, v, x: cr.softmax(a @ w, axis=1),
    "chosen": lambda a, b, w, v, x: cr.where(a > x, b, x),
    "batch": lambda a, b, w, v, x: (a[:, None, :] @ cr.stack([w, b[0] * w]))[:, 0],
    "outer": lambda a, b, w, v, x: a @ (b.T @ x),
    "checkpoint": lambda a, b, w, v, x: cr.checkpoint(lambda a: cr.sin(a @ w) + b)(a),
    "inner": lambda a, b, w, v, x: cr.scan(
        lambda c, r: (cr.tanh(c @ w + r * v), c * r), a, cr.stack([b, x])
    )[1].sum(axis=0),
}
NAMES = st.sampled_from(sorted(STATEMENTS))
PLACES = st.integers(0, 20)
LINES = st.lists(st.tuples(NAMES, PLACES, PLACES), min_size=1, max_size=6)


@pytest.mark.filterwarnings("ignore:.grad. the function does not use")
@settings(max_examples=40)
@given(
    LINES,
    st.tuples(PLACES, PLACES, PLACES),
    st.sampled_from([0, 1, 2, 3]),
    st.booleans(),
    st.sampled_from([0, products.COLUMNS_PER_ROW]),
)
def test_random_loops(lines, results, length, reverse, deep):
    def f(w, v, first, second, xs):
        def step(carry, x):
            pool = [*carry, x]
            for name, i, k in lines:
                pool.append(
                    STATEMENTS[name](pool[-1 - i % len(pool)], pool[k % len(pool)], w, v, x)
                )
            a, b, y = (pool[-1 - k % len(pool)] for k in results)
            return (cr.tanh(a), 0.5 * b), (y, pool[-1])

        (last, _), ys = cr.scan(step, (first, second), xs, reverse=reverse)
        return last, ys

    args = f64(3, 3), f64(3), f64(2, 3), f64(2, 3), f64(length, 2, 3)
    with np.errstate(all="ignore"), mock.patch.object(products, "COLUMNS_PER_ROW", deep):
        expect_same(f, *args)
