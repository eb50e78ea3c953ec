"""Modules, their state, initialisers, utilities and optimizers, beside what parity covers."""

import copy
import math
import pickle

import numpy as np
import pytest
from scipy import stats

import chainrule as cr
from chainrule import nn, optim
from chainrule.errors import (
    ArgumentError,
    ChainruleError,
    DtypeError,
    RangeError,
    ShapeError,
    TraceError,
)
from chainrule.nn import losses


class Net(nn.Module):
    def __init__(self):
        self.first = nn.Linear(3, 4)
        self.blocks = [nn.Linear(4, 4), nn.Dropout(0.5)]
        self.named = {"head": nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 2))}
        self.scale = nn.Parameter(cr.ones(2))
        self.shared = self.first

    def forward(self, x):
        x = cr.relu(self.first(x))
        for layer in self.blocks:
            x = layer(x)
        return self.named["head"](x) * self.scale


def test_attributes_lists_and_dicts_register_by_themselves():
    net = Net()
    names = [n for n, _ in net.named_parameters()]
    assert names == [
        "first.weight", "first.bias", "blocks.0.weight", "blocks.0.bias", "named.head.0.weight",
        "named.head.0.bias", "named.head.1.weight", "named.head.1.bias", "scale",
    ]  # fmt: skip
    assert [n for n, _ in net.named_buffers()] == [
        "named.head.0.running_mean", "named.head.0.running_var",
        "named.head.0.num_batches_tracked",
    ]  # fmt: skip
    assert [type(m).__name__ for m in net.children()] == [
        "Linear",
        "Linear",
        "Dropout",
        "Sequential",
    ]
    assert "(blocks.0): Linear(4, 4)" in repr(net)


def test_state_goes_out_and_in():
    a, b = Net(), Net()
    b.load_state_dict(a.state_dict())
    x = cr.random.normal((5, 3))
    np.testing.assert_array_equal(a.eval()(x).numpy(), b.eval()(x).numpy())
    state = a.state_dict()
    del state["scale"]
    with pytest.raises(ArgumentError, match=r"\[load_state_dict\].*without scale"):
        b.load_state_dict(state)
    before = b.state_dict()
    state = a.state_dict() | {"scale": np.zeros(3)}
    state["first.weight"] = state["first.weight"] * 0
    with pytest.raises(ShapeError, match="scale"):
        b.load_state_dict(state)
    for name, value in b.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


def test_load_state_dict_suggests_the_nearest_name():
    net = nn.Linear(2, 2)
    state = net.state_dict()
    state["wieght"] = state.pop("weight")
    with pytest.raises(
        ArgumentError, match=r"without weight and with wieght; .*rename wieght to we"
    ):
        net.load_state_dict(state)
    several = {str(k): np.zeros(1) for k in range(5)}
    with pytest.raises(ArgumentError, match="without bias, weight and with 0, 1, 2 and 2 more"):
        net.load_state_dict(several)


class Tied(nn.Module):
    def __init__(self):
        self.embed, self.head = nn.Embedding(5, 3), nn.Linear(3, 5, bias=False)
        self.head.weight = self.embed.weight
        self.norm = nn.BatchNorm1d(3)
        self.parts = {"a.b": nn.Linear(3, 3)}

    def forward(self, x):
        return self.head(self.parts["a.b"](self.norm(self.embed(x))))


def test_shared_tensors_have_one_name_and_load_back():
    a, b = Tied(), Tied()
    assert "head.weight" not in a.state_dict()
    b.load_state_dict(a.state_dict())
    assert b.head.weight is b.embed.weight
    x = cr.Tensor([1, 4])
    np.testing.assert_array_equal(a(x).numpy(), b(x).numpy())
    assert "(parts.a.b): Linear(3, 3)" in repr(a), "a dot in a key is no level"


