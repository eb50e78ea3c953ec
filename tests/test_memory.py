"""What does not fit into memory is refused before it is allocated."""

import os

import pytest

from chainrule import memory, nn
from chainrule.errors import ArgumentError

TABLES = {"Embedding": nn.Embedding, "EmbeddingBag": nn.EmbeddingBag}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_that_does_not_fit(name):
    with pytest.raises(ArgumentError) as caught:
        TABLES[name](10**12, 32)
    text = str(caught.value)
    assert text.startswith(f"[{name}] got a table of 1000000000000 × 32, which needs 256000.0 GB")
    assert f"expected at most {memory.physical() / 1e9:.1f} GB" in text


def test_a_table_that_just_fits(monkeypatch):
    monkeypatch.setattr(os, "sysconf", {"SC_PAGE_SIZE": 8, "SC_PHYS_PAGES": 60}.__getitem__)
    assert memory.physical() == 480
    assert nn.Embedding(20, 3).weight.shape == (20, 3)
    with pytest.raises(ArgumentError, match="21 × 3"):
        nn.Embedding(21, 3)
