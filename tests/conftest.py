"""Shared settings: the same Hypothesis examples every time, no time limit per example; runs; one
browser for all tests of pages."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from chainrule.train import Recipe
from chainrule.train.runs import training as runs
from commands import table, write_csv

TESTS = Path(__file__).parent

settings.register_profile("chainrule", derandomize=True, deadline=None)
settings.load_profile("chainrule")
os.environ["CHAINRULE_VERIFY"] = "1"  # of each program that is compiled, also in processes of tests


# Tests of what users run. All others are of what comes before a backend: NumPy runs their steps, at
# once and as in eager mode, to the bit.
NATIVE = (
    "backends/native/",
    "cli/",
    "doctor/test_seeded_faults",
    "compile/test_resident",
    "parity/test_convolutions",
    "test_docs",
    "test_examples",
    "train/test_checkpoint",
    "train/test_interrupt",
    "train/test_kill",
    "train/test_runs",
)


@pytest.fixture(autouse=True)
def backend(request, monkeypatch):
    """The backend of the test's module."""
    place = request.path.relative_to(TESTS).as_posix()
    monkeypatch.setenv("CHAINRULE_BACKEND", "native" if place.startswith(NATIVE) else "reference")


@pytest.fixture
def all_threads(monkeypatch):
    """Native jobs wait a second for all threads; else a late worker is left out of short ones."""
    from chainrule.backends.native.run import team

    monkeypatch.setattr(team.Pace, "choose", lambda self: True)  # not one alone, if that is faster
    monkeypatch.setattr(team, "LONG_JOB", -1.0)
    monkeypatch.setattr(team, "WAIT", 1e9)
    monkeypatch.setattr(team, "MOST_LOOKS", 200_000_000)
    yield
    team.threads.cache_clear()


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="session")
def csv_file(folder):
    return write_csv(folder / "data.csv", table())


@pytest.fixture(scope="session")
def classified(folder, csv_file):
    out = folder / "classified"
    recipe = Recipe(source=str(csv_file), target="y", drop=["z"], epochs=40, lr=0.01)
    return runs.train(recipe, out, progress=False)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright  # slow to import

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path="/usr/bin/chromium")
        yield chromium
        chromium.close()