@pytest.mark.parametrize("twin", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_copies_of_a_model(twin):
    cr.random.seed(0)
    model, x = Tied().eval(), cr.Tensor([1, 4])
    model.parts["a.b"].freeze()
    step = cr.compile(lambda m, x: m(x))
    expected = step(model, x).numpy()
    other = twin(model)
    assert other.head.weight is other.embed.weight
    assert not other.training
    assert [n for n, _ in other.named_parameters()] == [n for n, _ in model.named_parameters()]
    np.testing.assert_array_equal(step(other, x).numpy(), expected)
    other.unfreeze()
    assert other.parts["a.b"].weight.requires_grad
    assert not model.parts["a.b"].weight.requires_grad
    other(x).sum().backward()
    assert other.parts["a.b"].weight.grad is not None
    assert model.embed.weight.grad is None
    with cr.no_grad():
        other.embed.weight[...] = 0.0
    np.testing.assert_array_equal(model(x).numpy(), expected)


def test_modules_made_by_formula_can_be_pickled():
    for name in ("LeakyReLU", "GELU", "MSELoss", "CrossEntropyLoss"):
        module = pickle.loads(pickle.dumps(getattr(nn, name)()))
        assert repr(module) == repr(getattr(nn, name)())


def test_modes_freezing_and_compiled_steps():
    net = Net()
    x = cr.random.normal((64, 3))
    f = cr.compile(lambda x: net(x))
    assert not np.array_equal(f(x).numpy(), f(x).numpy()), "dropout draws anew"
    net.eval()
    np.testing.assert_array_equal(f(x).numpy(), f(x).numpy())
    np.testing.assert_array_equal(f(x).numpy(), net(x).numpy())
    net.train()
    assert not np.array_equal(f(x).numpy(), f(x).numpy())
    net.first.freeze()
    net(x).sum().backward()
    assert net.first.weight.grad is None
    assert net.scale.grad is not None
    net.unfreeze()
    net(x).sum().backward()
    assert net.first.weight.grad is not None
    net.scale = nn.Parameter(cr.zeros(2))
    assert not f(x).numpy().any(), "another parameter is seen"


class Stack(nn.Module):
    def __init__(self, *layers):
        self.layers = list(layers)

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


def wrong():
    """A model whose Linear, two levels down, does not get what it needs."""
    return nn.Sequential(nn.ReLU(), Stack(nn.Identity(), nn.Identity(), nn.Linear(12, 3)))


@pytest.mark.parametrize("run", [lambda model, x: model(x), lambda model, x: cr.compile(model)(x)])
def test_errors_name_the_layer_by_its_path(run):
    with pytest.raises(ShapeError) as caught:
        run(wrong(), cr.ones((8, 10)))
    lines = str(caught.value).split("\n")
    assert lines[0].startswith("[Linear] got float32[8,10]; (..., 12) is needed; set in_features")
    assert lines[1] == "  in 1.layers.2 (Linear)"
    assert lines[2].startswith("  at test_nn.py:")
    located = caught.value.located(None)
    assert (located.layer, str(located)) == (caught.value.layer, str(caught.value))


def test_errors_name_the_layer_as_far_as_it_is_known():
    x, outside = cr.ones((8, 10)), wrong()
    cases = {
        "Linear": nn.Linear(12, 3),
        "layers.0 (Lambda)": Stack(nn.Lambda(lambda x: x @ x)),
        # a module that the outer one does not hold: its place in the last that does
        "1.layers.2 (Linear)": Stack(nn.Lambda(lambda x: outside(x))),
        "layers.0 (Linear)": Stack(*[nn.Linear(12, 3)] * 2),
    }
    for layer, model in cases.items():
        with pytest.raises(ChainruleError, match=r"\n  in ") as caught:
            model(x)
        assert caught.value.layer == layer
    error = ShapeError("a", "b", "c", "d")
    error.layer = "x (Y)"
    try:
        raise AssertionError
    except AssertionError as here:
        place = (here.__traceback__.tb_frame.f_code, here.__traceback__.tb_lineno)
    assert str(error.located(place)).split("\n")[1:] == [
        "  in x (Y)",
        f"  at test_nn.py:{place[1]}: raise AssertionError",
    ]


def test_wrong_arguments_are_a_type_error_that_names_the_module():
    with pytest.raises(TypeError, match=r"^Conv2d\.forward\(x\): missing .*'x'$"):
        nn.Conv2d(1, 2, 3)()
    with pytest.raises(TypeError, match=r"^Linear\.forward\(x\): too many positional arguments$"):
        nn.Linear(2, 3)(cr.ones(2), 1)
    with pytest.raises(TypeError, match=r"^unsupported operand"):  # inside: as it is
        nn.Lambda(lambda x: x + {})(1)


def test_forward_hooks():
    model, x, seen = Stack(nn.Linear(3, 3), nn.ReLU()), cr.ones((2, 3)), []
    first = model.layers[0]

    def look(module, args, output):
        seen.append((module, args, output.shape))

    plain = model(x).numpy()
    handle, twin = (first.register_forward_hook(look) for _ in range(2))
    model(x)
    assert [s[0] for s in seen] == [first, first]
    assert seen[0][1] == (x,)
    assert seen[0][2] == (2, 3)
    twin.remove()
    assert np.array_equal(model(x).numpy(), plain)
    assert len(seen) == 3
    assert list(model.state_dict()) == ["layers.0.weight", "layers.0.bias"]
    handle.remove()
    handle.remove()
    one = first.register_forward_hook(lambda module, args, output: output * 0 + 1)
    two = first.register_forward_hook(lambda module, args, output: output * 2)
    assert (model(x).numpy() == 2).all(), "one after another"
    one.remove()
    two.remove()
    assert len(seen) == 3


def test_forward_hooks_in_a_compiled_step_run_while_it_is_traced():
    layer, calls, x = nn.Linear(3, 3), [], cr.ones((2, 3))
    step = cr.compile(lambda x: layer(x))
    plain = step(x).numpy()

    def double(module, args, output):
        calls.append(output)
        return output * 2

    handle = layer.register_forward_hook(double)
    for _ in range(2):
        np.testing.assert_allclose(step(x).numpy(), 2 * plain, rtol=1e-6)
    assert len(calls) == 1
    with pytest.raises(TraceError, match="after its trace had ended"):
        calls[0] + 1
    handle.remove()
    np.testing.assert_array_equal(step(x).numpy(), plain)


def test_every_layer_says_what_it_needs():
    cases = {
        "Linear": (nn.Linear(3, 2), (5, 4)),
        "Conv2d": (nn.Conv2d(3, 2, 3), (1, 3, 8, 8)),
        "BatchNorm2d": (nn.BatchNorm2d(3), (2, 3, 4, 4)),
        "LSTM": (nn.LSTM(3, 2), (5, 4)),
        "layer_norm": (nn.LayerNorm(3), (5, 4)),
    }
    for name, (layer, shape) in cases.items():
        with pytest.raises(ShapeError, match=rf"\[{name}\] got float32\["):
            layer(cr.ones(shape))
    with pytest.raises(ShapeError, match="larger batch"):
        nn.BatchNorm1d(3)(cr.ones((1, 3)))


def test_losses_refuse_what_only_seems_to_work():
    f = nn.functional
    with pytest.raises(ShapeError, match="not broadcast"):
        f.mse_loss(cr.ones((4, 1)), cr.ones(4))
    with pytest.raises(RangeError, match="class 3"):
        f.cross_entropy(cr.ones((2, 3)), cr.Tensor([0, 3]))
    with pytest.raises(DtypeError, match="class numbers"):
        f.nll_loss(cr.ones((2, 3)), cr.Tensor([0.0, 1.0]))
    with pytest.raises(RangeError, match="with_logits"):
        f.binary_cross_entropy(cr.Tensor([1.5]), cr.Tensor([1.0]))
    with pytest.raises(ArgumentError, match="reduction"):
        f.mse_loss(cr.ones(2), cr.ones(2), reduction="max")


def uniform(bound):
    return stats.uniform(-bound, 2 * bound)


INITIALISERS = {
    # how it fills a (200, 300) matrix, and the distribution that it should have
    "xavier_uniform": (nn.init.xavier_uniform_, uniform(math.sqrt(6 / 500))),
    "xavier_normal": (nn.init.xavier_normal_, stats.norm(0, math.sqrt(2 / 500))),
    "kaiming_uniform": (nn.init.kaiming_uniform_, uniform(math.sqrt(6 / 300))),
    "kaiming_normal": (
        lambda t: nn.init.kaiming_normal_(t, mode="fan_out", nonlinearity="relu"),
        stats.norm(0, math.sqrt(2 / 200))),
    "trunc_normal": (nn.init.trunc_normal_, stats.truncnorm(-2, 2)),
    "uniform": (lambda t: nn.init.uniform_(t, -1, 3), stats.uniform(-1, 4)),
    "normal": (lambda t: nn.init.normal_(t, 1, 2), stats.norm(1, 2)),
    "default of Linear": (
        lambda t: t.__setitem__(..., nn.Linear(300, 200).weight.detach()),
        uniform(1 / math.sqrt(300))),
}  # fmt: skip


@pytest.mark.parametrize("name", INITIALISERS)
def test_initialisers(name):
    fill, expected = INITIALISERS[name]
    cr.random.seed(1)
    t = cr.zeros((200, 300))
    fill(t)
    assert stats.kstest(t.numpy().reshape(-1), expected.cdf).pvalue > 1e-3


def test_orthogonal():
    t = nn.init.orthogonal_(cr.zeros((4, 6)), gain=2.0).numpy()
    np.testing.assert_allclose(t @ t.T, 4 * np.eye(4), atol=1e-5)


def test_dropout_keeps_the_mean():
    cr.random.seed(0)
    y = nn.Dropout(0.25)(cr.ones(100_000)).numpy()
    assert set(np.unique(y)) == {0.0, np.float32(1 / 0.75)}
    assert y.mean() == pytest.approx(1, abs=0.01)
    channels = nn.Dropout2d(0.5)(cr.ones((8, 4, 4, 16))).numpy()
    assert ((channels == 0).all((1, 2)) | (channels != 0).all((1, 2))).all()
    alpha = nn.AlphaDropout(0.3)(cr.random.normal((200_000,))).numpy()
    assert alpha.mean() == pytest.approx(0, abs=0.02)
    assert alpha.std() == pytest.approx(1, abs=0.02)


def test_embedding_bag_and_padding():
    bag = nn.EmbeddingBag(5, 2, padding_idx=0)
    table = bag.weight.numpy()
    out = bag(cr.Tensor([[1, 2, 0], [3, 0, 0]])).numpy()
    np.testing.assert_allclose(out, [table[[1, 2]].mean(0), table[3]], rtol=1e-6)
    embedding = nn.Embedding(5, 2, padding_idx=0)
    embedding(cr.Tensor([0, 1])).sum().backward()
    np.testing.assert_array_equal(embedding.weight.grad.numpy(), [[0, 0], [1, 1]] + [[0, 0]] * 3)


def test_upsample():
    x = cr.Tensor(np.arange(4.0).reshape(1, 2, 2, 1))
    assert nn.Upsample(2)(x).numpy()[0, :, :, 0].tolist() == [
        [0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3], [2, 2, 3, 3],
    ]  # fmt: skip
    assert nn.Upsample(2, "bilinear")(x).numpy()[0, 0, :, 0].tolist() == [0, 0.25, 0.75, 1]


def test_clipping_and_penalties():
    p, q = (nn.Parameter([v]) for v in (3.0, 4.0))
    ((p * p + q * q) / 2).sum().backward()
    assert nn.utils.clip_grad_norm_([p, q], 1.0).item() == pytest.approx(5)
    assert p.grad.item() == pytest.approx(0.6, rel=1e-6)
    nn.utils.clip_grad_value_([p, q], 0.7)
    assert q.grad.item() == pytest.approx(0.7)
    assert nn.utils.l1_penalty([p, q]).item() == 7
    assert nn.utils.l2_penalty([p, q]).item() == 12.5
    w = cr.Tensor([[3.0, 4.0], [0.3, 0.4]])
    nn.utils.max_norm_(w, 1.0)
    np.testing.assert_allclose(w.numpy(), [[0.6, 0.8], [0.3, 0.4]], rtol=1e-6)
    nn.utils.vector_to_parameters(cr.Tensor([1.0, 2.0]), [p, q])
    assert nn.utils.parameters_to_vector([p, q]).tolist() == [1, 2]


OPTIMIZERS = [optim.SGD, optim.Adam, optim.AdamW, optim.RMSprop, optim.Adagrad, optim.Lion]


@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_row_sparse_updates_touch_only_their_rows(kind):
    start = np.arange(10.0, dtype=np.float32).reshape(5, 2)
    tables = [nn.Parameter(start), nn.Parameter(start)]
    rows = cr.Tensor([3, 1, 3])
    for k, table in enumerate(tables):
        optimizer = kind([table], lr=0.1)
        picked = cr.take(table, rows, axis=0)
        if k:
            picked = cr.one_hot(rows, 5) @ table  # a dense gradient of the same value
        (picked * picked).sum().backward()
        assert isinstance(table.grad, cr.Tensor if k else cr.RowSparse)
        optimizer.step()
    sparse, dense = (t.numpy() for t in tables)
    np.testing.assert_allclose(sparse[[1, 3]], dense[[1, 3]], rtol=1e-6)
    np.testing.assert_array_equal(sparse[[0, 2, 4]], start[[0, 2, 4]])


def test_optimizer_state_continues_by_name():
    def run(steps, state=None):
        net = nn.Linear(3, 1)
        net.load_state_dict({"weight": np.ones((1, 3)), "bias": np.zeros(1)})
        optimizer = optim.Adam(net.named_parameters(), lr=0.1)
        if state:
            net.load_state_dict(state[0])
            optimizer.load_state_dict(state[1])
        for _ in range(steps):
            (net(cr.ones((2, 3))) ** 2).mean().backward()
            optimizer.step()
        return net.state_dict(), optimizer.state_dict()

    whole, (model, state) = run(10), run(6)
    assert "weight/exp_avg" in state
    continued = run(4, (model, state))
    np.testing.assert_array_equal(whole[0]["weight"], continued[0]["weight"])
    with pytest.raises(ArgumentError, match="load_state_dict"):
        optim.SGD(nn.Linear(3, 1).parameters()).load_state_dict(state)


def test_optimizer_settings_change_without_compiling_again():
    p = nn.Parameter([1.0])
    optimizer = optim.SGD([p], lr=1.0)

    @cr.compile
    def step():
        p.sum().backward()
        optimizer.step()

    step()
    assert p.item() == 0
    optimizer.param_groups[0]["lr"] = 0.5
    step()
    assert p.item() == -0.5
    assert len(step._steps) == 1
    optimizer.param_groups[0]["weight_decay"] = 2.0
    step()
    assert p.item() == pytest.approx(-0.5 - 0.5 * (1 + 2 * -0.5))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: optim.SGD([]), "no parameters"),
        (lambda: optim.SGD([nn.Parameter([1.0])], lr=-1), "lr -1"),
        (lambda: optim.Adam([nn.Parameter([1.0])], lr=math.nan), "lr nan"),
        (lambda: optim.Adam([nn.Parameter([1.0])], betas=(1.0, 0.9)), "betas"),
        (lambda: optim.SGD([cr.ones(1)]), "no parameters that require"),
        (lambda: optim.SGD([3]), "int among the parameters"),
        (lambda: optim.SGD([nn.Parameter([1.0])], nesterov=True), "nesterov"),
        (lambda: nn.Dropout(2), "p 2"),
        (lambda: nn.Conv2d(3, 4, 3, groups=2), "groups"),
        (lambda: nn.MultiheadAttention(6, 4), "4 heads"),
    ],
)
def test_bad_settings(make, words):
    with pytest.raises(ArgumentError, match=words):
        make()


