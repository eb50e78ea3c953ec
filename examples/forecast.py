"""The next day of a year of hourly temperatures, from the week before.

The data is a year of temperatures in Seattle, which the package vega-datasets contains:

    pip install --no-deps vega-datasets
    python examples/forecast.py

    python examples/forecast.py FILE.csv     # your own: a date and a value per line, with a header

The forecast is compared with the simplest good one: tomorrow will be as today, hour by hour.
"""

from __future__ import annotations

import argparse
import csv
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np

import chainrule as cr
from chainrule import optim

DAY, WEEK = 24, 168  # hours


def installed_data() -> Path:
    """The file in the package vega-datasets."""
    package = find_spec("vega_datasets")
    if package is None or package.submodule_search_locations is None:
        sys.exit("the data is in the package vega-datasets: pip install --no-deps vega-datasets")
    return Path(package.submodule_search_locations[0]) / "_data/seattle-temps.csv"


def read(path: Path) -> np.ndarray:
    """The second column, one value per hour."""
    with path.open(newline="") as file:
        return np.array([float(row[1]) for row in list(csv.reader(file))[1:]], np.float32)


def main(arguments: list[str] | None = None) -> float:
    """Train, and return the mean error on the last part, as a share of the simple forecast's."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", nargs="?", type=Path)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--hidden", type=int, default=64)
    options = parser.parse_args(arguments)
    series = read(options.file or installed_data())

    # The future is no training data: the parts follow each other in time.
    cuts = int(0.7 * len(series)), int(0.8 * len(series))
    parts = series[: cuts[0]], series[cuts[0] - WEEK : cuts[1]], series[cuts[1] - WEEK :]
    train, valid, test = (cr.data.windows(part, WEEK, horizon=DAY) for part in parts)

    cr.random.seed(0)
    model = cr.models.Forecaster(DAY, season=DAY, hidden=options.hidden)
    optimizer = optim.AdamW(model.parameters(), lr=2e-3)
    cr.fit(
        model,
        train,
        valid=valid,
        loss="mae",
        optimizer=optimizer,
        epochs=options.epochs,
        batch_size=64,
        clip_norm=1.0,
        patience=3,
    )
    x, y = test
    error = np.abs(cr.train.predict(model, x) - y).mean()
    simple = np.abs(x[:, -DAY:] - y).mean()
    print(f"mean error {error:.3f}; of the same hours of the day before {simple:.3f}")
    print(f"{1 - error / simple:.0%} lower")
    return float(error / simple)


if __name__ == "__main__":
    main()
