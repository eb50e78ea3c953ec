"""chainrule on the samples that PyTorch tests its own functions with (torch.testing._internal).

Every function that both libraries have is called with them, by its name here (`samples_calls`):
values, shapes, dtypes and gradients are PyTorch's, and what PyTorch refuses is refused. Where that
is not so, `samples_reasons` says why, and each of its rows must be true.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from samples_calls import APART, RANDOM, THEIRS, AbsentError, ours
from samples_harness import NAMES, Converter, Observation, leaves, observe, report, unexplained
from torch.testing._internal.common_methods_invocations import op_db
from torch.testing._internal.opinfo.core import (
    BinaryUfuncInfo,
    OpInfo,
    ReductionOpInfo,
    UnaryUfuncInfo,
)

import chainrule as cr
from chainrule import ChainruleError

DTYPES = (torch.float64, torch.float32, torch.int64, torch.uint8, torch.bool)
MOST = 30  # samples of a function in one dtype: of more, the same ones are drawn in every run
LARGE = 10_000  # elements: larger ones are left out
# How many samples of a table agree at least.
FLOORS = {"unary": 2200, "binary": 1350, "reduction": 750, "network": 1750, "other": 3300}


def group(op: OpInfo) -> str:
    """In which of the tables below it is compared."""
    if op.name.startswith("nn.functional."):
        return "network"
    kinds = {UnaryUfuncInfo: "unary", BinaryUfuncInfo: "binary", ReductionOpInfo: "reduction"}
    return kinds.get(type(op), "other")


def title(op: OpInfo) -> str:
    return f"{op.name}.{op.variant_test_name}" if op.variant_test_name else op.name


COMMON = {
    title(op): op for op in op_db if ours(op.name, tuple(a.name for a in op.aliases)) is not None
}


def drawn(samples: list[Any]) -> Iterator[tuple[int, Any]]:
    """Some of them, with their numbers; none with complex numbers."""
    chosen = range(len(samples))
    if len(samples) > MOST:
        chosen = sorted(random.Random(0).sample(chosen, MOST))
    for k in chosen:
        s = samples[k]
        parts = list(leaves([s.input, s.args, s.kwargs]))
        tensors = [p for p in parts if isinstance(p, torch.Tensor)]
        many = any(t.ndim > 64 or t.numel() > LARGE for t in tensors)  # NumPy has 64 axes
        if not many and not any(t.is_complex() for t in tensors):
            yield k, s


def observed(op: OpInfo) -> Iterator[Observation]:
    """What comes of the samples of one function, and of those that it refuses."""
    call = ours(op.name, tuple(a.name for a in op.aliases))
    theirs = THEIRS.get(op.name, op)

    def one(dtype: str, number: int, s: Any) -> Observation:
        convert = Converter()
        x, args, kwargs = convert(s.input), convert(tuple(s.args)), convert(s.kwargs)
        return observe(
            title(op),
            dtype,
            s,
            functools.partial(theirs, s.input, *s.args, **s.kwargs),
            functools.partial(call, x, *args, **kwargs),
            convert,
            op.name not in RANDOM,
            number,
        )

    for dtype in DTYPES:
        if dtype in op.dtypes:
            torch.manual_seed(0)
            grad = dtype == torch.float64 and op.supports_autograd
            more = group(op) == "unary" and dtype.is_floating_point
            offered = op.reference_inputs if more else op.sample_inputs  # with infinities and NaN
            for k, s in drawn(list(offered("cpu", dtype, requires_grad=grad))):
                if more:  # some are parts of a tensor that has the gradient
                    s.input = s.input.detach().clone().requires_grad_(grad)
                yield one(NAMES[dtype], k, s)
    if op.error_inputs_func is not None:
        for k, s in drawn([e.sample_input for e in op.error_inputs("cpu")]):
            yield one("error", k, s)


@pytest.mark.filterwarnings("ignore")  # of both, about what samples ask on purpose
@pytest.mark.parametrize("table", FLOORS)
def test_functions(table: str) -> None:
    with np.errstate(all="ignore"):
        found = [o for op in COMMON.values() if group(op) == table for o in observed(op)]
    wrong = unexplained(found)
    assert not wrong, report(wrong)
    agreed = sum(o.outcome == "agreed" for o in found)
    print(f"{table}: {agreed} of {len(found)} samples of {len({o.name for o in found})} functions")
    assert agreed >= FLOORS[table]


def test_names() -> None:
    """The tables hold what op_db has: nothing of it is left out unseen."""
    known = {op.name for op in op_db}
    assert set(APART) <= known
    assert set(THEIRS) <= known
    assert len(COMMON) >= 200


# ── compiled ─────────────────────────────────────────────────────────────────────────────────────

# Calls that ask a sample for a value, or make a layer, which is made outside of a step.
UNTRACED = {
    "tensor_split",
    "nn.functional.embedding",
    "nn.functional.embedding_bag",
    "nn.functional.bilinear",
}


def differentiated(op: OpInfo) -> tuple[Any, list[cr.Tensor]] | None:
    """The function's first float64 sample as (inputs ↦ ∑ results · weights and its gradients)."""
    call = ours(op.name, tuple(a.name for a in op.aliases))
    torch.manual_seed(0)
    for k, s in drawn(list(op.sample_inputs("cpu", torch.float64, requires_grad=True))):
        convert = Converter()
        tree = [convert(s.input), convert(tuple(s.args)), convert(s.kwargs)]
        xs = [c.detach() for _, c, _ in convert.pairs if c.size]
        try:
            fine = xs and floats(call(tree[0], *tree[1], **tree[2]))
        except (AbsentError, ChainruleError):
            continue
        if fine:
            return total(call, tree, [c for _, c, _ in convert.pairs if c.size], k), xs
    return None