def test_moving_average():
    p = nn.Parameter([0.0])
    average = optim.EMA([p], decay=0.5)
    with cr.no_grad():
        p += 4.0
    average.update()
    with average.applied():
        assert p.item() == 2
    assert p.item() == 4
    assert p.requires_grad


def test_accumulated_gradients_equal_the_full_batch():
    net = nn.Linear(3, 2)
    x, y = cr.random.normal((8, 3)), cr.Tensor([0, 1, -100, 1, 0, 0, 1, -100])
    nn.functional.cross_entropy(net(x), y).backward()
    whole = net.weight.grad.numpy()
    for k, part in enumerate((slice(0, 3), slice(3, 8))):
        loss = nn.functional.cross_entropy(net(x[part]), y[part], reduction="sum") / 6
        loss.backward(accumulate=k > 0)
    np.testing.assert_allclose(net.weight.grad.numpy(), whole, rtol=1e-5, atol=1e-7)


PARTS = {
    # the loss, and the settings under which it is cut into parts
    "binary_cross_entropy": {},
    "binary_cross_entropy_with_logits": {"pos_weight": 2.0},
    "cosine_embedding_loss": {"margin": 0.1},
    "cross_entropy": {"weight": [1.0, 2.0, 0.5, 1.5], "ignore_index": 2},
    "cross_entropy smooth": {"weight": [1.0, 2.0, 0.5, 1.5], "label_smoothing": 0.2},
    "cross_entropy probabilities": {"weight": [1.0, 2.0, 0.5, 1.5]},
    "gaussian_nll_loss": {},
    "hinge_embedding_loss": {},
    "huber_loss": {"delta": 0.5},
    "kl_div": {},
    "l1_loss": {},
    "margin_ranking_loss": {"margin": 0.3},
    "mse_loss": {},
    "nll_loss": {"weight": [1.0, 2.0, 0.5, 1.5]},
    "poisson_nll_loss": {},
    "smooth_l1_loss": {},
    "soft_margin_loss": {},
    "triplet_margin_loss": {},
}


