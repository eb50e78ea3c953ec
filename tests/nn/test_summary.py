"""The table of a model: shapes, parameters, operations; and that looking changes nothing."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.errors import ArgumentError, ChainruleError, ShapeError, TraceError
from chainrule.nn.module import walk


def test_the_table():
    model = nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Sequential(nn.Linear(16, 4)))
    model[0].freeze()
    assert (
        str(model.summary((8, 6)))
        == """\
layer             output   parameters  operations
─────────────────────────────────────────────────
Sequential        (8, 4)          180       2,848
  0 (Linear)      (8, 16)         112       1,664
  1 (Tanh)        (8, 16)           0         128
  2 (Sequential)  (8, 4)           68       1,056
    2.0 (Linear)  (8, 4)           68       1,056
─────────────────────────────────────────────────
parameters  180 (68 trained, 112 frozen)
memory      720 bytes of parameters and buffers
operations  2,848 forward for these inputs"""
    )


def test_the_fields():
    summary = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU()).summary((2, 8, 8, 1))
    assert [(r.path, r.kind, r.depth, r.shape, r.parameters, r.calls) for r in summary.rows] == [
        ("", "Sequential", 0, (2, 6, 6, 4), 48, 1),
        ("0", "Conv2d", 1, (2, 6, 6, 4), 40, 1),
        ("1", "BatchNorm2d", 1, (2, 6, 6, 4), 8, 1),
        ("2", "ReLU", 1, (2, 6, 6, 4), 0, 1),
    ]
    assert (summary.parameters, summary.trainable) == (48, 48)
    assert summary.bytes == 4 * (48 + 8) + 8, "with the running statistics and the count"
    assert summary.operations == summary.rows[0].operations
    assert summary.operations == sum(r.operations for r in summary.rows[1:])


class Cell(nn.Module):
    """One layer twice, once more in a loop; a part that is never called; several results."""

    def __init__(self):
        self.layer, self.unused = nn.Linear(3, 3), nn.Linear(5, 7)
        self.alias = [self.layer]

    def forward(self, x, y=None):
        h = self.layer(self.alias[0](x[:, 0]))
        end, _ = cr.scan(lambda h, _: (self.layer(h), None), h, length=10)
        return {"count": 3, "end": (end, x)}


def test_shared_modules_loops_and_other_results():
    summary = Cell().summary((2, 5, 3))
    root, layer, unused = summary.rows
    once = 2 * 2 * 3 * 3 + 2 * 3
    assert (root.shape, root.operations, root.parameters) == ((2, 3), 12 * once, 12 + 42)
    assert (layer.operations, layer.calls, layer.path) == (12 * once, 3, "layer")
    assert (unused.shape, unused.operations, unused.calls) == (None, 0, 0)
    assert "layer (Linear) × 3" in str(summary)
    assert "\n  unused (Linear)     -  " in str(summary)


def test_recurrent_and_attention():
    n, t, e = 2, 5, 8
    lstm = nn.LSTM(3, 4, bidirectional=True).summary((n, t, 3))
    assert lstm.rows[0].shape == (n, t, 8)
    attention = nn.MultiheadAttention(e, 2).summary((n, t, e))
    products = 2 * n * t * e * e * 4 + 2 * 2 * n * t * t * e  # four layers; scores and their use
    assert products < attention.operations < 1.5 * products
    ids = nn.Embedding(11, 4).summary(np.zeros((3, 7), np.int64))
    assert (ids.rows[0].shape, ids.operations) == ((3, 7, 4), 0)
    two = nn.Bilinear(2, 3, 4).summary((5, 2), cr.ones((5, 3)))
    assert two.rows[0].shape == (5, 4)


def test_looking_changes_nothing():
    class Counts(nn.Module):
        def __init__(self):
            self.norm, self.drop, self.seen = nn.BatchNorm1d(3), nn.Dropout(0.5), 0

        def forward(self, x):
            self.last = self.drop(self.norm(x))
            self.seen += 1
            return self.last

    cr.random.seed(3)
    model = nn.Sequential(Counts(), nn.Linear(3, 2))
    step = cr.compile(lambda x: model[1](x))
    step(cr.ones((4, 3)))
    state, bits = model.state_dict(), cr.random.default.state.numpy()
    attributes = [dict(vars(m)) for m in model.modules()]
    model.summary((4, 3))
    with pytest.raises(ShapeError):
        model.summary((4, 2))
    assert [vars(m) for m in model.modules()] == attributes
    assert model.training
    np.testing.assert_array_equal(cr.random.default.state.numpy(), bits)
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, state[name])
    step(cr.ones((4, 3)))
    assert len(step._steps) == 1 == len(next(iter(step._steps.values()))), "not compiled again"
    model.eval().summary((4, 3))
    assert not model.training


def test_hooks_are_part_of_the_model():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU())
    model[0].register_forward_hook(lambda module, args, output: cr.exp(output[:, :2]))
    first, relu = model.summary((5, 3)).rows[1:]
    assert (first.shape, first.operations) == ((5, 2), 2 * 5 * 3 * 4 + 5 * 4 + 5 * 2)
    assert relu.shape == (5, 2)


def read(x):
    return x * float(x.sum())


@pytest.mark.parametrize(
    ("model", "inputs", "kind", "words"),
    [
        (nn.Linear(3, 2), (), ArgumentError, r"\[summary\] got no inputs.* required.*shapes"),
        (nn.Linear(3, 2), ((1, 3), 2), ArgumentError, r"\(1, 3\), 2, where Linear says: .* given"),
        (nn.Lambda(lambda x: x.nonsense), ((1,),), ArgumentError, "no attribute 'nonsense'"),
        (nn.Module(), ((1,),), ArgumentError, "Module has no forward"),
        (nn.Lambda(read), ((1,),), TraceError, "in Lambda"),
        (nn.Sequential(nn.Linear(3, 2)), ((1, 4),), ShapeError, r"in 0 \(Linear\)"),
        (nn.Embedding(3, 2), ((1, 4),), ChainruleError, "integer"),
    ],
)
def test_models_it_cannot_run(model, inputs, kind, words):
    with pytest.raises(kind, match=words):
        model.summary(*inputs)


def test_a_walk_gives_shared_parts_once_or_once_per_path():
    class Net(nn.Module):
        def __init__(self):
            self.a = nn.Linear(1, 1, bias=False)
            self.parts = [self.a, {"w": self.a.weight}]
            self.parts.append(self.parts)
            self.a.outer = self  # a module inside itself

    m = Net()
    assert [path for _, path, _, _ in walk(m)] == ["", "a", "a.weight"]
    every = [(depth, path, owner is m.a) for depth, path, _, owner in walk(m, every_path=True)]
    assert every == [
        (0, "", False),
        (1, "a", False),
        (2, "a.weight", True),
        (1, "parts.0", False),
        (2, "parts.0.weight", True),
        (1, "parts.1.w", False),
    ]
