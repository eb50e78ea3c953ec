"""Resuming with other settings or data: each is named once, with the one that is used."""

import re
import sys
import warnings

import pytest

from chainrule import nn, optim
from chainrule.data import DataLoader
from running import V, X, Y, fit, network


def run(folder, epochs=4, lr=0.01, data=(X, Y), **settings):
    model = network()
    optimizer = optim.AdamW(model.named_parameters(), lr=lr, weight_decay=settings.pop("wd", 0.01))
    fit(model, data, optimizer=optimizer, checkpoint=folder, resume=True, epochs=epochs, **settings)
    return optimizer


HALF = (X[:25], Y[:25])
CHANGED = {  # what is given when it goes on: the names in the warning, and which one is used
    "lr": ({"lr": 0.05}, ["lr is 0.05 now, the run began with 0.01, which is used"]),
    "two": (
        {"lr": 0.05, "wd": 0.1},
        [
            "lr is 0.05 now.*, which is used",
            "weight_decay is 0.1 now, the run began with 0.01, which is used",
        ],
    ),
    "batch_size": ({"batch_size": 8}, ["batch_size is 8 now, .* with 32; the new one is used"]),
    "seed": ({"seed": 5}, ["seed is 5 now, the run began with 0; the new one is used"]),
    "drop_last": ({"drop_last": True}, ["drop_last is True now"]),
    "clip_norm": ({"clip_norm": 0.5}, ["clip_norm is 0.5 now, the run began with None"]),
    "accumulate": ({"accumulate": 2}, ["accumulate is 2 now, the run began with 1"]),
    "inputs": ({"data": (X + 1, Y)}, [r"training data is float32 \(50, 5\) #\w{8}, int64 \(50,\)"]),
    "targets": ({"data": (X, 2 - Y)}, ["training data is"]),
    "half": ({"data": HALF, "batch_size": 25}, [r"batch_size", r"data is .*\(25,.*\(50,"]),
    "validation": ({"valid": V}, ["validation data is .*began with None"]),
    "loss": (
        {"loss": nn.CrossEntropyLoss(label_smoothing=0.1)},
        [r"loss is cross_entropy\(label_smoothing=0.1\) now, .* cross_entropy\(\); the new"],
    ),
}


@pytest.mark.parametrize("name", CHANGED)
def test_what_has_changed_is_named_once(tmp_path, name):
    more, says = CHANGED[name]
    run(tmp_path, epochs=2)
    with pytest.warns(UserWarning, match="resume with other settings or data") as caught:
        optimizer = run(tmp_path, epochs=4, **more)
    assert len(caught) == 1
    lines = str(caught[0].message).split("\n  ")[1:]
    for pattern in says:
        assert re.search(pattern, "\n".join(lines)), lines
    assert len(lines) == len(says)
    assert optimizer.param_groups[0]["lr"] == 0.01, "as the message says"
    run(tmp_path, epochs=5, **{k: v for k, v in more.items() if k not in ("lr", "wd")})


MAKES = {
    "arrays": lambda: (X, Y),
    "loader": lambda: DataLoader((X, Y), 13, shuffle=True, seed=3),
    "list": lambda: [(X[k : k + 25], Y[k : k + 25]) for k in (0, 25)],
}


@pytest.mark.parametrize("data", MAKES)
@pytest.mark.parametrize("schedule", [None, optim.CosineAnnealingLR, optim.OneCycleLR])
def test_more_epochs_are_no_change(tmp_path, data, schedule):
    for epochs in (2, 4, 4):
        model = network()
        optimizer = optim.SGD(model.named_parameters(), lr=0.1, momentum=0.9)
        made = None
        if schedule is not None:
            length = 10 * epochs
            made = (
                optim.OneCycleLR(optimizer, 0.5, length)
                if schedule is optim.OneCycleLR
                else schedule(optimizer, length)
            )
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            fit(
                model,
                MAKES[data](),
                optimizer=optimizer,
                schedule=made,
                epochs=epochs,
                checkpoint=tmp_path,
                resume=True,
                patience=epochs,
            )


def test_the_same_optimizer_goes_on_at_its_rate(tmp_path):
    model = network()
    optimizer = optim.SGD(model.named_parameters(), lr=0.1)
    for epochs in (2, 4):
        fit(
            model,
            (X, Y),
            optimizer=optimizer,
            epochs=epochs,
            checkpoint=tmp_path,
            resume=True,
            schedule=optim.ReduceLROnPlateau(optimizer, factor=0.5, patience=0),
        )


def test_one_changed_number_is_seen(tmp_path):
    run(tmp_path, epochs=1)
    x = X.copy()
    x[37, 3] += 1
    with pytest.warns(UserWarning, match="training data is"):
        run(tmp_path, epochs=2, data=(x, Y))


def test_a_checkpoint_of_an_earlier_version_is_taken(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setitem(
            sys.modules["chainrule.train.loop.fit"].__dict__,
            "training_settings",
            lambda *_, **__: {},
        )
        fit(network(), (X, Y), epochs=1, checkpoint=tmp_path)
    found = fit(network(), (X, Y), epochs=2, checkpoint=tmp_path, resume=True, clip_norm=1.0)
    assert len(found) == 2
