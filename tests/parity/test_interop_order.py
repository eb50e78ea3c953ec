"""PyTorch's weights where custom code rearranges elements: asked for, then right; never guessed."""

import functools
import operator

import numpy as np
import pytest
import torch

import chainrule as cr
from chainrule import nn
from chainrule.interop.torch import load_state_dict, to_torch

IMAGE = np.random.default_rng(0).normal(size=(2, 4, 4, 3)).astype(np.float32)


def flat(x):
    return x.reshape(x.shape[0], -1)


def flat_by_another(x):
    return flat(x)


class Forward(nn.Module):
    def __init__(self, flatten):
        self.fc, self.flatten_it = nn.Linear(48, 2), flatten

    def forward(self, x):
        return self.fc(self.rows(x))

    def rows(self, x):
        return x.reshape((len(x), -1))


class Calling(Forward):
    def forward(self, x):
        return self.fc(flat(x))


class Nested(Forward):
    def forward(self, x):
        def rows(a):
            return cr.reshape(a, (len(a), -1))

        return self.fc(rows(x))


class Inside(nn.Module):
    def __init__(self):
        self.first, self.fc = nn.Lambda(lambda x: cr.flatten(x, 1)), nn.Linear(48, 2)

    def forward(self, x):
        return self.fc(self.first(x))


class Reader(nn.Linear):
    def forward(self, x):
        return super().forward(flat(x))


class Stack(nn.Sequential):
    def forward(self, x):
        return super().forward(flat(x))


class Holding(nn.Module):
    """What flattens is an attribute: a function, or another object that can be called."""

    def __init__(self, function):
        self.fc, self.function = nn.Linear(48, 2), function

    def forward(self, x):
        return self.fc(self.function(x))


class Compiled(nn.Module):
    def __init__(self):
        self.fc = nn.Linear(48, 2)

    @cr.compile
    def forward(self, x):
        return self.fc(flat(x))


def hooked():
    model = nn.Sequential(nn.Identity(), nn.Linear(48, 2))
    model[0].register_forward_hook(lambda module, args, out: flat(out))
    return model


def with_its_own_forward():
    model = Perceptron()
    model.forward = lambda x: model.fc(flat(x))
    del model.first, model.norm, model.head
    model.fc = nn.Linear(48, 2)
    return model


by_reshape = cr.reshape  # under another name
MODELS = {
    "forward, by its method": ("fc", lambda: Forward(None)),
    "forward, by a function of its module": ("fc", lambda: Calling(None)),
    "forward, by a function inside": ("fc", lambda: Nested(None)),
    "forward, by a Lambda inside": ("fc", Inside),
    "Lambda": ("1", lambda: nn.Sequential(nn.Lambda(lambda x: flat(x)), nn.Linear(48, 2))),
    "Lambda, one level": ("1", lambda: nn.Sequential(nn.Lambda(flat_by_another), nn.Linear(48, 2))),
    "Lambda of ours": (
        "1",
        lambda: nn.Sequential(nn.Lambda(lambda x: by_reshape(x, (2, -1))), nn.Linear(48, 2)),
    ),
    "partial": (
        "1",
        lambda: nn.Sequential(
            nn.Lambda(functools.partial(cr.reshape, shape=(2, 48))), nn.Linear(48, 2)
        ),
    ),
    "a function as a layer": ("1", lambda: nn.Sequential(flat, nn.Linear(48, 2))),
    "identity between": (
        "2",
        lambda: nn.Sequential(nn.Lambda(flat), nn.Dropout(0.1), nn.Linear(48, 2)),
    ),
    "methodcaller": (
        "1",
        lambda: nn.Sequential(
            nn.Lambda(operator.methodcaller("reshape", (2, -1))), nn.Linear(48, 2)
        ),
    ),
    "attribute": ("fc", lambda: Holding(flat)),
    "attribute of ours": ("fc", lambda: Holding(functools.partial(cr.flatten, start_dim=1))),
    "compiled forward": ("fc", Compiled),
    "hook": ("1", hooked),
    "forward of the object": ("fc", with_its_own_forward),
    "subclass of Linear": ("0", lambda: nn.Sequential(Reader(48, 2))),
    "subclass of Sequential": ("0", lambda: Stack(nn.Linear(48, 2))),
}


@pytest.mark.parametrize("name", MODELS)
def test_code_that_rearranges_is_asked_about(name):
    layer, make = MODELS[name]
    torch.manual_seed(0)
    theirs = torch.nn.Linear(48, 2)
    state = {f"{layer}.{k}": v for k, v in theirs.state_dict().items()}
    model = make().eval()
    asks = rf"got {layer} behind .*flattened=\{{\"{layer}\": 16\}}"
    with pytest.raises(cr.ChainruleError, match=asks):
        load_state_dict(model, state)
    with pytest.raises(cr.ChainruleError, match=asks):
        to_torch(model)
    for tensors in (state, {k: v.numpy() for k, v in state.items()}):
        with pytest.raises(cr.ChainruleError, match=r"rearranges .*cr\.interop"):
            model.load_state_dict(tensors)
    model.load_state_dict({k: v.numpy().copy() for k, v in state.items()})
    load_state_dict(model, state, flattened={layer: 3})
    with torch.no_grad():
        expected = theirs(torch.tensor(IMAGE).permute(0, 3, 1, 2).flatten(1)).numpy()
    np.testing.assert_allclose(model(cr.Tensor(IMAGE)).numpy(), expected, rtol=1e-5, atol=1e-6)
    back = to_torch(model, flattened={layer: 3})
    assert all(torch.equal(back[k], v) for k, v in state.items())


