"""Models of PyTorch that the doctor measures, changes and diagnoses."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from torch.nn import functional as TF  # noqa: N812 - the usual name

from chainrule import interop, nn, optim
from chainrule.diagnosis import Change
from chainrule.doctor.facts import gather
from chainrule.doctor.faults import Fault, faults_of
from chainrule.doctor.pytorch.modules import TorchTraining
from chainrule.doctor.search import Search
from chainrule.errors import ArgumentError

tnn = torch.nn
RNG = np.random.default_rng(0)
X = RNG.normal(size=(120, 5)).astype(np.float32)
CLASSES = (X[:, 0] * X[:, 1] > 0).astype(np.int64) + (X[:, 2] > 0.5)
BINARY = (X[:, :1] + X[:, 1:2] > 0).astype(np.float32)
IMAGES = RNG.normal(size=(60, 2, 6, 6)).astype(np.float32)
SEQUENCES = RNG.normal(size=(60, 7, 4)).astype(np.float32)


def close(a, b):
    np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-6)


def names(t):
    return [a.name for a in t.observe().layers]


def theirs(model, x, y):
    """A training of PyTorch on cross-entropy."""
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    return TorchTraining(model, tnn.CrossEntropyLoss(), optimizer, (x, y), (x, y), 16, 2)


def test_the_model_itself_may_be_the_layer():
    training = theirs(tnn.Linear(5, 3), X, CLASSES)
    changed = training.changed([Change("output_activation", "", "softmax")])
    assert names(changed) == ["Linear", "Softmax"]


def test_an_activation_that_is_used_twice_is_exchanged_twice():
    act = tnn.Sigmoid()
    model = tnn.Sequential(tnn.Linear(5, 8), act, tnn.Linear(8, 8), act, tnn.Linear(8, 3))
    training = theirs(model, X, CLASSES)
    changed = training.changed([Change("activation", "1", "relu")])
    assert names(changed) == ["Linear", "ReLU", "Linear", "ReLU", "Linear"]


def test_classes_on_axis_1_of_a_sequence_come_last():
    y = RNG.integers(0, 3, (60, 7))
    model = tnn.Conv1d(4, 3, 1)
    x = np.ascontiguousarray(SEQUENCES.swapaxes(1, 2))
    training = theirs(model, x, y)
    assert training.observe().output.shape == (60, 7, 3)
    assert training.outputs(model, x).shape == (60, 7, 3)
    facts = gather(training)
    assert 0 < facts.outcome.score < 1
    changed = training.changed([Change("loss", "loss", "cce_logits")])
    close(changed.run(facts.score).losses, facts.outcome.losses)


def test_a_recurrent_layer_begins_again_with_orthogonal_weights_of_each_gate():
    training = theirs(Packed(True), SEQUENCES, CLASSES[:60])
    lstm = training.changed([Change("initialisation", "states", "glorot_uniform")]).model.states
    for gate in lstm.weight_hh_l0.detach().split(6):
        close(gate @ gate.T, np.eye(6))
    assert not lstm.bias_ih_l0.any()


def test_convolutions_whose_fan_in_is_their_width():
    """The last axis of their outputs is no axis of units."""
    model = tnn.Sequential(
        *(tnn.Conv2d(4, 4, 3, padding=1), tnn.Conv2d(4, 4, 3, padding=1)),
        *(tnn.Flatten(), tnn.Linear(144, 3)),
    )
    x = RNG.normal(size=(60, 4, 1, 36)).astype(np.float32)
    kinds = {f.kind for f in faults_of(gather(theirs(model, x, CLASSES[:60])))}
    assert "missing_hidden_activation" in kinds


class Joined(tnn.Module):
    """Its forward fails if the layer is exchanged."""

    def __init__(self):
        super().__init__()
        self.scores = tnn.Linear(5, 3)

    def forward(self, x):
        return self.scores(x) if isinstance(self.scores, tnn.Linear) else x @ x


def test_a_change_that_does_not_fit_the_model_counts_as_worst():
    search = Search(gather(theirs(Joined(), X, CLASSES)), 1.0)
    change = Change("output_activation", "scores", "softmax")
    assert search.score((Fault("double_softmax", "scores", "", 1.0, (change,)),)) == 0


class Attending(tnn.Module):
    """Numbers of words, attention, a class."""

    def __init__(self):
        super().__init__()
        self.words = tnn.Embedding(9, 8, sparse=True)
        self.attention = tnn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.scores = tnn.Linear(8, 3)

    def forward(self, x):
        return self.scores(self.attention(self.words(x)).mean(1))


def test_what_follows_a_layer_of_attention_counts_in_both_modes():
    """PyTorch's fast path in evaluation reads the weights of its layers, and calls none of them."""
    x = RNG.integers(0, 9, (60, 7))
    training = theirs(Attending(), x, CLASSES[:60])
    layer = training.model.attention
    changed = training.changed(
        [
            Change("insert", "attention.linear1", "batchnorm"),
            Change("output_activation", "attention.linear2", "tanh"),
            Change("optimizer", "optimizer", ("adam", 1e-2)),
        ]
    )
    norm = changed.model.attention.linear1[1]
    before = norm.weight.clone()
    out = changed.outputs(changed.model, x)
    with torch.no_grad():
        norm.weight.mul_(3)
    assert not np.allclose(changed.outputs(changed.model, x), out)
    outcome = changed.run(gather(training).score)
    assert outcome.nonfinite is None
    assert not torch.equal(outcome.model.attention.linear1[1].weight, 3 * before)  # trained too
    assert isinstance(layer.linear1, tnn.Linear)
    assert torch.backends.mha.get_fastpath_enabled()


