"""Variants of a network are recorded beside the user's, which nothing changes."""

import threading
from typing import Any

import numpy as np
import pytest
from browsing import html_of

import chainrule as cr
from chainrule import nn
from chainrule.errors import ArgumentError
from chainrule.explanation.derive import derive
from chainrule.explanation.page.variants import Label, Variants, variants

F = nn.functional
X, Y = cr.random.normal((4, 6)), cr.Tensor([0, 2, 1, 1])


class Asserting(nn.Sequential):
    """Asserts what its layers are."""

    def forward(self, x: Any) -> Any:
        assert len(self) == 5
        return super().forward(x)


def network(kind: Any = nn.Sequential) -> Any:
    cr.random.seed(3)
    layers = nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 5), nn.Tanh(), nn.Linear(5, 3)
    return kind(*layers)


def losses(function: Any, *args: Any) -> dict[Any, float]:
    """The losses of the variants, by activation and depth."""
    found = variants(function, args, {}, derive(function, args, {}))
    assert not found.missing
    return by_label(found)


def by_label(found: Variants) -> dict[Any, float]:
    return {(v.activation, v.depth): float(d.value(d.loss)) for v, d in found.others}


def test_the_users_network_is_never_another_one():
    net, seen = network(), []
    shown, expected = repr(net), net(X).numpy()

    def predict() -> None:
        seen.append((repr(net), net(X).numpy()))

    def loss(x: Any, y: Any) -> Any:
        out = F.cross_entropy(net(x), y)
        thread = threading.Thread(target=predict)
        thread.start()
        thread.join()
        assert repr(net) == shown
        return out

    assert len(losses(loss, X, Y)) == 14
    assert len(seen) > 14
    assert all(text == shown and (y == expected).all() for text, y in seen)


def test_variants_in_several_threads_leave_the_network_as_it_is():
    net, found = network(), []
    shown, weights, draw = repr(net), net.state_dict(), cr.random.default.state.numpy()

    def run() -> None:
        found.append(losses(lambda x, y: F.cross_entropy(net(x), y), X, Y))

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3
    assert found[0] == found[1] == found[2]
    assert repr(net) == shown
    assert all((net.state_dict()[k] == v).all() for k, v in weights.items())
    assert (cr.random.default.state.numpy() == draw).all()


def test_a_network_that_asserts_its_layers_has_the_same_variants():
    plain, asserting = network(), network(Asserting)
    expected = losses(lambda x, y: F.cross_entropy(plain(x), y), X, Y)
    assert losses(lambda x, y: F.cross_entropy(asserting(x), y), X, Y) == expected


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_other_depths_are_what_such_a_network_gives(depth):
    net = network()
    mine = losses(lambda x, y: F.cross_entropy(net(x), y), X, Y)["sigmoid", depth]
    cr.random.seed(0)
    new = nn.Linear(5, 5)
    layers = [[net[0]], [net[2], net[0]][::-1], [net[0], net[2], new]][depth - 1]
    h = X
    for layer in layers:
        h = cr.sigmoid(layer(h))
    assert mine == pytest.approx(F.cross_entropy(net[4](h), Y).item(), rel=1e-6)


def test_an_activation_in_a_loop_too_is_exchanged():
    act = nn.Tanh()

    def loss(x: Any) -> Any:
        def body(h: Any, row: Any) -> Any:
            h = act(h + row)
            return h, h

        return act(cr.scan(body, cr.zeros(6), x)[1]).mean()

    def expected(function: Any) -> float:
        h, out = np.zeros(6), []
        for row in X.numpy().astype("f8"):
            h = function(h + row)
            out.append(h)
        return float(np.mean(function(np.array(out))))

    found = losses(loss, X)
    assert found["relu", None] == pytest.approx(expected(lambda h: np.maximum(h, 0)), rel=1e-5)
    assert found["linear", None] == pytest.approx(expected(lambda h: h), rel=1e-5)


def test_a_shared_activation_is_exchanged_and_not_repeated():
    act = nn.ReLU()
    net = nn.Sequential(nn.Linear(6, 5), act, nn.Linear(5, 5), act, nn.Linear(5, 3))
    found = losses(lambda x, y: F.cross_entropy(net(x), y), X, Y)
    assert {*found} == {(a, 2) for a in ("tanh", "sigmoid", "gelu", "linear")}


