"""A recipe: all settings of a run, as one small TOML file.

Settings that a recipe leaves out are chosen from the data; the run folder has the complete recipe.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import os.path
import re
import tomllib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w

from ... import files
from ...errors import ArgumentError, FileError
from .augmentation import expected_augment
from .image_networks import IMAGE_NETWORKS

FORMAT = 1


@dataclass
class Recipe:
    """The settings of a run; None means "chosen from the data".

    source          a file, a folder, or the name of a built-in set
    target          the column to predict, of a table
    drop            columns to leave out
    category        columns to read as text, even if they contain numbers
    decimal         the decimal mark in text files: . or ,
    task            classification or regression; inferred from the target by default
    test, valid     shares of rows held out for the test and for early stopping
    size            height and width to which images are resized
    max_pixels      largest image file, in pixels; larger files are not read
    max_unreadable  the share of image files that may be unreadable; they are left out
    length          tokens per training window of text
    encoding        of a text file: utf-8, latin-1, …
    tokens          of a text: characters, or bytes of its UTF-8
    model           mlp; of images also cnn, lenet5, vgg, resnet20, resnet32, resnet18, mobilenet,
                    convnext; of text lstm, gru or transformer
    hidden          sizes of the hidden layers of an mlp (of text, of the layers, all equal)
    channels        channels of the stages of a cnn
    embedding       size of the vectors of categories, or of tokens for a gru or lstm
    heads           of each attention of a transformer
    loss            for a regression: mse, mae, or huber (less sensitive to large errors)
    schedule        cosine (with a short warm-up) or constant
    carry           text with a gru or lstm: whether the state is carried from window to window
                    (truncated backpropagation through time); or each window starts from zeros
    class_weight    balanced: each class weighs the same in the loss, however rare it is
    monitor         which value of the validation says which epoch is the best, whose weights are
                    kept: valid_loss, or of a classification valid_accuracy or valid_f1
    augment         images are changed at random: none, light (moved by a few pixels), full, photos
                    (full, and mirrored), or a table of settings of `cr.data.Augment`, `mixup`,
                    `cutmix`
    guard           steps that would do harm are refused, as by `fit(guard=True)`
    probes          layers are measured for findings, as by `fit(probes=True)`
    """

    source: str = ""
    target: str | None = None
    drop: list[str] | None = None
    category: list[str] | None = None
    decimal: str | None = None
    task: str | None = None
    test: float | None = None
    valid: float | None = None
    size: list[int] | None = None
    max_pixels: int | None = None
    max_unreadable: float | None = None
    length: int | None = None
    encoding: str | None = None
    tokens: str | None = None

    model: str | None = None
    hidden: list[int] | None = None
    channels: list[int] | None = None
    embedding: int | None = None
    heads: int | None = None
    dropout: float | None = None

    loss: str | None = None
    epochs: int | None = None
    batch_size: int | None = None
    optimizer: str | None = None
    lr: float | None = None
    weight_decay: float | None = None
    schedule: str | None = None
    clip_norm: float | None = None
    carry: bool | None = None
    label_smoothing: float | None = None
    class_weight: str | None = None
    augment: str | dict[str, Any] | None = None
    monitor: str | None = None
    patience: int | None = None
    guard: bool | None = None
    probes: bool | None = None
    seed: int | None = None

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value is not None:
                setattr(self, name, _checked(name, value))

    def completed(self, defaults: dict[str, Any]) -> Recipe:
        """The recipe with defaults for the settings that it leaves out."""
        settings: dict[str, Any] = {
            n: defaults.get(n) if v is None else v for n, v in vars(self).items()
        }
        return Recipe(**settings)

    def to_toml(self) -> str:
        """The file's text."""
        sections: dict[str, Any] = {"format": FORMAT}
        for section, names in SECTIONS.items():
            values = {n: getattr(self, n) for n in names if getattr(self, n) is not None}
            if values:
                sections[section] = values
        return tomli_w.dumps(sections)

    @classmethod
    def read(cls, path: Path) -> Recipe:
        """A recipe file; a path in it is relative to the file's folder."""
        try:
            content = tomllib.loads(files.read(path).decode())
        except (ValueError, RecursionError) as error:  # TOML, UTF-8, or too large a number
            raise FileError(
                "recipe",
                f"got {path}, which is not TOML ({error})",
                "expected a recipe",
                "compare it with recipe.toml of any run folder",
            ) from None
        values = _flat(content, path)
        source = values.get("source", "")
        if isinstance(source, str) and source and os.path.exists(path.parent / source):
            values["source"] = str((path.parent / source).resolve())
        return cls(**values)


SECTIONS = {
    "data": (
        "source",
        "target",
        "drop",
        "category",
        "decimal",
        "task",
        "test",
        "valid",
        "size",
        "max_pixels",
        "max_unreadable",
        "length",
        "encoding",
        "tokens",
    ),
    "model": ("model", "hidden", "channels", "embedding", "heads", "dropout"),
    "train": (
        "loss",
        "epochs",
        "batch_size",
        "optimizer",
        "lr",
        "weight_decay",
        "schedule",
        "clip_norm",
        "carry",
        "label_smoothing",
        "class_weight",
        "augment",
        "monitor",
        "patience",
        "guard",
        "probes",
        "seed",
    ),
}

OPTIMIZERS = {
    "adam": "Adam",
    "adamw": "AdamW",
    "sgd": "SGD",
    "rmsprop": "RMSprop",
    "adagrad": "Adagrad",
    "adadelta": "Adadelta",
    "nadam": "NAdam",
    "radam": "RAdam",
    "adamax": "Adamax",
    "lion": "Lion",
}

