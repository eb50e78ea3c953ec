"""Datasets and loaders of PyTorch, and rows that a model or a loss of PyTorch does not take."""

import functools

import numpy as np
import pytest
import torch
from torch.utils import data as td

from chainrule import interop
from chainrule.doctor.pytorch.loaders import arrays, batches
from chainrule.errors import ChainruleError

tnn = torch.nn
F = tnn.functional
X = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
Y = np.arange(60) % 3  # row 2 is the first of class 2
TENSORS = td.TensorDataset(torch.from_numpy(X), torch.from_numpy(Y))


class Pairs(td.Dataset):
    """Rows one by one, as of a folder of files; `change` is made of each."""

    def __init__(self, change=lambda x, y: (x, y)):
        self.change = change

    def __len__(self):
        return len(X)

    def __getitem__(self, k):
        return self.change(X[k], int(Y[k]))


class Stream(td.IterableDataset):
    def __iter__(self):
        return zip(X, Y, strict=True)


def diagnosed(data, **settings):
    settings = {"loss": tnn.CrossEntropyLoss(), "epochs": 1, "seconds": 0.01, **settings}
    model = tnn.Sequential(tnn.Linear(4, settings.pop("outputs", 3)))
    return interop.torch.diagnose(model, data, **settings)


# ── datasets and loaders ─────────────────────────────────────────────────────────────────────────

TAKEN = {
    "TensorDataset": TENSORS,
    "pairs": Pairs(),
    "loader": td.DataLoader(TENSORS, 16),
    "loader of pairs": td.DataLoader(Pairs(), 16, shuffle=True),
    "loader of a list": td.DataLoader(list(zip(X, Y, strict=True))),
    "subset": td.Subset(TENSORS, range(60)),
    "loader of chosen rows": td.DataLoader(TENSORS, sampler=td.SubsetRandomSampler(range(60))),
    "workers": td.DataLoader(Pairs(), 16, num_workers=1, pin_memory=False),
}


@pytest.mark.parametrize("name", TAKEN)
def test_the_rows_in_the_order_of_the_dataset(name):
    x, y = arrays(TAKEN[name])
    np.testing.assert_array_equal(x, X)
    np.testing.assert_array_equal(y, Y)


def test_some_rows():
    for rows in (
        td.Subset(TENSORS, [5, 2]),
        td.DataLoader(Pairs(), sampler=td.SubsetRandomSampler([5, 2])),
    ):
        x, y = arrays(rows)
        np.testing.assert_array_equal(x, X[[5, 2]])
        np.testing.assert_array_equal(y, [2, 2])


def test_batches_and_order_are_the_loaders():
    assert batches(td.DataLoader(TENSORS, 16), None) == (16, False)
    assert batches(td.DataLoader(TENSORS, 7, shuffle=True), None) == (7, True)
    assert batches((X, Y), 9) == (9, True)


def test_a_loader_is_diagnosed_as_its_arrays_are():
    """The training itself is the same; which trials fit into the time may differ."""

    def score(data, **settings):
        torch.manual_seed(0)
        return diagnosed(data, valid=(X, Y), epochs=5, **settings).score

    one = score(td.DataLoader(TENSORS, 16, shuffle=True))
    assert one == score((X, Y), batch_size=16)
    assert score(td.DataLoader(TENSORS, 60)) == score((X, Y), batch_size=60)


def test_a_loader_of_held_out_rows():
    assert diagnosed(TENSORS, valid=td.DataLoader(Pairs(), 100)).rows == 60


def test_random_numbers_go_on_as_before():
    """Rows that are drawn at random are read from a seed of their own."""
    noisy = Pairs(lambda x, y: (torch.from_numpy(x) + torch.rand(4), y))
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    arrays(noisy)
    assert torch.equal(torch.rand(3), expected)


