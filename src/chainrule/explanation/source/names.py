"""The names of variables: the user's own where there are some, d_x for ∂loss/∂x."""

from __future__ import annotations

import copy
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet

import numpy as np

from ... import ops
from ...compile.rewriting import number
from ...graph import Node
from ..derivation import Derivation
from ..samples import mean_of
from .expressions import stripped
from .functions import identifier
from .patterns import is_count, is_log_softmax, is_one_hot, is_picked
from .readable import Readable

_BUILTIN = {"np", "range", "reversed", "bool", "slice", "sum", "max", "min", "abs", "any", "round"}
_RESULTS = {  # of operations whose names say little about what they give
    "add": "added",
    "argsort": "order",
    "concat": "joined",
    "convolution": "convolved",
    "convolution_weight": "collected",
    "cumulative_sum": "running",
    "divide": "quotient",
    "erf": "erf_x",
    "exp": "powers",
    "flip": "flipped",
    "fold": "folded",
    "log": "logs",
    "matmul": "product",
    "max": "top",
    "maximum": "larger",
    "min": "bottom",
    "minimum": "smaller",
    "multiply": "product",
    "negative": "opposite",
    "norm": "length",
    "pad": "padded",
    "power": "powers",
    "prod": "product",
    "recurrence": "states",
    "scatter_add": "scattered",
    "sigmoid": "sigma",
    "slice": "part",
    "sqrt": "root",
    "square": "squares",
    "subtract": "difference",
    "sum": "total",
    "take": "rows",
    "unfold": "windows",
    "where": "chosen",
}
_PARTS = {  # of operations with several results
    "standardise": ("standardised", "mean", "variance"),
    "attention": ("attended", "log_total"),
    "attention_derivative": ("d_query", "d_key", "d_value"),
    "max_pool": ("largest", "places"),
}
_VIEWS = (ops.reshape, ops.broadcast_to, ops.permute_dims, ops.alias, ops.astype, ops.checked_index)


def _variable(text: str, of: str = "layer") -> str:
    """The name of a variable for a name of the user's; `of` as in `identifier`."""
    out = identifier(text, of)
    return f"{out}_" if out in _BUILTIN else out


class Names:
    """The names of variables: all distinct.

    fixed      of nodes that must be variables
    variables  of nodes that are variables
    hints      of nodes, in case they become variables
    gradient   the node of which a node is the gradient
    share      the node of whose gradient a node is a part
    backward   the nodes of the backward pass
    loops      the loop of which a loop is the derivative
    carries    the variables that a loop carries from step to step
    """

    def __init__(self, used: Iterable[str] = ()) -> None:
        self.fixed: dict[Node, str] = {}
        self.variables: dict[Node, str] = {}
        self.hints: dict[Node, str] = {}
        self._plain: dict[Node, str] = {}  # the names of variables without their numbers
        self.gradient: dict[Node, Node] = {}
        self.share: dict[Node, Node] = {}
        self.backward: AbstractSet[Node] = set()
        self.loops: dict[Node, Node] = {}
        self.carries: dict[Node, list[str]] = {}
        self._used = {*used}
        self._steps: list[str] = []
        self._reserved: set[str] = set()  # for the gradients of variables
        self._count: Counter[str] = Counter()

    def copy(self) -> Names:
        """The same names, to which others are added without effect on these."""
        out = Names()
        for key, value in vars(self).items():
            setattr(out, key, copy.copy(value))
        return out

    def free(self, text: str) -> str:
        """The name, with a number behind it if it is in use; it is in use from now on.

        d_x is kept for the gradient of a variable x; of other values d_x is free if x is, too.
        """
        out, of = text, text.removeprefix("d_")
        while out in self._used or out in self._reserved or of in self._used:
            self._count[text] += 1
            number = self._count[text] + 1
            out, of = f"{text}_{number}", f"{text.removeprefix('d_')}_{number}"
        self._used |= {out, of}
        return out

    def step(self, depth: int) -> str:
        """The variable that counts the steps of a loop which is in depth - 1 others."""
        while len(self._steps) < depth:
            self._steps.append(self.free("t"))
        return self._steps[depth - 1]

    def gradient_of(self, variable: str) -> str:
        """The name of the gradient of a variable."""
        text = f"d_{variable}"
        if text in self._used:
            return self.free(text)
        self._used.add(text)
        return text

    def carry(self, loop: Node, k: int) -> str:
        """The name of a variable that a loop carries, and that has no other name."""
        forward = self.carries.get(self.loops[loop], []) if loop in self.loops else []
        out = self.gradient_of(forward[k]) if k < len(forward) else self.free("state")
        if loop not in self.backward:
            self._reserved.add(f"d_{out}")
        return out

    def give(self, node: Node) -> str:
        """The name of the variable that the node becomes."""
        hint = self.hint(node)
        out = self.fixed.get(node) or self._chosen(node, hint)
        self.variables[node], self._plain[node] = out, hint
        if node not in self.backward:
            self._reserved.add(f"d_{out}")
        return out

    def _chosen(self, node: Node, hint: str) -> str:
        of = self.gradient.get(node)
        if of in self.variables:
            return self.gradient_of(self.variables[of])
        part = self.share.get(node)
        if of is None and part in self.variables:
            return self.free(f"d_{self.variables[part]}_part")
        return self.free(hint)

    def hint(self, node: Node) -> str:
        """What the node would be called."""
        prefix = ""
        while True:
            known = self.fixed.get(node) or self._plain.get(node) or self.hints.get(node)
            if known:
                return prefix + known
            of = self.gradient.get(node) or self.share.get(node)
            if of is not None and not prefix:
                node, prefix = of, "d_"
            elif node.op in _VIEWS:
                node = node.inputs[0]
            elif node.op is ops.where and _branch(node) is not None:
                node = _branch(node) or node
            else:
                return prefix + _result(node)


