"""Habits of other libraries: what is called otherwise here, told where it is used."""

import importlib
import inspect
import re
import sys

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.data import DataLoader, train_test_split
from chainrule.errors import ArgumentError, ChainruleError, DtypeError
from chainrule.hints import names
from chainrule.train import evaluate
from chainrule.train.evaluation.metrics import METRICS
from chainrule.train.evaluation.objective import ALIASES

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 4))
Y = (X[:, 0] > 0).astype(int)


def network():
    cr.random.seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))


def fit(**settings):
    return cr.fit(network(), (X, Y), **{"loss": "cross_entropy", "progress": False, **settings})


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("validation_data", r"here it is valid=\(x, y\)"),
        ("validation_split", "train_test_split"),
        ("lr", r"optimizer=optim.Adam"),
        ("verbose", "progress=False"),
        ("shuffle", "arrays are shuffled"),
        ("class_weight", r"CrossEntropyLoss\(weight"),
        ("epoch", "did you mean epochs"),
        ("qqq", "one of model, train, loss, valid"),
    ],
)
def test_an_argument_that_fit_has_not(name, says):
    with pytest.raises(ArgumentError, match=rf"\[fit\] got the argument {name};.*{says}"):
        fit(**{name: 1})


@pytest.mark.parametrize(
    "function",
    [cr.fit, DataLoader, train_test_split, optim.Adam, optim.SGD],
    ids=lambda f: f.__name__,
)
def test_no_hint_is_for_an_argument_that_there_is(function):
    table = "Optimizer" if function.__module__.startswith("chainrule.optim") else function.__name__
    taken = inspect.signature(function).parameters.keys()
    assert names.ARGUMENTS[table]
    assert not taken & names.ARGUMENTS[table].keys()


def test_hints_for_losses_and_metrics_name_what_there_is():
    for table, there in ((names.LOSSES, ALIASES), (names.METRICS, METRICS)):
        assert not table.keys() & there.keys()
        assert all(ours in there or ours in nn.losses.__all__ for ours in table.values())


class Dataset:
    def __getitem__(self, k):
        return X[k], Y[k]

    def __len__(self):
        return 40


CALLS = {  # what is called, what the message says
    "fit, positional": (lambda: cr.fit(network(), X, Y), r"too many.*a tuple, .*\(model, \(x, y\)"),
    "fit, no loss": (lambda: cr.fit(network(), (X, Y)), "'loss'.*loss has to be named"),
    "evaluate, positional": (lambda: evaluate(network(), X, Y), r"evaluate\(model, \(x, y\)\)"),
    "loader, two": (lambda: DataLoader(X, Y, batch_size=10), r"DataLoader\(\(x, y\)"),
    "loader, positional": (lambda: DataLoader(X, Y), r"got ndarray in the place of batch_size"),
    "loader, workers": (lambda: DataLoader((X, Y), num_workers=2), "here it is nothing"),
    "dataset": (
        lambda: DataLoader(Dataset(), 10),
        "got Dataset, which .*; expected arrays of all rows",
    ),
    "split": (lambda: train_test_split(X, Y, 0.3), r"got 0.3 among the arrays.*test_size=0.3"),
    "split, seed": (lambda: train_test_split(X, random_state=1), "here it is seed=0"),
    "schedule of a rate": (lambda: optim.StepLR(0.1, 2), "got an optimizer of type float.*optim.A"),
    "plateau of a rate": (lambda: optim.ReduceLROnPlateau(0.1), "got an optimizer of type float"),
    "loss setting": (
        lambda: nn.CrossEntropyLoss(labelsmoothing=0.1),
        "did you mean label_smoothing",
    ),
    "loss, positional": (lambda: nn.CrossEntropyLoss([1.0, 2.0]), "got list by position; set"),
    "loss without settings": (lambda: nn.MSELoss(size_average=1), "the setting size_average"),
    "plot": (lambda: fit().plot("valid_loss"), "one of epoch, step, loss, lr, seconds, gradients"),
}


