"""A recorded backward pass: what it reads, its steps and names, and that each share adds up."""

import copy
import dataclasses
import pickle

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.explanation.derive import derive
from chainrule.explanation.update import with_update
from chainrule.nn.functional import cross_entropy


class Network(nn.Module):
    def __init__(self):
        self.first = nn.Linear(3, 4)
        self.drop = nn.Dropout(0.5)
        self.last = nn.Linear(4, 2)

    def forward(self, x):
        h = cr.tanh(self.first(x))
        h = self.drop(h)
        return self.last(h)


X, Y = cr.random.normal((5, 3)), cr.Tensor([0, 1, 1, 0, 1])


def eager(function, model, *args):
    """The loss and the gradients by path of an ordinary backward pass."""
    loss = function(*args)
    loss.backward()
    return loss.item(), {name: p.grad.numpy() for name, p in model.named_parameters()}


def test_loss_and_gradients_are_those_of_backward():
    model = Network()
    cr.random.seed(3)
    explained = cr.explain(lambda x, y: cross_entropy(model(x), y), X, Y)
    loss, gradients = eager(lambda x, y: cross_entropy(model(x), y), model, X, Y)  # the same mask
    assert explained.loss == pytest.approx(loss, rel=1e-6)
    assert list(explained.gradients) == list(gradients)
    for name, g in gradients.items():
        np.testing.assert_allclose(explained.gradients[name], g, rtol=1e-5, atol=1e-7)


def test_explaining_changes_nothing():
    model, norm = Network(), nn.BatchNorm1d(3)
    optimizer = optim.Adam(model.named_parameters())
    cr.random.seed(1)
    before = cr.random.default.state.tolist()
    weights = {k: v.copy() for k, v in {**model.state_dict(), **norm.state_dict()}.items()}
    state = {k: v.copy() for k, v in optimizer.state_dict().items()}

    def step(x, y):
        loss = cross_entropy(model(norm(x)), y)
        loss.backward()
        optimizer.step()
        return loss

    cr.explain(step, X, Y)
    cr.explain(cr.compile(step), X, Y)
    assert cr.random.default.state.tolist() == before
    assert all(p.grad is None for p in model.parameters())
    for k, v in {**model.state_dict(), **norm.state_dict()}.items():
        np.testing.assert_array_equal(v, weights[k], k)
    for k, v in optimizer.state_dict().items():
        np.testing.assert_array_equal(v, state[k], k)


def zoo():
    """Functions and their arguments, one per kind of network."""
    dense, lstm = Network(), nn.LSTM(3, 4)
    convolutional = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(18, 3)
    )
    encoder = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0)
    table, norm = nn.Embedding(7, 3), nn.BatchNorm1d(3)
    images, words = cr.random.normal((2, 8, 8, 1)), cr.Tensor([[1, 2, 2], [0, 6, 1]])
    sequences = cr.random.normal((2, 5, 8))
    w = cr.Tensor([1.0, -2.0], requires_grad=True)
    inner = cr.grad(lambda v: (cr.tanh(v * w) ** 2).sum())
    return {
        "dense": (lambda x, y: cross_entropy(dense(x), y), X, Y),
        "convolutional": (
            lambda x: cross_entropy(convolutional(x), cr.Tensor([0, 2]), label_smoothing=0.1),
            images,
        ),
        "lstm": (lambda x: (lstm(x)[0] ** 2).mean(), sequences[:, :, :3]),
        "transformer": (lambda x: (encoder(x) ** 2 * x).mean(), sequences),
        "embedding": (lambda i: (norm(table(i)) ** 3).sum(), words),
        "gradient inside": (lambda v: (inner(v) ** 2).sum(), cr.Tensor([0.3, 0.4])),
        "checkpoint": (lambda x, y: cross_entropy(cr.checkpoint(dense)(x), y), X, Y),
        "hessian inside": (
            lambda v: (cr.hessian(lambda u: (cr.tanh(u * w) ** 2).sum())(v) ** 2).sum(),
            cr.Tensor([0.3, 0.4]),
        ),
        "argument": (lambda x: (cr.sin(x) * x).sum(), X),
    }


