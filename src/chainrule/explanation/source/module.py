"""The module: what it reads, forward, backward, update, what it returns."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from ... import ops
from ...graph import Array, Graph, Node
from ..derivation import Derivation, Input
from ..steps import Step
from . import helpers
from .calls import user_meaning
from .expressions import WIDTH, Expression, dtype_text, name, number
from .functions import Functions
from .names import names_for
from .operations import EMISSIONS, WRITTEN
from .readable import rewritten
from .statements import Block, Constants
from .update import write_update

FUNCTION = "loss_and_gradients"


def numpy_source(derivation: Derivation, steps: Sequence[Step], names: Mapping[Node, str]) -> str:
    """A module in Python whose function computes the loss, the gradients, and what is updated.

        loss, gradients = loss_and_gradients(**arrays)
        loss, gradients, updated = loss_and_gradients(**arrays)  # with an update

    It needs NumPy alone. `source_arrays` are its arguments.
    """
    return _Module(derivation, steps, names).text


def source_arrays(
    derivation: Derivation, steps: Sequence[Step], names: Mapping[Node, str]
) -> dict[str, Array]:
    """What the function is called with: parameters, data, masks, state, and large constants."""
    read = derivation.inputs.values()
    out = {i.name: np.asarray(i.value) for i in read if not _is_literal(i)}
    return out | _Module(derivation, steps, names).constants.arrays


def _is_literal(read: Input) -> bool:
    """Whether the input is a number in the source."""
    return read.kind == "setting" and np.size(read.value) == 1


class _Module:
    """The source, and the constants that it is called with."""

    def __init__(
        self, derivation: Derivation, steps: Sequence[Step], names: Mapping[Node, str]
    ) -> None:
        d = self._derivation = derivation
        self.functions, self.constants = Functions(vars(helpers)), Constants()
        leaves = {*d.inputs, *d.fixed}
        self._readable = rewritten(d.order, leaves)
        of = self._readable.of
        self._loss = of(d.loss)
        self._gradients = {name: of(node) for name, node in d.gradients.items()}
        self._updated = {name: of(node) for name, node in d.updated.items()}
        self._leaves = leaves
        used = ["np", "arrays", "gradients", "updated", FUNCTION, *self._functions_called()]
        forward, backward, _ = self._order
        self._names = names_for(d, self._readable, ({*forward}, {*backward}), steps, names, used)
        self._titles = self._titled(steps)
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

    def _titled(self, steps: Sequence[Step]) -> dict[Node, tuple[str, str]]:
        """The part of the network that a node belongs to."""
        of = self._readable.of
        out: dict[Node, tuple[str, str]] = {}
        for step in steps:
            for node in step.nodes:
                out.setdefault(of(node), ("forward", _cut(step.title)))
        for step in steps:
            for pull in step.pulls:
                for node in pull.nodes:
                    out.setdefault(of(node), ("backward", _cut(step.title)))
        return out

    @cached_property
    def _order(self) -> tuple[list[Node], list[Node], list[Node]]:
        """Forward, backward, update."""
        done: set[Node] = set()
        out = []
        for ends in ([self._loss], self._gradients.values(), self._updated.values()):
            new = [n for n in self._readable.order(ends, self._leaves) if n not in done]
            done.update(new)
            out.append(new)
        return out[0], out[1], out[2]

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
                key = json.dumps(item.name, ensure_ascii=False)
                read.append((text, f"    {text} = arrays[{key}]{shape}"))
                values[node] = name(text, node.shape)

        def known(node: Node) -> Array | None:
            value: Array | None = d.value(node)
            return value

        block = Block(self._names, self.functions, self.constants, values, known)
        self._write_passes(block, update)
        block.line("")
        block.dict("gradients", self._gradients)
        results = [block.whole(self._loss).text, "gradients"]
        if self._updated:
            block.line("")
            block.line("# ── update ──")
            write_update(block, d, self._readable, update)
            results.append("updated")
        for text, value in self.constants.arrays.items():
            read.append((text, f'    {text} = arrays["{text}"]  # {value.shape}'))
        head = [f"def {FUNCTION}(**arrays):", *self._docstring()]
        lines = [*self.functions.imports, ""]
        assignments = [*self.functions.assignments, *self.constants.assignments]
        lines += [*assignments, ""] if assignments else []
        for function in self.functions.texts:
            lines += ["", *function.splitlines(), ""]
        words = {*re.findall(r"\w+", "\n".join(block.lines))}
        used = [line for text, line in read if text in words]
        lines += ["", *head, *used, *block.lines]
        lines += [""] if self._updated else []
        return "\n".join([*lines, f"    return {', '.join(results)}"]) + "\n"

    def _write_passes(self, block: Block, update: Sequence[Node]) -> None:
        """Forward and backward, with a heading for each step."""
        forward, backward, _ = self._order
        parts = {"forward": forward, "backward: d_x is ∂loss/∂x": backward}
        starts = {part[0]: title for title, part in parts.items() if part}
        last: list[Any] = [None]
        above: list[str] = []

        def before(node: Node) -> None:
            if node in starts:
                above[:] = ["", f"# ── {starts[node]} ──"]
                block.heading, last[0] = [*above], None
            here = self._titles.get(node)
            if here is not None and here != last[0]:
                if not block.heading:
                    above.clear()
                last[0] = here
                block.heading = [*above, "", f"# {here[1]}"]

        later = [i for node in update for i in node.inputs]
        ends = [self._loss, *self._gradients.values(), *self._updated.values(), *later]
        block.write([*forward, *backward], ends, before)
        block.heading = []

    def _docstring(self) -> list[str]:
        kinds = {i.kind for i in self._derivation.inputs.values()}
        read = {"parameter": "parameters", "data": "data", "buffer": "buffers"}
        read |= {"drawn": "random numbers", "state": "the optimizer's state"}
        names = [text for kind, text in read.items() if kind in kinds]
        update = ", the new values" if self._updated else ""
        return [
            '    """The loss and its gradients by the chain rule: forward, then backward.',
            "",
            f"    arrays   {', '.join(names)}, by name",
            f"    returns  the loss, ∂loss/∂x for each variable x{update}, by name",
            '    """',
        ]


def _cut(title: str) -> str:
    """A title that fits into a line."""
    return title if len(title) <= WIDTH - 6 else f"{title[: WIDTH - 7]}…"