REFUSED = {
    "sampler": (
        td.DataLoader(TENSORS, sampler=td.WeightedRandomSampler([1.0] * 60, 60)),
        "WeightedRandomSampler",
    ),
    "twice": (
        td.DataLoader(TENSORS, sampler=td.RandomSampler(TENSORS, replacement=True)),
        "RandomSampler",
    ),
    "some drawn": (
        td.DataLoader(TENSORS, sampler=td.RandomSampler(TENSORS, num_samples=9)),
        "RandomSampler",
    ),
    "collate": (td.DataLoader(TENSORS, collate_fn=lambda rows: rows), "collate_fn"),
    "no batches": (td.DataLoader(TENSORS, batch_size=None), "batches of its own, or none"),
    "stream in a loader": (td.DataLoader(Stream()), "IterableDataset"),
    "stream": (Stream(), "without len()"),
    "dicts": (Pairs(lambda x, y: {"x": x}), "rows are of type dict"),
    "triples": (Pairs(lambda x, y: (x, y, 1)), "rows are of type tuple"),
    "sizes": (Pairs(lambda x, y: (x[: 1 + y], y)), "cannot be joined: stack expects each"),
    "objects": (Pairs(lambda x, y: (object(), y)), "cannot be joined: default_collate"),
    "none": (td.Subset(TENSORS, []), "without rows"),
    "too large": (Pairs(lambda x, y: (torch.zeros(1).expand(10**8), y)), "of 22.4 GB"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_pair_of_arrays(name):
    rows, says = REFUSED[name]
    with pytest.raises(ChainruleError) as caught:
        diagnosed(rows)
    message = str(caught.value)
    assert message.startswith("[diagnose] got ")
    assert says in message
    assert "arrays (x, y)" in message


def test_a_batch_size_beside_a_loader():
    with pytest.raises(ChainruleError, match=r"got batch_size 8; .*; leave out batch_size"):
        diagnosed(td.DataLoader(TENSORS), batch_size=8)


# ── rows that are not taken ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", ["int8", "uint8", "int16", "int32", "int64"])
def test_classes_of_any_integers(kind):
    assert diagnosed((X, Y.astype(kind))).rows == 12
    assert diagnosed((torch.from_numpy(X), torch.from_numpy(Y.astype(kind)))).rows == 12


LAST = np.where(np.arange(60) == 59, 7, Y)
WRONG = {
    "classes from 1": ({"data": (X, Y + 1)}, "got class 3 (data, row 2); expected 0 to 2"),
    "held out, from 1": ({"data": (X, Y), "valid": (X, Y + 1)}, "got class 3 (valid, row 2)"),
    "the last row": ({"data": (X, LAST)}, "got class 7 (data, row 59)"),
    "functional": ({"data": (X, Y + 1), "loss": F.cross_entropy}, "got class 3 (data, row 2)"),
    "log-probabilities": ({"data": (X, Y - 1), "loss": tnn.NLLLoss()}, "got class -1 (data, row"),
    "another function": (
        {"data": (X, LAST), "loss": functools.partial(F.cross_entropy, label_smoothing=0.1)},
        "got IndexError from the loss: Target 7 is out of bounds.; expected a loss that takes",
    ),
    "one output": ({"data": (X, Y % 2), "outputs": 1}, "got one score per row, float32[30,1]"),
    "all ignored": ({"data": (X, np.full(60, -100))}, "each target is -100"),
    "classes as numbers": (
        {"data": (X, Y.astype(np.float32))},
        "rows of data, float32[32,3] and float32[32]; class numbers are int64 from 0",
    ),
    "a column": ({"data": (X, Y[:, None])}, "float32[30,3] and int64[30,1] from 0 to 2"),
    "other inputs": (
        {"data": (X[:, :3], Y)},
        "from the model: mat1 and mat2 shapes cannot be multiplied (30x3 and 4x3)",
    ),
    "no mean": ({"data": (X, Y), "loss": lambda p, y: p[:, 0]}, "got a loss of float32[30]"),
    "no tensor": ({"data": (X, Y), "loss": lambda p, y: 1.0}, "got a loss of float;"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_the_model_or_the_loss_does_not_take(name):
    arguments, says = WRONG[name]
    with pytest.raises(ChainruleError) as caught:
        diagnosed(**arguments)
    message = str(caught.value)
    assert message.startswith("[diagnose] got ")
    assert says in message
    assert message.count("; ") >= 2


def test_classes_that_are_ignored_need_no_score():
    y = np.where(np.arange(60) % 5 == 0, 255, Y)
    assert diagnosed((X, y), loss=tnn.CrossEntropyLoss(ignore_index=255)).rows == 12


class Unhashable:
    __hash__ = None

    def __call__(self, prediction, target):
        return F.cross_entropy(prediction, target)


def test_any_callable_is_a_loss():
    assert diagnosed((X, Y), loss=Unhashable()).rows == 12
