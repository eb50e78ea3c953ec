"""XOR with three hidden units.

The answer is 1 where exactly one input is 1, so no single neuron can learn it. The network is half
trained: look at which hidden units have taken a side, and at the samples that still pull on them.
"""

import chainrule as cr
from chainrule import Tensor, nn, optim

cr.random.seed(3)
model = nn.Sequential(hidden=nn.Linear(2, 3), tanh=nn.Tanh(), output=nn.Linear(3, 1))


def loss(x: Tensor, target: Tensor) -> Tensor:
    score = model(x)
    return nn.functional.binary_cross_entropy_with_logits(score, target)


x = Tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
target = Tensor([[0.0], [1.0], [1.0], [0.0]])
data = x, target
batch = 4

optimizer = optim.Adam(model.named_parameters(), lr=0.05)
for _ in range(40):
    loss(x, target).backward()
    optimizer.step()
    optimizer.zero_grad()
