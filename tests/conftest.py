"""Shared settings: the same Hypothesis examples every time, no time limit per example; runs."""

import os

import pytest
from hypothesis import settings

from chainrule.train import Recipe
from chainrule.train.runs import training as runs
from commands import table, write_csv

settings.register_profile("chainrule", derandomize=True, deadline=None)
settings.load_profile("chainrule")
os.environ["CHAINRULE_VERIFY"] = "1"  # of each program that is compiled, also in processes of tests


# Tests of what users run. All others are of what comes before a backend: NumPy runs their steps, at
# once and as in eager mode, to the bit.
NATIVE = (
    "test_native",
    "test_resident",
    "test_docs",
    "test_runs",
    "test_kill",
    "test_interrupt",
    "test_cli",
    "test_bench",
    "test_checkpoint",
)


@pytest.fixture(autouse=True)
def backend(request, monkeypatch):
    """The backend of the test's module."""
    native = request.module.__name__.startswith(NATIVE)
    monkeypatch.setenv("CHAINRULE_BACKEND", "native" if native else "reference")


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
