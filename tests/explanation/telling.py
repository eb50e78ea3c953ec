"""What tests of texts and stories share: numbers in a text, and networks with their gradients."""

import re

import numpy as np
import torch

import chainrule as cr
from chainrule import nn
from chainrule.cli import examples

DIGITS = r"[−\d][\d.e+−]*"


def value(text):
    return float(text.replace("−", "-"))


def numbers_of(text):
    return [value(n) for n in re.findall(DIGITS, text)]


def unwrapped(story):
    return " ".join(story.split())


def neuron():
    example = examples.load("neuron")
    return cr.explain(example.loss, *example.arguments(None, None))


def two_layers(rows=2):
    """A network, its loss and arguments, and the same of PyTorch in float64."""
    cr.random.seed(5)
    model = nn.Sequential(hidden=nn.Linear(3, 2), tanh=nn.Tanh(), output=nn.Linear(2, 3))
    theirs = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Tanh(), torch.nn.Linear(2, 3))
    theirs.double()
    own = {"0": model.hidden, "2": model.output}
    for path, p in theirs.named_parameters():
        k, which = path.split(".")
        p.data = torch.tensor(getattr(own[k], which).numpy().astype("f8"))
    x = cr.random.normal((rows, 3))
    labels = cr.Tensor(np.arange(rows) % 3)

    def loss(x, label):
        scores = model(x)
        return nn.functional.cross_entropy(scores, label)

    out = torch.nn.functional.cross_entropy(
        theirs(torch.tensor(x.numpy().astype("f8"))), torch.tensor(labels.numpy())
    )
    out.backward()
    names = {"0.": "hidden.", "2.": "output."}
    gradients = {names[n[:2]] + n[2:]: p.grad.numpy() for n, p in theirs.named_parameters()}
    return cr.explain(loss, x, labels), out.item(), gradients, theirs, (x, labels)
