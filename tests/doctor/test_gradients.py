"""Gradients that vanish or explode, over layers and over time; dead units; what repairs them."""

import itertools
import re

import numpy as np
import pytest
import torch

import chainrule as cr
from chainrule import nn, optim
from chainrule.diagnosis import Change
from chainrule.doctor.facts import gather
from chainrule.doctor.faults import faults_of
from chainrule.doctor.faults.time import flow_of
from chainrule.doctor.measured.network import of_network
from chainrule.doctor.modules import ModuleTraining
from chainrule.doctor.pytorch.modules import TorchTraining
from chainrule.errors import ArgumentError
from chainrule.nn import functional as F  # noqa: N812 - the usual name

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 4)).astype(np.float32)
SEQUENCES = RNG.normal(size=(40, 60, 2)).astype(np.float32)
Y = (np.arange(40) % 2).astype(np.int64)


def training(model, x, y=Y, loss=F.cross_entropy, batch=16):
    optimizer = optim.SGD(model.named_parameters(), 1e-3)
    return ModuleTraining(model, loss, optimizer, (x, y), (x, y), batch, 1)


def torch_training(model, x, y=Y):
    optimizer = torch.optim.SGD(model.parameters(), 1e-3)
    loss = torch.nn.functional.cross_entropy
    return TorchTraining(model, loss, optimizer, (x, y), (x, y), 16, 1)


def faults(kind, model, x, **more):
    found = faults_of(gather(training(model, x, **more)))
    return [fault for fault in found if fault.kind == kind]


class Last(nn.Module):
    def __init__(self, kind=nn.RNN, **settings):
        self.recurrent, self.head = kind(2, 8, **settings), nn.Linear(8, 2)

    def forward(self, x):
        return self.head(self.recurrent(x)[0][:, -1])


class TorchLast(torch.nn.Module):
    def __init__(self, kind=torch.nn.RNN, **settings):
        super().__init__()
        self.recurrent = kind(2, 8, batch_first=True, **settings)
        self.head = torch.nn.Linear(8, 2)

    def forward(self, x):
        return self.head(self.recurrent(x)[0][:, -1])


# ── over time ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("by_step", "ratio", "factor", "lost", "words"),
    [
        (2.0 ** np.arange(13), 2**-12, 1, 3, "half of it is lost every step, and steps 1 to 3 get"),
        (2.0 ** -np.arange(0, 10, 0.5), 2**9.5, 2, 0, "it doubles every 2 steps"),
        (np.ones(9), 1, np.inf, 0, "1 times that of step 9's"),
        ([0, 0, 0.25, 0.5, 1], 0, 1, 2, "no gradient reaches the input of step 1: half of it"),
        ([1e-4, 1, 1], 1e-4, 0.15, 1, "and step 1 gets less than a thousandth"),
        (np.zeros(4), 1, np.inf, 0, "1 times"),
    ],
)
def test_how_a_gradient_changes_over_time(by_step, ratio, factor, lost, words):
    flow = flow_of(np.array(by_step, float))
    assert (flow.ratio, flow.lost) == (pytest.approx(ratio), lost)
    assert flow.factor == pytest.approx(factor, rel=0.02)
    assert words in str(flow)


@pytest.mark.parametrize(("size", "kind"), [(0.3, "vanishing"), (4.0, "exploding"), (1.0, "")])
def test_the_rate_of_the_decay_is_that_of_the_recurrent_matrix(size, kind):
    """Of a linear recurrence the gradient is multiplied by this number in each step."""
    cr.random.seed(0)
    model = Last(nonlinearity="relu")
    with cr.no_grad():
        model.recurrent.weight_hh_l0[...] = size * np.eye(8, dtype=np.float32)
        model.recurrent.weight_ih_l0[...] = 1.0
        model.recurrent.bias_ih_l0[...] = 9.0  # so that no unit is 0
    found = [
        f for f in faults_of(gather(training(model, SEQUENCES[:, :20]))) if "by_step" in f.evidence
    ]
    assert {f.kind for f in found} == ({f"{kind}_gradient"} if kind else set())
    for f in found:
        flow = flow_of(np.array(f.evidence["by_step"]))
        assert flow.factor == pytest.approx(1 / abs(np.log2(size)), rel=1e-3)
        assert (f.place, f.cause) == ("recurrent", str(flow))
    whats = [[c.what for c in f.changes] for f in found]
    usual = [["initialisation"], ["recurrent", "memory"]]
    assert whats == {"vanishing": usual, "exploding": [*usual, ["clip"]], "": []}[kind]


