"""The suite's faults: what is put where, in which healthy training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chainrule import nn
from chainrule.nn import functional as F  # noqa: N812 - the usual name

from .faults import (
    Powers,
    Seeded,
    Spoil,
    adam,
    adamw,
    append,
    both,
    broadcast,
    called,
    constant,
    deep,
    deep_cnn,
    dropout,
    exchange,
    fewer_outputs,
    hot_absolute,
    hot_squares,
    inputs,
    leaked,
    loss,
    misaligned,
    negated,
    of_nearest_class,
    of_probabilities,
    one_column,
    rate,
    settings,
    sgd,
    sorted_rows,
    sum_of_classes,
    sums,
    targets,
    times,
    unprotected,
    weights,
)

one_row = settings(batch=1)
CONSTANT = ("constant_targets",)
LR, X, Y = ("optimizer.lr", "optimizer"), ("data.inputs",), ("data.targets",)
RATE_LIKE = ("exploding_gradient",)
LR_LIKE = ("lr_too_high", "exploding_gradient")
HIDDEN = ("0", "1", "2", "3", "4", "5")


def softmax_of_rows() -> nn.Softmax:
    """Softmax over the rows of a batch."""
    return nn.Softmax(axis=0)


def _all(healthy: Sequence[str], kind: str, spoil: Spoil, *more: Any, **named: Any) -> list[Seeded]:
    return [Seeded(kind, name, spoil, *more, **named) for name in healthy]


FAULTS: list[Seeded] = [
    # the rate: every family
    *_all(
        ("mlp blobs small", "mlp digits", "mlp numbers", "tanh blobs deep", "cnn stripes large"),
        *("lr_too_high", rate(150), LR, RATE_LIKE),
    ),
    *_all(("rnn waves", "lstm tags"), "lr_too_high", rate(100), LR, RATE_LIKE),
    *_all(("transformer words", "called blobs"), "lr_too_high", rate(100), LR, RATE_LIKE),
    Seeded("lr_too_high", "mlp numbers", sgd(1.5), LR, RATE_LIKE, seed=1),
    *_all(
        ("mlp blobs", "cnn digits", "gru recall", "transformer words", "rnn next values"),
        *("lr_too_low", rate(1e-2), LR, ("too_few_epochs",)),
    ),
    Seeded("lr_too_low", "tanh numbers", sgd(1e-4), LR, ("too_few_epochs", "optimizer_unsuited")),
    *_all(
        ("mlp digits", "lstm waves", "cnn stripes"),
        *("optimizer_unsuited", sgd(1e-2), ("optimizer",), ("lr_too_low", "too_few_epochs")),
    ),
    Seeded(
        "optimizer_unsuited",
        "mlp numbers",
        adam(lr=5e-3, eps=10.0),
        ("optimizer",),
        ("lr_too_low", "too_few_epochs"),
        1,
    ),
    *_all(
        ("mlp blobs", "cnn stripes", "lstm tags"),
        "gradient_ascent",
        loss(negated),
        ("loss", "optimizer"),
    ),
    # how many steps
    *_all(
        ("mlp blobs", "cnn digits", "transformer words"),
        *("batch_too_large", settings(batch=800), ("batch",), ("too_few_epochs", "lr_too_low")),
    ),
    *_all(
        ("mlp digits", "gru recall", "mlp numbers"),
        *("too_few_epochs", settings(epochs=1), ("epochs",), ("lr_too_low", "batch_too_large")),
    ),
    *_all(
        ("mlp mixed", "mlp blobs", "mlp numbers"),
        *("batch_too_small", both(adam(lr=0.05), settings(batch=1)), ("batch",), ("lr_too_high",)),
    ),
    # the output and the loss
    *_all(
        ("mlp numbers", "called numbers"),
        *("output_activation_wrong", append(nn.ReLU), ("5", "head", "4")),
    ),
    Seeded("output_activation_wrong", "rnn next values", append(nn.ReLU), ("head",)),
    *_all(("mlp rings",), "output_activation_wrong", append(nn.Softmax), ("5", "4", "loss")),
    Seeded("target_range_mismatch", "tanh numbers", append(nn.Sigmoid), ("5", "4", "data.targets")),
    Seeded("target_range_mismatch", "rnn next values", append(nn.Sigmoid), ("head",)),
    Seeded("target_range_mismatch", "called numbers", append(nn.Tanh), ("head",)),
    *_all(
        ("mlp blobs", "cnn stripes"),
        *("missing_output_activation", loss(of_probabilities), ("2", "4", "loss"), ("loss_wrong",)),
    ),
    *_all(
        ("sgd digits", "sgd cnn digits"),
        *("double_softmax", append(nn.Softmax), ("3", "7", "8", "loss")),
    ),
    *_all(
        ("mlp blobs", "sgd digits", "cnn stripes"),
        *("softmax_axis_wrong", both(append(softmax_of_rows), loss(of_probabilities), one_row)),
        ("2", "3", "4", "5", "loss"),
    ),
    *_all(
        ("mlp blobs", "mlp digits", "cnn digits"),
        *("output_units_wrong", both(fewer_outputs(2), loss(of_nearest_class))),
        ("2", "4", "7", "loss"),
    ),
    Seeded(
        "unprotected_log",
        "mlp blobs",
        both(append(nn.Softmax), inputs(lambda x: x * 4000), loss(unprotected)),
        ("loss",),
        ("inputs_not_scaled",),
    ),
    Seeded("loss_wrong", "sgd digits", both(append(nn.Softmax), loss(hot_squares)), ("loss", "3")),
    Seeded("loss_wrong", "sgd digits", loss(hot_absolute), ("loss",), seed=1),
    Seeded(
        "loss_wrong",
        "sgd cnn digits",
        both(append(nn.Softmax), loss(hot_squares)),
        ("loss", "8"),
    ),
    *_all(("mlp numbers", "called numbers"), "loss_shape_broadcast", loss(broadcast), ("loss",)),
    Seeded(
        "loss_reduction_wrong",
        "sgd numbers",
        loss(sums),
        ("loss",),
        ("lr_too_high", "exploding_gradient"),
    ),
    Seeded(
        "loss_reduction_wrong",
        "sgd cnn digits",
        loss(sum_of_classes),
        ("loss",),
        ("lr_too_high", "exploding_gradient"),
    ),
    # hidden layers
    *_all(
        ("mlp rings", "mlp numbers"),
        *("missing_hidden_activation", exchange(nn.Identity, "1", "3"), HIDDEN),
    ),
    *_all(
        ("mlp blobs", "mlp rings", "tanh numbers"),
        *("vanishing_gradient", deep(nn.Sigmoid, 8), ("*",), ("hidden_activation_wrong",)),
    ),
    Seeded(
        "hidden_activation_wrong",
        "mlp digits",
        exchange(nn.Softmax, "1"),
        ("1",),
        ("lr_too_low", "too_few_epochs"),
    ),
    Seeded(
        "hidden_activation_wrong",
        "mlp numbers",
        exchange(Powers, "1", "3"),
        ("1", "3"),
        ("exploding_gradient",),
    ),
    *_all(
        ("mlp blobs", "mlp numbers", "cnn stripes large"),
        *("dead_relu", weights(constant(-6.0), "0.bias", "3.bias"), ("0", "1", "3", "4")),
        also=("init_too_large", "init_too_small"),
    ),
    *_all(
        ("tanh numbers", "tanh blobs deep"),
        *("saturated_activation", weights(times(60.0)), ("*",), ("init_too_large",)),
    ),
    # first weights
    *_all(
        ("mlp numbers", "mlp digits", "called blobs"),
        *("init_too_large", weights(times(40.0)), ("*",), ("exploding_gradient",)),
    ),
    *_all(
        ("tanh blobs deep", "mlp blobs large"),
        *("init_too_small", weights(times(0.02)), ("*",), ("vanishing_gradient", "lr_too_low")),
    ),
    *_all(
        ("mlp digits", "mlp numbers", "called blobs"),
        *("init_symmetric", weights(constant(0.05), "weight", "bias"), ("*",)),
    ),
    Seeded(
        "exploding_gradient",
        "rnn next values",
        both(weights(times(6.0), "weight_hh_l0"), settings(epochs=6)),
        ("recurrent",),
        ("init_too_large", "saturated_activation"),
    ),
    Seeded(
        "exploding_gradient",
        "mlp blobs",
        both(deep(nn.ReLU, 10), weights(times(8.0))),
        ("*",),
        ("init_too_large",),
    ),
    Seeded(
        "batchnorm_missing",
        "mlp blobs",
        both(deep(nn.ReLU, 14), settings(epochs=8)),
        ("*",),
        ("vanishing_gradient", "init_too_small", "dead_relu"),
    ),
    # data
    *_all(
        ("mlp numbers", "mlp rings", "cnn stripes"),
        *("inputs_not_scaled", inputs(lambda x: x * 300 + 900), X),
    ),
    Seeded("inputs_not_scaled", "rnn next values", inputs(lambda x: x * 300 + 900), X),
    *_all(
        ("mlp blobs", "cnn digits", "tanh numbers"),
        "inputs_overscaled",
        inputs(lambda x: x / 255),
        X,
    ),
    *_all(
        ("mlp numbers", "rnn next values"), "targets_not_scaled", targets(lambda y: y * 50 + 400), Y
    ),
    Seeded("train_test_mismatch", "mlp digits", inputs(lambda x: x / 255, held_out=False), X),
    Seeded("train_test_mismatch", "cnn stripes", inputs(lambda x: x * 30 + 60, trained=False), X),
    *_all(
        ("mlp digits", "cnn digits"),
        *("label_encoding_wrong", targets(lambda y: y // 10, held_out=False), Y, CONSTANT),
    ),
    *_all(
        ("mlp blobs", "mlp numbers", "cnn digits"),
        *("labels_misaligned", misaligned, Y, ("label_encoding_wrong",)),
    ),
    *_all(
        ("sgd digits", "tanh blobs deep", "cnn digits"),
        *("data_not_shuffled", sorted_rows, ("data", "shuffle")),
    ),
    # regularisation, evaluation
    *_all(
        ("mlp blobs large", "tanh blobs deep"),
        *("regularisation_too_strong", dropout(0.95), ("*",)),
    ),
    Seeded(
        "regularisation_too_strong",
        "mlp numbers",
        adamw(lr=5e-3, weight_decay=60.0),
        ("optimizer",),
    ),
    Seeded(
        "regularisation_too_strong", "gru recall", adam(lr=1e-2, weight_decay=1.0), ("optimizer",)
    ),
    *_all(
        ("cnn norm digits",),
        *(
            "inference_mode_wrong",
            exchange(lambda: nn.BatchNorm2d(8, momentum=0.0), "1"),
            ("1",),
        ),
    ),
    *_all(
        ("mlp few", "mlp few deep"),
        *("regularisation_missing", settings(epochs=150), ("epochs", "optimizer")),
    ),
    # the same kinds in sequences and attention, where a fault is in one part of many
    Seeded("init_too_large", "transformer words", weights(times(30.0)), ("*",), RATE_LIKE),
    Seeded("init_too_large", "transformer words deep", weights(times(20.0)), ("*",), RATE_LIKE),
    Seeded(
        "init_symmetric",
        "lstm waves",
        weights(constant(0.1), "_l0"),
        ("recurrent",),
        ("init_too_small",),
    ),
    Seeded(
        "saturated_activation",
        "rnn waves",
        weights(times(40.0), "weight_ih_l0", "weight_hh_l0"),
        ("recurrent",),
        ("init_too_large", "exploding_gradient"),
    ),
    *_all(("transformer words", "gru recall", "lstm tags"), "labels_misaligned", misaligned, Y),
    Seeded(
        "label_encoding_wrong", "transformer words", targets(lambda y: y // 4, False), Y, CONSTANT
    ),
    Seeded("targets_not_scaled", "called numbers", targets(lambda y: y * 300 + 2000), Y),
    Seeded("inputs_not_scaled", "lstm waves", inputs(lambda x: x * 300 + 900), X),
    Seeded("inputs_overscaled", "gru recall", inputs(lambda x: x / 255), X),
    Seeded("train_test_mismatch", "gru recall", inputs(lambda x: x / 255, held_out=False), X),
    *_all(("sgd words", "sgd tags"), "lr_too_high", rate(300), LR, RATE_LIKE),
    Seeded("loss_reduction_wrong", "sgd tags", loss(sum_of_classes), ("loss",), LR_LIKE),
    Seeded(
        "missing_output_activation",
        "transformer words",
        loss(of_probabilities),
        ("head", "loss"),
        ("loss_wrong",),
    ),
    Seeded(
        "regularisation_too_strong",
        "transformer words",
        adam(lr=5e-3, weight_decay=1.0),
        ("optimizer",),
    ),
    *_all(
        ("lstm tags", "rnn next values"),
        *("too_few_epochs", settings(epochs=1), ("epochs",), ("lr_too_low", "batch_too_large")),
    ),
    Seeded("gradient_ascent", "transformer words", loss(negated), ("loss", "optimizer")),
    # an activation that is a plain call, which no module shows
    Seeded("double_softmax", "called digits", called(F.softmax), ("head", "loss")),
    Seeded("output_activation_wrong", "called numbers", called(F.relu), ("head",), seed=1),
    Seeded("target_range_mismatch", "called numbers", called(F.sigmoid), ("head",), seed=1),
    *_all(
        ("called digits",),
        *("double_softmax", loss(lambda p, y: F.cross_entropy(F.softmax(p), y)), ("loss", "head")),
        also=("loss_wrong",),
    ),
    # the same kinds in families that have none of them above
    Seeded("output_activation_wrong", "cnn spots", append(nn.ReLU), ("8", "7")),
    Seeded("output_activation_wrong", "transformer counts", append(nn.ReLU), ("head",)),
    Seeded("target_range_mismatch", "cnn spots", append(nn.Sigmoid), ("8", "7", "data.targets")),
    Seeded("target_range_mismatch", "transformer counts", append(nn.Tanh), ("head",)),
    *_all(
        ("sgd words short", "sgd tags short"),
        *("double_softmax", append(nn.Softmax), ("head", "loss")),
        also=("loss_wrong",),
    ),
    *_all(
        ("sgd words short", "sgd tags short"),
        *("loss_wrong", both(append(nn.Softmax), loss(hot_squares)), ("head", "loss")),
    ),
    Seeded(
        "missing_output_activation",
        "lstm waves",
        loss(of_probabilities),
        ("head", "loss"),
        ("loss_wrong",),
    ),
    Seeded("loss_reduction_wrong", "sgd words", loss(sum_of_classes), ("loss",), LR_LIKE),
    *_all(
        ("cnn spots", "lstm sums", "transformer counts"),
        *("loss_shape_broadcast", loss(broadcast), ("loss",)),
    ),
    Seeded(
        "unprotected_log",
        "cnn stripes",
        both(append(nn.Softmax), inputs(lambda x: x * 4000), loss(unprotected)),
        ("loss",),
        ("inputs_not_scaled",),
    ),
    Seeded("hidden_activation_wrong", "cnn digits", exchange(nn.Softmax, "1", "4"), ("1", "4")),
    *_all(
        ("cnn stripes", "cnn digits"),
        *("vanishing_gradient", deep_cnn(nn.Sigmoid, 8), ("*",), ("hidden_activation_wrong",)),
    ),
    Seeded(
        "saturated_activation",
        "lstm sums",
        weights(times(60.0), "weight_ih_l0", "weight_hh_l0"),
        ("recurrent",),
        ("init_too_large", "exploding_gradient"),
    ),
    Seeded("init_too_large", "cnn stripes large", weights(times(40.0)), ("*",), RATE_LIKE),
    Seeded("init_too_large", "lstm tags", weights(times(60.0)), ("*",), RATE_LIKE),
    Seeded(
        "init_too_small",
        "cnn digits",
        weights(times(0.01)),
        ("*",),
        ("vanishing_gradient", "lr_too_low"),
    ),
    *_all(
        ("cnn digits", "cnn stripes large"),
        *("init_symmetric", weights(constant(0.05), "weight", "bias"), ("*",)),
    ),
    Seeded(
        "optimizer_unsuited",
        "transformer words",
        sgd(1e-2),
        ("optimizer",),
        ("lr_too_low", "too_few_epochs"),
    ),
    *_all(
        ("gru recall", "rnn next values"),
        *("batch_too_large", settings(batch=800), ("batch",), ("too_few_epochs", "lr_too_low")),
    ),
    *_all(
        ("cnn digits", "lstm waves", "transformer words"),
        *("batch_too_small", both(adam(lr=0.05), settings(batch=1)), ("batch",), ("lr_too_high",)),
    ),
    *_all(
        ("cnn digits", "transformer words deep"),
        *("too_few_epochs", settings(epochs=1), ("epochs",), ("lr_too_low", "batch_too_large")),
    ),
    *_all(("cnn spots", "lstm sums"), "inputs_not_scaled", inputs(lambda x: x * 300 + 900), X),
    *_all(("sgd numbers", "mlp numbers"), "inputs_not_scaled", inputs(one_column(1000.0)), X),
    *_all(
        ("cnn spots", "transformer counts"),
        *("targets_not_scaled", targets(lambda y: y * 50 + 400), Y),
    ),
    *_all(
        ("mlp numbers", "cnn spots", "rnn next values", "transformer counts"),
        *("targets_overscaled", targets(lambda y: y / 1000), Y),
    ),
    Seeded("targets_overscaled", "sgd numbers", targets(lambda y: y / 100), Y),
    Seeded("label_encoding_wrong", "lstm waves", targets(lambda y: y // 3, False), Y, CONSTANT),
    *_all(
        ("sgd cnn digits", "rnn waves", "sgd words"),
        *("data_not_shuffled", sorted_rows, ("data", "shuffle")),
    ),
    *_all(
        ("cnn few", "gru few", "transformer few"),
        *("regularisation_missing", settings(epochs=150), ("epochs", "optimizer")),
    ),
    Seeded("regularisation_too_strong", "cnn stripes large", dropout(0.95), ("*",)),
    Seeded(
        "regularisation_too_strong", "cnn digits", adam(lr=5e-3, weight_decay=1.0), ("optimizer",)
    ),
    Seeded(
        "inference_mode_wrong",
        "mlp norm blobs",
        exchange(lambda: nn.BatchNorm1d(48, momentum=0.0), "1", "4"),
        ("1", "4"),
    ),
    *_all(
        ("mlp blobs", "mlp numbers", "cnn digits", "lstm waves", "gru recall"),
        *("label_leakage", leaked, ("data.inputs",), ("train_test_mismatch",)),
    ),
]
