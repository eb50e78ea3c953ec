"""Nine speakers told apart by how they say two vowels: sequences of 7 to 29 steps, 12 values each.

The data is JapaneseVowels (Kudo, Toyama and Shimbo, 1999), which the package sktime contains:

    pip install --no-deps sktime
    python examples/sequence_classifier.py

    python examples/sequence_classifier.py FOLDER     # with JapaneseVowels_TRAIN.ts and _TEST.ts
"""

from __future__ import annotations

import argparse
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np

import chainrule as cr
from chainrule import optim

Sequences = list[np.ndarray]


def installed_data() -> Path:
    """The folder in the package sktime."""
    package = find_spec("sktime")
    if package is None or package.submodule_search_locations is None:
        sys.exit("the data is in the package sktime: pip install --no-deps sktime")
    return Path(package.submodule_search_locations[0]) / "datasets/data/JapaneseVowels"


def read(path: Path) -> tuple[Sequences, np.ndarray]:
    """Sequences (T, 12) and speakers from 0: a line per sequence, its channels between colons."""
    lines = [line for line in path.read_text().splitlines() if line and line[0] not in "#@"]
    sequences, speakers = [], []
    for line in lines:
        *channels, speaker = line.split(":")
        columns = [np.array(c.split(","), np.float32) for c in channels]
        sequences.append(np.stack(columns, axis=1))
        speakers.append(int(speaker) - 1)
    return sequences, np.array(speakers)


def main(arguments: list[str] | None = None) -> float:
    """Train, and return the accuracy on the test sequences."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, help="of the two .ts files")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--hidden", type=int, default=64)
    options = parser.parse_args(arguments)
    folder = options.folder or installed_data()

    train, speakers = read(folder / "JapaneseVowels_TRAIN.ts")
    test, test_speakers = read(folder / "JapaneseVowels_TEST.ts")
    steps = np.concatenate(train)
    mean, std = steps.mean(0), steps.std(0)  # of the training data alone
    train, test = ([(s - mean) / std for s in part] for part in (train, test))

    # Batches of similar length, padded to three lengths: the step is compiled a few times. The
    # model gets the true lengths too, so what is padded has no influence.
    cr.random.seed(0)
    batches = cr.data.BucketLoader(train, speakers, batch_size=30, buckets=3)
    print(batches)
    model = cr.models.SequenceClassifier(
        int(speakers.max()) + 1, channels=len(mean), hidden=options.hidden
    )
    optimizer = optim.AdamW(model.parameters(), lr=5e-3, weight_decay=0.1)
    schedule = optim.WarmupCosine(optimizer, len(batches), options.epochs * len(batches))
    cr.fit(
        model,
        batches,
        loss="cross_entropy",
        optimizer=optimizer,
        schedule=schedule,
        epochs=options.epochs,
        clip_norm=1.0,
    )
    scores = cr.train.predict(model, cr.data.pad(test))
    accuracy = float((scores.argmax(-1) == test_speakers).mean())
    print(f"accuracy on {len(test)} test sequences: {accuracy:.4f}")
    return accuracy


if __name__ == "__main__":
    main()