def loss_inputs(name, rng, ignored, n=24):
    """The scores that are learned, and what else the loss takes."""
    x = rng.normal(size=(n, 4))
    chance = rng.uniform(0.1, 0.9, size=(n, 4))
    signs = rng.choice([-1.0, 1.0], size=(n, 4))
    kind = name.split("_")[0]
    if name.endswith("probabilities"):
        return x, chance / chance.sum(-1, keepdims=True)
    if kind in ("cross", "nll"):
        return x, np.where(rng.uniform(size=n) < 0.3, ignored, rng.integers(0, 4, n))
    more = {
        "cosine": (rng.normal(size=(n, 4)), signs[:, 0]), "gaussian": (signs, chance),
        "margin": (chance, signs), "triplet": (chance, signs), "hinge": (signs,), "soft": (signs,),
        "binary": (chance,), "kl": (chance,), "poisson": (chance,),
    }  # fmt: skip
    return (chance if name == "binary_cross_entropy" else x, *more.get(kind, (signs,)))


def test_every_loss_is_cut_into_parts_below():
    assert {name.split()[0] for name in PARTS} == set(losses.__all__)


@pytest.mark.parametrize("name", PARTS)
def test_sums_over_parts_and_their_weights_are_the_mean(name):
    rng = np.random.default_rng(0)
    function, settings = getattr(losses, name.split()[0]), PARTS[name]
    for _ in range(3):
        x, *others = loss_inputs(name, rng, settings.get("ignore_index", -100))
        logits, whole = (cr.Tensor(x, requires_grad=True) for _ in range(2))
        mean = function(whole, *others, **settings)
        mean.backward()
        cuts = sorted(rng.choice(np.arange(1, len(x)), 3, replace=False))
        rows = [slice(a, b) for a, b in zip([0, *cuts], [*cuts, len(x)], strict=True)]
        weights = [
            losses.total_weight(function.__name__, settings, x[r], *(o[r] for o in others))
            for r in rows
        ]
        assert all(w.shape == () and not w.requires_grad for w in weights)
        assert losses.total_weight(function, settings, x, *others).item() == pytest.approx(
            sum(w.item() for w in weights)
        )
        total = sum(weights[1:], weights[0])
        found = 0.0
        for k, r in enumerate(rows):
            part = function(logits[r], *(o[r] for o in others), reduction="sum", **settings)
            (part / total).backward(accumulate=k > 0)
            found += (part / total).item()
        assert found == pytest.approx(mean.item(), rel=1e-12)
        np.testing.assert_allclose(logits.grad.numpy(), whole.grad.numpy(), rtol=1e-10, atol=1e-14)


