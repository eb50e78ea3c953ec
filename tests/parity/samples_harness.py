"""How one of PyTorch's samples is run by both libraries and what can differ.

outcome  what an observation says of one sample:
    agreed      the same, or both refuse
    refused     PyTorch has an answer, chainrule raises one of its errors
    crashed     PyTorch has an answer, chainrule raises something else
    accepted    PyTorch refuses, chainrule has an answer
    absent      chainrule does not have an argument of the sample
    malformed   both refuse, but chainrule's error is not one of its own classes
    shape, dtype, value, gradient: the first that differs
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import torch
from samples_calls import AbsentError
from samples_reasons import ABSENT, REASONS

import chainrule as cr
from chainrule import ChainruleError

DTYPES = {
    getattr(torch, name): getattr(cr, name)
    for name in (
        "bool",
        "uint8",
        "int8",
        "int16",
        "int32",
        "int64",
        "float16",
        "bfloat16",
        "float32",
        "float64",
    )
}
NAMES = {theirs: str(theirs).removeprefix("torch.") for theirs in DTYPES}
CLOSE = {  # relative and absolute
    "float64": (1e-7, 1e-7),
    "float32": (1.3e-6, 1e-5),
    "float16": (1e-3, 1e-3),
    "bfloat16": (1.6e-2, 1e-2),
}


@dataclass(eq=False)
class Observation:
    """One sample, and what came of it."""

    name: str  # of the function, with the variant where it has one
    dtype: str
    sample: Any  # PyTorch's, with input, args and kwargs
    outcome: str = "agreed"
    detail: str = ""
    number: int = 0


def leaves(tree: Any) -> Iterator[Any]:
    """What is in tuples, lists and dicts."""
    if isinstance(tree, (tuple, list)):
        for part in tree:
            yield from leaves(part)
    elif isinstance(tree, dict):
        yield from leaves(list(tree.values()))
    else:
        yield tree


def array(x: torch.Tensor) -> np.ndarray:
    """Its value; bfloat16 as ml_dtypes has it."""
    x = x.detach()
    if x.dtype == torch.bfloat16:
        return x.float().numpy().astype(ml_dtypes.bfloat16)
    return x.resolve_conj().resolve_neg().numpy()


class Converter:
    """PyTorch's arguments as ours.

    pairs   the tensors that require a gradient, PyTorch's and ours, and how its layout becomes ours
    """

    def __init__(self) -> None:
        self.pairs: list[tuple[torch.Tensor, cr.Tensor, Callable[..., Any]]] = []
        self.known: dict[int, cr.Tensor] = {}

    def __call__(self, tree: Any) -> Any:
        if isinstance(tree, torch.Tensor):
            if id(tree) not in self.known:
                ours = cr.Tensor(np.array(array(tree)), requires_grad=tree.requires_grad)
                self.known[id(tree)] = ours
                if tree.requires_grad:
                    tree.retain_grad()
                    self.pairs.append((tree, ours, np.asarray))
            return self.known[id(tree)]
        if isinstance(tree, torch.dtype):
            return DTYPES.get(tree, tree)
        if isinstance(tree, (torch.Size, tuple)):
            return tuple(self(part) for part in tree)
        if isinstance(tree, list):
            return [self(part) for part in tree]
        if isinstance(tree, dict):
            return {k: self(part) for k, part in tree.items()}
        return tree


def _numbers(out: Any) -> list[Any]:
    """The results, each a tensor or an array."""
    parts = [out] if isinstance(out, (cr.Tensor, torch.Tensor)) else list(leaves(out))
    return [p if isinstance(p, (cr.Tensor, torch.Tensor)) else np.asarray(p) for p in parts]


def _value(x: Any) -> np.ndarray:
    return array(x) if isinstance(x, torch.Tensor) else np.asarray(x)


def _different(got: np.ndarray, wanted: np.ndarray) -> str:
    """How far the values are apart, or nothing."""
    dtype = str(wanted.dtype)
    if dtype not in CLOSE:
        return "" if np.array_equal(got, wanted) else f"{got} for {wanted}"
    rtol, atol = CLOSE[dtype]
    a, b = (v.astype(np.float64) for v in (got, wanted))
    finite = np.abs(b[np.isfinite(b)])
    atol *= max(1.0, finite.max(initial=0.0))  # sums of large numbers may come out small
    with np.errstate(invalid="ignore"):
        fits = np.isclose(a, b, rtol=rtol, atol=atol, equal_nan=True)
    if fits.all():
        return ""
    return f"{a[~fits].ravel()[:3]} for {b[~fits].ravel()[:3]}"


def _weighted(parts: list[Any], cotangents: list[np.ndarray], make: Callable[..., Any]) -> Any:
    """⟨u, y⟩ over the results that have a gradient."""
    total: Any = None
    for y, u in zip(parts, cotangents, strict=True):
        if getattr(y, "requires_grad", False):
            term = (y * make(u)).sum()
            total = term if total is None else total + term
    return total


def observe(
    name: str,
    dtype: str,
    sample: Any,
    theirs: Callable[[], Any],
    ours: Callable[..., Any],
    convert: Converter,
    values: bool = True,
    number: int = 0,
) -> Observation:
    """Run both on a sample; `ours` gets the converted input, args and kwargs."""
    seen = Observation(name, dtype, sample, number=number)
    try:
        wanted: Any = _numbers(theirs())
    except Exception as error:
        if dtype != "error":
            raise
        wanted = error
    try:
        got: Any = _numbers(ours())
    except AbsentError as error:
        seen.outcome, seen.detail = "absent", str(error)
        return seen
    except ChainruleError as error:
        got = error
        kind = "refused"
    except Exception as error:
        got, kind = error, "crashed"
    if isinstance(wanted, Exception):
        if not isinstance(got, Exception):
            seen.outcome, seen.detail = "accepted", f"PyTorch: {str(wanted).splitlines()[0]}"
        elif kind == "crashed":
            seen.outcome, seen.detail = "malformed", f"{type(got).__name__}: {got}"
        return seen
    if isinstance(got, Exception):
        seen.outcome, seen.detail = kind, f"{type(got).__name__}: {got}"
        return seen
    _compare(seen, got, wanted, convert, values)
    return seen


def _compare(seen: Observation, got: Any, wanted: Any, convert: Converter, values: bool) -> None:
    shapes = [tuple(p.shape) for p in got], [tuple(p.shape) for p in wanted]
    if shapes[0] != shapes[1]:
        seen.outcome, seen.detail = "shape", f"{shapes[0]} for {shapes[1]}"
        return
    dtypes = [[str(_value(p).dtype) for p in side] for side in (got, wanted)]
    if dtypes[0] != dtypes[1]:
        seen.outcome, seen.detail = "dtype", f"{dtypes[0]} for {dtypes[1]}"
        return
    if not values:
        return
    for g, w in zip(got, wanted, strict=True):
        if apart := _different(_value(g), _value(w)):
            seen.outcome, seen.detail = "value", apart
            return
    if convert.pairs:
        rng = np.random.default_rng(zlib.crc32(f"{seen.name} {seen.number}".encode()))
        us = [rng.uniform(0.5, 1.5, p.shape) for p in wanted]
        total, mine = _weighted(wanted, us, torch.tensor), _weighted(got, us, cr.Tensor)
        for t, _, _ in convert.pairs:
            t.grad = None
        if total is not None:
            total.backward()
        if mine is not None:
            mine.backward()
        for t, c, layout in convert.pairs:
            zero = np.zeros(c.shape)
            grad = c.grad.to_dense() if isinstance(c.grad, cr.RowSparse) else c.grad
            a = zero if grad is None else _value(grad)
            b = zero if t.grad is None else layout(_value(t.grad))
            if apart := _different(a, b):
                seen.outcome, seen.detail = "gradient", apart
                return


def unexplained(found: list[Observation]) -> list[str]:
    """Differences without a reason, and rows of the table that are not true of what was found."""
    by_name: dict[str, list[Observation]] = {}
    for o in found:
        by_name.setdefault(o.name, []).append(o)
    wrong = []
    explained: set[int] = set()
    for row in REASONS:
        for name in row.names.split():
            if name not in by_name:
                continue
            meant = [
                o
                for o in by_name[name]
                if o.outcome != "absent" and o.dtype in row.on.split() and row.when(o.sample)
            ]
            right = [o for o in meant if o.outcome in row.outcome.split()]
            others = [] if row.some else [o for o in meant if o not in right]
            explained.update(id(o) for o in right)
            if not right:
                wrong.append(f"no sample of {name} is meant by: {row.outcome}, {row.why}")
            wrong += [f"{text(o)} — but the table says: {row.outcome}, {row.why}" for o in others]
    for argument, names in ABSENT.items():
        for name in names.split():
            uses = [o for o in by_name.get(name, []) if o.detail == argument]
            explained.update(id(o) for o in uses if o.outcome == "absent")
            if name in by_name and not uses:
                wrong.append(f"no sample of {name} uses the absent {argument}")
    return wrong + [text(o) for o in found if o.outcome != "agreed" and id(o) not in explained]


def text(o: Observation) -> str:
    """One observation in one line."""
    s = o.sample
    given = ", ".join(
        [_brief(s.input), *map(_brief, s.args), *(f"{k}={_brief(v)}" for k, v in s.kwargs.items())]
    )
    return f"{o.name}({given}) [{o.dtype} {o.number}]: {o.outcome}: {o.detail}".split("\n")[0]


def _brief(x: Any) -> str:
    if isinstance(x, torch.Tensor):
        return f"{str(x.dtype).removeprefix('torch.')}{list(x.shape)}"
    if isinstance(x, (tuple, list)):
        return f"({', '.join(map(_brief, x))})"
    return repr(x)


def report(wrong: list[str]) -> str:
    """The first of them, a line each."""
    return "\n".join([f"{len(wrong)} differences", *wrong[:60]])
