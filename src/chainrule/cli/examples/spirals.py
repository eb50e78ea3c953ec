"""Two spirals, one inside the other.

Points of the plane belong to one of two arms. Two layers of hidden units bend the plane until a
line can separate them. Look at how few units carry most of the blame for a point.
"""

import chainrule as cr
from chainrule import Tensor, nn, optim

points = cr.data.load("spirals")
data = Tensor(points.x), Tensor(points.y)
sample = 8

cr.random.seed(0)
model = nn.Sequential(
    hidden1=nn.Linear(2, 16),
    tanh1=nn.Tanh(),
    hidden2=nn.Linear(16, 16),
    tanh2=nn.Tanh(),
    output=nn.Linear(16, 2),
)


def loss(point: Tensor, arm: Tensor) -> Tensor:
    scores = model(point)
    return nn.functional.cross_entropy(scores, arm)


optimizer = optim.Adam(model.named_parameters(), lr=0.02)
for _ in range(200):
    loss(*data).backward()
    optimizer.step()
    optimizer.zero_grad()
