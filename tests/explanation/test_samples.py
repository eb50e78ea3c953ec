"""How many samples there are and what the loss is of them, by hand."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.explanation.derive import derive
from chainrule.explanation.page.contents import contents
from chainrule.explanation.samples import samples_of
from chainrule.nn.functional import cross_entropy

RNG = np.random.default_rng(0)


def data(*shape):
    return cr.Tensor(RNG.normal(size=shape).astype("f4"))


def labels(*shape):
    return cr.Tensor(RNG.integers(0, 3, shape))


net = nn.Linear(3, 3)
scale = cr.Tensor([2.0], requires_grad=True)
lstm, words = nn.LSTM(3, 3), nn.Embedding(4, 3)
attention = nn.MultiheadAttention(4, 2)
image = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3))
normed = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.ReLU(), nn.Linear(3, 3))
weight = cr.Tensor(RNG.normal(size=(3, 3)).astype("f4"), requires_grad=True)
by_class = cr.Tensor([1.0, 2.0, 1.0])


@pytest.mark.parametrize(
    ("loss", "args", "count", "terms", "kind"),
    [
        (lambda x, y: cross_entropy(net(x), y), (data(5, 3), labels(5)), 5, 5, "mean"),
        (lambda x, y: cross_entropy(net(x), y), (data(1, 3), labels(1)), 1, 1, ""),
        (
            lambda x, y: cross_entropy(net(x), y, reduction="sum"),
            (data(5, 3), labels(5)),
            5,
            5,
            "sum",
        ),
        (lambda x: (net(x) ** 2).mean(), (data(4, 3),), 4, 12, "mean"),
        (lambda x: (net(x) ** 2).sum(1).mean(), (data(4, 3),), 4, 4, "mean"),
        (lambda x: 0.5 * (net(x) ** 2).mean(), (data(4, 3),), 4, 12, ""),
        (lambda x: (net(x) ** 2).sum() * 0.25, (data(4, 3),), 4, 12, ""),
        (lambda x: (net(x) ** 2).mean() + (weight**2).sum(), (data(4, 3),), 4, 1, ""),
        # images, sequences, words
        (lambda x, y: cross_entropy(image(x), y), (data(2, 4, 4, 1), labels(2)), 2, 2, "mean"),
        (lambda x: (lstm(x)[0] ** 2).mean(), (data(2, 5, 3),), 2, 30, "mean"),
        (lambda x, y: cross_entropy(words(x)[:, 0], y), (labels(5, 2), labels(5)), 5, 5, "mean"),
        (
            lambda x, y: cross_entropy(words(x).reshape((10, 3)), y.reshape((10,))),
            (labels(5, 2), labels(5, 2)),
            5,
            10,
            "mean",
        ),
        (lambda x: (attention(x, x, x)[0] ** 2).mean(), (data(2, 5, 4),), 2, 40, "mean"),
        (lambda x: cr.checkpoint(net)(x).mean(), (data(4, 3),), 4, 12, "mean"),
        (lambda x, y: cross_entropy(normed(x), y), (data(6, 3), labels(6)), 6, 6, "mean"),
        # other data beside the samples
        (
            lambda x, y: cross_entropy(net(x), y, weight=by_class, reduction="sum"),
            (data(5, 3), labels(5)),
            5,
            5,
            "sum",
        ),
        # lists of numbers
        (lambda x, y: ((x * scale - y) ** 2).mean(), (data(6), data(6)), 6, 6, "mean"),
        (lambda x: ((x * scale) ** 2).mean(), (data(6),), 0, 6, ""),
        (lambda x, y: ((weight @ x - y) ** 2).mean(), (data(3), data(3)), 0, 3, ""),
        # rows that are mixed are no samples: words of one sentence
        (lambda x: (cr.softmax(x @ weight @ x.T, axis=1) @ x).mean(), (data(5, 3),), 0, 15, ""),
        (lambda x: (weight @ x).mean(), (data(3, 7),), 0, 21, ""),
    ],
)
def test_samples(loss, args, count, terms, kind):
    found = samples_of(derive(loss, args, {}))
    assert (found.count, found.terms, found.kind) == (count, terms, kind)


def test_a_page_has_them():
    d = derive(lambda x, y: cross_entropy(net(x), y), (data(5, 3), labels(5)), {})
    assert contents(d)["samples"] == {"count": 5, "of_loss": "mean"}
