"""A backward pass in words: every number is compared with another computation of it."""

import re

import numpy as np
import pytest
import torch
from telling import DIGITS, neuron, numbers_of, two_layers, unwrapped, value

import chainrule as cr
import fuzzing
from chainrule import nn
from chainrule.cli import examples
from chainrule.errors import ArgumentError
from chainrule.explanation.numbers import array_text, number_text
from chainrule.explanation.prose import sentences
from chainrule.explanation.prose.words import PHRASES, manner, phrase
from chainrule.models.images import ResNet
from chainrule.ops import TABLE

# ── numbers ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("of", "says"),
    [
        (0.25, "0.25"),
        (-1234.5, "−1.23e+03"),
        (np.float32(-0.0), "0"),
        (np.int64(-12345), "−12345"),
        (True, "true"),
        (float("nan"), "nan"),
        (-np.inf, "−∞"),
    ],
)
def test_a_number(of, says):
    assert number_text(of) == says


def test_an_array():
    assert array_text(np.array([[1.0, -2.0], [0.125, 3.0]])) == "[[1 −2] [0.125 3]]"
    assert array_text(np.ones((1, 1, 1))) == "1"
    assert array_text(np.array([[[1, 2, 3]]])) == "[1 2 3]"
    assert array_text(np.arange(100) / 100) == "0 to 0.99, mean 0.495"
    assert array_text(np.arange(100)) == "0 to 99"
    assert array_text(np.full(50, 0.5)) == "all 0.5"
    assert array_text(np.arange(20) < 5) == "5 of 20 true"


# ── story ────────────────────────────────────────────────────────────────────────────────────────


def test_the_story_of_one_neuron():
    story = unwrapped(neuron().story())
    for sentence in (
        "The loss is 0.25.",
        "It depends on 3 numbers that can change: w, b.",
        "“y = cr.sigmoid(s)” reads s. It squeezes each number between 0 and 1. Result: y = 0.5.",
        "The operation `sigmoid` multiplies the blame by its slope, which is at most 0.25, here "
        "0.25. s = 0 has the gradient −0.25 = −1 × 0.25:",
        "w[1] = −0.25 has the gradient −0.5, the largest in size: if it grew by 0.01, the loss "
        "would fall by about 0.005.",
        "w: 0.559, 0.395 per number b: 0.25 ",
        "from 1 at y to 0.25 at s: it shrinks to 1/4. In all, slopes multiply it by 0.25. Most is "
        "lost at “y = cr.sigmoid(s)” × 0.25 (slopes of 0.25).",
        "0.2 × 0.375 = 0.075.",
        "w[1]: −0.25 → −0.15",
    ):
        assert sentence in story
    moved = 1 / (1 + np.exp(-(0.55 * 1 - 0.15 * 2 + 0.05)))
    promised = 0.25 - 0.2 * (0.25**2 + 0.5**2 + 0.25**2)
    then = f"The gradients alone promise {promised:.4g}; the loss would be {(moved - 1) ** 2:.4g},"
    assert then in story


def test_the_numbers_of_the_story_are_those_of_pytorch():
    explanation, loss, gradients, theirs, (x, labels) = two_layers()
    story = unwrapped(explanation.story())
    assert f"The loss is {loss:.4g}." in story
    told = re.findall(rf"(\S+)\[([\d, ]+)\] = {DIGITS} has the gradient ({DIGITS})", story)
    assert {name for name, _, _ in told} >= {*gradients}
    for name, place, g in told:
        if name in gradients:
            index = tuple(map(int, place.split(",")))
            assert value(g) == pytest.approx(gradients[name][index], rel=6e-3)
            assert abs(gradients[name]).max() == abs(gradients[name][index])
    for name, g in gradients.items():
        told = re.search(rf"{name}: ({DIGITS}), ({DIGITS}) per number", story)
        length = np.linalg.norm(g)
        assert numbers_of(" ".join(told.groups())) == pytest.approx(
            [length, length / g.size**0.5], rel=6e-3
        )
    squares = sum((g**2).sum() for g in gradients.values())
    told = re.search(rf"squared gradients, ({DIGITS}) × ({DIGITS}) = ({DIGITS})\.", story)
    rate, *numbers = numbers_of(" ".join(told.groups()))
    assert numbers == pytest.approx([squares, rate * squares], rel=6e-3)
    with torch.no_grad():
        for p in theirs.parameters():
            p -= rate * p.grad
        after = torch.nn.functional.cross_entropy(
            theirs(torch.tensor(x.numpy().astype("f8"))), torch.tensor(labels.numpy())
        )
    assert f"here by {rate:g} × the gradient." in story
    assert loss / 6 < rate * squares < loss * 2 / 3
    assert f"promise {loss - rate * squares:.4g}; the loss would be {after.item():.4g}," in story