@pytest.mark.parametrize("name", CALLS)
def test_calls_of_other_libraries(name):
    call, says = CALLS[name]
    with pytest.raises(ChainruleError, match=says) as caught:
        call()
    assert isinstance(caught.value, (ArgumentError, DtypeError))


def test_the_settings_of_a_loss_can_be_looked_up():
    assert list(inspect.signature(nn.CrossEntropyLoss).parameters) == [
        "weight",
        "ignore_index",
        "reduction",
        "label_smoothing",
    ]
    assert list(inspect.signature(nn.MSELoss).parameters) == ["reduction"]
    assert nn.GaussianNLLLoss(var=1.0).settings == {"var": 1.0}


PLACES = {  # where the name is missing, where what it is called here is
    "chainrule": (cr, cr),
    "Tensor": (cr.ones(2), cr),
    "chainrule.nn": (nn, nn),
    "chainrule.nn.functional": (nn.functional, nn),
    "chainrule.optim": (optim, optim),
    "Module": (nn.Module(), nn.Module),
}


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind, known in names.ATTRIBUTES.items() for name in known]
)
def test_a_name_of_another_library_says_what_it_is_here(kind, name):
    missing, there = PLACES[kind]
    with pytest.raises(AttributeError, match=f"{kind} has no attribute '{name}'; here it is "):
        getattr(missing, name)
    says = names.ATTRIBUTES[kind][name]
    for path in re.findall(r"(?:cr|nn|optim)\.[\w.]+", says):
        eval(path, {"cr": cr, "nn": nn, "optim": optim})
    plain = re.match(r"[\w.]+(?=\(|$)", says.removeprefix("m."))
    if plain and kind != "Tensor" and says.split("(")[0].split(".")[0] not in ("cr", "nn", "x"):
        assert _resolves(there, plain[0]), plain[0]
    of_tensor = re.match(r"x\.(\w+)", says)
    if of_tensor:
        assert hasattr(cr.Tensor, of_tensor[1])


def _resolves(there, path):
    if path.split(".")[0] in ("numpy", "safetensors", "save_file"):
        return True
    for part in path.split("."):
        there = getattr(there, part)
    return True


def test_a_name_that_nobody_has():
    for place in (nn, optim, nn.functional):
        with pytest.raises(AttributeError, match=r"has no attribute 'qqq'$"):
            getattr(place, "qqq")  # noqa: B009 - what is tested


@pytest.mark.parametrize("package", [cr, nn, optim, cr.data, cr.train], ids=lambda p: p.__name__)
def test_no_module_has_the_place_of_a_function(package):
    """cr.trace, cr.sparse …: modules inside, which cannot be called. They are imported as usual."""
    prefix = package.__name__ + "."
    inside = {m.removeprefix(prefix) for m in sys.modules if m.startswith(prefix)}
    public = {"checking", "errors", "functional", "init", "losses", "utils", "random", "interop"}
    public |= {
        "cli",
        "data",
        "decoding",
        "diagnosis",
        "doctor",
        "explanation",
        "files",
        "memory",
        "models",
        "nn",
        "optim",
        "train",
    }
    for name in (n for n in inside - public if "." not in n):
        here = getattr(package, name, None)
        assert not inspect.ismodule(here), name
        assert inspect.ismodule(importlib.import_module(prefix + name))
    with pytest.raises(AttributeError, match=r"'trace'; here it is diagonal\(x\).sum\(axis=-1\)"):
        cr.trace(cr.eye(3))
    assert cr.diagonal(cr.eye(3)).sum(axis=-1).item() == 3
    from chainrule import sparse, trace
    from chainrule.train.loop import trainer

    assert trace.state is not None
    assert sparse.RowSparse is cr.RowSparse
    assert trainer.Trainer is cr.train.Trainer
