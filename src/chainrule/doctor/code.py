"""Changes of a training of this library's modules as lines of Python: how a user makes them.

The lines speak of `model`, of the rows `x, y` that are trained on, and of arguments of `fit`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from ..diagnosis.finding import Change
from ..diagnosis.wording import number
from .changes import alike, module_at
from .facts import Facts

ACTIVATIONS = {
    "linear": "nn.Identity()",
    "relu": "nn.ReLU()",
    "tanh": "nn.Tanh()",
    "sigmoid": "nn.Sigmoid()",
    "softmax": "nn.Softmax()",
}
INITIALISATIONS = {
    "he_uniform": "kaiming_uniform_",
    "he_normal": "kaiming_normal_",
    "glorot_uniform": "xavier_uniform_",
}
LOSSES = {
    "cce_logits": "cross_entropy",
    "bce_logits": "bce_with_logits",
    "bce_probs": "bce",
    "mse": "mse",
}
OPTIMIZERS = {"adam": "Adam", "sgd": "SGD"}
ORDER = (  # in which lines do not undo each other
    *("train", "match", "drop", "scale"),
    *("recurrent", "units", "initialisation", "memory", "insert", "residual"),
    *("activation", "output_activation", "remove", "optimizer", "rate"),
    *("loss", "decay", "clip", "shuffle", "batch", "epochs"),
)

ORTHOGONAL = """\
with cr.no_grad():
    for name, p in {}.named_parameters():
        if "bias" in name:
            nn.init.zeros_(p)
        elif "weight_ih" in name:
            nn.init.xavier_uniform_(p)
        else:
            n = p.shape[1]
            for k in range(0, len(p), n):  # each gate
                p[k : k + n] = nn.init.orthogonal_(cr.zeros((n, n)))"""  # as `changes` does
EXCHANGES = {  # after which the optimizer lacks parameters
    *("train", "recurrent", "units", "insert", "residual"),
    *("activation", "output_activation", "remove"),
}


def lines_of(changes: Sequence[Change], facts: Facts) -> tuple[str, ...]:
    """The lines that make the changes; nothing for a change that no line can make.

    facts   of the training before these changes
    """
    out: list[str] = []
    ordered = sorted((c for c in changes if c.what in ORDER), key=lambda c: ORDER.index(c.what))
    exchanges = any(c.what in EXCHANGES for c in ordered)
    for _, group in groupby(ordered, lambda c: (c.what, str(c.value))):
        several = list(group)
        out += _LINES[several[0].what](several, facts)
    if exchanges and not any(c.what in ("rate", "optimizer") for c in ordered):
        out.append("# then make the optimizer")
    return tuple(out)


def module(path: str) -> str:
    """The expression of a module by its path: "5" is model[5], "layers.3" model.layers[3]."""
    return "model" + re.sub(r"\.?([^.]+)", lambda m: _part(m[1]), path)


def _part(name: str) -> str:
    return f"[{name}]" if name.isdigit() else f".{name}"


def _each(changes: Sequence[Change], line: Callable[[str, Change], str]) -> Iterator[str]:
    """The lines of each module; equal ones of modules in one container as a loop."""

    def of_number(c: Change) -> str:
        head, _, last = c.place.rpartition(".")
        return line(module(head) + "[k]" if last.isdigit() else module(c.place), c)

    for text, group in groupby(changes, of_number):
        several = list(group)
        if len(several) == 1:
            yield from line(module(several[0].place), several[0]).split("\n")
            continue
        yield f"for k in ({', '.join(c.place.rpartition('.')[2] for c in several)}):"
        yield from (f"    {part}" for part in text.split("\n"))


# ── the network ──────────────────────────────────────────────────────────────────────────────────


def _activation(changes: Sequence[Change], facts: Facts) -> Iterator[str]:
    kinds = {layer.path: layer.kind for layer in facts.start.layers}
    new = ACTIVATIONS[changes[0].value]

    def line(m: str, c: Change) -> str:
        instead = new == ACTIVATIONS["linear"] or kinds.get(c.place) in ("activation", "custom")
        return f"{m} = {new}" if instead else f"{m} = nn.Sequential({m}, {new})"

    yield from _each(changes, line)


def _removal(changes: Sequence[Change], _: Facts) -> Iterator[str]:
    yield from _each(changes, lambda m, _: f"{m} = nn.Identity()")


def _insertion(changes: Sequence[Change], facts: Facts) -> Iterator[str]:
    def line(m: str, c: Change) -> str:
        old = module_at(facts.training.model, c.place)
        convolution = type(old).__name__.startswith("Conv")
        size = old.weight.shape[-1 if convolution else 0]
        return f"{m} = nn.Sequential({m}, nn.BatchNorm{1 + convolution}d({size}))"

    yield from _each(changes, line)


def _training(changes: Sequence[Change], _: Facts) -> Iterator[str]:
    yield from _each(changes, lambda m, _: f"{m}.unfreeze()")


def _residual(changes: Sequence[Change], _: Facts) -> Iterator[str]:
    yield from _each(changes, lambda m, _: f"{m} = nn.Residual({m})  # its last weights 0 at first")


def _recurrent(changes: Sequence[Change], facts: Facts) -> Iterator[str]:
    def line(m: str, c: Change) -> str:
        old: Any = module_at(facts.training.model, c.place)
        more = f", num_layers={old.num_layers}" if old.num_layers > 1 else ""
        more += ", bidirectional=True" if old.bidirectional else ""
        return f"{m} = nn.GRU({old.input_size}, {old.hidden_size}{more})"

    yield from _each(changes, line)


def _units(changes: Sequence[Change], facts: Facts) -> Iterator[str]:
    for c in changes:
        old: Any = module_at(facts.training.model, c.place)
        bias = ", bias=False" if old.bias is None else ""
        yield f"{module(c.place)} = nn.Linear({old.weight.shape[1]}, {c.value}{bias})"


def _memory(changes: Sequence[Change], facts: Facts) -> Iterator[str]:
    """As `structure.memory_bias`."""

    def line(m: str, c: Change) -> str:
        old: Any = module_at(facts.training.model, c.place)
        n, steps = old.hidden_size, max(c.value, 2)
        names = [name for name, _ in old.named_parameters() if name.startswith("bias_ih")]
        lines = [
            f"logs = np.log(np.random.uniform(1, {steps}, {n}))  # of steps to keep the state for",
            "with cr.no_grad():  # biases of the gate that keeps it",
        ]
        for name in names:
            lines.append(f"    {m}.{name}[{n}:{2 * n}] = logs")
            if type(old).__name__ == "LSTM":
                lines.append(f"    {m}.{name}[:{n}] = -logs")
        return "\n".join(lines)

    yield from _each(changes, line)


def _initialisation(changes: Sequence[Change], facts: Facts) -> Iterator[str]:
    def line(m: str, c: Change) -> str:
        old: Any = module_at(facts.training.model, c.place)
        if c.value == "orthogonal":
            return ORTHOGONAL.format(m)
        lines = [f"nn.init.{INITIALISATIONS[c.value]}({m}.weight)"]
        if getattr(old, "bias", None) is not None:
            lines.append(f"nn.init.zeros_({m}.bias)")
        return "\n".join(lines)

    yield from _each(changes, line)


# ── data, loss, optimizer, arguments of fit ──────────────────────────────────────────────────────


def _scale(changes: Sequence[Change], facts: Facts) -> Iterator[str]:
    for c in changes:
        inputs = c.place == "data.inputs"
        name, a = ("x", facts.training.data[0]) if inputs else ("y", facts.training.data[1])
        axis = "" if a.ndim > 2 or (inputs and alike(a)) else "0"
        mean, std = f"{name}_mean", f"{name}_std"
        yield f"{mean}, {std} = {name}.mean({axis}), {name}.std({axis})  # of rows trained on"
        last = "" if inputs else f"; a prediction p means p * {std} + {mean}"
        yield f"{name} = ({name} - {mean}) / {std}  # of held-out rows too{last}"


def _drop(changes: Sequence[Change], facts: Facts) -> Iterator[str]:
    rows = "x" if facts.training.data[0].ndim == 2 else "x.reshape(len(x), -1)"
    yield f"{rows}[:, {changes[0].value}] = 0  # of held-out rows too"


def _match(changes: Sequence[Change], _: Facts) -> Iterator[str]:
    yield f"x = x * {changes[0].value!r}  # not of held-out rows"


def _argument(name: str) -> Callable[[Sequence[Change], Facts], Iterator[str]]:
    def line(changes: Sequence[Change], _: Facts) -> Iterator[str]:
        value = changes[0].value
        yield f"{name}={number(value) if isinstance(value, float) else value}"

    return line


def _loss(changes: Sequence[Change], _: Facts) -> Iterator[str]:
    if changes[0].value in LOSSES:
        yield f'loss="{LOSSES[changes[0].value]}"'


def _optimizer(changes: Sequence[Change], _: Facts) -> Iterator[str]:
    name, rate = changes[0].value
    yield f"optimizer = optim.{OPTIMIZERS[name]}(model.parameters(), lr={number(rate)})"


def _rate(changes: Sequence[Change], facts: Facts) -> Iterator[str]:
    name, rate = facts.training.optimizer_name, number(changes[0].value)
    yield f"optimizer = optim.{name}(model.parameters(), lr={rate})  # and its other settings"


_LINES: Mapping[str, Callable[[Sequence[Change], Facts], Iterator[str]]] = {
    "train": _training,
    "drop": _drop,
    "activation": _activation,
    "output_activation": _activation,
    "remove": _removal,
    "insert": _insertion,
    "residual": _residual,
    "recurrent": _recurrent,
    "units": _units,
    "memory": _memory,
    "initialisation": _initialisation,
    "scale": _scale,
    "match": _match,
    "loss": _loss,
    "optimizer": _optimizer,
    "rate": _rate,
    "decay": _argument("weight_decay"),
    "clip": _argument("clip_norm"),
    "shuffle": _argument("shuffle"),
    "batch": _argument("batch_size"),
    "epochs": _argument("epochs"),
}
