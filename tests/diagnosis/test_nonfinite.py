"""The first value that is not finite: seeded faults whose operation, sample and time step are known
by how they were made.

Most of it is the table of faults.
"""

from typing import Any, NamedTuple

import numpy as np
import pytest

import chainrule as cr
from chainrule.diagnosis import first_nonfinite

F16, BF16, F32, F64 = cr.float16, cr.bfloat16, cr.float32, cr.float64
ALL = F16, BF16, F32, F64
WIDE = F32, F64
INF = float("inf")


class Fault(NamedTuple):
    """A function of the data whose result or gradient is not finite, and where that begins.

    compute    the loss from x (n, 4), whose elements are between 0.55 and 0.95 but for `bad`; it is
               multiplied by a trained 1 before
    bad        row and column: the value there; with time steps x is (n, T, 4)
    operation  None: nothing is to blame
    """

    name: str
    compute: Any
    bad: dict[tuple[int, ...], float]
    operation: str | None
    phase: str = "forward"
    forward: str = ""
    sample: int | None = None
    steps: tuple[int, ...] = ()
    dtypes: tuple[Any, ...] = ALL
    rows: int = 16
    time: int = 0


def large(x, factor):
    """x times a number so large that its square overflows."""
    powers = {"float16": 8.0, "bfloat16": 64.0, "float32": 64.0, "float64": 512.0}
    return x * 2.0 ** (powers[str(x.dtype)] * factor)


def over(x):
    """The logarithm of a number that overflows, where x is 10; small elsewhere."""
    return cr.where(x > 9, {2: 100.0, 4: 100.0, 8: 800.0}[x.dtype.itemsize], x)


def looped(step, reverse=False, out=lambda c, ys: cr.sum(c)):
    """A loop over the time steps of x (n, T, 4) that begins with 0."""

    def compute(x):
        xs = cr.moveaxis(x, 1, 0)
        start = cr.zeros((x.shape[0], 4), dtype=x.dtype)
        return out(*cr.scan(step, start, xs, reverse=reverse))

    return compute