@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_gates_that_lose_the_gradient_are_set_to_keep_it(kind):
    model = Last(getattr(nn, kind))
    with cr.no_grad():
        model.recurrent.bias_ih_l0[...] = -3.0
    found = faults("vanishing_gradient", model, SEQUENCES)
    memory = Change("memory", "recurrent", 60)
    assert [f.changes for f in found][1:] == [(memory,)]
    before = training(model, SEQUENCES)
    ratios = [
        flow_of(t.observe().of_kind("recurrent")[0].by_step).ratio
        for t in (before, before.changed([memory]))
    ]
    assert ratios[1] > 1e3 * ratios[0]


@pytest.mark.parametrize(("kind", "gates"), [("LSTM", 4), ("GRU", 3)])
def test_gates_keep_the_state_for_up_to_so_many_steps(kind, gates):
    """PyTorch's cell, with these biases and no weights: what is left of the state after a step."""
    model = TorchLast(getattr(torch.nn, kind))
    t = torch_training(model, SEQUENCES).changed([Change("memory", "recurrent", 50)])
    cell = t.model.recurrent
    with torch.no_grad():
        cell.weight_ih_l0.zero_()
        cell.weight_hh_l0.zero_()
        zeros, ones = torch.zeros(1, 1, 8), torch.ones(1, 1, 8)
        if kind == "LSTM":
            left = cell(torch.zeros(1, 1, 2), (zeros, ones))[1][1].numpy().ravel()
        else:
            left = cell(torch.zeros(1, 1, 2), ones)[1].numpy().ravel()
    steps = left / (1 - left)  # t of σ(log t) = t / (t + 1)
    assert steps.min() >= 0.99
    assert steps.max() <= 50.5
    assert np.ptp(steps) > 5
    ours = training(Last(getattr(nn, kind)), SEQUENCES).changed([Change("memory", "recurrent", 50)])
    for name in ("bias_ih_l0", "bias_hh_l0"):
        expected = getattr(cell, name).detach().numpy()
        np.testing.assert_array_equal(getattr(ours.model.recurrent, name).numpy(), expected)
    assert len(expected) == gates * 8


@pytest.mark.parametrize(
    "settings", [{}, {"num_layers": 2, "bidirectional": True}, {"bias": False}]
)
def test_an_rnn_is_exchanged_for_a_gru_of_the_same_size(settings):
    change = [Change("recurrent", "recurrent", "gru")]
    size = 8 // (1 + settings.get("bidirectional", False))
    a, b = Last(), TorchLast()
    a.recurrent = nn.RNN(2, size, **settings)
    b.recurrent = torch.nn.RNN(2, size, batch_first=True, **settings)
    ours, theirs = training(a, SEQUENCES), torch_training(b, SEQUENCES)
    score = gather(ours).score
    ours, theirs = ours.changed(change), theirs.changed(change)
    assert type(ours.model.recurrent) is nn.GRU
    shapes = {name: p.shape for name, p in ours.model.named_parameters()}
    assert shapes == {name: tuple(p.shape) for name, p in theirs.model.named_parameters()}
    assert len(theirs.optimizer.param_groups[0]["params"]) == len(shapes)
    for t in (ours, theirs):
        before = t.array(t.model.recurrent.weight_ih_l0)
        after = t.array(t.run(score).model.recurrent.weight_ih_l0)
        assert (after != before).any()  # it is trained


def test_gates_that_are_not_there_cannot_be_set():
    for t in (training(Last(), SEQUENCES), torch_training(TorchLast(), SEQUENCES)):
        with pytest.raises(ArgumentError, match="expected a GRU or an LSTM with biases"):
            t.changed([Change("memory", "recurrent", 9)])


