"""The mathematics of an explanation: every equation against the recorded values, and its text.

One file, as one table of networks serves nearly all of its tests.
"""

import re

import numpy as np
import pytest
from evaluating import solved
from hypothesis import given, settings
from hypothesis import strategies as st

import chainrule as cr
import fuzzing
from chainrule import nn
from chainrule.explanation import mathematics
from chainrule.explanation.mathematics import algebra
from chainrule.explanation.mathematics.expression import Number, Plain

cross_entropy, mse = nn.functional.cross_entropy, nn.functional.mse_loss


def data(*shape, grad=False):
    values = np.random.default_rng(sum(shape)).normal(size=shape)
    return cr.Tensor(values, requires_grad=grad)


def labels(*values):
    return cr.Tensor(list(values))


def double(module):
    """The module in float64, with weights of the order of 1."""
    rng = np.random.default_rng(0)
    for part in module.modules():
        for name, t in vars(part).items():
            if isinstance(t, cr.Tensor) and t.dtype == cr.float32:
                values = rng.normal(size=t.shape) * 0.5 if t.requires_grad else np.asarray(t)
                new = cr.Tensor(values.astype(np.float64), requires_grad=t.requires_grad)
                vars(part)[name] = new
    return module


def written(f, *args):
    e = cr.explain(f, *args)
    return mathematics.equations(e._derivation), e


def square(out):
    return (out * out).mean()


def mlp(activation=nn.Tanh):
    return double(nn.Sequential(nn.Linear(3, 4), activation(), nn.Linear(4, 3)))


def classifier(model, **options):
    return lambda x, y: cross_entropy(model(x), y, **options)


