"""What `fit` refuses and no change could repair is refused by `cr.diagnose`, in the same words."""

import threading

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim

X = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
Y = np.arange(60) % 3  # row 2 is the first of class 2


def network(outputs=3):
    return nn.Sequential(nn.Linear(4, outputs))


WRONG = {
    "classes from 1": ({"data": (X, Y + 1)}, "got class 3 (", "row 2)"),
    "held out, from 1": ({"valid": (X, Y + 1)}, "got class 3 (valid", "row 2)"),
    "the last row": ({"data": (X, np.where(np.arange(60) == 59, 7, Y))}, "got class 7", "row 59"),
    "one output": ({"model": network(1)}, "one score per row, float32[32,1]", "2 outputs"),
    "all ignored": ({"data": (X, np.full(60, -100))}, "each target is -100", "ignore_index"),
    "no mean": ({"loss": lambda p, y: p[:, 0]}, "got a loss of shape (32,)", "mean()"),
}


def refused(function, arguments):
    """The message of an error, without the name of the function."""
    arguments = {"model": network(), "data": (X, Y), "loss": "cross_entropy"} | arguments
    with pytest.raises((ValueError, IndexError)) as caught:
        function(arguments.pop("model"), arguments.pop("data"), **arguments)
    return str(caught.value)


@pytest.mark.parametrize("wrong", WRONG)
def test_refused_as_by_fit(wrong):
    arguments, *says = WRONG[wrong]
    message = refused(cr.diagnose, arguments)
    assert message.startswith("[diagnose] got ")
    assert all(part in message for part in says)
    of_fit = refused(cr.fit, arguments).replace("training data", "data")
    assert message == of_fit.replace("validation data", "valid").replace("[fit]", "[diagnose]")


def test_what_the_doctor_names_itself_is_not_refused():
    """`fit` refuses a softmax before cross-entropy, which the doctor takes out where it harms."""
    model = nn.Sequential(nn.Linear(4, 3), nn.Softmax())
    assert "softmax" in refused(cr.fit, {"model": model})
    assert cr.diagnose(model, (X, Y), loss="cross_entropy", epochs=1, seconds=0.1).rows == 12


class Around(nn.Module):
    """A network beside whatever else it has, and a function of its output."""

    def __init__(self, function=lambda p: p, other=None):
        self.inner, self.other, self.function = network(), other, function

    def forward(self, x):
        return self.function(self.inner(x))


def frozen():
    model = network()
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    model.freeze()
    return {"model": model, "optimizer": optimizer}


MODELS = {
    "a lock": (
        lambda: {"model": Around(other=[threading.Lock()])},
        "got model.other that cannot be copied: TypeError, cannot pickle '_thread.lock' object",
    ),
    "a generator": (
        lambda: {"model": nn.Sequential(Around(other=iter(i for i in X)))},
        "got model.0.other that cannot be copied",
    ),
    "frozen": (frozen, "got a model whose parameters are all frozen"),
    "frozen, no optimizer": (lambda: {"model": frozen()["model"]}, "parameters are all frozen"),
    "no parameters": (lambda: {"model": nn.ReLU()}, "got a model without parameters"),
    "compiled": (lambda: {"model": cr.compile(network())}, "got a model of type Compiled"),
    "a tuple": (lambda: {"model": Around(lambda p: (p, p))}, "an object of type tuple"),
    "an array": (lambda: {"model": Around(lambda p: p.numpy())}, "an object of type ndarray"),
    "no gradient": (
        lambda: {"model": Around(lambda p: p.detach())},
        "got a loss that depends on no parameter that is trained",
    ),
    "a loss without gradient": (
        lambda: {"loss": lambda p, y: (p.argmax(-1) != y).mean()},
        "got a loss that depends on no parameter that is trained",
    ),
    "rate 0": (
        lambda: {"model": (m := network()), "optimizer": optim.SGD(m.parameters(), lr=0)},
        "got lr 0",
    ),
    "complex": (lambda: {"data": (X + 0j, Y)}, "dtype complex64"),
}


@pytest.mark.parametrize("name", MODELS)
def test_what_cannot_be_diagnosed(name):
    arguments, says = MODELS[name]
    message = refused(cr.diagnose, arguments())
    assert message.startswith("[diagnose] got ")
    assert says in message
    assert len(message.split("; ")) >= 3


class Numbers:
    """Weights that are no module's."""

    def __init__(self):
        self.w = cr.zeros((4, 3))


class Beside(nn.Module):
    def __init__(self):
        self.inner, self.numbers = network(), Numbers()

    def forward(self, x):
        return self.inner(x) + x @ self.numbers.w


def test_state_of_no_module():
    assert cr.diagnose(Beside(), (X, Y), loss="cross_entropy", epochs=1, seconds=0.1).rows == 12