def test_the_reasons_of_the_story_add_up():
    reasons = 0
    for name in ("xor", "digits", "attention", "rnn"):
        example = examples.load(name)
        story = cr.explain(example.loss, *example.arguments(None, None)).story()
        pattern = (
            rf"has the gradient ({DIGITS}) = ([^(:]*?)(?: \+ (\d+) smaller products?)?"
            r"(?:, the largest in size)?:"
        )
        for g, because, more in re.findall(pattern, unwrapped(story)):
            terms = re.findall(rf"(^| [+−] )({DIGITS}) × ({DIGITS})", because)
            assert terms, because
            products = [(-1 if "−" in s else 1) * value(a) * value(b) for s, a, b in terms]
            slack = 1e-2 * sum(map(abs, products)) + int(more or 0) * abs(products[-1])
            assert sum(products) == pytest.approx(value(g), abs=slack), because
            reasons += 1
    assert reasons >= 8


def test_the_gradient_through_time_is_that_of_pytorch():
    example = examples.load("rnn")
    sequence, positive = example.arguments(None, None)
    rnn, head = (example.loss.__globals__[name] for name in ("rnn", "head"))
    w, v, b = (
        torch.tensor(t.numpy().astype("f8"))
        for t in (rnn.weight_hh_l0, head.weight, rnn.bias_ih_l0)
    )
    inputs = (
        torch.tensor(sequence.numpy().astype("f8"))[0]
        @ torch.tensor(rnn.weight_ih_l0.numpy().astype("f8")).T
    )
    inputs = (inputs + b).requires_grad_()
    state = torch.zeros(4, dtype=torch.float64)
    for t in range(14):
        state = torch.tanh(inputs[t] + w @ state + torch.tensor(rnn.bias_hh_l0.numpy()))
    score = v @ state + head.bias.item()
    torch.nn.functional.binary_cross_entropy_with_logits(
        score, torch.tensor(positive.numpy().astype("f8"))[0]
    ).backward()
    first, last = (inputs.grad[k].norm().item() for k in (0, -1))
    story = unwrapped(cr.explain(example.loss, sequence, positive).story())
    told = re.search(
        rf"has the size ({DIGITS}) at the last step and ({DIGITS}) at the first: it fades on the "
        rf"way back, by × ({DIGITS}) per step of 14",
        story,
    )
    rate = (first / last) ** (1 / 13)
    assert [value(n) for n in told.groups()] == pytest.approx([last, first, rate], rel=6e-3)
    assert "neither vanishes nor explodes" not in story


@pytest.mark.parametrize(
    ("gain", "how"),
    # 3 is the factor in all: 0.9⁴ = 0.66, 1.25⁴ = 2.4
    [(0.5, "fades"), (0.9, "stays about the same"), (1.25, "stays about the same"), (2, "grows")],
)
@pytest.mark.parametrize("reverse", [False, True])
def test_a_gradient_through_time_fades_or_grows(gain, how, reverse):
    def loss(x):
        last, _ = cr.scan(
            lambda h, x: (h * gain + x, None), cr.zeros((), dtype=cr.float64), x, reverse=reverse
        )
        return last * 3

    x = cr.Tensor(np.ones(5), requires_grad=True)
    story = unwrapped(cr.explain(loss, x).story())
    ends = f"has the size 3 at the last step and {number_text(3 * gain**4)} at the first"
    assert f"{ends}: it {how} on the way back, by × {number_text(gain)} per step of 5." in story


def test_a_layer_of_the_library_says_what_it_computes():
    story = unwrapped(two_layers()[0].story())
    assert "computes, in several small operations: −log softmax(input) of the target" in story
    model = nn.TransformerEncoderLayer(4, 2, 4)
    story = unwrapped(cr.explain(lambda x: model(x).sum(), cr.ones((1, 2, 4))).story())
    assert "computes, in several small operations: several attentions side by side" in story


