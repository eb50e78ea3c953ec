"""Checking the parameters that an optimizer is built with: tensors, pairs or groups of them."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator
from typing import Any

from ..errors import ArgumentError
from ..graph import spec_text
from ..tensor import Tensor

Named = tuple[str, Tensor]


def as_list(name: str, params: Any) -> list[Any]:
    """The `params` argument as a list of one item or more.

    name   of the optimizer, for errors
    """
    if callable(params) and not isinstance(params, Tensor):
        got = "function" if inspect.isroutine(params) else type(params).__name__
        raise ArgumentError(
            name,
            f"got a {got} for the parameters",
            "expected the parameters",
            "call it: model.parameters()",
        )
    if isinstance(params, (str, dict)) or not isinstance(params, Iterable):
        raise ArgumentError(
            name,
            f"got {type(params).__name__} for the parameters",
            "expected tensors in a list",
            "pass model.parameters()",
        )
    items = [params] if isinstance(params, Tensor) else list(params)
    if not items:
        raise ArgumentError(
            name,
            "got no parameters",
            "expected one or more",
            "pass model.parameters(); are the layers attributes of the module?",
        )
    return items


def check_group(name: str, group: Any, defaults: dict[str, Any]) -> None:
    """Raise unless it is a dict with "params" and settings that the optimizer has."""
    unknown = sorted(group.keys() - {"params", *defaults}) if isinstance(group, dict) else []
    if not isinstance(group, dict) or "params" not in group or unknown:
        got = type(group).__name__ if not isinstance(group, dict) else ", ".join(map(repr, group))
        raise ArgumentError(
            name,
            f"got a group of {got}",
            f'expected "params" and some of {", ".join(defaults)}',
            'write {"params": layer.parameters(), "lr": 1e-4} for each group',
        )


def check_parameter(name: str, path: str, p: Tensor, repeated: bool) -> None:
    """Raise if it is repeated, or not a leaf."""
    if repeated:
        raise ArgumentError(
            name,
            f"got the parameter {path} twice",
            "expected each parameter once",
            "pass model.parameters()",
        )
    if not p.is_leaf:
        raise ArgumentError(
            name,
            f"got {path}, {spec_text(p)}, which is computed and not a leaf",
            "expected leaves, which are made and not computed",
            "make a parameter of it: nn.Parameter(x.detach())",
        )


def named(params: Any, first: int) -> Iterator[Named]:
    """The parameters with their names: numbers from `first` on where they have none."""
    items = [params] if isinstance(params, Tensor) else params
    for k, item in enumerate(items, first):
        if isinstance(item, Tensor):
            yield str(k), item
        elif isinstance(item, tuple) and len(item) == 2 and isinstance(item[1], Tensor):
            yield item
        else:
            raise ArgumentError(
                "optimizer",
                f"got {type(item).__name__} among the parameters",
                "expected tensors",
                "pass model.parameters() or model.named_parameters()",
            )
