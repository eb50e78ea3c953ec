"""Modules, their state, hooks, initializers and errors, beside what parity covers."""

import copy
import math
import pickle

import numpy as np
import pytest
from scipy import stats

import chainrule as cr
from chainrule import nn, optim
from chainrule.errors import ArgumentError, ChainruleError, ShapeError, TraceError


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
        "first.weight",
        "first.bias",
        "blocks.0.weight",
        "blocks.0.bias",
        "named.head.0.weight",
        "named.head.0.bias",
        "named.head.1.weight",
        "named.head.1.bias",
        "scale",
    ]
    assert [n for n, _ in net.named_buffers()] == [
        "named.head.0.running_mean",
        "named.head.0.running_var",
        "named.head.0.num_batches_tracked",
    ]
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
    assert not np.array_equal(f(x).numpy(), f(x).numpy()), "dropout draws new masks"
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
    assert lines[0].startswith("[Linear] got float32[8,10]; expected (..., 12); set in_features")
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


def uniform(bound):
    return stats.uniform(-bound, 2 * bound)


INITIALISERS = {
    # how it fills a (200, 300) matrix, and the distribution that it should have
    "xavier_uniform": (nn.init.xavier_uniform_, uniform(math.sqrt(6 / 500))),
    "xavier_normal": (nn.init.xavier_normal_, stats.norm(0, math.sqrt(2 / 500))),
    "kaiming_uniform": (nn.init.kaiming_uniform_, uniform(math.sqrt(6 / 300))),
    "kaiming_normal": (
        lambda t: nn.init.kaiming_normal_(t, mode="fan_out", nonlinearity="relu"),
        stats.norm(0, math.sqrt(2 / 200)),
    ),
    "trunc_normal": (nn.init.trunc_normal_, stats.truncnorm(-2, 2)),
    "uniform": (lambda t: nn.init.uniform_(t, -1, 3), stats.uniform(-1, 4)),
    "normal": (lambda t: nn.init.normal_(t, 1, 2), stats.norm(1, 2)),
    "default of Linear": (
        lambda t: t.__setitem__(..., nn.Linear(300, 200).weight.detach()),
        uniform(1 / math.sqrt(300)),
    ),
}


@pytest.mark.parametrize("name", INITIALISERS)
def test_initializers(name):
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
    samples = nn.StochasticDepth(0.25)(cr.ones((10_000, 2, 3))).numpy()
    assert (samples == samples[:, :1, :1]).all()
    assert set(np.unique(samples)) == {0.0, np.float32(1 / 0.75)}
    assert samples.mean() == pytest.approx(1, abs=0.03)
    assert (nn.StochasticDepth(0.25).eval()(samples).numpy() == samples).all()
    alpha = nn.AlphaDropout(0.3)(cr.random.normal((200_000,))).numpy()
    assert alpha.mean() == pytest.approx(0, abs=0.02)
    assert alpha.std() == pytest.approx(1, abs=0.02)


def test_squeeze_and_excitation():
    layer, x = nn.SqueezeExcitation(4, 2), np.random.default_rng(0).normal(size=(3, 5, 6, 4))
    (w1, b1), (w2, b2) = ((m.weight.numpy(), m.bias.numpy()) for m in (layer.fc1, layer.fc2))
    hidden = np.maximum(x.mean((1, 2)) @ w1.T + b1, 0)
    factors = 1 / (1 + np.exp(-(hidden @ w2.T + b2)))
    np.testing.assert_allclose(layer(x).numpy(), x * factors[:, None, None], rtol=1e-6)


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
    assert nn.Upsample(scale_factor=2)(x).numpy()[0, :, :, 0].tolist() == [
        [0, 0, 1, 1],
        [0, 0, 1, 1],
        [2, 2, 3, 3],
        [2, 2, 3, 3],
    ]
    assert nn.Upsample(scale_factor=2, mode="bilinear")(x).numpy()[0, 0, :, 0].tolist() == [
        0,
        0.25,
        0.75,
        1,
    ]


