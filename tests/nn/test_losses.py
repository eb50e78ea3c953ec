"""Losses: sums over parts and their weights, class numbers, and what they refuse."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.errors import ArgumentError, DtypeError, RangeError, ShapeError
from chainrule.nn import losses


def test_losses_refuse_what_only_seems_to_work():
    f = nn.functional
    with pytest.raises(ShapeError, match="not broadcast"):
        f.mse_loss(cr.ones((4, 1)), cr.ones(4))
    with pytest.raises(RangeError, match="class 3"):
        f.cross_entropy(cr.ones((2, 3)), cr.Tensor([0, 3]))
    with pytest.raises(DtypeError, match="class numbers"):
        f.nll_loss(cr.ones((2, 3)), cr.Tensor([0.0, 1.0]))
    with pytest.raises(RangeError, match="with_logits"):
        f.binary_cross_entropy(cr.Tensor([1.5]), cr.Tensor([1.0]))
    with pytest.raises(ArgumentError, match="reduction"):
        f.mse_loss(cr.ones(2), cr.ones(2), reduction="max")


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_binary_cross_entropy_of_a_saturated_sigmoid(compiled, dtype):
    """Probabilities of 0 and 1, and next to them: -log ends at 100, its slope at 1e12."""
    f = nn.functional.binary_cross_entropy
    steepest = 32752 if dtype == "float16" else 1e12  # half of the largest number
    p = np.array([0, 0, 1, 1, 1e-44, 1e-40, 1e-20, 0.25], dtype)
    y = np.array([1, 0, 0, 1, 1, 1, 1, 1], dtype)
    with np.errstate(divide="ignore"):
        losses = np.where(y == 1, np.minimum(-np.log(p), 100), np.minimum(-np.log1p(-p), 100))
    slopes = np.array([-1, 0, 1, 0, -1, -1, -1, 0]) * steepest + [0, 1, 0, -1, 0, 0, 0, -4]

    def both(p, y):
        losses, pull = cr.vjp(lambda p: f(p, y, reduction="none"), p)
        return losses, *pull(cr.ones_like(losses))

    found = (cr.compile(both) if compiled else both)(cr.Tensor(p), cr.Tensor(y))
    np.testing.assert_allclose(found[0].numpy(), losses, rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(found[1].numpy(), slopes, rtol=1e-3)
    scores = cr.Tensor(np.array([200.0, -200.0], dtype), requires_grad=True)
    f(cr.sigmoid(scores), cr.Tensor(np.array([0, 1], dtype))).backward()
    assert np.isfinite(scores.grad.numpy()).all()


def test_accumulated_gradients_equal_the_full_batch():
    net = nn.Linear(3, 2)
    x, y = cr.random.normal((8, 3)), cr.Tensor([0, 1, -100, 1, 0, 0, 1, -100])
    nn.functional.cross_entropy(net(x), y).backward()
    whole = net.weight.grad.numpy()
    for k, part in enumerate((slice(0, 3), slice(3, 8))):
        loss = nn.functional.cross_entropy(net(x[part]), y[part], reduction="sum") / 6
        loss.backward(accumulate=k > 0)
    np.testing.assert_allclose(net.weight.grad.numpy(), whole, rtol=1e-5, atol=1e-7)


PARTS = {
    # the loss, and the settings under which it is cut into parts
    "binary_cross_entropy": {},
    "binary_cross_entropy_with_logits": {"pos_weight": 2.0},
    "cosine_embedding_loss": {"margin": 0.1},
    "cross_entropy": {"weight": [1.0, 2.0, 0.5, 1.5], "ignore_index": 2},
    "cross_entropy smooth": {"weight": [1.0, 2.0, 0.5, 1.5], "label_smoothing": 0.2},
    "cross_entropy probabilities": {"weight": [1.0, 2.0, 0.5, 1.5]},
    "gaussian_nll_loss": {},
    "hinge_embedding_loss": {},
    "huber_loss": {"delta": 0.5},
    "kl_div": {},
    "l1_loss": {},
    "margin_ranking_loss": {"margin": 0.3},
    "mse_loss": {},
    "nll_loss": {"weight": [1.0, 2.0, 0.5, 1.5]},
    "poisson_nll_loss": {},
    "smooth_l1_loss": {},
    "soft_margin_loss": {},
    "triplet_margin_loss": {},
}


def loss_inputs(name, rng, ignored, n=24):
    """The scores that are learned, and what else the loss takes."""
    x = rng.normal(size=(n, 4))
    chance = rng.uniform(0.1, 0.9, size=(n, 4))
    signs = rng.choice([-1.0, 1.0], size=(n, 4))
    kind = name.split("_")[0]
    if name.endswith("probabilities"):
        return x, chance / chance.sum(-1, keepdims=True)
    if kind in ("cross", "nll"):
        return x, np.where(rng.uniform(size=n) < 0.3, ignored, rng.integers(0, 4, n))
    more = {
        "cosine": (rng.normal(size=(n, 4)), signs[:, 0]),
        "gaussian": (signs, chance),
        "margin": (chance, signs),
        "triplet": (chance, signs),
        "hinge": (signs,),
        "soft": (signs,),
        "binary": (chance,),
        "kl": (chance,),
        "poisson": (chance,),
    }
    return (chance if name == "binary_cross_entropy" else x, *more.get(kind, (signs,)))


def test_every_loss_is_cut_into_parts_below():
    assert {name.split()[0] for name in PARTS} == set(losses.__all__)


@pytest.mark.parametrize("name", PARTS)
def test_sums_over_parts_and_their_weights_are_the_mean(name):
    rng = np.random.default_rng(0)
    function, settings = getattr(losses, name.split()[0]), PARTS[name]
    for _ in range(3):
        x, *others = loss_inputs(name, rng, settings.get("ignore_index", -100))
        logits, whole = (cr.Tensor(x, requires_grad=True) for _ in range(2))
        mean = function(whole, *others, **settings)
        mean.backward()
        cuts = sorted(rng.choice(np.arange(1, len(x)), 3, replace=False))
        rows = [slice(a, b) for a, b in zip([0, *cuts], [*cuts, len(x)], strict=True)]
        weights = [
            losses.total_weight(function.__name__, settings, x[r], *(o[r] for o in others))
            for r in rows
        ]
        assert all(w.shape == () and not w.requires_grad for w in weights)
        assert losses.total_weight(function, settings, x, *others).item() == pytest.approx(
            sum(w.item() for w in weights)
        )
        total = sum(weights[1:], weights[0])
        found = 0.0
        for k, r in enumerate(rows):
            part = function(logits[r], *(o[r] for o in others), reduction="sum", **settings)
            (part / total).backward(accumulate=k > 0)
            found += (part / total).item()
        assert found == pytest.approx(mean.item(), rel=1e-12)
        np.testing.assert_allclose(logits.grad.numpy(), whole.grad.numpy(), rtol=1e-10, atol=1e-14)


def test_total_weight_of_what_is_no_loss():
    with pytest.raises(ArgumentError, match=r"\[total_weight\] got the loss 'mse'"):
        losses.total_weight("mse", {}, cr.ones(2), cr.ones(2))


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int32", "int64", "bool"])
def test_class_numbers_of_any_whole_dtype(dtype):
    scores = cr.Tensor([[2.0, 1.0], [0.5, 0.25], [0.0, 3.0]])
    target = np.array([0, 1, 1])
    wanted = -np.log(np.exp(scores.numpy())[range(3), target] / np.exp(scores.numpy()).sum(1))
    found = nn.functional.cross_entropy(scores, target.astype(dtype), reduction="none")
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-6)


def test_class_weights_and_one_hot_targets_that_do_not_fit():
    scores, target = np.zeros((4, 3), np.float32), np.zeros(4, np.int64)
    with pytest.raises(ShapeError, match="one factor per class"):
        nn.functional.cross_entropy(scores, target, weight=[1.0, 2.0])
    with pytest.raises(ShapeError, match="argmax"):
        nn.functional.cross_entropy(scores, np.eye(4, 3, dtype=np.int64))
