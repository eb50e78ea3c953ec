"""Shared settings: the same Hypothesis examples every time, no time limit an example; runs."""

import pytest
from hypothesis import settings

from chainrule.train import Recipe
from chainrule.train import run as runs
from commands import table, write_csv

settings.register_profile("chainrule", derandomize=True, deadline=None)
settings.load_profile("chainrule")


@pytest.fixture
def reference(monkeypatch):
    """Compiled steps are run by NumPy, as eager mode is: then they are the same to the bit."""
    monkeypatch.setenv("CHAINRULE_BACKEND", "reference")


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
