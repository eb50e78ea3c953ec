"""Mistakes that fit finds before the first step, with nothing changed; and what is none."""

import math
import re

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import chainrule as cr
from chainrule import nn, optim
from chainrule.data import DataLoader
from chainrule.errors import ArgumentError, ChainruleError, TraceError
from chainrule.nn import functional
from chainrule.train import Callback, evaluate
from chainrule.train.evaluation.metrics import METRICS
from chainrule.train.evaluation.objective import ALIASES
from spoiling import X, Y, Z, batches, network, with_value

YES = (Z > 0).astype(np.float32)[:, None]
NAN, INF = math.nan, math.inf


class Then(nn.Module):
    """A network with a function at its end."""

    def __init__(self, function, outputs=3):
        self.inner, self.function = network(outputs=outputs), function

    def forward(self, x):
        return self.function(self.inner(x))


def snapshot(model, optimizer):
    tensors = {**model.state_dict(), **optimizer.state_dict()}
    tensors["random"] = cr.random.default.state.numpy()
    out = {name: (np.asarray(v).dtype, np.asarray(v).tobytes()) for name, v in tensors.items()}
    return out | {
        "modes": [m.training for m in model.modules()],
        "hooks": [m._forward_hooks for m in model.modules()],
        "gradients": [p.grad for p in model.parameters()],
    }


def one(outputs=1, *last):
    return network(*last, outputs=outputs)


def own(p, t):
    return 1.0


def cut(p, t):
    return functional.cross_entropy(p.detach(), t)


def cross_entropy(p, t):
    return cr.mean((p[:, 0] - t) ** 2)


class Lengths(nn.Module):
    def __init__(self):
        self.layer = nn.Linear(5, 3)

    def forward(self, x, lengths):
        return self.layer(x)


def unfinished():
    """Weights that are not finite."""
    model = network()
    with cr.no_grad():
        model[4].weight[...] = NAN
    return model