def test_among_many_kinds_of_operations_those_with_long_rules_are_told():
    model = nn.MultiheadAttention(4, 2)
    x = cr.random.normal((1, 3, 4))
    e = cr.explain(lambda x: (model(x, x, x, need_weights=False)[0] ** 2).mean(), x)
    story = unwrapped(e.story())
    assert "one after the other; attention shares the blame among what was mixed" in story


def test_slopes_and_replaced_numbers_are_those_of_the_sample():
    x = np.array([-3.0, -0.5, 0.0, 0.25, 2.0])
    w = cr.Tensor(x, requires_grad=True)

    def loss(k):
        kept = nn.functional.relu(w)
        squeezed = cr.sigmoid(w * k)
        bent = cr.tanh(w)
        return (kept * 3 + squeezed + bent).sum()

    story = unwrapped(cr.explain(loss, cr.Tensor(2.0)).story())
    assert "It replaces numbers up to 0 by 0 (3 of 5) and keeps the others." in story
    assert "changes nothing: their slope is 0, they get none (here 3 of 5)." in story
    s = 1 / (1 + np.exp(-2 * x))
    low, high = (number_text(end(s * (1 - s))) for end in (min, max))
    assert (
        f"`sigmoid` multiplies the blame by its slope, which is at most 0.25, here {low} to {high}."
        in story
    )
    low, high = (number_text(end(1 - np.tanh(x) ** 2)) for end in (min, max))
    assert f"`tanh` multiplies the blame by its slope, here {low} to {high}." in story


def test_slopes_are_not_those_that_rounding_left():
    w = cr.Tensor([9.0, 20.0, 0.0], requires_grad=True)  # tanh rounds to 1
    story = unwrapped(cr.explain(lambda: cr.tanh(w).sum()).story())
    assert "`tanh` multiplies the blame by its slope, here 1.7e−17 to 1." in story  # 4 e⁻⁴⁰
    story = unwrapped(cr.explain(lambda: cr.sigmoid(w).sum()).story())
    assert "which is at most 0.25, here 2.06e−09 to 0.25." in story  # e⁻²⁰


def test_a_choice_without_a_threshold_is_told_in_general():
    mask = cr.Tensor([True, False, True])
    w = cr.Tensor([1.0, 2.0, 3.0], requires_grad=True)
    story = unwrapped(cr.explain(lambda m: cr.where(m, w * 2, -w).sum(), mask).story())
    assert "the choice `where` passes the blame to the numbers that it kept" in story
    assert "(here" not in story, "both options move"


def test_each_step_has_its_sentences():
    explanation = two_layers()[0]
    lines = sentences(explanation._derivation)
    assert len(lines) == len(explanation._derivation.steps) == 4
    told = unwrapped(explanation.story())
    assert "This loss is the mean of −log" in lines[-1][0]
    assert lines[0][-1].startswith("On the way back the length of the gradient goes from ")
    for forward, back, *gradients in lines:
        assert forward in told
        assert back.startswith("Back through ")
        assert gradients
        assert all(sentence in told for sentence in gradients)


# ── long networks ────────────────────────────────────────────────────────────────────────────────


def encoder(layers):
    cr.random.seed(0)
    one = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0)
    model = nn.TransformerEncoder(one, layers)

    def loss(x):
        return (model(x)[:, 0] ** 2).sum()

    return cr.explain(loss, cr.random.normal((2, 5, 8)))


@pytest.mark.parametrize("form", ["text", "story"])
def test_equal_layers_are_explained_once(form):
    short, long = (getattr(encoder(layers), form)() for layers in (2, 12))
    assert "layers.1: as layers.0, with other weights" in short
    assert "layers.1 to layers.11: as layers.0, with other weights" in long
    assert abs(len(long.splitlines()) - len(short.splitlines())) < 5
    assert "layers.7" not in long


def test_stages_are_folded_at_the_borders_of_modules():
    model = ResNet(4, [2, 3, 3], width=4).eval()
    image = cr.random.normal((1, 16, 16, 3))
    text = cr.explain(lambda x: model(x).sum(), image).text()
    assert "features.stage1.1: as features.stage1.0, with other weights" in text
    assert "features.stage2.2: as features.stage2.1, with other weights" in text


def test_layers_that_differ_are_not_folded():
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1))
    text = cr.explain(lambda x: model(x).sum(), cr.ones((1, 2))).text()
    assert "with other weights" not in text
    assert re.search(r"out_3 = \[a\d+: 0, else out_2\]", text), "not 3 = …"