def test_classes_of_images():
    y = (IMAGES[:, 0] > 0).astype(np.int64)
    facts = gather(theirs(tnn.Conv2d(2, 2, 1), IMAGES, y))
    assert facts.start.output.shape == (60, 6, 6, 2)
    assert len(facts.outcome.rows) == y.size


def small():
    torch.manual_seed(0)
    return tnn.Sequential(tnn.Linear(5, 16), tnn.ReLU(), tnn.Linear(16, 1), tnn.Softmax(-1))


def test_diagnose():
    model = small()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    data = torch.from_numpy(X), torch.from_numpy(BINARY)
    diagnosis = interop.torch.diagnose(
        model, data, loss=tnn.BCELoss(), optimizer=optimizer, epochs=5, seconds=0.2
    )
    assert diagnosis.findings[0].kind == "output_activation_wrong"
    assert diagnosis.findings[0].place == "3"
    assert "sigmoid in place of softmax in layer 3" in repr(diagnosis)
    assert diagnosis.to_dict()["findings"][0]["kind"] == "output_activation_wrong"


def test_a_model_in_float64():
    model = small().double()
    data = torch.utils.data.TensorDataset(torch.from_numpy(X).double(), torch.from_numpy(BINARY))
    diagnosis = interop.torch.diagnose(model, data, loss=tnn.BCELoss(), epochs=2, seconds=1e-3)
    assert diagnosis.findings[0].kind == "output_activation_wrong"


WRONG = {
    "a model of chainrule": lambda m: {"model": nn.Linear(5, 1)},
    "a class": lambda m: {"loss": tnn.BCELoss},
    "a name": lambda m: {"loss": "mse"},
    "optimizer of chainrule": lambda m: {"optimizer": optim.Adam(nn.Linear(5, 1).parameters())},
    "optimizer of another model": lambda m: {"optimizer": torch.optim.SGD(small().parameters())},
    "LBFGS": lambda m: {"optimizer": torch.optim.LBFGS(m.parameters())},
    "no epochs": lambda m: {"epochs": 0},
    "no pair": lambda m: {"data": X},
    "not as many": lambda m: {"data": (X, BINARY[:-1])},
}


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_input(wrong):
    model = small()
    arguments = {"model": model, "data": (X, BINARY), "loss": tnn.BCELoss()} | WRONG[wrong](model)
    with pytest.raises(ArgumentError, match=r"expected"):
        interop.torch.diagnose(**arguments)


class Packed(tnn.Module):
    """A recurrent network on sequences of five steps, which returns scores, or also the state."""

    def __init__(self, scores_only):
        super().__init__()
        self.scores_only = scores_only
        self.states = tnn.LSTM(4, 6, batch_first=True)
        self.scores = tnn.Linear(6, 3)

    def forward(self, x):
        pack = torch.nn.utils.rnn.pack_padded_sequence
        steps = pack(x, torch.full((len(x),), 5), batch_first=True)
        _, (h, c) = self.states(steps)
        return self.scores(h[-1]) if self.scores_only else (self.scores(h[-1]), c)


def test_packed_sequences_are_seen():
    seen = theirs(Packed(True), SEQUENCES, CLASSES[:60]).observe().layers
    assert [(a.kind, a.output.shape) for a in seen] == [
        ("recurrent", (300, 6)),
        ("weights", (60, 3)),
    ]


def test_a_model_that_returns_more_than_a_tensor():
    def loss(prediction, target):
        return TF.cross_entropy(prediction[0], target)

    with pytest.raises(ArgumentError, match="of type tuple; expected one that returns a tensor"):
        interop.torch.diagnose(Packed(False), (SEQUENCES, CLASSES[:60]), loss=loss)


def test_torch_is_imported_only_when_asked_for():
    code = (
        "import sys, chainrule, chainrule.doctor, chainrule.interop.torch; "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
