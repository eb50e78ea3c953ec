"""Sums of padded parts that lie side by side become the parts side by side."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import ops
from chainrule.compile.passes import optimise
from chainrule.graph import Graph, Node


def gradient(cuts, axis=1):
    """The gradient of a sum over slices, each with a factor of its own."""

    def f(x):
        parts = [x[lo:hi] if axis == 0 else x[:, lo:hi] for lo, hi in cuts]
        return sum((part * part * (k - 1.5)).sum() for k, part in enumerate(parts))

    return lambda x: cr.grad(f)(x)


@pytest.mark.parametrize(
    ("cuts", "joins"),
    [
        ([(0, 2), (2, 4), (4, 6), (6, 8)], True),
        ([(4, 8), (0, 1), (1, 4)], True),  # in another order
        ([(0, 4), (4, 8), (0, 4)], True),  # and one more on top
        ([(0, 4), (3, 8)], False),  # they overlap
        ([(0, 4), (5, 8)], False),  # a gap
        ([(0, 3), (3, 3), (3, 8)], True),  # one is empty
    ],
)
@pytest.mark.parametrize("axis", [0, 1])
def test_the_gradients_of_slices_are_joined(cuts, joins, axis):
    x = np.random.default_rng(0).normal(size=(8, 8))
    x[0, 0], x[1, 1], x[2, 2], x[:, 3] = np.nan, np.inf, -0.0, 0.0
    x = cr.Tensor(x)
    step = cr.compile(gradient(cuts, axis))
    expected = gradient(cuts, axis)(x).numpy()
    found = step(x).numpy()
    assert found.tobytes() == expected.tobytes()  # with the signs of zeros
    assert ("concat(" in step.graph(x)) == joins


def test_minus_zero_is_zero_after_the_sum():
    halves = [Node(None, (), {}, (2,), np.dtype(np.float32)) for _ in range(2)]
    pads = [
        Node(ops.pad, (h,), {"low": (lo,), "high": (2 - lo,), "interior": (0,)}, (4,), h.dtype)
        for h, lo in zip(halves, (0, 2), strict=True)
    ]
    total = Node(ops.add, tuple(pads), {}, (4,), halves[0].dtype)
    graph = optimise(Graph(halves, [total]))
    assert graph.outputs[0].op is ops.concat
    from chainrule.graph_evaluation import run

    (found,) = run(graph, [np.float32([-0.0, 1]), np.float32([2, -0.0])])
    assert found.tobytes() == np.float32([0, 1, 2, 0]).tobytes()


def test_axes_of_parts_are_moved_before_they_are_joined():
    """Heads of an attention: thirds of one product, each with its axes in another order."""
    x = cr.Tensor(np.random.default_rng(0).normal(size=(2, 5, 3, 4)))

    def gradient(x):
        def f(x):
            parts = cr.permute_dims(x, (2, 0, 1, 3))
            return sum((part * part * (k - 1.5)).sum() for k, part in enumerate(parts))

        return cr.grad(f)(x)

    step = cr.compile(gradient)
    assert step(x).numpy().tobytes() == gradient(x).numpy().tobytes()
    (line,) = (line for line in step.graph(x).splitlines() if " concat(" in line)
    assert "float64[2,5,3,4]" in line
    assert "axis=2" in line
