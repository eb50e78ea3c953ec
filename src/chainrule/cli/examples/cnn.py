"""A small convolutional network on handwritten digits.

It takes a 9 for a 5. Four kernels of 3 × 3 weights slide over the image, and the largest response
of each 2 × 2 places goes on. Look at what one weight of a kernel collects: a share of the blame at
every place.
"""

import chainrule as cr
from chainrule import Tensor, nn, optim

digits = cr.data.load("digits")
x, x_test, y, y_test = cr.data.train_test_split(digits.x / 16, digits.y, stratify=digits.y)
data = Tensor(x_test), Tensor(y_test)
sample = 4

cr.random.seed(0)
model = nn.Sequential(
    kernels=nn.Conv2d(1, 4, 3),
    relu=nn.ReLU(),
    pool=nn.MaxPool2d(2),
    flatten=nn.Flatten(),
    output=nn.Linear(36, 10),
)


def loss(image: Tensor, label: Tensor) -> Tensor:
    scores = model(image)
    return nn.functional.cross_entropy(scores, label)


optimizer = optim.Adam(model.named_parameters(), lr=0.02)
for _ in range(3):
    for image, label in cr.data.DataLoader((x, y), 64, shuffle=True):
        loss(image, label).backward()
        optimizer.step()
        optimizer.zero_grad()
