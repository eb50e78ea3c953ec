"""Softmax over the rows of a batch, and fewer outputs than classes: in both libraries."""

import numpy as np
import pytest
import torch

import chainrule as cr
from chainrule import nn, optim
from chainrule.doctor.facts import gather
from chainrule.doctor.faults import faults_of
from chainrule.doctor.modules import ModuleTraining
from chainrule.doctor.pytorch.modules import TorchTraining
from chainrule.doctor.search import find
from chainrule.nn import functional as F  # noqa: N812 - the usual name


def blobs(count, seed):
    draw = np.random.default_rng(seed)
    y = draw.integers(0, 3, count)
    x = draw.normal(0, 0.3, (count, 2)) + np.array([[-2, 0], [2, 0], [0, 2]])[y]
    return x.astype("float32"), y


DATA = blobs(300, 0), blobs(100, 1)


def theirs(*last, units=3, data=DATA, loss=None):
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Linear(2, 8), torch.nn.ReLU(), torch.nn.Linear(8, units), *last
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    loss = loss or torch.nn.CrossEntropyLoss()
    return TorchTraining(model, loss, optimizer, *data, 16, 10)


def ours(*last, units=3, data=DATA, loss=None):
    cr.random.seed(0)
    model = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, units), *last)
    optimizer = optim.Adam(model.parameters(), lr=0.01)
    return ModuleTraining(model, loss or nn.CrossEntropyLoss(), optimizer, *data, 16, 10)


def of_nearest_class(p, y):
    return F.cross_entropy(p, cr.clip(y, None, p.shape[-1] - 1))


def of_nearest_class_there(p, y):
    return torch.nn.functional.cross_entropy(p, y.clamp(max=p.shape[-1] - 1))


TRAININGS = {
    "ours, softmax over rows": (ours(nn.Softmax(axis=0)), "softmax_axis_wrong", "3"),
    "theirs, softmax over rows": (theirs(torch.nn.Softmax(0)), "softmax_axis_wrong", "3"),
    "ours, two units": (ours(units=2, loss=of_nearest_class), "output_units_wrong", "2"),
    "theirs, two units": (theirs(units=2, loss=of_nearest_class_there), "output_units_wrong", "2"),
}


@pytest.mark.parametrize("case", TRAININGS)
def test_it_is_named_first_and_the_remedy_for_too_few_outputs_helps(case):
    training, kind, place = TRAININGS[case]
    found, _ = find(training, 2.0)
    assert (found[0].kind, found[0].place) == (kind, place), found
    if kind == "output_units_wrong":
        trial = found[0].remedies[0].trial
        assert trial.after > max(0.9, trial.before + 0.1)


@pytest.mark.parametrize("make", [ours, theirs])
def test_a_softmax_over_the_classes_and_enough_outputs_are_none(make):
    softmax = nn.Softmax() if make is ours else torch.nn.Softmax(-1)
    for training in (make(), make(softmax), make(units=5)):
        kinds = {fault.kind for fault in faults_of(gather(training))}
        assert not kinds & {"softmax_axis_wrong", "output_units_wrong"}


def test_classes_numbered_from_1_are_told_so():
    (x, y), (xt, yt) = DATA
    training = ours(data=((x, y + 1), (xt, yt + 1)), loss=of_nearest_class)
    (fault,) = [f for f in faults_of(gather(training)) if f.kind == "output_units_wrong"]
    assert "number them from 0, not from 1" in fault.cause
    assert fault.changes[0].value == 4


@pytest.mark.parametrize("library", [ours, theirs])
def test_a_loss_of_logarithms_gets_scores(library):
    loss = F.nll_loss if library is ours else torch.nn.NLLLoss()
    named, *_ = [f for f in faults_of(gather(library(loss=loss))) if f.certain]
    assert (named.kind, named.place) == ("missing_output_activation", "2")
    last = nn.LogSoftmax() if library is ours else torch.nn.LogSoftmax(-1)
    assert not [f for f in faults_of(gather(library(last, loss=loss))) if f.certain]


@pytest.mark.parametrize("library", [ours, theirs])
def test_a_softmax_that_does_no_harm_is_named_if_the_loss_applies_it_again(library):
    training = library(nn.Softmax() if library is ours else torch.nn.Softmax(-1))
    found, search = find(training, 2.0)
    assert search.base > 0.9
    assert found[0].kind == "double_softmax"
