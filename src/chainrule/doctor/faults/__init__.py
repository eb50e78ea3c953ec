"""Faults that a training may have, by its facts: each with the changes that would cure it.

fault          the form of a fault
outputs        the output's activation, the loss
class_numbers  numbers of classes as targets of a regression
data           inputs and targets: scales, the two sets, labels
leakage        inputs that give the targets away
rows           some rows of the data, and the nearest ones of each
weights        the first weights, hidden activations, normalization
time           gradients on their way back through the steps of a recurrent layer
steps          the rate, the optimizer, batches, epochs, regularisation, evaluation mode
"""

from ..facts import Facts
from .class_numbers import class_number_faults
from .data import data_faults
from .fault import Fault
from .leakage import leakage_faults
from .outputs import output_faults
from .steps import step_faults
from .time import time_faults
from .weights import weight_faults

__all__ = ["Fault", "faults_of"]


def faults_of(facts: Facts) -> list[Fault]:
    """What may be wrong, the likeliest first."""
    kinds = (
        output_faults,
        class_number_faults,
        data_faults,
        leakage_faults,
        time_faults,
        weight_faults,
        step_faults,
    )
    return sorted((f for of in kinds for f in of(facts)), key=lambda f: -f.prior)
