"""The end of a story: what becomes of a gradient, compared with PyTorch's in float64."""

import math
import re
from importlib import resources
from itertools import pairwise

import numpy as np
import pytest
import torch
from telling import DIGITS, two_layers, unwrapped, value

import chainrule as cr
from chainrule import nn, optim
from chainrule.explanation import page
from chainrule.explanation.numbers import number_text
from chainrule.explanation.prose import closing

# ── what the loss is ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("rows", [1, 3])
def test_a_loss_that_is_the_log_of_a_probability(rows):
    explanation, loss, _, theirs, (x, label) = two_layers(rows)
    scores = theirs(torch.tensor(x.numpy().astype("f8")))
    p = scores.softmax(1).detach().numpy()
    right = p[np.arange(rows), label.numpy()]
    story = unwrapped(explanation.story())
    ends = f"{number_text(right.min())} to {number_text(right.max())}"
    one = f"{number_text(right[0])} for class 0"
    which = one if rows == 1 else f"right classes, which are {ends}"
    assert f"{which}. Guessing among 3 would give {math.log(3):.4g}; 0 is perfect." in story
    assert ("the mean of −log of" in story) == (rows > 1)
    assert loss == pytest.approx(-np.log(right).mean(), rel=1e-6)
    divided = ", divided by 3" if rows > 1 else ""
    of = "each of scores is the probability of its class (softmax), minus 1 for the right class"
    assert f"{of}{divided}. scores[" in story
    y = np.eye(3)[label.numpy()]
    told = re.search(rf"scores\[(\d), (\d)\] = {DIGITS} has the gradient ({DIGITS})", story)
    row, column, g = map(value, told.groups())
    assert g == pytest.approx((p - y)[int(row), int(column)] / rows, rel=6e-3)


def logits(rows, columns):
    w = cr.Tensor(np.linspace(-1, 2, 2 * columns).reshape(2, columns), requires_grad=True)
    x = cr.Tensor(np.linspace(1, -1, 2 * rows).reshape(rows, 2))
    return (lambda x: x @ w), x, x.numpy() @ w.numpy()


def told_of(loss, *args):
    return unwrapped(cr.explain(loss, *args).story())


def test_the_loss_of_a_probability_in_other_words():
    scores, x, s = logits(4, 3)
    y = cr.Tensor([0, 2, 1, 1])
    p = torch.tensor(s).softmax(1).numpy()[np.arange(4), y.numpy()]
    ends = f"which are {number_text(p.min())} to {number_text(p.max())}. Guessing among 3"

    def by_hand(x, y):
        out = scores(x)
        e = cr.exp(out)
        return -(cr.log(e / e.sum(1, keepdims=True)) * cr.one_hot(y, 3)).sum()

    story = told_of(by_hand, x, y)
    assert "This loss is the sum of −log of the probabilities" in story
    assert f"{ends} would give {4 * math.log(3):.4g};" in story
    assert "The loss is the sum over 12 numbers of 4 samples" in story
    one, x, s = logits(4, 1)
    answers = np.array([[0.0], [1.0], [1.0], [0.0]])
    p = np.abs(1 - answers - 1 / (1 + np.exp(-s)))
    bce = nn.functional.binary_cross_entropy_with_logits
    story = told_of(lambda x, y: bce(one(x), y), x, cr.Tensor(answers))
    ends = f"which are {number_text(p.min())} to {number_text(p.max())}. Guessing among 2"
    assert f"{ends} would give {math.log(2):.4g};" in story
    of = "the probability of class 1 (sigmoid), minus 1 where that is right"
    assert f"{of}, divided by 4." in story


def test_other_losses_are_no_probability():
    scores, x, _ = logits(4, 3)
    y, entropy = cr.Tensor([0, 2, 1, 1]), nn.functional.cross_entropy
    for loss in (
        lambda x, y: entropy(scores(x), y, label_smoothing=0.1),
        lambda x, y: entropy(scores(x), y) + 0.1 * (scores(x) ** 2).sum(),
        lambda x, y: 2 * entropy(scores(x), y),
        lambda x, y: (scores(x) ** 2).mean() + y.sum(),
    ):
        assert "−log of the prob" not in told_of(loss, x, y)


def test_the_mean_over_samples():
    scores, x, _ = logits(4, 3)
    story = told_of(lambda x: (scores(x) ** 2).mean(), x)
    assert (
        "The loss is the mean over 12 numbers of 4 samples: what they give to the gradient of a "
        "weight is divided by 12 and added up." in story
    )
    story = told_of(lambda x: (scores(x) ** 2).sum(1).mean(), x)
    assert "The loss is the mean over 4 samples: what they give" in story
    w = cr.Tensor([1.0, 2.0], requires_grad=True)
    single = told_of(lambda x: (scores(x) ** 2).mean(), cr.Tensor(np.ones((1, 2))))
    vector = told_of(lambda x: ((w * x) ** 2).mean(), cr.Tensor([1.0, 2.0]))
    assert "samples" not in single + vector


