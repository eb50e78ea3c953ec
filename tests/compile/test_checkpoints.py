"""Checkpoints in compiled steps: no graph inside is left, and what is computed again is late."""

import math

import numpy as np

import chainrule as cr
from chainrule import nn
from looping import body, expect_same, f64, gradients, operations, optimised, scans


def chain(block, count=6):
    def f(w, x):
        for _ in range(count):
            x = block(w, x)
        return x

    return f


def block(w, x):
    return cr.tanh(cr.exp(cr.sin(x @ w)) - 1)


def peak(graph):
    """The largest sum of bytes that are in use, if nodes are computed in order."""
    nodes = [n for n in graph if n.op is not None]
    last = {i: k for k, n in enumerate(nodes) for i in n.inputs}
    last |= dict.fromkeys(graph.outputs, len(nodes))
    use = most = 0
    for k, node in enumerate(nodes):
        if node.op.name in ("broadcast_to", "permute_dims", "reshape"):
            continue
        use += math.prod(node.shape)
        most = max(most, use)
        use -= sum(math.prod(i.shape) for i in {*node.inputs} if i.op and last[i] == k)
    return most


def test_checkpoints_need_less_memory():
    args = f64(4, 4), f64(64, 4)
    plain, again = (gradients(chain(b), 2) for b in (block, cr.checkpoint(block)))
    before, after = optimised(plain, *args), optimised(again, *args)
    assert "call" not in operations(after)
    assert (operations(before).count("sin"), operations(after).count("sin")) == (6, 12)
    assert peak(after) < 0.6 * peak(before)
    expect_same(chain(cr.checkpoint(block), 2), *args)


def test_a_checkpoint_in_a_checkpoint():
    f = chain(cr.checkpoint(lambda w, x: cr.sin(cr.checkpoint(block)(w, x)) @ w), 2)
    expect_same(f, f64(3, 3), f64(2, 3))


def test_a_checkpoint_in_a_loop():
    def f(w, c, xs):
        return cr.scan(lambda c, x: (cr.checkpoint(block)(w, c) + x, c), c, xs)

    args = f64(3, 3), f64(2, 3), f64(4, 2, 3)
    assert all("call" not in body(s) for s in scans(optimised(gradients(f, 3), *args)))
    expect_same(f, *args)


def test_a_step_of_a_network_with_checkpoints_is_machine_code(monkeypatch):
    monkeypatch.setenv("CHAINRULE_BACKEND", "native")
    layers = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4))

    def step(x, apply):
        loss = cr.square(apply(x)).sum()
        loss.backward()
        return loss, layers[0].weight.grad

    x = cr.Tensor(np.ones((3, 4), np.float32))
    again = cr.compile(lambda x: step(x, cr.checkpoint(layers)))
    assert "numpy" not in again.plan(x)
    for a, b in zip(again(x), step(x, layers), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-5)
