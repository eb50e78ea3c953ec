"""Derivatives of functions, in functional form: grad, vjp, jvp, jacobian, hessian, hvp.

Arguments are tensors, or nested lists, tuples and dicts of them; derivatives have their structure.
All results can be differentiated again.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from . import tree
from .dtypes import is_floating
from .errors import ArgumentError, DtypeError, ShapeError, user_line
from .functions import creation, shaping
from .graph import spec_text, topological
from .recording import pullback
from .tensor import Tensor, as_tensor, enable_grad
from .trace import state
from .wrapping import Transformed

Argnums = int | Sequence[int]


def _split(
    name: str, args: tuple[Any, ...], argnums: Argnums
) -> tuple[list[int], list[Tensor], Any]:
    """The leaves of the arguments to differentiate by, as tensors, and their structure."""
    _expect_numbers(name, argnums)
    numbers = [argnums] if isinstance(argnums, (int, np.integer)) else list(argnums)
    if any(not -len(args) <= k < len(args) for k in numbers):
        raise ArgumentError(
            name,
            f"got argnums {argnums} for {len(args)} arguments",
            f"expected numbers from {-len(args)} to {len(args) - 1}",
            "count positional arguments from 0",
            user_line(),
        )
    numbers = [k % len(args) for k in numbers]
    if len(set(numbers)) != len(numbers):
        raise ArgumentError(
            name,
            f"got argnums {argnums}",
            "expected each argument once",
            "remove the repeated one",
            user_line(),
        )
    leaves, structure = tree.flatten([args[k] for k in numbers])
    for x in leaves:
        if hasattr(x, "named_parameters"):
            raise DtypeError(
                name,
                f"got the module {type(x).__name__} as an argument",
                "expected tensors to differentiate by",
                "call loss.backward() and read p.grad of module.parameters()",
                user_line(),
            )
    tensors = [as_tensor(x) for x in leaves]
    for t in tensors:
        if not is_floating(t.dtype):
            raise DtypeError(
                name,
                f"got an argument {spec_text(t)}",
                "expected a floating dtype",
                "convert it with astype(x, float32), or leave it out of argnums",
                user_line(),
            )
    return numbers, tensors, structure


def _pullback_of(
    name: str,
    f: Callable[..., Any],
    args: tuple[Any, ...],
    argnums: Argnums,
    has_aux: bool = False,
    kwargs: dict[str, Any] | None = None,
) -> tuple[Any, Any, Callable[[Any], Any]]:
    """f's result, its extra result, and the function from cotangents to cotangents."""
    _expect_function(name, f)
    numbers, tensors, structure = _split(name, args, argnums)
    box: dict[str, Any] = {}

    def run(variables: list[Tensor]) -> list[Tensor]:
        full, box["from"] = list(args), [v._node for v in variables]
        for k, value in zip(numbers, tree.unflatten(structure, variables), strict=True):
            full[k] = value
        before = state.pullbacks
        out = f(*full, **(kwargs or {}))
        box["plain"] = state.pullbacks == before  # f takes no derivative itself
        if has_aux:
            out, box["aux"] = out
        leaves, box["tree"] = tree.flatten(out)
        tensors = [as_tensor(t) for t in leaves]
        box["to"] = [t._node for t in tensors if t._node is not None]
        return tensors

    results, pull = pullback(name, run, tensors)

    def back(cotangent: Any) -> Any:
        leaves = tree.leaves_like(box["tree"], cotangent)
        if leaves is None:
            raise ShapeError(
                name,
                f"got a cotangent of another structure ({type(cotangent).__name__})",
                "expected the structure of the result",
                "pass one tensor for each tensor of the result",
                user_line(),
            )
        shares = pull([as_tensor(g) for g in leaves])
        if name == "grad" and box["plain"] and any(s is None for s in shares):
            reached = set(topological(box["to"], only_grad=True))
            _warn_of_unused(numbers, tree.unflatten(structure, [n in reached for n in box["from"]]))
        filled = [
            g if g is not None else creation.zeros_like(t)
            for g, t in zip(shares, tensors, strict=True)
        ]
        out = tree.unflatten(structure, filled)
        return out[0] if isinstance(argnums, (int, np.integer)) else tuple(out)

    return tree.unflatten(box["tree"], results), box.get("aux"), back


