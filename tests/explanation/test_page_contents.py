"""What a page shows as data: variants of the network, what only Python computes, large networks."""

import json
from typing import Any

import numpy as np
import pytest
from computing import Computer

import chainrule as cr
from chainrule import nn
from chainrule.explanation.derive import derive
from chainrule.explanation.page import contents as module
from chainrule.explanation.page.contents import contents
from chainrule.explanation.page.variants import variants

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
    return derivation, contents(derivation, "", *variants(loss, (X, Y), {}, derivation))


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


def test_a_variant_takes_what_was_changed(computer):
    _, data = explained(Network())
    loss, adopted = computer.run(
        """const pass = new chainrule.Pass(argument).run();
        const id = pass.idOf("head.bias");
        pass.setAll(id, [1, 2, 3]);
        const other = new chainrule.Pass(argument, argument.variants[0]);
        other.adopt(pass);
        return [other.run().loss, bytes(other.value(other.idOf("head.bias")))];""",
        data,
    )
    assert np.isfinite(loss)
    assert adopted.tolist() == [1, 2, 3]


def test_a_network_without_modules_has_no_variants():
    w = nn.Parameter(cr.ones((6, 3)))

    def loss(x: Any, y: Any) -> Any:
        return F.cross_entropy(cr.tanh(x @ w), y)

    label, others = variants(loss, (X, Y), {}, derive(loss, (X, Y), {}))
    assert (label.activation, label.depth, others) == (None, None, [])


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
    monkeypatch.setattr(module, "MOST_VALUES", 500)
    net = nn.Sequential(nn.Linear(6, 200), nn.ReLU(), nn.Linear(200, 3))
    derivation = derive(lambda x, y: F.cross_entropy(net(x), y), (X, Y), {})
    data = contents(derivation)
    assert sorted(data["left_out"]) == ["0.weight", "2.weight"]
    loss, known = computer.run(
        """const pass = new chainrule.Pass(argument).run();
        return [pass.loss ?? null, argument.nodes.filter(({ id }) => pass.value(id)).length];""",
        data,
    )
    assert loss is None
    assert 0 < known < len(data["nodes"])


def test_a_page_of_50_thousand_parameters_is_small(computer):
    net = nn.Sequential(nn.Linear(64, 350), nn.ReLU(), nn.Linear(350, 80), nn.ReLU())
    head = nn.Linear(80, 10)
    x, y = cr.random.normal((8, 64)), cr.random.integers(0, 10, (8,))

    def loss(x: Any, y: Any) -> Any:
        return F.cross_entropy(head(net(x)), y)

    derivation = derive(loss, (x, y), {})
    data = contents(derivation, "", *variants(loss, (x, y), {}, derivation))
    assert not data["left_out"]
    assert len(json.dumps(data, separators=(",", ":"))) < 2e6
    found = computer.run("return new chainrule.Pass(argument).run().loss", data)
    assert found == pytest.approx(derivation.value(derivation.loss).item(), rel=1e-6)
