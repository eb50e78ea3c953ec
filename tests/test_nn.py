"""Modules, their state, initialisers, utilities and optimizers, beside what parity covers."""

import math

import numpy as np
import pytest
from scipy import stats

import chainrule as cr
from chainrule import nn, optim
from chainrule.errors import ArgumentError, DtypeError, RangeError, ShapeError


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
        (lambda: optim.SGD([cr.ones(1)]), "not trained"),
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