BY_SCORE = {"metrics": own, "monitor": "own", "patience": 1}
CE, BCE = {"loss": "cross_entropy"}, {"loss": "bce_with_logits"}
OUT = with_value(Y, 33, 3)
MISTAKES = {  # model, data, settings, what the message says
    # the loss and the end of the model
    "softmax": (lambda: network(nn.Softmax()), (X, Y), CE, "got probabilities.*remove the softm"),
    "softmax, function": (lambda: Then(functional.softmax), (X, Y), CE, "got probabilities"),
    "softmax, eager": (
        lambda: network(nn.Softmax()),
        (X, Y),
        {**CE, "compile": False},
        "got probabilities",
    ),
    "softmax, module loss": (
        lambda: network(nn.Softmax()),
        (X, Y),
        {"loss": nn.CrossEntropyLoss(label_smoothing=0.1)},
        "got probabilities",
    ),
    "sigmoid": (lambda: one(1, nn.Sigmoid()), (X, YES), BCE, 'got a sigmoid.*use loss="bce"'),
    "targets of -1 and 1": (one, (X, 2 * YES - 1), BCE, r"targets from -1\.0 to 1\.0.*y > 0"),
    "targets of 0 and 2": (
        lambda: one(1, nn.Sigmoid()),
        (X, 2 * YES),
        {"loss": "bce"},
        "targets from 0.* 0 to 1",
    ),
    "sigmoid, function": (lambda: Then(cr.sigmoid, 1), (X, YES), BCE, "got a sigmoid before bina"),
    "sigmoid, then squeezed": (
        lambda: Then(lambda s: cr.sigmoid(s)[:, 0], 1),
        (X, YES[:, 0]),
        BCE,
        "got a sigmoid",
    ),
    "no log-softmax": (network, (X, Y), {"loss": "nll"}, "got values up to .* LogSoftmax"),
    "one score": (one, (X, YES[:, 0].astype(int)), CE, r"got one score per row.*bce_with_logits"),
    "one score, flat": (lambda: Then(lambda s: s[:, 0], 1), (X, Z), CE, "got one score per row"),
    "measurements, cross-entropy": (
        network,
        (X, X[:, :3]),
        CE,
        r'targets from -.*; expected probabilities of the classes.*loss="mse"',
    ),
    "several at once": (network, (X, np.ones((60, 3))), CE, "sum up to 3, for .*bce_with_logits"),
    "pairs, mse": (one, (X, Z), {"loss": "mse"}, r"prediction float32\[\d+,1\] and a target"),
    "pairs, own": (
        one,
        (X, Z),
        {"loss": lambda p, t: cr.mean((p - t) ** 2)},
        "broadcast to all pairs",
    ),
    "pairs, own, turned": (
        lambda: Then(lambda s: s[:, 0], 1),
        (X, Z[:, None]),
        {"loss": lambda p, t: cr.mean(cr.abs(p - t))},
        "broadcast to all pairs",
    ),
    "each loss": (
        network,
        (X, Y),
        {"loss": lambda p, t: (p * p).sum(axis=-1)},
        r"loss of shape \(32,\) from <lambda>; expected one number; take its mean",
    ),
    "each loss, eager": (
        network,
        (X, Y),
        {"loss": lambda p, t: p[:, :1], "compile": False},
        r"loss of shape \(32, 1\)",
    ),
    "a number": (network, (X, Y), {"loss": lambda p, t: 1.0}, "got a loss of type float"),
    "too large": (
        lambda: Then(lambda s: s * 1e30),
        (X, X[:, :3]),
        {"loss": "mse"},
        "got a loss of inf before the first step",
    ),
    "class as loss": (network, (X, Y), {"loss": nn.CrossEntropyLoss}, r"make one: CrossEntropyL"),
    "loss of three": (network, (X, Y), {"loss": "triplet_margin_loss"}, "anchor, positive, negat"),
    "sum": (network, (X, Y), {"loss": nn.CrossEntropyLoss(reduction="sum")}, 'reduction="mean"'),
    "no loss": (network, (X, Y), {"loss": None}, "got a loss of type NoneType"),
    "loss by a wrong name": (network, (X, Y), {"loss": "cross_entrpy"}, "did you mean cross_entro"),
    "loss by no name": (network, (X, Y), {"loss": "?"}, "cross_entropy for classes, mse for num"),
    # targets
    "class too large": (
        network,
        (X, OUT),
        CE,
        r"class 3 \(training data, row 33\); expected 0 to 2",
    ),
    "class below 0": (network, (X, with_value(Y, 59, -1)), CE, r"class -1 \(training data, row 59"),
    "class, loader": (network, DataLoader((X, OUT), 20), CE, r"class 3 \(training data, row 33\)"),
    "class, first batch": (network, batches(y=with_value(Y, 3, 5)), CE, "got class 5"),
    "class, valid": (
        network,
        (X, Y),
        {**CE, "valid": (X, OUT)},
        r"class 3 \(validation data, row 33\)",
    ),
    "float classes": (
        network,
        (X, Y.astype(np.float32)),
        CE,
        "got targets float32.32.; expected class nu",
    ),
    "no targets": (network, X, CE, "got a batch of ndarray in the training data; expected pairs"),
    "targets None": (network, (X, None), CE, "got a batch without targets"),
    "inputs alone": (network, (X,), CE, "got a batch of 1 parts"),
    "three parts": (network, (X, X, Y), CE, r"got a batch of 3 parts.*\(\(a, b\), y\)"),
    "batches of one": (network, [X, X, X], CE, "got a batch of 3 parts"),
    "loader of one": (network, DataLoader(X, 20), CE, "got a batch of ndarray"),
    # what the model takes and returns
    "two outputs": (
        lambda: Then(lambda s: (s, s)),
        (X, Y),
        CE,
        r"got a tuple of 2 from the model, for cross_entropy; expected one tensor; .*out\[0\]",
    ),
    "a dict": (lambda: Then(lambda s: {"a": s}), (X, Y), CE, r"got a dict of 1 .*out\['a'\]"),
    "LSTM": (lambda: nn.LSTM(5, 3), (X[:, None], X[:, None, :3]), {"loss": "mse"}, "tuple of 2"),
    "two arguments": (
        Lengths,
        ((X, Y), Y),
        CE,
        r"forward\(self, x, lengths\).*a tuple of 2; .*x, lengths = inputs",
    ),
    "two arguments, one array": (Lengths, (X, Y), CE, r"pass data \(\(a, b\), y\)"),
    "one row last": (
        network,
        (X[:33], Y[:33]),
        CE,
        r"last batch of 1 row \(33 rows in batches of 32\); .*1 \(Batch.*drop_la",
    ),
    "one row each": (
        network,
        (X, Y),
        {**CE, "batch_size": 1},
        r"batch_size=32 \(--batch-size 32\)",
    ),
    "one row": (network, (X[:1], Y[:1]), CE, "train on 2 rows or more"),
    "seed of batches": (network, DataLoader((X, Y), 20), {**CE, "seed": 9}, "got seed 9 and"),
    "drop_last of batches": (network, batches(), {**CE, "drop_last": True}, "drop_last and data t"),
    "detached": (network, (X, Y), {"loss": cut}, "does not depend on any trained parameter"),
    "detached, eager": (network, (X, Y), {"loss": cut, "compile": False}, "look for detach"),
    "NaN inside": (
        lambda: Then(lambda s: cr.log(-cr.abs(s))),
        (X, Y),
        CE,
        "loss of nan before the first step: log gave nan from -",
    ),
    "NaN weight": (unfinished, (X, Y), CE, "before the first step, 4.weight is not finite"),
    "all ignored": (network, (X, 0 * Y - 100), CE, "training data in which each target is -100"),
    "all ignored, validation": (
        network,
        (X, Y),
        {**CE, "valid": (X, 0 * Y - 100)},
        "validation data in which each target is -100",
    ),
    # values that are not finite
    "NaN": (
        network,
        (with_value(X, (7, 2), NAN), Y),
        CE,
        r"nan in the inputs of the training data at row 7, column 2 \(1 rows",
    ),
    "inf": (
        network,
        (with_value(X, [[8], [9]], INF), Y),
        CE,
        r"inf in the inputs of the training data at row 8, column 0 \(2 rows",
    ),
    "NaN target": (
        one,
        (X, with_value(Z, 5, NAN)),
        {"loss": "mse"},
        "nan in the targets of the training data at row 5 ",
    ),
    "NaN, images": (
        network,
        (with_value(np.zeros((60, 4, 4, 1)), (50, 1, 2, 0), NAN), Y),
        CE,
        "at row 50, column 6",
    ),
    "NaN, loader": (
        network,
        DataLoader((with_value(X, (41, 0), NAN), Y), 20),
        CE,
        "training data at row 41, column 0",
    ),
    "NaN, tree": (
        network,
        ((X, with_value(X, (59, 4), -INF)), Y),
        CE,
        "-inf in the inputs of the training data at row 59, column 4",
    ),
    "NaN, batches": (
        network,
        batches(with_value(X, (3, 1), NAN)),
        CE,
        "nan in the inputs of the first batch at row 3, column 1",
    ),
    "NaN, valid": (
        network,
        (X, Y),
        {**CE, "valid": (with_value(X, (3, 1), NAN), Y)},
        "inputs of the validation data at row 3, column 1",
    ),
    # sizes
    "empty": (network, (X[:0], Y[:0]), CE, "got no rows"),
    "empty valid": (network, (X, Y), {**CE, "valid": (X[:0], Y[:0])}, "got no rows"),
    "nothing": (network, (), CE, "got a batch of 0 parts"),
    "no batches": (network, [], CE, "got a batch of 0 parts"),
    "no batches, generated": (network, (b for b in []), {**CE, "epochs": 1}, "got no batches"),
    "lists": (
        network,
        [([[1.0, 2.0]], [1])],
        CE,
        "inputs contain 1.0; expected arrays or tensors with rows",
    ),
    "unequal": (network, (X, Y[:-1]), CE, "got arrays of 60 and 59 rows"),
    "unequal valid": (network, (X, Y), {**CE, "valid": (X, Y[:5])}, "got arrays of 60 and 5 rows"),
    "batch_size": (network, (X, Y), {**CE, "batch_size": 61}, "batch_size 61 for 60 rows.*most 60"),
    "batch_size 0": (network, (X, Y), {**CE, "batch_size": 0}, "got batch_size 0"),
    "batch_size of batches": (
        network,
        batches(),
        {**CE, "batch_size": 5},
        "batch_size 5 and data that is in batches already",
    ),
    "not data": (network, 5, CE, "got data of type int"),
    "a generator": (
        network,
        (b for b in batches()),
        {**CE, "epochs": 2},
        "got a generator as training data",
    ),
    "a generator, valid": (
        network,
        (X, Y),
        {**CE, "epochs": 2, "valid": (b for b in batches())},
        "got a generator as validation data; expected batches",
    ),
    "a generator, metrics": (
        network,
        (b for b in batches()),
        {**CE, "epochs": 1, "metrics": "f1"},
        "generator as training data; .* for the metrics",
    ),
    "wrong inputs": (network, (X[:, :4], Y), CE, r"\[Linear\] got float32\[32,4\]"),
    # settings
    **{
        f"{name} {value!r}": (
            network,
            (X, Y),
            {**CE, name: value},
            rf"got {name} {value!r}; expected a who",
        )
        for name in ("epochs", "accumulate", "patience")
        for value in (0, -1, 2.0, True, "3")
    },
    **{
        f"clip_norm {value!r}": (
            network,
            (X, Y),
            {**CE, "clip_norm": value},
            f"got clip_norm {value!r}; expected a finite number above",
        )
        for value in (NAN, INF, 0, 0.0, -1.0, "1", True)
    },
    **{
        f"checkpoint_every {value!r}": (
            network,
            (X, Y),
            {**CE, "checkpoint_every": value},
            f"got checkpoint_every {value!r}",
        )
        for value in (NAN, -1, "5")
    },
    "metric": (network, (X, Y), {**CE, "metrics": ["acuracy"]}, "did you mean accuracy"),
    "metric, far": (
        network,
        (X, Y),
        {**CE, "metrics": [5]},
        "got the metric 5; expected one of accuracy",
    ),
    "monitor": (
        network,
        (X, Y),
        {**CE, "valid": (X, Y), "monitor": "accuracy", "metrics": "accuracy"},
        "did you mean valid_accuracy",
    ),
    "monitor, no valid": (network, (X, Y), {**CE, "monitor": "valid_loss"}, "pass validation data"),
    "monitor, no metric": (network, (X, Y), {**CE, "patience": 1, "monitor": "seconds"}, "of loss"),
    "monitor, own": (network, (X, Y), {**CE, **BY_SCORE}, "monitor 'own', a custom metric.*m"),
    "mode": (
        network,
        (X, Y),
        {**CE, **BY_SCORE, "mode": "up"},
        "got mode 'up'; expected .min. or .max.",
    ),
    "mode of the loss": (network, (X, Y), {**CE, "mode": "max"}, 'max" for the loss'),
    "metric, array": (
        network,
        (X, Y),
        {**CE, "metrics": {"hits": lambda p, t: p.argmax(-1) == t}},
        r"ndarray \(32,\) from the metric hits; expected one number",
    ),
    "metric, None": (network, (X, Y), {**CE, "metrics": {"a": lambda p, t: None}}, "NoneType from"),
    "metric of numbers": (network, (X, Y), {**CE, "metrics": "r2"}, "a prediction for each target"),
    "auc of three": (network, (X, Y), {**CE, "metrics": "auc"}, "auc is for two classes"),
    "schedule by name": (network, (X, Y), {**CE, "schedule": "cosine"}, "schedule 'cosine'.*Cosin"),
    "schedule, function": (network, (X, Y), {**CE, "schedule": lambda t: 0.1}, "optim.LambdaLR"),
    "schedule, class": (network, (X, Y), {**CE, "schedule": optim.StepLR}, "the schedule StepLR"),
    "valid alone": (network, (X, Y), {**CE, "valid": X}, r"ndarray in the validation .*\(x, y\)"),
    "valid, columns": (
        network,
        (X, Y),
        {**CE, "valid": (X[:, 1:], Y)},
        r"\[Linear\] got float32\[60,4\].*check the validation data",
    ),
    "valid, targets": (network, (X, Y), {**CE, "valid": [(X, Y[:9])]}, "cross_.*validation data"),
    "per": (network, (X, Y), {**CE, "schedule_per": "batch"}, "got schedule_per 'batch'"),
    "per, empty": (network, (X, Y), {**CE, "schedule_per": ""}, "got schedule_per ''"),
    "resume": (network, (X, Y), {**CE, "resume": True}, "resume=True without a checkpoint folder"),
    "seed": (network, (X, Y), {**CE, "seed": -1}, r"\[seed\] got -1"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_told_before_anything_is_changed(name):
    build, data, settings, says = MISTAKES[name]
    model = build()
    optimizer = optim.Adam(model.named_parameters())
    before = snapshot(model, optimizer)
    with pytest.raises(ChainruleError, match=re.compile(says, re.DOTALL)) as caught:
        cr.fit(model, data, optimizer=optimizer, progress=False, **settings)
    error = caught.value
    assert all((error.operation, error.arrived, error.needed, error.advice))
    assert snapshot(model, optimizer) == before


def test_nothing_is_left_in_the_checkpoint_folder(tmp_path):
    with pytest.raises(ChainruleError):
        cr.fit(network(nn.Softmax()), (X, Y), **CE, checkpoint=tmp_path / "new", progress=False)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("given_", "says"),
    [
        (lambda: np.zeros(3), "got a model of type ndarray"),
        (lambda: nn.Linear, "of type type"),
        (lambda: None, "of type NoneType"),
        (lambda: nn.ReLU(), r"\[Adam\] got no parameters"),
        (lambda: network().freeze(), r"\[Adam\] got no parameters"),
    ],
)
def test_a_model_that_cannot_be_trained(given_, says):
    with pytest.raises(ArgumentError, match=says):
        cr.fit(given_(), (X, Y), **CE, progress=False)


def test_an_optimizer_or_schedule_that_would_do_nothing():
    model = network()
    optimizer = optim.SGD(model.parameters(), lr=0.0)
    with pytest.raises(ArgumentError, match="got lr 0; expected a learning rate above 0"):
        cr.fit(model, (X, Y), **CE, optimizer=optimizer, progress=False)
    optimizer = optim.SGD(network().parameters(), lr=0.1)
    with pytest.raises(
        ArgumentError, match="an optimizer that has none of this model's parameters"
    ):
        cr.fit(model, (X, Y), **CE, optimizer=optimizer, progress=False)
    for settings in ({}, {"optimizer": optim.SGD(model.parameters(), lr=0.1)}):
        schedule = optim.StepLR(optimizer, 1)
        with pytest.raises(ArgumentError, match="got a schedule of another optimizer"):
            cr.fit(model, (X, Y), **CE, schedule=schedule, progress=False, **settings)
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    short = optim.OneCycleLR(optimizer, 0.1, 9)
    with pytest.raises(ArgumentError, match="OneCycleLR for 9 steps and a training of 10"):
        cr.fit(
            model,
            [(X, Y), (X, Y)],
            **CE,
            optimizer=optimizer,
            schedule=short,
            epochs=5,
            progress=False,
        )
    plateau = optim.ReduceLROnPlateau(optimizer)
    with pytest.raises(ArgumentError, match='ReduceLROnPlateau with schedule_per="step"'):
        cr.fit(
            model,
            (X, Y),
            **CE,
            optimizer=optimizer,
            schedule=plateau,
            schedule_per="step",
            progress=False,
        )


class Silent(nn.Module):
    """A forward without return."""

    def __init__(self):
        self.layer = nn.Linear(5, 3)

    def forward(self, x):
        self.layer(x)


HABITS = {  # of other libraries: settings of fit, what the message says
    "optimizer by name": ({"optimizer": "adam"}, "optim.Adam\\(model.named_parameters"),
    "optimizer class": ({"optimizer": optim.SGD}, "got optimizer SGD"),
    "one callback": ({"callbacks": Callback()}, "pass \\[MyCallback"),
    "a function as callback": ({"callbacks": [print]}, "derive a class"),
    "metric of Keras": ({"metrics": "acc"}, "did you mean accuracy"),
    "metric of scikit-learn": ({"metrics": ["r2_score"]}, "did you mean r2"),
    "loss of Keras": ({"loss": "sparse_categorical_crossentropy"}, "did you mean cross_entropy"),
    "loss of scikit-learn": ({"loss": "squared_error"}, "did you mean mse"),
}


@pytest.mark.parametrize("name", HABITS)
def test_habits_of_other_libraries(name):
    more, says = HABITS[name]
    with pytest.raises(ArgumentError, match=says):
        cr.fit(network(), (X, Y), **{"loss": "cross_entropy", "progress": False, **more})


def test_a_forward_that_returns_nothing():
    with pytest.raises(ArgumentError, match="end forward with return"):
        cr.fit(Silent(), (X, Y), loss="cross_entropy", progress=False)


def test_what_cannot_be_traced_can_be_run_in_python():
    def model(s):
        return s if float(s.sum()) > 0 else s * 2

    with pytest.raises(TraceError, match=r"pass compile=False to fit\n  in Then"):
        cr.fit(Then(model), (X, Y), **CE, progress=False)
    assert len(cr.fit(Then(model), (X, Y), **CE, epochs=1, compile=False, progress=False)) == 1


# What looks like a mistake and is none

RIGHT = {
    "own loss that squeezes": (one, Z, lambda p, t: cr.mean((p[:, 0] - t) ** 2)),
    "own loss that widens": (one, Z, lambda p, t: cr.mean((p - t[:, None]) ** 2)),
    "softmax inside": (
        lambda: Then(lambda s: functional.softmax(s) @ np.eye(3, 2, dtype=np.float32) * 3 - 1),
        (Y > 0).astype(int),
        "cross_entropy",
    ),
    "softmax as the last module": (lambda: Then(Gate()), Y, "cross_entropy"),
    "sigmoid inside": (lambda: Then(lambda s: cr.sigmoid(s) * s, 1), YES, "bce_with_logits"),
    "probabilities for bce": (lambda: one(1, nn.Sigmoid()), YES, "bce"),
    "scores between 0 and 1": (lambda: Then(lambda s: s * 0.01 + 0.5, 1), YES, "bce_with_logits"),
    "log-softmax": (lambda: network(nn.LogSoftmax()), Y, "nll"),
    "ignored": (network, with_value(Y, 9, -100), "cross_entropy"),
    "soft targets": (network, np.full((60, 3), 1 / 3, np.float32), "cross_entropy"),
    "soft targets, rounded": (
        lambda: network(outputs=10),
        (np.eye(10)[Y] * 0.9 + 0.01).astype(ml_dtypes.bfloat16),
        "cross_entropy",
    ),
    "soft targets, just below 0": (network, np.eye(3)[Y] - 1e-9, "cross_entropy"),
    "own loss of a known name": (one, Z, cross_entropy),
    "large inputs": (lambda: Then(lambda s: s / 1e30, 3), X[:, :3] * 1e38, lambda p, t: p.mean()),
}


class Gate(nn.Module):
    """Weighs by a softmax, the last module that is called, and goes on with functions."""

    def __init__(self):
        self.softmax = nn.Softmax()

    def forward(self, x):
        return self.softmax(x) * x


@pytest.mark.parametrize("name", RIGHT)
def test_what_is_right_is_trained(name):
    build, targets, loss = RIGHT[name]
    model = build()
    before = model.state_dict()
    cr.fit(model, (X, targets), loss=loss, epochs=1, progress=False)
    assert any((before[k] != v).any() for k, v in model.state_dict().items())


def test_large_and_half_values_are_finite():
    x = np.full((60, 5), 6e4, np.float16)
    x[30:] *= -1
    found = cr.fit(network(), (x, Y), **CE, epochs=1, progress=False)
    assert [f.level for f in found.findings] == ["notice"], "it has a batch normalization"
    assert math.isfinite(found["loss"][0])


def test_no_metrics_may_be_said():
    assert cr.fit(network(), (X, Y), **CE, metrics=None, epochs=1, progress=False).names() == [
        "epoch",
        "step",
        "loss",
        "lr",
        "seconds",
    ]


def test_a_metric_that_needs_more_rows_is_left_alone_at_first():
    def picky(prediction, target):
        if len(target) < 60:
            raise ValueError("too few")
        return 0.5

    found = cr.fit(network(), (X, Y), **CE, metrics=picky, epochs=1, progress=False)
    assert found["picky"] == [0.5]


# Names

KNOWN = sorted({*ALIASES, *nn.losses.__all__})


@given(st.sampled_from(KNOWN), st.data())
def test_a_slip_in_a_name_is_recognised(name, data):
    at = data.draw(st.integers(0, len(name) - 1))
    wrong = name[:at] + "q" + name[at + 1 :]
    with pytest.raises(ArgumentError, match=rf"got the loss {wrong!r}; .*; .+") as caught:
        evaluate(network(), (X, Y), loss=wrong)
    if len(name) > 4:
        assert "did you mean" in caught.value.advice


@pytest.mark.parametrize("name", METRICS)
def test_a_slip_in_a_metric_is_recognised(name):
    with pytest.raises(ArgumentError, match=f"did you mean {name}\\?"):
        evaluate(network(), (X, Y), metrics=f"{name}s")