TEXT_NETWORKS = ("lstm", "gru", "transformer")

_ONE_OF = {
    "task": ("classification", "regression"),
    "decimal": (".", ","),
    "tokens": ("characters", "bytes"),
    "model": (*IMAGE_NETWORKS, *TEXT_NETWORKS),
    "optimizer": tuple(OPTIMIZERS),
    "schedule": ("cosine", "constant"),
    "loss": ("mse", "mae", "huber"),
    "class_weight": ("balanced",),
    "monitor": ("valid_loss", "valid_accuracy", "valid_f1"),
}
_WHOLE = {
    "max_pixels": 1,
    "length": 2,
    "embedding": 1,
    "heads": 1,
    "epochs": 1,
    "batch_size": 1,
    "patience": 1,
    "seed": 0,
}
_NOT_UTF8 = re.compile("[\ud800-\udfff]")  # bytes of a file name that are not UTF-8
_LARGEST = 2**63 - 1  # whole number in TOML
_NUMBERS: dict[str, tuple[Callable[[float], bool], str]] = {
    "test": (lambda v: 0 < v < 1, "a share between 0 and 1"),
    "valid": (lambda v: 0 < v < 1, "a share between 0 and 1"),
    "max_unreadable": (lambda v: 0 <= v < 1, "a share from 0 to below 1"),
    "dropout": (lambda v: 0 <= v < 1, "a share from 0 to below 1"),
    "label_smoothing": (lambda v: 0 <= v < 1, "a share from 0 to below 1"),
    "lr": (lambda v: v > 0, "a finite number above 0, such as 1e-3"),
    "weight_decay": (lambda v: v >= 0, "a finite number from 0"),
    "clip_norm": (lambda v: v > 0, "a finite number above 0, such as 1.0"),
}


def _checked(name: str, value: Any) -> Any:
    """The value in its type, or an error that says which values the setting takes."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    if name in _ONE_OF:
        if value in _ONE_OF[name]:
            return value
        needed = f"one of {(' or ' if name == 'decimal' else ', ').join(_ONE_OF[name])}"
    elif name in ("carry", "guard", "probes"):
        if isinstance(value, bool):
            return value
        needed = "one of true, false"
    elif name in _WHOLE:
        if whole and _WHOLE[name] <= value <= _LARGEST:
            return value
        needed = f"a whole number from {_WHOLE[name]} to 2⁶³ - 1"
    elif name in _NUMBERS:
        fits, needed = _NUMBERS[name]
        number = float(value) if whole and abs(value) <= _LARGEST else value
        if isinstance(number, float) and math.isfinite(number) and fits(number):
            return number
    elif name in ("hidden", "channels", "size"):
        values = list(value) if isinstance(value, (list, tuple)) else []
        sizes = all(isinstance(v, int) and not isinstance(v, bool) and v > 0 for v in values)
        if sizes and (len(values) == 2 if name == "size" else values):
            return values
        needed = f"a list of {'two ' if name == 'size' else ''}whole numbers from 1"
    elif name == "augment":
        needed = expected_augment(value) or ""
        if not needed:
            return value
    elif name in ("drop", "category"):
        if isinstance(value, (list, tuple)) and all(isinstance(v, str) for v in value):
            return list(value)
        needed = "a list of column names"
    else:
        if isinstance(value, str) and not _NOT_UTF8.search(value):
            return value
        needed = "a text" if not isinstance(value, str) else "a text in UTF-8"
    advice = f"leave out {name}, and it is chosen from the data"
    if name in ("guard", "probes"):
        advice = f"leave out {name}, which is true by default"
    if name in ("source", "target"):
        advice = f'{name} = "{"data.csv" if name == "source" else "price"}"'
    raise ArgumentError("recipe", f"got {name} = {value!r}", f"expected {needed}", advice)


def _flat(content: dict[str, Any], path: Path) -> dict[str, Any]:
    """The settings of all sections; unknown settings are errors."""
    if content.get("format", FORMAT) != FORMAT:
        raise FileError(
            "recipe",
            f"got {path} of format {content['format']!r}",
            f"expected format {FORMAT}",
            "install the version of chainrule that wrote it",
        )
    values: dict[str, Any] = {}
    for section, settings in content.items():
        if section == "format":
            continue
        if section not in SECTIONS or not isinstance(settings, dict):
            raise ArgumentError(
                "recipe",
                f"got {section!r} in {path}",
                f"expected the sections {', '.join(SECTIONS)}",
                _advice(section, SECTIONS),
            )
        for name, value in settings.items():
            if name not in SECTIONS[section]:
                raise ArgumentError(
                    "recipe",
                    f"got {name!r} in [{section}] of {path}",
                    f"expected one of {', '.join(SECTIONS[section])}",
                    _advice(name, SECTIONS[section]),
                )
            values[name] = value
    return values


def _advice(name: str, allowed: Iterable[str]) -> str:
    """The section that a setting belongs to, or a similar name."""
    for section, names in SECTIONS.items():
        if name in names:
            return f"move it to [{section}]"
    every = [*allowed, *(n for names in SECTIONS.values() for n in names)]
    near = difflib.get_close_matches(name, every, n=1)
    return f"did you mean {near[0]}?" if near else "remove it"


assert {n for ns in SECTIONS.values() for n in ns} == {f.name for f in dataclasses.fields(Recipe)}
