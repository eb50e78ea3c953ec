"""How emitted source reads: for a small network exactly, for all a few rules."""

import ast
import sys

import numpy as np

import chainrule as cr
from chainrule import nn, optim
from chainrule.nn import functional
from sources import agrees, emitted, in_float64, run


class Net(nn.Module):
    def __init__(self):
        self.fc1, self.fc2 = nn.Linear(3, 4), nn.Linear(4, 2)

    def forward(self, x):
        return self.fc2(cr.tanh(self.fc1(x)))


MLP = '''\
import numpy as np


def loss_and_gradients(**arrays):
    """The loss and its gradients by the chain rule: forward, then backward.

    arrays   parameters, data, by name; of the shapes below: sizes, such as
             that of the batch, are numbers in the formulas
    returns  the loss, ∂loss/∂x for each variable x, by name
    """
    x = arrays["x"]  # (5, 3)
    labels = arrays["labels"]  # (5,)
    fc1_weight = arrays["fc1.weight"]  # (4, 3)
    fc1_bias = arrays["fc1.bias"]  # (4,)
    fc2_weight = arrays["fc2.weight"]  # (2, 4)
    fc2_bias = arrays["fc2.bias"]  # (2,)

    # ── forward ──

    # fc1 (Linear)
    fc1 = x @ fc1_weight.T + fc1_bias  # (5, 4)

    # Net
    tanh = np.tanh(fc1)  # (5, 4)

    # fc2 (Linear)
    logits = tanh @ fc2_weight.T + fc2_bias  # (5, 2)

    # return functional.cross_entropy(logits, labels)
    top = logits.max(axis=1, keepdims=True)  # (5, 1)
    top_2 = np.where(np.isfinite(top), top, 0)  # (5, 1)
    powers = np.exp(logits - top_2)  # (5, 2)
    total = powers.sum(axis=1, keepdims=True)  # (5, 1)
    mask = labels != -100  # (5,)
    one_hot = np.arange(2) == np.where(mask, labels, 0)[:, None]  # (5, 2)
    log_p = np.where(one_hot, logits - (np.log(total) + top_2), 0)  # (5, 2)
    count = np.maximum(mask.astype(np.float64).sum(), 1)
    loss = np.where(mask, -log_p.sum(axis=1), 0).sum() / count

    # ── backward: d_x is ∂loss/∂x ──

    # return functional.cross_entropy(logits, labels)
    d_picked = np.where(mask, -1 / count, 0)[:, None]  # (5, 1)
    d_logits = np.where(one_hot, d_picked, 0) - d_picked * (powers / total)  # (5, 2)

    # fc2 (Linear)
    d_fc2_bias = d_logits.sum(axis=0)  # (2,)
    d_tanh = d_logits @ fc2_weight  # (5, 4)
    d_fc2_weight = d_logits.T @ tanh  # (2, 4)

    # Net
    d_fc1 = d_tanh * (1 - tanh ** 2)  # (5, 4)

    # fc1 (Linear)
    d_fc1_bias = d_fc1.sum(axis=0)  # (4,)
    d_fc1_weight = d_fc1.T @ x  # (4, 3)

    gradients = {
        "fc1.weight": d_fc1_weight,
        "fc1.bias": d_fc1_bias,
        "fc2.weight": d_fc2_weight,
        "fc2.bias": d_fc2_bias,
    }
    return loss, gradients
'''


def test_a_small_network():
    net = in_float64(Net())

    def step(x, labels):
        logits = net(x)
        return functional.cross_entropy(logits, labels)

    x = cr.random.normal((5, 3), dtype=cr.float64)
    source, arrays = emitted(step, x, cr.random.integers(0, 2, (5,)))
    assert source == MLP
    assert list(arrays) == ["x", "labels", "fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"]


ADAM = """\
    # ── update ──
    new_step = step + 1
    quotient = lr / (1 - beta1 ** new_step)
    quotient_2 = 1 / np.sqrt(1 - beta2 ** new_step)

    updated = {
        "step": new_step,
    }

    for name in gradients:
        parameter = arrays[name]
        gradient = gradients[name]
        exp_avg = arrays[f"{name}/exp_avg"]
        exp_avg_sq = arrays[f"{name}/exp_avg_sq"]
        new_exp_avg = exp_avg + (1 - beta1) * (gradient - exp_avg)
        new_exp_avg_sq = beta2 * exp_avg_sq + (1 - beta2) * gradient ** 2
        added = np.sqrt(new_exp_avg_sq) * quotient_2 + eps
        new_parameter = parameter - quotient * new_exp_avg / added
        updated[name] = new_parameter
        updated[f"{name}/exp_avg"] = new_exp_avg
        updated[f"{name}/exp_avg_sq"] = new_exp_avg_sq

    return loss, gradients, updated
"""