# ── the gradient on its way back ─────────────────────────────────────────────────────────────────


def deep(activation, scale=1.0):
    """A deep network explained; its gradients by layer, and its modules, of PyTorch in float64."""
    cr.random.seed(3)
    kinds = [nn.Linear, getattr(nn, activation)] * 5
    model = nn.Sequential(*[k(6, 6) if k is nn.Linear else k() for k in kinds], nn.Linear(6, 3))
    hidden = [m for _ in range(5) for m in (torch.nn.Linear(6, 6), getattr(torch.nn, activation)())]
    theirs = torch.nn.Sequential(*hidden, torch.nn.Linear(6, 3)).double()
    model.load_state_dict({name: p * scale for name, p in model.state_dict().items()})
    for own, other in zip(model.parameters(), theirs.parameters(), strict=True):
        other.data = torch.tensor(own.numpy().astype("f8"))
    x, label = cr.random.normal((4, 6)), cr.Tensor([0, 1, 2, 1])
    outputs, out = [], torch.tensor(x.numpy().astype("f8"))
    for module in theirs:
        out = module(out)
        out.retain_grad()
        outputs.append(out)
    torch.nn.functional.cross_entropy(out, torch.tensor(label.numpy())).backward()
    lengths = [o.grad.norm().item() for o in outputs]
    explanation = cr.explain(lambda x, y: nn.functional.cross_entropy(model(x), y), x, label)
    return unwrapped(explanation.story()), lengths, outputs, theirs


WAY = rf"length of the gradient goes from ({DIGITS}) at (\S+) to ({DIGITS}) at (\S+):"


def test_a_gradient_that_vanishes_and_why():
    story, lengths, outputs, _ = deep("Sigmoid")
    last, name, first, first_name = re.search(WAY, story).groups()
    assert (name, first_name) == ("out_10", "out_0")
    assert [value(last), value(first)] == pytest.approx([lengths[10], lengths[0]], rel=6e-3)
    ratios = [a / b for a, b in pairwise(lengths)]  # at module k + 1
    told = re.search(
        rf"shrinks to 1/([\d,]+) and nearly vanishes\. In all, slopes multiply it by ({DIGITS}) "
        rf"and weights multiply it by ({DIGITS})\. Most is lost at (\d) \(Sigmoid\) × ({DIGITS}) "
        rf"\(slopes of ({DIGITS}) to ({DIGITS})\)",
        story,
    )
    least, slope, weight, module, factor, low, high = (
        value(t.replace(",", "")) for t in told.groups()
    )
    assert least == pytest.approx(lengths[10] / lengths[0], rel=6e-3)
    assert slope == pytest.approx(np.prod(ratios[0::2]), rel=6e-3)
    assert weight == pytest.approx(np.prod(ratios[1::2]), rel=6e-3)
    assert module == 1 + 2 * np.argmin(ratios[0::2])
    assert factor == pytest.approx(min(ratios), rel=6e-3)
    s = outputs[int(module)].detach()
    slopes = s * (1 - s)
    assert [low, high] == pytest.approx([slopes.min().item(), slopes.max().item()], rel=6e-3)


def test_a_gradient_that_explodes_and_why():
    story, lengths, _, theirs = deep("Identity", 12.0)
    told = re.search(
        rf"it grows ([\d,]+) times and explodes\. .*? It grows most at (\d+) \(Linear\) × "
        rf"({DIGITS}) \(weights of about ({DIGITS}) in size\)",
        story,
    )
    ratio, module, factor, size = (value(t.replace(",", "")) for t in told.groups())
    assert ratio == pytest.approx(lengths[0] / lengths[10], rel=6e-3)
    ratios = [lengths[k - 1] / lengths[k] for k in range(2, 11, 2)]
    assert factor == pytest.approx(max(ratios), rel=6e-3)
    assert module == 2 + 2 * np.argmax(ratios)
    w = theirs[int(module)].weight.detach()
    assert size == pytest.approx(w.square().mean().sqrt().item(), rel=6e-3)


def test_a_gradient_that_is_lost():
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))
    model.load_state_dict(model.state_dict() | {"0.bias": cr.full((3,), -50.0)})
    story = unwrapped(cr.explain(lambda x: ((model(x) - 1) ** 2).mean(), cr.ones((4, 2))).story())
    assert "it is lost at 1 (ReLU) (12 of 12 numbers replaced)." in story


