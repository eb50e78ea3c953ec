"""Layers that are frozen or unfrozen between runs and inside one: the gradients that are told."""

import math

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.nn import functional
from chainrule.train import Callback, fit
from running import X, Y


def built():
    cr.random.seed(0)
    return nn.Sequential(nn.Linear(X.shape[1], 8), nn.Tanh(), nn.Linear(8, 3))


class Does(Callback):
    """Does something after each epoch, and keeps the norms of the gradient that is then next."""

    def __init__(self, actions):
        self.actions, self.expected = actions, []

    def _expect(self, run):
        """float64 norms of the whole data's gradient, layer by layer; NaN where it is frozen."""
        for p in run.model.parameters():
            p.grad = None
        functional.cross_entropy(run.model(cr.Tensor(X)), cr.Tensor(Y)).backward()
        self.expected.append(
            [
                math.sqrt(sum(float((p.grad.numpy().astype(np.float64) ** 2).sum()) for p in ps))
                if (ps := [p for p in run.model[k].parameters() if p.requires_grad])
                else math.nan
                for k in (0, 2)
            ]
        )

    def on_begin(self, run):
        self._expect(run)

    def on_epoch(self, run):
        self.actions.get(run.epoch, lambda model: None)(run.model)
        self._expect(run)


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize(
    ("first", "actions"),
    [
        (lambda m: m[0].freeze(), {2: lambda m: m[0].unfreeze()}),
        (lambda m: None, {2: lambda m: m[0].freeze(), 4: lambda m: m[0].unfreeze()}),
        (lambda m: m[2].freeze(), {3: lambda m: (m[2].unfreeze(), m[0].freeze())}),
    ],
)
def test_norms_are_those_of_the_layers_trained_at_each_step(first, actions, compiled):
    model = built()
    optimizer = optim.SGD(model.named_parameters(), lr=0.1)
    first(model)
    does = Does(actions)
    found = fit(
        model,
        [(X, Y)],
        loss="cross_entropy",
        optimizer=optimizer,
        epochs=6,
        callbacks=[does],
        progress=False,
        compile=compiled,
    )
    assert found.gradients.layers == ["0 Linear", "2 Linear"], "from input to output"
    np.testing.assert_allclose(found.gradients.norms, does.expected[:-1], rtol=1e-5)
    assert [f for f in found.findings if f.kind.endswith("_gradient")] == []
    assert "nan" not in repr(found.gradients)


@pytest.mark.parametrize("order", ["freeze first", "freeze later"])
def test_a_run_goes_on_with_other_layers_frozen(tmp_path, order):
    model = built()
    optimizer = optim.Adam(model.named_parameters())
    arguments = {"loss": "cross_entropy", "optimizer": optimizer, "checkpoint": tmp_path}
    actions = [model[0].freeze, model[0].unfreeze]
    before, after = actions if order == "freeze first" else actions[::-1]
    before()
    fit(model, (X, Y), epochs=2, progress=False, **arguments)
    after()
    found = fit(model, (X, Y), epochs=4, resume=True, progress=False, **arguments)
    assert len(found) == 4
    assert found.gradients.layers == ["0 Linear", "2 Linear"]
    frozen = np.isnan(found.gradients.norms)
    half = len(frozen) // 2
    early = order == "freeze first"
    assert frozen[:half, 0].all() == early
    assert frozen[half:, 0].all() != early
    assert not frozen[:, 1].any()
    assert [f for f in found.findings if f.kind.endswith("_gradient")] == []
    found.plot("gradients")


def test_a_layer_that_stays_frozen_is_not_told():
    model = built()
    model[0].freeze()
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    found = fit(model, (X, Y), loss="cross_entropy", optimizer=optimizer, epochs=1, progress=False)
    assert found.gradients.layers == ["2 Linear"]
