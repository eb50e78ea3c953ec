"""A class for each pixel: a U-Net finds discs and squares in noise.

    python examples/segmentation.py

The images are drawn here, so the true class of each pixel is known.
"""

from __future__ import annotations

import argparse

import numpy as np

import chainrule as cr
from chainrule import optim

CLASSES = "background", "disc", "square"
MARKS = ".o#"


def draw(count: int, size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Noisy images (N, size, size, 1) of a disc and a square, and the class of each pixel."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:size, :size]
    classes = np.zeros((count, size, size), np.int64)
    for picture in classes:
        for shape in (1, 2):
            radius = rng.uniform(size / 8, size / 4)
            y, x = rng.uniform(radius, size - radius, 2)
            away = np.abs(rows - y), np.abs(columns - x)
            inside = np.hypot(*away) < radius if shape == 1 else np.maximum(*away) < radius
            picture[inside] = shape
    images = (classes > 0) + rng.normal(0, 0.4, classes.shape)  # both shapes are equally bright
    return images[..., None].astype(np.float32), classes


def overlaps(predicted: np.ndarray, classes: np.ndarray) -> list[float]:
    """The intersection over union of the predicted and the true pixels of each class."""
    pairs = [(predicted == k, classes == k) for k in range(len(CLASSES))]
    return [float((a & b).sum() / max(1, (a | b).sum())) for a, b in pairs]


def main(arguments: list[str] | None = None) -> float:
    """Train, and return the mean overlap on test images."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--size", type=int, default=32, help="a multiple of 2 ** depth")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--width", type=int, default=8, help="channels at the full size")
    parser.add_argument("--depth", type=int, default=3, help="how often the size is halved")
    options = parser.parse_args(arguments)

    cr.random.seed(0)
    train = draw(options.images, options.size, seed=0)
    test, true = draw(50, options.size, seed=1)
    model = cr.models.UNet(len(CLASSES), channels=1, width=options.width, depth=options.depth)
    optimizer, batches = optim.Adam(model.parameters(), lr=1e-2), -(-options.images // 20)
    schedule = optim.WarmupCosine(optimizer, batches, options.epochs * batches)
    cr.fit(
        model,
        train,
        valid=(test, true),
        loss="cross_entropy",
        metrics="accuracy",
        optimizer=optimizer,
        schedule=schedule,
        epochs=options.epochs,
        batch_size=20,
    )
    predicted = cr.train.predict(model, test).argmax(-1)
    print(f"{'true':<{options.size}}   predicted")
    for row, answer in zip(true[0][::2], predicted[0][::2], strict=True):
        print(*("".join(MARKS[k] for k in line) for line in (row, answer)), sep="   ")
    shares = overlaps(predicted, true)
    for name, share in zip(CLASSES, shares, strict=True):
        print(f"{name}: intersection over union {share:.3f}")
    return float(np.mean(shares))


if __name__ == "__main__":
    main()
