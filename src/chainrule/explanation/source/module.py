"""The module: what it reads, forward, backward, update, what it returns."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from ... import ops
from ...graph import Array, Graph, Node
from ..derivation import Derivation, Input, evaluated
from ..steps import Step
from . import helpers
from .calls import user_meaning
from .constants import number
from .expressions import Expression, dtype_text, name
from .functions import Functions
from .layout import WIDTH, text_literal
from .names import names_for
from .operations import EMISSIONS, WRITTEN
from .readable import rewritten
from .statements import Block, Constants
from .update import write_update

FUNCTION = "loss_and_gradients"
_OWN = ("arrays", "gradients", "updated", "name", FUNCTION)  # names in every module
FORWARD, BACKWARD, UPDATE = "── forward ──", "── backward: d_x is ∂loss/∂x ──", "── update ──"


def numpy_source(derivation: Derivation) -> str:
    """A module in Python whose function computes the loss, the gradients, and what is updated.

        loss, gradients = loss_and_gradients(**arrays)
        loss, gradients, updated = loss_and_gradients(**arrays)  # with an update

    It needs NumPy alone. `source_arrays` are its arguments.
    """
    return _Module(derivation).text


def source_arrays(derivation: Derivation) -> dict[str, Array]:
    """What the function is called with: parameters, data, masks, state, and large constants."""
    read = derivation.inputs.values()
    out = {i.name: np.asarray(i.value) for i in read if not _is_literal(i)}
    return out | _Module(derivation).constants.arrays


def _is_literal(read: Input) -> bool:
    """Whether the input is a number in the source."""
    return read.kind == "setting" and np.size(read.value) == 1


class _Module:
    """The source, and the constants that it is called with."""

    def __init__(self, derivation: Derivation) -> None:
        d = self._derivation = derivation
        reserved = {k: v for k, v in vars(helpers).items() if inspect.isfunction(v)}
        self.functions = Functions(reserved | dict.fromkeys(_OWN, _OWN))
        self.constants = Constants()
        leaves = {*d.inputs, *d.fixed}
        self._readable = rewritten(d.order, leaves)
        of = self._readable.of
        self._loss = of(d.loss)
        self._gradients = {name: of(node) for name, node in d.gradients.items()}
        self._updated = {name: of(node) for name, node in d.updated.items()}
        self._leaves = leaves
        used = ["np", *_OWN, *self._functions_called()]
        used += [text for text in self.functions.names if text.isupper()]  # as our constants are
        forward, backward, _ = self._order
        self._names = names_for(d, self._readable, ({*forward}, {*backward}), used)
        self._titles = self._titled(d.steps)
        self.text = self._written()

    def _functions_called(self) -> list[str]:
        """The names of functions that the module has; it has those of the user's operations now."""
        waiting: list[Node] = list(self._derivation.order)
        out: dict[str, None] = {"argsort_descending": None}
        seen: set[Node] = set()
        while waiting:
            node = waiting.pop()
            if node in seen or node.op is None:
                continue
            seen.add(node)
            for inner in node.params.values():
                waiting += inner.nodes if isinstance(inner, Graph) else []
            if hasattr(helpers, node.op.name) or node.op in (ops.erf, ops.erfinv):
                out[node.op.name] = None
            if node.op not in EMISSIONS and node.op not in WRITTEN:
                meaning = user_meaning(node.op)
                if not isinstance(meaning, np.ufunc):
                    out[self.functions.add(meaning, node.op.name, node.op.name)] = None
        return [*out]

    # ── sections ─────────────────────────────────────────────────────────────────────────────────

    def _titled(self, steps: Sequence[Step]) -> dict[Node, str]:
        """The part of the network that a node belongs to."""
        of = self._readable.of
        out: dict[Node, str] = {}
        last: dict[Node, str] = {}  # what gave the last share of a node's gradient
        for step in reversed(steps):
            title = step.title
            title = title if len(title) <= WIDTH - 6 else f"{title[: WIDTH - 7]}…"
            for pull in step.pulls:
                for whole in pull.upstream:
                    if whole is not None and pull.node in last:
                        out.setdefault(of(whole), last[pull.node])
                last |= dict.fromkeys(pull.node.inputs, title)
            backward = [node for pull in step.pulls for node in pull.nodes]
            for node in (*step.nodes, *backward):
                out.setdefault(of(node), title)
        return out

    @cached_property
    def _order(self) -> tuple[list[Node], list[Node], list[Node]]:
        """Forward, backward, update; one of several results is where these are computed."""
        done: dict[Node, int] = {}
        out: tuple[list[Node], list[Node], list[Node]] = ([], [], [])
        ends = ([self._loss], self._gradients.values(), self._updated.values())
        for part in range(3):
            for node in self._readable.order(ends[part], self._leaves):
                if node not in done:
                    done[node] = done[node.inputs[0]] if node.op is ops.item else part
                    out[done[node]].append(node)
        return out

    # ── text ─────────────────────────────────────────────────────────────────────────────────────

    def _written(self) -> str:
        d = self._derivation
        update = self._order[2]
        values: dict[Node, Expression] = {}
        read = []
        for node, item in d.inputs.items():
            text = self._names.give(node)
            dtype_text(node.dtype)
            if _is_literal(item):
                literal = number(item.value).text
                read.append((text, f"    {text} = {literal}"))
                values[node] = name(text, (), weak=True)
            else:
                shape = f"  # {node.shape}" if node.shape else ""
                key = text_literal(item.name)
                read.append((text, f"    {text} = arrays[{key}]{shape}"))
                values[node] = name(text, node.shape)

        block = Block(self._names, self.functions, self.constants, values, self._known)
        self._write_passes(block, update)
        block.line("")
        block.dict("gradients", self._gradients)
        results = [block.whole(self._loss).text, "gradients"]
        if self._updated:
            block.line("")
            block.line(f"# {UPDATE}")
            write_update(block, d, self._readable, update)
            results.append("updated")
        for text, value in self.constants.arrays.items():
            read.append((text, f'    {text} = arrays["{text}"]  # {value.shape}'))
        head = [f"def {FUNCTION}(**arrays):", *self._docstring()]
        lines = [*self.functions.imports, ""]
        assignments = [*self.functions.assignments, *self.constants.assignments]
        lines += [*assignments, ""] if assignments else []
        for function in self.functions.texts:
            lines += ["", *function.split("\n"), ""]
        words = {*re.findall(r"\w+", "\n".join(block.lines))}
        used = [line for text, line in read if text in words]
        lines += ["", *head, *used, *block.lines]
        lines += [""] if self._updated else []
        return "\n".join([*lines, f"    return {', '.join(results)}"]) + "\n"

    @cached_property
    def _fixed(self) -> Mapping[Node, Any]:
        """The values of nodes that depend on constants alone."""
        d = self._derivation
        fixed = [node for node in d.fixed if node.op is not None]
        return evaluated(sorted(fixed, key=d.position.__getitem__), {})

    def _known(self, node: Node) -> Any:
        """A constant's value."""
        return node.value if node.op is None else self._fixed.get(node)

    def _write_passes(self, block: Block, update: Sequence[Node]) -> None:
        """Forward and backward, with a heading for each step."""
        forward, backward, _ = self._order
        starts = {
            part[0]: title for part, title in ((forward, FORWARD), (backward, BACKWARD)) if part
        }
        last = ""

        def before(node: Node) -> None:
            nonlocal last
            if node in starts:
                block.part, block.title, last = starts[node], "", ""
            here = self._titles.get(node, last)
            if here != last:
                block.title = last = here

        later = [i for node in update for i in node.inputs]
        ends = [self._loss, *self._gradients.values(), *self._updated.values(), *later]
        block.write([*forward, *backward], ends, before)
        block.title = ""

    def _docstring(self) -> list[str]:
        kinds = {i.kind for i in self._derivation.inputs.values()}
        read = {"parameter": "parameters", "data": "data", "buffer": "buffers"}
        read |= {"drawn": "random numbers", "state": "the optimizer's state"}
        names = [text for kind, text in read.items() if kind in kinds]
        update = ", the new values" if self._updated else ""
        return [
            '    """The loss and its gradients by the chain rule: forward, then backward.',
            "",
            f"    arrays   {', '.join(names)}, by name; of the shapes below: sizes, such as",
            "             that of the batch, are numbers in the formulas",
            f"    returns  the loss, ∂loss/∂x for each variable x{update}, by name",
            '    """',
        ]
