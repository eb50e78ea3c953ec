"""Weights to and from PyTorch: the same layers with them give the same, in both directions."""

from collections import OrderedDict

import numpy as np
import pytest
import torch

import chainrule as cr
from chainrule import nn
from chainrule.interop.torch import load_state_dict, to_torch

T = torch.nn
IMAGE, LINE, CUBE = (2, 12, 12, 3), (2, 9, 3), (2, 5, 6, 7, 3)
WORDS = np.random.default_rng(0).integers(0, 11, (3, 7))


def sizes(*layers):
    """The same layers of both, one after the other: (name, arguments)."""
    return lambda m: m.Sequential(*(getattr(m, name)(*args) for name, *args in layers))


def attention(m, **settings):
    return m.MultiheadAttention(8, 2, batch_first=True, **settings)


def encoder(m, **settings):
    return m.TransformerEncoderLayer(8, 2, 16, batch_first=True, **settings)


def recurrent(kind, *args, **settings):
    return lambda m: getattr(m, kind)(4, 6, *args, batch_first=True, **settings)


LAYERS = {
    "Linear": (sizes(("Linear", 5, 4)), (3, 5)),
    "Linear, no bias": (sizes(("Linear", 5, 5, False)), (3, 5)),
    "Bilinear": (lambda m: m.Bilinear(4, 5, 3), [(3, 4), (3, 5)]),
    "Embedding": (lambda m: m.Embedding(11, 4), WORDS),
    "Embedding, padding": (lambda m: m.Embedding(11, 4, padding_idx=1), WORDS),
    "EmbeddingBag": (lambda m: m.EmbeddingBag(11, 4, mode="sum"), WORDS),
    "PReLU": (lambda m: m.PReLU(), (3, 4)),
    "PReLU of images": (lambda m: m.PReLU(3), IMAGE),
    "Conv1d": (lambda m: m.Conv1d(3, 3, 3), LINE),
    "Conv1d, groups": (lambda m: m.Conv1d(3, 6, 3, 2, 1, 1, 3), LINE),
    "Conv2d": (lambda m: m.Conv2d(3, 3, 3), IMAGE),
    "Conv2d, oblong": (lambda m: m.Conv2d(3, 5, (2, 4), (2, 1), (1, 2)), IMAGE),
    "Conv2d, groups": (lambda m: m.Conv2d(3, 9, 3, groups=3, bias=False), IMAGE),
    "Conv3d": (lambda m: m.Conv3d(3, 3, 3, padding=1), CUBE),
    "ConvTranspose1d": (lambda m: m.ConvTranspose1d(3, 3, 3, 2), LINE),
    "ConvTranspose2d": (lambda m: m.ConvTranspose2d(3, 4, (3, 2), 2, 1), IMAGE),
    "ConvTranspose2d, groups": (lambda m: m.ConvTranspose2d(3, 6, 3, 2, 1, 1, 3), IMAGE),
    "ConvTranspose3d": (lambda m: m.ConvTranspose3d(3, 3, 3), CUBE),
    "BatchNorm1d": (lambda m: m.BatchNorm1d(5), (4, 5)),
    "BatchNorm2d": (lambda m: m.BatchNorm2d(3), IMAGE),
    "BatchNorm3d": (lambda m: m.BatchNorm3d(3, affine=False), CUBE),
    "InstanceNorm2d": (lambda m: m.InstanceNorm2d(3, affine=True), IMAGE),
    "InstanceNorm2d, tracked": (lambda m: m.InstanceNorm2d(3, track_running_stats=True), IMAGE),
    "GroupNorm": (lambda m: m.GroupNorm(3, 3), IMAGE),
    "pixels as channels": (
        sizes(
            ("PixelUnshuffle", 2),
            ("Conv2d", 12, 8, 3),
            ("PixelShuffle", 2),
            ("Flatten",),
            ("Linear", 128, 4),
        ),
        IMAGE,
    ),
    "LayerNorm": (lambda m: m.LayerNorm(5), (4, 5)),
    "LayerNorm, no bias": (lambda m: m.LayerNorm((4, 5), bias=False), (2, 4, 5)),
    "RMSNorm": (lambda m: m.RMSNorm(5), (4, 5)),
    "RNN": (recurrent("RNN", 2, "relu"), (3, 7, 4)),
    "LSTM": (recurrent("LSTM", 2, bidirectional=True), (3, 7, 4)),
    "GRU": (recurrent("GRU", bias=False), (3, 7, 4)),
    "MultiheadAttention": (attention, [(2, 5, 8)] * 3),
    "MultiheadAttention, no bias": (lambda m: attention(m, bias=False), [(2, 5, 8)] * 3),
    "TransformerEncoderLayer": (encoder, (2, 5, 8)),
    "TransformerEncoderLayer, norm first": (lambda m: encoder(m, norm_first=True), (2, 5, 8)),
    "LeNet": (
        sizes(
            ("Conv2d", 3, 6, 3),
            ("ReLU",),
            ("MaxPool2d", 2),
            ("Conv2d", 6, 8, 2),
            ("ReLU",),
            ("Flatten",),
            ("Dropout", 0.5),
            ("Linear", 128, 12),
            ("ReLU",),
            ("Linear", 12, 4),
        ),
        IMAGE,
    ),
    "batch norm": (
        sizes(
            ("Conv2d", 3, 4, 3),
            ("BatchNorm2d", 4),
            ("ReLU",),
            ("AvgPool2d", 2),
            ("Flatten",),
            ("BatchNorm1d", 100),
            ("PReLU", 100),
            ("LayerNorm", 100),
            ("Linear", 100, 4),
        ),
        IMAGE,
    ),
    "pooled to one": (
        sizes(("Conv2d", 3, 4, 3), ("AdaptiveAvgPool2d", 1), ("Flatten",), ("Linear", 4, 4)),
        IMAGE,
    ),
    "layer norm of images": (
        lambda m: m.Sequential(
            m.Conv2d(3, 5, 3),
            m.LayerNorm((10, 10, 5) if m is nn else (5, 10, 10)),
            m.Flatten(),
            m.Linear(500, 4),
        ),
        IMAGE,
    ),
    "batch norm first": (sizes(("BatchNorm2d", 3), ("Flatten",), ("Linear", 432, 4)), IMAGE),
    "text": (sizes(("Embedding", 11, 4), ("Flatten",), ("Linear", 28, 5), ("LayerNorm", 5)), WORDS),
    "sequence": (sizes(("Conv1d", 3, 4, 3), ("Tanh",), ("Flatten",), ("Linear", 28, 4)), LINE),
    "named": (
        lambda m: (
            m.Sequential(
                OrderedDict(features=m.Conv2d(3, 4, 3), flat=m.Flatten(), head=m.Linear(400, 4))
            )
            if m is T
            else m.Sequential(features=m.Conv2d(3, 4, 3), flat=m.Flatten(), head=m.Linear(400, 4))
        ),
        IMAGE,
    ),
    "nested": (
        lambda m: m.Sequential(
            sizes(("Conv2d", 3, 4, 3), ("ReLU",))(m),
            m.Sequential(m.MaxPool2d(2), m.Flatten(), m.Linear(100, 4)),
        ),
        IMAGE,
    ),
}


