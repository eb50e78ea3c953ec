"""What a page shows, as data for JSON: the graph of a derivation with its steps and names.

The page computes the graph itself, so it has the values of inputs and constants alone, and those
of what only Python can compute.
"""

from __future__ import annotations

import base64
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from ... import ops
from ...dtypes import is_half
from ...graph import Array, Dtype, Graph, Node
from ..derivation import Derivation
from ..steps import Step, names_of, steps_of
from .initialisations import initialisations
from .tangents import Tangent, tangent_of
from .variants import Label

_FEW = 64  # elements that are compared before all others
MOST_BYTES = 1_200_000  # of values, 1.6 MB in base64: 300 thousand parameters in float32


def contents(
    derivation: Derivation,
    title: str = "",
    label: Label | None = None,
    others: Sequence[tuple[Label, Derivation]] = (),
) -> dict[str, Any]:
    """The data of a page.

    label, others   the activation and depth of the network, and its variants, see `variants.py`

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
    label               {"activation", "depth"}
    symbols, vanishing  and words in each step: see `assembly.py`
    variants            the same keys except title, chainrule and variants, per variant

    A value that an earlier node has is there once: `like` is [variant or None, id] of that node.
    """
    from ... import __version__

    out = {"title": title, "chainrule": __version__, **_graph_of(derivation)}
    out["label"] = asdict(label or Label(None, None))
    seen: dict[Any, list[Any]] = {}
    _share(out["nodes"], None, seen)
    if out["left_out"]:
        others = ()  # it cannot compute them, and each would have values of its own
    out["variants"] = [{"label": asdict(other), **_graph_of(variant)} for other, variant in others]
    for k, entry in enumerate(out["variants"]):
        _share(entry["nodes"], k, seen)
    return out


def fits(derivation: Derivation) -> bool:
    """Whether a page has the values of all inputs; else it has no variants either."""
    inputs = _leaves(derivation, page_nodes(derivation))
    return sum(_stored(derivation.value(n)) for n in inputs) <= MOST_BYTES


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
    steps = steps_of(derivation)
    names = names_of(derivation, steps)
    cotangents = _cotangents(derivation)
    nodes = page_nodes(derivation)
    ids = {node: k for k, node in enumerate(nodes)}
    ends = [n for step in steps for n in step.outputs]
    shown = {n for end in ends for n in (end, *cotangents.get(end, ())) if n is not None}
    values, left_out = _values(derivation, nodes, shown | {*derivation.gradients.values()})
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
    }


def _cotangents(derivation: Derivation) -> dict[Node, Sequence[Node | None]]:
    """∂loss/∂node for each result of a node of the forward pass; None where nothing reaches it."""
    out: dict[Node, Sequence[Node | None]] = {p.node: p.upstream for p in derivation.pulls}
    for node in derivation.forward:
        if node.op is ops.item and node.inputs[0] in out:
            out[node] = [out[node.inputs[0]][node.params["index"]]]
    return {node: of for node, of in out.items() if any(n is not None for n in of)}


def page_nodes(derivation: Derivation) -> list[Node]:
    """The nodes of a page, each at the place that is its id: inputs, what is fixed, the others."""
    ends = [derivation.loss, *derivation.gradients.values()]
    ends += [n for p in derivation.pulls for n in (*p.upstream, *p.shares) if n is not None]
    backward = [n for n in derivation.between(ends) if n not in {*derivation.forward}]
    computed = [*derivation.forward, *backward]
    fixed: set[Node] = set()
    waiting = [*ends, *(i for node in computed for i in node.inputs)]
    while waiting:
        node = waiting.pop()
        if node in derivation.fixed and node not in fixed:
            fixed.add(node)
            waiting += node.inputs
    return [*derivation.inputs, *sorted(fixed, key=derivation.position.__getitem__), *computed]