def test_a_group_of_layers_is_folded_with_its_paths():
    layers = [part for _ in range(3) for part in (nn.Linear(2, 2), nn.Tanh())]
    model = nn.Sequential(*layers)
    text = cr.explain(lambda x: model(x).sum(), cr.ones((1, 2))).text()
    assert "2–3 to 4–5: as 0–1, with other weights" in text
    assert "and 4 of the layers that are as others" in text


def test_a_deep_network_without_equal_layers_is_told_in_bounds():
    model = nn.Sequential(*[nn.Linear(k, k + 1) for k in range(1, 60)])
    explanation = cr.explain(lambda x: (model(x) ** 2).mean(), cr.ones((1, 1)))
    assert len(explanation.story().splitlines()) < 140
    assert "… 50 more …" in explanation.story()
    text = explanation.text()
    assert "carried back by the rules of add, matmul" in text
    assert len(text.splitlines()) < 60 * 8


def test_a_graph_of_thousands_of_operations():
    def loss(x):
        for k in range(1500):
            x = cr.tanh(cr.reshape(cr.permute_dims(x, (1, 0)), (2, 3) if k % 2 else (3, 2)))
        return x.sum()

    explanation = cr.explain(loss, cr.ones((2, 3)))
    assert len(explanation.text().splitlines()) < 30
    assert len(explanation.story().splitlines()) < 30


# ── everything else ──────────────────────────────────────────────────────────────────────────────


def lstm():
    model = nn.LSTM(2, 3)
    return lambda: (model(cr.random.normal((2, 4, 2)))[0] ** 2).sum()


def dropout():
    model = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.BatchNorm1d(4), nn.Linear(4, 1))
    return lambda: model(cr.ones((5, 3)) * cr.arange(5).reshape((5, 1))).mean()


def embedding():
    table = nn.EmbeddingBag(5, 3)
    return lambda: (table(cr.Tensor([[1, 4, 1]])) ** 2).sum()


def nested():
    w = cr.Tensor([0.5, 2.0], requires_grad=True)
    return lambda: (cr.grad(lambda v: (cr.sin(v) * w).sum())(w * 2) ** 2).sum()


def custom():
    w = cr.Tensor([0.5, 2.0], requires_grad=True)
    double = cr.defop("doubled", lambda x: 2 * x, lambda x: cr.full_like(x, 2.0))
    return lambda: cr.checkpoint(lambda v: double(v) ** 2)(w).sum()


def not_finite():
    w = cr.Tensor([0.0, 2.0], requires_grad=True)
    return lambda: cr.log(w).sum()


def expect_told(explanation):
    """Loss and gradients are in both forms."""
    text, story = explanation.text(), explanation.story()
    last = text.partition("Gradients")[2]
    for name, gradient in explanation.gradients.items():
        line = next(x for x in last.splitlines() if x.strip().startswith(f"∂loss/∂{name} "))
        assert array_text(gradient) in line
    assert "None" not in text
    assert f"The loss is {number_text(explanation.loss, 4)}." in story


@pytest.mark.filterwarnings("ignore")
def test_random_programs_are_told():
    told = 0
    for seed in range(60):
        program = fuzzing.Program(seed)
        state, optimizer = program.start()
        for step in program.steps:
            try:
                explanation = cr.explain(
                    lambda x, s=state, o=optimizer, step=step: step(s, x, o),
                    cr.Tensor(program.inputs[0]),
                )
            except ArgumentError:  # it calls backward() twice
                continue
            expect_told(explanation)
            told += 1
    assert told > 30


@pytest.mark.parametrize("make", [lstm, dropout, embedding, nested, custom, not_finite])
def test_every_network_has_a_text_and_a_story(make):
    cr.random.seed(0)
    expect_told(cr.explain(make()))


def test_every_operation_has_words():
    assert {*PHRASES} <= {*TABLE}
    assert phrase(TABLE["tanh"]) == "squeezes each number between −1 and 1"
    assert phrase(TABLE["log1p"]) == "computes log1p"
    for op in TABLE.values():
        manner(op)  # of every kind
    assert manner(TABLE["add"]) == "adding passes the blame on as it is"
    assert manner(TABLE["tanh"]) == "the operation `tanh` multiplies the blame by its slope"
    assert manner(TABLE["custom"]) == "the operation `custom` has a rule that the user wrote"
