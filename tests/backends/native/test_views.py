"""Views in machine code: how their elements are addressed."""

import re

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn

BLOCK = np.arange(2 * 40 * 3 * 4, dtype=np.float32).reshape(2, 40, 3, 4)
FUNCTIONS = {
    "rows that were joined": lambda x: cr.reshape(x, (80, 12)).sum(axis=0),
    "rows that were split": lambda x: cr.reshape(x, (8, 10, 12)) * 2,
    "of another view": lambda x: cr.reshape(cr.reshape(x, (80, 12)), (4, 20, 12)).sum(axis=1),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_reshape_of_an_array_is_read_without_dividing_places(name):
    """Divisions would keep LLVM from making vectors of the loop."""
    function, x = FUNCTIONS[name], cr.Tensor(BLOCK)
    step = cr.compile(function)
    np.testing.assert_array_equal(step(x).numpy(), function(x).numpy())
    assert "udiv" not in step.llvm(x).partition('define void @"run0"')[0]


def test_what_a_product_reads_through_a_reshape_joins_the_loop_of_its_shape():
    """GELU on (N, T, C): what is between the products is one loop, and the second reads rows."""
    x, w = cr.Tensor(np.ones((2, 40, 8), np.float32)), cr.Tensor(np.ones((8, 8), np.float32))
    step = cr.compile(lambda x, w: (cr.tanh(x) * x, (cr.tanh(x) * x) @ w)[1])
    plan = str(step.plan(x, w)).splitlines()
    assert [line.split()[1].strip(":,") for line in plan[1:3]] == ["elementwise", "matmul"]
    assert "float32[2,40,8]" in plan[1]


def test_a_few_instructions_on_one_array_are_done_again():
    """Of GELU in its tanh form the input and the tanh are stored for the derivative, no more."""
    rng = np.random.default_rng(0)
    x, w, b = (cr.Tensor(rng.normal(size=s).astype(np.float32)) for s in ((16, 40), (40, 40), 40))

    def gradient(x, w, b):
        def total(*xs):
            return (nn.functional.gelu(xs[0] @ xs[1] + xs[2], "tanh") @ xs[1]).sum()

        return cr.grad(total, argnums=(0, 1, 2))(x, w, b)

    step = cr.compile(gradient)
    (line,) = (line for line in str(step.plan(x, w, b)).splitlines() if "g2 elementwise" in line)
    assert line.count("float32[16,40] at") == 2
    for found, expected in zip(step(x, w, b), gradient(x, w, b), strict=True):
        np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-4, atol=1e-4)


def test_the_exponentials_of_a_large_softmax_are_not_stored():
    """Cross-entropy over many classes reads the scores again instead."""
    scores, labels = cr.Tensor(np.zeros((128, 8192), np.float32)), cr.Tensor(np.arange(128))
    step = cr.compile(lambda x, y: cr.grad(lambda x: nn.functional.cross_entropy(x, y))(x))
    plan = str(step.plan(scores, labels))
    arena = int(re.search(r"arena of (\d+) bytes", plan)[1])
    assert arena < 10_000, "all of this size lies in the memory of the result"
    assert plan.count("float32[128,8192]") == 2, "the result, and what it is written over"
    found = step(scores, labels).numpy()
    assert found[3, 3] == pytest.approx((1 / 8192 - 1) / 128)
    assert found[3, 4] == pytest.approx(1 / 8192 / 128)
