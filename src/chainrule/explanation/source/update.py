"""The update: what the optimizer does to each parameter, as a loop where it is always the same."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ...graph import Node
from ..derivation import Derivation
from .expressions import name
from .layout import WIDTH, text_literal
from .readable import Readable
from .statements import Block


@dataclass
class _Group:
    """What belongs to one parameter.

    nodes  that are computed for it alone
    reads  the parameter, its gradient and its state, by what they are called in a loop
    ends   its new values, by what stands behind the parameter's name
    """

    parameter: str
    nodes: list[Node] = field(default_factory=list)
    reads: dict[str, Node] = field(default_factory=dict)
    ends: dict[str, Node] = field(default_factory=dict)


def write_update(
    block: Block, derivation: Derivation, readable: Readable, update: Sequence[Node]
) -> None:
    """Write the nodes of the update in order, and the dict `updated`."""
    ends = {key: readable.of(node) for key, node in derivation.updated.items()}
    groups, common = _grouped(derivation, readable, update, ends)
    alone = {g.parameter for g in groups}
    rest = [end for key, end in ends.items() if key.split("/")[0] not in alone]
    block.write(common, [*rest, *(i for g in groups for n in g.nodes for i in n.inputs)])
    loops: dict[tuple[str, ...], list[_Group]] = defaultdict(list)
    for group in groups:
        loops[(*group.reads, *_body(block, group).lines)].append(group)
    repeated = [part for part in loops.values() if len(part) > 1]
    for (group,) in (part for part in loops.values() if len(part) == 1):
        block.title = group.parameter
        block.write(group.nodes, [*group.ends.values()])
    several = {g.parameter for part in repeated for g in part}
    block.title = ""
    block.line("")
    single = {k: end for k, end in ends.items() if k.split("/")[0] not in several}
    block.dict("updated", single)
    for part in repeated:
        _write_loop(block, part, derivation)


def _grouped(
    derivation: Derivation, readable: Readable, update: Sequence[Node], ends: Mapping[str, Node]
) -> tuple[list[_Group], list[Node]]:
    """The groups, and the nodes that belong to no parameter alone.

    There are no groups if some node depends on several parameters.
    """
    groups = {key: _Group(key) for key in derivation.gradients if key in ends}
    owner: dict[Node, str] = {}
    for node, read in derivation.inputs.items():
        key, _, slot = read.name.partition("/")
        if key in groups and (slot or read.kind == "parameter"):
            owner[node] = key
            groups[key].reads[slot or "parameter"] = node
    for key, group in groups.items():
        gradient = readable.of(derivation.gradients[key])
        if owner.setdefault(gradient, key) != key:
            return [], [*update]  # two parameters have one gradient
        group.reads["gradient"] = gradient
    common = []
    for node in update:
        owners = {owner[i] for i in node.inputs if i in owner}
        if len(owners) > 1:
            return [], [*update]
        if owners:
            (owner[node],) = owners
            groups[owner[node]].nodes.append(node)
        else:
            common.append(node)
    for key, end in ends.items():
        base, _, slot = key.partition("/")
        if base in groups:
            if owner.get(end) != base:
                return [], [*update]
            groups[base].ends[slot] = end
    for group in groups.values():
        used = {i for n in group.nodes for i in n.inputs}
        used |= {*group.ends.values()}
        order = dict.fromkeys(("parameter", "gradient", *sorted(group.reads)))
        group.reads = {k: group.reads[k] for k in order if group.reads.get(k) in used}
    return [*groups.values()], common


def _body(block: Block, group: _Group) -> Block:
    """The statements for a parameter in a loop over parameters that are called the same."""
    names = block.names.copy()
    values = dict(block.values)
    for text, node in group.reads.items():
        values[node] = name(names.free(text), node.shape)
    for slot, end in group.ends.items():
        names.fixed[end] = names.free(f"new_{slot or 'parameter'}")
    body = block.inner(values, names, shapes=False)
    body.write(group.nodes, [*group.ends.values()])
    for slot, end in group.ends.items():
        body.line(f"updated[{_key('name', slot)}] = {body.whole(end).text}")
    return body


def _write_loop(block: Block, groups: Sequence[_Group], derivation: Derivation) -> None:
    """The loop over these parameters."""
    keys = [g.parameter for g in groups]
    block.line("")
    texts = [text_literal(key) for key in keys]
    if keys == [*derivation.gradients]:
        block.line("for name in gradients:")
    elif len(", ".join(texts)) < WIDTH - len("    for name in ():"):
        block.line(f"for name in ({', '.join(texts)}):")
    else:
        block.line("for name in (")
        for text in texts:
            block.line(f"    {text},")
        block.line("):")
    names = block.names.copy()
    for text in groups[0].reads:
        slot = "" if text == "parameter" else text
        source = "gradients[name]" if text == "gradient" else f"arrays[{_key('name', slot)}]"
        block.line(f"    {names.free(text)} = {source}")
    block.lines += _body(block, groups[0]).lines


def _key(variable: str, slot: str) -> str:
    return f'f"{{{variable}}}/{slot}"' if slot else variable
