"""The lines of Python that make changes: run, they do what the trials did."""

import copy
import dataclasses

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.diagnosis import Change
from chainrule.doctor.code import lines_of
from chainrule.doctor.facts import gather
from chainrule.doctor.modules import ModuleTraining
from chainrule.doctor.words import in_words

DRAW = np.random.default_rng(0)


class Sequences(nn.Module):
    def __init__(self):
        self.rnn = nn.RNN(3, 8)
        self.out = nn.Linear(8, 2)

    def forward(self, x):
        return self.out(self.rnn(x)[0][:, -1])


class Contained(nn.Module):
    """Layers in a list, in dicts, in a tuple, and in these in one another."""

    def __init__(self):
        self.layers = [nn.Linear(4, 8), nn.Tanh()]
        self.by_name = {"the first": nn.Linear(8, 8), 2: nn.Sigmoid(), "a": [nn.Linear(8, 8)]}
        self.pairs = ((nn.Linear(8, 8), nn.Tanh()), (nn.Linear(8, 8), nn.Tanh()))
        self.out = nn.Linear(8, 2)

    def forward(self, x):
        a, b = self.by_name["the first"], self.by_name[2]
        for layer in (*self.layers, a, b, *self.by_name["a"]):
            x = layer(x)
        for linear, tanh in self.pairs:
            x = tanh(linear(x))
        return self.out(x)


def dense():
    layers = nn.Linear(4, 8), nn.Sigmoid(), nn.Linear(8, 8), nn.Sigmoid(), nn.Dropout(0.5)
    return nn.Sequential(*layers, nn.Linear(8, 2), nn.Softmax())


def training_of(model, *shape):
    x = (5 + DRAW.normal(size=(40, *shape))).astype("float32")
    y = DRAW.integers(0, 2, 40)
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    data = (x[:30], y[:30]), (x[30:], y[30:])
    return ModuleTraining(model, nn.CrossEntropyLoss(), optimizer, *data, 8, 1)


@pytest.fixture(scope="module")
def facts_of():
    trainings = training_of(dense(), 4), training_of(Sequences(), 5, 3)
    contained = gather(training_of(Contained(), 4))
    return {
        "dense": gather(trainings[0]),
        "sequences": gather(trainings[1]),
        "contained": contained,
        "one": gather(training_of(nn.Linear(4, 2), 4)),
    }


CASES = {
    "other activations": ("dense", [("activation", "1", "relu"), ("activation", "3", "relu")]),
    "an activation after a layer": ("dense", [("activation", "5", "tanh")]),
    "no output activation": ("dense", [("output_activation", "6", "linear")]),
    "no dropout": ("dense", [("remove", "4", None)]),
    "normalization": ("dense", [("insert", "0", "batchnorm"), ("insert", "2", "batchnorm")]),
    "a residual": ("dense", [("residual", "2", None)]),
    "more outputs": ("dense", [("units", "5", 7)]),
    "a GRU": ("sequences", [("recurrent", "rnn", "gru")]),
    "in a list": ("contained", [("activation", "layers.1", "relu")]),
    "in a dict": ("contained", [("activation", "by_name.2", "relu")]),
    "in a dict, by a name": ("contained", [("insert", "by_name.the first", "batchnorm")]),
    "in a list in a dict": ("contained", [("residual", "by_name.a.0", None)]),
    "an attribute": ("contained", [("activation", "out", "tanh")]),
    "the model itself": ("one", [("activation", "", "tanh")]),
}


@pytest.mark.parametrize("case", CASES)
def test_lines_build_the_network_of_the_trial(case, facts_of):
    name, changes = CASES[case]
    facts = facts_of[name]
    changes = [Change(*c) for c in changes]
    before = facts.training.model
    scope = {"model": copy.deepcopy(before), "nn": nn, "np": np, "cr": cr, "optim": optim}
    exec("\n".join(lines_of(changes, facts)), scope)
    assert repr(scope["model"]) == repr(facts.training.changed(changes).model) != repr(before)
    assert len(scope["optimizer"].param_groups[0]["params"]) == len(scope["model"].parameters())


def test_modules_of_one_container_are_a_loop(facts_of):
    changes = [Change("activation", str(k), "relu") for k in (1, 3)]
    assert lines_of(changes, facts_of["dense"])[:2] == (
        "for k in (1, 3):",
        "    model[k] = nn.ReLU()",
    )


def test_a_tuple_becomes_a_list(facts_of):
    facts = facts_of["contained"]
    places = "pairs.0.1", "pairs.1.1"
    code = lines_of([Change("activation", place, "relu") for place in places], facts)
    assert code[:3] == (
        "model.pairs = list(model.pairs)",
        "model.pairs[0] = list(model.pairs[0])",
        "model.pairs[1] = list(model.pairs[1])",
    )
    model = copy.deepcopy(facts.training.model)
    exec("\n".join(code), {"model": model, "nn": nn, "optim": optim})
    assert [type(pair[1]) for pair in model.pairs] == [nn.ReLU, nn.ReLU]
    assert model(facts.training.data[0]).shape == (30, 2)


def test_a_module_that_runs_twice_is_named_once(facts_of):
    facts = facts_of["dense"]
    changes = [Change("remove", "4", None)] * 3
    assert lines_of(changes, facts)[0] == "model[4] = nn.Identity()"
    assert in_words(changes, facts) == "no dropout in layer 4"


