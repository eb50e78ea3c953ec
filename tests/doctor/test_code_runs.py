"""The lines of Python of each change that the doctor may try give a training that `fit` accepts."""

import dataclasses
import re

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.doctor.code import lines_of
from chainrule.doctor.facts import gather
from chainrule.doctor.faults import faults_of
from chainrule.doctor.modules import ModuleTraining
from chainrule.errors import ChainruleError
from chainrule.nn import functional as F  # noqa: N812 - the usual name
from chainrule.train.evaluation.objective import Objective
from seeded.faults import build
from seeded.suite import FAULTS

ROWS = 64
ARGUMENT = re.compile(r"(loss|clip_norm|batch_size|epochs)=")


def short(t):
    """Of few rows, and one epoch."""
    (x, y), (valid, targets) = t.data, t.valid
    rows = (x[:ROWS], y[:ROWS]), (valid[:ROWS], targets[:ROWS])
    return dataclasses.replace(t, data=rows[0], valid=rows[1], epochs=1, batch=min(t.batch, ROWS))


def fit(model, data, optimizer, arguments):
    arguments = {"batch_size": 32, **arguments, "epochs": 1}
    cr.fit(model, data, optimizer=optimizer, compile=False, progress=False, **arguments)


def is_taken(t, loss):
    """Whether `fit` takes the training as it is."""
    t = t.fork()
    try:
        fit(t.model, t.data, t.optimizer, {"loss": loss})
    except ChainruleError:
        return False
    return True


def run_lines(lines, t, loss):
    """Run the lines as a user does, and train: those of arguments are passed to `fit`."""
    t = t.fork()
    scope = {
        "model": t.model,
        "optimizer": t.optimizer,
        "cr": cr,
        "nn": nn,
        "np": np,
        "optim": optim,
    }
    scope |= {"x": t.data[0].copy(), "y": t.data[1].copy()}
    exec("\n".join(line for line in lines if not ARGUMENT.match(line)), scope)
    arguments = {"loss": loss}
    for line in filter(ARGUMENT.match, lines):
        arguments |= eval(f"dict({line})", scope)
    fit(scope["model"], scope.get("train", (scope["x"], scope["y"])), scope["optimizer"], arguments)


def each_change_runs(t, loss, refused=()):
    """Of a training that `fit` refuses, the changes of the kinds that are `refused` cure that."""
    facts, taken = gather(t), is_taken(t, loss)
    assert taken == (not refused)
    faults = {f.changes: f.kind for f in reversed(faults_of(facts)) if f.changes}
    assert set(refused) <= set(faults.values())
    for changes, kind in faults.items():
        lines = lines_of(changes, facts)
        assert lines, changes
        try:
            run_lines(lines, t, loss)
        except Exception as error:
            if isinstance(error, ChainruleError) and not taken and kind not in refused:
                continue
            raise AssertionError("\n".join(map(str, [kind, *changes, *lines, error]))) from error


# ── the suite of seeded faults ───────────────────────────────────────────────────────────────────

pytestmark = pytest.mark.filterwarnings("ignore")  # of `fit`, of what the doctor finds
QUICK = "mlp digits", "mlp numbers", "mlp rings", "sgd digits", "called digits", "sgd numbers"
SEEDED = {
    f"{f.kind}, {f.healthy}": f
    for f in reversed(FAULTS)
    if f.healthy in QUICK or f.kind in ("inference_mode_wrong", "unprotected_log")
}
SEEDED |= {
    f"{f.kind}, {f.healthy}": f
    for f in FAULTS
    if (f.kind, f.healthy)
    in {
        ("data_not_shuffled", "sgd digits"),
        ("vanishing_gradient", "mlp rings"),
        ("exploding_gradient", "rnn next values"),
        ("regularisation_too_strong", "transformer words"),
        ("double_softmax", "sgd tags short"),
    }
}


@pytest.mark.parametrize("name", SEEDED)
def test_changes_of_a_seeded_fault(name):
    t = short(build(SEEDED[name]))
    each_change_runs(t, t.loss, ["unprotected_log"] * (SEEDED[name].kind == "unprotected_log"))


# ── outputs that do not fit the loss, which `fit` refuses where it sees that ─────────────────────


class Called(nn.Module):
    """An activation of the output that is a call."""

    def __init__(self, outputs, function):
        self.layers, self.function = nn.Sequential(*hidden(), nn.Linear(8, outputs)), function

    def forward(self, x):
        return self.function(self.layers(x))


