"""The first value that is not finite, in networks: layer, line, sample, what it reaches."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim
from chainrule.diagnosis import first_nonfinite
from chainrule.errors import ArgumentError


def root_of_squares(x):
    return cr.sqrt(cr.sum(cr.square(x), axis=-1))


class LogLayer(nn.Module):
    def forward(self, x):
        return cr.log(x)


class Recurrent(nn.Module):
    """An LSTM over (n, T, 4), then the logarithm of what a layer makes positive."""

    def __init__(self):
        self.memory = nn.LSTM(4, 8)
        self.head = nn.Sequential(nn.Linear(8, 2), nn.Softplus(), LogLayer())

    def forward(self, x):
        return self.head(self.memory(x)[0][:, -1])


class PerStep(nn.Module):
    """A layer that is called in each turn of a loop."""

    def __init__(self):
        self.cell = nn.Sequential(nn.Linear(4, 4), LogLayer())
        nn.init.eye_(self.cell[0].weight)
        nn.init.zeros_(self.cell[0].bias)

    def forward(self, x):
        start = cr.zeros((x.shape[0], 4))
        return cr.scan(lambda c, r: (c + self.cell(r), None), start, cr.moveaxis(x, 1, 0))[0]


def positive(*shape):
    return np.random.default_rng(1).uniform(0.5, 1.5, shape).astype(np.float32)


def test_layer_line_and_operands_are_named():
    model = PerStep()
    x = positive(32, 10, 4)
    x[21, 6, 1] = 0
    report = first_nonfinite(lambda x: cr.mean(model(x)), x)
    assert (report.operation, report.sample, report.steps) == ("log", 21, (6,))
    assert report.layer == "cell.1 (LogLayer)"
    (operand,) = report.operands
    assert (operand.name, operand.value, operand.low) == ("x", 0.0, 0.0)
    text = str(report)
    assert text.startswith("[log] got -inf from 0 in the forward pass, time step 6, sample 21, ")
    assert "log of 0 is minus infinity" in text
    assert "; expected finite numbers; add a small number inside" in text
    assert "\n  in cell.1 (LogLayer)\n  at test_nonfinite_networks.py:" in text
    assert text.endswith(": return cr.log(x)")


def test_a_rule_is_at_the_line_of_its_forward_operation():
    model = nn.Sequential(nn.Linear(4, 4, bias=False))
    x = positive(16, 4)
    x[5] = 0

    def loss(x):
        h = model(x)
        return cr.mean(root_of_squares(h - 0.0))

    report = first_nonfinite(loss, x)
    assert (report.phase, report.forward, report.sample) == ("backward", "sqrt", 5)
    assert report.reached == "the gradient of 0.weight"
    assert "return cr.sqrt(cr.sum(cr.square(x), axis=-1))" in str(report)
    assert not report.masked


@pytest.mark.parametrize("compiled", [False, True])
def test_a_training_step_is_replayed_and_nothing_is_assigned(compiled):
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 1))
    optimizer = optim.Adam(model.named_parameters())
    x = positive(64, 4)

    def step(x):
        loss = cr.mean(cr.sqrt(cr.abs(model(x)) - 3.0))
        loss.backward()
        optimizer.step()
        return loss

    before = model.state_dict() | optimizer.state_dict()
    drawn = cr.random.default.state.numpy()
    report = first_nonfinite(cr.compile(step) if compiled else step, x)
    assert (report.operation, report.phase, report.reached) == ("sqrt", "forward", "the loss")
    after = model.state_dict() | optimizer.state_dict()
    assert all((after[name] == value).all() for name, value in before.items())
    assert (cr.random.default.state.numpy() == drawn).all()
    assert first_nonfinite(lambda x: cr.mean(model(x)), x) is None


def test_a_masked_value_that_reaches_gradients_is_told():
    w = cr.ones(4)
    w.requires_grad = True
    x = positive(8, 4)
    x[3] = 40

    def loss(x):
        sums = cr.sum(cr.exp(x * w * 20), axis=-1)
        return cr.mean(cr.where(cr.isfinite(sums), sums, 0.0))

    report = first_nonfinite(loss, x)
    assert (report.operation, report.sample, report.masked) == ("exp", 3, True)
    assert report.reached == "the gradient of w"
    assert "the loss is finite because its value is masked" in str(report)


def test_data_and_weights_are_named():
    model = Recurrent()
    x = positive(8, 5, 4)
    x[2, 3, 1] = np.nan
    report = first_nonfinite(lambda images: cr.mean(model(images)), x)
    assert (report.operation, report.sample) == ("data", 2)
    assert report.place == "images at row 2, column 3, 1"
    with cr.no_grad():
        model.head[0].bias[1] = np.inf
    report = first_nonfinite(lambda images: cr.mean(model(images)), positive(8, 5, 4))
    assert report.place == "head.0.bias at row 1"
    assert report.sample is None
    assert "restore head.0.bias from a checkpoint" in report.remedy


def test_tokens_lead_to_a_sample():
    table = nn.Embedding(20, 4)
    with cr.no_grad():
        table.weight[...] = cr.abs(table.weight) + 0.1
        table.weight[13] = 0
    tokens = np.random.default_rng(0).integers(0, 13, (40, 6))
    tokens[33, 2] = 13
    report = first_nonfinite(lambda t: cr.mean(cr.log(table(t))), tokens)
    assert (report.operation, report.sample) == ("log", 33)


def test_batch_statistics_belong_to_no_sample():
    x = positive(8, 4)
    report = first_nonfinite(lambda x: cr.mean(cr.log(x - cr.mean(x, axis=0))), cr.Tensor(x))
    assert report.operation == "log"
    assert report.sample is None


def test_an_overflow_of_an_update():
    w = cr.ones(3)
    w.requires_grad = True
    optimizer = optim.SGD([w], lr=1e30)

    def step(x):
        loss = cr.sum(x * w) * 1e20
        loss.backward()
        optimizer.step()
        return loss

    report = first_nonfinite(step, positive(4, 3))
    assert (report.operation, report.phase) == ("multiply", "after")
    assert report.reached.startswith("the new value of ")


def test_the_argument_is_a_function():
    with pytest.raises(ArgumentError, match="expected the function that computes the values"):
        first_nonfinite(cr.ones(3))


@pytest.mark.parametrize(
    ("settings", "place"),
    [
        ({}, (7, 3, 4)),
        ({"stride": 2, "padding": 1}, (5, 0, 7)),
        ({"dilation": 2, "padding": 2}, (3, 7, 0)),
        ({"groups": 2, "padding": 1}, (0, 5, 5)),
    ],
)
def test_a_pixel_is_located_behind_convolutions(settings, place):
    """Forward, and in the gradient of the kernel; batch norm lets it reach all samples."""
    cr.random.seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3, **settings), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 1)
    )
    x = positive(9, 8, 8, 2)
    x[place][1] = np.nan
    report = first_nonfinite(lambda x: cr.mean(model(x)), x)
    row, *rest = place
    assert report.place == f"x at row {row}, column {', '.join(map(str, [*rest, 1]))}"
    x[place][1] = -2.0
    report = first_nonfinite(lambda x: cr.mean(model(cr.log(x + 1))), x)
    assert (report.operation, report.sample) == ("log", row)


def test_masked_attention_is_harmless_and_its_overflow_is_located():
    cr.random.seed(0)
    x = positive(6, 5, 8)
    mask = np.zeros((5, 5), np.float32)
    mask[np.triu_indices(5, 1)] = -np.inf
    layer = nn.MultiheadAttention(8, 2)

    def loss(x):
        return cr.mean(layer(x, x, x, attn_mask=cr.Tensor(mask), need_weights=False)[0])

    assert first_nonfinite(loss, x) is None
    x[4] *= 1e25
    report = first_nonfinite(loss, x)
    assert (report.operation, report.sample, report.layer) == ("attention", 4, "MultiheadAttention")
