"""The collection's language of changes: an item of a patch names what to set, insert, delete.

    set      {path: value}: "optimizer.lr", "layers.2.activation"; null removes the setting
    insert   [[index, layer], …]: the layer comes before the one that has this index now
    delete   [index, …]
    prep     further preparation of the data, at the end

All indices are those of the recipe before the change.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

Recipe = dict[str, Any]
Item = Mapping[str, Any]


def patched(recipe: Recipe, items: Iterable[Item]) -> Recipe:
    """The recipe with all items applied; the old one stays as it is."""
    new: Recipe = copy.deepcopy(recipe)
    inserted: list[tuple[int, Any]] = []
    deleted: set[int] = set()
    for item in copy.deepcopy(list(items)):
        for path, value in item.get("set", {}).items():
            _set(new, path.split("."), value)
        if item.get("prep"):
            new["data"]["prep"] = [*new["data"].get("prep", []), *item["prep"]]
        inserted += item.get("insert", [])
        deleted |= set(item.get("delete", []))
    old = new["layers"]
    new["layers"] = [
        layer
        for n in range(len(old) + 1)
        for layer in (
            *(added for at, added in inserted if at == n),
            *(old[n : n + 1] if n not in deleted else ()),
        )
    ]
    return new


def _set(node: Any, keys: list[str], value: Any) -> None:
    for key in keys[:-1]:
        node = node[int(key)] if isinstance(node, list) else node.setdefault(key, {})
    last = keys[-1]
    if isinstance(node, list):
        node[int(last)] = value
    elif value is None:
        node.pop(last, None)
    else:
        node[last] = value
