"""One neuron.

It weighs two inputs, adds them up and squeezes the sum between 0 and 1. All numbers can be checked
by hand: sigmoid(0) is 1/2, and its slope there is 1/4.
"""

import chainrule as cr
from chainrule import Tensor

w = Tensor([0.5, -0.25], dtype=cr.float64, requires_grad=True)
b = Tensor(0.0, dtype=cr.float64, requires_grad=True)


def loss(x: Tensor, target: Tensor) -> Tensor:
    s = (w * x).sum() + b
    y = cr.sigmoid(s)
    return (y - target) ** 2


data = Tensor([[1.0, 2.0]], dtype=cr.float64), Tensor([1.0], dtype=cr.float64)
batch = None  # one sample, without an axis for more