def _expect_numbers(name: str, argnums: Any, several: bool = True) -> None:
    """Raise unless argnums is the place of an argument, or where allowed a sequence of places."""
    listed = several and isinstance(argnums, (list, tuple, range, np.ndarray))
    for k in argnums if listed else [argnums]:
        if not isinstance(k, (int, np.integer)) or isinstance(k, bool):
            raise ArgumentError(
                name,
                f"got argnums={argnums!r}",
                "expected places of positional arguments, counted from 0",
                f"argnums=0{', or (0, 1) for several' if several else ''}",
                user_line(),
            )


def _expect_function(name: str, f: Any) -> None:
    if not callable(f):
        got = f"a tensor {spec_text(f)}" if isinstance(f, Tensor) else type(f).__name__
        raise ArgumentError(
            name,
            f"got {got}",
            "expected a function of what to differentiate by",
            f"write cr.{name}(function)(x), or y.backward() and then x.grad"
            if name == "grad"
            else "pass the function itself, and not its result",
            user_line(),
        )


_warned: dict[Any, Any] = {}


def _warn_of_unused(numbers: list[int], reached: list[Any]) -> None:
    """Warn, once per line, about an argument that does not reach the result: its gradient is 0."""
    for k, part in zip(numbers, reached, strict=True):
        leaves = tree.flatten(part)[0]
        place = user_line()
        if leaves and not any(leaves) and place is not None:
            text = (
                f"[grad] the function does not use its argument {k} in what it returns; its "
                "gradient is 0; is another tensor used in its place (a module's parameter), or is "
                "the way cut by detach, rounding or a comparison?"
            )
            where = place[0].co_filename, place[1]
            warnings.warn_explicit(text, UserWarning, *where, registry=_warned)


def _as_sequences(name: str, args: Any, tangents: Any) -> tuple[Sequence[Any], Sequence[Any]]:
    """The arguments and their tangents; a tensor by itself is the one argument."""
    one = [isinstance(x, (Tensor, np.ndarray, int, float)) for x in (args, tangents)]
    if one[0] != one[1]:
        alone, other = ("arguments", "tangents") if one[0] else ("tangents", "arguments")
        raise ArgumentError(
            name,
            f"got one tensor as {alone} and several as {other}",
            "expected the same structure for both",
            "write (x,) and (t,), or x and t for one argument",
            user_line(),
        )
    for what, value in (("arguments", args), ("tangents", tangents)):
        if not one[0] and not isinstance(value, (list, tuple)):
            raise ArgumentError(
                name,
                f"got {type(value).__name__} as {what}",
                "expected a tensor, or a tuple",
                "write (x,) and (t,), or x and t for one argument",
                user_line(),
            )
    return ((args,), (tangents,)) if one[0] else (args, tangents)


def value_and_grad(
    f: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False
) -> Callable[..., Any]:
    """A function that returns f's value and its gradient.

    f        returns a floating scalar, or (scalar, anything) with has_aux
    argnums  which argument to differentiate by; several give a tuple of gradients
    """
    _expect_function("grad", f)
    _expect_numbers("value_and_grad", argnums)
    return Transformed(f, _value_and_grad, argnums, has_aux)


def _value_and_grad(
    f: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    argnums: Argnums,
    has_aux: bool,
) -> Any:
    value, aux, back = _pullback_of("grad", f, args, argnums, has_aux, kwargs)
    if not isinstance(value, Tensor) or value.shape or not is_floating(value.dtype):
        got = spec_text(value) if isinstance(value, Tensor) else type(value).__name__
        raise ShapeError(
            "grad",
            f"got a function that returns {got}",
            "expected one floating scalar",
            "reduce it with sum() or mean(), or use cr.jacobian",
            user_line(),
        )
    gradient = back(value._full((), 1.0))
    return ((value, aux), gradient) if has_aux else (value, gradient)


def grad(f: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False) -> Callable[..., Any]:
    """A function that returns f's gradient: ∂f/∂argument, in the argument's structure."""
    _expect_function("grad", f)
    _expect_numbers("grad", argnums)
    return Transformed(f, _grad, argnums, has_aux)


def _grad(
    f: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    argnums: Argnums,
    has_aux: bool,
) -> Any:
    value, gradient = _value_and_grad(f, args, kwargs, argnums, has_aux)
    return (gradient, value[1]) if has_aux else gradient