@pytest.mark.parametrize("lengths", [[6, 3], [-1, 3], [5], [5.0, 3.0], [5, 3, 2]])
def test_lengths_that_do_not_fit(lengths):
    with pytest.raises(ShapeError, match=r"LSTM.*lengths"):
        nn.LSTM(3, 4)(np.zeros((2, 5, 3), np.float32), lengths=lengths)


def test_what_sequential_and_optimizers_are_given():
    with pytest.raises(ArgumentError, match="unpack"):
        nn.Sequential([nn.Linear(2, 2)])
    with pytest.raises(ArgumentError, match="call it"):
        optim.Adam(nn.Linear(2, 2).parameters)


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
        r"\(outputs, state\) from layer 1 \(LSTM\); expected one tensor for layer 2 \(Linear\); "
        r".*nn\.Lambda\(lambda out: out\[0\]\).*out\[0\]\[:, -1\]",
    ),
    "state of LSTM": (
        lambda: nn.LSTM(1, 2)(cr.ones((1, 1, 1)), cr.zeros((1, 1, 2))),
        r"the tuple \(h, c\)",
    ),
    "state of GRU": (
        lambda: nn.GRU(1, 2)(cr.ones((1, 1, 1)), (cr.zeros((1, 1, 2)),) * 2),
        "one tensor h",
    ),
    "optimizer of a model": (lambda: optim.Adam(nn.Linear(1, 1)), r"call it: model\.parameters"),
    "average of a model": (lambda: optim.EMA(nn.Linear(1, 1)), r"call it: model\.parameters"),
    "group typo": (
        lambda: optim.SGD([{"parameters": nn.Linear(1, 1).parameters()}], lr=0.1),
        "group of 'parameters'; expected \"params\" and some of lr",
    ),
    "group setting": (
        lambda: optim.SGD([{"params": nn.Linear(1, 1).parameters(), "learning_rate": 1}]),
        "learning_rate",
    ),
    "a number of parameters": (lambda: optim.SGD(3), "got int for the parameters"),
    "one beta": (lambda: optim.Adam(nn.Linear(1, 1).parameters(), betas=0.9), "two numbers"),
    "lr as text": (lambda: optim.SGD(nn.Linear(1, 1).parameters(), lr="0.1"), "got lr '0.1'"),
    "state from a path": (lambda: nn.Linear(1, 1).load_state_dict("m.pt"), "load_file"),
    "optimizer's state from a path": (
        lambda: optim.SGD(nn.Linear(1, 1).parameters()).load_state_dict("m.pt"),
        "load_file",
    ),
    "a missing name alone": (
        lambda: nn.Linear(1, 1).load_state_dict({"weight": np.ones((1, 1))}),
        "got 1 tensors without bias; expected exactly",
    ),
    "twice": (lambda: optim.SGD([nn.Parameter([1.0])] * 2), "0 twice|1 twice"),
    "inplace": (lambda: nn.ReLU(inplace=True), "inplace=True; .*leave it out"),
    "device": (lambda: nn.Linear(1, 1, device="cuda"), "device='cuda'; .*leave it out"),
    "dim": (lambda: nn.Softmax(dim=1), r"dim=1; expected Softmax\(axis\); write axis="),
    "a dim that is none": (lambda: nn.Flatten(dim=1), r"Flatten\(start_dim, end_dim\); use the"),
    "dim of a function": (lambda: nn.functional.softmax(cr.ones(2), dim=0), "write axis="),
    "sequence first": (
        lambda: nn.TransformerEncoderLayer(4, 2, batch_first=False),
        "batch first; .*moveaxis",
    ),
}


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
    "name",
    [
        "to",
        "cuda",
        "fit",
        "predict",
        "compile",
        "save",
        "zero_grad",
        "register_buffer",
        "buffers",
        "requires_grad_",
        "half",
        "add",
    ],
)
def test_other_libraries_methods_are_answered(name):
    with pytest.raises(AttributeError, match=f"Linear has no attribute '{name}'; here it is "):
        getattr(nn.Linear(1, 1), name)
    with pytest.raises(AttributeError, match=r"no attribute 'weights'$"):
        nn.Linear(1, 1).weights  # noqa: B018