def inputs(shapes):
    rng = np.random.default_rng(1)
    if isinstance(shapes, np.ndarray):
        return [shapes]
    shapes = shapes if isinstance(shapes, list) else [shapes]
    return [rng.normal(size=s).astype(np.float32) for s in shapes]


def randomised(theirs):
    """With every parameter and running statistic its own number; in evaluation mode."""
    torch.manual_seed(0)
    with torch.no_grad():
        for value in theirs.state_dict().values():
            if value.is_floating_point():
                value.uniform_(0.1, 1.0).mul_(1 / max(1, value[0].numel()) if value.ndim > 1 else 1)
    return theirs.eval()


def expect_equal(ours, theirs, shapes, rtol=1e-5):
    given = inputs(shapes)
    first = any(given[0].shape == s for s in (IMAGE, LINE, CUBE))  # channels first in PyTorch
    out = ours.eval()(*map(cr.Tensor, given))
    expected = theirs(
        *(
            torch.from_numpy(np.ascontiguousarray(np.moveaxis(x, -1, 1)) if first else x)
            for x in given
        )
    )
    out, expected = (r[0] if isinstance(r, tuple) else r for r in (out, expected))
    wanted = expected.detach().numpy()
    wanted = np.moveaxis(wanted, 1, -1) if first and wanted.ndim > 2 else wanted
    np.testing.assert_allclose(out.numpy(), wanted, rtol=rtol, atol=1e-5)