def hidden():
    return nn.Linear(4, 8), nn.ReLU()


def ending(outputs, *last):
    return nn.Sequential(*hidden(), nn.Linear(8, outputs), *last)


DRAW = np.random.default_rng(0)
X = DRAW.normal(size=(80, 4)).astype(np.float32)
CLASSES = np.arange(80) % 3
BINARY = (X[:, 0] > 0).astype(np.int64)
COLUMN = BINARY[:, None].astype(np.float32)
HOT = np.eye(3, dtype=np.float32)[CLASSES]
OUTPUTS = {  # the model, the targets, the loss, what the doctor names if `fit` refuses it
    "a softmax": (lambda: ending(3, nn.Softmax()), CLASSES, "cross_entropy", ["double_softmax"]),
    "two softmaxes": (
        lambda: ending(3, nn.Softmax(), nn.Softmax()),
        *(CLASSES, "cross_entropy", ["double_softmax"]),
    ),
    "a softmax after a sigmoid": (
        lambda: ending(3, nn.Sigmoid(), nn.Softmax()),
        *(CLASSES, "cross_entropy", ["double_softmax"]),
    ),
    "a softmax in a softmax": (
        lambda: nn.Sequential(ending(3, nn.Softmax()), nn.Softmax()),
        *(CLASSES, "cross_entropy", ["double_softmax"]),
    ),
    "a softmax that is called": (
        lambda: Called(3, F.softmax),
        *(CLASSES, "cross_entropy", ["double_softmax"]),
    ),
    "a softmax, one-hot": (
        lambda: ending(3, nn.Softmax()),
        *(HOT, "cross_entropy", ["double_softmax"]),
    ),
    "a softmax, called, one-hot": (
        lambda: Called(3, F.softmax),
        *(HOT, "cross_entropy", ["double_softmax"]),
    ),
    "a sigmoid": (
        lambda: ending(1, nn.Sigmoid()),
        *(COLUMN, "bce_with_logits", ["output_activation_wrong"]),
    ),
    "two sigmoids": (
        lambda: ending(1, nn.Sigmoid(), nn.Sigmoid()),
        *(COLUMN, "bce_with_logits", ["output_activation_wrong"]),
    ),
    "a sigmoid that is called": (
        lambda: Called(1, F.sigmoid),
        *(COLUMN, "bce_with_logits", ["output_activation_wrong"]),
    ),
    "squares of a softmax": (lambda: ending(3, nn.Softmax()), HOT, "mse", []),
    "squares of a called softmax": (lambda: Called(3, F.softmax), HOT, "mse", []),
    "squares of a called sigmoid": (lambda: Called(1, F.sigmoid), COLUMN, "mse", []),
    "squares of a tanh": (lambda: ending(1, nn.Tanh()), COLUMN, "mse", []),
    "differences": (lambda: ending(3), HOT, "mae", []),
    "a loss of the user's of a softmax": (
        lambda: ending(3, nn.Softmax()),
        *(CLASSES, lambda p, y: ((p - F.one_hot(y, 3)) ** 2).mean(), []),
    ),
    "a loss of the user's of a called softmax": (
        lambda: Called(3, F.softmax),
        *(CLASSES, lambda p, y: ((p - F.one_hot(y, 3)) ** 2).mean(), []),
    ),
    "softmax in the loss and the model": (
        lambda: ending(3, nn.Softmax()),
        *(CLASSES, lambda p, y: F.cross_entropy(F.softmax(p), y), []),
    ),
    "squares of the user's of numbers of classes": (
        lambda: ending(1),
        *(BINARY, lambda p, y: ((p[:, 0] - y) ** 2).mean(), []),
    ),
    "a sum": (
        lambda: ending(3, nn.Softmax()),
        *(CLASSES, lambda p, y: F.nll_loss(cr.log(p), y, reduction="sum"), []),
    ),
}


@pytest.mark.parametrize("name", OUTPUTS)
def test_changes_of_the_output(name):
    make, y, loss, refused = OUTPUTS[name]
    cr.random.seed(0)
    model = make()
    optimizer = optim.SGD(model.parameters(), lr=0.01, weight_decay=1e-4)
    data = (X[:60], y[:60]), (X[60:], y[60:])
    t = ModuleTraining(model, Objective(loss).mean, optimizer, *data, 16, 2)
    each_change_runs(t, loss, refused)