def nested(x):
    """A loop over two halves of the time, each a loop over its steps."""
    xs = cr.reshape(cr.moveaxis(x, 1, 0), (2, x.shape[1] // 2, x.shape[0], 4))

    def inner(c, row):
        return c + cr.log(row), None

    def outer(c, rows):
        return cr.scan(inner, c, rows)

    return cr.sum(cr.scan(outer, cr.zeros((x.shape[0], 4), dtype=x.dtype), xs)[0])


def infinite_beyond(x, limit):
    return cr.where(x > limit, INF, x)


def root_of_squares(x):
    return cr.sqrt(cr.sum(cr.square(x), axis=-1))


MEAN = cr.mean
FAULTS = [
    # ── forward: an operation outside of its domain ──────────────────────────────────────────────
    Fault("log 0", lambda x: MEAN(cr.log(x)), {(3, 2): 0.0}, "log", sample=3),
    Fault("log of a negative", lambda x: MEAN(cr.log(x)), {(5, 0): -1.0}, "log", sample=5),
    Fault("log2 0", lambda x: MEAN(cr.log2(x)), {(0, 1): 0.0}, "log2", sample=0),
    Fault("log10 0", lambda x: MEAN(cr.log10(x)), {(15, 3): 0.0}, "log10", sample=15),
    Fault("log1p -1", lambda x: MEAN(cr.log1p(x)), {(4, 1): -1.0}, "log1p", sample=4),
    Fault("log of relu", lambda x: MEAN(cr.log(cr.relu(x))), {(7, 3): -2.0}, "log", sample=7),
    Fault(
        "log of softmax by hand",
        lambda x: -MEAN(cr.log(cr.exp(x) / cr.sum(cr.exp(x), axis=-1, keepdims=True))),
        {(9, 0): -80.0},
        "log",
        sample=9,
        dtypes=(F16,),
    ),
    Fault("sqrt of a negative", lambda x: MEAN(cr.sqrt(x)), {(2, 2): -0.5}, "sqrt", sample=2),
    Fault(
        "sqrt of a variance by hand",
        lambda x: MEAN(cr.sqrt(cr.mean(x, axis=-1) - 0.5)),
        {(6, k): 0.25 for k in range(4)},
        "sqrt",
        sample=6,
    ),
    Fault("0 / 0", lambda x: MEAN((x - 1) / (x - 1)), {(11, 3): 1.0}, "divide", sample=11),
    Fault("x / 0", lambda x: MEAN(1.0 / (x - 1)), {(1, 1): 1.0}, "divide", sample=1),
    Fault(
        "mean of none",
        lambda x: MEAN(cr.sum(x, axis=-1) / cr.sum(cr.where(x > 0, 1.0, 0.0), axis=-1)),
        {(8, k): 0.0 for k in range(4)},
        "divide",
        sample=8,
    ),
    Fault("asin 2", lambda x: MEAN(cr.asin(x / 2)), {(3, 3): 4.0}, "asin", sample=3),
    Fault("acos -2", lambda x: MEAN(cr.acos(x / 2)), {(4, 3): -4.0}, "acos", sample=4),
    Fault("acosh 0", lambda x: MEAN(cr.acosh(x + 1)), {(5, 3): -1.0}, "acosh", sample=5),
    Fault("atanh 1", lambda x: MEAN(cr.atanh(x / 2)), {(6, 3): 2.0}, "atanh", sample=6),
    Fault("fraction of a power", lambda x: MEAN(x**1.5), {(7, 0): -1.0}, "power", sample=7),
    Fault("0 to -1", lambda x: MEAN(x**-1.0), {(8, 0): 0.0}, "power", sample=8),
    # ── forward: overflow ────────────────────────────────────────────────────────────────────────
    Fault("exp", lambda x: MEAN(cr.exp(over(x))), {(10, 2): 10.0}, "exp", sample=10),
    Fault("expm1", lambda x: MEAN(cr.expm1(over(x))), {(0, 0): 10.0}, "expm1", sample=0),
    Fault("cosh", lambda x: MEAN(cr.cosh(over(x))), {(0, 3): 10.0}, "cosh", sample=0),
    Fault(
        "square",
        lambda x: MEAN(cr.square(cr.where(x > 9, large(x, 1), x))),
        {(12, 1): 10.0},
        "square",
        sample=12,
    ),
    Fault(
        "product",
        lambda x: MEAN(cr.where(x > 9, large(x, 1), x) * large(x, 1)),
        {(13, 1): 10.0},
        "multiply",
        sample=13,
    ),
    Fault(
        "quotient",
        lambda x: MEAN(
            1.0 / cr.where(x > 9, 1 / large(x, 1), x) / cr.where(x > 9, 1 / large(x, 1), x)
        ),
        {(14, 1): 10.0},
        "divide",
        sample=14,
    ),
    Fault(
        "power",
        lambda x: MEAN(cr.where(x > 9, large(x, 0.5), 1.0) ** 5.0),
        {(14, 2): 10.0},
        "power",
        sample=14,
    ),
    Fault(
        "product of a row",
        lambda x: MEAN(cr.prod(cr.where(x > 9, large(x, 0.5), x), axis=-1)),
        {(2, k): 10.0 for k in range(4)},
        "prod",
        sample=2,
    ),
    Fault(
        "sum of a row",
        lambda x: MEAN(cr.sum(cr.where(x > 1, large(x, 1.98), x), axis=-1)),
        {(3, k): 1.5 for k in range(4)},
        "sum",
        sample=3,
        dtypes=(F32,),
    ),
    Fault(
        "matrix product",
        lambda x: MEAN(cr.where(x > 9, large(x, 1), x) @ large(x, 1)[:4].T),
        {(9, 2): 10.0},
        "matmul",
        sample=9,
    ),
    Fault(
        "smaller dtype",
        lambda x: MEAN(cr.astype(x, F16)),
        {(9, 1): 1e6},
        "astype",
        sample=9,
        dtypes=WIDE,
    ),
    # ── forward: infinities that are constants ───────────────────────────────────────────────────
    Fault(
        "inf - inf",
        lambda x: MEAN(infinite_beyond(x, 5) - infinite_beyond(x, 6)),
        {(4, 0): 10.0},
        "subtract",
        sample=4,
    ),
    Fault(
        "0 · inf",
        lambda x: MEAN(cr.where(x > 5, 0.0, x) * infinite_beyond(x, 5)),
        {(5, 0): 10.0},
        "multiply",
        sample=5,
    ),
    Fault(
        "softmax of a masked row",
        lambda x: MEAN(
            cr.exp(
                cr.where(x > 5, -INF, x) - cr.max(cr.where(x > 5, -INF, x), axis=-1, keepdims=True)
            )
        ),
        {(6, k): 10.0 for k in range(4)},
        "subtract",
        sample=6,
    ),
    Fault(
        "exp - exp",
        lambda x: MEAN(cr.exp(over(x)) - cr.exp(over(x) + 1.0)),
        {(7, 1): 10.0},
        "exp",
        sample=7,
    ),
    # ── backward ─────────────────────────────────────────────────────────────────────────────────
    Fault(
        "root at 0",
        lambda x: MEAN(cr.sqrt(cr.square(x))),
        {(3, 1): 0.0},
        "divide",
        "backward",
        "sqrt",
        3,
    ),
    Fault(
        "norm at 0",
        lambda x: MEAN(root_of_squares(x)),
        {(4, k): 0.0 for k in range(4)},
        "divide",
        "backward",
        "sqrt",
        4,
    ),
    Fault(
        "distance of equals",
        lambda x: MEAN(root_of_squares(x - x[::-1])),
        {(0, k): 1.0 for k in range(4)} | {(15, k): 1.0 for k in range(4)},
        "divide",
        "backward",
        "sqrt",
        None,
    ),
    Fault(
        "standard deviation of equals",
        lambda x: MEAN(
            cr.sqrt(cr.mean(cr.square(x - cr.mean(x, axis=-1, keepdims=True)), axis=-1))
        ),
        {(5, k): 1.0 for k in range(4)},
        "divide",
        "backward",
        "sqrt",
        5,
    ),
    Fault(
        "power 0.5 at 0",
        lambda x: MEAN(cr.square(x) ** 0.75),
        {(6, 2): 0.0},
        "power",
        "backward",
        "power",
        6,
    ),
    Fault(
        "asin at 1", lambda x: MEAN(cr.asin(x / 2)), {(7, 2): 2.0}, "divide", "backward", "asin", 7
    ),
    Fault(
        "acos at -1",
        lambda x: MEAN(cr.acos(x / 2)),
        {(8, 2): -2.0},
        "divide",
        "backward",
        "acos",
        8,
    ),
    Fault(
        "acosh at 1",
        lambda x: MEAN(cr.acosh(x + 1)),
        {(9, 2): 0.0},
        "divide",
        "backward",
        "acosh",
        9,
    ),
    Fault(
        "sum of exp, masked",
        lambda x: MEAN(cr.where(cr.max(x, axis=-1) > 9, 0.0, cr.sum(cr.exp(50 * x), axis=-1))),
        {(2, 1): 20.0},
        "exp",
        sample=2,
        dtypes=(BF16, F32, F64),
    ),
    Fault(
        "masked quotient of sums",
        lambda x: MEAN(
            cr.where(
                cr.sum(x, axis=-1) == 0, 0.0, cr.sum(x / cr.sum(x, axis=-1, keepdims=True), axis=-1)
            )
        ),
        {(5, k): 0.0 for k in range(4)},
        "divide",
        sample=5,
    ),
    # ── harmless ─────────────────────────────────────────────────────────────────────────────────
    Fault("masked log", lambda x: MEAN(cr.where(x > 0, cr.log(x), 0.0)), {(3, 2): 0.0}, None),
    Fault("masked root", lambda x: MEAN(cr.where(x > 0, cr.sqrt(x), 0.0)), {(3, 2): -1.0}, None),
    Fault(
        "masked quotient", lambda x: MEAN(cr.where(x == 1, 1.0, 1 / (x - 1))), {(3, 2): 1.0}, None
    ),
    Fault("tanh of infinity", lambda x: MEAN(cr.tanh(infinite_beyond(x, 5))), {(1, 1): 10.0}, None),
    Fault(
        "masked attention",
        lambda x: MEAN(cr.softmax(cr.where(x > 5, -INF, x), axis=-1)),
        {(1, 1): 10.0},
        None,
    ),
    Fault(
        "masked log, then another",
        lambda x: MEAN(cr.where(x > 0, cr.log(x), 0.0) + cr.log(x + 2)),
        {(3, 2): 0.0, (9, 1): -2.0},
        "log",
        sample=9,
    ),
    Fault(
        "masked in a loop",
        looped(lambda c, x: (c + cr.where(x > 0, cr.log(x), 0.0), None)),
        {(3, 2, 1): 0.0},
        None,
        time=6,
    ),
    # ── in loops: x is (n, T, 4) ─────────────────────────────────────────────────────────────────
    Fault(
        "loop, log 0",
        looped(lambda c, x: (c + cr.log(x), None)),
        {(3, 4, 2): 0.0},
        "log",
        sample=3,
        steps=(4,),
        time=6,
    ),
    Fault(
        "loop, first step",
        looped(lambda c, x: (0.5 * c + cr.log(x), None)),
        {(3, 0, 2): 0.0},
        "log",
        sample=3,
        steps=(0,),
        time=6,
    ),
    Fault(
        "loop, last step",
        looped(lambda c, x: (c + cr.sqrt(x), None)),
        {(15, 5, 2): -1.0},
        "sqrt",
        sample=15,
        steps=(5,),
        time=6,
    ),
    Fault(
        "loop in reverse",
        looped(lambda c, x: (c + cr.log(x), None), reverse=True),
        {(4, 2, 1): 0.0},
        "log",
        sample=4,
        steps=(2,),
        time=6,
    ),
    Fault(
        "loop, two steps",
        looped(lambda c, x: (c + cr.log(x), None)),
        {(3, 4, 2): 0.0, (5, 2, 1): 0.0},
        "log",
        sample=5,
        steps=(2,),
        time=6,
    ),
    Fault(
        "loop, two steps in reverse",
        looped(lambda c, x: (c + cr.log(x), None), reverse=True),
        {(3, 4, 2): 0.0, (5, 2, 2): 0.0},
        "log",
        sample=3,
        steps=(4,),
        time=6,
    ),
    Fault(
        "loop, stacked",
        looped(lambda c, x: (c, 1.0 / x), out=lambda c, ys: MEAN(ys)),
        {(6, 3, 0): 0.0},
        "divide",
        sample=6,
        steps=(3,),
        time=6,
    ),
    Fault(
        "loop, state that overflows",
        looped(lambda c, x: (cr.where(x > 9, large(x, 1), x) * (1 + c), None)),
        {(7, 1, 0): 10.0, (7, 2, 0): 10.0},
        "multiply",
        sample=7,
        steps=(2,),
        time=6,
    ),
    Fault(
        "loop, backward",
        looped(lambda c, x: (c + cr.sqrt(cr.square(x)), None)),
        {(8, 1, 3): 0.0},
        "divide",
        "backward",
        "sqrt",
        8,
        (1,),
        time=6,
    ),
    Fault(
        "loop, backward, last",
        looped(lambda c, x: (0.5 * c + cr.sqrt(cr.square(x)), None)),
        {(8, 5, 3): 0.0},
        "divide",
        "backward",
        "sqrt",
        8,
        (5,),
        time=6,
    ),
    Fault(
        "loop in reverse, backward",
        looped(lambda c, x: (c + cr.sqrt(cr.square(x)), None), reverse=True),
        {(2, 4, 3): 0.0},
        "divide",
        "backward",
        "sqrt",
        2,
        (4,),
        time=6,
    ),
    Fault(
        "loop, norm of a state",
        looped(lambda c, x: (c * 0.5 + x, root_of_squares(c * 0 + x)), out=lambda c, ys: MEAN(ys)),
        {(9, 3, k): 0.0 for k in range(4)},
        "divide",
        "backward",
        "sqrt",
        9,
        (3,),
        time=6,
    ),
    Fault("nested loops", nested, {(1, 4, 2): 0.0}, "log", sample=1, steps=(1, 1), time=6),
    Fault(
        "checkpoint",
        lambda x: MEAN(cr.checkpoint(lambda h: cr.log(h))(x)),
        {(12, 2): 0.0},
        "log",
        sample=12,
    ),
    Fault(
        "loop with checkpoints",
        lambda x: cr.sum(
            cr.scan(
                lambda c, r: (c + cr.log(r), None),
                cr.zeros((x.shape[0], 4), dtype=x.dtype),
                cr.moveaxis(x, 1, 0),
                checkpoint_every=3,
            )[0]
        ),
        {(1, 4, 2): 0.0},
        "log",
        sample=1,
        steps=(1, 1),
        time=6,
    ),
    # ── a bad sample among many ──────────────────────────────────────────────────────────────────
    Fault("one of 512", lambda x: MEAN(cr.log(x)), {(457, 2): 0.0}, "log", sample=457, rows=512),
    Fault(
        "one of 512, backward",
        lambda x: MEAN(root_of_squares(x)),
        {(311, k): 0.0 for k in range(4)},
        "divide",
        "backward",
        "sqrt",
        311,
        rows=512,
    ),
    Fault(
        "one of 512, NaN",
        lambda x: MEAN(cr.tanh(x)),
        {(99, 3): float("nan")},
        "data",
        "data",
        sample=99,
        rows=512,
    ),
    Fault(
        "one of 512, infinite",
        lambda x: MEAN(x),
        {(98, 3): INF},
        "data",
        "data",
        sample=98,
        rows=512,
    ),
    Fault(
        "NaN in a loop",
        looped(lambda c, x: (c * 0.5 + x, None)),
        {(3, 4, 1): float("nan")},
        "data",
        "data",
        sample=3,
        time=6,
    ),
]
CASES = [(fault, dtype) for fault in FAULTS for dtype in fault.dtypes]


def arranged(fault: Fault, dtype: Any):
    """The fault as a loss of the data, its trained factor, and the data."""
    shape = (fault.rows, fault.time, 4) if fault.time else (fault.rows, 4)
    values = np.random.default_rng(len(fault.name)).uniform(0.55, 0.95, shape)
    for place, value in fault.bad.items():
        values[place] = value
    x = cr.astype(cr.Tensor(values), dtype)
    w = cr.ones(4, dtype=dtype)
    w.requires_grad = True
    return lambda x: fault.compute(x * w), w, x


@pytest.mark.parametrize(("fault", "dtype"), CASES, ids=[f"{f.name}-{d}" for f, d in CASES])
def test_a_seeded_fault_is_located(fault, dtype):
    loss, w, x = arranged(fault, dtype)

    def step(x):
        value = loss(x)
        value.backward()
        return value

    for run in (step, cr.compile(step)):
        value = run(x)
        finite = np.isfinite(float(value)) and np.isfinite(w.grad.numpy().astype("f8")).all()
        assert finite == (fault.operation is None), (float(value), w.grad)
        for function in (run, loss):
            report = first_nonfinite(function, x)
            if fault.operation is None:
                assert report is None
                continue
            assert report is not None
            got = report.operation, report.phase, report.forward, report.sample, report.steps
            assert got == (fault.operation, fault.phase, fault.forward, fault.sample, fault.steps)
