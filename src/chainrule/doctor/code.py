"""Changes of a training of this library's modules as lines of Python: how a user makes them.

The lines speak of `model`, of the rows `x, y` that are trained on, and of arguments of `fit`:
`optimizer = …` is made, `epochs=40` is passed.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from .. import optim
from ..diagnosis.finding import Change
from ..diagnosis.wording import number
from ..graph import Array
from .changes import (
    ACTIVATIONS,
    CHANGES,
    INITIALISATIONS,
    OPTIMIZERS,
    activates,
    alike,
    key_of,
    module_at,
)
from .facts import Facts

LOSSES = {
    "cce_logits": '"cross_entropy"',
    "cce_probs": "lambda p, y: nn.functional.nll_loss(cr.log(cr.clip(p, 1e-7, 1)), y)",
    "cce_probs of each class": "lambda p, y: -(y * cr.log(cr.clip(p, 1e-7, 1))).sum(-1).mean()",
    "bce_logits": '"bce_with_logits"',
    "bce_probs": '"bce"',
    "mse": '"mse"',
}

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
    changes = [c for c in changes if not _is_nothing(c, facts)]
    kinds, order = {c.what for c in changes}, list(CHANGES)  # in which none undoes another
    if kinds & EXCHANGES and not kinds & {"rate", "optimizer"}:
        rate = float(facts.training.settings["lr"])
        changes = [*changes, Change("rate", "optimizer.lr", rate)]
    ordered = sorted(dict.fromkeys(changes), key=lambda c: order.index(c.what))
    for _, group in groupby(ordered, lambda c: (c.what, str(c.value))):
        several = list(group)
        out += _LINES[several[0].what](several, facts)
    return tuple(out)


def _is_nothing(change: Change, facts: Facts) -> bool:
    """Whether it is no activation after a layer of weights."""
    return (change.what, change.value) == ("output_activation", "linear") and not activates(
        module_at(facts.training.model, change.place)
    )


def module(model: Any, path: str) -> tuple[str, str]:
    """The expression of a module by its path, and its key in a container: "" if it is in none.

    "5" is model[5], "heads.first" model.heads["first"] of a dict; the key is "5" or '"first"'.
    """
    text, key = "model", ""
    for part in filter(None, path.split(".")):
        key = part if part.isdigit() else ""
        if isinstance(model, dict):
            key = f'"{part}"' if part in model else repr(key_of(model, part))
        text += f"[{key}]" if key else f".{part}"
        model = module_at(model, part)
    return text, key


Line = Callable[[str, Change], str]  # of the expression of a module


def _each(
    changes: Sequence[Change], facts: Facts, line: Line, exchange: bool = False
) -> Iterator[str]:
    """The lines of each module; equal ones of modules in one container as a loop.

    exchange   whether they put another module there: a tuple becomes a list before
    """
    model = facts.training.model
    if exchange:
        yield from dict.fromkeys(t for c in changes for t in _lists(model, c.place))

    def in_loop(c: Change) -> str:
        text, key = module(model, c.place)
        return line(text.removesuffix(f"[{key}]") + "[k]" if key else text, c)

    for text, group in groupby(changes, in_loop):
        several = list(group)
        if len(several) == 1:
            yield from line(module(model, several[0].place)[0], several[0]).split("\n")
            continue
        yield f"for k in ({', '.join(module(model, c.place)[1] for c in several)}):"
        yield from (f"    {part}" for part in text.split("\n"))


def _lists(model: Any, path: str) -> Iterator[str]:
    """The lines that make lists of the tuples that a module is in, the innermost last."""
    parts = path.split(".")
    for k in range(1, len(parts)):
        head = ".".join(parts[:k])
        if isinstance(module_at(model, head), tuple):
            expression = module(model, head)[0]
            yield f"{expression} = list({expression})"


# ── the network ──────────────────────────────────────────────────────────────────────────────────


def _activation(changes: Sequence[Change], facts: Facts) -> Iterator[str]:
    new = f"nn.{ACTIVATIONS[changes[0].value].__name__}()"

    def line(m: str, c: Change) -> str:
        instead = activates(module_at(facts.training.model, c.place))
        return f"{m} = {new}" if instead else f"{m} = nn.Sequential({m}, {new})"

    yield from _each(changes, facts, line, True)


def _removal(changes: Sequence[Change], facts: Facts) -> Iterator[str]:
    yield from _each(changes, facts, lambda m, _: f"{m} = nn.Identity()", True)


def _insertion(changes: Sequence[Change], facts: Facts) -> Iterator[str]:
    def line(m: str, c: Change) -> str:
        old = module_at(facts.training.model, c.place)
        convolution = type(old).__name__.startswith("Conv")
        size = old.weight.shape[-1 if convolution else 0]
        return f"{m} = nn.Sequential({m}, nn.BatchNorm{1 + convolution}d({size}))"

    yield from _each(changes, facts, line, True)


def _training(changes: Sequence[Change], facts: Facts) -> Iterator[str]:
    yield from _each(changes, facts, lambda m, _: f"{m}.unfreeze()")


def _residual(changes: Sequence[Change], facts: Facts) -> Iterator[str]:
    def line(m: str, _: Change) -> str:
        return f"{m} = nn.Residual({m})  # its last weights 0 at first"

    yield from _each(changes, facts, line, True)


def _recurrent(changes: Sequence[Change], facts: Facts) -> Iterator[str]:
    def line(m: str, c: Change) -> str:
        old: Any = module_at(facts.training.model, c.place)
        more = f", num_layers={old.num_layers}" if old.num_layers > 1 else ""
        more += ", bidirectional=True" if old.bidirectional else ""
        return f"{m} = nn.GRU({old.input_size}, {old.hidden_size}{more})"

    yield from _each(changes, facts, line, True)


def _units(changes: Sequence[Change], facts: Facts) -> Iterator[str]:
    def line(m: str, c: Change) -> str:
        old: Any = module_at(facts.training.model, c.place)
        bias = ", bias=False" if old.bias is None else ""
        return f"{m} = nn.Linear({old.weight.shape[1]}, {c.value}{bias})"

    yield from _each(changes, facts, line, True)


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

    yield from _each(changes, facts, line)


def _initialisation(changes: Sequence[Change], facts: Facts) -> Iterator[str]:
    def line(m: str, c: Change) -> str:
        old: Any = module_at(facts.training.model, c.place)
        if c.value == "orthogonal":
            return ORTHOGONAL.format(m)
        lines = [f"nn.init.{INITIALISATIONS[c.value].__name__}({m}.weight)"]
        if getattr(old, "bias", None) is not None:
            lines.append(f"nn.init.zeros_({m}.bias)")
        return "\n".join(lines)

    yield from _each(changes, facts, line)


# ── data, loss, optimizer, arguments of fit ──────────────────────────────────────────────────────


def _scale(changes: Sequence[Change], facts: Facts) -> Iterator[str]:
    for c in changes:
        inputs = c.place == "data.inputs"
        name, a = ("x", facts.training.data[0]) if inputs else ("y", facts.training.data[1])
        axis = "" if a.ndim > 2 or (inputs and alike(a)) else "0"
        mean, std = f"{name}_mean", f"{name}_std"
        yield f"{mean}, {std} = {name}.mean({axis}), {name}.std({axis})  # of rows trained on"
        if axis and not a.std(0).all():
            yield f"{std}[{std} == 0] = 1  # columns that never vary"
        last = "" if inputs else f"; a prediction p means p * {std} + {mean}"
        yield f"{name} = ({name} - {mean}) / {std}  # of held-out rows too{last}"


def _binary(changes: Sequence[Change], _: Facts) -> Iterator[str]:
    yield f'y = (y == {changes[0].value[1]!r}).astype("float32")  # of held-out rows too'


def _drop(changes: Sequence[Change], facts: Facts) -> Iterator[str]:
    rows = "x" if facts.training.data[0].ndim == 2 else "x.reshape(len(x), -1)"
    yield 'x = x.copy("C")'
    yield f"{rows}[:, {changes[0].value}] = 0  # of held-out rows too"


def _match(changes: Sequence[Change], _: Facts) -> Iterator[str]:
    yield f"x = x * {changes[0].value!r}  # not of held-out rows"


def _match_held_out(changes: Sequence[Change], _: Facts) -> Iterator[str]:
    yield f"x_held_out = x_held_out * {changes[0].value!r}  # or prepare them as those of x"


def _argument(name: str) -> Callable[[Sequence[Change], Facts], Iterator[str]]:
    def line(changes: Sequence[Change], _: Facts) -> Iterator[str]:
        value = changes[0].value
        yield f"{name}={number(value) if isinstance(value, float) else value}"

    return line


def _loss(changes: Sequence[Change], facts: Facts) -> Iterator[str]:
    loss, y, outputs = changes[0].value, facts.training.data[1], facts.start.output.shape
    targets = _targets(loss, y, outputs)
    if targets:
        yield f"y = {targets}  # of held-out rows too"
    each = loss == "cce_probs" and y.shape[1:] == outputs[1:]
    yield f"loss={LOSSES[loss + ' of each class' * each]}"


def _targets(loss: str, y: Array, outputs: tuple[int, ...]) -> str:
    """The expression of targets that a loss takes, as in `changes`; "" if y are that already."""
    numbers = y.dtype.kind == "f"
    of_classes = loss in ("cce_logits", "cce_probs")
    if of_classes and y.ndim == len(outputs) - 1:
        return 'y.astype("int64")' if numbers else ""
    if of_classes and y.shape[-1] == 1:
        return 'y[..., 0].astype("int64")'
    if of_classes or y.shape[1:] == outputs[1:]:
        return "" if numbers else 'y.astype("float32")'
    if outputs[-1] == 1 or len(outputs) == 1:
        return f'y.reshape{(-1, *outputs[1:])}.astype("float32")'
    classes = "y" if y.ndim < len(outputs) else "y[..., 0]"
    return f'np.eye({outputs[-1]}, dtype="float32")[{classes}{".astype(int)" * numbers}]'


def _optimizer(changes: Sequence[Change], facts: Facts) -> Iterator[str]:
    name, rate = changes[0].value
    decay = float(facts.training.settings.get("weight_decay", 0.0))
    more = f", weight_decay={number(decay)}" if decay else ""
    kind = OPTIMIZERS[name].__name__
    yield f"optimizer = optim.{kind}(model.parameters(), lr={number(rate)}{more})"


def _rate(changes: Sequence[Change], facts: Facts) -> Iterator[str]:
    name, rate = facts.training.optimizer_name, number(changes[0].value)
    kind = getattr(optim, name, None)
    if kind is None:
        yield f"optimizer = {name}(model.parameters(), lr={rate})  # and its other settings"
        return
    settings = facts.training.settings
    usual = {n: p.default for n, p in inspect.signature(kind).parameters.items()}
    names = [
        n for n in usual if n not in ("params", "lr") and settings.get(n, usual[n]) != usual[n]
    ]
    more = "".join(f", {n}={settings[n]!r}" for n in names)
    yield f"optimizer = optim.{name}(model.parameters(), lr={rate}{more})"


def _decay(changes: Sequence[Change], _: Facts) -> Iterator[str]:
    yield "for group in optimizer.param_groups:"
    yield f'    group["weight_decay"] = {number(changes[0].value)}'


def _shuffle(_: Sequence[Change], facts: Facts) -> Iterator[str]:
    yield "train = x, y  # arrays, which fit shuffles in each epoch"
    yield f"batch_size={facts.training.batch}"


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
    "binary": _binary,
    "match": _match,
    "match_held_out": _match_held_out,
    "loss": _loss,
    "optimizer": _optimizer,
    "rate": _rate,
    "decay": _decay,
    "clip": _argument("clip_norm"),
    "shuffle": _shuffle,
    "batch": _argument("batch_size"),
    "epochs": _argument("epochs"),
}