def test_total_weight_of_what_is_no_loss():
    with pytest.raises(ArgumentError, match=r"\[total_weight\] got the loss 'mse'"):
        losses.total_weight("mse", {}, cr.ones(2), cr.ones(2))


def test_schedules_say_what_they_follow():
    kinds = {k: getattr(optim, k) for k in optim.__all__ if hasattr(getattr(optim, k), "per")}
    assert {k for k, kind in kinds.items() if kind.per == "step"} == {"OneCycleLR", "WarmupCosine"}
    assert {kind.per for kind in kinds.values()} == {"step", "epoch"}
    assert {"ReduceLROnPlateau", "StepLR", "CosineAnnealingLR"} < kinds.keys()


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int32", "int64", "bool"])
def test_class_numbers_of_any_whole_dtype(dtype):
    scores = cr.Tensor([[2.0, 1.0], [0.5, 0.25], [0.0, 3.0]])
    target = np.array([0, 1, 1])
    wanted = -np.log(np.exp(scores.numpy())[range(3), target] / np.exp(scores.numpy()).sum(1))
    found = nn.functional.cross_entropy(scores, target.astype(dtype), reduction="none")
    np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-6)


def test_class_weights_and_one_hot_targets_that_do_not_fit():
    scores, target = np.zeros((4, 3), np.float32), np.zeros(4, np.int64)
    with pytest.raises(ShapeError, match="a factor for each class"):
        nn.functional.cross_entropy(scores, target, weight=[1.0, 2.0])
    with pytest.raises(ShapeError, match="argmax"):
        nn.functional.cross_entropy(scores, np.eye(4, 3, dtype=np.int64))