def table():
    x, y = data(5, 3), labels(0, 2, 1, 1, 0)
    out = {"mlp": (classifier(mlp()), x, y)}
    for name in ("ReLU", "Sigmoid", "GELU", "SiLU", "ELU", "LeakyReLU", "Softplus", "Hardtanh"):
        out[name] = (classifier(mlp(getattr(nn, name))), x, y)
    out["smoothing"] = (classifier(mlp(), label_smoothing=0.1, ignore_index=2), x, y)
    out["weights"] = (classifier(mlp(), weight=cr.Tensor([0.5, 1.0, 2.0])), x, y)
    out["soft targets"] = (classifier(mlp()), x, cr.softmax(data(5, 3)))
    out["one sample"] = (classifier(mlp()), data(1, 3), labels(1))
    dropped = double(nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.Linear(4, 3)))
    out["dropout"] = (classifier(dropped), x, y)
    norm = double(nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 1)))
    out["batch norm"] = (lambda x, t: mse(norm(x), t), x, data(5, 1))
    layer = double(nn.Sequential(nn.LayerNorm(3), nn.Linear(3, 2)))
    out["layer norm"] = (lambda x: square(layer(x)), data(5, 3, grad=True))
    conv = double(
        nn.Sequential(
            nn.Conv2d(2, 3, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(12, 3)
        )
    )
    out["convolution"] = (classifier(conv), data(2, 6, 6, 2), labels(0, 2))
    padded = double(nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.Tanh(), nn.Conv2d(2, 2, 3)))
    out["padded convolution"] = (lambda x: square(padded(x)), data(2, 5, 5, 1))
    strided = double(nn.Sequential(nn.Conv1d(2, 3, 3, stride=2), nn.AvgPool1d(2)))
    out["strides"] = (lambda x: square(strided(x)), data(2, 9, 2))
    embedding = double(nn.Embedding(7, 3))
    out["embedding"] = (lambda t: square(embedding(t)), labels(3, 0, 3, 6))
    for kind in ("RNN", "GRU", "LSTM"):
        rnn = double(getattr(nn, kind)(3, 2))
        out[kind] = (lambda x, rnn=rnn: square(rnn(x)[0]), data(2, 5, 3))
        cell = double(getattr(nn, kind + "Cell")(3, 2))
        out[kind + "Cell"] = (lambda x, cell=cell: square(cell(x)[0]), data(2, 3))
    last = double(nn.LSTM(3, 2, num_layers=2))
    out["last state"] = (lambda x: square(last(x)[1][0]), data(2, 4, 3))
    both = double(nn.LSTM(3, 2, bidirectional=True))
    out["two directions"] = (lambda x: square(both(x)[0]), data(2, 4, 3))
    attend = nn.functional.scaled_dot_product_attention
    qkv = [data(4, 2, grad=True), data(3, 2, grad=True), data(3, 5, grad=True)]
    out["attention"] = (lambda *qkv: square(attend(*qkv)), *qkv)
    out["causal"] = (lambda x: square(attend(x, x, x, is_causal=True)), data(4, 2, grad=True))
    heads = double(nn.MultiheadAttention(4, 2))
    out["heads"] = (lambda x: square(heads(x, x, x)[0]), data(2, 3, 4))
    encoder = double(nn.TransformerEncoderLayer(4, 2, 6, dropout=0.0))
    out["encoder"] = (lambda x: square(encoder(x)), data(2, 3, 4))
    w = data(3, 2, grad=True)
    out["lines"] = (lambda x: ((cr.tanh(x @ w) - 1) ** 2).sum(), x)
    out["vector"] = (lambda x: cr.tanh((x * w[:, 0]).sum()), data(3))
    out["logsumexp"] = (lambda x: cr.logsumexp(x @ w, axis=1).mean(), x)
    out["norm"] = (lambda x: cr.norm(x @ w), x)
    out["cumulative"] = (lambda x: (cr.cumulative_sum(x @ w, axis=0) ** 2).sum(), x)
    out["flip"] = (lambda x: (cr.flip(x @ w) * x[:, :2]).sum(), x)
    out["concat"] = (lambda x: square(cr.tanh(cr.concat([x @ w, x], axis=1))), x)
    out["minimum"] = (lambda x: cr.minimum(x @ w, 0.3).sum() + cr.abs(x @ w).sum(), x)
    v = data(3, grad=True)
    loop = lambda c, x: (cr.tanh(c * v + x), c)  # noqa: E731
    out["loop"] = (lambda x: (cr.scan(loop, v, x)[1] ** 3).sum(), x)
    out["loop and its end"] = (lambda x: sum((r**2).sum() for r in cr.scan(loop, v, x)), x)
    out["loop from the end"] = (lambda x: (cr.scan(loop, v, x, reverse=True)[0] ** 2).sum(), x)
    out["sorted loop"] = (lambda x: (cr.sort(cr.scan(loop, v, x)[1], axis=0) ** 2).sum(), x)
    out["constant loop"] = (lambda x: cr.scan(loop, x[0], x)[1].sum(), x)
    out["identity"] = (lambda a: a * 1, data(grad=True))
    out["sum"] = (lambda a: -a.sum(), v)
    out["product"] = (lambda a: cr.prod(a), v)
    out["cumulative product"] = (lambda a: (cr.cumulative_prod(a) ** 2).sum(), v)
    out["twice the same"] = (lambda a: square(cr.concat([a, a, cr.sin(a)])), v)
    out["clamp"] = (lambda a: cr.where(a < 0.5, a, 0.5).sum(), v)
    out["sort"] = (lambda a: cr.sort(a)[1], v)
    out["powers"] = (lambda a: (cr.exp(a) ** a).sum(), v)
    out["gradient"] = (lambda a: (cr.grad(lambda z: cr.sin(z * z).sum())(a) ** 2).sum(), v)
    out["negative index"] = (lambda a: (cr.take(a, labels(-1, 0), axis=0) ** 2).sum(), w)
    out["roll"] = (lambda a: (cr.roll(a, 1) * a).sum(), v)
    groups = double(nn.GroupNorm(2, 4))
    out["group norm"] = (lambda a: (groups(a) ** 3).sum(), data(2, 3, 4, grad=True))
    by_channel = double(nn.Conv1d(2, 2, 3, groups=2))
    out["depthwise"] = (lambda x: square(by_channel(x)), data(2, 5, 2))
    grouped = double(nn.Sequential(nn.Conv1d(4, 4, 1), nn.Conv1d(4, 6, 3, groups=2, stride=2)))
    out["groups"] = (lambda x: square(grouped(x)), data(2, 5, 4))
    below = double(nn.Sequential(nn.Conv1d(1, 2, 1), nn.Conv1d(2, 2, 3, stride=2, padding=1)))
    out["strides below"] = (lambda x: square(below(x)), data(2, 6, 1))
    up = double(nn.ConvTranspose1d(1, 2, 3, stride=2))
    out["transposed convolution"] = (lambda x: square(up(x)), data(1, 3, 1))
    out["added mask"] = (
        lambda q, b: square(attend(q, q, q, attn_mask=b)),
        w,
        data(3, 3, grad=True),
    )
    linear = double(nn.Linear(3, 1))
    optimizer = cr.optim.Adam(linear.parameters())

    def step(x, t):
        loss = mse(linear(x), t)
        loss.backward()
        nn.utils.clip_grad_norm_(linear.parameters(), 1.0)
        optimizer.step()
        return loss

    out["step"] = (step, x, data(5, 1))
    bce = nn.functional.binary_cross_entropy_with_logits
    out["two classes"] = (lambda x, t: bce(linear(x), t), x, data(5, 1) > 0)
    out["checkpoint"] = (lambda x: square(cr.checkpoint(lambda a: cr.sin(a @ w))(x)), x)
    return out


