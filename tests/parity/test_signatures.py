"""Every public name that PyTorch has too takes its arguments in PyTorch's order, or by name.

A call that is copied from a PyTorch program means the same here or is an error: each of our
arguments that may be given by position is PyTorch's at that position. PyTorch's own order comes
from `inspect`, or from the first lines of the docstring where a function is not Python's.
"""

import ast
import inspect
import re
from itertools import takewhile

import pytest
import torch

import chainrule as cr
from chainrule import nn, optim
from chainrule.hints.names import FUNCTIONS

P = inspect.Parameter
POSITIONAL = P.POSITIONAL_ONLY, P.POSITIONAL_OR_KEYWORD

# Names of one thing. What is given by position alone, as by the Array API, has no name for callers.
SAME = [
    {
        "x",
        "x1",
        "xs",
        "t",
        "input",
        "input1",
        "tensor",
        "tensors",
        "a",
        "elements",
        "sorted_sequence",
        "ext_tensor",
        "src",
        "dividend",
    },
    {"obj", "ndarray"},
    {
        "x2",
        "other",
        "exponent",
        "vec2",
        "tensor",
        "b",
        "test_elements",
        "indices",
        "index",
        "input2",
        "values",
        "mat2",
        "divisor",
    },
    {"w", "weight"},
    {"metric", "metrics"},
    {"axis", "axes", "dim", "dims", "dim0"},
    {"keepdims", "keepdim"},
    {"ord", "p"},
    {"shape", "size"},
    {"n_rows", "n"},
    {"n_cols", "m"},
    {"k", "diagonal"},
    {"shift", "shifts"},
    {"stop", "end"},
    {"num", "steps"},
    {"repetitions", "dims"},
    {"value", "val"},
    {"vector", "vec"},
    {"state", "hx"},
    {"values", "state", "state_dict"},
    {"function", "fn", "model"},
    {"layer", "module"},
    {"f", "func"},
    {"args", "primals"},
    {"p", "input"},
    {"window", "kernel_size"},
    {"data", "dataset"},
]

REASONS = {
    "finfo": "a dtype, as there, where nothing says so",
    "iinfo": "a dtype, as there, where nothing says so",
    "fold": "the windows have axes of their own, which say how large they are",
    "index_select": "take has NumPy's order: an axis in the place of indices is refused",
    "masked_fill": "where chooses among three; it refuses a mask in the place of a number",
    "pad": "NumPy's widths, a pair for each axis",
    "random.Generator": "a seed, where PyTorch has a device: there is one",
    "random.Generator.seed": "the seed, where PyTorch draws one",
    "random.Generator.set_state": "a state, as there, where nothing says so",
    "random.normal": "a shape; what follows it by position is refused",
    "split": "NumPy's sections, how many and not how large",
    "scatter_add": "the adjoint of take; PyTorch's call has one argument too many for it",
}

DEFAULTS = {
    "batch_first": "sequences are batch first, and False is refused",
    "correction": "0, the Array API's",
    "stable": "sorting is always stable",
    "side": "left, the Array API's; PyTorch's None is left too",
    "indexing": '"xy", the Array API\'s',
    "softmax axis": "the last; PyTorch guesses where there is none",
    "log_softmax axis": "the last; PyTorch guesses where there is none",
    "Softmax axis": "the last; PyTorch guesses where there is none",
    "LogSoftmax axis": "the last; PyTorch guesses where there is none",
    "norm ord": "2, for which PyTorch says None and fro",
    "topk axis": "the last, for which PyTorch says None",
    "DataLoader batch_size": "32, since 1 is hardly ever meant",
    "DataLoader shuffle": "False, for which PyTorch says None",
    "activation": '"relu", for which PyTorch says functional.relu',
    "fold stride": "the window, as unfold has it",
    "unfold stride": "the window, as pooling has it; PyTorch's unfold says 1",
    "pad value": "0, for which PyTorch says None",
}


def written(name, doc):
    """The longest signature of the name that a docstring declares."""
    found = []
    for match in re.finditer(rf"(?:^\s*|\.\. (?:function|method):: ){re.escape(name)}\(", doc):
        depth, start, end = 1, match.end(), match.end()
        while depth and end < len(doc):
            depth += (doc[end] in "([") - (doc[end] in ")]")
            end += 1
        found.append(list(parameters(doc[start : end - 1])))
    return max(found, key=lambda s: (len(placed(s)), len(s)), default=None)


def parameters(text):
    """The parameters of a written signature; a default that is no literal stays a text."""
    kind = P.POSITIONAL_OR_KEYWORD
    seen = set()
    for part in re.split(r",\s*(?![^(\[]*[)\]])", text):
        name, _, default = (word.strip() for word in part.partition("="))
        name = name.partition(":")[0].strip()
        if name == "*":
            kind = P.KEYWORD_ONLY
        elif name.startswith("*"):
            yield P(name.strip("*"), P.VAR_POSITIONAL)
            kind = P.KEYWORD_ONLY
        elif name.isidentifier() and name not in seen:
            seen.add(name)
            yield P(name, kind, default=literal(default) if default else P.empty)


