"""Recurrent layers, batch first: (N, T, C). Each direction is one `scan` over a cell."""

from __future__ import annotations

from typing import Any

from .. import ops, trace
from ..broadcasting import cast
from ..convert import promote
from ..dtypes import is_integer
from ..errors import ArgumentError, Refusal, ShapeError, user_line, warn
from ..functions import creation, shaping
from ..functions.elementwise import where
from ..functions.scan import scan
from ..graph import spec_text
from ..tensor import Tensor, as_tensor
from . import cells, functional
from .arguments import current_values, expect_batch_first, expect_fraction, expect_integers
from .linear import uniform_parameter
from .module import Module


class _Recurrent(Module):
    """Base of the recurrent layers: layers, directions, lengths.

    forward(x, state=None, lengths=None) -> (outputs, last state)

    x         (N, T, input_size); one sequence may be (T, input_size): then no result has an N
    state     the initial state, (layers · directions, N, hidden_size), zeros by default
    lengths   (N,) the number of steps of each sequence, from 0 to T; after them the state stays,
              outputs are 0
    outputs   (N, T, directions · hidden_size) of the last layer

    Of no steps (T = 0, or a length of 0) the last state is the initial one.

    weight_ih_l0 (gates · hidden, input), weight_hh_l0 (gates · hidden, hidden), bias_ih_l0 and
    bias_hh_l0 (gates · hidden,); _l1 … for further layers, _reverse for the other direction.
    """

    gates = 1
    states = 1  # the number of tensors in the state
    proj_size = 0  # channels of h where they are not hidden_size
    weight_hh_l0: Tensor

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = True,
        dropout: float = 0.0,
        bidirectional: bool = False,
    ) -> None:
        expect_batch_first(type(self).__name__, batch_first)
        expect_integers(
            type(self).__name__,
            1,
            input_size=input_size,
            hidden_size=hidden_size,
            num_layers=num_layers,
        )
        expect_fraction(type(self).__name__, "dropout", dropout)
        if dropout and num_layers == 1:
            warn(
                f"[{type(self).__name__}] got dropout={dropout} and one layer; expected several: "
                "it drops what goes from one to the next; use nn.Dropout after it"
            )
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.dropout, self.bidirectional, self.bias = dropout, bidirectional, bias
        output = self.proj_size or hidden_size
        for layer in range(num_layers):
            size = input_size if layer == 0 else output * (1 + bidirectional)
            for suffix in self._suffixes(layer):
                rows = self.gates * hidden_size
                shapes: dict[str, tuple[int, ...]] = {
                    "weight_ih": (rows, size),
                    "weight_hh": (rows, output),
                }
                if bias:
                    shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
                if self.proj_size:
                    shapes["weight_hr"] = self.proj_size, hidden_size
                for name, shape in shapes.items():
                    setattr(self, name + suffix, uniform_parameter(shape, hidden_size))

    def _suffixes(self, layer: int) -> list[str]:
        return [f"_l{layer}"] + ([f"_l{layer}_reverse"] if self.bidirectional else [])

    def _cell(self, projected: Tensor, hidden: Tensor, state: cells.States) -> cells.States:
        """The new state from x W_ihᵀ + b_ih, h W_hhᵀ + b_hh and the old state."""
        raise NotImplementedError

    def forward(self, x: Any, state: Any = None, lengths: Any = None) -> tuple[Tensor, Any]:
        x = as_tensor(x)
        if x.ndim not in (2, 3) or x.shape[-1] != self.input_size:
            raise ShapeError(
                type(self).__name__,
                f"got {spec_text(x)}",
                f"expected (N, T, {self.input_size}), batch first, features last",
                f"set input_size to {x.shape[-1] if x.shape else 1}, or move the axes",
                user_line(),
            )
        if x.ndim == 3:
            return self._batched(x, state, lengths)
        if state is not None:
            states = cells.expect_states(type(self).__name__, state, self.states)
            state = tuple(shaping.expand_dims(s, axis=1) for s in states)
        if lengths is not None:
            lengths = shaping.expand_dims(as_tensor(lengths), axis=0)
        out, last = self._batched(x[None], state, lengths)
        return out[0], tuple(s[:, 0] for s in last) if self.states > 1 else last[:, 0]

    def _batched(self, x: Tensor, state: Any, lengths: Any) -> tuple[Tensor, Any]:
        x = cast(x, promote(x.dtype, self.weight_hh_l0.dtype))
        n, steps, _ = x.shape
        counts = None
        if lengths is not None:
            ends = _checked_lengths(type(self).__name__, lengths, n, steps)
            counts = creation.arange(steps)[:, None] < ends[None, :]  # (T, N)
            x = where(counts.T[..., None], x, 0.0)  # NaN in the padding would reach the gradients
        initial = self._initial(state, n, x)
        last: list[tuple[Tensor, ...]] = []
        for layer in range(self.num_layers):
            outs = []
            for suffix in self._suffixes(layer):
                start = tuple(s[len(last)] for s in initial)
                out, final = self._direction(x, suffix, start, counts)
                outs.append(out)
                last.append(final)
            x = outs[0] if len(outs) == 1 else shaping.concat(outs, axis=-1)
            if self.dropout and layer + 1 < self.num_layers:
                x = functional.dropout(x, self.dropout, self.training)
        stacked = tuple(shaping.stack([s[k] for s in last]) for k in range(self.states))
        return x, stacked if self.states > 1 else stacked[0]

    def _initial(self, state: Any, n: int, x: Tensor) -> cells.States:
        count, hidden = self.num_layers * (1 + self.bidirectional), self.hidden_size
        sizes = [self.proj_size or hidden, hidden][: self.states]  # of h and c
        shapes = [(count, n, size) for size in sizes]
        if state is None:
            return tuple(creation.zeros(shape, dtype=x.dtype) for shape in shapes)
        states = cells.expect_states(type(self).__name__, state, self.states)
        states = tuple(cast(s, x.dtype) for s in states)
        if [s.shape for s in states] != shapes:
            raise ShapeError(
                type(self).__name__,
                f"got a state {', '.join(spec_text(s) for s in states)}",
                f"expected {' and '.join(map(str, dict.fromkeys(shapes)))}",
                "leave it out for zeros",
                user_line(),
            )
        return states

    def _direction(
        self, x: Tensor, suffix: str, start: tuple[Tensor, ...], counts: Tensor | None
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        w_ih, w_hh = (getattr(self, name + suffix) for name in ("weight_ih", "weight_hh"))
        b_ih, b_hh = (getattr(self, name + suffix, None) for name in ("bias_ih", "bias_hh"))
        w_hr = getattr(self, f"weight_hr{suffix}", None)
        # All steps at once. The axes of x are moved, since x is smaller than its projection.
        projected = functional.linear(shaping.moveaxis(x, 1, 0), w_ih, b_ih)
        if trace.state.observer is not None:
            trace.state.observer.projected(self, suffix, projected)

        def step(state: Any, row: Any) -> Any:
            now, alive = row
            new = self._cell(now, functional.linear(state[0], w_hh, b_hh), state)
            if w_hr is not None:
                new = functional.linear(new[0], w_hr), *new[1:]
            if alive is None:
                return new, new[0]
            after = tuple(where(alive[:, None], a, b) for a, b in zip(new, state, strict=True))
            return after, where(alive[:, None], new[0], 0.0)

        final, out = scan(step, start, (projected, counts), reverse=suffix.endswith("_reverse"))
        return shaping.moveaxis(out, 0, 1), final

    def extra_repr(self) -> str:
        more = ", bidirectional=True" if self.bidirectional else ""
        return f"{self.input_size}, {self.hidden_size}, num_layers={self.num_layers}{more}"


def _checked_lengths(name: str, lengths: Any, n: int, steps: int) -> Tensor:
    ends = as_tensor(lengths)
    needed = f"expected a whole number from 0 to {steps} per sequence, {n} in all"
    advice = "count the steps of each sequence without its padding"
    now = current_values(ends)
    wrong = now is not None and now.size and (now.min() < 0 or now.max() > steps)
    if ends.shape != (n,) or not is_integer(ends.dtype) or wrong:
        got = f" from {now.min()} to {now.max()}" if now is not None and now.size else ""
        raise ShapeError(name, f"got lengths {spec_text(ends)}{got}", needed, advice, user_line())
    refusal = Refusal(name, "got the length {}", needed, advice)
    return ops.checked_index(ends, size=steps + 1, refusal=refusal)


class RNN(_Recurrent):
    """h = tanh(x W_ihᵀ + b_ih + h W_hhᵀ + b_hh) (Elman, 1990); or relu for tanh."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = True,
        dropout: float = 0.0,
        bidirectional: bool = False,
    ) -> None:
        cells.expect_nonlinearity("RNN", nonlinearity)
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional
        )
        self.nonlinearity = nonlinearity

    def _cell(self, projected: Tensor, hidden: Tensor, state: cells.States) -> cells.States:
        return cells.rnn(projected, hidden, state, self.nonlinearity)


class LSTM(_Recurrent):
    """Long short-term memory (Hochreiter and Schmidhuber, 1997); the state is (h, c).

    i, f, o = σ(…), g = tanh(…) of x W_ihᵀ + b_ih + h W_hhᵀ + b_hh in four parts i, f, g, o;
    c = f c + i g, h = o tanh c.

    proj_size          h has this many channels, fewer than c: h = W_hr (o tanh c), weight_hr_l0
                       (proj_size, hidden) (Sak et al., 2014)
    unit_forget_bias   the forget gates' biases are 1 at first, so that they remember
                       (Jozefowicz et al., 2015)
    """

    gates = 4
    states = 2

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = True,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        *,
        unit_forget_bias: bool = False,
    ) -> None:
        expect_integers("LSTM", 0, proj_size=proj_size)
        if proj_size and proj_size >= hidden_size:
            raise ArgumentError(
                "LSTM",
                f"got proj_size={proj_size}, hidden_size={hidden_size}",
                "expected a proj_size below the hidden_size",
                "leave it out to have hidden_size channels",
                user_line(),
            )
        self.proj_size = proj_size
        super().__init__(
            input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional
        )
        if unit_forget_bias:
            for suffix in (s for layer in range(num_layers) for s in self._suffixes(layer)):
                b_ih, b_hh = (getattr(self, n + suffix, None) for n in ("bias_ih", "bias_hh"))
                cells.set_forget_bias("LSTM", b_ih, b_hh)

    def _cell(self, projected: Tensor, hidden: Tensor, state: cells.States) -> cells.States:
        return cells.lstm(projected, hidden, state)


class GRU(_Recurrent):
    """Gated recurrent unit (Cho et al., 2014).

    r, z = σ(…) and n = tanh(x W_inᵀ + b_in + r (h W_hnᵀ + b_hn)); h = (1 - z) n + z h.
    """

    gates = 3

    def _cell(self, projected: Tensor, hidden: Tensor, state: cells.States) -> cells.States:
        return cells.gru(projected, hidden, state)