@pytest.mark.parametrize("name", LAYERS)
def test_weights_go_both_ways(name):
    make, shapes = LAYERS[name]
    torch.manual_seed(0)
    ours, theirs = make(nn), randomised(make(T))
    load_state_dict(ours, theirs.state_dict())
    expect_equal(ours, theirs, shapes)
    again = make(T).eval()
    again.load_state_dict(to_torch(ours))
    for key, value in theirs.state_dict().items():
        assert torch.equal(again.state_dict()[key], value), key
    cr.random.seed(1)
    fresh = make(nn)
    again.load_state_dict(to_torch(fresh))
    expect_equal(fresh, again, shapes)


def lenet(m):
    """A custom forward: no Sequential shows what reads a flattened image."""

    class LeNet(m.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.fc1, self.fc2 = m.Conv2d(3, 8, 3), m.Linear(200, 8), m.Linear(8, 4)
            self.pool, self.norm = m.MaxPool2d(2), m.BatchNorm1d(200)

        def forward(self, x):
            x = self.pool(self.conv(x))
            return self.fc2(self.fc1(self.norm(x.reshape((len(x), -1)))))

    return LeNet()


def test_a_forward_of_its_own_says_what_is_flattened():
    ours, theirs = lenet(nn), randomised(lenet(T))
    with pytest.raises(
        cr.ChainruleError, match=r"got fc1, fc2, norm .*flattened=\{\"fc1\": 8\}"
    ) as caught:
        load_state_dict(ours, theirs.state_dict())
    assert "test_interop.py" in str(caught.value)
    flattened = {"fc1": 8, "norm": 8}
    load_state_dict(ours, theirs.state_dict(), flattened=flattened)
    expect_equal(ours, theirs, IMAGE)
    again = lenet(T).eval()
    again.load_state_dict(to_torch(ours, flattened=flattened))
    expect_equal(ours, again, IMAGE)
    with pytest.raises(cr.ChainruleError, match="of_images"):
        load_state_dict(ours, theirs.state_dict(), flattened={"of_images": 8})
    with pytest.raises(cr.ChainruleError, match=r"'fc1': 7.*3 or 8 channels; .*'fc1': 8"):
        load_state_dict(ours, theirs.state_dict(), flattened={"fc1": 7})


def vgg(m):
    class VGG(m.Module):
        def __init__(self):
            super().__init__()
            self.features = sizes(("Conv2d", 3, 4, 3), ("ReLU",), ("MaxPool2d", 2))(m)
            self.pool = m.AdaptiveAvgPool2d(2)
            self.classifier = sizes(("Linear", 16, 8), ("ReLU",), ("Linear", 8, 4))(m)

        def forward(self, x):
            x = self.pool(self.features(x))
            return self.classifier(x.reshape((len(x), -1)))

    return VGG()


def test_inner_layers_are_named_by_their_paths():
    ours, theirs = vgg(nn), randomised(vgg(T))
    with pytest.raises(cr.ChainruleError, match=r"got classifier\.0 behind"):
        load_state_dict(ours, theirs.state_dict())
    load_state_dict(ours, theirs.state_dict(), flattened={"classifier.0": 4})
    expect_equal(ours, theirs, IMAGE)


def language(m):
    """An embedding whose weight the head shares, an LSTM, encoder layers in a list."""

    class Language(m.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.rnn = m.Embedding(11, 8), m.LSTM(8, 8, batch_first=True)
            blocks = [encoder(m), encoder(m, norm_first=True)]
            self.blocks = blocks if m is nn else m.ModuleList(blocks)
            self.head = m.Linear(8, 11)
            self.head.weight = self.embed.weight

        def forward(self, x):
            x = self.rnn(self.embed(x))[0]
            for block in self.blocks:
                x = block(x)
            return self.head(x)

    return Language()


def test_shared_weights_wrappers_and_other_names():
    theirs = randomised(language(T))
    state = theirs.state_dict()
    for names, given in (
        ({}, state),
        ({}, {f"module.{k}": v for k, v in state.items()}),
        (
            {"encoder.layers": "blocks"},
            {k.replace("blocks", "encoder.layers"): v for k, v in state.items()},
        ),
    ):
        ours = language(nn)
        load_state_dict(ours, given, names=names)
        expect_equal(ours, theirs, WORDS)
    assert to_torch(ours).keys() == state.keys()
    other = {**state, "head.weight": state["head.weight"] + 1}
    with pytest.raises(cr.ChainruleError, match="two values for embed"):
        load_state_dict(language(nn), other)


def test_projections_apart_become_one():
    theirs = randomised(attention(T))
    state = theirs.state_dict()
    for kind, sep in (("weight", "_"), ("bias", ".")):
        parts = state.pop(f"in_proj_{kind}").chunk(3)
        state |= {f"{part}_proj{sep}{kind}": w for part, w in zip("qkv", parts, strict=True)}
    ours = attention(nn)
    load_state_dict(ours, state)
    expect_equal(ours, theirs, [(2, 5, 8)] * 3)


def test_arrays_and_bfloat16_are_taken_too():
    theirs = T.Conv2d(2, 2, 2)
    arrays = {k: v.numpy() for k, v in theirs.state_dict().items()}
    half = {k: v.bfloat16() for k, v in theirs.state_dict().items()}
    ours, other = nn.Conv2d(2, 2, 2), nn.Conv2d(2, 2, 2)
    load_state_dict(ours, arrays)
    load_state_dict(other, half)
    np.testing.assert_allclose(ours.weight.numpy(), other.weight.numpy(), rtol=1e-2)
    with pytest.raises(cr.ChainruleError, match="got object for weight"):
        load_state_dict(ours, {**arrays, "weight": object()})
    with pytest.raises(cr.ChainruleError, match="without bias"):
        load_state_dict(ours, {"weight": arrays["weight"]})
    for run in (to_torch, lambda model: load_state_dict(model, arrays)):
        with pytest.raises(cr.ChainruleError, match="got a Conv2d; expected a chainrule"):
            run(theirs)
    load_state_dict(ours, {"weight": arrays["weight"]}, strict=False)


REFUSED = {
    "flattened input": (sizes(("Flatten",), ("Linear", 9, 4)), "got 1 behind"),
    "a function between": (
        lambda m: m.Sequential(
            m.Conv2d(3, 4, 3),
            (nn.Lambda if m is nn else lambda f: T.Identity())(abs),
            m.Flatten(),
            m.Linear(400, 4),
        ),
        r"got 3 behind .*flattened=\{\"3\": 16\}",
    ),
    "part of an image": (
        sizes(("Conv2d", 3, 4, 3), ("Flatten", 2), ("Linear", 40, 4)),
        "got 2 behind",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_told_is_refused(name):
    make, words = REFUSED[name]
    with pytest.raises(cr.ChainruleError, match=words):
        load_state_dict(make(nn), make(T).state_dict())
    with pytest.raises(cr.ChainruleError, match=words):
        to_torch(make(nn))


@pytest.mark.parametrize(
    "make",
    [
        lambda m: m.Conv2d(3, 3, 3),
        lambda m: m.ConvTranspose1d(2, 2, 2),
        REFUSED["flattened input"][0],
    ],
)
def test_a_plain_load_of_pytorchs_tensors_is_refused_where_the_order_differs(make):
    ours = make(nn)
    before = ours.state_dict()
    with pytest.raises(cr.ChainruleError, match=r"cr\.interop\.torch\.load_state_dict"):
        ours.load_state_dict(make(T).state_dict())
    assert all(np.array_equal(v, before[k]) for k, v in ours.state_dict().items())
    ours.load_state_dict(before)
    ours.load_state_dict({k: cr.Tensor(v) for k, v in before.items()})


def test_arrays_over_pytorchs_memory_are_pytorchs():
    theirs = T.Conv2d(3, 3, 3)
    arrays = {k: v.numpy() for k, v in theirs.state_dict().items()}
    with pytest.raises(cr.ChainruleError, match="got a tensor of PyTorch for weight"):
        nn.Conv2d(3, 3, 3).load_state_dict(arrays)
    arrays["weight"] = arrays["weight"].transpose(2, 3, 1, 0)  # put in order by hand
    ours = nn.Conv2d(3, 3, 3)
    ours.load_state_dict(arrays)
    expect_equal(ours, theirs, IMAGE)


def test_a_shape_in_pytorchs_order_names_the_way():
    arrays = {k: v.numpy().copy() for k, v in T.Conv2d(3, 4, 5).state_dict().items()}
    with pytest.raises(cr.ChainruleError, match=r"load PyTorch's weights with cr\.interop"):
        nn.Conv2d(3, 4, 5).load_state_dict(arrays)
    nn.Linear(3, 4).load_state_dict(T.Linear(3, 4).state_dict())  # of one order
