"""What the tests of emitted source share: emit it, run it with NumPy alone, compare with eager."""

import builtins

import numpy as np

import chainrule as cr
from chainrule import nn
from chainrule.explanation.derive import derive
from chainrule.explanation.source import numpy_source, source_arrays
from chainrule.explanation.update import with_update

BOUND = 1e-12  # of float64 results, relative to the largest number of an array


def emitted(function, *args, optimizer=None):
    """The source, and the arrays that its function is called with."""
    derivation = derive(function, args, {})
    if optimizer is not None:
        derivation = with_update(derivation, optimizer)
    return numpy_source(derivation), source_arrays(derivation)


def run(source, arrays):
    """What the function gives where nothing but NumPy and the standard library can be imported."""

    def import_(name, *rest):
        assert name.split(".")[0] in ("numpy", "math"), name
        return __import__(name, *rest)

    space = {"__builtins__": {**vars(builtins), "__import__": import_}}
    exec(compile(source, "<emitted>", "exec"), space)
    with np.errstate(all="ignore"):
        return space["loss_and_gradients"](**arrays)


def in_float64(module):
    """The module, its parameters and buffers in float64."""
    for inner in module.modules():
        for name, value in list(vars(inner).items()):
            if isinstance(value, cr.Tensor) and value.dtype == cr.float32:
                wide = value.detach().astype(cr.float64)
                setattr(inner, name, nn.Parameter(wide) if value.requires_grad else wide)
    return module


def agrees(found, expected, what=""):
    found, expected = np.asarray(found), np.asarray(expected)
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype), what
    scale = max(1.0, float(np.abs(expected).max(initial=0))) if expected.dtype.kind == "f" else 1
    bound = BOUND if expected.dtype != np.float32 else 1e-5
    np.testing.assert_allclose(found, expected, rtol=0, atol=bound * scale, err_msg=what)


def dense(g):
    return (g.to_dense() if isinstance(g, cr.RowSparse) else g).numpy()


def agrees_with_eager(function, *args, model=None, optimizer=None):
    """The emitted source gives what eager mode does: loss, gradients, a step of the optimizer.

    Returns the source.
    """
    named = dict(model.named_parameters()) if model else {}
    source, arrays = emitted(function, *args, optimizer=optimizer)
    loss, gradients, *updated = run(source, arrays)

    arguments = [a for a in args if isinstance(a, cr.Tensor) and a.dtype == cr.float64]
    if not named:
        for a in arguments:
            a.requires_grad = True
    expected = function(*args)
    expected.backward()
    agrees(loss, expected.numpy(), "loss")
    assert named or len(gradients) == len(arguments)
    found = named or dict(zip(gradients, arguments, strict=True))
    reached = {name for name, p in found.items() if p.grad is not None}
    assert {*gradients} == reached
    for name in gradients:
        agrees(gradients[name], dense(found[name].grad), name)
    if optimizer is not None:
        optimizer.step()
        for name, p in named.items():
            agrees(updated[0][name], p.numpy(), name)
        for name, p in zip(named, optimizer.param_groups[0].params, strict=True):
            assert named[name] is p
    if updated:
        buffers = dict(model.named_buffers()) if model else {}
        for name in {*updated[0]} & {*buffers}:
            agrees(updated[0][name], buffers[name].numpy(), name)
    return source