def vjp(f: Callable[..., Any], *args: Any) -> tuple[Any, Callable[[Any], tuple[Any, ...]]]:
    """f(*args), and the function g ↦ gᵀ J: from the result's cotangent to the arguments'."""
    value, _, back = _pullback_of("vjp", f, args, tuple(range(len(args))))
    return value, back


def jvp(f: Callable[..., Any], args: Any, tangents: Any) -> tuple[Any, Any]:
    """f(*args) and J t, the derivative along the tangents.

    args, tangents   the arguments and a tangent for each; or one tensor and its tangent

    From the same rows as the reverse mode: gᵀJ is linear in g, and its transpose is J.
    """
    return _along("jvp", f, *_as_sequences("jvp", args, tangents))


def _along(
    name: str, f: Callable[..., Any], args: Sequence[Any], tangents: Sequence[Any]
) -> tuple[Any, Any]:
    args = tuple(tree.map(as_tensor, list(args)))
    with enable_grad():  # the transpose of the pullback is a derivative itself
        value, _, back = _pullback_of(name, f, args, tuple(range(len(args))))
    leaves, structure = tree.flatten(value)
    zeros = [creation.zeros_like(t) for t in leaves]
    _, forth = pullback(
        name, lambda gs: tree.flatten(back(tree.unflatten(structure, gs)))[0], zeros
    )
    inputs, inputs_tree = tree.flatten(list(args))
    along = tree.leaves_like(inputs_tree, list(tangents))
    directions = [as_tensor(t) for t in along or []]
    if [(t.shape, t.dtype) for t in directions] != [(t.shape, t.dtype) for t in inputs]:
        got = ", ".join(map(spec_text, directions)) if along is not None else "of another structure"
        raise ShapeError(
            name,
            f"got tangents {got}",
            f"expected one like each argument: {', '.join(spec_text(t) for t in inputs)}",
            "give a tangent for every argument, of its shape and dtype: cr.astype(t, x.dtype)",
            user_line(),
        )
    out = forth(directions)
    filled = [o if o is not None else z for o, z in zip(out, zeros, strict=True)]
    if not any(t.requires_grad for t in (*leaves, *directions)):
        filled = [t.detach() for t in filled]  # nothing outside can differentiate it
    return value, tree.unflatten(structure, filled)


def jacobian(f: Callable[..., Any], argnums: Argnums = 0) -> Callable[..., Any]:
    """A function that returns ∂fᵢ/∂xⱼ: the result's axes, then the argument's."""
    _expect_function("jacobian", f)
    _expect_numbers("jacobian", argnums)
    return Transformed(f, _jacobian, argnums)


def _jacobian(
    f: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], argnums: Argnums
) -> Any:
    value, _, back = _pullback_of("jacobian", f, args, argnums, kwargs=kwargs)
    if not isinstance(value, Tensor):
        raise DtypeError(
            "jacobian",
            f"got a function that returns {type(value).__name__}",
            "expected one tensor",
            "stack the results, or use cr.vjp",
            user_line(),
        )
    units = np.eye(value.size, dtype=value.dtype).reshape(value.size, *value.shape)
    rows = [back(Tensor(u)) for u in units]
    if not rows:
        rows, empty = [back(creation.zeros_like(value))], True
    else:
        empty = False

    def stacked(*parts: Tensor) -> Tensor:
        whole = shaping.stack(parts)
        whole = whole[:0] if empty else whole
        return shaping.reshape(whole, (*value.shape, *parts[0].shape))

    return tree.map(stacked, rows[0], *rows[1:])


def hessian(f: Callable[..., Any], argnums: int = 0) -> Callable[..., Any]:
    """A function that returns ∂²f/∂xᵢ∂xⱼ of a scalar function of one tensor."""
    _expect_function("hessian", f)
    _expect_numbers("hessian", argnums, several=False)
    return jacobian(grad(f, argnums), argnums)


def hvp(f: Callable[..., Any], args: Any, tangents: Any) -> Any:
    """The Hessian of f times the tangents, without the Hessian: the gradient's derivative.

    args, tangents   as in `jvp`; one tensor has one tensor as its result
    """
    inputs, along = _as_sequences("hvp", args, tangents)
    _expect_function("hvp", f)
    numbers = tuple(range(len(inputs)))
    out = _along("hvp", lambda *xs: grad(f, numbers)(*xs), inputs, along)[1]
    return out if inputs is args else out[0]
