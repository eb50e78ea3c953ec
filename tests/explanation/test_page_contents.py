"""What a page shows as data: variants of the network, what only Python computes, large networks."""

import base64
import json
from typing import Any

import numpy as np
import pytest
from computing import Computer

import chainrule as cr
from chainrule import nn
from chainrule.explanation.derive import derive
from chainrule.explanation.page import values
from chainrule.explanation.page.contents import contents
from chainrule.explanation.page.variants import Label, Variants, variants

F = nn.functional
X, Y = cr.random.normal((4, 6)), cr.Tensor([0, 2, 1, 1])


@pytest.fixture(scope="module")
def computer(browser):
    return Computer(browser)


class Network(nn.Module):
    """Activations in attributes and in a list, hidden layers in a Sequential."""

    def __init__(self) -> None:
        self.body = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 5), nn.Tanh())
        self.drop = nn.Dropout(0.5)
        self.after = [nn.Tanh()]
        self.head = nn.Linear(5, 3)

    def forward(self, x: Any) -> Any:
        return self.head(self.after[0](self.drop(self.body(x))))


def explained(net: Any) -> tuple[Any, dict[str, Any]]:
    def loss(x: Any, y: Any) -> Any:
        return F.cross_entropy(net(x), y)

    derivation = derive(loss, (X, Y), {})
    return derivation, contents(derivation, "", variants(loss, (X, Y), {}, derivation))


RUN_ALL = """
const passes = [null, ...argument.variants].map((v) => new chainrule.Pass(argument, v ?? argument));
return passes.map((pass) => pass.run().loss);
"""


def test_variants_are_other_networks(computer):
    cr.random.seed(1)
    net = Network()
    state, weights, shown = cr.random.default.state.numpy(), net.state_dict(), repr(net)
    _, data = explained(net)
    assert cr.random.default.state.numpy().tolist() == state.tolist()
    assert repr(net) == shown
    assert all((net.state_dict()[k] == v).all() for k, v in weights.items())
    assert data["label"] == {"activation": "tanh", "depth": 2}
    labels = [v["label"] for v in data["variants"]]
    expected = [(a, d) for a in ("relu", "tanh", "sigmoid", "gelu", "linear") for d in (1, 2, 3)]
    expected.remove(("tanh", 2))
    assert sorted((v["activation"], v["depth"]) for v in labels) == sorted(expected)

    keys = [(v["activation"], v["depth"]) for v in (data["label"], *labels)]
    losses = dict(zip(keys, computer.run(RUN_ALL, data), strict=True))
    for activation, kind in {"relu": nn.ReLU, "linear": nn.Identity}.items():
        for depth in (1, 2):
            other = Network()
            other.load_state_dict(net.state_dict())
            layers = nn.Linear(6, 5), nn.Linear(5, 5)
            body = [m for layer in layers[:depth] for m in (layer, kind())]
            other.body, other.after = nn.Sequential(*body), [kind()]
            for name, p in other.body.named_parameters():
                with cr.no_grad():
                    p[...] = net.state_dict()[f"body.{name}"]
            cr.random.seed(1)
            Network()  # the masks that the derivation has drawn come after these
            theirs = F.cross_entropy(other(X), Y).item()
            assert losses[activation, depth] == pytest.approx(theirs, rel=1e-5)


def test_new_layers_have_names_and_gradients(computer):
    _, data = explained(Network())
    (deeper,) = (v for v in data["variants"] if v["label"] == {"activation": "tanh", "depth": 3})
    assert {"body.2_3.weight", "body.2_3.bias"} <= {*deeper["gradients"]}
    titles = [step["title"] for step in deeper["steps"]]
    assert titles[4:6] == ["body.2_3 (Linear)", "body.3_3 (Tanh)"]


def test_the_nonlinearity_of_an_rnn_is_exchanged(computer):
    cr.random.seed(0)
    rnn, x = nn.RNN(3, 4), cr.random.normal((2, 5, 3))

    def loss(x: Any) -> Any:
        return (rnn(x)[0] ** 2).mean()

    derivation = derive(loss, (x,), {})
    found = variants(loss, (x,), {}, derivation)
    assert found.label == Label("tanh", None)
    assert [v for v, _ in found.others] == [Label("relu", None)]
    assert rnn.nonlinearity == "tanh"
    losses = computer.run(RUN_ALL, contents(derivation, "", found))
    for ours, rnn.nonlinearity in zip(losses, ("tanh", "relu"), strict=True):
        assert ours == pytest.approx(loss(x).item(), rel=1e-6)


def test_the_function_of_a_transformer_is_exchanged(computer):
    block, x = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0), cr.random.normal((2, 5, 8))

    def loss(x: Any) -> Any:
        return (block(x) * cr.sin(x)).mean()

    derivation = derive(loss, (x,), {})
    found = variants(loss, (x,), {}, derivation)
    assert (found.label.activation, block.activation) == ("relu", F.relu)
    losses = computer.run(RUN_ALL, contents(derivation, "", found))
    for ours, (other, _) in zip(losses[1:], found.others, strict=True):
        block.activation = getattr(F, other.activation)
        assert ours == pytest.approx(loss(x).item(), rel=1e-5)


