"""The sizes of a convolution: which elements of the input meet which places of the kernel.

Along each size output p meets element stride · p + dilation · k - padding of the input at place k
of the kernel. With an input dilation these are elements of the input with zeros between them; then
outputs that meet the same places are a phase, and no zero is multiplied.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import cached_property

from .... import ops
from ...program import Kernel
from ..processor import Target
from .blocking import up

SIZES = 3  # sizes of an image are filled up to this number, with 1 in front


@dataclass(frozen=True)
class Phase:
    """Along one size: outputs that meet the same places of the kernel.

    first, step, count         the outputs first, first + step, …, `count` of them
    place, next_place, places  of the kernel: the first, from one to the next, how many
    begin, advance             the element of the input that the first output meets at the first
                               place; elements from one place to the next
    """

    first: int
    step: int
    count: int
    place: int
    next_place: int
    places: int
    begin: int
    advance: int


@dataclass(frozen=True)
class Size:
    """One size of the images: of the input, the output, the kernel; and how these meet."""

    input: int = 1
    output: int = 1
    kernel: int = 1
    stride: int = 1
    low: int = 0
    input_dilation: int = 1
    kernel_dilation: int = 1

    @cached_property
    def phases(self) -> tuple[Phase, ...]:
        return tuple(self._phase(first) for first in range(min(self.input_dilation, self.output)))

    def _phase(self, first: int) -> Phase:
        step = self.input_dilation
        count = up(self.output - first, step)
        at = [first * self.stride + k * self.kernel_dilation - self.low for k in range(self.kernel)]
        places = [k for k, place in enumerate(at) if place % step == 0]
        if not places:
            return Phase(first, step, count, 0, 1, 0, 0, 0)
        apart = places[1] - places[0] if len(places) > 1 else 1
        advance = apart * self.kernel_dilation // step
        return Phase(
            first, step, count, places[0], apart, len(places), at[places[0]] // step, advance
        )

    @property
    def begin(self) -> int:
        """The first element of the input that is met, or zero of the padding."""
        return min((p.begin for p in self.phases if p.places), default=0)

    def extent(self, outputs: int) -> int:
        """How many elements the first `outputs` outputs of each phase meet, from `begin` on."""
        last = max(
            (p.begin + (p.places - 1) * p.advance for p in self.phases if p.places), default=0
        )
        return self.stride * (outputs - 1) + last - self.begin + 1

    @property
    def turns(self) -> int:
        """The most outputs of a phase."""
        return self.phases[0].count


@dataclass(frozen=True)
class Slide:
    """A convolution, or the gradient of its kernel, by its sizes.

    channels, outputs   of all groups
    """

    sizes: tuple[Size, ...]
    batch: int
    channels: int
    outputs: int
    groups: int
    dtype: str

    @property
    def itemsize(self) -> int:
        return {"float32": 4, "float64": 8}[self.dtype]

    @property
    def inner(self) -> int:
        """Channels that an output is made of."""
        return self.channels // self.groups

    @property
    def wide(self) -> int:
        """Outputs of a group."""
        return self.outputs // self.groups

    def by_lanes(self, target: Target) -> bool:
        """Whether vectors lie along the outputs of many groups."""
        lanes = target.lanes(8 * self.itemsize)
        return self.groups > 1 and 4 * self.wide < 3 * lanes and self.inner <= lanes

    @property
    def kernel(self) -> int:
        """Places of the kernel."""
        return math.prod(s.kernel for s in self.sizes)

    @property
    def positions(self) -> int:
        """Outputs of an image, per channel."""
        return math.prod(s.output for s in self.sizes)

    @property
    def phases(self) -> list[tuple[Phase, ...]]:
        """One phase of each size."""
        return list(itertools.product(*(s.phases for s in self.sizes)))

    @property
    def work(self) -> float:
        """Multiply-adds."""
        met = (sum(p.count * p.places for p in s.phases) for s in self.sizes)
        return float(self.batch * math.prod(met) * self.inner * self.outputs)

    @property
    def banded(self) -> int:
        """The size along which an image is cut: the first that has several outputs."""
        return next((k for k, s in enumerate(self.sizes) if s.turns > 1), SIZES - 1)


def slide_of(kernel: Kernel) -> Slide:
    """The sizes of a kernel of the program."""
    x, other = kernel.node.inputs
    params = kernel.params
    if kernel.op is ops.convolution:
        shape, out, outputs = other.shape[:-2], kernel.node.shape[1:-1], other.shape[-1]
    else:
        shape, out, outputs = params["kernel"], other.shape[1:-1], other.shape[-1]
    sizes = [
        Size(size, o, k, stride, low, spread, gap)
        for size, o, k, stride, (low, _), spread, gap in zip(
            x.shape[1:-1],
            out,
            shape,
            params["stride"],
            params["padding"],
            params["input_dilation"],
            params["kernel_dilation"],
            strict=True,
        )
    ]
    filled = (*[Size()] * (SIZES - len(sizes)), *sizes)
    return Slide(filled, x.shape[0], x.shape[-1], outputs, params["groups"], x.dtype.name)