@pytest.mark.parametrize("lengths", [[6, 3], [-1, 3], [5], [5.0, 3.0], [5, 3, 2]])
def test_lengths_that_do_not_fit(lengths):
    with pytest.raises(ShapeError, match=r"LSTM.*lengths"):
        nn.LSTM(3, 4)(np.zeros((2, 5, 3), np.float32), lengths=lengths)


def test_what_sequential_and_optimizers_are_given():
    with pytest.raises(ArgumentError, match="unpack"):
        nn.Sequential([nn.Linear(2, 2)])
    with pytest.raises(ArgumentError, match="call it"):
        optim.Adam(nn.Linear(2, 2).parameters)


def test_a_frozen_parameter_stays_one():
    net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))
    names = [n for n, _ in net.named_parameters()]
    buffers = [n for n, _ in net.named_buffers()]
    for p in net.parameters():
        p.requires_grad = False
    for other in (net, copy.copy(net), copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert [n for n, _ in other.named_parameters()] == names
        assert [n for n, _ in other.named_buffers()] == buffers
        assert list(other.state_dict()) == list(net.state_dict())
        assert str(other.summary((4, 2))).count("(0 trained, 19 frozen)") == 1
    for p in net.parameters():
        p.requires_grad = True
    assert all(p.requires_grad for p in net.parameters())
    assert len(net.freeze().parameters()) == len(names)
    assert not any(p.requires_grad for p in net.parameters())


def test_parameters_are_remembered_wherever_they_stand():
    class Listed(nn.Module):
        def __init__(self):
            self.direct = nn.Parameter([1.0])
            self.many = []
            self.many.append(nn.Parameter([2.0]))
            self.named = {"a": nn.Parameter([3.0]), "plain": cr.ones(1)}

    m = Listed()
    m.direct.requires_grad = False  # before anybody has asked for the parameters
    assert [n for n, _ in m.named_parameters()] == ["direct", "many.0", "named.a"]
    m.freeze()
    assert [n for n, _ in m.named_parameters()] == ["direct", "many.0", "named.a"]
    assert [n for n, _ in m.named_buffers()] == ["named.plain"]


def test_a_target_network_follows_though_it_is_frozen():
    source, target = nn.Linear(2, 1), nn.Linear(2, 1).freeze()
    with cr.no_grad():
        for t, s in zip(target.parameters(), source.parameters(), strict=True):
            t[...] = s
    np.testing.assert_array_equal(target.weight.numpy(), source.weight.numpy())
    assert not target.weight.requires_grad


@pytest.mark.parametrize("compiled", [False, True])
def test_optimizers_leave_frozen_parameters_as_they_are(compiled):
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 1))
    net(cr.ones((4, 2))).sum().backward()  # the layer that is frozen now has an old gradient
    net[0].freeze()
    optimizer = optim.SGD(net.parameters(), lr=0.1, weight_decay=0.5)
    before = net.state_dict()

    def step():
        net(cr.ones((4, 2))).sum().backward()
        optimizer.step()

    run = cr.compile(step) if compiled else step
    run()
    after = net.state_dict()
    assert [np.array_equal(after[k], before[k]) for k in before] == [True, True, False, False]
    net.unfreeze()
    run()
    assert not np.array_equal(net[0].weight.numpy(), before["0.weight"])