class Perceptron(nn.Module):
    """Nothing is rearranged: no question."""

    def __init__(self):
        self.first, self.norm, self.head = nn.Linear(6, 5), nn.LayerNorm(5), nn.Linear(5, 2)

    def forward(self, x):
        return self.head(cr.tanh(self.norm(self.first(x))))


@pytest.mark.parametrize(
    "make",
    [
        Perceptron,
        lambda: nn.Sequential(nn.Linear(6, 5), nn.Lambda(lambda x: x * 2), nn.Linear(5, 2)),
        lambda: nn.Sequential(cr.tanh, nn.Linear(6, 2)),
    ],
)
def test_a_plain_forward_needs_no_answer(make):
    model = make()
    state = {k: torch.tensor(v + 1) for k, v in model.state_dict().items()}
    model.load_state_dict(state)
    load_state_dict(model, state)
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(value, state[name].numpy())


def test_a_layer_whose_output_is_made_an_image_is_named():
    def decoder(make):
        return nn.Sequential(nn.Linear(5, 48), nn.Lambda(make), nn.Conv2d(3, 2, 3))

    torch.manual_seed(0)
    theirs = torch.nn.Sequential(
        torch.nn.Linear(5, 48), torch.nn.Unflatten(1, (3, 4, 4)), torch.nn.Conv2d(3, 2, 3)
    )
    with pytest.raises(cr.ChainruleError, match="got 0, whose output becomes an image"):
        load_state_dict(decoder(lambda x: x.reshape((-1, 4, 4, 3))), theirs.state_dict())
    ours = decoder(lambda x: cr.permute_dims(x.reshape((-1, 3, 4, 4)), (0, 2, 3, 1)))
    load_state_dict(ours, theirs.state_dict(), flattened={})
    x = np.random.default_rng(1).normal(size=(2, 5)).astype(np.float32)
    with torch.no_grad():
        expected = theirs(torch.tensor(x)).permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(ours(cr.Tensor(x)).numpy(), expected, rtol=1e-5, atol=1e-6)


def test_a_layer_that_only_normalises_is_asked_about_too():
    class Norm(nn.Module):
        def __init__(self):
            self.norm = nn.BatchNorm1d(48)

        def forward(self, x):
            return self.norm(flat(x))

    torch.manual_seed(0)
    theirs = torch.nn.BatchNorm1d(48).eval()
    for value in theirs.state_dict().values():
        if value.is_floating_point():
            value.uniform_(0.5, 1.5)
    state = {f"norm.{k}": v for k, v in theirs.state_dict().items()}
    ours = Norm().eval()
    with pytest.raises(cr.ChainruleError, match="got norm behind"):
        load_state_dict(ours, state)
    load_state_dict(ours, state, flattened={"norm": 3})
    with torch.no_grad():
        rows = theirs(torch.tensor(IMAGE).permute(0, 3, 1, 2).flatten(1))
    expected = rows.numpy().reshape(2, 3, 4, 4).transpose(0, 2, 3, 1).reshape(2, -1)
    np.testing.assert_allclose(ours(cr.Tensor(IMAGE)).numpy(), expected, rtol=1e-5, atol=1e-6)


def test_a_recurrent_layer_reads_flattened_images():
    class Frames(nn.Module):
        def __init__(self):
            self.conv, self.rnn = nn.Conv2d(3, 4, 3), nn.GRU(16, 5, batch_first=True)

        def forward(self, x):
            return self.rnn(self.conv(x).reshape(1, 2, -1))[0]

    torch.manual_seed(0)
    conv, rnn = torch.nn.Conv2d(3, 4, 3), torch.nn.GRU(16, 5, batch_first=True)
    state = {f"conv.{k}": v for k, v in conv.state_dict().items()}
    state |= {f"rnn.{k}": v for k, v in rnn.state_dict().items()}
    ours = Frames()
    with pytest.raises(cr.ChainruleError, match="got rnn behind"):
        load_state_dict(ours, state)
    load_state_dict(ours, state, flattened={"rnn": 4})
    with torch.no_grad():
        out = conv(torch.tensor(IMAGE).permute(0, 3, 1, 2)).flatten(1)
        expected = rnn(out[None])[0].numpy()
    np.testing.assert_allclose(ours(cr.Tensor(IMAGE)).numpy(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("path", "channels"), [("3", 2), ("3", 8), ("0", 4), ("2", 4)])
def test_flattened_that_contradicts_the_model_is_refused(path, channels):
    def make(m):
        return m.Sequential(m.Conv2d(3, 4, 3), m.ReLU(), m.Flatten(), m.Linear(16, 8))

    with pytest.raises(cr.ChainruleError, match=rf"got flattened=.'{path}': {channels}"):
        load_state_dict(make(nn), make(torch.nn).state_dict(), flattened={path: channels})