def _values(
    derivation: Derivation, nodes: Sequence[Node], shown: Container[Node]
) -> tuple[dict[Node, Any], list[str]]:
    """The values that a page has by node, and the names of the inputs that are left out.

    The largest inputs are left out where all have more than MOST_BYTES. Then there are values of
    what the page cannot compute without them, as far as there is room.

    shown   the nodes whose values a reader sees first
    """
    inputs = _leaves(derivation, nodes)
    read = {*inputs}
    sizes = {n: _stored(derivation.value(n)) for n in nodes}
    room = MOST_BYTES if sum(sizes[n] for n in inputs) <= MOST_BYTES else MOST_BYTES // 2
    known = {*_fitting(inputs, sizes, room)}
    room = MOST_BYTES - sum(sizes[n] for n in known)
    stored = [*known, *_fitting([n for n in nodes if not _computes(n)], sizes, room)]
    known.update(stored)
    for node in nodes:
        if _computes(node) and node.inputs and all(i in known for i in node.inputs):
            known.add(node)
    unknown = [n for n in nodes if n not in known and n not in read]
    room = MOST_BYTES - sum(sizes[n] for n in stored)
    for some in ([n for n in unknown if n in shown], [n for n in unknown if n not in shown]):
        stored += _fitting(some, sizes, room)
        room = MOST_BYTES - sum(sizes[n] for n in stored)
    left_out = [i.name for node, i in derivation.inputs.items() if node not in known]
    return {n: derivation.value(n) for n in stored}, left_out


def _leaves(derivation: Derivation, nodes: Iterable[Node]) -> list[Node]:
    return [n for n in nodes if n.op is None or n in derivation.inputs]


def _fitting(nodes: Iterable[Node], sizes: Mapping[Node, int], room: int) -> list[Node]:
    """The smallest nodes, as many as there is room."""
    out = []
    for node in sorted(nodes, key=sizes.__getitem__):
        room -= sizes[node]
        if room < 0:
            break
        out.append(node)
    return out


def _stored(value: Any) -> int:
    """The bytes that a page has of a value."""
    if isinstance(value, tuple):
        return sum(map(_stored, value))
    array = np.asarray(value)
    return array.itemsize if _uniform(array) else array.nbytes


def _uniform(value: Array) -> bool:
    """Whether all elements have the same bits."""

    def same(some: Array) -> bool:
        return some.tobytes() == some[:1].tobytes() * some.size

    return value.size > 0 and same(value.flat[:_FEW]) and same(value.reshape(-1))


def _computes(node: Node) -> bool:
    """Whether the page can compute it: it is in the table, and so is what is inside of it."""
    if node.op is None:
        return True
    inner = node.params.get("graph")
    return ops.TABLE.get(node.op.name) is node.op and (inner is None or all(map(_computes, inner)))


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
    if isinstance(graph, Graph) and _computes(node):
        out["graph"] = graph_data(graph)
    if not _computes(node):
        out["elsewhere"] = True
    return out


def graph_data(graph: Graph) -> dict[str, Any]:
    """A graph inside a node: nodes with ids of its own, inputs and outputs."""
    nodes = [*graph.inputs, *(n for n in graph.nodes if n not in {*graph.inputs})]
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


def encoded(value: Any) -> Any:
    """dtype, shape and the elements in base64, little-endian; of equal elements only the first.

    A value of several results is a list of them.
    """
    if isinstance(value, tuple):
        return [encoded(v) for v in value]
    array = np.asarray(value)
    flat = array.reshape(-1)[: 1 if _uniform(array) else array.size]
    return {
        "dtype": str(array.dtype),
        "shape": [*array.shape],
        "data": base64.b64encode(flat.astype(_little(array.dtype)).tobytes()).decode(),
    }


def _little(dtype: Dtype) -> Dtype:
    return dtype if is_half(dtype) else dtype.newbyteorder("<")


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
        if graph is not None and all(map(_computes, graph)):
            out[name] = graph_data(graph)
    return out if "graph" in out else {**out, "elsewhere": True}