ZOO = zoo()


@pytest.mark.parametrize("name", ZOO)
def test_shares_add_up_to_what_reaches_a_node(name):
    function, *args = ZOO[name]
    d = derive(function, args, {})
    assert d.pulls
    received = {}
    for pull in d.pulls:
        for node, share in zip(pull.node.inputs, pull.shares, strict=True):
            if share is not None:
                received.setdefault(node, []).append(d.value(share))
    checked = 0
    for pull in d.pulls:
        if pull.node in received and len(pull.upstream) == 1:
            total = sum(np.asarray(s, np.float64) for s in received[pull.node])
            np.testing.assert_allclose(d.value(pull.upstream[0]), total, rtol=1e-4, atol=1e-6)
            checked += 1
    assert checked or len(d.pulls) < 3
    by_name = {i.name: node for node, i in d.inputs.items()}
    for name, gradient in d.gradients.items():
        shares = received[by_name[name]]
        if shares[0].shape == d.value(gradient).shape:  # else row-sparse
            total = sum(np.asarray(s, np.float64) for s in shares)
            np.testing.assert_allclose(d.value(gradient), total, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", ZOO)
def test_steps_are_the_forward_pass(name):
    function, *args = ZOO[name]
    d = derive(function, args, {})
    steps = d.steps
    assert [n for s in steps for n in s.nodes] == d.forward
    assert sorted(id(p) for s in steps for p in s.pulls) == sorted(
        id(p) for p in d.pulls if p.node in {*d.forward}
    )
    seen = {*d.inputs}
    for step in steps:
        assert {*step.inputs} <= seen, step.title
        assert step.outputs, step.title
        seen.update(step.outputs)
    assert d.loss in seen
    assert len({*d.names.values()}) == len(d.names)


def test_names_are_those_of_the_code():
    model = Network()
    w = cr.Tensor([1.0, 2.0], requires_grad=True)

    def objective(x, y):
        logits = model(x)
        penalty = (w * w).sum()
        return cross_entropy(logits, y) + penalty

    d = derive(objective, (X,), {"y": Y})
    kinds = {i.name: i.kind for i in d.inputs.values()}
    assert kinds == {
        "x": "data",
        "y": "data",
        "w": "parameter",
        "drop.mask": "drawn",
        **dict.fromkeys(("first.weight", "first.bias", "last.weight", "last.bias"), "parameter"),
    }
    outputs = [d.names[n] for s in d.steps for n in s.outputs]
    assert outputs == ["first", "h", "drop", "logits", "penalty", "loss"]
    titles = [s.title for s in d.steps]
    assert titles[0] == "first (Linear)"
    assert "penalty = (w * w).sum()" in titles


def test_two_models_have_their_variables_in_front():
    one, two = nn.Linear(2, 2), nn.Linear(2, 1)
    d = derive(lambda x: two(one(x)).sum(), (cr.ones((1, 2)),), {})
    assert [*d.gradients] == ["one.weight", "one.bias", "two.weight", "two.bias"]


def test_an_optimizer_steps_after_the_backward_pass():
    model = nn.Linear(2, 1)
    optimizer = optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    x = cr.Tensor([[1.0, 2.0]])
    d = with_update(derive(lambda x: (model(x) ** 2).sum(), (x,), {}), optimizer)
    y = model.weight.numpy() @ [1.0, 2.0] + model.bias.numpy()
    np.testing.assert_allclose(
        d.value(d.updated["weight"]), model.weight.numpy() - 0.1 * 2 * y * [[1, 2]], rtol=1e-5
    )
    assert {i.name: i.kind for i in d.inputs.values()}["lr"] == "setting"
    assert "weight/momentum_buffer" in d.updated


@pytest.mark.parametrize(
    ("function", "error", "words"),
    [
        (lambda x: x, cr.errors.ShapeError, "one floating number"),
        (lambda x: 3.0, cr.errors.ArgumentError, "returns float"),
        (lambda x: cr.ones(()), cr.GradientError, "requires a gradient"),
        (lambda x: (x > 0).sum(), cr.errors.ShapeError, "one floating number"),
    ],
)
def test_what_is_no_loss_is_an_error(function, error, words):
    with pytest.raises(error, match=words):
        cr.explain(function, X)


def test_two_backward_passes_are_an_error():
    w = cr.Tensor([1.0], requires_grad=True)

    def step():
        for _ in range(2):
            (w * w).sum().backward(accumulate=True)

    with pytest.raises(cr.errors.ArgumentError, match="2 calls of backward"):
        cr.explain(step)


def test_a_computed_loss_is_an_error_that_shows_the_call():
    w = cr.Tensor([1.0], requires_grad=True)
    with pytest.raises(cr.errors.ArgumentError, match=r"explain\(lambda"):
        cr.explain((w * w).sum())


def test_two_draws_are_two_inputs():
    first, second = nn.Dropout(0.5), nn.Dropout(0.25)
    explained = cr.explain(lambda x: (second(first(x)) * x).sum(), cr.ones((4, 5)))
    masks = [v for k, v in explained.arrays().items() if k.endswith("mask")]
    assert [m.dtype for m in masks] == [bool, bool]
    assert explained.loss == pytest.approx((masks[0] * masks[1] * 2 / 0.75).sum())


def test_two_tensors_of_one_name_are_told_apart():
    layer, weight = nn.Linear(3, 2), cr.Tensor([0.5, 2.0])
    e = cr.explain(lambda x, y: cross_entropy(layer(x), y, weight=weight), X, Y)
    arrays = e.arrays()
    assert [n for n in arrays if n.startswith("weight")] == ["weight", "weight_2"]
    assert arrays["weight"].shape == (2, 3)
    assert arrays["weight_2"].tolist() == [0.5, 2.0]


def test_a_call_that_fails_inside_is_forgotten():
    class Careful(nn.Module):
        def __init__(self):
            self.wrong, self.right = nn.Linear(7, 2), nn.Linear(3, 2)

        def forward(self, x):
            try:
                return self.wrong(x)
            except cr.errors.ShapeError:
                return cr.tanh(self.right(x))

    model = Careful()
    steps = derive(lambda x: (model(x) ** 2).sum(), (X,), {}).steps
    assert [s.path for s in steps] == ["right", "", ""]
    assert steps[1].module is model
    assert steps[2].module is None


# ── names and variables ──────────────────────────────────────────────────────────────────────────

A, B, C = cr.Tensor([1.0, 2.0]), cr.Tensor([3.0, 5.0]), cr.Tensor([7.0, 11.0])


class Masked(nn.Module):
    def __init__(self):
        self.w = nn.Parameter([2.0, 3.0])

    def forward(self, x, y, mask):
        return (self.w * x * y * mask).sum()


@pytest.mark.parametrize(
    ("function", "args", "kwargs", "names"),
    [
        (nn.MSELoss(), (A, B), {}, ["args_0", "args_1"]),
        (lambda d: (d["x.y"] * d["x"]["y"]).sum(), ({"x.y": A, "x": {"y": B}},), {}, 2),
        (lambda d: (d[1] * d["1"]).sum(), ({1: A, "1": B},), {}, 2),
        (lambda *r, z: (r[0] * r[1] * z).sum(), (A, B), {"z": C}, ["r_0", "r_1", "z"]),
        (lambda *r, **k: (r[0] * k["s"]).sum(), (A,), {"s": B}, ["r_0", "s"]),
        (lambda a, *r: (a * r[0] * r[1]).sum(), (A, B, C), {}, ["a", "r_0", "r_1"]),
        (Masked(), (A, B, C), {}, ["w"]),
    ],
)
def test_each_argument_has_a_name_of_its_own(function, args, kwargs, names):
    explained = cr.explain(function, *args, **kwargs)
    assert not explained.arrays().keys() & {"kwargs", "args"}
    if isinstance(names, int):
        assert len(explained.gradients) == names
    else:
        assert list(explained.gradients) == names
    program = {}
    exec(explained.numpy(), program)
    value, gradients = program["loss_and_gradients"](**explained.arrays())
    assert value == pytest.approx(function(*args, **kwargs).item())
    for name, g in explained.gradients.items():
        np.testing.assert_allclose(gradients[name], g, rtol=1e-6)


def test_a_tensor_that_is_passed_and_seen_is_one_variable():
    w = cr.Tensor([1.0, 2.0], requires_grad=True)
    explained = cr.explain(lambda v: (w * v).sum(), w)
    assert list(explained.gradients) == ["w"]
    np.testing.assert_allclose(explained.gradients["w"], [2.0, 4.0])
    model = nn.Linear(2, 1, bias=False)
    x = cr.Tensor([[1.0, 2.0]])
    explained = cr.explain(lambda x, v: (model(x) ** 2).sum() + (v**2).sum(), x, model.weight)
    w = model.weight.numpy()
    np.testing.assert_allclose(
        explained.gradients["weight"], 2 * (w @ [1.0, 2.0]) * [[1.0, 2.0]] + 2 * w, rtol=1e-5
    )


@dataclasses.dataclass
class Fields:
    w: cr.Tensor
    rest: object = None


@dataclasses.dataclass(slots=True)
class Slots:
    w: cr.Tensor
    rest: object = None


class Attributes:
    scale = cr.Tensor([1.0, 3.0], requires_grad=True)

    def __init__(self):
        self.w = cr.Tensor([1.0, 2.0], requires_grad=True)
        self.itself = self

    def loss(self, x):
        return (self.w * self.scale * x).sum()

    @classmethod
    def scaled(cls, x):
        return (cls.scale * x).sum()


class WithTables(nn.Module):
    table = cr.Tensor([1.0, 2.0], requires_grad=True)

    def __init__(self):
        self.first, self.own = nn.Linear(2, 2), Fields(cr.Tensor([1.0, 2.0]))

    def forward(self, x):
        return (self.first(x) * self.table * self.own.w).sum()


FIELDS = Fields(cr.Tensor([1.0, 2.0], requires_grad=True))
SLOTS = Slots(cr.Tensor([1.0, 2.0], requires_grad=True), {"a": [FIELDS]})
OBJECT, TABLES = Attributes(), nn.Sequential(inner=WithTables())


@pytest.mark.parametrize(
    ("function", "args", "names"),
    [
        (lambda x: (Attributes.scale * x).sum(), (A,), ["x", "Attributes.scale"]),
        (lambda x: (FIELDS.w * x).sum(), (A,), ["x", "FIELDS.w"]),
        (lambda s: (s.w * s.rest["a"][0].w).sum(), (SLOTS,), ["s.w", "s.rest.a.0.w"]),
        (lambda x: OBJECT.loss(x), (A,), ["x", "OBJECT.w", "OBJECT.scale"]),
        (OBJECT.loss, (A,), ["x", "w", "scale"]),
        (Attributes.scaled, (A,), ["x", "scale"]),
        (
            lambda x: TABLES(x),
            (A,),
            ["x", *(f"inner.{n}" for n in ("first.weight", "first.bias", "table", "own.w"))],
        ),
        (lambda x: (Fields(FIELDS.w * x).w).sum(), (A,), ["x", "FIELDS.w"]),
    ],
)
def test_what_is_an_attribute_has_the_path_to_it(function, args, names):
    assert list(cr.explain(function, *args).arrays()) == names


def test_memory_that_is_shared_may_change_later():
    array, w = np.ones(3), cr.Tensor([1.0, 2.0, 3.0], requires_grad=True, dtype=cr.float64)
    x = cr.from_dlpack(array)
    passed, seen = cr.explain(lambda x: (x * w).sum(), x), cr.explain(lambda: (x * w).sum())
    array[:] = 5
    for explained in (passed, seen):
        assert explained.loss == 6
        np.testing.assert_array_equal(explained.arrays()["x"], [1.0, 1.0, 1.0])


def test_arrays_are_copies():
    model = nn.Linear(2, 1)
    explained = cr.explain(lambda x: model(x).sum(), cr.Tensor([[1.0, 2.0]]))
    before, loss = model.weight.numpy().copy(), explained.loss
    for values in (explained.arrays(), explained.gradients):
        for array in values.values():
            array[...] = 7
    np.testing.assert_array_equal(model.weight.numpy(), before)
    assert explained.loss == loss
    np.testing.assert_array_equal(explained.gradients["weight"], [[1.0, 2.0]])


def test_an_update_follows_the_pass_that_was_explained():
    model = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.Linear(4, 1))
    optimizer = optim.SGD(model.named_parameters(), lr=0.1)
    explained = cr.explain(lambda x: (model(x) ** 2).mean(), X)
    weight = explained.arrays()["0.weight"]
    cr.random.normal((3,))  # another mask would be drawn now
    with cr.no_grad():
        model[0].weight[...] = 0.0
    for rate in (0.1, 0.5):
        optimizer.param_groups[0]["lr"] = rate
        program = {}
        exec(explained.numpy(update=optimizer), program)
        arrays = explained.arrays(update=optimizer)
        value, gradients, updated = program["loss_and_gradients"](**arrays)
        assert value == pytest.approx(explained.loss)
        expected = weight - rate * explained.gradients["0.weight"]
        np.testing.assert_allclose(updated["0.weight"], expected, rtol=1e-5)
        np.testing.assert_allclose(gradients["0.weight"], explained.gradients["0.weight"])