def test_what_was_computed_is_no_parameter():
    class Keeps(nn.Module):
        def __init__(self):
            self.layer = nn.Linear(2, 2)

        def forward(self, x):
            self.hidden = self.layer(x)
            return self.hidden

    m = Keeps()
    m(cr.ones((1, 2)))
    names = ["layer.weight", "layer.bias"]
    assert [n for n, _ in m.named_parameters()] == names
    assert list(m.state_dict()) == names
    assert not list(m.named_buffers())
    with pytest.raises(ArgumentError, match=r"got h, float32\[1,2\], which is computed.*detach"):
        optim.SGD([("h", m.hidden)])


@pytest.mark.parametrize("value", [np.zeros((2, 2)), cr.zeros((2, 2)), 0.0, [[0.0, 0.0]] * 2])
@pytest.mark.parametrize("frozen", [False, True])
def test_a_parameter_is_not_replaced_by_what_is_none(value, frozen):
    m = nn.Sequential(nn.Linear(2, 2))
    if frozen:
        m.freeze()
    with pytest.raises(ArgumentError, match=r"m\.weight\[\.\.\.\] = value; or .*Parameter"):
        m[0].weight = value
    m[0].weight = nn.Parameter(cr.zeros((2, 2)))
    m[0].bias = None
    assert [n for n, _ in m.named_parameters()] == ["0.weight"]
    with cr.no_grad():
        m[0].weight += 1.0
    assert m[0].weight.numpy().tolist() == [[1.0, 1.0], [1.0, 1.0]]


def test_sequential_is_cut_extended_and_changed():
    a, b, c = nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)
    net = nn.Sequential(a, b)
    assert net.append(c) is net
    assert list(net[1:]) == [b, c]
    assert isinstance(net[:2], nn.Sequential)
    net[-2] = nn.Tanh()
    assert "(1): Tanh()" in repr(net)
    x = cr.ones((1, 2))
    np.testing.assert_array_equal(net(x).numpy(), c(cr.tanh(a(x))).numpy())
    assert [n for n, _ in net.named_parameters()] == ["0.weight", "0.bias", "2.weight", "2.bias"]
    with pytest.raises(IndexError):
        net[3] = b


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
@pytest.mark.parametrize("dtype", ["int64", "float16", "bool"])
def test_recurrent_layers_take_what_linear_takes(kind, dtype):
    layer, x = kind(1, 2), np.array([[[0.0], [1.0], [1.0]]])
    expected = layer(cr.Tensor(x, dtype="float32"))[0]
    out = layer(cr.Tensor(x).astype(dtype))[0]
    assert out.dtype == cr.float32
    np.testing.assert_array_equal(out.numpy(), expected.numpy())


