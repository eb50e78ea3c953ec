"""Settings of another kind than they are, or at another place: layers, optimizers, schedules."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, optim

F = nn.functional
x, y = cr.ones((4, 3)), cr.zeros((4, 3))


def adam(**settings):
    return optim.Adam([nn.Parameter([1.0])], **settings)


WRONG = {
    "a bool for a number": (lambda: nn.LSTM(4, 5, True), "got num_layers=True; .*whole number"),
    "a number for a bool": (lambda: nn.LSTM(4, 5, 1, 2), "got bias=2; .*True or False"),
    "a text for a number": (lambda: nn.Linear("4", 5), "got in_features='4'; .*whole number"),
    "a fraction": (lambda: nn.Linear(9 / 2, 5), "got in_features=4.5; .*whole number"),
    "a text for a bool": (lambda: nn.GRU(4, 5, 1, "relu"), "got bias='relu'; .*True or False"),
    "a bool for a rate": (lambda: nn.Dropout(True), "got p=True; expected a number"),
    "a list for a rate": (lambda: nn.Dropout([0.5]), "got p="),
    "a size, not a number of groups": (lambda: nn.Conv2d(4, 4, 3, groups=(2, 2)), "got groups="),
    "an activation's": (lambda: nn.LeakyReLU("0.1"), r"\[LeakyReLU\] got negative_slope='0.1'"),
    "a subclass's": (lambda: nn.Conv1d(4.0, 4, 3), r"\[Conv1d\] got in_channels=4.0"),
    "an optimizer's": (lambda: adam(amsgrad=0.9), r"\[Adam\] got amsgrad=0.9; .*True or False"),
    "a schedule's": (lambda: optim.StepLR(adam(), 2.5), "got step_size=2.5; .*whole number"),
    "too many": (lambda: nn.ReLU(True), r"\[ReLU\] got arguments .*; expected ReLU\(\)"),
    "another name": (lambda: nn.Conv2d(3, 4, kernel=3), "got the argument kernel; .*did you mean"),
    "RNN's 4th": (lambda: nn.RNN(4, 5, 1, True), "got nonlinearity=True; expected a text"),
    "InstanceNorm's 3rd": (lambda: nn.InstanceNorm2d(3, 1e-5, True), "momentum=True; .*a number"),
    "Upsample's 3rd": (lambda: nn.Upsample(2, None, True), "got mode=True; expected a text"),
    "EmbeddingBag's 5th": (lambda: nn.EmbeddingBag(9, 2, 1.0, 2.0, False), r"\*, mode='mean'"),
    "MultiheadAttention's 5th": (lambda: nn.MultiheadAttention(4, 2, 0.0, True, True), "by name"),
    "plateau's 6th": (
        lambda: optim.ReduceLROnPlateau(adam(), "min", 0.1, 10, 1e-4, 5),
        "got threshold_mode=5; expected a text",
    ),
    "a loss's 3rd": (
        lambda: F.smooth_l1_loss(x, y, "mean", None),
        r"\[smooth_l1_loss\] got 4 arguments",
    ),
    "a text for a slope": (lambda: F.leaky_relu(x, "0.1"), "got negative_slope='0.1'"),
    "a bool for a slope": (lambda: F.leaky_relu(x, True), "got negative_slope=True"),
    "attention's 5th": (lambda: F.scaled_dot_product_attention(x, x, x, None, True), "dropout_p=T"),
    "a flag's text": (lambda: F.kl_div(x, y, log_target="no"), "got log_target='no'"),
    "initial values": (lambda: nn.init.kaiming_normal_(x, "fan_out"), "got a='fan_out'"),
    "clipping": (lambda: nn.utils.clip_grad_norm_([x], 1.0, "inf"), "got norm_type='inf'"),
    "a loader's 3rd": (lambda: cr.data.DataLoader(x, 2, 3), "got shuffle 3"),
    "dropout's 4th": (lambda: F.dropout(x, 0.5, True, True), "got 4 arguments by position"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_setting_of_another_kind_or_place_is_refused(name):
    make, words = WRONG[name]
    with pytest.raises(TypeError, match=words) as caught:
        make()
    assert isinstance(caught.value, cr.ChainruleError)
    assert "test_settings.py" in str(caught.value), "the user's line"


def test_numbers_of_numpy_are_numbers():
    assert nn.Linear(np.int64(3), np.int32(2), np.bool_(False)).bias is None
    assert nn.Dropout(np.float32(0.5)).p == nn.Dropout(cr.Tensor(0.5)).p == 0.5
    assert adam(lr=cr.Tensor(0.5)).param_groups[0]["lr"] == 0.5


def test_positions_that_pytorch_has_too_mean_the_same():
    assert nn.RNN(4, 5, 1, "relu").nonlinearity == "relu"
    assert nn.TransformerEncoderLayer(4, 2, 8, 0.0, "relu", 1e-5, True).norm_first is False
    assert nn.TransformerEncoderLayer(4, 2, 8, 0.0, "relu", 1e-5, True, True).norm_first is True
    schedule = optim.ReduceLROnPlateau(adam(), "min", 0.1, 10, 1e-4, "rel", 5)
    assert schedule.cooldown == 5
    assert x.sum(1).shape == (4,)
    assert x.mean((0, 1), True).shape == (1, 1)
    np.testing.assert_allclose(cr.softmax(x, 0).numpy(), 0.25)
    assert cr.diff(x, 2).shape == (4, 1)
    assert float(cr.norm(x, 1)) == 12
