"""The steps of the zoo that train networks or assign to tensors."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import chainrule as cr
from chainrule import nn, optim
from chainrule.nn import functional as F  # noqa: N812 (its usual name)
from replay_zoo import ZOO, Step, reals, step, wholes

OPTIMIZERS: dict[str, Callable[[Any], Any]] = {
    "sgd": lambda p: optim.SGD(p, lr=0.1),
    "sgd-momentum": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, dampening=0.1, weight_decay=0.01),
    "sgd-nesterov": lambda p: optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, maximize=True),
    "adam": lambda p: optim.Adam(p),
    "adam-amsgrad": lambda p: optim.Adam(p, weight_decay=0.01, amsgrad=True, maximize=True),
    "adamw": lambda p: optim.AdamW(p),
    "nadam": lambda p: optim.NAdam(p, weight_decay=0.01),
    "radam": lambda p: optim.RAdam(p),
    "adamax": lambda p: optim.Adamax(p),
    "rmsprop": lambda p: optim.RMSprop(p),
    "rmsprop-centered": lambda p: optim.RMSprop(p, momentum=0.9, centered=True, weight_decay=0.01),
    "adagrad": lambda p: optim.Adagrad(p, lr_decay=0.01, initial_accumulator_value=0.1),
    "adadelta": lambda p: optim.Adadelta(p, weight_decay=0.01),
    "lion": lambda p: optim.Lion(p, weight_decay=0.01),
}


def training(
    model: Any,
    *batch: Any,
    loss: Callable[..., Any] = F.cross_entropy,
    optimizer: Callable[[Any], Any] = lambda p: optim.SGD(p, lr=0.1),
    before: Callable[[Any], Any] = lambda parameters: None,
) -> Step:
    """A step that trains a model. before: what is done to the gradients before the update."""
    parameters = list(model.parameters())
    update = optimizer(parameters)

    def train(x: Any, y: Any) -> Any:
        value = loss(model(x), y)
        update.zero_grad()
        value.backward()
        before(parameters)
        update.step()
        return value

    return train, batch


def perceptron(*sizes: int, activation: Callable[[], Any] = nn.ReLU) -> Any:
    layers: list[Any] = []
    for a, b in itertools.pairwise(sizes):
        layers += [nn.Linear(a, b), activation()]
    return nn.Sequential(*layers[:-1])


class Scale(nn.Module):
    """x · weight + bias, element by element: little code beside an optimizer's own."""

    def __init__(self, *shape: int) -> None:
        self.weight = nn.Parameter(cr.ones(shape))
        self.bias = nn.Parameter(cr.zeros(shape[-1]))

    def forward(self, x: Any) -> Any:
        return x * self.weight + self.bias


def optimizer_step(name: str) -> Callable[[], Step]:
    """A step in which little happens except an optimizer's update."""
    numbers = reals(5, 3)
    return lambda: training(
        Scale(5, 3), numbers, numbers, loss=F.mse_loss, optimizer=OPTIMIZERS[name]
    )


ZOO |= {f"optimizer-{name}": optimizer_step(name) for name in OPTIMIZERS}

# ── networks ─────────────────────────────────────────────────────────────────────────────────────


@step
def linear_regression() -> Step:
    return training(nn.Linear(3, 1), reals(8, 3), reals(8, 1), loss=F.mse_loss)


@step
def perceptron_deep() -> Step:
    return training(perceptron(5, 8, 8, 8, 3), reals(16, 5), wholes(16))


@step
def perceptron_inference() -> Step:
    model = perceptron(5, 8, 3, activation=nn.Tanh)
    return (lambda x: cr.softmax(model(x), axis=-1)), (reals(16, 5),)


@step
def perceptron_large() -> Step:
    """Groups are cut into parts, threads meet, and weights that all have read are written over."""
    model = perceptron(256, 512, 512, 10)
    return training(model, reals(256, 256), wholes(256, below=10), optimizer=OPTIMIZERS["adam"])


@step
def activations() -> Step:
    kinds = (
        *(nn.CELU, nn.ELU, nn.GELU, nn.Hardshrink, nn.Hardsigmoid, nn.Hardswish, nn.Hardtanh),
        *(nn.LeakyReLU, nn.LogSigmoid, nn.Mish, nn.PReLU, nn.ReLU6, nn.SELU, nn.SiLU, nn.Sigmoid),
        *(nn.Softplus, nn.Softshrink, nn.Softsign, nn.Tanh, nn.Tanhshrink),
    )
    model = nn.Sequential(nn.Linear(3, 4), *(kind() for kind in kinds), nn.GLU())
    return training(model, reals(4, 3), reals(4, 2), loss=F.mse_loss)


@step
def normalization() -> Step:
    model = nn.Sequential(
        nn.Linear(3, 4), nn.BatchNorm1d(4), nn.LayerNorm(4), nn.RMSNorm(4), nn.GroupNorm(2, 4)
    )
    return training(model, reals(6, 3), wholes(6))


