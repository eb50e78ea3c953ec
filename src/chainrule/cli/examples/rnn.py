"""A recurrent network that forgets.

It reads 14 numbers, and is asked for the sign of the first one. On the way back the gradient is
multiplied by the recurrent weights and by a slope of tanh at each step: look at how little of it is
left at the step that matters.
"""

import chainrule as cr
from chainrule import Tensor, nn

cr.random.seed(1)
sequences = cr.random.normal((100, 14, 1))
data = sequences, cr.astype(sequences[:, 0] > 0, cr.float32)

rnn = nn.RNN(1, 4)
head = nn.Linear(4, 1)


def loss(sequence: Tensor, positive: Tensor) -> Tensor:
    states, _ = rnn(sequence)
    last = states[:, -1]
    score = head(last)
    return nn.functional.binary_cross_entropy_with_logits(score, positive)