MISTAKES = {
    "a class": (lambda: nn.Sequential(nn.Linear(4, 4), nn.ReLU), r"class ReLU; .*nn\.ReLU\(\)"),
    "recurrent in Sequential": (
        lambda: nn.Sequential(nn.Embedding(5, 3), nn.LSTM(3, 2), nn.Linear(2, 1))(cr.Tensor([[1]])),
        r"\(outputs, state\) from layer 1 \(LSTM\); one tensor is needed for layer 2 \(Linear\); "
        r".*nn\.Lambda\(lambda out: out\[0\]\).*out\[0\]\[:, -1\]",
    ),
    "state of LSTM": (
        lambda: nn.LSTM(1, 2)(cr.ones((1, 1, 1)), cr.zeros((1, 1, 2))), r"the tuple \(h, c\)"),
    "state of GRU": (
        lambda: nn.GRU(1, 2)(cr.ones((1, 1, 1)), (cr.zeros((1, 1, 2)),) * 2), "one tensor h"),
    "optimizer of a model": (lambda: optim.Adam(nn.Linear(1, 1)), r"call it: model\.parameters"),
    "average of a model": (lambda: optim.EMA(nn.Linear(1, 1)), r"call it: model\.parameters"),
    "group typo": (
        lambda: optim.SGD([{"parameters": nn.Linear(1, 1).parameters()}], lr=0.1),
        'group of \'parameters\'; "params" and of lr'),
    "group setting": (
        lambda: optim.SGD([{"params": nn.Linear(1, 1).parameters(), "learning_rate": 1}]),
        "learning_rate"),
    "a number of parameters": (lambda: optim.SGD(3), "got int for the parameters"),
    "one beta": (lambda: optim.Adam(nn.Linear(1, 1).parameters(), betas=0.9), "two numbers"),
    "lr as text": (lambda: optim.SGD(nn.Linear(1, 1).parameters(), lr="0.1"), "got lr '0.1'"),
    "state from a path": (lambda: nn.Linear(1, 1).load_state_dict("m.pt"), "load_file"),
    "optimizer's state from a path": (
        lambda: optim.SGD(nn.Linear(1, 1).parameters()).load_state_dict("m.pt"), "load_file"),
    "a missing name alone": (
        lambda: nn.Linear(1, 1).load_state_dict({"weight": np.ones((1, 1))}),
        "got 1 tensors without bias; exactly"),
    "twice": (lambda: optim.SGD([nn.Parameter([1.0])] * 2), "0 twice|1 twice"),
    "inplace": (lambda: nn.ReLU(inplace=True), "inplace=True; .*leave it out"),
    "device": (lambda: nn.Linear(1, 1, device="cuda"), "device='cuda'; .*leave it out"),
    "dim": (lambda: nn.Softmax(dim=1), r"dim=1; Softmax\(axis\); write axis="),
    "a dim that is none": (lambda: nn.Flatten(dim=1), r"Flatten\(start_dim, end_dim\); use the"),
    "dim of a function": (lambda: nn.functional.softmax(cr.ones(2), dim=0), "write axis="),
    "sequence first": (
        lambda: nn.TransformerEncoderLayer(4, 2, batch_first=False), "batch first; .*moveaxis"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_usual_mistakes_are_told(name):
    run, words = MISTAKES[name]
    with pytest.raises(ChainruleError, match=words) as caught:
        run()
    assert str(caught.value).splitlines()[0].count(";") >= 2


def test_batch_first_may_be_said():
    nn.TransformerEncoderLayer(4, 2, batch_first=True)
    nn.MultiheadAttention(4, 2, batch_first=True)


@pytest.mark.parametrize(
    "name", ["to", "cuda", "fit", "predict", "compile", "save", "zero_grad", "register_buffer",
             "buffers", "requires_grad_", "half", "add"],
)  # fmt: skip
def test_other_libraries_methods_are_answered(name):
    with pytest.raises(AttributeError, match=f"Linear has no attribute '{name}'; here it is "):
        getattr(nn.Linear(1, 1), name)
    with pytest.raises(AttributeError, match=r"no attribute 'weights'$"):
        nn.Linear(1, 1).weights  # noqa: B018