def test_an_update_stands_once_for_all_parameters():
    net = in_float64(Net())
    x = cr.random.normal((5, 3), dtype=cr.float64)
    adam = optim.Adam(net.parameters())
    source, _ = emitted(lambda x: (net(x) ** 2).mean(), x, optimizer=adam)
    assert source.endswith(ADAM)


RELU = """\
    # 2 (LeakyReLU)
    mask = relu_1 > 0  # (5, 4)
    leakyrelu_2 = np.where(mask, relu_1, relu_1 * 0.1)  # (5, 4)
"""
D_RELU = """\
    # 2 (LeakyReLU)
    d_relu_1 = np.where(mask, d_leakyrelu_2, d_leakyrelu_2 * 0.1)  # (5, 4)

    # 1 (ReLU)
    d_linear_0 = np.where(linear_0 <= 0, 0, d_relu_1)  # (5, 4)

    # 0 (Linear)
    d_linear_0_bias = d_linear_0.sum(axis=0)  # (4,)
    d_linear_0_weight = d_linear_0.T @ x  # (4, 3)
"""


def test_a_relu_is_a_maximum_and_its_gradient_has_one_name():
    layers = nn.Linear(3, 4), nn.ReLU(), nn.LeakyReLU(0.1), nn.Dropout(0.5), nn.Linear(4, 2)
    model = in_float64(nn.Sequential(*layers))
    x = cr.random.normal((5, 3), dtype=cr.float64)
    source, arrays = emitted(lambda x: (model(x) ** 2).mean(), x)
    assert "    relu_1 = np.maximum(linear_0, 0)  # (5, 4)\n" in source
    assert RELU in source
    assert D_RELU in source
    arrays["x"] = np.full((5, 3), np.nan)
    assert np.isnan(run(source, arrays)[1]["0.weight"]).all(), "as eager mode has it"


def test_every_line_can_be_read_and_stopped_at():
    """No line is too long, no name is assigned twice, all that is assigned is used."""
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8, 3)
    )
    optimizer = optim.Adam(model.parameters())
    source, _ = emitted(
        lambda x, y: functional.cross_entropy(model(x), y),
        cr.random.normal((4, 6, 6, 1)),
        cr.random.integers(0, 3, (4,)),
        optimizer=optimizer,
    )
    assert max(map(len, source.splitlines())) <= 100
    body = ast.parse(source).body[-1].body
    targets = [n.id for s in body for n in ast.walk(s) if isinstance(n, ast.Name) and _stored(n)]
    assert len(targets) == len({*targets}) > 50
    read = {n.id for s in body for n in ast.walk(s) if isinstance(n, ast.Name) and not _stored(n)}
    assert {t for t in targets if t != "_"} <= read


def _stored(name):
    return isinstance(name.ctx, ast.Store)


def test_a_debugger_stops_at_a_line_and_sees_its_values(tmp_path):
    net = in_float64(Net())
    x = cr.random.normal((5, 3), dtype=cr.float64)
    source, arrays = emitted(lambda x: (net(x) ** 2).mean(), x)
    file = tmp_path / "network.py"
    file.write_text(source)
    space, seen = {}, {}
    exec(compile(source, str(file), "exec"), space)
    line = next(k for k, text in enumerate(source.splitlines(), 1) if "d_fc1 = " in text)

    def trace(frame, event, argument):
        if frame.f_code.co_filename == str(file) and frame.f_lineno == line:
            seen.update(frame.f_locals)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        space["loss_and_gradients"](**arrays)
    finally:
        sys.settrace(before)
    agrees(seen["tanh"], np.tanh(seen["fc1"]))
    assert seen["d_tanh"].shape == (5, 4)
    assert "d_fc1_weight" not in seen


def deep(length):
    def f(x):
        y = x
        for _ in range(length):
            y = cr.sin(y) * 0.99 + 0.1 * x
        return y.sum()

    return f


def test_a_deep_graph_has_a_line_for_each_step():
    """5,000 operations and more, in a length that grows as their number."""
    x = cr.Tensor(np.array([0.3, -0.2]))
    short, _ = emitted(deep(100), x)
    source, arrays = emitted(deep(1250), x)
    ratio = source.count("\n") / short.count("\n")
    assert 11 < ratio < 13
    loss, gradients = run(source, arrays)
    x.requires_grad = True
    expected = deep(1250)(x)
    expected.backward()
    agrees(loss, expected.numpy())
    agrees(gradients["x"], x.grad.numpy())


def test_names_that_python_has_are_no_obstacle():
    np_, range_, lambda_ = (cr.Tensor([k], requires_grad=True, dtype=cr.float64) for k in range(3))
    values = {"np": np_, "range": range_, "lambda": lambda_, "d_np": np_ * 2, "loss": range_}
    source, arrays = emitted(lambda values: sum((v * v).sum() for v in values.values()), values)
    loss, gradients = run(source, arrays)
    assert float(loss) == 0 + 1 + 4 + 0 + 1
    assert all(name in source for name in ('"values.np"', '"values.lambda"'))
    assert len(gradients) >= 3
