"""The bits of an element do not depend on which part of a loop its thread does.

Where the rows of an array have few columns, LLVM vectorises along the rows, and what remains of a
thread's part is a loop of its own. The products and sums in both have to be rounded alike.
"""

import random

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.backends.native.plan import cuts, threads
from sharing import same_bits

RNG = np.random.default_rng(0)


def f32(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("rows", [32, 48, 64])
@pytest.mark.parametrize("classes", [4, 6, 8])
def test_a_loss_and_its_gradients(rows, classes, monkeypatch):
    """The gradient of the scores is written over an array that it is computed from."""
    x, w = f32(rows, 64, 128), f32(classes, 128) / 10
    y = np.arange(rows) % classes

    def step(t):
        x, w, y = t
        z = x.mean(axis=1) @ w.mT
        loss, slopes = cr.value_and_grad(lambda z: nn.functional.cross_entropy(z, y))(z)
        other = cr.grad(lambda z: (cr.tanh(z) * z.sum(axis=-1, keepdims=True) + z).mean())(z)
        return [loss, slopes, slopes.mT @ z, other]

    same_bits(step, [x, w, y], monkeypatch)


STATEMENTS = (
    lambda a, b, c, column: a * b + c,
    lambda a, b, c, column: a - b * c,
    lambda a, b, c, column: a * column - b,
    lambda a, b, c, column: cr.tanh(a) * b + column,
    lambda a, b, c, column: a.sum(axis=-1, keepdims=True) * b + a,
    lambda a, b, c, column: a.sum(axis=-1, keepdims=True) * column + b * c,
    lambda a, b, c, column: cr.softmax(a, axis=-1) * b,
    lambda a, b, c, column: cr.where(a > 0, a * b, c) + column,
    lambda a, b, c, column: cr.square(a).sum(axis=-1, keepdims=True) + b * c,
    lambda a, b, c, column: (a - a.mean(axis=-1, keepdims=True)) / (1 + cr.abs(b)),
)


@pytest.mark.parametrize("seed", range(40))
def test_random_statements(seed, monkeypatch):
    """Every loop is shared out, however short it is."""
    monkeypatch.setattr(threads, "WORTH_SHARING", 0.0)
    for module in (threads, cuts):
        monkeypatch.setattr(module, "WORTH_CUTTING", 0.0)
    choice = random.Random(seed)
    rows, columns = choice.choice([16, 24, 33, 48, 64, 80, 130]), choice.choice([2, 3, 4, 5, 7, 8])
    chosen = [(choice.choice(STATEMENTS), choice.random()) for _ in range(choice.randrange(3, 8))]

    def step(x, y, column):
        values = [x, y, x * column + y]
        for statement, which in chosen:
            pick = random.Random(which).choice
            values.append(statement(*(pick(values) for _ in range(3)), column))
        return values[-2:]

    def both(*xs):
        slopes = cr.grad(
            lambda *xs: sum(cr.square(v).sum() for v in (*step(*xs), *xs)), argnums=(0, 1, 2)
        )
        return [*step(*xs), *slopes(*xs)]

    arrays = [f32(rows, columns), f32(rows, columns), f32(rows, 1)]
    same_bits(lambda t: both(*t), arrays, monkeypatch)
