"""Explanations of arrays without elements: every form says something, and it is true."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.explanation import mathematics
from sources import run


def empty(*shape, dtype="f4"):
    return cr.Tensor(np.zeros(shape, dtype))


def linear():
    return nn.Linear(3, 2)


def of(loss):
    model = linear()
    return lambda x: loss(model(x))


F, sequences = nn.functional, nn.LSTM(3, 2)
LOSSES = {
    "sum": (of(lambda z: z.sum()), [empty(0, 3)], "0"),
    "mean": (of(lambda z: z.mean()), [empty(0, 3)], "0/0"),
    "relu": (of(lambda z: cr.relu(z).sum()), [empty(0, 3)], "0"),
    "softmax": (of(lambda z: cr.softmax(z, axis=-1)[:, 0].sum()), [empty(0, 3)], "0"),
    "cross entropy": (
        of(lambda z: F.cross_entropy(z, empty(0, dtype="i8"))),
        [empty(0, 3)],
        "0",
    ),
    "mean squared error": (of(lambda z: F.mse_loss(z, empty(0, 2))), [empty(0, 3)], "0"),
    "normalization": (lambda x: nn.LayerNorm(3)(x).sum(), [empty(0, 3)], "0"),
    "product over nothing": (lambda a, b: (a @ b).sum(), [empty(2, 0), empty(0, 2)], None),
    "prod": (lambda x: x.prod(), [empty(0)], "1"),
    "reshape": (lambda x: (x.reshape((3, 0)) ** 2).sum(), [empty(0, 3)], "0"),
    "concat": (lambda x: (cr.concat([x, cr.ones((2,))]) ** 2).sum(), [empty(0)], None),
    "no rows": (lambda x: x[np.zeros(0, "i8")].sum(), [cr.Tensor(np.ones((2, 3), "f4"))], "0"),
    "many": (lambda x: (x * 2 + 1).sum(), [empty(1000, 0)], "0"),
    "loop": (
        lambda x: cr.scan(lambda h, r: (cr.tanh(h + r), h), cr.ones((2,)), x)[0].sum(),
        [empty(0, 2)],
        None,
    ),
    "no sequences": (lambda x: (sequences(x)[0] ** 2).sum(), [empty(0, 4, 3)], "0"),
}


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.filterwarnings("ignore:(Mean of empty|invalid value):RuntimeWarning")
def test_forms_of_empty_arrays(name):
    function, args, right = LOSSES[name]
    e = cr.explain(function, *args)
    for form in (e.text, e.story, e.unicode, e.latex, e.page):
        assert form()
    assert "∂(empty)" not in e.text()
    loss, gradients, *_ = run(e.numpy(), e.arrays())
    np.testing.assert_equal(np.asarray(loss), function(*args).numpy())
    for key, g in e.gradients.items():
        np.testing.assert_equal(np.broadcast_to(gradients[key], g.shape), g)
    rows = [mathematics.text(q) for _, part in e._equations.parts for q in part]
    assert right is None or ("L", right) in rows


def test_a_loss_that_is_no_number_has_no_next_step():
    function, args, _ = LOSSES["mean"]
    story = cr.explain(function, *args).story()
    assert "The loss is nan: what a step would change cannot be told." in story


def test_indices_of_empty_axes_are_written():
    function, args, _ = LOSSES["sum"]
    assert "z[i, j] = Σₖ x[i, k] W[j, k] + b[j]" in cr.explain(function, *args).unicode()