def _branch(node: Node) -> Node | None:
    """The branch of a `where` whose other branch is a number."""
    branches = [i for i in node.inputs[1:] if number(i) is None]
    return branches[0] if len(branches) == 1 else None


def _result(node: Node) -> str:
    """What an operation gives."""
    if node.op is None:
        return "value"
    if node.op is ops.item:
        whole, k = node.inputs[0].op, node.params["index"]
        parts = _PARTS.get(whole.name if whole else "", ())
        return parts[k] if k < len(parts) else "result"
    if node.dtype == np.bool_:
        return "one_hot" if is_one_hot(node) else "mask"
    if is_count(node) or (node.op is ops.maximum and is_count(node.inputs[0])):
        return "count"
    if is_log_softmax(node):
        return "log_p"
    if node.op is ops.exp and is_log_softmax(node.inputs[0]):
        return "p"
    if is_picked(node):
        return "picked"
    if mean_of(node):
        return "mean"
    return _variable(_RESULTS.get(node.op.name, node.op.name), "result")


def shortened(paths: Mapping[str, int]) -> dict[str, str]:
    """Each path without the parts in front that are not needed to tell it from the others.

    paths   the parts that each keeps in any case
    """
    split = {path: path.split(".") for path in paths}
    count = Counter(tuple(p[-k:]) for p in split.values() for k in range(1, len(p) + 1))
    out = {}
    for path, parts in split.items():
        sizes = (k for k in range(paths[path], len(parts)) if not parts[-k].isdigit())
        enough = next((k for k in sizes if count[tuple(parts[-k:])] == 1), len(parts))
        out[path] = ".".join(parts[-enough:])
    return out


def names_for(
    derivation: Derivation,
    readable: Readable,
    order: tuple[AbstractSet[Node], AbstractSet[Node]],
    used: Iterable[str],
) -> Names:
    """The names of a derivation's nodes after rewriting.

    order   the nodes of the forward and of the backward pass
    used    names that the module has already
    """
    d, of = derivation, readable.of
    out = Names(used)
    forward, out.backward = order
    layers = {step.path: step.kind.lower() for step in d.steps if step.path and step.kind}

    read = {i.name.partition("/")[0]: 2 for i in d.inputs.values()}  # with the name of the module
    short = shortened({n: 1 for node, n in d.names.items() if node not in d.inputs} | read)

    def text_of(name: str) -> str:
        """`0.weight` of a linear layer as `linear_0_weight`."""
        numbered = re.fullmatch(r"(\d+)([._].*)?", name)
        kind = layers.get(numbered[1]) if numbered else None
        path, _, slot = name.partition("/")
        brief = short.get(path, path) + (f"_{slot}" if slot else "")
        return _variable(f"{kind}_{brief}" if kind else brief)

    def unnamed(node: Node) -> bool:
        """Whether the node is computed, not in the forward pass, and has no name."""
        other = node in out.fixed or node in forward or node in d.fixed or node in d.inputs
        return not other and node.op is not None

    for node, item in d.inputs.items():
        out.fixed[node] = out.free(text_of(item.name))
    for node, name in d.names.items():
        if node not in d.inputs:
            out.fixed.setdefault(of(node), out.free(text_of(name)))
    pulled = [p for p in d.pulls if of(p.node) not in d.inputs and of(p.node) not in d.fixed]
    items = {(n.inputs[0], n.params["index"]): n for n in forward if n.op is ops.item}
    reached: dict[Node, dict[Node, None]] = {}
    for pull in pulled:
        node = of(pull.node)
        for k, upstream in enumerate(pull.upstream):
            to = items.get((node, k), node) if len(pull.upstream) > 1 else node
            if upstream is not None:
                reached.setdefault(to, {})[of(upstream)] = None
        if node.op is ops.scan:
            out.loops |= {of(n): node for n in pull.nodes if n.op is ops.scan}
    whole = {node: _complete([*ends]) for node, ends in reached.items()}
    for node, end in whole.items():
        if end is not None and node in out.fixed and unnamed(end):
            out.fixed[end] = out.gradient_of(out.fixed[node])
    for name, end in d.gradients.items():
        end = of(end)
        if end.op is ops.reshape and stripped(end.shape) == stripped(end.inputs[0].shape):
            end = end.inputs[0]  # a row that only lost its first axis
        if unnamed(end):
            out.fixed[end] = out.gradient_of(text_of(name))
    for name, end in d.updated.items():
        if unnamed(of(end)):
            out.fixed[of(end)] = out.free(f"new_{text_of(name)}")
    for node, ends in reached.items():
        for end in ends:
            if unnamed(end):
                (out.gradient if end is whole[node] else out.share).setdefault(end, node)
    for pull in pulled:
        for share, i in zip(pull.shares, pull.node.inputs, strict=False):
            if share is not None and unnamed(of(share)) and i not in d.fixed:
                out.share.setdefault(of(share), of(i))
    return out


def _complete(ends: Sequence[Node]) -> Node | None:
    """Of what reaches a node that several became: all of it, or None.

    If one was computed from the other, as by an identity, the last one has all. If they did the
    same, each has a part.
    """
    behind = {ends[-1]}
    stack = [ends[-1]]
    while stack and len(ends) > 1:
        for i in stack.pop().inputs:
            if i not in behind:
                behind.add(i)
                stack.append(i)
    return ends[-1] if behind.issuperset(ends) else None
