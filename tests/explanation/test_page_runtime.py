"""Whole networks in the page's JavaScript: what it computes is what Python computes."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from computing import Computer

import chainrule as cr
from chainrule import nn, optim
from chainrule.explanation.derivation import Derivation, evaluated
from chainrule.explanation.derive import derive
from chainrule.explanation.page.contents import contents
from chainrule.explanation.page.values import page_nodes
from fuzzing import Program

F = nn.functional
CHANGES = 200


@pytest.fixture(scope="module")
def computer(browser):
    return Computer(browser)


# ── networks ─────────────────────────────────────────────────────────────────────────────────────

Made = tuple[Callable[..., Any], tuple[Any, ...]]
Cast = Callable[[Any], Any]  # of a module's tensors, or of a tensor, to the dtype of the test


def cast_to(dtype: str) -> Cast:
    def cast(x: Any) -> Any:
        if isinstance(x, cr.Tensor):
            return x.astype(dtype)
        for module in x.modules():
            for name, t in [*vars(module).items()]:
                if isinstance(t, cr.Tensor) and t.requires_grad:
                    setattr(module, name, nn.Parameter(t.detach().astype(dtype)))
        return x

    return cast


def labels(count: int, classes: int) -> Any:
    return cr.random.integers(0, classes, (count,))


def mlp(cast: Cast) -> Made:
    layers = nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3)
    net = cast(nn.Sequential(*layers))
    return lambda x, y: F.cross_entropy(net(x), y), (cast(cr.random.normal((5, 6))), labels(5, 3))


def lenet(cast: Cast) -> Made:
    layers = (
        nn.Conv2d(1, 3, 5, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(3, 6, 3),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(54, 20),
        nn.ReLU(),
        nn.Linear(20, 10),
    )
    net = cast(nn.Sequential(*layers))
    images = cast(cr.random.normal((2, 16, 16, 1)))
    return lambda x, y: F.cross_entropy(net(x), y), (images, labels(2, 10))


def recurrent(kind: Any) -> Callable[[Cast], Made]:
    def build(cast: Cast) -> Made:
        rnn, head = cast(kind(3, 4)), cast(nn.Linear(4, 1))

        def loss(x: Any) -> Any:
            return (head(rnn(x)[0]) ** 2).mean()

        return loss, (cast(cr.random.normal((2, 12, 3))),)

    return build


def transformer(cast: Cast) -> Made:
    block = cast(nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0))
    return lambda x: (block(x) * cr.sin(x)).mean(), (cast(cr.random.normal((2, 5, 8))),)


def causal_attention(cast: Cast) -> Made:
    attend = cast(nn.MultiheadAttention(8, 2))
    x = cast(cr.random.normal((2, 5, 8)))
    return lambda x: (attend(x, x, x, is_causal=True)[0] ** 2).sum(), (x,)


def batch_norm(cast: Cast) -> Made:
    layers = nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.GELU(), nn.Flatten(), nn.Linear(48, 2)
    net = cast(nn.Sequential(*layers))
    return lambda x, y: F.mse_loss(net(x), y), (
        cast(cr.random.normal((3, 6, 6, 2))),
        cast(cr.random.normal((3, 2))),
    )


def dropout(cast: Cast) -> Made:
    layers = nn.Linear(6, 8), nn.SiLU(), nn.Dropout(0.5), nn.Linear(8, 3), nn.Dropout()
    net = cast(nn.Sequential(*layers))
    return lambda x, y: F.cross_entropy(net(x), y), (cast(cr.random.normal((5, 6))), labels(5, 3))


def embedding(cast: Cast) -> Made:
    table, norm, head = map(cast, (nn.Embedding(7, 4), nn.LayerNorm(4), nn.Linear(4, 7)))

    def loss(ids: Any, y: Any) -> Any:
        logits = head(norm(table(ids)).mean(axis=1))
        return F.cross_entropy(logits, y, label_smoothing=0.1)

    return loss, (cr.random.integers(0, 7, (4, 3)), labels(4, 7))


def cross_entropy(cast: Cast) -> Made:
    net = cast(nn.Linear(5, 4))
    y = cr.Tensor([0, 3, -100, 2, 1, -100])
    weight = cast(cr.Tensor([0.5, 1.0, 2.0, 1.5]))

    def loss(x: Any, y: Any) -> Any:
        return F.cross_entropy(net(x), y, weight=weight, ignore_index=-100, label_smoothing=0.2)

    return loss, (cast(cr.random.normal((6, 5))), y)


def nested_grad(cast: Cast) -> Made:
    w = cast(cr.random.normal((3, 3)))
    w.requires_grad = True

    def loss(x: Any) -> Any:
        def energy(x: Any) -> Any:
            return cr.tanh(x @ w).sum()

        return (cr.grad(energy)(x) ** 2).sum() + cr.checkpoint(lambda x: cr.exp(x @ w).mean())(x)

    return loss, (cast(cr.random.normal((4, 3))),)


NETWORKS = {
    "mlp": mlp,
    "lenet": lenet,
    "rnn": recurrent(nn.RNN),
    "lstm": recurrent(nn.LSTM),
    "gru": recurrent(nn.GRU),
    "transformer": transformer,
    "causal attention": causal_attention,
    "batch norm": batch_norm,
    "dropout": dropout,
    "embedding": embedding,
    "cross entropy": cross_entropy,
    "nested grad": nested_grad,
}


def derived(name: str, dtype: str = "float64") -> tuple[Derivation, dict[str, Any]]:
    cr.random.seed(len(name))
    function, args = NETWORKS[name](cast_to(dtype))
    derivation = derive(function, args, {})
    return derivation, contents(derivation, name)


@pytest.mark.parametrize("name", NETWORKS)
def test_all_values_are_those_of_python(computer, name):
    derivation, data = derived(name)
    ours = computer.run(
        "const pass = new chainrule.Pass(argument).run();"
        "return argument.nodes.map(({ id }) => bytes(pass.value(id)))",
        data,
    )
    # A gradient that is 0, such as of a bias before batch norm, is the rest of larger numbers.
    largest = max(np.abs(derivation.value(n)).max() for n in derivation.gradients.values())
    for node, value in zip(page_nodes(derivation), ours, strict=True):
        compare(str(node), derivation.value(node), value, largest)
    compare("loss", derivation.value(derivation.loss), ours[data["loss"]])
    for gradient, node in derivation.gradients.items():
        compare(gradient, derivation.value(node), ours[data["gradients"][gradient]], largest)


def compare(label: str, theirs: Any, ours: Any, largest: float = 0.0) -> None:
    """Equal to 12 digits of the largest element, or of a thousandth of `largest`.

    Or as a difference of numbers of size 1 is, such as 1 - tanh².
    """
    both = zip(theirs, ours, strict=True) if isinstance(theirs, tuple) else [(theirs, ours)]
    for a, b in both:
        finite = np.asarray(a, np.float64)[np.isfinite(a)]
        scale = np.abs(finite).max(initial=1e-3 * largest)
        np.testing.assert_allclose(b, a, 1e-12, 1e-12 * scale + 1e-15, True, label)


@pytest.mark.parametrize("name", NETWORKS)
def test_in_float32_gradients_differ_by_roundings(computer, name):
    derivation, data = derived(name, "float32")
    ours = computer.run(
        "const pass = new chainrule.Pass(argument).run();"
        "return Object.keys(argument.gradients).map((name) => bytes(pass.gradient(name)))",
        data,
    )
    theirs = [derivation.value(node) for node in derivation.gradients.values()]
    largest = max(np.abs(g).max() for g in theirs)
    for name, a, b in zip(derivation.gradients, theirs, ours, strict=True):
        assert a.dtype == b.dtype == np.float32
        np.testing.assert_allclose(b, a, 1e-5, 1e-6 * largest, err_msg=name)


CHECK = """
const pass = new chainrule.Pass(argument.data).run();
const number = (v) => (Number.isFinite(Number(v)) ? Number(v) : 0);
const sum = (x) => x.data.reduce((t, v, i) => t + number(v) * Math.cos(i), 0);
const all = () => argument.data.nodes.map(({ id }) => {
  const x = pass.value(id);
  return Array.isArray(x) ? x.reduce((t, y) => t + sum(y), 0) : sum(x);
});
return argument.changes.map(([id, at, value]) => {
  pass.set(id, at, value);
  return all.call(pass.run());
});
"""


def checksum(x: Any) -> tuple[float, float]:
    """∑ xᵢ cos i and ∑ |xᵢ| of what is finite."""
    if isinstance(x, tuple):
        return tuple(map(sum, zip(*map(checksum, x), strict=True)))  # type: ignore[return-value]
    flat = np.asarray(x, np.float64).reshape(-1)
    flat = np.where(np.isfinite(flat), flat, 0)
    return float(flat @ np.cos(np.arange(flat.size))), float(np.abs(flat).sum())


@pytest.mark.parametrize("name", NETWORKS)
def test_what_if_agrees_with_python(computer, name):
    """Each change of an element adds up with those before it."""
    derivation, data = derived(name)
    rng = np.random.default_rng(0)
    values = {node: i.value.copy() for node, i in derivation.inputs.items()}
    nodes = page_nodes(derivation)
    order = [n for n in nodes if n.op is not None and n not in derivation.inputs]
    place = {node: k for k, node in enumerate(nodes)}
    floats = [n for n in values if n.dtype.kind == "f"]
    changes, expected = [], []
    for _ in range(CHANGES):
        node = floats[rng.integers(len(floats))]
        flat = values[node].reshape(-1)
        at = rng.integers(flat.size)
        flat[at] += rng.normal()
        values[node] = flat.reshape(node.shape)
        changes.append((place[node], int(at), float(flat[at])))
        now = evaluated(order, values)
        expected.append([checksum(now.get(n, n.value)) for n in nodes])
    ours = np.array(computer.run(CHECK, {"data": data, "changes": changes}))
    sums, sizes = np.moveaxis(np.array(expected), -1, 0)
    gradients = sizes[:, [*data["gradients"].values()]].max(1, keepdims=True)
    worst = (np.abs(ours - sums) / np.maximum(sizes, 1e-3 * gradients)).max()
    assert worst < 1e-9, worst


# ── initial values ───────────────────────────────────────────────────────────────────────────────


def two_layers(dtype: str = "float32") -> tuple[nn.Module, dict[str, Any]]:
    """A convolution and a matrix, and the data of a page about them."""
    net = cast_to(dtype)(
        nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(48, 5))
    )
    x = cr.random.normal((2, 6, 6, 2)).astype(dtype)
    return net, contents(derive(lambda x: (net(x) ** 2).mean(), (x,), {}))


DRAW = """
const pass = new chainrule.Pass(argument.data);
return argument.schemes.map(([scheme, seed]) => {
  chainrule.initialise(pass, scheme, seed);
  return argument.names.map((name) => bytes(pass.value(pass.idOf(name))));
});
"""


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_initial_values_have_the_bits_of_python(computer, dtype):
    net, data = two_layers(dtype)
    seeds = {"kaiming_uniform": 3, "kaiming_normal": 2**40 + 7, "xavier_uniform": 0}
    seeds |= {"xavier_normal": 11, "normal": 2**64 - 1, "zeros": 1}
    names = [name for name, _ in net.named_parameters()]
    given = {"data": data, "names": names, "schemes": [[s, str(n)] for s, n in seeds.items()]}
    for (scheme, seed), ours in zip(seeds.items(), computer.run(DRAW, given), strict=True):
        generator = cr.random.Generator(seed)
        for (name, p), value in zip(net.named_parameters(), ours, strict=True):
            if p.ndim > 1:
                initialise = getattr(nn.init, scheme + "_")
                initialise(p, **({} if scheme == "zeros" else {"generator": generator}))
            elif name.endswith("bias"):
                nn.init.zeros_(p)
            if dtype == "float64" and "normal" in scheme:  # the last bits are the logarithm's
                np.testing.assert_allclose(value, p.numpy(), 1e-14)
            else:
                theirs = p.numpy().astype(value.dtype)  # halves come as float32
                assert value.tobytes() == theirs.tobytes(), (scheme, name)


def test_the_default_is_a_new_network(computer):
    net = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 2))
    data = contents(derive(lambda x: (net(x) ** 2).mean(), (cr.ones((1, 5)),), {}))
    names = [name for name, _ in net.named_parameters()]
    given = {"data": data, "names": names, "schemes": [["default", 5]]}
    (ours,) = computer.run(DRAW, given)
    cr.random.seed(5)
    new = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 2))
    for (_, p), value in zip(new.named_parameters(), ours, strict=True):
        assert value.tobytes() == p.numpy().tobytes()


# ── optimizers ───────────────────────────────────────────────────────────────────────────────────

OPTIMIZERS: dict[str, tuple[str, dict[str, Any], Callable[..., Any]]] = {
    # kind and settings in the page; the optimizer
    "SGD": ("SGD", {"lr": 0.1}, lambda ps: optim.SGD(ps, lr=0.1)),
    "momentum": ("momentum", {"lr": 0.1}, lambda ps: optim.SGD(ps, lr=0.1, momentum=0.9)),
    "RMSprop": ("RMSprop", {}, optim.RMSprop),
    "Adam": ("Adam", {}, optim.Adam),
    "Adam with settings": (
        "Adam",
        {"lr": 0.02, "betas": [0.8, 0.95], "eps": 1e-4},
        lambda ps: optim.Adam(ps, lr=0.02, betas=(0.8, 0.95), eps=1e-4),
    ),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_ten_steps_are_those_of_python(computer, name, dtype):
    kind, settings, build = OPTIMIZERS[name]
    cr.random.seed(2)
    cast = cast_to(dtype)
    net = cast(nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)))
    x, y = cast(cr.random.normal((5, 6))), labels(5, 3)
    data = contents(derive(lambda x, y: F.cross_entropy(net(x), y), (x, y), {}))
    names = [n for n, _ in net.named_parameters()]
    ours = computer.run(
        """const pass = new chainrule.Pass(argument.data).run();
        const optimizer = new chainrule.Optimizer(argument.kind, argument.settings);
        const losses = [];
        for (let k = 0; k < 10; k++) losses.push(optimizer.step(pass).loss);
        return { losses, values: argument.names.map((n) => bytes(pass.value(pass.idOf(n)))) };""",
        {"data": data, "kind": kind, "settings": settings, "names": names},
    )
    optimizer, losses = build(net.parameters()), []
    for _ in range(10):
        F.cross_entropy(net(x), y).backward()
        optimizer.step()
        losses.append(F.cross_entropy(net(x), y).item())
    close = {"float32": 2e-6, "float64": 1e-13}[dtype]
    np.testing.assert_allclose(ours["losses"], losses, close)
    for p, value in zip(net.parameters(), ours["values"], strict=True):
        np.testing.assert_allclose(value, p.numpy(), close, close)


# ── paths ────────────────────────────────────────────────────────────────────────────────────────

FIND = """
const pass = new chainrule.Pass(argument.data).run();
return argument.elements.map(([id, at, count]) => pass.paths(id, at, count));
"""


@pytest.mark.parametrize("name", NETWORKS)
def test_paths_add_up_to_the_gradient(computer, name):
    derivation, data = derived(name)
    rng = np.random.default_rng(0)
    ids = {i.name: k for k, i in enumerate(derivation.inputs.values())}
    elements, expected = [], []
    for parameter, node in derivation.gradients.items():
        gradient = derivation.value(node).reshape(-1)
        at = int(rng.integers(gradient.size))
        elements.append((ids[parameter], at, 5))
        expected.append(gradient[at])
    values = [derivation.value(n) for n in page_nodes(derivation)]
    ours = computer.run(FIND, {"data": data, "elements": elements})
    for found, gradient in zip(ours, expected, strict=True):
        shares = [p["share"] for p in found["paths"]]
        scale = sum(map(abs, shares)) + abs(found["rest"])
        assert found["gradient"] == pytest.approx(gradient, rel=1e-12, abs=1e-12)
        assert sum(shares) + found["rest"] == pytest.approx(gradient, abs=1e-13 + 1e-9 * scale)
        assert sorted(shares, key=abs, reverse=True) == shares
        for path in found["paths"]:
            assert path["path"][-1]["node"] == data["loss"]
            product = np.prod([hop["local"] for hop in path["path"]])
            assert path["share"] == pytest.approx(product, rel=1e-12)
            for hop in path["path"]:
                cotangent = values[data["cotangents"][hop["node"]]].reshape(-1)
                value = values[hop["node"]].reshape(-1)[hop["index"]]
                assert hop["value"] == pytest.approx(value, rel=1e-10, abs=1e-12)
                assert hop["upstream"] == pytest.approx(
                    cotangent[hop["index"]], rel=1e-9, abs=1e-15
                )
                assert hop["product"] == hop["local"] * hop["upstream"]


def test_all_paths_of_two_layers(computer):
    """L = ∑ⱼ vⱼ tanh(∑ᵢ xᵢ wⱼᵢ)²: one path from wⱼᵢ per sample."""
    cr.random.seed(0)
    w = nn.Parameter(cr.random.normal((3, 2), dtype="float64"))
    v = nn.Parameter(cr.random.normal((3,), dtype="float64"))
    x = cr.random.normal((4, 2), dtype="float64")

    def loss(x: Any) -> Any:
        s = x @ w.mT
        h = cr.tanh(s)
        return (h * h * v).sum()

    derivation = derive(loss, (x,), {})
    data = contents(derivation)
    (k,) = (k for k, i in enumerate(derivation.inputs.values()) if i.name == "w")
    (found,) = computer.run(FIND, {"data": data, "elements": [(k, 3, 10)]})  # w₁₁
    h = np.tanh(x.numpy() @ w.numpy().T)[:, 1]
    shares = x.numpy()[:, 1] * (1 - h**2) * 2 * h * v.numpy()[1]
    largest_first = sorted(shares, key=abs, reverse=True)
    assert [p["share"] for p in found["paths"]] == pytest.approx(largest_first, rel=1e-12)
    assert found["rest"] == 0


# ── random functions ─────────────────────────────────────────────────────────────────────────────


def test_random_functions(computer):
    """Chains of arithmetic, views, assignments, lookups, loops, derivatives and checkpoints."""
    derivations = []
    for seed in range(60):
        program = Program(seed)
        chain = program.chain(3, 0)
        values, _ = program.start()

        def loss(x: Any, chain: Any = chain, values: Any = values) -> Any:
            return (chain(values, x) ** 2).mean() + (values["table"] ** 2).mean()

        derivations.append(derive(loss, (cr.Tensor(program.inputs[0]),), {}))
    ours = computer.run(
        """return argument.map((data) => {
          const pass = new chainrule.Pass(data).run();
          return {
            values: data.nodes.map(({ id }) => bytes(pass.value(id))),
            found: Object.keys(data.gradients).map((name) => pass.paths(pass.idOf(name), 3)),
          };
        });""",
        [contents(d) for d in derivations],
    )
    for seed, (derivation, answer) in enumerate(zip(derivations, ours, strict=True)):
        values = answer["values"]
        for found in answer["found"]:
            shares = [p["share"] for p in found["paths"]]
            scale = sum(map(abs, shares)) + abs(found["rest"])
            total = sum(shares) + found["rest"]
            assert total == pytest.approx(found["gradient"], abs=1e-13 + 1e-9 * scale), seed
        gradients = [np.abs(derivation.value(n)).max() for n in derivation.gradients.values()]
        for node, value in zip(page_nodes(derivation), values, strict=True):
            compare(f"{seed} {node}", derivation.value(node), value, max(gradients))
