"""Recurrent cells: one step of a recurrent network. The layers (`recurrent`) loop over them."""

from __future__ import annotations

from typing import Any

from ..broadcasting import cast
from ..convert import promote
from ..errors import ArgumentError, ShapeError, user_line
from ..functions import creation, elementwise, shaping
from ..graph import spec_text
from ..tensor import Tensor, as_tensor, no_grad
from . import functional
from .arguments import expect_integers
from .linear import uniform_parameter
from .module import Module

States = tuple[Tensor, ...]  # (h,) or (h, c)


# ── formulas ─────────────────────────────────────────────────────────────────────────────────────
# The new state from x W_ihᵀ + b_ih, h W_hhᵀ + b_hh (gates · hidden on the last axis) and the old
# state.


def rnn(projected: Tensor, hidden: Tensor, state: States, nonlinearity: str) -> States:
    """tanh(x W_ihᵀ + b_ih + h W_hhᵀ + b_hh), or max(0, …)."""
    bend = elementwise.tanh if nonlinearity == "tanh" else elementwise.relu
    return (bend(projected + hidden),)


def lstm(projected: Tensor, hidden: Tensor, state: States) -> States:
    """c = σ(f) c + σ(i) tanh g, h = σ(o) tanh c, of a sum in four parts i, f, g, o."""
    i, f, g, o = shaping.split(projected + hidden, 4, axis=-1)
    c = elementwise.sigmoid(f) * state[1] + elementwise.sigmoid(i) * elementwise.tanh(g)
    return elementwise.sigmoid(o) * elementwise.tanh(c), c


def gru(projected: Tensor, hidden: Tensor, state: States) -> States:
    """h = (1 - z) n + z h, with r, z = σ(…) and n = tanh(x W_inᵀ + b_in + r (h W_hnᵀ + b_hn))."""
    xr, xz, xn = shaping.split(projected, 3, axis=-1)
    hr, hz, hn = shaping.split(hidden, 3, axis=-1)
    r, z = elementwise.sigmoid(xr + hr), elementwise.sigmoid(xz + hz)
    n = elementwise.tanh(xn + r * hn)
    return ((1 - z) * n + z * state[0],)


def expect_nonlinearity(name: str, nonlinearity: str) -> None:
    """Raise unless it is one that an RNN has."""
    if nonlinearity not in ("tanh", "relu"):
        raise ArgumentError(
            name,
            f"got nonlinearity {nonlinearity!r}",
            "expected tanh or relu",
            'nonlinearity="tanh" is the default',
            user_line(),
        )


def set_forget_bias(name: str, bias_ih: Tensor | None, bias_hh: Tensor | None) -> None:
    """Set the forget gate's bias to 1: 1 in bias_ih, 0 in bias_hh."""
    if bias_ih is None or bias_hh is None:
        raise ArgumentError(
            name,
            "got unit_forget_bias=True, bias=False",
            "expected biases, one of which is the forget gate's",
            "bias=True, or leave unit_forget_bias out",
            user_line(),
        )
    hidden = bias_ih.shape[0] // 4
    with no_grad():
        bias_ih[hidden : 2 * hidden] = 1.0
        bias_hh[hidden : 2 * hidden] = 0.0


def expect_states(name: str, state: Any, count: int) -> States:
    """The state as `count` tensors; an error if it has another number."""
    states = tuple(state) if isinstance(state, (tuple, list)) else (state,)
    if len(states) != count:
        raise ArgumentError(
            name,
            f"got a state of {len(states)} tensors"
            if len(states) > 1
            else "got one tensor as the state",
            f"expected {'one tensor h' if count == 1 else 'the tuple (h, c)'}",
            "pass the state as the layer returned it, or leave it out for zeros",
            user_line(),
        )
    return tuple(as_tensor(s) for s in states)


# ── cells ────────────────────────────────────────────────────────────────────────────────────────