CASES = table()


# not written by elements: reshaping that joins axes, the places of maxima, sorting, and lookups
# that count from the end
PLAIN = {
    "convolution": {"reshape"},
    "strides": {"reshape"},
    "group norm": {"reshape"},
    "sort": {"argsort"},
    "sorted loop": {"argsort", "reshape"},
    "negative index": {"take", "scatter_add"},
}


@pytest.mark.parametrize("name", CASES)
def test_every_equation_has_the_recorded_value(name):
    f, *args = CASES[name]
    m, e = written(f, *args)
    check(m, e)
    parts = [x for _, equations in m.parts for q in equations for x in q.right.walk()]
    assert {x.operation for x in parts if isinstance(x, Plain)} == PLAIN.get(name, set())


def check(m, e, rtol=1e-9):
    """Every symbol's equations give its value, and each gradient is among them."""
    tensors = solved(m)
    for symbol, value in tensors.items():
        if symbol.value is not None:
            scale = np.abs(symbol.value).max(initial=1e-3)
            np.testing.assert_allclose(value, symbol.value, rtol=0, atol=rtol * scale)
    assert {s.of.name for s in tensors if s.text.startswith("∂")} == {*e.gradients}
    assert all(q.backward for _, part in m.parts for q in part if q.left.symbol.of)
    text = mathematics.latex(m)
    assert text.count("{") == text.count("}")
    assert text.count(r"\left") == text.count(r"\right")


def test_a_wrong_equation_is_caught():
    m, e = written(*CASES["mlp"])
    part = next(p for _, p in m.parts if p[0].backward)
    part[0].right = algebra.negative(part[0].right)
    with pytest.raises(AssertionError):
        check(m, e)


LAYERS = st.sampled_from(("Tanh", "ReLU", "Sigmoid", "GELU", "LayerNorm", "BatchNorm1d"))


@settings(max_examples=15, deadline=None)
@given(st.lists(LAYERS, max_size=3), st.integers(1, 5), st.integers(2, 4), st.booleans())
def test_random_networks(layers, rows, width, classes):
    rows += "BatchNorm1d" in layers
    parts = [nn.Linear(3, width)]
    for name in layers:
        parts += [getattr(nn, name)(*[width] * ("Norm" in name)), nn.Linear(width, width)]
    model = double(nn.Sequential(*parts))
    x = data(rows, 3)
    if classes:
        m, e = written(classifier(model), x, labels(*[k % width for k in range(rows)]))
    else:
        m, e = written(lambda x: square(model(x)), x)
    check(m, e, rtol=1e-7)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("part", range(4))
