"""Layers that Sequential knows by name."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.errors import ArgumentError


def test_layers_have_the_names_that_they_are_given():
    features, head = nn.Sequential(nn.Linear(2, 3), nn.ReLU()), nn.Linear(3, 4)
    net, x = nn.Sequential(features=features, head=head), cr.ones((1, 2))
    assert list(net) == [net.features, net.head] == [features, head]
    assert net[-1] is head
    np.testing.assert_array_equal(net(x).numpy(), head(features(x)).numpy())
    assert [n for n, _ in net.named_parameters()] == [
        "features.0.weight",
        "features.0.bias",
        "head.weight",
        "head.bias",
    ]
    assert "(head): Linear(3, 4)" in repr(net)


def test_a_layer_is_replaced_by_name_or_place():
    net, x = nn.Sequential(features=nn.Linear(2, 3), head=nn.Linear(3, 4)), cr.ones((1, 2))
    compiled = cr.compile(net)
    assert compiled(x).shape == (1, 4)
    net.head = nn.Linear(3, 5)
    assert net(x).shape == compiled(x).shape == (1, 5)
    net[-1] = nn.Linear(3, 6)
    assert net(x).shape == compiled(x).shape == (1, 6)
    assert net.head.out_features == 6


def test_numbers_and_names_together():
    net = nn.Sequential(nn.Linear(2, 3), act=nn.ReLU()).append(nn.Linear(3, 1))
    assert [n for n, m in net.named_modules() if m is not net] == ["0", "act", "2"]


@pytest.mark.parametrize("name", ["forward", "train", "training", "append"])
def test_a_layer_does_not_hide_a_method(name):
    with pytest.raises(ArgumentError, match=f"a layer named {name}"):
        nn.Sequential(**{name: nn.ReLU()})


def test_two_layers_of_one_name():
    with pytest.raises(ArgumentError, match="a layer named 1"):
        nn.Sequential(**{"1": nn.ReLU()}).append(nn.Tanh())


def test_a_setting_is_no_layer():
    with pytest.raises(ArgumentError, match="got a bool; expected modules"):
        nn.Sequential(nn.ReLU(), inplace_=True)