def test_the_update_of_one_optimizer_is_no_other_ones():
    model = nn.Linear(2, 1)
    explained = cr.explain(lambda x: model(x).sum(), cr.Tensor([[1.0, 2.0]]))
    one, other = (optim.Adam(model.named_parameters(), lr=rate) for rate in (0.1, 0.2))
    assert "lr = 0.1" in explained.numpy(update=one)
    assert "lr = 0.2" in explained.numpy(update=other)
    assert explained.arrays(update=one).keys() == explained.arrays(update=other).keys()


def test_an_update_that_does_not_fit_is_an_error():
    model, other = nn.Linear(2, 1), nn.Linear(2, 1)
    explained = cr.explain(lambda x: model(x).sum(), cr.Tensor([[1.0, 2.0]]))
    with pytest.raises(cr.errors.ArgumentError, match="an optimizer of other parameters"):
        explained.numpy(update=optim.SGD(other.named_parameters()))
    with pytest.raises(cr.errors.ArgumentError, match="got update=float"):
        explained.numpy(update=0.1)
    optimizer = optim.SGD(model.named_parameters())

    def step(x):
        model(x).sum().backward()
        optimizer.step()

    with pytest.raises(cr.errors.ArgumentError, match="assigns weight, bias"):
        cr.explain(step, cr.Tensor([[1.0, 2.0]])).numpy(update=optimizer)