class _Cell(Module):
    """Base of the cells.

    forward(x, state=None) -> the new state

    x        (N, input_size) or (input_size,)
    state    (N, hidden_size) or (hidden_size,); zeros by default

    weight_ih (gates · hidden, input), weight_hh (gates · hidden, hidden), bias_ih and bias_hh
    (gates · hidden,); U(-1/√hidden, 1/√hidden) at first.
    """

    gates = 1
    states = 1  # the number of tensors in the state

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True) -> None:
        name = type(self).__name__
        expect_integers(name, 1, input_size=input_size, hidden_size=hidden_size)
        self.input_size, self.hidden_size, self.bias = input_size, hidden_size, bias
        rows = self.gates * hidden_size
        self.weight_ih = uniform_parameter((rows, input_size), hidden_size)
        self.weight_hh = uniform_parameter((rows, hidden_size), hidden_size)
        self.bias_ih = uniform_parameter((rows,), hidden_size) if bias else None
        self.bias_hh = uniform_parameter((rows,), hidden_size) if bias else None

    def _new_state(self, projected: Tensor, hidden: Tensor, state: States) -> States:
        """The formula of the cell."""
        raise NotImplementedError

    def forward(self, x: Any, state: Any = None) -> Any:
        x = as_tensor(x)
        if x.ndim not in (1, 2) or x.shape[-1] != self.input_size:
            raise ShapeError(
                type(self).__name__,
                f"got {spec_text(x)}",
                f"expected (N, {self.input_size}) or ({self.input_size},)",
                f"set input_size to {x.shape[-1] if x.shape else 1}, or pass one step x[:, t]",
                user_line(),
            )
        x = cast(x, promote(x.dtype, self.weight_hh.dtype))
        shape = (*x.shape[:-1], self.hidden_size)
        if state is None:
            states: States = (creation.zeros(shape, dtype=x.dtype),) * self.states
        else:
            states = expect_states(type(self).__name__, state, self.states)
            states = tuple(cast(s, x.dtype) for s in states)
        if any(s.shape != shape for s in states):
            raise ShapeError(
                type(self).__name__,
                f"got a state {', '.join(spec_text(s) for s in states)}",
                f"expected {shape}",
                "leave it out for zeros",
                user_line(),
            )
        projected = functional.linear(x, self.weight_ih, self.bias_ih)
        hidden = functional.linear(states[0], self.weight_hh, self.bias_hh)
        new = self._new_state(projected, hidden, states)
        return new if self.states > 1 else new[0]

    def extra_repr(self) -> str:
        bias = "" if self.bias else ", bias=False"
        return f"{self.input_size}, {self.hidden_size}{bias}"


class RNNCell(_Cell):
    """h' = tanh(x W_ihᵀ + b_ih + h W_hhᵀ + b_hh) (Elman, 1990); or relu for tanh.

    (N, input_size), (N, hidden_size) -> (N, hidden_size); also without N.
    """

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, nonlinearity: str = "tanh"
    ) -> None:
        expect_nonlinearity("RNNCell", nonlinearity)
        super().__init__(input_size, hidden_size, bias)
        self.nonlinearity = nonlinearity

    def _new_state(self, projected: Tensor, hidden: Tensor, state: States) -> States:
        return rnn(projected, hidden, state, self.nonlinearity)


class LSTMCell(_Cell):
    """A step of long short-term memory (Hochreiter and Schmidhuber, 1997): the formula of `LSTM`.

    (N, input_size), ((N, hidden_size), (N, hidden_size)) -> (h', c'); also without N.

    unit_forget_bias   the forget gate's bias is 1 at first, so that the cell remembers
                       (Jozefowicz et al., 2015)
    """

    gates = 4
    states = 2

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        *,
        unit_forget_bias: bool = False,
    ) -> None:
        super().__init__(input_size, hidden_size, bias)
        if unit_forget_bias:
            set_forget_bias("LSTMCell", self.bias_ih, self.bias_hh)

    def _new_state(self, projected: Tensor, hidden: Tensor, state: States) -> States:
        return lstm(projected, hidden, state)


class GRUCell(_Cell):
    """A step of a gated recurrent unit (Cho et al., 2014): the formula of `GRU`.

    (N, input_size), (N, hidden_size) -> (N, hidden_size); also without N.
    """

    gates = 3

    def _new_state(self, projected: Tensor, hidden: Tensor, state: States) -> States:
        return gru(projected, hidden, state)
