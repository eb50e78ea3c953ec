"""The number of floating-point operations of a graph, against counts by hand."""

import functools
import math

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, ops
from chainrule.compile import cost
from chainrule.functions import contractions
from chainrule.graph import Node
from chainrule.recording import record

FLOAT = np.dtype("float32")


def graph_of(f, *shapes):
    return record(lambda given: [f(*given)], [(s, FLOAT, False) for s in shapes]).graph


def test_a_network_of_linear_layers():
    n, a, b, c = 8, 6, 16, 4
    model = nn.Sequential(nn.Linear(a, b), nn.Tanh(), nn.Linear(b, c))
    layer = 2 * n * a * b + n * b  # products and sums, then the bias
    head = 2 * n * b * c + n * c
    assert cost.total(graph_of(model, (n, a))) == layer + n * b + head


def test_a_network_of_convolutions():
    n, size, c = 2, 12, 4
    model = nn.Sequential(
        nn.Conv2d(3, c, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(c, 2 * c, 3, groups=2),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(2 * 2 * 2 * c, 10),
    )
    first = n * size * size * c
    second = n * 4 * 4 * 2 * c
    expected = (
        2 * first * 5 * 5 * 3
        + first  # the bias
        + 2 * first  # compare, choose
        + first  # largest of each window of 2 · 2, stride 2
        + 2 * second * 3 * 3 * c // 2
        + second
        + second
        + second // 4  # sum each window, divide
        + 2 * n * 2 * 2 * 2 * c * 10
        + n * 10
    )
    assert cost.total(graph_of(model, (n, size, size, 3))) == expected


def test_a_network_with_a_loop():
    n, steps, a, h = 2, 7, 3, 5
    rnn = nn.RNN(a, h)
    inputs = 2 * n * steps * a * h + n * steps * h  # all steps at once
    each = 2 * n * h * h + n * h + n * h + n * h  # product, bias, sum, tanh
    assert cost.total(graph_of(lambda x: rnn(x)[0], (n, steps, a))) == inputs + steps * each


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_the_adjoints_of_a_convolution_cost_what_it_does(stride, transposed):
    apply = contractions.convolution_transpose if transposed else contractions.convolution
    f = functools.partial(apply, stride=stride, padding=1, groups=2)
    places = 7 if transposed else (7 - 1) // stride + 1
    w = (3, 3, 3, 4) if transposed else (3, 3, 2, 6)  # 4 -> 6 channels
    forward = 2 * 2 * places**2 * 9 * 4 * 6 // 2
    assert cost.total(graph_of(f, (2, 7, 7, 4), w)) == forward

    def both(x, w):
        y, pull = cr.vjp(f, x, w)
        return cr.concat([cr.flatten(t, 0) for t in pull(y)])

    whole = graph_of(both, (2, 7, 7, 4), w)
    products = (ops.convolution, ops.convolution_weight)
    assert sum(cost.operations(n) for n in whole if n.op in products) == 3 * forward


def node(op, *inputs, **params):
    leaves = [Node(None, (), {}, shape, np.dtype(dtype)) for shape, dtype in inputs]
    return Node(op, tuple(leaves), params, *op.infer(*leaves, **params))


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (node(ops.matmul, ((5, 2, 3), "float32"), ((5, 3, 4), "float32")), 2 * 5 * 2 * 3 * 4),
        (node(ops.matmul, ((2, 3), "int64"), ((3, 4), "int64")), 0),
        (node(ops.exp, ((2, 3), "float64")), 6),
        (node(ops.less, ((2, 3), "float32"), ((2, 3), "float32")), 6),
        (node(ops.equal, ((2, 3), "int64"), ((2, 3), "int64")), 0),
        (node(ops.sum, ((2, 3), "float32"), axis=(0, 1)), 6),
        (node(ops.argmax, ((2, 3), "float32"), axis=(1,)), 6),
        (node(ops.recurrence, ((2, 3), "float32"), ((2, 3), "float32"), axis=1), 12),
        (node(ops.astype, ((2, 3), "float32"), dtype=np.dtype("int64")), 0),
        (node(ops.take, ((4, 2), "float32"), ((3,), "int64"), axis=0), 0),
        (node(ops.scatter_add, ((3, 2), "float32"), ((3,), "int64"), axis=0, size=9), 6),
    ],
)
def test_single_operations(made, expected):
    assert cost.operations(made) == expected


def test_graphs_inside():
    body = lambda x: cr.tanh(x) * x  # noqa: E731
    assert cost.total(graph_of(cr.checkpoint(body), (4,))) == 8
    loop = graph_of(lambda x: cr.scan(lambda c, _: (body(c), None), x, length=5)[0], (4,))
    nested = graph_of(
        lambda x: cr.scan(
            lambda c, _: (cr.scan(lambda d, _: (body(d), None), c, length=3)[0], None), x, length=5
        )[0],
        (4,),
    )
    assert (cost.total(loop), cost.total(nested)) == (5 * 8, 15 * 8)


def test_what_is_not_listed_is_elementwise():
    """One operation per output element is right for other rows: their inputs have that size too."""
    listed = {
        *cost.FREE,
        *cost.PER_INPUT,
        ops.matmul,
        ops.convolution,
        ops.convolution_weight,
        ops.recurrence,
        ops.norm,
        ops.scan,
        ops.call,
        ops.custom,
    }
    rest = [op for op in ops.TABLE.values() if op not in listed]
    assert len(rest) > 40
    for op in rest:
        for shapes, params in op.cases:
            sizes = [math.prod(s) if isinstance(s, tuple) else s.size for s in shapes]
            assert len(set(sizes)) == 1, op
            assert not params, op
