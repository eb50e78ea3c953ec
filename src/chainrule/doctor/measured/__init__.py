"""What is measured of a training, beside what is expected; a remark where it is far from that.

A measurement is no finding: what is odd need not harm, which only trials tell.

measurement   its form, and the names with what they mean
data          inputs and targets: classes, columns
network       the model before its first step
steps         the loss, its curvature, gradients, one batch learned by heart
"""

from ..facts import Facts
from .data import of_data
from .measurement import MEANINGS, Measurement
from .network import of_network
from .steps import of_steps

__all__ = ["MEANINGS", "Measurement", "measured_of"]


def measured_of(facts: Facts, seconds: float) -> list[Measurement]:
    """All measurements, those of little time first.

    seconds   of processor time for what may take long, shared; the last product or step may overrun
    """
    return [*of_data(facts), *of_network(facts), *of_steps(facts, seconds)]
