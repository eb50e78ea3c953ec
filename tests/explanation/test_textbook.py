"""The printed derivations are those of the textbooks, by computer algebra.

Each is read from its text, computed on matrices of symbols, and compared with the textbook's
formulas, which are entered here.
"""

import numpy as np
import pytest
import sympy
from reading_mathematics import Reader, apply, equal, symbols

import chainrule as cr
from chainrule import nn
from chainrule.explanation import mathematics


def printed(f, *args):
    e = cr.explain(f, *args)
    return mathematics.unicode(mathematics.equations(e._derivation))


# ── two layers, cross-entropy: Goodfellow, Bengio, Courville, Deep Learning, 6.2.2.3 and 6.5.6 ────


class Net(nn.Module):
    def __init__(self):
        self.fc1, self.fc2 = nn.Linear(2, 2), nn.Linear(2, 3)

    def forward(self, x):
        return self.fc2(cr.tanh(self.fc1(x)))


def network():
    net = Net()
    text = printed(
        lambda x, y: nn.functional.cross_entropy(net(x), y),
        cr.random.normal((2, 2)),
        cr.Tensor([2, 0]),
    )
    shapes = {"x": (2, 2), "W₁": (2, 2), "b₁": (2,), "W₂": (3, 2), "b₂": (3,)}
    values = {name: symbols(name, *shape) for name, shape in shapes.items()}
    return text, values | {"y": np.array([2, 0]), "N": sympy.Integer(2)}


def test_two_layers_with_cross_entropy():
    text, values = network()
    v = Reader(values, {"n": 2}, classes=3).run(text)
    x, w1, b1, w2, b2 = (values[k] for k in ("x", "W₁", "b₁", "W₂", "b₂"))
    h = apply("tanh", x @ w1.T + b1)
    p = apply("softmax", h @ w2.T + b2)
    g = (p - np.eye(3, dtype=int)[[2, 0]]) / 2
    below = g @ w2 * (1 - h**2)
    book = {
        "L": -sum(sympy.log(p[n, c]) for n, c in enumerate([2, 0])) / 2,
        "∂L/∂W₂": g.T @ h,
        "∂L/∂b₂": g.sum(0),
        "∂L/∂W₁": below.T @ x,
        "∂L/∂b₁": below.sum(0),
    }
    for name, formula in book.items():
        assert equal(v[name], formula), name
    for name in ("W₂", "b₁"):  # and by differentiation
        slopes = [sympy.diff(book["L"], s) for s in values[name].ravel()]
        at = dict.fromkeys(set().union(*(s.free_symbols for s in slopes)), 0)
        at = {s: sympy.Rational(k % 7 - 3, 4) for k, s in enumerate(sorted(at, key=str))}
        found = [float(sympy.N(e.subs(at))) for e in v[f"∂L/∂{name}"].ravel()]
        np.testing.assert_allclose(found, [float(sympy.N(s.subs(at))) for s in slopes], rtol=1e-9)


@pytest.mark.parametrize(
    ("right", "wrong"), [("1 − h²", "1 + h²"), ("p − onehot", "p + onehot"), ("δ₂ᵀ h", "hᵀ δ₂")]
)
def test_a_wrong_line_is_caught(right, wrong):
    text, values = network()
    expected = Reader(values, {"n": 2}, classes=3).run(text)
    assert right in text
    v = Reader(values, {"n": 2}, classes=3).run(text.replace(right, wrong))
    names = [n for n in v if n.startswith("∂")]
    assert not all(v[n].shape == expected[n].shape and equal(v[n], expected[n]) for n in names)


# ── LSTM: Hochreiter and Schmidhuber (1997); Graves (2012), with a forget gate, without peepholes ─


def sigmoid(x):
    return apply("σ", x)


def gates(z, k):
    """The four gates of their sums, in the order of the layer: i, f, g, o."""
    i, f, g, o = (z[:, j * k : (j + 1) * k] for j in range(4))
    return sigmoid(i), sigmoid(f), apply("tanh", g), sigmoid(o)


def below_gates(dh, dc, c, i, f, g, o):
    """What reaches the sums of the gates."""
    return np.concatenate(
        [dc * g * i * (1 - i), dc * c * f * (1 - f), dc * i * (1 - g**2), dh * o * (1 - o)], axis=1
    )


