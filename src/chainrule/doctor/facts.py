"""What can be measured of a training before, and after, it has run once."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ..diagnosis.sharpness import critical_rate
from ..graph import Array
from .loss_reading import LossReading, read_loss
from .score import Score, are_few, is_chance, score_for
from .training import Layer, Observed, Outcome, Training

CALLED: Mapping[str, Callable[[Array], Array]] = {
    "ReLU": lambda z: np.maximum(z, 0),
    "Tanh": np.tanh,
    "Sigmoid": lambda z: 1 / (1 + np.exp(-z)),
    "Softmax": lambda z: (e := np.exp(z - z.max(-1, keepdims=True))) / e.sum(-1, keepdims=True),
}
HESSIAN_ROWS = 64, 512  # of the batch whose Hessian is measured, at least and at most
OUTPUTS = 30_000_000  # numbers that its layers may give together
NUMBERS = 3_000_000  # of a model: of a larger one it is not measured
KNOWN = 0.1  # relative error of a sharpness that is worth knowing
LEARNED = 0.1  # of the score, above that of a constant


@dataclass
class Facts:
    """Measurements of a training.

    start, end   a batch before the first step, and after the last (None if it broke down)
    seconds      of processor time for the curvature, if it is asked for
    """

    training: Training
    loss: LossReading
    score: Score
    start: Observed
    outcome: Outcome
    end: Observed | None
    seconds: float = 1.0

    @property
    def units(self) -> int:
        """How many outputs there are for a row, or for a place of it."""
        shape = self.start.output.shape
        return shape[-1] if len(shape) > 1 else 1

    @cached_property
    def numbers(self) -> int:
        """How many numbers the parameters have."""
        return sum(math.prod(p.shape) for _, p in self.training.model.named_parameters())

    @cached_property
    def decays(self) -> dict[str, float]:
        """The weight decay of each layer with a matrix of weights that the optimizer has."""
        decays = {
            id(p): float(group.get("weight_decay") or 0.0)
            for group in self.training.optimizer.param_groups
            for p in group["params"]
        }
        named = self.training.model.named_parameters()
        matrices = ((name, p) for name, p in named if p.ndim >= 2 and id(p) in decays)
        return {name.rpartition(".")[0]: decays[id(p)] for name, p in matrices}

    @property
    def decay(self) -> float:
        """The largest weight decay."""
        return max(self.decays.values(), default=0.0)

    @property
    def learns_nothing(self) -> bool:
        """Whether the training broke down, or is no better than a constant on its own rows."""
        guess = self.score.guess + LEARNED
        return self.outcome.nonfinite is not None or self.outcome.fit < guess

    @cached_property
    def constant_rows(self) -> Array:
        """The rows whose mean is the score of the best constant on the held-out rows."""
        return self.score.of_constant(self.training.data[1], self.training.valid[1])

    @property
    def constant_targets(self) -> bool:
        """Whether all targets that are trained on are the same."""
        y = self.training.data[1]
        return bool((y == y[:1]).all())

    @property
    def constant(self) -> float:
        """That score."""
        return float(self.constant_rows.mean())

    @cached_property
    def same_rows(self) -> bool:
        """Whether the held-out inputs are those that are trained on: all there are, no sample."""
        one, other = (
            {row.tobytes() for row in data[0]} for data in (self.training.data, self.training.valid)
        )
        return one == other

    @property
    def few_rows(self) -> bool:
        """Whether the held-out rows are too few to prove anything by trials."""
        return are_few(len(self.training.valid[0]), self.same_rows)

    def is_chance(self, before: Array | None, after: Array | None) -> bool:
        """Whether rows may be better by the choice of the held-out rows alone."""
        return not self.same_rows and is_chance(before, after)

    @cached_property
    def sharpness(self) -> float | None:
        """The largest eigenvalue of the Hessian at the first weights, if it is positive."""
        least, most = HESSIAN_ROWS
        if self.loss.reduction.startswith("sum"):  # which grows with the rows
            least = most = self.training.batch
        outputs = sum(math.prod(a.output.shape[1:]) for a in self.start.layers)
        rows = min(most, OUTPUTS // max(outputs, 1))
        if self.numbers > NUMBERS or rows < least:
            return None
        value, error = self.training.sharpness(rows, self.seconds)
        return value if value > 0 and error <= KNOWN * value else None

    @cached_property
    def critical_rate(self) -> float | None:
        """The rate above which steps of SGD overshoot at that sharpness; None if it is unknown."""
        settings = self.training.settings
        if self.training.optimizer_name != "SGD" or settings.get("maximize"):
            return None
        return self.sharpness and critical_rate(
            self.sharpness,
            momentum=float(settings.get("momentum", 0.0)),
            dampening=float(settings.get("dampening", 0.0)),
            nesterov=bool(settings.get("nesterov", False)),
            weight_decay=float(settings.get("weight_decay", 0.0)),
        )

    @cached_property
    def climbs(self) -> bool:
        """Whether the first step moves the weights along the gradient, and not against it."""
        return self.training.first_step() > 0

    @cached_property
    def untrained(self) -> dict[str, str]:
        """The parameters that the first step does not train, each with the reason."""
        return self.training.untrained()

    @cached_property
    def weights(self) -> list[Layer]:
        """The layers with weights, in order."""
        return self.start.of_kind("weights", "recurrent")

    @cached_property
    def last(self) -> int:
        """The number of the last layer with weights among all layers; -1 without any."""
        layers = self.start.layers
        return max(
            (k for k, a in enumerate(layers) if a.kind in ("weights", "recurrent")), default=-1
        )

    @cached_property
    def activation(self) -> Layer | None:
        """What follows the last layer with weights."""
        after = self.start.layers[self.last + 1 :]
        return next((a for a in reversed(after) if a.kind in ("activation", "custom")), None)

    @cached_property
    def called(self) -> str:
        """The output's activation if it is a plain call, which no module shows; "" if it is none.

        It is known by the values before and after it.
        """
        out = self.start.output.astype(np.float64)
        layers = self.start.layers
        if self.activation is not None or not layers or layers[-1].output.shape != out.shape:
            return ""
        before = layers[-1].output.astype(np.float64)
        if np.allclose(before, out):
            return ""
        with np.errstate(over="ignore"):
            return next((k for k, f in CALLED.items() if np.allclose(f(before), out, 1e-4)), "")

    @property
    def activation_name(self) -> str:
        """The class of the output's activation; "Identity" if there is none."""
        return self.called or ("Identity" if self.activation is None else self.activation.name)

    @property
    def output_place(self) -> str:
        """The path of the output's activation, or of the last layer with weights."""
        layer = self.activation or (self.start.layers[self.last] if self.last >= 0 else None)
        return layer.path if layer is not None else ""

    @cached_property
    def hidden(self) -> list[Layer]:
        """The activations before the last layer with weights."""
        before = self.start.layers[: max(self.last, 0)]
        return [a for a in before if a.kind in ("activation", "custom")]

    def before(self, layer: Layer) -> list[Layer]:
        """The layers that ran before it."""
        return list(itertools.takewhile(lambda a: a is not layer, self.start.layers))

    @cached_property
    def gradient_ratio(self) -> float:
        """The root mean square of the first weights' gradient over that of the last."""
        sizes = [_rms(a.gradient) for a in self.weights if a.gradient is not None]
        if len(sizes) < 2:
            return 1.0
        return sizes[0] / sizes[-1] if sizes[-1] else math.inf

    @cached_property
    def upstream(self) -> dict[str, float]:
        """The norm of ∂loss/∂output of each layer with weights, by its path."""
        there = [(a.path, a.upstream) for a in self.weights if a.upstream is not None]
        return {path: _rms(g) * math.sqrt(g.size) for path, g in there}

    @cached_property
    def growth(self) -> float:
        """∂loss/∂output of the first layer with weights over that of the last, by their sizes."""
        sizes = [_rms(a.upstream) for a in self.weights if a.upstream is not None]
        return sizes[0] / sizes[-1] if len(sizes) > 1 and sizes[-1] else 1.0

    @cached_property
    def dead(self) -> list[tuple[Layer, float]]:
        """The hidden ReLU with the share of their units that are 0 on every row of the first
        batch.
        """
        relus = [a for a in self.hidden if a.name == "ReLU"]
        return [(a, float(np.all(a.by_unit <= 0, axis=0).mean())) for a in relus]

    @property
    def dead_at_start(self) -> float:
        """That share in the layer where it is largest."""
        return max((share for _, share in self.dead), default=0.0)

    @cached_property
    def saturated(self) -> list[tuple[Layer, float]]:
        """The hidden tanh and sigmoid with the share of their outputs at the ends of the range,
        where the slope is below 4 % of the steepest.
        """
        ends = {"Tanh": (-0.98, 0.98), "Sigmoid": (0.01, 0.99)}
        at = [(a, ends[a.name]) for a in self.hidden if a.name in ends]
        return [(a, float(((a.output < low) | (a.output > high)).mean())) for a, (low, high) in at]

    @cached_property
    def dead_share(self) -> float:
        """The share of hidden ReLU units that are 0 on every row of a batch, after the training."""
        relus = [a for a in (self.end or self.start).layers if a.name == "ReLU"]
        units = [np.all(a.by_unit <= 0, axis=0) for a in relus]
        return float(np.concatenate(units).mean()) if units else 0.0

    @cached_property
    def score_in_training_mode(self) -> float:
        """Of rows of the training after it, in training mode; NaN if it broke down."""
        if self.end is None:
            return math.nan
        y = self.training.data[1][: len(self.end.output)]
        return self.score(self.end.output.astype(np.float64), y)


def _rms(a: np.ndarray | None) -> float:
    return 0.0 if a is None else float(np.sqrt(np.mean(np.square(a, dtype=np.float64))))


def gather(training: Training, seconds: float = 1.0) -> Facts:
    """Measure a training: one batch, the loss function by experiments, and a whole run.

    seconds   of processor time for the curvature, if it is asked for
    """
    start = training.observe()
    shape = start.output.shape[1:]
    (_, y), (_, valid) = training.data, training.valid
    loss = read_loss(training.loss_value, shape, y)
    score = score_for(y, valid, shape, loss)
    outcome = training.run(score)
    broken = outcome.nonfinite is not None or outcome.model is None
    end = None if broken else training.observe(outcome.model)
    return Facts(training, loss, score, start, outcome, end, seconds)
