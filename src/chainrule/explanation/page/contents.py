"""What a page shows, as data for JSON: the graph of a derivation with its steps and names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from ...graph import Graph, Node
from ..derivation import Derivation
from ..samples import samples_of
from ..steps import Step
from .initialisations import initialisations
from .signs import never_negative
from .tangents import Tangent, tangent_of
from .values import computes, encoded, page_nodes, values_of
from .variants import Variants


def contents(
    derivation: Derivation, title: str = "", alternatives: Variants | None = None
) -> dict[str, Any]:
    """The data of a page.

    alternatives   the network's activation and depth, and its variants, see `variants.py`

    title, chainrule    what it is about, and the version
    nodes               each with its place in the list as `id`: inputs, what is fixed, forward,
                        backward. `op` is None for a leaf; `in` are ids; `graph` is the graph
                        inside a node; `elsewhere` marks what only Python can compute
    loss                its id
    gradients           ids of ∂loss/∂variable, by name
    cotangents          ids of ∂loss/∂node, by the forward node's id: a list for several results
    steps               title, path, kind; ids of inputs, outputs, nodes; uses of the chain rule;
                        `tangent`: its derivative along a direction and back, see `tangents.py`
    initialisations     how parameters would be drawn, see `initialisations.py`
    left_out            names of inputs that are too large for a page: it cannot compute with them
    samples             `count`, 0 if the data have no rows; `of_loss`: what the loss is of them,
                        "mean", "sum" or ""
    label               {"activation", "depth"}
    symbols, vanishing  and words in each step: see `assembly.py`
    words, ready        of the data's whole numbers; whether the function comes with the library
    never_negative      whether the loss cannot fall below 0, see `signs.py`
    variants            the same keys except title, chainrule, variants and missing, per variant
    missing             why there are no others: a line for each error of the user's code

    A value that an earlier node has is there once: `like` is [variant or None, id] of that node.
    """
    from ... import __version__

    out = {"title": title, "chainrule": __version__, **_graph_of(derivation)}
    alternatives = alternatives or Variants()
    out["label"] = asdict(alternatives.label)
    seen: dict[Any, list[Any]] = {}
    _share(out["nodes"], None, seen)
    out["variants"] = [{"label": asdict(label), **_graph_of(d)} for label, d in alternatives.others]
    out["missing"] = alternatives.missing
    for k, entry in enumerate(out["variants"]):
        _share(entry["nodes"], k, seen)
    return out


def _share(nodes: list[dict[str, Any]], variant: int | None, seen: dict[Any, list[Any]]) -> None:
    """Replace each value that an earlier node has by the place of that node."""
    for node in nodes:
        value = node.get("value")
        if not isinstance(value, dict) or len(value["data"]) < 64:
            continue
        key = value["dtype"], *value["shape"], value["data"]
        place = seen.setdefault(key, [variant, node["id"]])
        if place != [variant, node["id"]]:
            del node["value"]
            node["like"] = place


def _graph_of(derivation: Derivation) -> dict[str, Any]:
    """All except title and version."""
    steps, names = derivation.steps, derivation.names
    samples = samples_of(derivation)
    cotangents = derivation.upstream
    nodes = page_nodes(derivation)
    ids = {node: k for k, node in enumerate(nodes)}
    ends = [n for step in steps for n in step.outputs]
    shown = {n for end in ends for n in (end, *cotangents.get(end, ())) if n is not None}
    values, left_out = values_of(derivation, nodes, shown | {*derivation.gradients.values()})
    forward = {*derivation.forward}
    described = []
    for node in ids:
        read = derivation.inputs.get(node)
        leaf = node if read is None else Node(None, (), {}, node.shape, node.dtype)
        entry = {"id": ids[node], **described_node(leaf, ids)}
        if read is not None:
            entry |= {"phase": "input", "name": read.name, "kind": read.kind}
        else:
            later = "forward" if node in forward else "backward"
            entry["phase"] = "fixed" if node in derivation.fixed else later
            entry |= {"name": names[node]} if node in names else {}
        if node in values:
            entry["value"] = encoded(values[node])
        described.append(entry)
    return {
        "nodes": described,
        "loss": ids[derivation.loss],
        "gradients": {name: ids[node] for name, node in derivation.gradients.items()},
        "cotangents": {
            ids[node]: _places(of, ids) if isinstance(node.dtype, tuple) else _places(of, ids)[0]
            for node, of in cotangents.items()
        },
        "steps": [_step(derivation, step, ids) for step in steps],
        "initialisations": initialisations(
            {ids[n]: i for n, i in derivation.inputs.items() if n in values}
        ),
        "left_out": left_out,
        "samples": {"count": samples.count, "of_loss": samples.kind},
        "never_negative": never_negative(derivation),
    }


def described_node(node: Node, ids: Mapping[Node, int]) -> dict[str, Any]:
    """op, in, params, shape, dtype; graph; elsewhere."""
    graph = node.params.get("graph")
    several = isinstance(node.dtype, tuple)
    out: dict[str, Any] = {
        "op": node.op.name if node.op else None,
        "in": [ids[i] for i in node.inputs],
        "params": {k: _plain(v) for k, v in node.params.items() if _is_plain(v)},
        "shape": [[*s] for s in node.shape] if several else [*node.shape],
        "dtype": [*map(str, node.dtype)] if several else str(node.dtype),
    }
    if isinstance(graph, Graph) and computes(node):
        out["graph"] = graph_data(graph)
    if not computes(node):
        out["elsewhere"] = True
    return out


def graph_data(graph: Graph) -> dict[str, Any]:
    """A graph inside a node: nodes with ids of its own, inputs and outputs."""
    nodes = [*dict.fromkeys([*graph.inputs, *graph.nodes])]
    ids = {node: k for k, node in enumerate(nodes)}
    described = []
    for node in nodes:
        entry = {"id": ids[node], **described_node(node, ids)}
        if node.op is None and node.value is not None:
            entry["value"] = encoded(node.value)
        described.append(entry)
    return {
        "nodes": described,
        "inputs": [ids[n] for n in graph.inputs],
        "outputs": [ids[n] for n in graph.outputs],
    }


def _is_plain(value: Any) -> bool:
    """Whether JSON has the parameter: a number, text, a dtype, or a tuple of them."""
    if isinstance(value, (tuple, list)):
        return all(map(_is_plain, value))
    return isinstance(value, (bool, int, float, str, np.generic, np.dtype))


def _plain(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return [_plain(v) for v in value]
    if isinstance(value, np.dtype):
        return str(value)
    return value.item() if isinstance(value, np.generic) else value


def _places(nodes: Sequence[Node | None], ids: Mapping[Node, int]) -> list[int | None]:
    return [None if n is None else ids[n] for n in nodes]


def _step(derivation: Derivation, step: Step, ids: Mapping[Node, int]) -> dict[str, Any]:
    """A step, the chain rule at its nodes from the loss back, and its tangent."""
    tangent = tangent_of(derivation, step)
    return {
        "title": step.title,
        "path": step.path,
        "kind": step.kind,
        "inputs": [ids[n] for n in step.inputs],
        "outputs": [ids[n] for n in step.outputs],
        "nodes": [ids[n] for n in step.nodes],
        "pulls": [
            {
                "node": ids[p.node],
                "upstream": _places(p.upstream, ids),
                "shares": _places(p.shares, ids),
                "nodes": [ids[n] for n in p.nodes if n in ids],
            }
            for p in step.pulls
        ],
        "tangent": tangent and _tangent(tangent, ids),
    }


def _tangent(tangent: Tangent, ids: Mapping[Node, int]) -> dict[str, Any]:
    """The ids of what varies and of outputs; the graphs that the page can compute."""
    out: dict[str, Any] = {
        "varying": [ids[n] for n in tangent.varying],
        "outputs": [ids[n] for n in tangent.outputs],
    }
    for name, graph in (("graph", tangent.graph), ("back", tangent.back)):
        if graph is not None and all(map(computes, graph)):
            out[name] = graph_data(graph)
    return out if "graph" in out else {**out, "elsewhere": True}
