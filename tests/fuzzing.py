"""Random programs: eager, compiled by the reference backend and by the native one, compared.

A program is made from a seed: parameters, buffers, a table, and one or two steps that share them.
A step is a chain of statements (arithmetic, views, in-place assignment, lookups with indices of
several dtypes, derivatives inside) whose loss is pulled back and whose parameters then move. The
steps are called in a random order, some of them by two threads at once.

Run many of them: `python tests/fuzzing.py --count 20000 --seed 0`. A program that differs is
printed with its seed; `--seed SEED --count 1 --show` prints its statements.
"""

import argparse
import contextlib
import os
import random
import sys
import threading
import time
import warnings

import numpy as np

import chainrule as cr
from chainrule import optim

BOUND = 1e-8  # of float64 results, relative to the largest value of a tensor, and absolute
N = 4  # every tensor on the way is (N, N)
ROWS = 5  # of the table
INDICES = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")


class Program:
    """What a seed stands for. `start` makes its tensors; statements get them as `s`."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.texts = []
        self.threaded = self.random.random() < 0.15
        self.optimizer = self.random.choice([None, None, "SGD", "Adam", "RMSprop"])
        self.steps = [self.step() for _ in range(self.random.choice([1, 1, 2]))]
        self.calls = [
            (self.random.randrange(len(self.steps)), self.random.randrange(2))
            for _ in range(self.random.choice([2, 3, 4]))
        ]
        numbers = np.random.default_rng(seed)
        self.inputs = [numbers.normal(size=(N, N)) for _ in range(2)]
        self.values = {
            "w": numbers.normal(size=(N, N)),
            "v": numbers.normal(size=(N,)),
            "table": numbers.normal(size=(ROWS, N)),
            "buffer": numbers.normal(size=(N, N)),
        }

    def pick(self, *choices):
        return self.random.choice(choices)

    # ── statements: each takes (state, x) and gives another (N, N) ───────────────────────────────

    def statement(self, depth=0):
        kinds = [
            self.unary,
            self.unary,
            self.binary,
            self.product,
            self.part,
            self.moved,
            self.written,
            self.lookup,
            self.reduced,
            self.chosen,
            self.ones,
        ]
        if depth == 0:
            kinds += [self.kept, self.derivative, self.transformed, self.loop]
        return self.random.choice(kinds)(depth)

    def chain(self, count, depth):
        parts = [self.statement(depth) for _ in range(count)]

        def run(s, x):
            for part in parts:
                x = part(s, x)
            return x

        return run

    def said(self, text):
        self.texts.append(text)

    def unary(self, depth):
        name = self.pick("sin", "tanh", "abs", "square", "sigmoid", "negative", "cos")
        self.said(name)
        return lambda s, x: getattr(cr, name)(x)

    def operand(self):
        return self.pick(
            lambda s, x: s["w"],
            lambda s, x: s["v"],
            lambda s, x: s["buffer"],
            lambda s, x: 0.5,
            lambda s, x: x.T,
            lambda s, x: s["table"][1:],
            lambda s, x: x[::-1],
        )

    def binary(self, depth):
        name, other = self.pick("add", "multiply", "subtract", "maximum", "minimum"), self.operand()
        self.said(name)
        return lambda s, x: cr.tanh(getattr(cr, name)(x, other(s, x)))

    def product(self, depth):
        transposed = self.pick(True, False)
        self.said(f"x @ w{'.T' * transposed}")
        return lambda s, x: cr.sin(x @ (s["w"].T if transposed else s["w"]))

    def key(self):
        """A part of an axis, and how many it has."""
        start, step = self.random.randrange(N), self.pick(1, 2, -1, -2)
        cut = slice(start, None, step)
        return cut, len(range(*cut.indices(N)))

    def part(self, depth):
        (rows, n), (columns, m) = self.key(), self.key()
        self.said(f"pad of x[{rows}, {columns}]")
        low, axis = self.random.randrange(N - n + 1), self.pick(0, 1)
        if axis:
            return lambda s, x: cr.pad(x[:, rows], ((0, 0), (low, N - n - low)))
        high = N - m
        return lambda s, x: cr.pad(x[rows, columns], ((low, N - n - low), (high, 0)))

    def moved(self, depth):
        kind = self.pick("T", "flip", "roll", "reshape", "broadcast", "concat", "stack")
        self.said(kind)
        return {
            "T": lambda s, x: x.T,
            "flip": lambda s, x: cr.flip(x, axis=1),
            "roll": lambda s, x: cr.roll(x, 1, axis=0),
            "reshape": lambda s, x: cr.reshape(cr.reshape(x, (2, 2 * N)).T, (N, N)),
            "broadcast": lambda s, x: cr.broadcast_to(x[1:2] * 0.5, (N, N)),
            "concat": lambda s, x: cr.concat([x[2:], x[:2]], axis=0),
            "stack": lambda s, x: cr.stack([x[:, k] for k in (1, 0, 3, 3)], axis=1),
        }[kind]

    def written(self, depth):
        (rows, n), (columns, m) = self.key(), self.key()
        kind = self.pick("number", "part", "rows", "add", "mask")
        dtype, index = self.pick(*INDICES), [self.random.randrange(N) for _ in range(2)]
        self.said(f"x[{rows}, {columns}] = {kind} {dtype}")

        def run(s, x):
            y = x * 1.0
            if kind == "number":
                y[rows, columns] = 0.25
            elif kind == "part":
                y[rows, columns] = x[:n, :m] * 0.5
            elif kind == "rows":
                y[cr.Tensor(np.array([index[0]]).astype(dtype))] = x[:1] * 0.5
            elif kind == "add":
                y += x.T
                y[rows] *= 0.5
                y = cr.tanh(y)
            else:
                y = cr.where(y > 0.2, y, s["v"])
            return y

        return run

    def lookup(self, depth):
        dtype, way = self.pick(*INDICES), self.pick("take", "index", "columns")
        limit = N if way == "columns" else ROWS
        index = np.array([self.random.randrange(limit) for _ in range(N)])
        if self.pick(True, False) and dtype.startswith("int"):
            index[0] -= limit
        index = index.astype(dtype)
        self.said(f"{way} {index.tolist()} {dtype}")
        return {
            "take": lambda s, x: x + cr.take(s["table"], cr.Tensor(index), axis=0),
            "index": lambda s, x: x * s["table"][cr.Tensor(index)],
            "columns": lambda s, x: cr.take(x, cr.Tensor(index), axis=1),
        }[way]

    def reduced(self, depth):
        name, axis = self.pick("sum", "mean", "max", "min"), self.pick(0, 1, None)
        self.said(f"{name} over {axis}")
        return lambda s, x: cr.tanh(x - 0.3 * getattr(cr, name)(x, axis=axis, keepdims=True))

    def chosen(self, depth):
        kind, bound = self.pick("where", "clip", "sort"), self.pick(0.1, 0.7)
        self.said(kind)
        return {
            "where": lambda s, x: cr.where(x > bound, x * 0.5, s["w"]),
            "clip": lambda s, x: cr.clip(x, -bound, bound),
            "sort": lambda s, x: cr.sort(x, axis=1),
        }[kind]

    def ones(self, depth):
        """Through arrays that have axes of size 1, some of them in front."""
        part, shape = self.pick(
            (lambda x: cr.reshape(x, (1, N, N)), (1, N, N)),
            (lambda x: x[:1], (1, N)),
            (lambda x: cr.reshape(x[:, :1], (1, N, 1)), (1, N, 1)),
            (lambda x: x[0], (N,)),
            (lambda x: cr.sum(x), ()),
        )
        texts, parts = [str(shape)], []
        for _ in range(self.random.randrange(1, 6)):
            text, run, shape = self.resized(shape)
            texts.append(f"{text} {shape}")
            parts.append(run)
        self.said(" -> ".join(texts))
        large = [n for n in shape if n == N]
        back = (
            (N, N) if len(large) == 2 else self.pick((1, *large), (*large, 1)) if large else (1, 1)
        )

        def run(s, x):
            y = part(x)
            for change in parts:
                y = change(s, y)
            return cr.tanh(x + cr.sin(cr.reshape(y, back)))

        return run

    def resized(self, shape):
        """What gives an array of axes of 1 and at most two of N: its text, itself, the shape."""
        axis = self.random.randrange(max(1, len(shape)))
        kind = self.pick("axis", "reshape", "permute", "reduce", "first", "product", "with", "-")
        name, keep = self.pick("sum", "mean", "max"), self.pick(True, False)
        other, size = self.pick(("w", (N, N)), ("v", (N,)), ("w1", (1, N)), ("wn", (N, 1)))
        together = np.broadcast_shapes(shape, size)
        if kind == "axis":
            new = (*shape[:axis], 1, *shape[axis:])
        elif kind == "reshape":
            new = tuple(self.pick([n for n in shape if n == N], [1, *shape], [*shape, 1]))
        elif kind == "permute" and shape:
            order = tuple(self.random.sample(range(len(shape)), len(shape)))
            run = lambda s, x: cr.permute_dims(x, order)  # noqa: E731
            return f"permute {order}", run, tuple(shape[a] for a in order)
        elif kind == "reduce" and shape:
            run = lambda s, x: getattr(cr, name)(x, axis=axis, keepdims=keep)  # noqa: E731
            left = (*shape[:axis], *(1,) * keep, *shape[axis + 1 :])
            return f"{name} over {axis}", run, left
        elif kind == "first" and shape:
            key = (*(slice(None),) * axis, slice(1))
            return f"first of {axis}", lambda s, x: x[key], (*shape[:axis], 1, *shape[axis + 1 :])
        elif kind == "product" and len(shape) > 1 and shape[-1] == N:
            return "@ w", lambda s, x: cr.sin(x @ s["w"]), shape
        elif kind == "with" and together.count(N) <= 2:

            def run(s, x):
                y = {"w1": s["w"][:1], "wn": s["w"][:, :1]}.get(other, s["w"])
                return cr.sin(x) * (s["v"] if other == "v" else y)

            return f"* {other}", run, together
        else:
            return "-", lambda s, x: -x, shape
        return kind, lambda s, x: cr.reshape(x, new), new

    def kept(self, depth):
        """Assign to a buffer from outside."""
        (rows, _), add = self.key(), self.pick(True, False)
        self.said(f"buffer[{rows}] {'+=' if add else '='} x")

        def run(s, x):
            with cr.no_grad():
                if add:
                    s["buffer"] += 0.1 * cr.tanh(x)
                else:
                    s["buffer"][rows] = 0.5 * cr.tanh(x.detach()[rows])
            return cr.tanh(x + s["buffer"])

        return run

    def derivative(self, depth):
        kind = self.pick("grad", "jvp", "hvp", "vjp", "hessian", "value_and_grad")
        self.said(f"{kind} of (")
        inner = self.chain(1, depth + 1)
        self.said(")")

        def run(s, x):
            def f(t):
                return (cr.sin(inner(s, t)) * s["w"]).sum()

            if kind == "grad":
                out = cr.grad(f)(x)
            elif kind == "value_and_grad":
                value, slope = cr.value_and_grad(f)(x)
                out = slope + value
            elif kind == "jvp":
                out = x + cr.jvp(f, x, s["w"])[1]
            elif kind == "hvp":
                out = cr.hvp(f, x, s["w"])
            elif kind == "vjp":
                out = cr.vjp(lambda t: inner(s, t), x)[1](x)[0]
            else:
                out = cr.hessian(lambda t: f(cr.broadcast_to(t, (N, N))))(x[0])
            return cr.tanh(out)

        return run

    def transformed(self, depth):
        kind = self.pick("compile", "checkpoint", "custom_vjp", "compile")
        self.said(f"{kind} of (")
        inner = self.chain(1, depth + 1)
        self.said(")")

        def run(s, x):
            if kind == "custom_vjp":
                frozen = {k: t.detach() for k, t in s.items()}
                f = cr.custom_vjp(lambda t: inner(frozen, t), lambda g, y, t: (g * 0.5,))
            else:
                f = getattr(cr, kind)(lambda t: inner(s, t))
            return f(x)

        return run

    def loop(self, depth):
        self.said("scan of (")
        inner, reverse = self.chain(1, depth + 1), self.pick(True, False)
        self.said(")")

        def run(s, x):
            def body(carry, row):
                new = cr.tanh(inner(s, carry) + row)
                return new, new[0]

            last, rows = cr.scan(body, x, x, reverse=reverse)
            return cr.tanh(last + rows)

        return run

    # ── steps ────────────────────────────────────────────────────────────────────────────────────

    def step(self):
        if self.threaded:
            return self.commuting()
        self.said("step (")
        body, adds = self.chain(self.pick(1, 1, 2, 2, 3), 0), self.pick(True, False, False)
        twice = self.pick(True, False, False)
        self.said(f") accumulate={adds}")

        def run(s, x, optimizer):
            y = body(s, x)
            loss = (y * y).mean() + 0.01 * (s["table"] ** 2).mean()
            loss.backward(accumulate=adds)
            if twice:
                (s["v"] * y.detach()).sum().backward(accumulate=True)
            move(s, optimizer)
            return loss, y

        return run

    def commuting(self):
        """A step whose effects are sums of whole numbers, so that the order does not matter."""
        index = np.array([self.random.randrange(ROWS) for _ in range(N)])
        index, k = index.astype(self.pick(*INDICES)), self.random.randrange(1, 5)
        self.said(f"commuting {index.tolist()} {k}")

        def run(s, x, optimizer):
            ones = cr.ones((N, N), dtype=cr.float64)
            read = cr.take(s["table"], cr.Tensor(index), axis=0)
            loss = (read * k).sum() + (s["w"] * ones).sum() * k + s["v"].sum()
            loss.backward()
            with cr.no_grad():
                for name in ("w", "v", "table"):
                    s[name] -= as_dense(s[name].grad)
                s["buffer"] += float(k)
            return loss * 0.0, ones

        return run

    def start(self):
        trained = ("w", "v", "table")
        s = {
            k: cr.Tensor(np.round(8 * v) if self.threaded else v, requires_grad=k in trained)
            for k, v in self.values.items()
        }
        if self.optimizer is None or self.threaded:
            return s, None
        # A small eps would make a rounding difference of a gradient near 0 as large as a step.
        settings = {} if self.optimizer == "SGD" else {"eps": 1e-2}
        return s, getattr(optim, self.optimizer)([s[k] for k in trained], lr=0.05, **settings)

    def run(self, compiled):
        """All results and the state at the end."""
        s, optimizer = self.start()
        steps = []
        for step in self.steps:

            def call(x, step=step):
                return step(s, x, optimizer)

            steps.append(cr.compile(call) if compiled else call)
        found = []
        if self.threaded and compiled:
            together(steps, self.inputs[0], len(self.calls))
        elif self.threaded:
            for step in steps:
                for _ in self.calls:
                    step(cr.Tensor(self.inputs[0]))
        else:
            for which, k in self.calls:
                found += [t.numpy().copy() for t in steps[which](cr.Tensor(self.inputs[k]))]
        found += [t.numpy().copy() for t in s.values()]
        if not self.threaded:
            found += [np.asarray(as_dense(t.grad)) for t in s.values() if t.grad is not None]
        if optimizer is not None:
            found += [np.asarray(v) for v in optimizer.state_dict().values()]
        return found


def as_dense(g):
    return g.to_dense() if isinstance(g, cr.RowSparse) else g


def move(s, optimizer):
    if optimizer is not None:
        optimizer.step()
        return
    with cr.no_grad():
        for t in s.values():
            if t.grad is not None:
                t -= 0.1 * cr.tanh(as_dense(t.grad))


def together(steps, x, times):
    """Each step `times` times, each in a thread of its own."""
    errors = []

    def run(step):
        try:
            for _ in range(times):
                step(x)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(step,)) for step in steps]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if errors:
        raise errors[0]


def difference(one, two):
    """What differs by more than the bound; '' for nothing."""
    if len(one) != len(two):
        return f"{len(one)} and {len(two)} arrays"
    for k, (a, b) in enumerate(zip(one, two, strict=True)):
        size = float(np.abs(a).max(initial=0))
        if a.shape != b.shape or not np.allclose(a, b, rtol=0, atol=BOUND * (1 + size)):
            worst = "shapes" if a.shape != b.shape else f"{np.abs(a - b).max():.3g} of {size:.3g}"
            return f"array {k}: {worst}"
    return ""


def compare(seed):
    """Run a seed's program in all ways; what differs, or ''."""
    program = Program(seed)
    expected = program.run(compiled=False)
    before = os.environ.get("CHAINRULE_BACKEND")
    try:
        for backend in ("reference", "native"):
            os.environ["CHAINRULE_BACKEND"] = backend
            found = difference(expected, program.run(compiled=True))
            if found:
                return f"{backend}: {found}"
    finally:
        os.environ.pop("CHAINRULE_BACKEND")
        if before is not None:
            os.environ["CHAINRULE_BACKEND"] = before
    return ""


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--show", action="store_true", help="print the statements")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    sys.setswitchinterval(1e-4)
    done, bad, begun = 0, 0, time.monotonic()
    with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C says what has been done
        for seed in range(options.seed, options.seed + options.count):
            if options.show:
                print(seed, "; ".join(Program(seed).texts))
            try:
                found = compare(seed)
            except Exception as error:
                found = f"{type(error).__name__}: {error}"
            if found:
                bad += 1
                print(f"seed {seed}: {found}", flush=True)
            done += 1
    print(f"{done} programs, {bad} differ, {time.monotonic() - begun:.0f} s", flush=True)
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
