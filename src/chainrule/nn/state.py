"""Loading a module's state: which values belong to which tensors."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

from ..convert import as_loaded
from ..errors import ArgumentError, ShapeError
from ..graph import spec_text
from ..tensor import Tensor, as_tensor, make
from .order import INTEROP


def matching_values(
    own: Mapping[str, Tensor], values: Mapping[str, Any], strict: bool
) -> dict[str, Tensor]:
    """The values in the shapes and dtypes of the module's own tensors, by name.

    strict   names that are missing or unknown are errors
    """
    missing, unknown = own.keys() - values.keys(), values.keys() - own.keys()
    if strict and (missing or unknown):
        raise ArgumentError(
            "load_state_dict",
            f"got {len(values)} tensors "
            + " and ".join(
                f"{how} {_some(names)}"
                for how, names in (("without", missing), ("with", unknown))
                if names
            ),
            "expected exactly the names of state_dict()",
            f"{_nearest(unknown, missing)}use the same architecture, or give strict=False",
        )
    out = {}
    for name in own.keys() & values.keys():
        new, old = as_tensor(values[name]), own[name]
        if new.shape != old.shape:
            raise ShapeError(
                "load_state_dict",
                f"got {spec_text(new)} for {name}",
                f"expected {spec_text(old)}",
                f"load PyTorch's weights with {INTEROP}"
                if new.ndim > 2 and sorted(new.shape) == sorted(old.shape)
                else "load into the same architecture",
            )
        out[name] = make(as_loaded(name, new.numpy(), old.dtype))
    return out


def _some(names: Iterable[str]) -> str:
    listed = sorted(names)
    return ", ".join(listed[:3]) + (f" and {len(listed) - 3} more" if len(listed) > 3 else "")


def _nearest(unknown: Iterable[str], missing: Iterable[str]) -> str:
    """Advice for the first unknown name that is like a missing one, or nothing."""
    for name in sorted(unknown):
        for near in difflib.get_close_matches(name, sorted(missing), 1):
            return f"rename {name} to {near}, "
    return ""
