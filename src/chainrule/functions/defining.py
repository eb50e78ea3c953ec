"""Custom operations: a meaning in NumPy and a row of derivatives, as in the tables."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import numerics, ops, shapes
from ..broadcasting import cast, common_shape, expand
from ..convert import promote
from ..derivative_rows import Row, install
from ..derivatives import REAL as _REAL
from ..errors import ArgumentError, ChainruleError, GradientError, user_line
from ..graph import Operation, spec_text
from ..hints import explain_arguments
from ..tensor import Tensor, as_tensor


def _shape_rule(name: str, rule: Callable[..., Any]) -> shapes.Infer:
    """The rule, with the operation's name in the errors about its defects."""

    def checked(*specs: Any, **params: Any) -> tuple[Any, Any]:
        try:
            size, dtype = rule(*specs, **params)
            return tuple(size), dtype if isinstance(dtype, tuple) else np.dtype(dtype)
        except ChainruleError:
            raise
        except Exception as error:
            got = " and ".join(spec_text(s) for s in specs)
            named = "".join(f", {k}={v}" for k, v in params.items())
            raise ArgumentError(
                name,
                f"its shape rule failed on {got}{named}: {type(error).__name__}: {error}",
                "expected shape(*specs, **params) -> (shape, dtype)",
                "fix the shape rule",
                user_line(),
            ) from error

    return checked


def _read_only(meaning: Callable[..., Any]) -> Callable[..., Any]:
    """The meaning on read-only views: a tensor's value may be shared, and is never changed."""

    @functools.wraps(meaning, updated=())
    def guarded(*xs: Any, **params: Any) -> Any:
        views = [x.view() for x in xs]
        for v in views:
            v.flags.writeable = False
        out = meaning(*views, **params)
        if isinstance(out, tuple):
            return out
        out = np.asarray(out)
        return out if out.flags.writeable else out.copy()  # it may be a part of an input

    return guarded


def _parameters(meaning: Callable[..., Any], inputs: int) -> set[str] | None:
    """The names of the meaning's parameters, without its inputs; None: any, or unknown."""
    try:
        parameters = list(inspect.signature(meaning).parameters.values())
    except (TypeError, ValueError):
        return None
    if any(p.kind is p.VAR_KEYWORD for p in parameters):
        return None
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    named = [p for p in positional[inputs:] if p.kind is p.POSITIONAL_OR_KEYWORD]
    return {p.name for p in (*named, *(p for p in parameters if p.kind is p.KEYWORD_ONLY))}


def _checked_rule(
    name: str, by: str, rule: Callable[..., Any], known: set[str], free: bool, scale: bool
) -> Callable[..., Any]:
    """The rule, once all that it names is known; with `scale` it is multiplied by g here.

    free  names that are not known may be parameters
    """
    try:
        names = list(inspect.signature(rule).parameters)
    except (TypeError, ValueError):
        raise ArgumentError(
            "defop",
            f"got a rule for {by} of {name} whose arguments cannot be read",
            "expected a rule whose arguments name its needs",
            "write it as a lambda",
            user_line(),
        ) from None
    unknown = [n for n in names if n not in known]
    if unknown and not free:
        raise ArgumentError(
            "defop",
            f"got a rule for {by} of {name} that names {', '.join(unknown)}",
            f"expected names of {', '.join(sorted(known))}",
            'use these names, or give the inputs others: arguments="a b"',
            user_line(),
        )
    if not scale or "g" in names:
        return rule

    @functools.wraps(rule, updated=())
    def scaled(*needs: Any) -> Any:
        g, share = needs[-1], rule(*needs[:-1])
        size = getattr(share, "shape", ())
        try:
            fits = np.broadcast_shapes(size, g.shape) == g.shape
        except ValueError:
            fits = False
        known_type = isinstance(share, (Tensor, np.ndarray, np.generic, int, float))
        if not fits or not known_type:
            got = spec_text(share) if isinstance(share, Tensor) else type(share).__name__
            raise GradientError(
                name,
                f"its rule for {by} gave {got}",
                f"expected {spec_text(g)}, like the result: ∂y/∂{by} for each element",
                "fix the rule, or pass kind='other' and use g in it",
                user_line(),
            )
        return g * share

    needs = [inspect.Parameter(n, inspect.Parameter.POSITIONAL_OR_KEYWORD) for n in (*names, "g")]
    scaled.__signature__ = inspect.Signature(needs)  # type: ignore[attr-defined]
    return scaled


