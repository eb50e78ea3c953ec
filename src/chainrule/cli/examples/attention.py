"""Attention on the eight words of a sentence.

Who is "it" in "the dog heard the bird because it barked"? The network knows already that a dog or a
wolf barks, and not yet to look which of them is there. Look at where the gradient asks the last
word to attend more.
"""

import chainrule as cr
from chainrule import Tensor, nn, optim

words = ["the", "heard", "because", "it", "dog", "wolf", "bird", "lark", "barked", "sang"]
sentences = [
    (f"the {first} heard the {second} because it {sound}", barks if sound == "barked" else sings)
    for barks in ("dog", "wolf")
    for sings in ("bird", "lark")
    for first, second in ((barks, sings), (sings, barks))
    for sound in ("barked", "sang")
]
data = (
    Tensor([[words.index(word) for word in sentence.split()] for sentence, _ in sentences]),
    Tensor([words.index(answer) for _, answer in sentences]),
)


class Reader(nn.Module):
    def __init__(self) -> None:
        self.embedding = nn.Embedding(len(words), 8)
        self.attention = nn.MultiheadAttention(8, 2)
        self.scores = nn.Linear(8, len(words))

    def forward(self, sentence: Tensor) -> Tensor:
        vectors = self.embedding(sentence)
        mixed, _ = self.attention(vectors, need_weights=False)
        last = mixed[:, -1]
        return self.scores(last)


cr.random.seed(0)
model = Reader()


def loss(sentence: Tensor, answer: Tensor) -> Tensor:
    scores = model(sentence)
    return nn.functional.cross_entropy(scores, answer)


optimizer = optim.Adam(model.named_parameters(), lr=0.01)
for _ in range(60):
    loss(*data).backward()
    optimizer.step()
    optimizer.zero_grad()