def test_a_cell_of_an_lstm():
    cell = nn.LSTMCell(2, 1)
    text = printed(
        lambda x, h, c: cell(x, (h, c))[0].sum(), *(cr.random.normal((2, n)) for n in (2, 1, 1))
    )
    shapes = {"Wᵢₕ": (4, 2), "Wₕₕ": (4, 1), "bᵢₕ": (4,), "bₕₕ": (4,)}
    values = {name: symbols(name, *shape) for name, shape in shapes.items()}
    values |= {name: symbols(name, 2, n) for name, n in (("x", 2), ("h", 1), ("c", 1))}
    v = Reader(values, {"n": 2, "i": 1}).run(text)
    x, h, c = values["x"], values["h"], values["c"]
    z = x @ values["Wᵢₕ"].T + values["bᵢₕ"] + h @ values["Wₕₕ"].T + values["bₕₕ"]
    i, f, g, o = gates(z, 1)
    new_c = f * c + i * g
    tanh = apply("tanh", new_c)
    dh = np.ones((2, 1), dtype=object)
    dz = below_gates(tanh * dh, dh * o * (1 - tanh**2), c, i, f, g, o)
    assert equal(v["L"], (o * tanh).sum())
    assert equal(v["∂L/∂Wᵢₕ"], dz.T @ x)
    assert equal(v["∂L/∂Wₕₕ"], dz.T @ h)
    assert equal(v["∂L/∂bᵢₕ"], dz.sum(0))
    assert equal(v["∂L/∂bₕₕ"], dz.sum(0))


def test_a_step_of_an_lstm_and_of_its_backward_pass():
    """At a time t, from what the steps before and after it hand on."""
    rnn = nn.LSTM(2, 1)
    text = printed(lambda x: (rnn(x)[0] ** 2).sum(), cr.random.normal((2, 3, 2)))
    lines = [line for line in text.splitlines() if "[t" in line.partition(" = ")[0]]
    shapes = {"Wᵢₕ": (4, 2), "Wₕₕ": (4, 1), "bᵢₕ": (4,), "bₕₕ": (4,), "x[:,t]": (2, 2)}
    for name in ("h[t−1]", "c[t−1]", "f[t+1]", "δ_c[t+1]", "δₕ₂[:,t]"):
        shapes[name] = 2, 1
    shapes["δ[t+1]"] = 2, 4
    values = {name: symbols(name, *shape) for name, shape in shapes.items()}
    v = Reader(values).run("\n".join(lines))
    h, c, below = values["h[t−1]"], values["c[t−1]"], values["δ[t+1]"]
    z = values["x[:,t]"] @ values["Wᵢₕ"].T + values["bᵢₕ"] + h @ values["Wₕₕ"].T + values["bₕₕ"]
    i, f, g, o = gates(z, 1)
    new_c = f * c + i * g
    tanh = apply("tanh", new_c)
    dh = values["δₕ₂[:,t]"] + below @ values["Wₕₕ"]
    dc = dh * o * (1 - tanh**2) + values["δ_c[t+1]"] * values["f[t+1]"]
    assert equal(v["c[t]"], new_c)
    assert equal(v["h[t]"], o * tanh)
    assert equal(v["δₕ[t]"], dh)
    assert equal(v["δ_c[t]"], dc)
    assert equal(v["δ[t]"], below_gates(tanh * dh, dc, c, i, f, g, o))
    assert "∂L/∂Wₕₕ = Σₜ δ[t]ᵀ h[t − 1]" in text
    assert "∂L/∂Wᵢₕ = Σₜ δ[t]ᵀ x[:, t]" in text


# ── attention: Vaswani et al. (2017), equation 1, and its derivative ──────────────────────────────


def test_attention():
    q, k, v, t = (cr.Tensor(np.ones((2, 2)), requires_grad=n < 3) for n in range(4))

    def loss(q, k, v, t):
        y = nn.functional.scaled_dot_product_attention(q, k, v)
        return (y * t).sum()

    text = printed(loss, q, k, v, t)
    values = {name: symbols(name, 2, 2) for name in "qkvt"}
    out = Reader(values, {"n": 2, "i": 2}).run(text)
    q, k, v, t = values.values()
    p = apply("softmax", q @ k.T / sympy.sqrt(2))
    dp = t @ v.T
    ds = p * (dp - (dp * p).sum(1, keepdims=True)) / sympy.sqrt(2)
    book = {"L": (p @ v * t).sum(), "∂L/∂v": p.T @ t, "∂L/∂q": ds @ k, "∂L/∂k": ds.T @ q}
    for name, formula in book.items():
        assert equal(np.squeeze(out[name]), formula), name