def literal(text):
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def pytorchs(name, thing):
    """PyTorch's parameters of a callable; None if nothing says them."""
    found = None
    try:
        found = list(inspect.signature(thing).parameters.values())
        if [p.kind for p in found] != [P.VAR_POSITIONAL, P.VAR_KEYWORD]:
            return found
    except (TypeError, ValueError):
        pass
    stated = written("__init__" if inspect.isclass(thing) else name, thing.__doc__ or "")
    if stated is None:
        example = torch.overrides.get_testing_overrides().get(thing)
        stated = list(inspect.signature(example).parameters.values()) if example else found
    return stated


def placed(given):
    """Those that may be given by position, up to one that takes all the rest."""
    return list(takewhile(lambda p: p.kind in POSITIONAL, given))


def same(ours, theirs):
    return ours == theirs or any({ours, theirs} <= names for names in SAME)


def differences(name, ours, theirs):
    """Where a call in PyTorch's order, or without an argument, would mean something else."""
    for k, (p, q) in enumerate(zip(placed(ours), placed(theirs), strict=False)):
        if not same(p.name, q.name):
            yield f"position {k}: {p.name} here, {q.name} there"
    for p in ours:
        for q in theirs:
            if same(p.name, q.name) and P.empty not in (p.default, q.default):
                known = {p.name, f"{name.rpartition('.')[2]} {p.name}"} & DEFAULTS.keys()
                if p.default != q.default and not known:
                    yield f"default of {p.name}: {p.default!r} here, {q.default!r} there"


ROOMS = [
    ("", cr, torch),
    ("", cr, torch.nn.functional),
    ("", cr, torch.linalg),
    ("", cr, torch.func),
    ("random.", cr.random, torch),
    ("random.", cr.random, torch.random),
    ("random.Generator.", cr.random.Generator, torch.Generator),
    ("Tensor.", cr.Tensor, torch.Tensor),
    ("data.", cr.data, torch.utils.data),
    ("nn.", nn, torch.nn),
    ("nn.init.", nn.init, torch.nn.init),
    ("nn.functional.", nn.functional, torch.nn.functional),
    ("nn.utils.", nn.utils, torch.nn.utils),
    ("nn.Module.", nn.Module, torch.nn.Module),
    ("nn.Sequential.", nn.Sequential, torch.nn.Sequential),
    ("optim.", optim, torch.optim),
    ("optim.", optim, torch.optim.lr_scheduler),
    ("optim.Optimizer.", optim.Optimizer, torch.optim.Optimizer),
    ("optim.Schedule.", optim.Schedule, torch.optim.lr_scheduler.LRScheduler),
    (
        "optim.ReduceLROnPlateau.",
        optim.ReduceLROnPlateau,
        torch.optim.lr_scheduler.ReduceLROnPlateau,
    ),
]

INNER = {"as_tensor", "Tensor"}  # what a module of ours imports, and is not of its names


def pairs():
    """(name, ours, PyTorch's) of each callable that both have, and of each layer's forward."""
    for room, ours, theirs in ROOMS:
        for name in dir(ours):
            a, b = getattr(ours, name), getattr(theirs, name, None)
            if name[0] == "_" or name in INNER or not callable(a) or not callable(b):
                continue
            yield room + name, a, b
            if isinstance(a, type) and issubclass(a, nn.Module) and name != "Module":
                yield f"{room}{name}.forward", a.forward, b.forward
    for theirs, ours in FUNCTIONS.items():
        a, b = getattr(cr, ours, None), getattr(torch, theirs, None)
        if callable(a) and callable(b):
            yield theirs, a, b


PAIRS = {}
for _name, *_pair in pairs():
    PAIRS[_name] = [*PAIRS.get(_name, []), _pair]


def found(name):
    """What differs for a name, against each of PyTorch's callables of this name."""
    for ours, theirs in PAIRS[name]:
        taken = pytorchs(name.rpartition(".")[2], theirs)
        if taken is None:
            yield "PyTorch's arguments are not known"
        else:
            yield from differences(name, own(name, ours), [p for p in taken if p.name != "self"])


def own(name, thing):
    taken = list(inspect.signature(thing).parameters.values())
    return taken[1:] if name.startswith("Tensor.") else [p for p in taken if p.name != "self"]


@pytest.mark.parametrize("name", PAIRS)
def test_arguments_stand_in_pytorchs_order(name):
    assert bool(list(found(name))) == (name in REASONS), list(found(name))


def test_every_reason_is_for_a_name():
    assert REASONS.keys() <= PAIRS.keys()
    ours = {p.name for name in PAIRS for pair in PAIRS[name] for p in own(name, pair[0])}
    assert {d.rpartition(" ")[2] for d in DEFAULTS} <= ours


@pytest.mark.parametrize(
    ("ours", "differing"),
    [
        (lambda x, axis, keepdims=False: 0, 0),
        (lambda x, *, keepdims=False: 0, 0),
        (lambda x, keepdims=False: 0, 1),
        (lambda x, keepdims, axis: 0, 2),
        (lambda x, axis, keepdims=True: 0, 1),
    ],
)
def test_a_wrong_order_is_found(ours, differing):
    theirs = pytorchs("sum", torch.sum)
    assert len(list(differences("sum", own("sum", ours), theirs))) == differing
