"""The guard of fit in whole runs: healthy ones are not refused; one recovers from an explosion."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

import chainrule as cr
from chainrule import nn, optim
from chainrule.data import DataLoader
from chainrule.train import evaluate

EXPLODES = 1e4


def fit(model, batches, optimizer, **settings):
    settings = {"epochs": 1, "progress": False, "loss": "cross_entropy"} | settings
    return cr.fit(model, batches, optimizer=optimizer, **settings)


IMAGES, DIGITS = load_digits(return_X_y=True)
IMAGES = (IMAGES / 16).astype(np.float32)


class Lstm(nn.Module):
    def __init__(self):
        self.memory, self.head = nn.LSTM(8, 24), nn.Linear(24, 10)

    def forward(self, x):
        return self.head(self.memory(x.reshape(-1, 8, 8))[0][:, -1])


class Transformer(nn.Module):
    def __init__(self):
        self.first = nn.Linear(8, 16)
        self.block = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.1)
        self.head = nn.Linear(16, 10)

    def forward(self, x):
        return self.head(self.block(self.first(x.reshape(-1, 8, 8))).mean(axis=1))


def mlp():
    return nn.Sequential(
        nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)
    )


class Pictures(nn.Module):
    def forward(self, x):
        return x.reshape(-1, 8, 8, 1)


def cnn():
    layers = nn.Conv2d(1, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(72, 10)
    return nn.Sequential(Pictures(), *layers)


HEALTHY = {
    "mlp": (mlp, lambda m: optim.Adam(m.parameters())),
    "mlp, fast": (mlp, lambda m: optim.SGD(m.parameters(), lr=0.1, momentum=0.9)),
    "cnn": (cnn, lambda m: optim.Adam(m.parameters(), lr=3e-3)),
    "lstm": (Lstm, lambda m: optim.Adam(m.parameters(), lr=3e-3)),
    "transformer": (Transformer, lambda m: optim.AdamW(m.parameters(), lr=3e-3)),
}


@pytest.mark.parametrize("name", HEALTHY)
def test_healthy_runs_have_no_refusals(name):
    build, optimizer = HEALTHY[name]
    for seed in range(3):
        cr.random.seed(seed)
        model = build()
        data = DataLoader((IMAGES[:800], DIGITS[:800]), 32, shuffle=True, seed=seed)
        history = fit(model, data, optimizer(model), epochs=4)
        assert history.refused == []
        assert history["loss"][-1] < 0.8 * history["loss"][0]


@pytest.mark.filterwarnings("ignore:.fit. steps_refused")
@pytest.mark.parametrize("name", ["mlp", "cnn"])
def test_a_run_recovers_from_an_explosion(name):
    """A batch of step 500 is multiplied by 1e4: the final loss is within 5 % of that without."""
    build, optimizer = HEALTHY[name]
    losses = {}
    for factor, guard in ((1.0, True), (EXPLODES, True), (EXPLODES, False)):
        cr.random.seed(0)
        model, order = build(), np.random.default_rng(1)
        rows = [order.choice(len(IMAGES), 32, replace=False) for _ in range(1000)]
        batches = [
            (IMAGES[r] * np.float32(factor if k == 499 else 1.0), DIGITS[r])
            for k, r in enumerate(rows)
        ]
        history = fit(model, batches, optimizer(model), guard=guard)
        refused = [500] if guard and factor > 1 else []
        assert [row["step"] for row in history.refused] == refused
        losses[factor, guard] = evaluate(model, (IMAGES, DIGITS), loss="cross_entropy")["loss"]
    assert losses[EXPLODES, True] == pytest.approx(losses[1.0, True], rel=0.05)
    assert losses[EXPLODES, False] > 1.05 * losses[1.0, True]
