"""Training mode and evaluation mode: what fit and its kin run in, and what they leave."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.train import Callback, find_lr
from running import X, Y, fit, network


@pytest.mark.parametrize("ends", ["well", "by an error"])
def test_each_module_has_its_mode_again(ends):
    model = network()
    model.eval()[3].train()

    class Looks(Callback):
        def on_step(self, run):
            assert all(m.training for m in model.modules())
            if ends != "well":
                raise ZeroDivisionError

    try:
        fit(model, (X, Y), epochs=1, callbacks=[Looks()])
    except ZeroDivisionError:
        assert ends != "well"
    assert [m.training for m in model.modules()] == [False, False, False, False, True, False]


def test_trying_rates_takes_lists_and_leaves_the_mode():
    expected = find_lr(network(), (X, Y), loss="cross_entropy", steps=10)
    model = network().eval()
    found = find_lr(model, (X.tolist(), Y.tolist()), loss="cross_entropy", steps=10)
    assert found.losses == expected.losses
    assert not any(m.training for m in model.modules())


def deep():
    cr.random.seed(0)
    inner = nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Dropout(0.5))
    return nn.Sequential(nn.Linear(X.shape[1], 8), nn.BatchNorm1d(8), inner, nn.Linear(8, 3))


SETTINGS = {  # what is done to the model, and the modules that are in evaluation mode in training
    "nothing": (lambda m: None, ""),
    "a layer": (lambda m: m[1].eval(), "1"),
    "a frozen layer": (lambda m: m[1].freeze().eval(), "1"),
    "a frozen layer in training mode": (lambda m: m[1].freeze(), ""),
    "a part": (lambda m: m[2].eval(), "2 2.0 2.1 2.2"),
    "a part but its dropout": (lambda m: m[2].eval()[2].train(), "2 2.0 2.1"),
    "all": (lambda m: m.eval(), ""),
    "all, and a frozen layer": (lambda m: (m.eval(), m[1].freeze()), "1"),
    "all, and a frozen part": (lambda m: (m.eval(), m[2].freeze()), "2 2.0 2.1 2.2"),
    "all, and a frozen layer in training mode": (lambda m: (m.eval(), m[1].freeze().train()), ""),
}


class Looks(Callback):
    """Keeps the names of the modules that are in evaluation mode."""

    def on_step(self, run):
        self.seen = {n for n, m in run.model.named_modules() if n and not m.training}


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
@pytest.mark.parametrize("name", SETTINGS)
def test_what_was_put_into_evaluation_mode_stays_in_it(name, compiled):
    prepare, expected = SETTINGS[name]
    model = deep()
    prepare(model)
    modes, before = [m.training for m in model.modules()], model.state_dict()
    look = Looks()
    fit(model, (X, Y), valid=(X, Y), epochs=2, callbacks=[look], compile=compiled)
    assert look.seen == set(expected.split())
    assert [m.training for m in model.modules()] == modes
    after = model.state_dict()
    for path in ("1", "2.1"):
        kept = path in expected.split()
        for statistic in ("running_mean", "running_var", "num_batches_tracked"):
            key = f"{path}.{statistic}"
            if key in before:
                assert np.array_equal(before[key], after[key]) == kept, key


def test_dropout_in_evaluation_mode_passes_through_when_rates_are_tried():
    def losses(model):
        return find_lr(model, (X, Y), loss="cross_entropy", steps=10).losses

    dropping, still, without = deep(), deep(), deep()
    still[2][2].eval()
    without[2][2].p = 0.0
    assert losses(still) == losses(without) != losses(dropping)