def test_random_programs(part):
    """Of the statements of `fuzzing.py`: assignments, lookups, loops, derivatives inside."""
    for seed in range(part, 40, 4):
        program = fuzzing.Program(seed)
        body, (s, _) = program.chain(2, 0), program.start()

        def loss(x, body=body, s=s):
            return square(body(s, x)) + (s["table"] ** 2).sum()

        m, e = written(loss, cr.Tensor(program.inputs[0]))
        check(m, e, rtol=1e-6)


# ── texts ────────────────────────────────────────────────────────────────────────────────────────


def lines(m):
    return [
        f"{left} = {right}" for _, part in m.parts for left, right in map(mathematics.text, part)
    ]


def test_a_network_with_cross_entropy_is_the_textbooks():
    class Net(nn.Module):
        def __init__(self):
            self.fc1, self.fc2 = nn.Linear(3, 4), nn.Linear(4, 2)

        def forward(self, x):
            h = cr.tanh(self.fc1(x))
            return self.fc2(h)

    net = Net()
    m, _ = written(lambda x, y: cross_entropy(net(x), y), data(5, 3), labels(0, 1, 1, 0, 1))
    assert lines(m) == [
        "z₁ = x W₁ᵀ + b₁",
        "h = tanh(z₁)",
        "z₂ = h W₂ᵀ + b₂",
        "p = softmax(z₂)",
        "L = −(1/N) Σₙ log(p[n, y[n]])",
        "δ₂ = (p − onehot(y)) / N",
        "∂L/∂b₂ = Σₙ δ₂[n]",
        "∂L/∂W₂ = δ₂ᵀ h",
        "δ₁ = (δ₂ W₂) ⊙ (1 − h²)",
        "∂L/∂b₁ = Σₙ δ₁[n]",
        "∂L/∂W₁ = δ₁ᵀ x",
    ]
    text = mathematics.unicode(m)
    assert "W₁  (4×3)  fc1.weight" in text
    note = "true everywhere on this sample: y[n] ≠ −100; maxima are finite"
    assert text.splitlines()[-1] == note


def test_two_classes_are_the_textbooks():
    m, _ = written(*CASES["two classes"])
    assert "δ = (σ(z) − t) / N" in lines(m)


def test_one_sample_has_probabilities_too():
    m, _ = written(*CASES["one sample"])
    assert lines(m)[3:6] == ["p = softmax(z₂)", "L = −log(p[y])", "δ₂ = p − onehot(y)"]
    places = {q.left.symbol.text: step.path for step, part in m.parts for q in part}
    assert places["∂L/∂b_0"] == places["∂L/∂W_0"] == "0"


def test_a_gru_has_the_letters_of_textbooks():
    rnn = double(nn.GRU(3, 2))
    m, _ = written(lambda x: square(rnn(x)[0]), data(2, 4, 3))
    assert lines(m)[1:5] == [
        "z[t] = σ(x[:, t] Wᵢₕ[2:4]ᵀ + bᵢₕ[2:4] + a[t, :, 2:4])",
        "r[t] = σ(x[:, t] Wᵢₕ[0:2]ᵀ + bᵢₕ[0:2] + a[t, :, 0:2])",
        "n[t] = tanh(x[:, t] Wᵢₕ[4:6]ᵀ + bᵢₕ[4:6] + r[t] ⊙ a[t, :, 4:6])",
        "h[t] = (1 − z[t]) ⊙ n[t] + z[t] ⊙ h[t − 1]",
    ]


def test_a_loop_over_a_cell_has_the_letters_of_textbooks_by_step():
    cell = double(nn.LSTMCell(3, 2))

    def unrolled(x):
        h, c = data(2, 2), data(2, 2) * 2
        for t in range(2):
            h, c = cell(x[:, t], (h, c))
        return (h**2).sum()

    m, e = written(unrolled, data(2, 2, 3))
    check(m, e)
    assert lines(m)[8:16] == [
        "z₂ = x[:, 1] Wᵢₕᵀ + bᵢₕ + h₁ Wₕₕᵀ + bₕₕ",
        "f₂ = σ(z₂[:, 2:4])",
        "i₂ = σ(z₂[:, 0:2])",
        "g₂ = tanh(z₂[:, 4:6])",
        "c₂ = f₂ ⊙ c₁ + i₂ ⊙ g₂",
        "o₂ = σ(z₂[:, 6:8])",
        "a₂ = tanh(c₂)",
        "h₂ = o₂ ⊙ a₂",
    ]


