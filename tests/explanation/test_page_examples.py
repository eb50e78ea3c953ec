"""The pages of `chainrule explain NAME`: walked through by keyboard, looked at by axe, changed."""

import functools
import json
import os
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from browsing import double
from computing import Computer

import chainrule as cr
from chainrule import nn
from chainrule.cli import examples
from reading import AXE

CHANGES = int(os.environ.get("CHANGES", "15"))  # of each page
KINDS = {"tanh": nn.Tanh, "relu": nn.ReLU, "sigmoid": nn.Sigmoid, "gelu": nn.GELU}
KINDS |= {"linear": nn.Identity}
Arrays = dict[str, Any]


def loaded(name: str, dtype: str) -> tuple[Any, list[Any]]:
    """An example, with the arguments of its loss."""
    example = examples.load(name)
    arguments = example.arguments(None, None)
    if dtype == "float64":
        for value in example.loss.__globals__.values():
            if isinstance(value, nn.Module):
                double(value)
        arguments = [t.astype(dtype) if t.dtype == cr.float32 else t for t in arguments]
    return example, arguments


@functools.cache
def page_of(name: str, dtype: str = "float32") -> str:
    example, arguments = loaded(name, dtype)
    explanation = cr.explain(example.loss, *arguments)
    return explanation.page(title=example.title, text=example.text)


@functools.cache
def contents_of(name: str, dtype: str = "float32") -> dict[str, Any]:
    found = re.search(r'id="contents">(.*?)</script>', page_of(name, dtype), re.DOTALL)
    assert found is not None
    data: dict[str, Any] = json.loads(found[1])
    return data


# ── walking ──────────────────────────────────────────────────────────────────────────────────────


VIEWS = [(1280, "light"), (390, "dark"), (390, "light"), (1280, "dark")]


@pytest.mark.parametrize("name", examples.NAMES)
def test_keys_reach_every_stop_and_axe_finds_nothing_serious(open_page, name):
    """No request, and nothing in the console: `open_page` checks that."""
    opened = open_page(page_of(name))
    page = opened.page
    last = int(page.locator("#slider").get_attribute("max"))
    captions = [opened.text("#caption")]
    for _ in range(last):
        opened.press("ArrowRight")
        captions.append(opened.text("#caption"))
        assert page.locator("#status").text_content().startswith(captions[-1])
    steps = [step["title"] for step in contents_of(name)["steps"]]
    assert [c.partition(": ")[2] for c in captions[1 : len(steps) + 1]] == steps
    back = [c.partition(": ")[2] for c in captions[len(steps) + 1 : last]]
    assert back == steps[::-1][: len(back)]
    assert captions[-1] == "Every gradient"
    page.evaluate(AXE)
    odd = examples.NAMES.index(name) % 2
    for at, (width, scheme) in zip((last - 1, len(steps) - 1), VIEWS[2 * odd :], strict=False):
        page.set_viewport_size({"width": width, "height": 800})
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        page.locator("#slider").fill(str(at))
        found = page.evaluate("axe.run({resultTypes: ['violations']})")["violations"]
        assert [v["id"] for v in found if v["impact"] in ("serious", "critical")] == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width


# ── what if ──────────────────────────────────────────────────────────────────────────────────────


