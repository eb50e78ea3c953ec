"""Images with classes: of folders, tables of names, files of many images; the built-in digits."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from .... import nn
from ....data import NAMES, ImageFiles, Images, load, split
from ....data.images.copies import in_training_too
from ....data.images.decode import MOST_PIXELS
from ....data.images.levels import Levels
from ....data.images.listing import columns_of_files
from ....data.images.moments import moments, moments_of_each
from ....data.images.read import MOST_UNREADABLE
from ....data.images.stored import open_images
from ....errors import ArgumentError, FileError
from ....graph import Array
from ...charts.pixels import picture
from ...evaluation.batches import fitting_batch_size
from ...loop.progress import counted
from ..augmentation import LIGHT, augmentations, light_shift
from ..image_networks import IMAGE_NETWORKS, channels_for, image_network
from ..pictures import as_trained, filters, maps
from ..recipe import Recipe
from .base import (
    TABLE_SETTINGS,
    TEXT_SETTINGS,
    Batch,
    Task,
    epochs_for,
    expect_source,
    fractions,
    listed,
)

ALL_BUT_ONE = 1 - 1e-9  # the share of files that may be unreadable when they are predicted
PARTS = 3  # training, validation and test
MOST_PICTURES = 12  # of mistakes in the report
MOST_MAPS = 8  # test images in the report of which it shows where the network looks
TINY = 100  # pixels: up to here a network needs no convolutions
FEW, MANY = 1000, 20000  # training images: below, smaller batches; from here on, larger ones
FEWEST_EPOCHS, MOST_EPOCHS = 12, 60
PIXELS = 9e7  # that a cnn reads in a minute or two on one processor, its backward passes included


class ImageTask(Task):
    """Predict the class of an image."""

    kind = "images"
    unit = "image"

    def __init__(
        self,
        shape: tuple[int, int, int],
        classes: list[str],
        mean: Any,
        std: Any,
        usual: Sequence[int] = (),
        levels: Levels | None = None,
    ) -> None:
        self.shape, self.classes, self.mean, self.std = shape, classes, mean, std
        self.usual = list(usual)  # of most training files, before resizing
        self.levels = levels  # of training images in a file of many: what is white in it
        self.max_pixels = MOST_PIXELS
        self._recipe, self._own_test, self._weighted = Recipe(), False, False
        self.model: str = usual_model(shape)
        self.augment: str | dict[str, Any] = LIGHT
        self.notes = []

    @classmethod
    def load(cls, recipe: Recipe) -> ImageTask:
        in_table = bool(columns_of_files(Path(recipe.source), recipe.drop or ()))
        others = [n for n in TABLE_SETTINGS if not (in_table and n in ("target", "drop"))]
        regression = ["task"] * (recipe.task == "regression")
        expect_source(recipe, *others, *TEXT_SETTINGS, "embedding", *regression)
        size = None if recipe.size is None else (recipe.size[0], recipe.size[1])
        images = _images(recipe.source, recipe, size, None, recipe.max_pixels or MOST_PIXELS, None)
        _expect_classes(recipe, images)
        parts = _parts(recipe, images)
        x = [_rows(images.x, part) for part in parts]
        mean, std = _moments(x[0])
        self = cls(images.x.shape[1:], images.classes, mean, std, images.usual, images.levels)
        self.notes += [*images.notes, *_rare(images)]
        if images.same is not None:
            unseen = np.concatenate(parts[1:])
            self.notes += in_training_too(images.files, images.same, parts[0], unseen)
        self._own_test, self._weighted = images.tests > 0, recipe.class_weight is not None
        self.model, self.augment = recipe.model or self.model, recipe.augment or LIGHT
        self.train, self.valid, self.test = (
            (part, images.y[p]) for part, p in zip(x, parts, strict=True)
        )
        self.rows = parts[2] - (len(images.y) - images.tests if images.tests else 0)
        if images.files:
            base = Path(recipe.source).parent if in_table else recipe.source
            self.test_names = [os.path.relpath(images.files[k], base) for k in parts[2]]
        self.facts = {
            "images": len(images.y),
            "training images": len(parts[0]),
            "validation images": len(parts[1]),
            "test images": len(parts[2]),
            "size": " × ".join(map(str, self.shape)),
            "classes": len(self.classes),
        }
        return self

    @classmethod
    def restored(cls, recipe: Recipe, values: dict[str, Any]) -> ImageTask:
        usual, levels = values.get("usual", []), values.get("levels")  # absent from earlier runs
        self = cls(tuple(values["shape"]), values["classes"], values["mean"], values["std"], usual)
        self.levels = None if levels is None else (levels[0], levels[1])
        self.max_pixels, self._recipe = recipe.max_pixels or MOST_PIXELS, recipe
        return self

    def to_json(self) -> dict[str, Any]:
        return {
            "shape": list(self.shape),
            "classes": self.classes,
            "mean": np.asarray(self.mean),
            "std": np.asarray(self.std),
            "usual": self.usual,
            "levels": self.levels,
        }

    def read(self, source: Any, labelled: bool) -> Batch:
        known = [(self.usual[0], self.usual[1])] if self.usual else []
        form = self.shape[:2], self.shape[2], self.max_pixels, known
        single = _single_class(Path(source), self.classes) if labelled else None
        if single is not None:
            most = _most(self._recipe)
            images = open_images(single, *form, most, False, None, (), self.levels)
            images = replace(images, y=np.zeros(len(images.y), np.int64), classes=[single.name])
        elif labelled or source in NAMES:
            images = _images(source, self._recipe, *form, self.levels)
        else:  # any that can be read are predicted
            drop = self._recipe.drop or ()
            images = open_images(source, *form, ALL_BUT_ONE, False, None, drop, self.levels)
        self.names, self.notes = images.files or None, list(images.notes)
        if images.x.shape[1:] != self.shape:
            raise ArgumentError(
                "predict",
                f"got images {images.x.shape[1:]}",
                f"expected {self.shape} as in training",
                "use images of the same kind",
            )
        if not labelled:
            return images.x, None
        unknown = sorted(set(images.classes) - set(self.classes))
        if unknown:
            raise ArgumentError(
                "evaluate",
                f"got the class {unknown[0]!r}",
                f"expected one of {listed(self.classes)}",
                "train again with this class, or leave it out",
            )
        y = np.array([self.classes.index(c) for c in images.classes])[images.y]
        if images.tests:
            return images.x[-images.tests :], y[-images.tests :]
        return images.x, y

    def defaults(self) -> dict[str, Any]:
        rows, dense = len(self.train[1]), self.model == "mlp"
        kind = IMAGE_NETWORKS.get(self.model, IMAGE_NETWORKS["cnn"])  # `completed` refuses others
        batch_size = 64 if dense or FEW <= rows < MANY else 32 if rows < FEW else 128
        return {
            "task": "classification",
            "test": None if self._own_test else 0.2,
            "valid": 0.1,
            "max_unreadable": MOST_UNREADABLE,
            "size": list(self.shape[:2]),
            "max_pixels": MOST_PIXELS,
            "model": self.model,
            "hidden": [256, 128] if dense else None,
            "channels": channels_for(self.shape) if self.model == "cnn" else None,
            "dropout": kind.dropout,
            "batch_size": fitting_batch_size(rows, min(batch_size, rows)),
            "epochs": min(MOST_EPOCHS, self._usual_epochs() * (2 if self._changed_much() else 1)),
            "optimizer": "adamw",
            "lr": kind.lr,
            "weight_decay": 1e-2,
            "schedule": "cosine",
            "clip_norm": 1.0,
            "label_smoothing": 0.05,
            "augment": LIGHT,
            "monitor": self._monitor(),
            "patience": 20,
            "seed": 0,
        }

    def _monitor(self) -> str:
        """What the best epoch is chosen by.

        The loss of few images can rise from the first epoch on, by images that are wrong with
        confidence, while more and more are right; an mlp reads many small images.
        """
        if self.model == "mlp":
            return "valid_loss"
        return "valid_f1" if self._weighted else "valid_accuracy"

    def _usual_epochs(self) -> int:
        """The number of epochs in which the network reads PIXELS, if that is a usual number; for
        images that are changed more than `light` does there are twice as many."""
        (height, width, _), rows = self.shape, len(self.train[1])
        if self.model == "mlp":
            return epochs_for(rows, 64, 1200, MOST_EPOCHS)
        cost = IMAGE_NETWORKS.get(self.model, IMAGE_NETWORKS["cnn"]).cost
        once = rows * height * width * cost
        return max(FEWEST_EPOCHS, min(MOST_EPOCHS, round(PIXELS / once)))

    def _changed_much(self) -> bool:
        return self.augment not in ("none", LIGHT)

    def chosen(self, recipe: Recipe) -> str:
        own, usual = self.defaults(), usual_model(self.shape)
        size = f"{self.shape[0]} × {self.shape[1]} pixels"
        network, sizes = recipe.model, recipe.channels or recipe.hidden
        if sizes:
            what = "layers" if network == "mlp" else "channels"
            network = f"{network} with {what} of {', '.join(map(str, sizes))}"
        time = "seconds" if recipe.model == "mlp" else "a minute or two"
        times = {FEWEST_EPOCHS: "take long", MOST_EPOCHS: "take little time"}
        epochs = times.get(self._usual_epochs(), f"are read that often in {time}")
        if self._changed_much() and self._usual_epochs() < MOST_EPOCHS:
            epochs += f", doubled for augment {_augmented(recipe.augment)}"
        reasons = (
            f"images of {size} need no convolutions"
            if usual == "mlp"
            else f"a class may be at any place in {size}",
            f"an image moved by {counted(light_shift(self.shape), 'pixel')} keeps its class",
            f"{len(self.train[1]):,} training images of {size}"
            + f" with {recipe.model}" * (recipe.model != usual)
            + f" {epochs}",
        )
        default = (recipe.model == usual, recipe.augment == LIGHT, recipe.epochs == own["epochs"])
        values = (
            network,
            f"augment {_augmented(recipe.augment) or 'none'}",
            counted(recipe.epochs or 0, "epoch"),
        )
        parts = zip(values, default, reasons, strict=True)
        return "; ".join(f"{v}, {f'because {r}' if d else 'as set'}" for v, d, r in parts)

    def network(self, recipe: Recipe) -> nn.Module:
        return image_network(
            recipe.model or "cnn",
            self.shape,
            len(self.classes),
            recipe.channels or [16, 32],
            recipe.hidden or [],
            recipe.dropout or 0.0,
            self.mean,
            self.std,
            light_shift(self.shape) if recipe.augment in (None, LIGHT) else 0,
        )

    def augmentations(self, recipe: Recipe) -> list[Any]:
        return augmentations(recipe.augment, self.shape, len(self.classes))

    def pictures(self, recipe: Recipe, model: nn.Module, output: Array) -> dict[str, Any]:
        y = self.test[1]
        confidence = np.array(self.decoded(output)["confidence"])
        wrong = np.flatnonzero(output.argmax(-1) != y)
        worst = wrong[np.argsort(-confidence[wrong], kind="stable")][:MOST_PICTURES]
        firsts = [
            int(rows[0]) for k in range(len(self.classes)) if len(rows := np.flatnonzero(y == k))
        ]
        shown = list(dict.fromkeys([*firsts[: MOST_MAPS - 2], *worst[:2].tolist()]))
        images = [self.test[0].take([k], axis=0)[0] for k in (*worst, *shown)]
        captions = self._captions(output, [*worst, *shown])
        pairs = list(zip(map(picture, images[: len(worst)]), captions, strict=False))
        looked_at = np.stack(images[len(worst) :]) if shown else np.empty(0)
        return {
            "pictures": pairs,
            "training_pictures": as_trained(
                model, *self.train, self.classes, self.augmentations(recipe)
            ),
            "augmented": _augmented(recipe.augment),
            "filters": filters(model),
            "maps": maps(model, looked_at, captions[len(worst) :]),
        }

    def _captions(self, output: Array, rows: Sequence[int]) -> list[str]:
        """The names of test images, and what was predicted."""
        decoded = self.decoded(output[rows]) if len(rows) else {"prediction": [], "confidence": []}
        names = self.test_names or self.truth()
        said = zip(rows, decoded["prediction"], decoded["confidence"], strict=True)
        return [
            f"{' '.join(str(names[k]).split())}\npredicted as {' '.join(p.split())} ({c:.0%})"
            for k, p, c in said
        ]


def _single_class(folder: Path, classes: Sequence[str]) -> Path | None:
    """The only sub-folder of a folder, if it is named after one of the classes."""
    if not folder.is_dir():
        return None
    parts = [p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")]
    return parts[0] if len(parts) == 1 and parts[0].name in classes else None


def usual_model(shape: Sequence[int]) -> str:
    """The network for images (H, W, C)."""
    return "mlp" if shape[0] * shape[1] <= TINY else "cnn"


def _augmented(augment: Any) -> str:
    """The augmentation of a recipe, in a word, or an empty text."""
    if isinstance(augment, dict):
        return ", ".join(augment)
    return "" if augment == "none" else str(augment)


def _parts(recipe: Recipe, images: Images) -> list[Array]:
    """Training, validation and test rows; a test part that the source has is the test."""
    train, valid, test = fractions(recipe)
    count, seed = len(images.y) - images.tests, recipe.seed or 0
    if not images.tests:
        return split(count, (train, valid, test), seed, images.y)
    if recipe.test is not None:
        raise ArgumentError(
            "train",
            f"got test = {recipe.test:g} for {recipe.source}, which has {images.tests} test images",
            "expected no share for the test: those images are the test",
            "leave out test",
        )
    parts = split(count, (1 - valid, valid), seed, images.y[:count])
    return [*parts, np.arange(count, len(images.y))]


def _rows(x: Any, part: Array) -> Any:
    """The images of these rows; those that stay in files do."""
    return x.part(part) if isinstance(x, ImageFiles) else x[part]


def _moments(x: Any) -> tuple[Array, Array]:
    """The mean and the standard deviation of each channel; the latter is at least 0.001."""
    mean, std = x.moments() if isinstance(x, ImageFiles) else moments(*moments_of_each(x))
    return mean, np.maximum(std, 1e-3)


def _expect_classes(recipe: Recipe, images: Images) -> None:
    if len(images.classes) < 2:
        raise ArgumentError(
            "train",
            f"got {recipe.source}, whose images have the single class {images.classes[0]!r}",
            "expected two or more classes",
            "add images of other classes",
        )


def _rare(images: Images) -> list[str]:
    """A note of classes with fewer images than there are parts."""
    counts = np.bincount(images.y, minlength=len(images.classes))
    rare = [f"{images.classes[k]} ({counts[k]})" for k in np.flatnonzero(counts < PARTS)]
    if not rare:
        return []
    return [
        f"classes with fewer than {PARTS} images: {listed(rare)}; they are not in each of the "
        "training, validation and test images, so add images, or remove the class"
    ]


def _most(recipe: Recipe) -> float:
    """The share of unreadable images that are left out."""
    return MOST_UNREADABLE if recipe.max_unreadable is None else recipe.max_unreadable


def _images(
    source: str,
    recipe: Recipe,
    size: tuple[int, int] | None,
    channels: int | None,
    max_pixels: int,
    known: list[tuple[int, int]] | None,
    levels: Levels | None = None,
) -> Images:
    """Images with classes; those of a table with the columns that the recipe names."""
    if source in NAMES:
        builtin = load(source)
        if builtin.kind != "images":
            raise ArgumentError(
                "predict", f"got {source}, a table", "expected images", "pass a folder, or digits"
            )
        bright = np.rint(builtin.x * (255 / builtin.x.max())).astype(np.uint8)  # as in image files
        return Images(bright, builtin.y, list(builtin.class_names or []), [])
    if (Path(source) / "recipe.toml").exists():
        raise FileError(
            "read_images",
            f"got {source}, a run folder",
            "expected a folder of images, one sub-folder per class",
            f"to continue that run: chainrule train --resume {source}",
        )
    form, columns = (size, channels, max_pixels, known), (recipe.target, recipe.drop or ())
    return open_images(source, *form, _most(recipe), True, *columns, levels)