def test_an_explanation_is_not_copied():
    explained = cr.explain(lambda x: x.sum(), A)
    for copied in (pickle.dumps, copy.deepcopy, copy.copy):
        with pytest.raises(cr.errors.ArgumentError, match="copy or to pickle"):
            copied(explained)


@pytest.mark.parametrize("path", [3, b"x.html"])
def test_a_page_takes_a_path(path):
    with pytest.raises(cr.errors.ArgumentError, match=f"got path={type(path).__name__}"):
        cr.explain(lambda x: x.sum(), A).page(path)


def test_a_line_is_of_the_kind_of_its_outermost_function():
    head, y = nn.Linear(2, 3), cr.Tensor([1])

    def loss(h):
        last = cr.tanh(h[:, -1] * 2) / 2
        return cross_entropy(head(last[:, 1:]), y)

    steps = derive(loss, (cr.ones((1, 4, 3)),), {}).steps
    assert [s.kind for s in steps] == ["tanh", "getitem", "Linear", "cross_entropy"]


def test_a_counter_of_the_user_is_assigned_and_a_generator_is_not():
    count = cr.Tensor(np.array([0, 5], np.uint64))
    drop, w = nn.Dropout(0.5), cr.Tensor([1.0, 2.0], requires_grad=True)

    def step(x):
        count[...] = count + cr.Tensor(np.array([1, 1], np.uint64))
        return drop(w * x).sum()

    d = derive(step, (A,), {})
    assert list(d.updated) == ["count"]
    assert d.value(d.updated["count"]).tolist() == [1, 6]
