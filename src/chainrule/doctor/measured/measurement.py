"""The form of a measurement, and what the names mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any

MEANINGS: Mapping[str, str] = MappingProxyType(
    {
        "initial_loss": "the loss of the first batch with the first weights",
        "sharpness": "the largest eigenvalue of the Hessian of the loss at the first weights",
        "critical_rate": "the learning rate above which steps diverge at that sharpness",
        "gradient_noise_scale": "rows of a batch whose gradient is half noise",
        "batch_by_heart": "the score on one batch that was trained on alone",
        "score_of_a_constant": "the held-out score of the best constant",
        "score_in_training": "the score on rows that were trained on, after the training",
        "output_spread": "how much outputs differ between rows, over their size",
        "row_order": "how much outputs depend on the other rows, or the loss on their order",
        "untrained_parameters": "parameters that the first step does not change, frozen ones too",
        "batch_norm_rows": "rows of a batch that batch normalization takes a variance of",
        "bias_before_norm": "biases that the next layer, batch normalization, takes away again",
        "dropout_before_norm": "dropout layers before a batch normalization",
        "rarest_class": "the share of the rows that the rarest class has",
        "constant_columns": "input columns that are the same for every row",
        "dependent_columns": "input columns that are a sum of others",
        "telling_columns": "input columns that tell the target alone, where no other does",
    }
)


@dataclass(frozen=True)
class Measurement:
    """A number that was measured.

    name       a word of MEANINGS
    expected   in words: what it is in a sound training; "" if there is nothing to expect
    place      as in a finding: a module's path, "optimizer.lr", "data.inputs", …
    remark     what is odd about it; "" if it is as expected
    items      of a count, what is counted
    """

    name: str
    value: float
    expected: str
    place: str
    remark: str = ""
    items: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As plain dicts, lists, numbers and text, for JSON."""
        return {**asdict(self), "items": [*self.items]}
