"""Handwritten digits.

A network with one hidden layer reads images of 8 × 8 pixels. It is trained for a moment only, and
takes a 9 for an 8. Look at the two scores that are blamed, and at the weights that they blame.
"""

import chainrule as cr
from chainrule import Tensor, nn, optim

digits = cr.data.load("digits")
x, x_test, y, y_test = cr.data.train_test_split(digits.x / 16, digits.y, stratify=digits.y)
data = Tensor(x_test), Tensor(y_test)
sample = 4

cr.random.seed(0)
model = nn.Sequential(
    flatten=nn.Flatten(), hidden=nn.Linear(64, 32), relu=nn.ReLU(), output=nn.Linear(32, 10)
)


def loss(image: Tensor, label: Tensor) -> Tensor:
    scores = model(image)
    return nn.functional.cross_entropy(scores, label)


optimizer = optim.Adam(model.named_parameters(), lr=0.01)
for _ in range(3):
    for image, label in cr.data.DataLoader((x, y), 64, shuffle=True):
        loss(image, label).backward()
        optimizer.step()
        optimizer.zero_grad()
