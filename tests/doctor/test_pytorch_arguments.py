"""Models, losses and optimizers of PyTorch: each is diagnosed, or refused in the form of errors."""

import threading

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - the usual name
from torch.nn.utils import parametrizations, prune

from chainrule.errors import ChainruleError
from chainrule.interop.torch import diagnose

X = torch.from_numpy(np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32))
Y = (X[:, 0] > 0).long()


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))


def changed(change):
    """The network after a function of it."""
    model = net()
    change(model)
    return model


class Around(nn.Module):
    """A function of the network and its input."""

    def __init__(self, function):
        super().__init__()
        self.inner, self.function = net(), function

    def forward(self, x):
        return self.function(self.inner, x)


def then(function):
    """A function of the network's output."""
    return Around(lambda inner, x: function(inner(x)))


def remembering(inner, x):
    inner.last = inner(x)
    return inner.last


def diagnosed(**arguments):
    arguments = {"model": net(), "data": (X, Y), "loss": nn.CrossEntropyLoss()} | arguments
    return diagnose(
        arguments.pop("model"), arguments.pop("data"), epochs=1, seconds=0.01, **arguments
    )


def with_optimizer(kind, **settings):
    model = net()
    return {"model": model, "optimizer": kind(model.parameters(), **settings)}


HOT = F.one_hot(Y, 2).float()
TAKEN = {
    "bfloat16": lambda: {"model": net().bfloat16()},
    "bfloat16, data too": lambda: {"model": net().bfloat16(), "data": (X.bfloat16(), Y)},
    "bfloat16, numbers": lambda: {
        "model": net().bfloat16(),
        "data": (X, HOT),
        "loss": nn.MSELoss(),
    },
    "float16": lambda: {"model": net().half()},
    "float64": lambda: {"model": net().double(), "data": (X, HOT.double()), "loss": nn.MSELoss()},
    "float64 data": lambda: {"data": (X.double(), Y)},
    "compiled": lambda: {"model": torch.compile(net(), backend="eager")},
    "compiled in place": lambda: {"model": changed(lambda m: m.compile(backend="eager"))},
    "weight_norm": lambda: {"model": changed(lambda m: parametrizations.weight_norm(m[0]))},
    "weight_norm, once": lambda: {"model": changed(lambda m: nn.utils.weight_norm(m[0]))},
    "pruned": lambda: {"model": changed(lambda m: prune.l1_unstructured(m[0], "weight", 0.5))},
    "a saved output": lambda: {"model": changed(lambda m: setattr(m, "last", m(X)))},
    "outputs that are saved": lambda: {"model": Around(remembering)},
    "a generator of numbers": lambda: {
        "model": changed(lambda m: setattr(m, "g", torch.Generator()))
    },
    "a loss [1]": lambda: {"loss": lambda p, y: F.cross_entropy(p, y).reshape(1)},
}


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of weight_norm that is computed once
@pytest.mark.parametrize("name", TAKEN)
def test_diagnosed(name):
    assert diagnosed(**TAKEN[name]()).rows == 12