def test_a_module_that_is_not_called_is_no_variant():
    net = [*network()]

    def loss(x: Any, y: Any) -> Any:
        return F.cross_entropy(net[4](net[1].forward(net[0](x))), y)

    assert losses(loss, X, Y) == {}


def test_what_the_users_code_raises_in_a_variant_is_said_in_one_line(open_page):
    net, calls = network(), []

    def loss(x: Any, y: Any) -> Any:
        calls.append(0)
        if len(calls) == 3:
            raise KeyError("<b>not</b> the\x1bnetwork")
        if len(calls) > 13:
            raise ArithmeticError("too often,\nand more")
        return F.cross_entropy(net(x), y)

    derivation = derive(loss, (X, Y), {})
    found = variants(loss, (X, Y), {}, derivation)
    assert len(found.others) == 11
    assert found.errors == {
        "KeyError: '<b>not</b> the\\x1bnetwork'": [Label("sigmoid", 2)],
        "ArithmeticError: too often, and more": [Label("linear", 1), Label("linear", 3)],
    }
    calls.clear()
    notes = open_page(html_of(loss, X, Y)).page.locator("#what-if-body .note:not(.why)")
    assert notes.all_inner_texts() == [
        "With sigmoid and 2 hidden layers your code raises KeyError: '<b>not</b> the\\x1bnetwork'",
        "With linear and 1 hidden layer (and 1 more) your code raises "
        "ArithmeticError: too often, and more",
    ]


class Direct(nn.Sequential):
    """Calls the forward of its second hidden layer."""

    def forward(self, x: Any) -> Any:
        x = self[3].forward(self[2].forward(self[1](self[0](x))))
        return self[4](x)


def test_layers_whose_forward_is_called_have_no_other_depth():
    net = network(Direct)
    found = losses(lambda x, y: F.cross_entropy(net(x), y), X, Y)
    assert {*found} == {(a, 2) for a in ("relu", "sigmoid", "gelu", "linear")}


class Checkpointed(nn.Module):
    def __init__(self) -> None:
        self.body, self.head = nn.Sequential(*network()[:4]), nn.Linear(5, 3)

    def forward(self, x: Any) -> Any:
        return self.head(cr.checkpoint(self.body)(x))


def test_layers_in_a_checkpoint_have_other_depths():
    net = Checkpointed()
    found = losses(lambda x, y: F.cross_entropy(net(x), y), X, Y)
    assert {*found} == {(None, 1), (None, 3)}


def test_variants_have_the_weights_of_the_explained_network():
    net = network()

    def loss(x: Any, y: Any) -> Any:
        return F.cross_entropy(net(x), y)

    derivation = derive(loss, (X, Y), {})
    before = losses(loss, X, Y)
    with cr.no_grad():
        for p in net.parameters():
            p[...] = p * 2
    assert by_label(variants(loss, (X, Y), {}, derivation)) == before


@pytest.mark.parametrize("words", [{"title": 5}, {"text": None}, {"title": b"x"}])
def test_words_of_a_page_are_text(words):
    (name,) = words
    explanation = cr.explain(lambda x: (x**2).mean(), X)
    with pytest.raises(ArgumentError, match=rf"^\[explain\] got {name}=.*; expected text; "):
        explanation.page(**words)


def test_layers_that_are_added_differ():
    def loss(x: Any, y: Any) -> Any:
        return F.cross_entropy(model(x), y)

    model = nn.Sequential(hidden=nn.Linear(6, 5), tanh=nn.Tanh(), output=nn.Linear(5, 3))
    found = variants(loss, (X, Y), {}, derive(loss, (X, Y), {}))
    deep = next(d for label, d in found.others if label == Label("tanh", 3))
    drawn = {i.name: np.asarray(i.value) for i in deep.inputs.values()}
    generator = cr.random.Generator(0)
    for layer in ("hidden_2", "hidden_3"):
        for name, shape in ((f"{layer}.weight", (5, 5)), (f"{layer}.bias", (5,))):
            own = nn.init.uniform_(cr.zeros(shape), -(5**-0.5), 5**-0.5, generator)
            np.testing.assert_array_equal(drawn[name], own.numpy())
