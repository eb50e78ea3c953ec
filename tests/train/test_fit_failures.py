"""What fit finds during training, where it puts the weights back; mistakes in using a model."""

import copy
import functools
import math

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.data import DataLoader
from chainrule.errors import ChainruleError, GradientError
from chainrule.train import Callback, evaluate, predict
from spoiling import X, Y, Z, batches, network, with_value

NAN = math.nan
CE = {"loss": "cross_entropy"}


def copies(state):
    return {name: value.copy() for name, value in state.items()}


class Breaks(Callback):
    """Makes the weights large enough to overflow at a step; keeps those after each epoch."""

    def __init__(self, step, value):
        self.step, self.value, self.after = step, value, []

    def on_begin(self, run):
        self.after = [copies(run.model.state_dict())]

    def on_epoch(self, run):
        self.after.append(copies(run.model.state_dict()))

    def on_step(self, run):
        if run.step == self.step:
            with cr.no_grad():
                run.model[4].weight[...] = self.value


@pytest.mark.parametrize(
    ("step", "value", "says", "epoch"),
    [
        (1, NAN, r"a loss of nan at step 2 \(epoch 1\).*initial", 0),
        (7, NAN, r"a loss of nan at step 8 \(epoch 3\).*epoch 2 again.*rate \(now 0.001\)", 2),
        (7, 3e38, r"a loss of (nan|inf) at step 8 \(epoch 3\)", 2),
        (9, NAN, r"values in 4.weight that are not finite at step 9 \(epoch 3\).*epoch 2", 2),
    ],
)
@pytest.mark.parametrize("compiled", [True, False])
def test_weights_that_break_are_put_back(step, value, says, epoch, compiled):
    breaks, model = Breaks(step, value), network()
    with pytest.raises(GradientError, match=says):
        cr.fit(
            model, batches(), **CE, epochs=5, callbacks=[breaks], compile=compiled, progress=False
        )
    for name, found in model.state_dict().items():
        np.testing.assert_array_equal(found, breaks.after[epoch][name])


def test_a_rate_that_is_too_high_is_named():
    model = nn.Linear(5, 1)
    optimizer = optim.SGD(model.parameters(), lr=1e6)
    with pytest.raises(GradientError, match=r"lower the learning rate \(now 1e\+06\)") as caught:
        cr.fit(
            model, (X * 100, X[:, :1]), loss="mse", optimizer=optimizer, epochs=50, progress=False
        )
    for advice in ("learning rate", "clip_norm", "inputs"):
        assert str(caught.value).count(advice) == 1


def test_a_later_batch_that_is_not_finite_is_shown():
    bad = batches(with_value(X, (45, 3), NAN))
    says = r"loss of nan at step 3 \(epoch 1\), nan in the inputs of that batch at row 5, column 3"
    model = network()
    before = copies(model.state_dict())
    with pytest.raises(GradientError, match=says):
        cr.fit(model, bad, **CE, epochs=1, progress=False)
    for name, found in model.state_dict().items():
        np.testing.assert_array_equal(found, before[name])


@pytest.mark.parametrize("wrong", [3, -1])
@pytest.mark.parametrize("compiled", [True, False])
def test_a_later_class_without_a_score_is_an_error(wrong, compiled):
    """In a compiled step -1 would silently be the last class."""
    with pytest.raises(ChainruleError, match=rf"got class {wrong} \(row 13\); expected 0 to 2"):
        cr.fit(
            network(),
            batches(y=with_value(Y, 33, wrong)),
            **CE,
            epochs=1,
            compile=compiled,
            progress=False,
        )


class LogInTraining(nn.Module):
    def forward(self, x):
        return cr.log(-1 - x * x) if self.training else x


@pytest.mark.parametrize("compiled", [True, False])
def test_the_module_that_is_not_finite_is_named(compiled):
    model = nn.Sequential(nn.Linear(5, 3), nn.Sequential(LogInTraining()))
    says = r"loss of nan at step 1 \(epoch 1\): log gave nan from -.*\n  in 1.0 \(LogInTraining\)"
    before = copies(model.state_dict())
    with pytest.raises(GradientError, match=says):
        cr.fit(model, (X, Y), **CE, compile=compiled, progress=False)
    for name, found in model.state_dict().items():
        np.testing.assert_array_equal(found, before[name])
    assert not any(m._forward_hooks for m in model.modules())


class Root(nn.Module):
    """Of weights that are 0, where a square root has no derivative."""

    def __init__(self):
        self.scale = nn.Parameter(cr.zeros(5))

    def forward(self, x):
        return cr.sqrt(((x * self.scale) ** 2).sum(axis=-1))


@pytest.mark.parametrize("compiled", [True, False])
def test_a_gradient_that_is_not_finite_is_named_after_the_first_step(compiled):
    says = (
        r"a gradient that is not finite at step 1 \(epoch 1\): divide gave inf from 0.5, 0 in the "
        r"backward pass, in the rule of sqrt, sample 0,.* \(the gradient of scale is not finite\)"
    )
    model = Root()
    with pytest.raises(GradientError, match=says):
        cr.fit(model, (X, Z), loss="mse", compile=compiled, progress=False)
    np.testing.assert_array_equal(model.scale.numpy(), np.zeros(5))


def test_batches_of_many_shapes_are_told_of_the_training_step():
    data = [(X[:k], Y[:k]) for k in range(10, 30)]
    says = "training_step was compiled 8 times; argument x, y varies"
    with pytest.warns(UserWarning, match=says):
        cr.fit(network(), data, **CE, epochs=1, progress=False)


# Using a model


@pytest.mark.parametrize(
    ("use", "says"),
    [
        (functools.partial(evaluate, data=(X, Y[:9]), loss="mse"), "arrays of 60 and 9 rows"),
        (functools.partial(evaluate, data=X, loss="mse"), "got a batch of ndarray"),
        (functools.partial(evaluate, data=7, loss="mse"), "got data of type int"),
        (functools.partial(evaluate, data=(X, None), loss="mse"), "without targets"),
        (functools.partial(evaluate, data=(X, Y), loss="mes"), "did you mean mse"),
        (functools.partial(predict, x=X[:0]), "got no rows"),
        (functools.partial(predict, x=()), "got no "),
        (functools.partial(predict, x=DataLoader((X, Y))), r"got a DataLoader.*loader\.data\[0\]"),
        (functools.partial(predict, x=(X, Y)), r"got a tuple with a traced.*pass one tensor"),
        (functools.partial(predict, x=5.0), "got the single number 5.0"),
        (functools.partial(predict, x=X, batch_size=0), "got batch_size 0"),
        (functools.partial(predict, x=X[:, 1:]), r"\[Linear\] got float32\[60,4\]"),
    ],
)
def test_mistakes_in_using_a_model(use, says):
    model = network()
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(ChainruleError, match=says):
        use(model)
    assert all(m.training for m in model.modules())
    for name, found in model.state_dict().items():
        np.testing.assert_array_equal(found, before[name])
