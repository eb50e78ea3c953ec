"""Every failure has the one form: [operation] what arrived; expected …; what to try."""

import multiprocessing
import pickle
import re

import numpy as np
import pytest

import chainrule as cr
from chainrule import errors

FORM = re.compile(
    r"\A\[(?P<operation>[\w.]+)\] (?P<arrived>[^;]+); (?P<needed>[^;]+); (?P<advice>[^;\n]+)"
    r"(\n  at (?P<place>.+))?\Z",
    re.S,
)
x = cr.ones((2, 3))
i = cr.Tensor([0, 1])
p = cr.Tensor([1.0], requires_grad=True)

BAD = {
    # what is done, the operation that the message names, the built-in class that also catches it
    "add shapes": (lambda: x + cr.ones((2, 4)), "add", ValueError),
    "add text": (lambda: x + "a", "add", TypeError),
    "add None": (lambda: x * None, "multiply", TypeError),
    "complex": (lambda: x * 1j, "multiply", TypeError),
    "matmul inner": (lambda: x @ x, "matmul", ValueError),
    "matmul scalar": (lambda: x @ cr.Tensor(1.0), "matmul", ValueError),
    "matmul batch": (lambda: cr.ones((2, 3, 4)) @ cr.ones((3, 4, 5)), "matmul", ValueError),
    "bool minus": (lambda: (x > 0) - (x > 0), "subtract", TypeError),
    "invert float": (lambda: ~x, "bitwise_invert", TypeError),
    "and float": (lambda: x & x, "bitwise_and", TypeError),
    "where not bool": (lambda: cr.where(x, x, x), "where", TypeError),
    "reshape size": (lambda: cr.reshape(x, (4, 2)), "reshape", ValueError),
    "reshape -1": (lambda: cr.reshape(x, (4, -1)), "reshape", ValueError),
    "permute twice": (lambda: cr.permute_dims(x, (0, 0)), "permute_dims", ValueError),
    "sum axis": (lambda: x.sum(axis=2), "sum", ValueError),
    "sum axis twice": (lambda: x.sum(axis=(0, -2)), "sum", ValueError),
    "max of nothing": (lambda: cr.max(cr.ones(0)), "max", ValueError),
    "argmax of nothing": (lambda: cr.argmax(cr.ones(0)), "argmax", ValueError),
    "squeeze": (lambda: cr.squeeze(x, 0), "squeeze", ValueError),
    "broadcast_to": (lambda: cr.broadcast_to(x, (3, 2)), "broadcast_to", ValueError),
    "concat sizes": (lambda: cr.concat([x, cr.ones((2, 3))[:, :2]], axis=0), "concat", ValueError),
    "concat axes": (lambda: cr.concat([x, cr.ones(3)]), "concat", ValueError),
    "concat nothing": (lambda: cr.concat([]), "concat", ValueError),
    "stack shapes": (lambda: cr.stack([x, cr.ones(3)]), "stack", ValueError),
    "split": (lambda: cr.split(x, 2, axis=1), "split", ValueError),
    "pad below 0": (lambda: cr.pad(x, -1), "pad", ValueError),
    "pad reflect": (lambda: cr.pad(x, 3, mode="reflect"), "pad", ValueError),
    "pad mode": (lambda: cr.pad(x, 1, mode="mirror"), "pad", ValueError),
    "index range": (lambda: x[2], "index", IndexError),
    "index many": (lambda: x[0, 0, 0], "index", IndexError),
    "index text": (lambda: x["a"], "index", TypeError),
    "index float": (lambda: x[cr.ones(1)], "index", TypeError),
    "index mask": (lambda: x[cr.ones(3) > 0], "index", ValueError),
    "take range": (lambda: cr.take(x, cr.Tensor([3]), axis=1), "take", IndexError),
    "take float": (lambda: cr.take(x, cr.ones(1), axis=1), "take", TypeError),
    "assign": (lambda: x.__setitem__(0, cr.ones(2)), "assign", ValueError),
    "assign a leaf": (lambda: p.__setitem__(0, 1.0), "assign", RuntimeError),
    "convolution channels": (
        lambda: cr.convolution(cr.ones((1, 5, 2)), cr.ones((3, 3, 1))),
        "convolution",
        ValueError,
    ),
    "convolution kernel": (
        lambda: cr.convolution(cr.ones((1, 2, 1)), cr.ones((3, 1, 1))),
        "convolution",
        ValueError,
    ),
    "convolution axes": (
        lambda: cr.convolution(cr.ones((5, 2)), cr.ones((3, 2, 1))),
        "convolution",
        ValueError,
    ),
    "convolution stride": (
        lambda: cr.convolution(cr.ones((1, 5, 1)), cr.ones((3, 1, 1)), stride=0),
        "convolution",
        ValueError,
    ),
    "max_pool": (lambda: cr.max_pool(cr.ones((1, 2, 1)), 3), "max_pool", ValueError),
    "einsum letters": (lambda: cr.einsum("ijk->i", x), "einsum", ValueError),
    "einsum sizes": (lambda: cr.einsum("ij,ij->i", x, cr.ones((2, 2))), "einsum", ValueError),
    "einsum operands": (lambda: cr.einsum("ij,jk->ik", x), "einsum", ValueError),
    "tensordot": (lambda: cr.tensordot(x, x, axes=1), "tensordot", ValueError),
    "dtype": (lambda: cr.Tensor([1], dtype="complex64"), "asarray", TypeError),
    "text": (lambda: cr.Tensor(["a"]), "asarray", TypeError),
    "ragged": (lambda: cr.Tensor([[1], [1, 2]]), "asarray", ValueError),
    "object": (lambda: cr.Tensor(object()), "asarray", TypeError),
    "requires_grad int": (lambda: cr.Tensor([1], requires_grad=True), "requires_grad", TypeError),
    "requires_grad set": (
        lambda: setattr(p * 2, "requires_grad", False),
        "requires_grad",
        RuntimeError,
    ),
    "item": (lambda: x.item(), "item", ValueError),
    "len": (lambda: len(cr.Tensor(1.0)), "len", ValueError),
    "bool of many": (lambda: bool(x), "bool", ValueError),
    "grad shape": (lambda: setattr(p, "grad", x), "grad", ValueError),
    "backward": (lambda: x.sum().backward(), "backward", RuntimeError),
    "gradient": (lambda: (p * 2).backward(x), "backward", ValueError),
    "seed": (lambda: cr.random.seed(-1), "seed", ValueError),
    "normal": (lambda: cr.random.normal((2,), std=-1), "normal", ValueError),
    "bernoulli": (lambda: cr.random.bernoulli(1.5), "bernoulli", ValueError),
    "compile": (lambda: cr.compile(3), "compile", ValueError),
    "top_k": (lambda: cr.top_k(x, 4), "top_k", ValueError),
    "device": (lambda: x.to_device("gpu"), "to_device", ValueError),
    "diagonal": (lambda: cr.diagonal(i), "diagonal", ValueError),
    "divide by 0": (lambda: i // 0, "floor_divide", ValueError),
    "remainder of 0": (lambda: i % cr.Tensor([1, 0]), "remainder", ValueError),
    "list of leaves": (lambda: cr.tanh([p, p]), "asarray", RuntimeError),
    "arange of nan": (lambda: cr.arange(float("nan")), "arange", ValueError),
    "arange of inf": (lambda: cr.arange(0, float("inf")), "arange", ValueError),
    "arange of None": (lambda: cr.arange(None), "arange", ValueError),
    "arange of text": (lambda: cr.arange("a"), "arange", ValueError),
    "arange too long": (lambda: cr.arange(1e30), "creation", ValueError),
    "linspace": (lambda: cr.linspace(0, 1, 3.5), "linspace", ValueError),
    "linspace of text": (lambda: cr.linspace("a", 1, 3), "linspace", ValueError),
    "zeros": (lambda: cr.zeros(10**30), "creation", ValueError),
    "ones": (lambda: cr.ones((10**30, 2)), "creation", ValueError),
    "empty": (lambda: cr.empty(10**30), "creation", ValueError),
    "eye": (lambda: cr.eye(10**30), "creation", ValueError),
    "zeros for no memory": (lambda: cr.zeros((2**31, 2**31)), "creation", ValueError),
    "full of nothing": (lambda: cr.full(1, []), "full", ValueError),
    "tensordot of None": (lambda: cr.tensordot(x, x, axes=None), "tensordot", ValueError),
    "reshape None": (lambda: cr.reshape(x, None), "reshape", ValueError),
    "reshape text": (lambda: cr.reshape(x, "a"), "reshape", ValueError),
    "reshape float": (lambda: x.reshape(2.9, 3), "reshape", ValueError),
    "broadcast_to None": (lambda: cr.broadcast_to(x, None), "broadcast_to", ValueError),
    "permute None": (lambda: cr.permute_dims(x, None), "permute_dims", TypeError),
    "permute text": (lambda: cr.permute_dims(x, "ab"), "permute_dims", TypeError),
    "transpose float": (lambda: cr.transpose(x, 0, 1.0), "transpose", TypeError),
    "squeeze text": (lambda: cr.squeeze(x, "a"), "squeeze", TypeError),
    "expand_dims float": (lambda: cr.expand_dims(x, 1.0), "expand_dims", TypeError),
    "expand_dims None": (lambda: cr.expand_dims(x, None), "expand_dims", TypeError),
    "flatten None": (lambda: x.flatten(None), "flatten", TypeError),
    "roll float": (lambda: cr.roll(x, 1.5), "roll", ValueError),
    "split text": (lambda: cr.split(x, "a"), "split", ValueError),
    "top_k None": (lambda: cr.top_k(x, None), "top_k", ValueError),
    "one_hot None": (lambda: cr.one_hot(i, None), "one_hot", ValueError),
    "one_hot of floats": (lambda: cr.one_hot(x, 3), "one_hot", TypeError),
    "pad None": (lambda: cr.pad(x, None), "pad", ValueError),
    "pad float": (lambda: cr.pad(x, 1.5), "pad", ValueError),
    "pad with many": (lambda: cr.pad(x, 1, value=i), "pad", ValueError),
    "concat None": (lambda: cr.concat(None), "concat", ValueError),
    "stack None": (lambda: cr.stack(None), "stack", ValueError),
    "stack nothing": (lambda: cr.stack([]), "stack", ValueError),
    "broadcast_shapes": (lambda: cr.broadcast_shapes(x), "broadcast_shapes", ValueError),
    "einsum of a tensor": (lambda: cr.einsum(x, x), "einsum", TypeError),
    "convolution same": (
        lambda: cr.convolution(cr.ones((1, 5, 1)), cr.ones((3, 1, 1)), stride=2, padding="same"),
        "convolution",
        ValueError,
    ),
    "layer same": (lambda: cr.nn.Conv1d(1, 1, 3, stride=2, padding="same"), "Conv1d", ValueError),
    "convolution padding": (
        lambda: cr.convolution(cr.ones((1, 5, 1)), cr.ones((3, 1, 1)), padding=[(1, None)]),
        "convolution",
        ValueError,
    ),
    "convolution groups": (
        lambda: cr.convolution(cr.ones((1, 5, 1)), cr.ones((3, 1, 1)), groups=1.0),
        "convolution",
        ValueError,
    ),
    "uniform None": (lambda: cr.random.uniform(low=None), "uniform", ValueError),
    "normal text": (lambda: cr.random.normal(std="a"), "normal", ValueError),
    "state below 0": (
        lambda: cr.random.Generator().set_state(cr.Tensor([-1, 0])),
        "set_state",
        ValueError,
    ),
    "take by bools": (lambda: cr.take(x, i > 0, axis=0), "take", TypeError),
    "along floats": (lambda: cr.take_along_axis(x, x, axis=0), "checked_index", TypeError),
    "along range": (lambda: cr.take_along_axis(x, i[None] + 2, axis=1), "index", IndexError),
    "matmul of bools": (lambda: (x > 0) @ (x > 0).mT, "matmul", TypeError),
    "recurrence": (lambda: cr.recurrence(x, cr.ones((2, 2))), "recurrence", ValueError),
    "norm": (lambda: cr.norm(x, ord="fro"), "norm", ValueError),
    "scatter axis": (lambda: cr.scatter_add(x, i, size=3, axis=2), "scatter_add", IndexError),
    "scatter broadcast": (lambda: cr.scatter_add(cr.ones(1), i, size=3), "scatter_add", ValueError),
    "scatter": (lambda: cr.scatter_add(x, i[:1], size=3), "scatter_add", ValueError),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name):
    act, operation, builtin = BAD[name]
    with pytest.raises(cr.ChainruleError) as caught:
        act()
    found = FORM.match(str(caught.value))
    assert found, str(caught.value)
    assert found["operation"] == operation
    assert isinstance(caught.value, builtin)


def test_the_users_line_is_named():
    with pytest.raises(errors.ShapeError) as caught:
        x @ x  # this line
    assert re.search(r"\n  at test_errors\.py:\d+: x @ x  # this line$", str(caught.value))
    y = cr.Tensor(np.ones(2), requires_grad=True) * 2  # this one recorded it
    y.register_hook(lambda g: g.sum())
    with pytest.raises(errors.GradientError) as caught:
        y.sum().backward()
    assert "this one recorded it" in str(caught.value)


def test_a_rule_with_a_defect_is_named():
    bad = cr.defop("bad_rule", lambda x: x * 2, lambda g: g.sum(), kind="linear")
    leaf = cr.Tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(
        errors.GradientError, match=r"\[bad_rule\] its rule for x gave .*float32\[\]"
    ):
        bad(leaf).sum().backward()


def test_errors_while_tracing_name_the_users_line_too():
    with pytest.raises(errors.ShapeError, match=r"test_errors\.py"):
        cr.compile(lambda a: a @ a)(x)


HABITS = {
    "dim": (lambda: cr.sum(cr.ones((2, 2)), dim=1), r"\[sum\] got dim=1; .*write axis="),
    "dim of a method": (lambda: cr.ones((2, 2)).mean(dim=1), r"\[mean\] got dim=1; .*write axis="),
    "dim of softmax": (lambda: cr.softmax(cr.ones(2), dim=0), "write axis="),
    "dim of concat": (lambda: cr.concat([cr.ones(2)], dim=0), "write axis="),
    "keepdim": (lambda: cr.ones(2).sum(axis=0, keepdim=True), "write keepdims="),
    "a dtype by position": (lambda: cr.sum(cr.ones((2, 2)), 0, cr.float64), "got keepdims"),
    "a kind of sorting": (lambda: cr.sort(cr.ones(2), 0, "stable"), "got descending 'stable'"),
    "a bool as an axis": (lambda: cr.ones((2, 2)).sum(True), "got axis True"),
    "an index as an axis": (lambda: cr.take(cr.ones((2, 2)), 0, cr.Tensor([1])), "got axis Tensor"),
    "a bool as a size": (lambda: cr.ones((2, True)), "got"),
    "unbiased by position": (lambda: cr.ones((2, 2)).var(1, False), "give the others by name"),
    "sizes": (lambda: cr.ones(2, 3), r"into a tuple: ones\(\(2, 3\)\)"),
    "sizes and a dtype": (lambda: cr.ones(2, cr.float64), r"dtype=None.*give the others by name"),
    "retain_graph": (lambda: cr.ones(()).backward(retain_graph=True), "leave it out: the graph"),
    "an argument of another name": (lambda: cr.sum(cr.ones(2), axes=0), "did you mean axis"),
    "an argument of no name": (lambda: cr.sum(cr.ones(2), colour=1), "got the argument colour"),
    "several in if": (lambda: bool(cr.ones(2) > 0), r"\[bool\] .*all\(\) or x.any\(\)"),
    "a compiled step's loss": (
        lambda: cr.compile(lambda: cr.ones(()))().backward(),
        r"call backward\(\) inside",
    ),
}


@pytest.mark.parametrize("name", HABITS)
def test_habits_of_other_libraries_are_answered(name):
    run, words = HABITS[name]
    with pytest.raises(cr.ChainruleError, match=words) as caught:
        run()
    assert "test_errors.py" in str(caught.value), "the user's line"


def test_other_type_errors_are_left_alone():
    with pytest.raises(TypeError, match="missing 1 required positional argument"):
        cr.sum()


def _error(run):
    with pytest.raises(cr.ChainruleError) as caught:
        run()
    return caught.value


def _unfit():
    cr.nn.Sequential(cr.nn.Linear(4, 2))(x)


def _missing():
    raise errors.FileError("load", "no file a.npz", "expected one", "look for it")


RAISED = {name: BAD[name][0] for name in ("add shapes", "add text")}
RAISED |= {"in a module": _unfit, "of a file": _missing, "of a call": lambda: cr.sum(x, dim=1)}


@pytest.mark.parametrize("name", RAISED)
def test_an_error_says_the_same_in_another_process(name):
    error = _error(RAISED[name])
    received = pickle.loads(pickle.dumps(error))
    assert type(received) is type(error)
    assert str(received) == str(error)
    assert (received.operation, received.advice) == (error.operation, error.advice)


def test_the_error_of_a_worker_reaches_the_user():
    with multiprocessing.get_context("spawn").Pool(1) as pool, pytest.raises(errors.ShapeError):
        pool.apply(_unfit)