def test_a_gradient_that_keeps_its_length():
    story = unwrapped(two_layers()[0].story())
    assert "it neither vanishes nor explodes" in story


@pytest.mark.parametrize(
    ("factor", "what"),
    [
        (2.5, "it neither vanishes nor explodes."),
        (0.4, "it neither vanishes nor explodes."),
        (16, "it grows 16 times. In all, weights multiply it by 16. It grows most at"),
        (1 / 32, "it shrinks to 1/32. In all, weights multiply it by 0.0312. Most is lost at"),
        (4096, "it grows 4,096 times and explodes."),
        (1 / 128, "it shrinks to 1/128 and nearly vanishes."),
    ],
)
def test_by_how_much_a_gradient_changes(factor, what):
    model = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1, bias=False))
    model.load_state_dict(model.state_dict() | {"1.weight": cr.full((1, 1), float(factor))})
    story = unwrapped(cr.explain(lambda x: model(x).sum(), cr.ones((1, 1))).story())
    assert what in story


# ── the next step ────────────────────────────────────────────────────────────────────────────────


def test_a_step_that_trains_is_told_with_what_it_assigns():
    w = cr.Tensor([1.0, 2.0], dtype=cr.float64, requires_grad=True)
    optimizer = optim.SGD([w], lr=0.5)

    def step(x):
        loss = ((w * x) ** 2).sum()
        loss.backward()
        optimizer.step()
        return loss

    story = cr.explain(step, cr.Tensor([1.0, 0.5], dtype=cr.float64)).story()
    assert "w[0]: 1 → 0\n" in story  # 1 − 0.5 · 2 · 1
    assert story.endswith("w[1]: 2 → 1.5")  # 2 − 0.5 · 2 · 0.25 · 2
    # −0.5 · (2² + 1²)
    assert "add up to −2.5, so the gradients alone promise −0.5." in unwrapped(story)
    assert "After this step the loss would be 0.5625." in unwrapped(story)  # (1.5 · 0.5)²
    assert w.tolist() == [1, 2], "nothing is assigned"


def test_a_network_at_rest():
    w = cr.Tensor([0.0], requires_grad=True)
    story = cr.explain(lambda x: ((w * x) ** 2).sum(), cr.Tensor([3.0])).story()
    assert "w gets no gradient." in story
    assert "there is nothing to share" in story
    assert "would not lower the loss" in story


def test_a_step_of_descent_is_one_for_which_the_gradients_speak():
    w = cr.Tensor([3.0], dtype=cr.float64, requires_grad=True)
    story = unwrapped(
        cr.explain(lambda x: (10 * (w * x) ** 2).sum(), cr.Tensor(np.ones(1))).story()
    )
    # 0.1 × 60 would overshoot to w = −3; 0.01 × 60 leads to w = 2.4, at which the loss has lost
    # more than a third; 0.005 × 60 leads to w = 2.7
    assert "here by 0.005 × the gradient." in story
    assert "The gradients alone promise 72; the loss would be 72.9, because it curves" in story
    assert "w[0]: 3 → 2.7" in story


def test_a_promise_is_no_loss_below_0():
    w = cr.Tensor([1.0], dtype=cr.float64, requires_grad=True)
    story = unwrapped(cr.explain(lambda x: cr.abs(w * x).sum(), cr.Tensor(np.ones(1))).story())
    # 1 and 0.5 keep what they promise, 0 and 0.5, but these are less than two thirds of 1
    assert "The gradients alone promise 0.8; the loss would be 0.8." in story


def test_a_loss_of_0_that_can_fall_is_not_at_rest():
    w = cr.Tensor([1.0], dtype=cr.float64, requires_grad=True)
    story = unwrapped(cr.explain(lambda x: (w * x).sum() - 1, cr.Tensor(np.ones(1))).story())
    assert "The gradients alone promise −0.0001; the loss would be −0.0001." in story


def test_the_page_tries_the_same_rates_as_the_story():
    script = (resources.files(page) / "view/training.js").read_text("utf-8")
    (rates,) = re.findall(r"const RATES = \[(.*)\];", script)
    assert tuple(map(float, rates.split(","))) == closing.RATES
    assert f"fallen <= Math.abs(pass.loss) / {closing.FALL};" in script


def test_a_slope_without_bound_is_told():
    story = told_of(lambda x: cr.log(x).sum(), cr.Tensor([0.0, 1.0, 2.0]))
    assert "`log` multiplies the blame by its slope, here 0.5 to ∞." in story
