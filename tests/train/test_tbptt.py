"""Truncated backpropagation through time: PyTorch with detach is the oracle."""

import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch

import chainrule as cr
from chainrule import nn, optim
from chainrule.data import DataLoader
from chainrule.errors import ArgumentError, ShapeError
from chainrule.train import Callback
from running import Ends, everything

V, E, H = 7, 3, 5  # codes, size of their vectors, of the state
CODES = np.random.default_rng(0).integers(0, V, 6 * 22 + 1)
X, Y = cr.data.streams(CODES, 6)  # (6, 22)
LAYERS = {"LSTM": torch.nn.LSTM, "GRU": torch.nn.GRU, "RNN": torch.nn.RNN}


class Predictor(nn.Module):
    """forward(x, state) -> (scores, state), with the weights of PyTorch's modules in float64."""

    def __init__(self, embedding, recurrent, head):
        self.embedding = nn.Embedding(V, E)
        self.recurrent = getattr(nn, type(recurrent).__name__)(E, H)
        self.head = nn.Linear(H, V)
        for ours, theirs in (
            (self.embedding, embedding),
            (self.recurrent, recurrent),
            (self.head, head),
        ):
            for name, value in theirs.state_dict().items():
                setattr(ours, name, nn.Parameter(cr.Tensor(value.numpy().copy())))

    def forward(self, x, state=None):
        out, state = self.recurrent(self.embedding(x), state)
        return self.head(out), state


def theirs(kind):
    torch.manual_seed(0)
    parts = torch.nn.Embedding(V, E), LAYERS[kind](E, H, batch_first=True), torch.nn.Linear(H, V)
    return [part.double() for part in parts]


def train_theirs(parts, rows, steps, epochs, lr):
    """Each window's loss, and the gradients of all parameters in it."""
    embedding, recurrent, head = parts
    parameters = [p for part in parts for p in part.parameters()]
    optimizer = torch.optim.SGD(parameters, lr=lr)
    losses, gradients = [], []
    for _ in range(epochs):
        for first in range(0, len(X), rows):
            x, y = (torch.tensor(a[first : first + rows]) for a in (X, Y))
            state = None
            for k in range(0, x.shape[1], steps):
                out, state = recurrent(embedding(x[:, k : k + steps]), state)
                state = tuple(s.detach() for s in state) if len(state) == 2 else state.detach()
                scores = head(out).reshape(-1, V)
                loss = torch.nn.functional.cross_entropy(scores, y[:, k : k + steps].reshape(-1))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
                gradients.append([p.grad.numpy().copy() for p in parameters])
    return losses, gradients


class Records(Callback):
    """The loss and the gradients of each step."""

    def __init__(self):
        self.losses, self.gradients = [], []

    def on_step(self, run):
        self.losses.append(run.loss)
        grads = [p.grad for p in run.model.parameters()]
        self.gradients.append([getattr(g, "to_dense", lambda g=g: g)().numpy() for g in grads])