def test_one_sequence_has_sums_over_time_too():
    model = double(nn.RNN(1, 2))
    head = double(nn.Linear(2, 1))
    m, e = written(lambda x: head(model(x)[0][:, -1]).sum(), data(1, 4, 1))
    check(m, e)
    assert "∂L/∂Wᵢₕ = Σₜ δ[t]ᵀ x[t]" in lines(m)
    assert "h[t] = tanh(x[t] Wᵢₕᵀ + bᵢₕ + h[t − 1] Wₕₕᵀ + bₕₕ)" in lines(m)
    for text in (mathematics.unicode(m), mathematics.latex(m).replace("-", "−")):
        assert "h[−1] = 0" in text
        assert "[4] = 0" in text  # of δ


def test_a_batch_is_coupled_in_three_ways():
    m, _ = written(*CASES["batch norm"])
    text = mathematics.unicode(m)
    assert "μ = (1/N) Σₙ z₀[n]" in text
    assert "σ² = (1/N) Σₙ (z₀[n] − μ)²" in text
    means = "(1/N) Σₘ δₕ[m] − (1/N) x̂ Σₘ δₕ[m] ⊙ x̂[m]"
    assert f"δ₀ = γ ⊙ (δₕ − {means}) / √(σ² + 10⁻⁵)" in text


def test_a_convolution_is_a_sum_over_the_window():
    m, _ = written(*CASES["convolution"])
    assert lines(m)[0].startswith("z₀[n, i, j, k] = Σₗ Σₘ Σₒ x[n, i + l, j + m, o] W₀[l, m, o, k]")
    assert "h₂[n, i, j, k] = maxₗ maxₘ h₁[n, 2i + l, 2j + m, k]" in lines(m)


def test_pooling_back_is_told_by_the_first_place_of_the_maximum():
    x = data(1, 6, 4, 2, grad=True)
    m, e = written(lambda x: square(cr.max_pool(cr.tanh(x), (2, 2))), x)
    check(m, e)
    unicode = mathematics.unicode(m)
    # a window of two rows and two columns: its place m is in row m/2 and column m mod 2
    assert re.search(
        r"(\w+)\[j, k, l\] = argmaxₘ \w+\[2j \+ ⌊m/2⌋, 2k \+ \(m mod 2\), l\]", unicode
    )
    assert "[⌊j/2⌋, ⌊k/2⌋, l] = 2(j mod 2) + (k mod 2)]" in unicode
    assert "by definition: argmax is the first place of the maximum" in unicode
    assert r"\operatorname{argmax}_{m}" in mathematics.latex(m)


def test_the_axis_of_one_sample_has_no_place_in_any_form():
    last, linear = (lambda h: h[:, 3]), double(nn.Linear(2, 3))
    m, e = written(lambda x: square(linear(last(cr.tanh(x)))), data(1, 5, 2, grad=True))
    check(m, e)
    assert re.search(r" = \w+\[3\]", mathematics.unicode(m))  # a row of a matrix
    assert re.search(r"\[j, k\] = .*\[j = 3\]", mathematics.unicode(m))  # an element
    assert not any("[:" in line for line in lines(m))


def test_of_equals_the_first_is_the_maximum():
    x = cr.Tensor(np.ones((1, 2, 2, 1)), requires_grad=True)
    e = cr.explain(lambda x: square(cr.max_pool(x, (2, 2)) * 3), x)
    check(mathematics.equations(e._derivation), e)


def test_what_is_unflattened_is_read_by_its_places():
    unicode = mathematics.unicode(written(lambda x: square(cr.tanh(x).reshape(6)), data(2, 3))[0])
    assert re.search(r"\[i, j\] = .*\[3i \+ j\]", unicode)