def _rules(
    name: str,
    names: tuple[str, ...],
    kind: str,
    meaning: Callable[..., Any],
    derivatives: Sequence[Callable[..., Any] | None],
) -> tuple[Callable[..., Any] | None, ...]:
    """The derivatives, checked: one per input, and each names only known values."""
    if name in ops.TABLE:
        raise ArgumentError(
            "defop",
            f"got the name {name!r}",
            "expected a name that is not in the table of operations",
            "use another name",
            user_line(),
        )
    if not derivatives and kind != "zero":
        raise ArgumentError(
            "defop",
            f"got no derivatives for {name}, of kind {kind!r}",
            "expected a derivative for each input",
            "give a derivative for each input, or kind='zero'",
            user_line(),
        )
    if derivatives and len(derivatives) != len(names):
        raise ArgumentError(
            "defop",
            f"got {len(derivatives)} rules for {len(names)} inputs",
            "expected one rule per input",
            "put None where there is no derivative",
            user_line(),
        )
    parameters = _parameters(meaning, len(names))
    known = {*names, "y", "g", "xs", "xs_shapes", *(parameters or ())}
    known |= {f"{n}_{what}" for n in names for what in ("shape", "dtype")}
    return tuple(
        d and _checked_rule(name, n, d, known, parameters is None, kind == "elementwise")
        for n, d in zip(names, derivatives, strict=False)
    )


@explain_arguments
def defop(
    name: str,
    meaning: Callable[..., Any],
    *derivatives: Callable[..., Any] | None,
    kind: str = "elementwise",
    shape: Callable[..., tuple[Any, Any]] | None = None,
    arguments: str | None = None,
) -> Callable[..., Tensor]:
    """A new operation: its meaning in NumPy and a row of derivatives, as in the table.

    meaning      meaning(*arrays, **params) -> array, on read-only arrays
    derivatives  one per input (None: it has none), written with chainrule's functions
    kind         elementwise: a rule gives ∂y/∂x, and is multiplied by g (unless it names g)
                 linear, bilinear, other: a rule gives ∂loss/∂x, from g = ∂loss/∂y
                 zero: there are no rules, and no gradient flows
    shape        shape(*specs, **params) -> (shape, dtype), where a spec has .shape and .dtype; by
                 default all inputs share one shape and a floating dtype, after broadcasting, and
                 so does the result
    arguments    the inputs' names, as in "a b"; by default x, or x1, x2 … for one rule each

    The names of a rule's arguments are its needs, and only those are saved: an input (x; x1, x2 …;
    or as named in `arguments`), the output y, the cotangent g, x_shape and x_dtype of an input x,
    and the operation's parameters. The function takes inputs by position, parameters by name:

        cube = cr.defop("cube", lambda x: x**3, lambda x: 3 * x * x)
        decay = cr.defop("decay", lambda x, rate: np.exp(-rate * x), lambda y, rate: -rate * y)
        decay(x, rate=2.0)

    Check it with cr.check_gradients; its `row` is an argument for `cr.checking.check_row`.
    """
    if kind not in ("elementwise", "linear", "bilinear", "other", "zero"):
        raise ArgumentError(
            "defop",
            f"got kind {kind!r}",
            "expected elementwise, linear, bilinear, other or zero",
            "leave it out for an elementwise operation",
            user_line(),
        )
    count = max(1, len(derivatives))
    names = (
        tuple(arguments.split())
        if arguments
        else (("x",) if count == 1 else tuple(f"x{k + 1}" for k in range(count)))
    )
    rules = _rules(name, names, kind, meaning, derivatives)

    def default(*specs: Any, **params: Any) -> tuple[Any, Any]:
        return shapes.elementwise(name)(*specs)

    rule = shapes.strict(_shape_rule(name, default if shape is None else shape))
    cases: Any = [((((2, 3),) * len(names)), {})] if shape is None else []
    op = Operation(name, kind, rule, numerics.wide(_read_only(meaning)), names, cases)
    entry = Row(op, rules, reason="" if rules else "declared without one", on=(_REAL,))
    install(entry)

    @functools.wraps(meaning, updated=())
    def function(*xs: Any, **params: Any) -> Tensor:
        if len(xs) != len(names):
            raise ArgumentError(
                name,
                f"got {len(xs)} inputs",
                f"expected {len(names)}: {', '.join(names)}",
                "pass parameters by name; an operation of more inputs names them when it is "
                'defined: arguments="x1 x2"',
                user_line(),
            )
        tensors = [as_tensor(x) for x in xs]
        if shape is None:
            dtype = tensors[0].dtype
            for t in tensors[1:]:
                dtype = promote(dtype, t.dtype)
            size = common_shape(name, *(t.shape for t in tensors))
            tensors = [expand(cast(t, dtype), size) for t in tensors]
        out: Tensor = op(*tensors, **params)
        return out

    function.__name__ = function.__qualname__ = name
    function.row = entry  # type: ignore[attr-defined]
    return function
