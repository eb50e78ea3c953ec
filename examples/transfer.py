"""Transfer: a network that reads digits learns to read them mirrored, from two images of each.

    python examples/transfer.py

The few images are learned three times: by a network with new weights; by a new head on the features
of the network that reads digits, which are frozen; and from there by all weights, at a small rate.
"""

from __future__ import annotations

import argparse

import numpy as np

import chainrule as cr
from chainrule import nn, optim


def network(width: int) -> cr.models.ResNet:
    """Three residual blocks for images of 8 × 8; the same initial weights each time."""
    cr.random.seed(0)
    return cr.models.ResNet(10, (1, 1, 1), channels=1, width=width)


def train(model: nn.Module, data: tuple[np.ndarray, np.ndarray], lr: float, epochs: int) -> None:
    """Train what is not frozen."""
    cr.fit(
        model,
        data,
        loss="cross_entropy",
        optimizer=optim.Adam(model.parameters(), lr=lr),
        epochs=epochs,
        batch_size=min(32, len(data[0])),
        progress=False,
    )


def accuracy(model: nn.Module, data: tuple[np.ndarray, np.ndarray]) -> float:
    """The share of images that get the right class."""
    images, labels = data
    return float((cr.train.predict(model, images).argmax(-1) == labels).mean())


def main(arguments: list[str] | None = None) -> dict[str, float]:
    """Train, and return the accuracies on mirrored test images."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--labelled", type=int, default=2, help="mirrored images of each digit")
    parser.add_argument("--epochs", type=int, default=8, help="on the images as they are")
    parser.add_argument("--steps", type=int, default=60, help="on the mirrored images")
    parser.add_argument("--width", type=int, default=16, help="channels of the first stage")
    options = parser.parse_args(arguments)

    digits = cr.data.load("digits")
    images, labels = digits.x / 16, digits.y
    order = np.random.default_rng(0).permutation(len(labels))
    known, others = order[:1000], order[1000:]
    few = np.concatenate([others[labels[others] == k][: options.labelled] for k in range(10)])
    test = np.setdiff1d(others, few)
    mirrored = images[:, :, ::-1]
    learned, unseen = (mirrored[few], labels[few]), (mirrored[test], labels[test])
    print(f"{len(known)} images of digits; mirrored: {len(few)} to learn from, {len(test)} to test")

    new = network(options.width)
    train(new, learned, 1e-2, options.steps)
    results = {"new weights": accuracy(new, unseen)}

    model = network(options.width)
    train(model, (images[known], labels[known]), 1e-2, options.epochs)
    results["the network that reads digits"] = accuracy(model, unseen)

    model.features.freeze().eval()  # eval: batch normalization keeps its statistics
    model.head = nn.Linear(model.head.in_features, 10)
    train(model, learned, 1e-2, options.steps)
    results["… with a new head"] = accuracy(model, unseen)

    model.features.unfreeze()
    train(model, learned, 1e-3, options.steps)
    results["… then with all weights"] = accuracy(model, unseen)

    for name, share in results.items():
        print(f"{name:<30} accuracy {share:.3f}")
    return results


if __name__ == "__main__":
    main()
