"""`first_nonfinite`: which operation first gave NaN or infinity, where, and why."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..dtypes import is_floating
from ..errors import describe, printable, type_of_source
from ..graph import Node
from .causes import cause_of
from .origin import Element, bad_elements, origins
from .places import BACKWARD, FORWARD, Place
from .recorded import Recorded, recorded
from .replay import replayed
from .samples import sample_of
from .sources import Index, nonfinite, operands, wide

DATA = "data"


class Operand(NamedTuple):
    """An operand of the operation.

    name       its argument's name in the table of operations
    value      the element to blame
    low, high  the least and the largest of all its elements
    """

    name: str
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class NonFinite:
    """The first operation whose result is not finite although its operands are.

    operation   its name; "data" if an input was not finite already
    value       what it gave: NaN or an infinity
    reached     what became not finite by it: the loss, a gradient, a new value
    phase       forward, backward, after (clipping, the optimizer's step), or data
    forward     in the backward pass: the forward operation whose rule it is part of, else ""
    layer       path and class of the module, "" outside of modules
    source      the user's line, or None
    sample      the row of the batch, where one row alone leads to it
    steps       the time steps of the loops in which it is, outermost first
    operands    what it was computed from; of data, none
    place       of data: the name of the input, and where in it
    masked      the loss is finite: `where`, or a maximum, hides the value that the forward pass has
                here, but not its derivative
    cause       why, in plain English
    remedy      what to try
    """

    operation: str
    value: float
    reached: str
    phase: str
    forward: str = ""
    layer: str = ""
    source: type_of_source | None = None
    sample: int | None = None
    steps: tuple[int, ...] = ()
    operands: tuple[Operand, ...] = ()
    place: str = ""
    masked: bool = False
    cause: str = ""
    remedy: str = ""

    def __str__(self) -> str:
        text = f"[{self.operation}] got {self.arrived}; expected finite numbers; {self.remedy}"
        text = printable(text)
        if self.layer:
            text += f"\n  in {printable(self.layer)}"
        if self.source is not None:
            text += f"\n  at {describe(self.source)}"
        return text

    @property
    def clause(self) -> str:
        """The finding as part of another message."""
        return f"{self.operation} gave {self.arrived}"

    @property
    def arrived(self) -> str:
        """The finding without the advice."""
        if self.phase == DATA:
            return f"{self.value:g} in {self.place}, from which {self.reached} is not finite"
        values = ", ".join(f"{o.value:.6g}" for o in self.operands)
        ranges = ", ".join(f"{o.name} from {o.low:.4g} to {o.high:.4g}" for o in self.operands)
        where = {FORWARD: "the forward pass", BACKWARD: "the backward pass"}.get(
            self.phase, "the optimizer's step"
        )
        if self.forward:
            where += f", in the rule of {self.forward}"
        parts = [f"{self.value:g} from {values} in {where}" if values else f"{self.value:g}"]
        parts += [f"time step {', '.join(map(str, self.steps))}"] if self.steps else []
        parts += [f"sample {self.sample}"] if self.sample is not None else []
        parts += [f"operands: {ranges}"] if ranges else []
        hidden = ", where the loss is finite because its value is masked" if self.masked else ""
        return f"{', '.join(parts)}: {self.cause}{hidden} ({self.reached} is not finite)"


def first_nonfinite(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> NonFinite | None:
    """The operation from which function(*args, **kwargs), or a gradient, is not finite.

    function   any function of tensors. Of one that returns a loss, one number that depends on
               something that requires a gradient, the gradients are looked at too; of a training
               step, which calls backward() itself, also what it assigns
    returns    None if all is finite

    The function is recorded, as by `cr.compile`, and computed again in NumPy, node by node, on the
    same arguments with the weights and the random state of now; nothing is assigned. From the first
    result that is not finite the way goes back to its origin, into loops and back in time; so what
    `where` hides, and what never reaches a result, is not blamed. A function that decides by values
    in Python cannot be recorded: an error says so.
    """
    return first_of(recorded(function, args, kwargs))


def first_of(record: Recorded) -> NonFinite | None:
    """The same of a recorded function."""
    frame = replayed(record.values)
    for results in _kinds(record.results):
        bad = [(name, e) for name, node in results for e in bad_elements(frame, node)]
        if bad:
            return _report(record, bad[0][0], origins(element for _, element in bad)[0])
    return None


def _kinds(results: Sequence[tuple[str, Node]]) -> Iterator[Sequence[tuple[str, Node]]]:
    """The results by kind: what is returned, gradients, new values."""
    for _, group in itertools.groupby(results, lambda r: r[0].partition(" of ")[0].split()[1]):
        yield [*group]


def _report(record: Recorded, reached: str, first: Element) -> NonFinite:
    node = first.node
    if node.op is None:
        return _of_data(record, reached, first)
    place = record.places.of.get(node) or Place(FORWARD, None, node.source)
    forward = place.forward.op.name if place.forward and place.forward.op else ""
    xs = [first.frame.value(i) for i in node.inputs]
    blamed = operands(node, xs, first.index)
    names = node.op.arguments
    described = tuple(
        _operand(names[k] if k < len(names) and names[0][0] != "*" else f"x{k + 1}", xs[k], at)
        for k, at in blamed
    )
    samples = (sample_of(Element(first.frame, node.inputs[k], at), record.data) for k, at in blamed)
    dtype = xs[0].dtype if not xs or is_floating(xs[0].dtype) else first.array.dtype
    values = [o.value for o in described]
    why = cause_of(node.op.name, values, first.value, dtype, place.phase, forward)
    return NonFinite(
        node.op.name,
        first.value,
        reached,
        place.phase,
        forward,
        _layer(record, place.module),
        place.source,
        next((s for s in samples if s is not None), None),
        tuple(step for _, step in first.path if step is not None),
        described,
        masked=_masked(record, reached, first, place),
        cause=why.why,
        remedy=why.remedy,
    )


def _operand(name: str, x: Any, at: Index) -> Operand:
    x = wide(x)
    return Operand(name, float(x[at]), float(x.min()), float(x.max()))


def _layer(record: Recorded, module: Any) -> str:
    if module is None:
        return ""
    path, kind = record.owners.path(module), type(module).__name__
    return f"{path} ({kind})" if path else kind


def _masked(record: Recorded, reached: str, first: Element, place: Place) -> bool:
    """Whether the forward pass has a value here that is not finite, and the loss is."""
    if place.phase == FORWARD:
        return reached != record.results[0][0]
    forward = place.forward
    if place.phase != BACKWARD or forward is None or forward.shape != first.node.shape:
        return False
    return bool(nonfinite(first.frame.value(forward))[first.index].any())


def _of_data(record: Recorded, reached: str, first: Element) -> NonFinite:
    name = record.names.get(first.node, "a constant")
    index = first.index
    where = f" at row {index[0]}" if index else ""
    where += f", column {', '.join(map(str, index[1:]))}" if len(index) > 1 else ""
    is_data = first.node in record.data
    return NonFinite(
        DATA,
        first.value,
        reached,
        DATA,
        source=first.node.source,
        sample=index[0] if index and is_data else None,
        steps=tuple(step for _, step in first.path if step is not None),
        place=f"{name}{where}",
        cause="it was not finite before",
        remedy="drop these rows, or fill the gaps with the mean of the column"
        if is_data
        else f"restore {name} from a checkpoint, or initialise it again",
    )
