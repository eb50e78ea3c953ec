"""What goes wrong in a training: where values stop being finite; the guard that refuses such steps;
what the history of a training shows.

nonfinite   `first_nonfinite`: the first operation whose result is not finite, and why
recorded    a function recorded with its gradients
places      which module, line and phase each node of a recording comes from
replay      a recorded graph computed again in NumPy, into loops and out of them
origin      from a value that is not finite back to the operation that made it
sources     which elements of its operands an element comes from
samples     which row of the batch an element comes from
causes      why, in plain English, and what to try
data        NaN and infinities in data
sharpness   the Hessian's largest eigenvalue, and the rate at which steps diverge
noise       how much of a batch's gradient is noise
functional  a loss as a function of its parameters
guard       refuses steps that would do harm, inside the compiled program
probes      what a step measures of layers and activations, inside the compiled program
measurement one step that does so
history     findings of a training that has run: losses, gradients, activations, steps, test
finding     the form of a finding, of its remedies and changes
kinds       the vocabulary of findings
wording     places and numbers as people read them
"""

from .finding import Change, Finding, Remedy, Trial
from .noise import gradient_noise_scale
from .nonfinite import NonFinite, Operand, first_nonfinite
from .sharpness import critical_rate, sharpness

__all__ = [
    "Change",
    "Finding",
    "NonFinite",
    "Operand",
    "Remedy",
    "Trial",
    "critical_rate",
    "first_nonfinite",
    "gradient_noise_scale",
    "sharpness",
]