@step
def dropout() -> Step:
    model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.AlphaDropout(0.2), nn.Linear(8, 3))
    return training(model, reals(6, 4), wholes(6))


@step
def embedding() -> Step:
    """Rows that were not looked up keep their values: the gradient is sparse."""
    model = nn.Sequential(nn.Embedding(200, 4), nn.Flatten(), nn.Linear(12, 3))
    return training(model, wholes(6, 3, below=200), wholes(6), optimizer=OPTIMIZERS["adam"])


@step
def convolution() -> Step:
    model = nn.Sequential(
        *(nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(4, 4, 3, stride=2, groups=2), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(4, 3)),
    )
    return training(model, reals(2, 12, 12, 2), wholes(2))


@step
def lstm() -> Step:
    model = nn.LSTM(3, 4)
    return training(model, reals(2, 5, 3), reals(2, 5, 4), loss=lambda p, y: F.mse_loss(p[0], y))


@step
def gru() -> Step:
    model = nn.GRU(3, 4, num_layers=2, bidirectional=True)
    return training(model, reals(2, 5, 3), reals(2, 5, 8), loss=lambda p, y: F.mse_loss(p[0], y))


@step
def attention() -> Step:
    class SelfAttention(nn.Module):
        def __init__(self) -> None:
            self.layer = nn.MultiheadAttention(8, 2)

        def forward(self, x: Any) -> Any:
            return self.layer(x, x, x)[0]

    return training(SelfAttention(), reals(2, 5, 8), reals(2, 5, 8), loss=F.mse_loss)


@step
def causal_attention() -> Step:
    def total(q: Any, k: Any, v: Any) -> Any:
        out = F.scaled_dot_product_attention(q, k, v, reals(2, 1, 1, 6) > 0, is_causal=True)
        return (out**2).sum()

    return cr.value_and_grad(total, argnums=(0, 1, 2)), [reals(2, 3, n, 4) for n in (5, 6, 6)]


@step
def transformer() -> Step:
    model = nn.TransformerEncoderLayer(8, 2, dim_feedforward=16)
    return training(model, reals(2, 5, 8), reals(2, 5, 8), loss=F.mse_loss)


@step
def losses() -> Step:
    def total(x: Any, y: Any, c: Any) -> Any:
        parts = [F.l1_loss(x, y), F.huber_loss(x, y), F.binary_cross_entropy(x, y)]
        parts += [F.cross_entropy(x, c, label_smoothing=0.1), F.kl_div(x, y)]
        return sum(parts)

    return cr.value_and_grad(total), (reals(4, 3), reals(4, 3), wholes(4))


# ── gradients before the update ──────────────────────────────────────────────────────────────────


@step
def clip_norm() -> Step:
    """Large enough that gradients go out before their last factor."""
    clip = lambda parameters: nn.utils.clip_grad_norm_(parameters, 1.0)  # noqa: E731
    return training(perceptron(40, 40, 3), reals(4, 40), wholes(4), before=clip)


@step
def clip_value() -> Step:
    clip = lambda parameters: nn.utils.clip_grad_value_(parameters, 0.1)  # noqa: E731
    return training(perceptron(5, 6, 3), reals(4, 5), wholes(4), before=clip)


@step
def accumulation() -> Step:
    model = perceptron(5, 6, 3)
    update = optim.Adam(model.parameters())

    def train(x: Any, y: Any) -> Any:
        update.zero_grad()
        for k in range(2):
            rows = slice(4 * k, 4 * k + 4)
            loss = F.cross_entropy(model(x[rows]), y[rows]) / 2
            loss.backward(accumulate=k > 0)
        update.step()
        return loss

    return train, (reals(8, 5), wholes(8))


@step
def second_derivative() -> Step:
    return cr.hessian(lambda x: cr.sum(cr.tanh(x) * cr.exp(x))), (reals(3),)


# ── assignment ───────────────────────────────────────────────────────────────────────────────────


@step
def assignment() -> Step:
    whole, rows, places = (cr.zeros((5, 4)) for _ in range(3))
    count = cr.zeros((), dtype="int64")

    def assign(x: Any, k: Any) -> Any:
        whole[...] = whole * 0.9 + x
        rows[1:4:2] = x[:2]
        rows[:, 0] = 1.0
        places[k] = x[:3]
        count[...] = count + 1
        return cr.sum(whole * rows)

    return assign, (reals(5, 4), wholes(3))


@step
def swapped() -> Step:
    """Inputs that replace each other need a place in between."""
    a, b = cr.zeros(4), cr.ones(4)

    def swap() -> None:
        old = a + 0.0
        a[...] = b
        b[...] = old

    return swap, ()


@step
def random_numbers() -> Step:
    return (lambda x: (cr.random.normal((3, 4)) + x, cr.random.uniform((5,)))), (reals(4),)