def test_gradients_are_clipped():
    x = 1e4 * X
    t = training(nn.Sequential(nn.Linear(4, 2)), x)
    clipped = t.changed([Change("clip", "clip_norm", 0.5)])
    before = t.model[0].weight.numpy()
    (step,) = [clipped.run(gather(t).score).model[0].weight.numpy() - before]
    assert np.linalg.norm(step) < 3 * 0.5 * 1e-3 * 1.001  # three steps of SGD


def test_outputs_that_rounding_changes_do_not_depend_on_other_rows():
    """Over so many steps a network with large weights is chaotic."""
    cr.random.seed(0)
    model = Last()
    nn.init.normal_(model.recurrent.weight_hh_l0, std=3.0)
    facts = gather(training(model, np.tile(SEQUENCES, (1, 5, 1))))
    assert not any(m.name == "row_order" and m.remark for m in of_network(facts))


# ── over layers ──────────────────────────────────────────────────────────────────────────────────


def deep(depth, activation=nn.Sigmoid, width=6):
    cr.random.seed(0)
    layers = [nn.Linear(4, width), activation()]
    for _ in range(depth - 2):
        layers += [nn.Linear(width, width), activation()]
    return nn.Sequential(*layers, nn.Linear(width, 2))


def changed(fault, what):
    return [c.place for c in fault.changes if c.what == what]


def test_a_very_deep_network_becomes_a_residual_one_where_the_width_stays():
    found = faults("vanishing_gradient", deep(24), X)
    first = found[0]
    assert changed(first, "residual") == [str(k) for k in range(2, 46, 2)]
    assert changed(first, "activation") == [str(k) for k in range(1, 46, 2)]
    assert changed(first, "initialisation") == [str(k) for k in range(0, 47, 2)]
    assert changed(first, "insert") == [str(k) for k in range(0, 46, 2)]
    assert len({f.cause for f in found}) == 1
    assert "the slope of a sigmoid is 25% at most" in first.cause
    sizes = list(first.evidence["upstream"].values())
    assert len(sizes) == 24
    assert f"a layer passes on {(sizes[0] / sizes[-1]) ** (1 / 23):.0%} of it" in first.cause


@pytest.mark.parametrize(("depth", "again"), [(6, False), (12, True)])
def test_first_weights_fit_the_new_activation_of_deep_networks(depth, again):
    found = faults("vanishing_gradient", deep(depth), X)
    values = [{c.value for c in f.changes if c.what == "activation"} for f in found]
    assert values == [{"relu"}, {"tanh"}, set()]
    inits = [{c.value for c in f.changes[:-1] if c.what == "initialisation"} for f in found]
    assert inits == ([{"he_uniform"}, {"glorot_uniform"}, set()] if again else [set()] * 3)
    assert not any(changed(f, "residual") for f in found)


def test_a_deep_network_of_tanh_gets_other_first_weights():
    """A layer of this width passes on 1/√3 of the gradient with the usual first weights."""
    found = faults("vanishing_gradient", deep(16, nn.Tanh, 64), X)
    assert [{c.what for c in f.changes} for f in found] == [{"initialisation"}, {"insert"}]
    share = int(re.search(r"a layer passes on (\d+)% of it$", found[0].cause)[1])
    assert share == pytest.approx(100 / np.sqrt(3), abs=4)


@pytest.mark.parametrize("normalized", [False, True])
def test_a_residual_connection_begins_as_the_identity(normalized):
    """∂out/∂in is the identity in both libraries, whatever the weights were."""
    norm = [Change("insert", "1", "batchnorm")] * normalized
    changes = [Change("residual", "1"), *norm]
    x = RNG.normal(size=(10, 4)).astype(np.float32)
    ours = training(nn.Sequential(nn.Identity(), nn.Linear(4, 4)), x, Y[:10], batch=4)
    theirs = torch_training(
        torch.nn.Sequential(torch.nn.Identity(), torch.nn.Linear(4, 4)), x, Y[:10]
    )
    for t in (ours, theirs):
        model = t.changed(changes).model
        np.testing.assert_array_equal(t.array(model(t.tensor(x))), x)
        out = t.changed(changes).run(gather(ours).score).model
        weights = [t.array(p) for n, p in out.named_parameters() if n.endswith("weight")]
        assert all(np.abs(w).max() > 0 for w in weights)  # it learns
        assert not np.array_equal(t.array(out(t.tensor(x))), x)