def test_a_network_without_modules_has_no_variants():
    w = nn.Parameter(cr.ones((6, 3)))

    def loss(x: Any, y: Any) -> Any:
        return F.cross_entropy(cr.tanh(x @ w), y)

    assert variants(loss, (X, Y), {}, derive(loss, (X, Y), {})) == Variants()


# ── what a page cannot compute ───────────────────────────────────────────────────────────────────

cube = cr.defop("cube of a test", lambda x: x**3, lambda x: 3 * x * x)


def test_the_users_operation_keeps_the_value_of_python(computer):
    w = nn.Parameter(cr.random.normal((6,)))
    derivation = derive(lambda x: (cube(x @ w) * cr.tanh(x @ w)).sum(), (X,), {})
    data = contents(derivation)
    (node,) = (n for n in data["nodes"] if n.get("elsewhere") and n["phase"] == "forward")
    assert node["op"] == "cube of a test"
    assert node["value"]["shape"] == [4]
    before, after, paths = computer.run(
        """const pass = new chainrule.Pass(argument.data).run();
        const state = () => [pass.loss, bytes(pass.gradient("w")), [...pass.outdated]];
        const before = state();
        pass.set(pass.idOf("w"), 0, 0.5);
        pass.run();
        const after = state();
        pass.reset();
        pass.set(pass.idOf("w"), 0, 0.5);  // before the first run too
        if (!pass.run().outdated.has(argument.data.loss)) return null;
        pass.reset();
        return [before, after, pass.run().paths(pass.idOf("w"), 0)];""",
        {"data": data},
    )
    assert before[0] == pytest.approx(derivation.value(derivation.loss).item(), rel=1e-6)
    theirs = derivation.value(derivation.gradients["w"])
    np.testing.assert_allclose(before[1], theirs, 1e-5, 1e-5)
    assert before[2] == []
    assert {node["id"], data["loss"], data["gradients"]["w"]} <= {*after[2]}
    assert paths is None  # the operation's derivative is in NumPy too


def test_large_inputs_are_left_out(computer, monkeypatch):
    """What the page cannot compute without them has the value of Python, if it is small."""
    monkeypatch.setattr(values, "MOST_BYTES", 6000)
    net = nn.Sequential(nn.Linear(6, 200), nn.ReLU(), nn.Linear(200, 3))
    derivation = derive(lambda x, y: F.cross_entropy(net(x), y), (X, Y), {})
    data = contents(derivation)
    assert data["left_out"] == ["0.weight", "2.weight"]
    loss, known, weights, changed, outdated = computer.run(
        """const pass = new chainrule.Pass(argument).run();
        const loss = pass.loss;
        const known = argument.nodes.filter(({ id }) => pass.value(id)).length;
        const weights = argument.left_out.map((name) => pass.value(pass.idOf(name)) ?? null);
        pass.set(pass.idOf("2.bias"), 0, 1);
        return [loss, known, weights, pass.run().loss, [...pass.outdated]];""",
        data,
    )
    assert loss == pytest.approx(derivation.value(derivation.loss).item(), rel=1e-6)
    assert len(data["nodes"]) / 2 < known < len(data["nodes"])
    assert weights == [None, None]
    with cr.no_grad():
        net[2].bias[0] = 1
    assert changed == pytest.approx(F.cross_entropy(net(X), Y).item(), rel=1e-6)
    assert data["gradients"]["0.bias"] in outdated


def test_a_page_of_50_thousand_parameters_is_small(computer):
    net = nn.Sequential(nn.Linear(64, 350), nn.ReLU(), nn.Linear(350, 80), nn.ReLU())
    head = nn.Linear(80, 10)
    x, y = cr.random.normal((8, 64)), cr.random.integers(0, 10, (8,))

    def loss(x: Any, y: Any) -> Any:
        return F.cross_entropy(head(net(x)), y)

    derivation = derive(loss, (x, y), {})
    data = contents(derivation, "", variants(loss, (x, y), {}, derivation))
    assert not data["left_out"]
    assert len(data["nodes"]) < 150
    assert len(json.dumps(data, separators=(",", ":"))) < 2e6
    found = computer.run("return new chainrule.Pass(argument).run().loss", data)
    assert found == pytest.approx(derivation.value(derivation.loss).item(), rel=1e-6)


@pytest.mark.parametrize("last", [0, 1])
def test_only_equal_elements_are_one(last):
    value = np.zeros((5, 40), np.float32)
    value[-1, -1] = last
    count = len(base64.b64decode(values.encoded(value)["data"])) // 4
    assert count == (200 if last else 1)


def test_variants_of_a_network_too_large_for_a_page_are_not_made(monkeypatch):
    net, calls = Network(), []

    def loss(x: Any, y: Any) -> Any:
        calls.append(0)
        return F.cross_entropy(net(x), y)

    explanation = cr.explain(loss, X, Y)
    explanation.page()
    assert len(calls) == 15
    monkeypatch.setattr(values, "MOST_BYTES", 300)
    page = explanation.page()
    assert len(calls) == 15
    assert '"label":{"activation":"tanh","depth":2},"variants":[],"missing":[]' in page