def test_an_optimizer_keeps_the_decay_and_has_another_after_it(facts_of):
    facts = facts_of["dense"]
    model = copy.deepcopy(facts.training.model)
    scope = {"model": model, "nn": nn, "optim": optim}
    changes = [Change("decay", "optimizer.weight_decay", 0.5), Change("remove", "4", None)]
    exec("\n".join(lines_of(changes, facts)), scope)
    (group,) = scope["optimizer"].param_groups
    assert (group["lr"], group["weight_decay"]) == (0.1, 0.5)


def test_lines_of_first_weights_and_gates(facts_of):
    model, facts = Sequences(), facts_of["sequences"]
    gates = [Change("recurrent", "rnn", "gru"), Change("memory", "rnn", 60)]
    code = lines_of([*gates, Change("initialisation", "out", "glorot_uniform")], facts)
    exec("\n".join(code), {"model": model, "nn": nn, "np": np, "cr": cr, "optim": optim})
    biases = model.rnn.bias_ih_l0.numpy()
    assert 0 < biases[8:16].min() < biases[8:16].max() < np.log(60)
    kept = 1 / (1 + np.exp(-biases[8:16]))  # of the state, per step: 1/2 to 60/61
    assert 0.5 < kept.min() < kept.max() < 60 / 61
    assert np.abs(model.out.weight.numpy()).max() <= np.sqrt(6 / (8 + 2))
    assert not model.out.bias.numpy().any()


def test_lines_of_orthogonal_weights(facts_of):
    model, facts = Sequences(), facts_of["sequences"]
    changes = [Change("recurrent", "rnn", "gru"), Change("initialisation", "rnn", "orthogonal")]
    exec("\n".join(lines_of(changes, facts)), {"model": model, "nn": nn, "cr": cr, "optim": optim})
    gates = model.rnn.weight_hh_l0.numpy().reshape(3, 8, 8)
    products = gates @ gates.swapaxes(1, 2)
    np.testing.assert_allclose(products, np.tile(np.eye(8), (3, 1, 1)), atol=1e-5)
    assert not model.rnn.bias_ih_l0.numpy().any()


def test_lines_of_data_and_arguments(facts_of):
    facts = facts_of["dense"]
    scope = {"x": facts.training.data[0]}
    changes = [
        Change("scale", "data.inputs", "standardise"),
        Change("rate", "optimizer.lr", 0.01),
        Change("epochs", "epochs", 40),
    ]
    *scaling, rate, epochs = lines_of(changes, facts)
    exec("\n".join(scaling), scope)
    np.testing.assert_allclose(scope["x"].mean(0), np.zeros(4), atol=1e-5)
    np.testing.assert_allclose(scope["x"].std(0), np.ones(4), rtol=1e-5)
    made = "optimizer = optim.SGD(model.parameters(), lr=0.01)"
    assert (rate, epochs) == (made, "epochs=40")


def test_a_printed_diagnosis_repairs_the_training():
    draw = np.random.default_rng(2)
    x = draw.normal(size=(500, 3)).astype("float32")
    y = (40 + 20 * x[:, :1]).astype("float32")
    cr.random.seed(0)
    model = nn.Sequential(nn.Linear(3, 16), nn.ReLU(), nn.Linear(16, 1), nn.Sigmoid())
    optimizer = optim.Adam(model.parameters(), lr=0.01)
    diagnosis = cr.diagnose(model, (x, y), loss="mse", optimizer=optimizer, seconds=6)
    code = [line for line in diagnosis.remedy.code if not line.startswith("epochs=")]
    assert all(line in str(diagnosis) for line in code)
    scope = {"model": model, "x": x, "y": y, "nn": nn, "np": np, "cr": cr, "optim": optim}
    exec("\n".join(code), scope)
    data = scope["x"], scope["y"]
    optimizer = optim.Adam(model.parameters(), lr=0.01)
    history = cr.fit(
        model, data, loss="mse", optimizer=optimizer, metrics="r2", epochs=10, progress=False
    )
    assert history["r2"][-1] > 0.9


def test_lines_have_the_settings_of_the_optimizer_that_are_not_the_usual_ones():
    model = dense()
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True)
    t = dataclasses.replace(training_of(model, 4), optimizer=optimizer)
    (line,) = lines_of([Change("rate", "optimizer.lr", 0.01)], gather(t))
    scope = {"model": model, "optim": optim}
    exec(line, scope)
    made, given = (o.param_groups[0] for o in (scope["optimizer"], t.optimizer))
    assert {n: v for n, v in made.items() if n != "params"} == {
        **{n: v for n, v in given.items() if n != "params"},
        "lr": 0.01,
    }


def test_columns_that_never_vary_are_scaled_by_1():
    t = training_of(dense(), 4)
    t.data[0][:, 2] = 7
    scope = {"x": t.data[0]}
    exec("\n".join(lines_of([Change("scale", "data.inputs", "standardise")], gather(t))), scope)
    assert np.isfinite(scope["x"]).all()
    np.testing.assert_allclose(scope["x"].std(0), [1, 1, 0, 1], atol=1e-5)


def test_a_column_is_dropped_from_a_copy_in_any_layout():
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    t = training_of(model, 3, 4)
    x = t.data[0].transpose(0, 2, 1)
    scope = {"x": x}
    exec("\n".join(lines_of([Change("drop", "data.inputs", 5)], gather(t))), scope)
    assert not scope["x"].reshape(len(x), -1)[:, 5].any()
    assert x.reshape(len(x), -1)[:, 5].any(), "the user's own array"