REFUSED = {
    "a lock": (
        lambda: {"model": changed(lambda m: setattr(m[2], "lock", threading.Lock()))},
        "got model.2.lock that cannot be copied: TypeError, cannot pickle '_thread.lock' object",
    ),
    "a generator": (
        lambda: {"model": changed(lambda m: setattr(m, "rows", iter(i for i in X)))},
        "got model.rows that cannot be copied",
    ),
    "scripted": (lambda: {"model": torch.jit.script(net())}, "got a model of torch.jit"),
    "traced": (lambda: {"model": torch.jit.trace(net(), X)}, "got a model of torch.jit"),
    "a scripted part": (
        lambda: {"model": nn.Sequential(torch.jit.script(net()))},
        "got a model of torch.jit",
    ),
    "lazy": (
        lambda: {"model": nn.Sequential(nn.LazyLinear(8), nn.Linear(8, 2))},
        "got a model with lazy layers, which have no weights yet",
    ),
    "frozen": (
        lambda: {"model": net().requires_grad_(False)},
        "got a model whose parameters are all frozen",
    ),
    "no parameters": (lambda: {"model": nn.ReLU()}, "got a model without parameters"),
    "meta": (lambda: {"model": net().to("meta")}, "got a model with parameters on the device meta"),
    "data on meta": (lambda: {"data": (X.to("meta"), Y)}, "got rows of torch.float32 on meta"),
    "a tuple": (lambda: {"model": then(lambda p: (p, p))}, "an object of type tuple"),
    "a dict": (lambda: {"model": then(lambda p: {"scores": p})}, "an object of type dict"),
    "a dict in training": (
        lambda: {"model": Around(lambda m, x: {"p": m(x)} if m.training else m(x))},
        "an object of type dict",
    ),
    "an array": (lambda: {"model": then(lambda p: p.detach().numpy())}, "object of type ndarray"),
    "nothing": (lambda: {"model": then(lambda p: None)}, "an object of type NoneType"),
    "no gradient": (
        lambda: {"model": then(lambda p: p.detach())},
        "got a loss that depends on no parameter that is trained",
    ),
    "an error in training": (
        lambda: {"model": Around(lambda m, x: m(x[:, :2] if m.training else x))},
        "got RuntimeError from the model in training mode: mat1 and mat2",
    ),
    "batches of one": (
        lambda: {"model": nn.Sequential(nn.BatchNorm1d(4), net()), "batch_size": 1},
        "from the model in training mode: Expected more than 1 value per channel",
    ),
    "rows with names": (
        lambda: {"data": [{"x": x, "y": y} for x, y in zip(X, Y, strict=True)]},
        "got data of type tuple; expected (x, y)",
    ),
    "inputs with names": (lambda: {"data": ({"x": X}, Y)}, "got inputs of data in 1 parts"),
    "inputs in parts": (lambda: {"data": ([X, X], Y)}, "got inputs of data in 2 parts"),
    "complex": (lambda: {"data": (X + 0j, Y)}, "dtype complex64"),
    "no rows": (lambda: {"data": (X[:0], Y[:0])}, "got data with 0 inputs and 0 targets"),
    "no rows held out": (lambda: {"valid": (X[:0], Y[:0])}, "got valid with 0 inputs"),
    "a loss of each row": (
        lambda: {"loss": nn.CrossEntropyLoss(reduction="none")},
        "got a loss of float32[30]; expected one number",
    ),
    "a loss with another": (
        lambda: {"loss": lambda p, y: (F.cross_entropy(p, y), p)},
        "got a loss of tuple",
    ),
    "a loss without gradient": (
        lambda: {"loss": lambda p, y: (p.argmax(1) != y).float().mean()},
        "got a loss that depends on no parameter that is trained",
    ),
    "a complex loss": (
        lambda: {"loss": lambda p, y: F.cross_entropy(p, y) + 0j},
        "got RuntimeError from the gradient of the loss",
    ),
    "other parameters": (
        lambda: {"optimizer": torch.optim.SGD(net().parameters())},
        "got an optimizer without a parameter of the model",
    ),
    "rate 0": (lambda: with_optimizer(torch.optim.SGD, lr=0.0), "got lr 0"),
    "sparse gradients": (
        lambda: with_optimizer(torch.optim.SparseAdam),
        "from the optimizer: SparseAdam does not support dense gradients",
    ),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch.jit
@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    arguments, says = REFUSED[name]
    with pytest.raises(ChainruleError) as caught:
        diagnosed(**arguments())
    message = str(caught.value)
    assert message.startswith("[diagnose] got ")
    assert says in message
    assert len(message.split("; ")) >= 3


def test_in_inference_mode():
    with torch.inference_mode():
        assert diagnosed().rows == 12


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_the_model_stays_as_it_is():
    model = changed(lambda m: nn.utils.weight_norm(m[0]))
    before = model(X)
    diagnosed(model=model)
    assert torch.equal(model(X), before)
