"""Two recipes and their data, for tests of the programs of benchmarks/programs."""

import numpy as np

IMAGES = {
    "data": {"kind": "images"},
    "layers": [
        {"type": "conv2d", "size": 4, "kernel": 3, "padding": "same", "activation": "relu"},
        {"type": "maxpool2d", "size": 2},
        {"type": "flatten"},
        {"type": "dense", "size": 3, "init": "he_normal", "bias_init": "normal(0.1)", "l2": 0.01},
    ],
    "loss": {"name": "cce_logits"},
    "optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.9, "nesterov": True, "decay": 0.05},
    "batch": 8,
    "epochs": 3,
}
TABLE = {
    "data": {"kind": "table"},
    "layers": [
        {"type": "dense", "size": 6, "activation": "tanh", "init": "uniform(0.5)"},
        {"type": "batchnorm"},
        {"type": "dropout", "rate": 0.0},
        {"type": "dense", "size": 1, "activation": "sigmoid"},
    ],
    "loss": {"name": "bce_probs"},
    "optimizer": {"name": "adam", "lr": 0.02, "epsilon": 1e-5, "clipnorm": 0.05},
    "batch": 10,
    "epochs": 4,
}


def load(spec):
    """37 rows: 4 whole batches of 8 or 3 of 10, and a rest."""
    random = np.random.default_rng(7)
    shape = {"images": (6, 6, 2), "table": (5,)}[spec["kind"]]
    x = random.normal(size=(50, *shape))
    y = (x.reshape(50, -1)[:, :4].sum(1) > 0).astype(np.int64)
    d = {"x": x[:37], "y": y[:37], "x_test": x[37:], "y_test": y[37:]}
    for step in spec.get("prep", []):
        assert step == {"op": "standardise", "on": "x"}
        mean, spread = d["x"].mean(0), d["x"].std(0)
        d["x"], d["x_test"] = ((d[k] - mean) / spread for k in ("x", "x_test"))
    return d
