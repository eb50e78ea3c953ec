"""Row-sparse gradients of a table that is read several times in a step."""

import itertools

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim

DTYPES = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
ROWS = 5
FIRST, SECOND = np.array([0, 1, 1, 4]), np.array([[1, 2], [4, 1]])
WEIGHTS = np.arange(1.0, 9.0)  # what each row that is read counts
EXPECTED = np.zeros((ROWS, 2))  # by hand: each row, the weights of the places where it is read
np.add.at(EXPECTED, FIRST, WEIGHTS[:4, None])
np.add.at(EXPECTED, SECOND.ravel(), WEIGHTS[4:, None])


def lookups(read, first, second):
    """A sum of rows, each times a weight; `read` takes indices."""
    one = read(cr.Tensor(FIRST.astype(first))).reshape((4, 2))
    two = read(cr.Tensor(SECOND.astype(second))).reshape((4, 2))
    w = cr.Tensor(WEIGHTS.astype(np.float32).reshape(8, 1))
    return (w[:4] * one).sum() + (w[4:] * two).sum()


def functions(table):
    embedding, tied = nn.Embedding(ROWS, 2), nn.Embedding(ROWS, 2)
    embedding.weight = tied.weight = table
    calls = itertools.count()
    return {
        "take": lambda i: cr.take(table, i, axis=0),
        "embedding": embedding,
        "tied": lambda i: (embedding if next(calls) % 2 else tied)(i),
    }


@pytest.mark.parametrize("read", ["take", "embedding", "tied"])
@pytest.mark.parametrize("compiled", [False, True])
def test_indices_of_two_dtypes_reach_one_table(read, compiled):
    for first, second in itertools.product(DTYPES, DTYPES):
        if compiled and DTYPES.index(second) - DTYPES.index(first) not in (0, 1, 3, -4, 4):
            continue  # a program each: a choice of pairs
        table = cr.Tensor(np.ones((ROWS, 2), np.float32), requires_grad=True)
        look = functions(table)[read]

        def step(look=look, first=first, second=second):
            loss = lookups(look, first, second)
            loss.backward()
            return loss

        loss = (cr.compile(step) if compiled and read != "tied" else step)()
        assert loss.item() == 2 * WEIGHTS.sum()
        np.testing.assert_array_equal(np.asarray(table.grad), EXPECTED)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize(("first", "second"), [("int64", "uint64"), ("int8", "uint16")])
@pytest.mark.parametrize("rows", [ROWS, 500])  # all rows are computed, or those that are read
def test_an_optimizer_changes_each_row_once(first, second, rows, compiled):
    start = np.ones((rows, 2), np.float32)
    table = cr.Tensor(start, requires_grad=True)
    optimizer = optim.SGD([table], lr=0.5)

    def step():
        lookups(lambda i: cr.take(table, i, axis=0), first, second).backward()
        optimizer.step()

    (cr.compile(step) if compiled else step)()
    start[:ROWS] -= 0.5 * EXPECTED
    np.testing.assert_array_equal(table.numpy(), start)


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("dtype", ["int8", "int64"])
def test_a_row_that_is_read_by_two_numbers_is_one_row(dtype, compiled):
    table = cr.Tensor(np.ones((500, 2), np.float32), requires_grad=True)
    optimizer = optim.SGD([table], lr=0.5)

    def step():
        low = cr.take(table, cr.Tensor(np.array([-1, -500, -1]).astype(np.int16)), axis=0)
        high = cr.take(table, cr.Tensor(np.array([0, 100]).astype(dtype)), axis=0)
        (low.sum() + high.sum()).backward()
        optimizer.step()

    (cr.compile(step) if compiled else step)()
    expected = np.ones((500, 2), np.float32)
    expected[[0, 100, 499]] -= [[1.0], [0.5], [1.0]]
    np.testing.assert_array_equal(table.numpy(), expected)
