"""The setting `augment` of a recipe: how images are changed at random in training."""

from __future__ import annotations

from typing import Any

from ...data import Augment, CutMix, MixUp
from ...errors import ArgumentError

LIGHT = "light"
PRESETS = ("none", LIGHT, "full", "photos")
_MIXTURES = {"mixup": MixUp, "cutmix": CutMix}
SETTINGS = (*vars(Augment()), *_MIXTURES)


def expected_augment(value: Any) -> str | None:
    """What is expected in place of a value of the setting; None if it is one."""
    if isinstance(value, str) and value in PRESETS:
        return None
    listed = f"one of {', '.join(PRESETS)}, or a table of {', '.join(SETTINGS)}"
    if not isinstance(value, dict) or not value or not set(value) <= set(SETTINGS):
        return listed
    if not isinstance(value.get("flip", False), bool):
        return "a table whose flip is true or false"
    try:
        _from_table(value, 2)
    except ArgumentError as error:
        name = error.arrived.split()[1]
        return f"a table whose {name} is {error.needed.removeprefix('expected ')}"
    return None


def light_shift(shape: tuple[int, int, int]) -> int:
    """Pixels by which images (H, W, C) are moved by default: a fourteenth, at least one."""
    return max(1, min(shape[:2]) // 14)


def augmentations(setting: Any, shape: tuple[int, int, int], classes: int) -> list[Any]:
    """What a DataLoader does to batches of images (H, W, C).

    none, light  nothing: the network moves the images of `light`, in the compiled step
    full         moved, turned, scaled, brighter or darker, with more or less contrast and colour
    photos       the same, and half of them are mirrored
    a table      what it says
    """
    if isinstance(setting, dict):
        return _from_table(setting, classes)
    if setting in (None, "none", LIGHT):
        return []
    return [
        Augment(
            flip=setting == "photos",
            shift=light_shift(shape),
            rotate=10,
            scale=0.1,
            brightness=0.2,
            contrast=0.2,
            saturation=0.2 if shape[2] == 3 else 0.0,
        )
    ]


def _from_table(table: dict[str, Any], classes: int) -> list[Any]:
    alone = {name: value for name, value in table.items() if name not in _MIXTURES}
    mixtures = [_MIXTURES[name](classes, table[name]) for name in _MIXTURES if name in table]
    return [*([Augment(**alone)] if alone else []), *mixtures]