def floats(out: Any) -> list[Any]:
    """The results that can have a gradient."""
    parts = [out] if isinstance(out, cr.Tensor) else list(leaves(out))
    return [p for p in parts if isinstance(p, cr.Tensor) and p.requires_grad]


def total(call: Any, tree: list[Any], variables: list[cr.Tensor], number: int) -> Any:
    """A function of the variables' values: their place in the arguments is filled with them."""

    def filled(part: Any, values: dict[int, Any]) -> Any:
        if isinstance(part, (tuple, list)):
            return type(part)(filled(p, values) for p in part)
        if isinstance(part, dict):
            return {k: filled(p, values) for k, p in part.items()}
        return values.get(id(part), part)

    def weighted(*xs: Any) -> Any:
        values = {id(v): x for v, x in zip(variables, xs, strict=True)}
        x, args, kwargs = (filled(part, values) for part in tree)
        out = call(x, *args, **kwargs)
        parts = [out] if isinstance(out, cr.Tensor) else list(leaves(out))
        rng = np.random.default_rng(number)
        terms = [
            (p * cr.Tensor(rng.uniform(0.5, 1.5, p.shape))).sum()
            for p in parts
            if isinstance(p, cr.Tensor) and p.dtype == cr.float64
        ]
        return functools.reduce(cr.add, terms)

    def both(*xs: Any) -> Any:
        value, back = cr.vjp(weighted, *xs)
        return (value, *back(cr.ones((), dtype=cr.float64)))

    return both


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("backend", ["reference", "native"])
def test_compiled(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step of several functions computes what each computes by itself."""
    monkeypatch.setenv("CHAINRULE_BACKEND", backend)
    steps = {}
    for name, op in COMMON.items():
        small = backend == "reference" or group(op) in ("unary", "binary", "reduction")
        has_gradient = torch.float64 in op.dtypes and op.supports_autograd
        if small and has_gradient and op.name not in RANDOM and name not in UNTRACED:
            steps[name] = differentiated(op)
    names = [name for name, step in steps.items() if step is not None]
    assert len(names) >= (170 if backend == "reference" else 60)
    for k in range(0, len(names), 12):
        compare(names[k : k + 12], steps)


def compare(names: list[str], steps: dict[str, Any]) -> None:
    inputs = [steps[name][1] for name in names]

    @cr.compile
    def together(inputs: Any) -> Any:
        return [steps[name][0](*xs) for name, xs in zip(names, inputs, strict=True)]

    with np.errstate(all="ignore"):
        for name, xs, got in zip(names, inputs, together(inputs), strict=True):
            for g, w in zip(got, steps[name][0](*xs), strict=True):
                np.testing.assert_allclose(
                    g.numpy(), w.numpy(), rtol=1e-11, atol=1e-11, err_msg=name
                )