class Eager:
    """An example in Python, without a graph: its loss and gradients after changes by a reader."""

    def __init__(self, name: str, dtype: str) -> None:
        example, self.arguments = loaded(name, dtype)
        self.loss, self.dtype = example.loss, dtype
        self.space = example.loss.__globals__
        self.data = dict(zip(self.names_of_data, self.arguments, strict=True))
        self.first = {
            n: t.numpy().copy() for n, t in [*self.parameters.items(), *self.data.items()]
        }
        self.model = self.space.get("model")

    @property
    def names_of_data(self) -> tuple[str, ...]:
        return self.loss.__code__.co_varnames[: len(self.arguments)]

    @property
    def parameters(self) -> dict[str, Any]:
        modules = {n: m for n, m in self.space.items() if isinstance(m, nn.Module)}
        single = len(modules) == 1
        tensors = {n: t for n, t in self.space.items() if isinstance(t, cr.Tensor)}
        out = {n: t for n, t in tensors.items() if t.requires_grad}
        for name, module in modules.items():
            out |= {n if single else f"{name}.{n}": p for n, p in module.named_parameters()}
        return out

    def become(self, activation: str, depth: int | None) -> None:
        """The network with another activation and depth, as one would write it; as at first."""
        if self.model is None:
            self.space["rnn"].nonlinearity = activation
        elif KINDS.get(activation):
            self.space["model"] = nn.Sequential(**self._layers(KINDS[activation], depth))
        self.data = dict(zip(self.names_of_data, self.arguments, strict=True))
        for name in self.first:
            if name in self.parameters or name in self.data:
                self.set(name, self.first[name])

    def _layers(self, kind: Any, depth: int | None) -> dict[str, Any]:
        layers = {n: m for n, m in self.model.named_modules() if n}
        if depth is None:
            activations = (*KINDS.values(),)
            return {n: kind() if isinstance(m, activations) else m for n, m in layers.items()}
        *hidden, output = [n for n, m in layers.items() if isinstance(m, nn.Linear)]
        out = {n: m for n, m in layers.items() if isinstance(m, nn.Flatten)}
        cr.random.seed(0)
        for k in range(depth):
            name = hidden[k] if k < len(hidden) else f"{hidden[-1]}_{k + 1}"
            if name not in layers:
                width = layers[hidden[-1]].out_features
                new = nn.Linear(width, width)
                layers[name] = double(new) if self.dtype == "float64" else new
            out |= {name: layers[name], f"after {name}": kind()}
        return {**out, output: layers[output]}

    def draw(self, scheme: str, seed: int, names: list[str]) -> None:
        """First values by nn.init, in the order of the page."""
        generator = cr.random.Generator(seed)
        bound = 0.0
        for name in names:
            p = self.parameters[name]
            if scheme == "default":
                bound = nn.init.fans(p)[0] ** -0.5 if p.ndim > 1 else bound
                nn.init.uniform_(p, -bound, bound, generator)
            elif p.ndim == 1 or scheme == "zeros":
                nn.init.zeros_(p)
            else:
                getattr(nn.init, f"{scheme}_")(p, generator=generator)

    def get(self, name: str) -> Any:
        return (self.data | self.parameters)[name].numpy()

    def set(self, name: str, value: Any) -> None:
        if name in self.data:
            self.data[name] = cr.Tensor(value)
        else:
            with cr.no_grad():
                self.parameters[name][...] = value

    def run(self) -> Arrays:
        """The loss and ∂loss/∂parameter."""
        for p in self.parameters.values():
            p.grad = None
        loss = self.loss(*self.data.values())
        loss.backward()
        return {"loss": loss.numpy(), **{n: p.grad.numpy() for n, p in self.parameters.items()}}


def changes(eager: Eager, contents: Any, count: int) -> Iterator[tuple[str, Any, Arrays]]:
    """Random changes, each after those before it: its kind, what the page does, what Python has."""
    rng = np.random.default_rng(0)
    graphs = [contents, *contents["variants"]]
    graph = contents
    for _ in range(count):
        kinds = ["weight"] * 3 + ["input"] * 2
        kinds += ["initialisation"] if graph["initialisations"] else []
        kinds += [key for key, own in contents["label"].items() if own and len(graphs) > 1]
        kind = rng.choice(kinds)
        if kind in contents["label"]:
            values = sorted({g["label"][kind] for g in graphs} - {graph["label"][kind]})
            label = {**graph["label"], kind: values[rng.integers(len(values))]}
            graph = next(g for g in graphs if g["label"] == label)
            eager.become(**label)
            change: dict[str, Any] = {"graph": graphs.index(graph)}
        elif kind == "initialisation":
            schemes = graph["initialisations"]
            scheme, seed = rng.choice([*schemes]), int(rng.integers(100))
            names = [graph["nodes"][draw["id"]]["name"] for draw in schemes[scheme]]
            assert {*names} == {*eager.parameters}
            eager.draw(scheme, seed, names)
            change = {"scheme": scheme, "seed": seed}
        else:
            kind, change = _element(kind, graph, eager, rng)
        yield kind, change, eager.run()