@pytest.mark.parametrize("backend", ["native", "reference"])
@pytest.mark.parametrize(
    ("kind", "rows", "steps"),
    [("LSTM", 6, 5), ("GRU", 4, 11), ("RNN", 6, 22), ("LSTM", 6, 100)],
    ids=["a shorter last window", "a last batch of 2", "one window", "a window beyond the end"],
)
def test_each_window_has_the_gradient_of_pytorch_with_detach(
    monkeypatch, backend, kind, rows, steps
):
    monkeypatch.setenv("CHAINRULE_BACKEND", backend)
    parts = theirs(kind)
    model, records = Predictor(*parts), Records()
    losses, gradients = train_theirs(parts, rows, steps, epochs=2, lr=0.5)
    history = cr.fit(
        model,
        DataLoader((X, Y), rows),
        loss="cross_entropy",
        optimizer=optim.SGD(model.parameters(), lr=0.5),
        epochs=2,
        tbptt=steps,
        callbacks=[records],
        progress=False,
    )
    assert history["step"][-1] == len(losses) == 2 * -(-6 // rows) * -(-22 // steps)
    np.testing.assert_allclose(records.losses, losses, rtol=1e-9)
    for ours, wanted in zip(records.gradients, gradients, strict=True):
        for a, b in zip(ours, wanted, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12)
    scores = cr.train.evaluate(Scores(model), (X, Y), "cross_entropy")
    assert np.isfinite(scores["loss"])


class Scores(nn.Module):
    """The scores of whole sequences, without the state."""

    def __init__(self, model):
        self.model = model

    def forward(self, x):
        return self.model(x)[0]


@pytest.mark.parametrize("loss", ["mse", lambda p, y: ((p - y) ** 2).mean()])
@pytest.mark.parametrize("steps", [1, 3, 4, 7, 10])
def test_the_loss_of_an_epoch_is_the_mean_over_all_steps(steps, loss):
    """Of windows of different lengths too; nothing is learned, so that it can be computed."""

    class Repeats(nn.Module):
        def __init__(self):
            self.w = nn.Parameter(cr.ones(()))

        def forward(self, x, state=None):
            before = cr.zeros((len(x),)) if state is None else state
            return x * self.w, before

    x = np.random.default_rng(0).normal(size=(4, 10)).astype(np.float32) * np.arange(10)
    y = np.zeros_like(x)
    model = Repeats()
    sgd = optim.SGD(model.parameters(), lr=1e-12)
    settings = {"loss": loss, "optimizer": sgd, "batch_size": 2, "epochs": 1, "progress": False}
    history = cr.fit(model, (x, y), tbptt=steps, valid=(x, y), **settings)
    for name in ("loss", "valid_loss"):
        assert history[name][0] == pytest.approx((x.astype(np.float64) ** 2).mean(), rel=1e-5)


def test_windows_of_one_step_do_not_seem_untrained():
    """The first one begins with a state of 0, of which the gradient is a multiple."""
    model = Predictor(*theirs("RNN"))
    sgd = optim.SGD(model.parameters(), lr=0.1)
    settings = {"loss": "cross_entropy", "optimizer": sgd, "batch_size": 6, "progress": False}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cr.fit(model, (X, Y), tbptt=1, epochs=1, **settings)


def test_validation_carries_the_state_too():
    """Its loss and accuracy are those of whole sequences, whatever the window is."""
    model = Predictor(*theirs("GRU"))
    history = cr.fit(
        model,
        DataLoader((X, Y), 6),
        valid=DataLoader((X[:5], Y[:5]), 2),
        loss="cross_entropy",
        metrics="accuracy",
        epochs=1,
        tbptt=4,
        progress=False,
    )
    whole = cr.train.evaluate(Scores(model), (X[:5], Y[:5]), "cross_entropy", "accuracy")
    assert history["valid_loss"][-1] == pytest.approx(whole["loss"], rel=1e-9)
    assert history["valid_accuracy"][-1] == pytest.approx(whole["accuracy"])


@pytest.mark.parametrize("at", [1, 3, 6, 9])
def test_a_run_that_was_stopped_between_two_windows_ends_as_one_that_was_not(tmp_path, at):
    def start(folder=None, callbacks=()):
        cr.random.seed(0)
        model = Predictor(*theirs("LSTM"))
        optimizer = optim.Adam(model.parameters(), lr=0.05)
        loader = DataLoader((X, Y), 4, shuffle=True, seed=1)  # 2 batches of 3 windows
        more = {} if folder is None else {"checkpoint": folder, "resume": True}
        cr.fit(
            model,
            loader,
            loss="cross_entropy",
            optimizer=optimizer,
            epochs=2,
            tbptt=8,
            callbacks=callbacks,
            progress=False,
            **more,
        )
        return everything(model, optimizer)

    start(tmp_path / "run", [Ends(at, "save, stop")])
    assert start(tmp_path / "run") == start()


MEMORY = """
import resource, sys
import numpy as np
import chainrule as cr
from chainrule import nn

class Predictor(nn.Module):
    def __init__(self):
        self.embedding, self.head = nn.Embedding(30, 16), nn.Linear(32, 30)
        self.recurrent = nn.GRU(16, 32)

    def forward(self, x, state=None):
        out, state = self.recurrent(self.embedding(x), state)
        return self.head(out), state

codes = np.random.default_rng(0).integers(0, 30, int(sys.argv[1]) + 1)
data = cr.data.streams(codes, 4)
settings = {"loss": "cross_entropy", "batch_size": 4, "epochs": 1, "progress": False}
cr.fit(Predictor(), data, valid=data, tbptt=64, **settings)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_memory_does_not_depend_on_the_length():
    """The peak at 65,536 steps is within 10 % of that at 4,096."""
    _, short, long = (  # the first one compiles, which takes more
        int(subprocess.check_output([sys.executable, "-c", MEMORY, str(length)], timeout=120))
        for length in (2**12, 2**12, 2**16)
    )
    assert long <= 1.1 * short


class Stateless(nn.Module):
    def __init__(self):
        self.embedding = nn.Embedding(V, V)

    def forward(self, x, state=None):
        return self.embedding(x)


@pytest.mark.parametrize(
    ("settings", "kind", "words"),
    [
        ({"tbptt": 0}, ArgumentError, "tbptt 0"),
        ({"tbptt": 4, "accumulate": 2}, ArgumentError, "leave out accumulate"),
        ({"train": (X, Y[:, 0])}, ShapeError, r"shapes \(6, 22\), \(6,\)"),
        ({"train": (X, Y[:, :20])}, ShapeError, "with one T"),
        ({"train": [(X, Y)]}, ArgumentError, "in batches already"),
        ({"model": nn.Linear(1, 1)}, ArgumentError, "takes no state"),
        ({"model": Stateless()}, ArgumentError, "got Tensor from Stateless, with tbptt"),
    ],
    ids=["0", "pieces", "one target", "other T", "batches", "no state", "no pair"],
)
def test_what_cannot_be_cut_into_windows(settings, kind, words):
    model = Predictor(*theirs("LSTM"))
    arguments = {"model": model, "train": (X, Y), "loss": "cross_entropy", "tbptt": 4, **settings}
    with pytest.raises(kind, match=words):
        cr.fit(**arguments, progress=False)


def test_a_state_that_grows_is_refused():
    class Growing(Predictor):
        def forward(self, x, state=None):
            scores, _ = super().forward(x)
            new = self.embedding(x)
            return scores, new if state is None else cr.concat([state, new], axis=1)

    with pytest.raises(ShapeError, match="of the same shape after each window"):
        cr.fit(
            Growing(*theirs("LSTM")),
            (X, Y),
            loss="cross_entropy",
            batch_size=6,
            tbptt=4,
            progress=False,
        )


@pytest.mark.parametrize("learned", [False, True])
def test_the_first_window_is_compiled_like_the_others_unless_it_differs(monkeypatch, learned):
    """None means zeros for nn.LSTM; here it may also mean a state that is trained."""

    class Starting(Predictor):
        def __init__(self):
            super().__init__(*theirs("GRU"))
            self.start = nn.Parameter(cr.zeros((1, 1, H), dtype=cr.float64)) if learned else None

        def forward(self, x, state=None):
            if state is None and self.start is not None:
                state = cr.broadcast_to(self.start, (1, x.shape[0], H))
            return super().forward(x, state)

    compiled, recorded = sys.modules["chainrule.compile"], []  # cr.compile is the function
    original = compiled.compile_step
    monkeypatch.setattr(
        compiled, "compile_step", lambda f, *more: recorded.append(f) or original(f, *more)
    )
    model, loader = Starting(), DataLoader((X[:, :20], Y[:, :20]), 6)
    sgd = optim.SGD(model.parameters(), lr=0.5)
    cr.fit(model, loader, loss="cross_entropy", optimizer=sgd, epochs=2, tbptt=5, progress=False)
    assert ([f.__name__ for f in recorded].count("training_step") > 1) == learned

    hand = Starting()
    sgd = optim.SGD(hand.parameters(), lr=0.5)
    for _ in range(2):
        state = None
        for k in range(0, 20, 5):
            scores, state = hand(X[:, k : k + 5], state)
            nn.functional.cross_entropy(scores, Y[:, k : k + 5]).backward()
            sgd.step()
            sgd.zero_grad()
            state = state.detach()
    for name, value in hand.state_dict().items():
        np.testing.assert_allclose(model.state_dict()[name], value, rtol=1e-9, err_msg=name)
    if learned:
        assert model.start.numpy().any(), "it is trained, by first windows"