# ── dead units ───────────────────────────────────────────────────────────────────────────────────


def test_dead_units_are_found_at_their_layer_and_repaired_before_it():
    cr.random.seed(0)
    widths = 4, 8, 8, 8
    hidden = [m for a, b in itertools.pairwise(widths) for m in (nn.Linear(a, b), nn.ReLU())]
    model = nn.Sequential(*hidden, nn.Linear(8, 2))
    nn.init.constant_(model[4].bias, -50.0)
    found = [f for f in faults("dead_relu", model, X) if changed(f, "initialisation")]
    assert {f.place for f in found} == {"5"}
    assert "100% of the units of the ReLU" in found[0].cause
    assert "has the mean -50 and the spread" in found[0].cause
    assert found[0].evidence["dead"]["5"] == 1.0
    assert found[0].evidence["dead"]["1"] < 0.5
    assert [changed(f, "initialisation") for f in found] == [["4"], ["0", "2", "4", "6"]]


# ── what is shown ────────────────────────────────────────────────────────────────────────────────


def blobs(rows=300):
    y = RNG.integers(0, 2, rows)
    return (RNG.normal(size=(rows, 4)) + 3 * y[:, None] - 1.5).astype(np.float32), y


def dead(library):
    layers = library.Linear(4, 16), library.ReLU(), library.Linear(16, 2)
    library.init.constant_(layers[0].bias, -90.0)
    return library.Sequential(*layers)


def remembering(rows=300, steps=40):
    """The class is shown at the first step."""
    y = RNG.integers(0, 2, rows)
    x = 0.1 * RNG.normal(size=(rows, steps, 2)).astype(np.float32)
    x[:, 0] += np.where(y, 1, -1)[:, None]
    return x.astype(np.float32), y


def forgetful(library):
    model = Last() if library is nn else TorchLast()
    library.init.constant_(model.recurrent.bias_hh_l0, 0.0)
    library.init.uniform_(model.recurrent.weight_hh_l0, -0.05, 0.05)
    return model


def sigmoids(library):
    layers = [library.Linear(4, 12)]
    for _ in range(22):
        layers += [library.Sigmoid(), library.Linear(12, 12)]
    return library.Sequential(*layers, library.Sigmoid(), library.Linear(12, 2))


def plain(library):
    return library.Sequential(library.Linear(4, 12), library.Tanh(), library.Linear(12, 2))


def large(rows=300):
    """What tells the class is small, and what does not is large."""
    x, y = blobs(rows)
    x[:, 2:] = 4000 * RNG.normal(size=(rows, 2))
    return x, y


ORTHOGONAL = "orthogonal first weights from state to state, biases of 0, in recurrent"
CASES = [
    (dead, blobs, 0.005, "dead_relu", "1", "first weights by He"),
    (forgetful, remembering, 0.005, "vanishing_gradient", "recurrent", ORTHOGONAL),
    (sigmoids, blobs, 0.005, "vanishing_gradient", "0", ""),
    (plain, large, 0.005, "inputs_not_scaled", "data.inputs", "standardise the inputs"),
]


@pytest.mark.parametrize(("network", "data", "lr", "kind", "place", "words"), CASES)
@pytest.mark.parametrize("library", ["chainrule", "torch"])
def test_it_is_found_and_repaired_in_both_libraries(library, network, data, lr, kind, place, words):
    settings = {"epochs": 8, "seconds": 1.0}
    if library == "torch":
        torch.manual_seed(0)
        model = network(torch.nn)
        optimizer = torch.optim.Adam(model.parameters(), lr=lr)
        loss = torch.nn.CrossEntropyLoss()
        found = cr.interop.torch.diagnose(model, data(), loss=loss, optimizer=optimizer, **settings)
    else:
        cr.random.seed(0)
        model = network(nn)
        optimizer = optim.Adam(model.named_parameters(), lr=lr)
        found = cr.diagnose(model, data(), loss="cross_entropy", optimizer=optimizer, **settings)
    first = found.findings[0]
    assert (first.kind, first.place) == (kind, place), str(found)
    assert words in first.remedies[-1].text, str(found)
    assert found.score < 0.8, str(found)
    assert found.remedy.trial.after > 0.95, str(found)