def test_numbers_are_fractions_where_they_can_be():
    assert algebra.number(0.1) == Number(algebra.Fraction(1, 10))
    third = float(np.float32(1 / 3))
    assert algebra.number(third, 2e-7) == Number(algebra.Fraction(1, 3))
    assert algebra.number(third) == Number(third)


rows, w, v, wide = (data(4, 2), *(data(2, k, grad=True) for k in (2, 1, 4)))


@pytest.mark.parametrize(
    ("function", "loss", "gradient"),
    [
        (lambda x: 0.5 * ((x @ w) ** 2).mean(), "(1/(4 N)) Σₙ Σᵢ z[n, i]²", "z / (2 N)"),
        (lambda x: 0.25 * ((x @ w) ** 2).sum(), "(1/4) Σₙ Σᵢ z[n, i]²", "z / 2"),
        (lambda x: (0.25 * (x @ v) ** 2).mean(), "(1/(4 N)) Σₙ z[n]²", "z / (2 N)"),
        (lambda x: (cr.sin(x @ v) / 4).sum(), "(1/4) Σₙ sin(z[n])", "cos(z) / 4"),
        (lambda x: ((x @ w) ** 2).sum() / 8, "(1/(2 N)) Σₙ Σᵢ z[n, i]²", "z / N"),
        (lambda x: 2 * ((x @ wide) ** 2).mean(), "(1/(2 N)) Σₙ Σᵢ z[n, i]²", "z / N"),
    ],
)
def test_what_is_n_by_chance_is_not_written_as_n(function, loss, gradient):
    """Of 4 samples: N is what a sum over them is divided by."""
    m, e = written(function, rows)
    check(m, e)
    assert lines(m)[1:3] == [f"L = {loss}", f"δ = {gradient}"]


def test_equal_layers_are_explained_once():
    layer = nn.TransformerEncoderLayer(4, 2, 6, dropout=0.0)
    model = double(nn.TransformerEncoder(layer, 4))
    m, _ = written(lambda x: square(model(x)), data(2, 3, 4))
    text = mathematics.unicode(m)
    for k in (1, 2, 3):
        assert f"  layers.{k} as layers.0" in text
    for k in (1, 2):  # on the way back, where layers.0 gives no gradient to its input
        assert f"  layers.{k} as layers.3" in text
    groups = [g for g in mathematics.folded(m) if not g.like]
    assert [g.layer for g in groups if not g.is_backward] == ["layers.0", ""]
    different = double(nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3), nn.Tanh()))
    assert " as " not in mathematics.unicode(
        written(classifier(different), data(2, 3), labels(0, 1))[0]
    )


def test_latex_is_plain_ascii():
    for name in ("mlp", "LSTM", "batch norm", "attention", "GELU", "smoothing"):
        m, _ = written(*CASES[name])
        text = re.sub(r"\\text\{.*\}", "", mathematics.latex(m))
        assert text.isascii(), {c for c in text if not c.isascii()}


def test_the_axis_of_a_softmax_is_its_subscript_in_latex():
    m, _ = written(lambda x: square(cr.softmax(x, axis=0)), data(3, 4))
    assert r"\operatorname{softmax}_{k}\left(x[k, j]\right)[i]" in mathematics.latex(m)


def test_latex_says_what_it_uses_of_the_sample():
    m, _ = written(*CASES["mlp"])
    assert m.assumed
    unicode, latex = mathematics.unicode(m), mathematics.latex(m)
    title = "true everywhere on this sample"
    assert f"{title}: y[n] ≠ −100; maxima are finite" in unicode
    assert r"y[n] \ne -100" in latex.partition(rf"\text{{{title}}}")[2]
    assert r"\\" + "\n" + r"\text{maxima are finite}" in latex


