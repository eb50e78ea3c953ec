"""What a report says: the fields of `Report`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from ...diagnosis.finding import Finding


@dataclass
class Report:
    """The contents of the page; all parts but the first three may be empty.

    metrics     of the test set
    history     a dict per epoch: epoch, loss, valid_loss, accuracy, valid_accuracy, lr, seconds…
    gradients   steps; layers, from input to output; norms, a list per step of one per layer
    findings    what the run shows; None: it was not looked at
    confusion   (C, C) counts of the test set: rows are the true classes, columns the predicted
    samples     generated texts, or the worst mistakes as (true, predicted, confidence)
    pictures    (data URI, caption) pairs; a caption is a name, or a name and a second line
    chosen      what was chosen for the data, and why
    training_pictures   (class, data URIs of its images) pairs
    augmented   how training images are changed at random, or empty
    filters     data URIs of the filters of the first convolution
    maps        (caption, data URIs of a test image, its saliency map, its Grad-CAM)
    """

    title: str
    task: str
    run: str
    seconds: float = 0.0
    interrupted: bool = False
    metrics: Mapping[str, float] = field(default_factory=dict)
    recipe: str = ""
    data: Mapping[str, str | int | float] = field(default_factory=dict)
    notes: Sequence[str] = ()
    model: str = ""
    parameters: int = 0
    history: Sequence[Mapping[str, Any]] = ()
    best_epoch: int | None = None
    gradients: Mapping[str, Any] = field(default_factory=dict)
    findings: Sequence[Finding] | None = None
    confusion: NDArray[Any] | None = None
    classes: Sequence[str] = ()
    truth: NDArray[Any] | None = None
    predicted: NDArray[Any] | None = None
    samples: Sequence[str | tuple[Any, Any, float]] = ()
    pictures: Sequence[tuple[str, str]] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    date: str = ""
    chosen: str = ""
    training_pictures: Sequence[tuple[str, Sequence[str]]] = ()
    augmented: str = ""
    filters: Sequence[str] = ()
    maps: Sequence[tuple[str, str, str, str]] = ()
