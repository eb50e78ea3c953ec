"""Changes in words."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.diagnosis import Change
from chainrule.diagnosis.wording import number, place, short_exponents
from chainrule.doctor.facts import gather
from chainrule.doctor.modules import ModuleTraining
from chainrule.doctor.words import in_words, places
from chainrule.nn import functional as F  # noqa: N812 - the usual name


@pytest.fixture(scope="module")
def facts():
    """Of three sigmoids, SGD with lr 1, and the sum of squared errors."""
    cr.random.seed(0)
    hidden = [layer for _ in range(3) for layer in (nn.Linear(2, 2), nn.Sigmoid())]
    model = nn.Sequential(*hidden, nn.Dropout(0.5), nn.Linear(2, 1), nn.Tanh())
    x = np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32)
    optimizer = optim.SGD(model.named_parameters(), lr=1.0, weight_decay=0.1)
    data = x, x[:, :1] + x[:, 1:]
    loss = lambda p, y: F.mse_loss(p, y, reduction="sum")  # noqa: E731
    return gather(ModuleTraining(model, loss, optimizer, data, data, 32, 2))


def change(what, *places, value=None):
    return [Change(what, p, value) for p in places]


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        (change("rate", "optimizer.lr", value=1e-3), "learning rate 0.001 in place of 1"),
        (change("scale", "data.inputs", value="standardise"), "standardise the inputs"),
        (
            change("activation", "1", "3", "5", value="relu"),
            "ReLU in place of sigmoid in layer 1, layer 3 and layer 5",
        ),
        (change("activation", "0", "2", value="relu"), "ReLU after layer 0 and layer 2"),
        (
            change("output_activation", "8", value="linear"),
            "no activation in place of tanh in layer 8",
        ),
        (change("output_activation", "7", value="linear"), "no change"),
        (
            change("insert", "0", "2", "4", value="batchnorm"),
            "batch normalization after layer 0, layer 2 and layer 4",
        ),
        (change("remove", "6"), "no dropout in layer 6"),
        (
            [
                *change("initialisation", "0", "2", "4", value="he_uniform"),
                *change("initialisation", "7", value="glorot_uniform"),
            ],
            "first weights by He and Glorot, biases of 0, in layer 0, layer 2, layer 4 and layer 7",
        ),
        (
            change("optimizer", "optimizer", value=("adam", 0.01)),
            "Adam in place of SGD, learning rate 0.01 in place of 1",
        ),
        (change("optimizer", "optimizer", value=("adam", 1.0)), "Adam in place of SGD"),
        (change("decay", "optimizer.weight_decay", value=0.0), "no weight decay (now 0.1)"),
        (change("batch", "batch", value=16), "batches of 16 rows in place of 32"),
        (change("shuffle", "data", value=True), "shuffle the rows in each epoch"),
        (change("epochs", "epochs", value=8), "8 epochs in place of 2"),
        (
            change("loss", "loss", value="mse"),
            "mean squared error as the mean over the rows, in place of the sum",
        ),
        (
            change("loss", "loss", value="bce_logits"),
            "binary cross-entropy of logits as the loss, in place of mean squared error",
        ),
        (
            change("match", "data.inputs", value=0.25),
            "multiply the inputs of the training rows by 0.25",
        ),
        (
            change("drop", "data.inputs", value=3),
            "set column 3 of the inputs to 0, held-out rows too",
        ),
        (change("train", "0", "2"), "train the parameters of layer 0 and layer 2"),
        (change("new", "somewhere", value=3), "new of somewhere: 3"),
    ],
)
def test_a_change_in_words(facts, changes, text):
    assert in_words(changes, facts) == text


def test_several_changes_are_one_line(facts):
    changes = change("rate", "optimizer.lr", value=0.1) + change("epochs", "epochs", value=4)
    assert in_words(changes, facts) == "learning rate 0.1 in place of 1; 4 epochs in place of 2"


def test_places_and_numbers():
    assert place("") == "the model"
    assert place("3.0") == "layer 3.0"
    assert places(["head"]) == "head"
    assert places(["a", "b", "c"]) == "a, b and c"
    assert places(["a", "b", "c", "d", "e"]) == "5 layers (a to e)"
    assert [number(v) for v in (1e-5, 1.0, 12345.0, 0.0625)] == ["1e-5", "1", "1.23e4", "0.0625"]
    assert short_exponents("1e-05, 4.2e+04 and node-05") == "1e-5, 4.2e4 and node-05"