def test_latex_has_the_symbols_of_the_text():
    linear = double(nn.Linear(3, 2))
    m, _ = written(lambda x: square(linear(x)), data(4, 3))
    rows = (
        r"x & (4 \times 3) \\",
        r"W & (2 \times 3) & \text{weight} \\",
        r"b & (2) & \text{bias}",
    )
    table = "\n".join([r"\begin{array}{lll}", *rows, r"\end{array}"])
    assert mathematics.latex(m).startswith(f"$$\n{table}\n$$\n\n")


# ── gradients that are something else, too ───────────────────────────────────────────────────────

a, b = cr.Tensor([1.0, 2.0]), cr.Tensor([3.0, 5.0])
two, three = cr.Tensor(2.0), cr.Tensor(3.0)


@pytest.mark.parametrize(
    ("function", "args", "forward", "backward"),
    [
        (lambda x, w: (x * w).sum(), (a, b), ["L = Σᵢ x[i] w[i]"], ["∂L/∂x = w", "∂L/∂w = x"]),
        (lambda x, w: x * w, (two, three), ["L = x w"], ["∂L/∂x = w", "∂L/∂w = x"]),
        (lambda x: (x * 2).sum(), (a,), ["L = 2 Σᵢ x[i]"], ["∂L/∂x = 2"]),
        (lambda x, w: (x + w).sum(), (a, b), None, ["∂L/∂x = 1", "∂L/∂w = 1"]),
        (lambda x, w: ((x + w) ** 2).sum(), (a, b), None, ["∂L/∂x = 2 (x + w)", "∂L/∂w = ∂L/∂x"]),
        (lambda x: x, (two,), ["L = x"], ["∂L/∂x = 1"]),
        (lambda x: x * 0 + 3, (two,), ["L = 3"], ["∂L/∂x = 0"]),
        (lambda x: cr.exp(x).sum(), (a,), ["a = exp(x)", "L = Σᵢ a[i]"], ["∂L/∂x = a"]),
        (
            lambda x, w: (cr.tanh(x) * w).sum(),
            (a, b),
            ["a = tanh(x)", "L = Σᵢ a[i] w[i]"],
            ["∂L/∂w = a", "∂L/∂x = w ⊙ (1 − a²)"],
        ),
    ],
)
def test_gradients_that_are_inputs_constants_or_values(function, args, forward, backward):
    e = cr.explain(function, *args)
    rows = [(q.backward, " = ".join(mathematics.text(q))) for _, p in e._equations.parts for q in p]
    assert forward is None or [row for back, row in rows if not back] == forward
    assert [row for back, row in rows if back] == backward
    assert all(form() for form in (e.text, e.story, e.latex, e.numpy, e.page))


def test_a_loss_that_is_an_input_is_told():
    assert "loss = x" in cr.explain(lambda x: x, two).text()


# ── long rows of operations ──────────────────────────────────────────────────────────────────────


def test_five_hundred_steps_are_written_in_short_equations():
    def repeated(x, w):
        for _ in range(500):
            x = cr.sin(x) * w
        return x.sum()

    lines = cr.explain(repeated, a, b).unicode().splitlines()
    assert max(map(len, lines)) < 300


def test_the_number_of_equations_grows_with_the_steps():
    """Not with their square: where a value was chosen, gradients are 0, once and for all."""

    def repeated(x, w, steps):
        for _ in range(steps):
            x = cr.relu(x * w) + 0.1
        return x.sum()

    few, many = (sum(len(p) for _, p in written(repeated, a, b, n)[0].parts) for n in (40, 80))
    assert many < 2.1 * few


def test_long_rows_are_true():
    def repeated(x, w):
        for _ in range(40):
            x = cr.sin(x) * w + x
        return x.sum()

    check(*written(repeated, data(2), data(3)[:2]))


def test_a_quotient_is_not_cancelled_where_it_is_0_by_0():
    def loss(x):
        return (x / x).sum()

    assert "L = 3" in cr.explain(loss, cr.Tensor([3.0, 1.0, 2.0])).unicode()
    text = cr.explain(loss, cr.Tensor([0.0, 1.0, 2.0])).unicode()
    assert "divide(x, x)" in text  # the loss is nan
    assert "L = 3" not in text
