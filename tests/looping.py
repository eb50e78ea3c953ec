"""For tests of passes on loops: functions of float64 tensors, and the graphs of their steps."""

import numpy as np

import chainrule as cr
from chainrule import graph_evaluation, ops
from chainrule.compile.passes import optimise
from chainrule.recording import record

RNG = np.random.default_rng(0)
LENGTHS = (0, 1, 2, 5)


def f64(*shape):
    return cr.Tensor(0.7 * RNG.normal(size=shape))


def flat(results):
    """Tensors in tuples and lists, one after the other."""
    if isinstance(results, (tuple, list)):
        return [t for r in results for t in flat(r)]
    return [results]


def loss(f):
    """A number that depends on all results of f, on each element differently."""

    def number(*args):
        total = 0.0
        for k, t in enumerate(flat(f(*args))):
            if t.dtype == cr.float64:
                total = total + (cr.sin(t + k) * cr.cos(cr.arange(t.size).reshape(t.shape))).sum()
        return total

    return number


def gradients(f, count):
    return cr.grad(loss(f), tuple(range(count)))


def second(f, count):
    """The gradients of a number that depends on all gradients of f."""
    return gradients(gradients(f, count), count)


def optimised(f, *args):
    """The graph of f after the passes."""
    specs = [(a.shape, a.dtype, a.requires_grad) for a in args]
    recorded = record(lambda ts: flat(f(*ts)), specs)
    assert not recorded.reads, "tensors go in as arguments here"
    return optimise(recorded.graph)


def expect_same(f, *args, order=2):
    """The graphs of f and of its gradients give, after the passes, what eager mode gives."""
    count = len(args)
    for g in (f, gradients(f, count), second(f, count))[: order + 1]:
        expected = [t.numpy() for t in flat(g(*args))]
        with np.errstate(all="ignore"):
            results = graph_evaluation.run(optimised(g, *args), [a.numpy() for a in args])
        for a, b in zip(results, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-12)


def scans(graph):
    return [n for n in graph if n.op is ops.scan]


def counts(scan):
    """How many constants, carries, xs and ys a scan has."""
    consts, carries = scan.params["consts"], scan.params["carries"]
    return consts, carries, len(scan.inputs) - consts - carries, len(scan.shape) - carries


def operations(graph):
    """The names of a graph's operations."""
    return [n.op.name for n in graph if n.op is not None]


def body(scan):
    """The names of the operations in a scan's body."""
    return operations(scan.params["graph"])