def _element(kind: str, graph: Any, eager: Eager, rng: Any) -> tuple[str, dict[str, Any]]:
    """Another number for an element of an input, or of a parameter if no input has real numbers."""
    nodes = [n for n in graph["nodes"] if n["phase"] == "input" and "float" in n["dtype"]]
    data = [n for n in nodes if n["kind"] == "data"]
    some = data if kind == "input" and data else [n for n in nodes if n["kind"] == "parameter"]
    node = some[rng.integers(len(some))]
    value = eager.get(node["name"]).copy()
    at = int(rng.integers(value.size))
    is_target = node["name"] in ("target", "positive")  # from 0 to 1
    value.reshape(-1)[at] = rng.random() if is_target else value.reshape(-1)[at] + rng.normal()
    eager.set(node["name"], value)
    change = {"id": node["id"], "at": at, "value": float(value.reshape(-1)[at])}
    return ("input" if some is data else "weight"), change


CHANGE = """
const graphs = [argument.data, ...argument.data.variants];
let pass = new chainrule.Pass(argument.data);
return argument.changes.map(({ graph, scheme, seed, id, at, value }) => {
  if (graph !== undefined) pass = new chainrule.Pass(argument.data, graphs[graph]);
  else if (scheme) chainrule.initialise(pass, scheme, seed);
  else pass.set(id, at, value);
  const { loss, gradients } = pass.run().contents;
  const shown = Object.entries({ loss, ...gradients });
  return Object.fromEntries(shown.map(([name, id]) => [name, bytes(pass.value(id))]));
});
"""


def both(computer: Computer, name: str, dtype: str, count: int) -> Iterator[Any]:
    """For each change its kind, and the arrays of Python and of the page."""
    contents = contents_of(name, dtype)
    made = [*changes(Eager(name, dtype), contents, count)]
    argument = {"data": contents, "changes": [change for _, change, _ in made]}
    for (kind, _, theirs), ours in zip(made, computer.run(CHANGE, argument), strict=True):
        assert {*theirs} == {*ours}
        for array, expected in theirs.items():
            assert (ours[array].dtype, ours[array].shape) == (expected.dtype, expected.shape)
        yield kind, theirs, ours


@pytest.fixture(scope="module")
def computer(browser):
    return Computer(browser)


@pytest.mark.parametrize("name", examples.NAMES)
def test_what_if_agrees_with_python(computer, name):
    for kind, theirs, ours in both(computer, name, "float64", CHANGES):
        for array, expected in theirs.items():
            close = 1e-9 * np.abs(expected).max()
            np.testing.assert_allclose(ours[array], expected, 0, close, err_msg=f"{kind} {array}")


@pytest.mark.parametrize("name", examples.NAMES)
def test_what_if_agrees_with_python_as_it_is(computer, name):
    """In float32, beside the largest number that the array had: p - y, say, loses digits near 0."""
    pairs = [*both(computer, name, "float32", CHANGES)]
    for array in [*contents_of(name)["gradients"], "loss"]:
        found = [(t[array], o[array]) for _, t, o in pairs if array in t]
        top = max(np.abs(expected).max() for expected, _ in found)
        for expected, ours in found:
            np.testing.assert_allclose(ours, expected, 0, 1e-6 * top, err_msg=array)
