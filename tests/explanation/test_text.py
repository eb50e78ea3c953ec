"""The compact text: every formula is computed, and the gradients are those of PyTorch."""

import re

import numpy as np
import pytest
import torch
from telling import DIGITS, neuron, numbers_of, two_layers, value

import chainrule as cr


def test_the_text_of_one_neuron():
    assert (
        neuron().text()
        == """Forward
  s = (w * x).sum() + b
    a1 = w · x                                      (2)  [0.5 −0.5]
    a2 = sum(a1)                                    (1)  0
    s = a2 + b                                      0
  y = cr.sigmoid(s)
    y = sigmoid(s)                                  0.5
  return (y - target) ** 2
    a3 = y − target                                 −0.5
    loss = a3²                                      0.25

Backward, from ∂loss/∂loss = 1
  return (y - target) ** 2
    ∂loss/∂a3 = 2 · a3                              −1
    ∂loss/∂y = ∂loss/∂a3                            −1
  y = cr.sigmoid(s)
    ∂loss/∂s = ∂loss/∂y · (y · (1 − y))             −1 · 0.25 = −0.25
  s = (w * x).sum() + b
    ∂loss/∂a2 = ∂loss/∂s                            (1)  −0.25
    ∂loss/∂b = ∂loss/∂s                             −0.25
    ∂loss/∂a1 = ∂loss/∂a2 for each                  (2)  [−0.25 −0.25]
    ∂loss/∂w = ∂loss/∂a1 · x                        (2)  [−0.25 −0.5]

Gradients
    ∂loss/∂w                                        (2)  [−0.25 −0.5]
    ∂loss/∂b                                        −0.25"""
    )


def scalars(a, b, c):
    d = cr.tanh(a * b) - c / b
    e = cr.exp(d) + cr.log(b) * cr.sqrt(c)
    f = cr.sin(e) * cr.sigmoid(a) + cr.maximum(a, c) ** 3
    return cr.square(f - cr.atan(e)) + cr.log1p(cr.abs(d)) - f


def computed(rule, space):
    """The value of a formula of the text."""
    code = rule.replace("∂loss/∂", "d_").replace("·", "*").replace("−", "-").replace("^", "**")
    code = re.sub(r"(\w+)²", r"\1**2", code)
    code = re.sub(r"√(\w+)", r"sqrt(\1)", code)
    code = re.sub(r"\[(\w+) = 0: 0, else (.*)\]", r"(0 if \1 == 0 else \2)", code)
    code = re.sub(r"(\w+), by the rule of maximum", r"\1 * (a11 == of)", code)
    return eval(code, dict(space))


def test_every_formula_of_the_text_computes_what_it_says():
    """Forward formulas and rules are run as Python; the gradients are those of PyTorch."""
    start = {"a": 0.3, "b": 1.7, "c": 0.8}
    arguments = [cr.Tensor(v, dtype=cr.float64, requires_grad=True) for v in start.values()]
    functions = {f: getattr(np, f) for f in ("tanh", "exp", "log", "sqrt", "sin", "cos", "log1p")}
    functions |= {"maximum": np.maximum, "atan": np.arctan, "abs": np.abs, "sign": np.sign}
    space = {**functions, **start, "sigmoid": lambda x: 1 / (1 + np.exp(-x)), "d_loss": 1.0}
    lines = [x for x in cr.explain(scalars, *arguments).text().splitlines() if x[:4] == "    "]
    for line in lines:
        formula, _, result = line.strip().partition("  ")
        name, sign, rule = re.fullmatch(r"(\S+)(?: (\+?=) (.*))?", formula).groups()
        name = name.replace("∂loss/∂", "d_")
        if sign is None:  # among the gradients at the end: the sum of what was shared
            expected = space[name]
        else:
            expected = computed(rule, {**space, "of": space.get(name[2:])})
            space[name] = space.get(name, 0.0) + expected if sign == "+=" else expected
        product, _, result = result.strip().rpartition(" = ")
        assert value(result) == pytest.approx(expected, rel=6e-3, abs=1e-9), line
        if product:
            first, second = map(value, product.split(" · "))
            assert first * second == pytest.approx(expected, rel=2e-2, abs=1e-9), line
    assert len(lines) > 50
    exact = torch.tensor([*start.values()], dtype=torch.float64, requires_grad=True)
    x, y, z = exact
    d = torch.tanh(x * y) - z / y
    e = torch.exp(d) + torch.log(y) * torch.sqrt(z)
    f = torch.sin(e) * torch.sigmoid(x) + torch.maximum(x, z) ** 3
    (torch.square(f - torch.atan(e)) + torch.log1p(torch.abs(d)) - f).backward()
    assert [space[f"d_{n}"] for n in "abc"] == pytest.approx(exact.grad.tolist(), rel=1e-9)


def test_the_text_of_two_layers_has_the_gradients_of_pytorch():
    explanation, loss, gradients, _, _ = two_layers()
    text = explanation.text()
    forward, _, rest = text.partition("Backward, from")
    told = re.search(rf"^    loss = .* ({DIGITS})$", forward, re.MULTILINE)
    assert value(told[1]) == pytest.approx(loss, rel=5e-3)
    last = rest.partition("Gradients")[2]
    for name, gradient in gradients.items():
        line = next(x for x in last.splitlines() if f"∂loss/∂{name} " in x)
        shape, _, full = line.strip().split("  ", 1)[1].strip().partition(")  ")
        assert shape == f"({' × '.join(map(str, gradient.shape))}"
        assert numbers_of(full) == pytest.approx(gradient.ravel().tolist(), rel=6e-3, abs=1e-6)
    assert "∂loss/∂hidden = ∂loss/∂tanh · (1 − tanh²)" in rest
    assert "∂loss/∂tanh = ∂loss/∂a2 @ output.weight" in rest
    assert "∂loss/∂output.weightᵀ = tanhᵀ @ ∂loss/∂a2" in rest
    assert "∂loss/∂hidden.bias = sum(∂loss/∂hidden)" in rest
    assert "∂loss/∂output.bias = sum(∂loss/∂scores)" in rest
    assert re.search(r"a\d+ = \(0…2\) == label", text)


def test_the_text_explains_its_signs_where_they_occur():
    text, plain = two_layers()[0].text(), neuron().text()
    assert text.count("  +=: a share; the shares of a value add up\n") == 1
    assert text.count("  each b: b at every place that uses it; the gradient of b is the sum") == 1
    assert "+=" not in plain
    assert "each b" not in plain


def test_the_text_says_where_no_gradient_flows():
    w = cr.Tensor([1.0, 2.0], requires_grad=True)

    def loss(x):
        fixed = cr.stop_gradient(w * x)
        return (fixed * w).sum()

    lines = cr.explain(loss, cr.Tensor([3.0, 4.0])).text().splitlines()
    (marked,) = (x for x in lines if "(no gradient flows through it)" in x)
    assert "  [3 8]  (no" in marked
    text = two_layers()[0].text()
    (marked,) = (x for x in text.splitlines() if "(no gradient flows through it)" in x)
    assert " = max(scores) " in marked


@pytest.mark.parametrize("reverse", [False, True])
def test_the_step_of_a_loop_computes_what_it_says(reverse):
    """Its lines are run as Python, for all times."""
    w = cr.Tensor([[0.5, -1.0], [2.0, 0.25]], dtype=cr.float64, requires_grad=True)
    x = np.array([[0.1, 0.2], [0.3, -0.4], [0.5, 0.6]])

    def loss(x):
        def step(state, x):
            h, total = state
            h = cr.tanh(h @ w + x)
            return (h, total * 0.5 + h), h * h

        (_, total), _ = cr.scan(step, (cr.zeros(2, dtype=cr.float64),) * 2, x, reverse=reverse)
        return total.sum()

    text = cr.explain(loss, cr.Tensor(x)).text()
    start, *lines, then, results = re.search(
        r"^      from (.*)\n((?:        .*\n)+)      (a\d+ = .*)$", text, re.MULTILINE
    )[0].splitlines()
    assert start.endswith("t = 2 … 0:" if reverse else "t = 0 … 2:")
    assert re.fullmatch(r" *a\d+ = \(state1, state2, .*\)", results)
    space = {"w": w.numpy(), "x": x, "tanh": np.tanh, "state1": np.zeros(2), "state2": np.zeros(2)}
    for t in reversed(range(3)) if reverse else range(3):
        for line in lines:
            name, formula = line.strip().split(" = ")
            space[name] = eval(formula.replace("·", "*"), {**space, "t": t})
        new = re.fullmatch(r"then state1 = (\S+), state2 = (\S+)", then.strip()).groups()
        space |= {f"state{k}": space[name] for k, name in enumerate(new, 1)}
    h, total = np.zeros(2), np.zeros(2)
    for row in x[::-1] if reverse else x:
        h = np.tanh(h @ w.numpy() + row)
        total = total * 0.5 + h
    assert np.ravel(space["state1"]) == pytest.approx(h, rel=1e-9)
    assert np.ravel(space["state2"]) == pytest.approx(total, rel=1e-9)


def test_rows_of_a_table_are_explained_where_there_are_some():
    table = cr.Tensor(np.ones((3, 2)), requires_grad=True)
    rows = cr.Tensor([2, 0, 2])
    text = cr.explain(lambda i: (table[i] ** 2).sum(), rows).text()
    told = "rows i: v: v at the rows i of the table, added up where i repeats; 0 elsewhere"
    assert told in text
    assert "∂loss/∂table = rows i: " in text
    assert told not in neuron().text()
