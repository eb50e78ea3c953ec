"""Where chainrule and PyTorch differ on PyTorch's own samples, and why: the one table of it.

A row says what differs (`outcome`, see samples_harness), for which functions, layers or optimizers,
and on which of their samples. It holds exactly: each sample that a row describes must differ as it
says, in each name of the row, or the test fails. So a row that has become untrue is noticed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Reason:
    """A difference and its reason.

    names  as in op_db (with ".variant" where it has one), the layers or the optimizers
    on     dtypes of samples, or "error" for those that PyTorch refuses; none: all but these
    when   which of the samples; all if not said
    some   only some of these differ
    """

    outcome: str
    why: str
    names: str
    on: str = "float64 float32 int64 uint8 bool"
    when: Callable[[Any], bool] = lambda sample: True
    some: bool = False


# ── which samples ────────────────────────────────────────────────────────────────────────────────


def _input(s: Any) -> Any:
    return s.input[0] if isinstance(s.input, (list, tuple)) else s.input


def _given(s: Any) -> list[Any]:
    return [s.input, *s.args, *s.kwargs.values()]


def scalar(s: Any) -> bool:
    """The first tensor has no axes."""
    return isinstance(_input(s), torch.Tensor) and not _input(s).ndim


def scalar_along(s: Any) -> bool:
    """So, and an axis is given."""
    dims = (*s.args, s.kwargs.get("dim"))
    return scalar(s) and any(d is not None and d != () for d in dims)


def empty_axis(s: Any) -> bool:
    return _input(s).ndim > 1 and not _input(s).shape[-1]


def number(s: Any) -> bool:
    """A Python number where PyTorch wants a tensor."""
    return any(isinstance(v, (int, float)) for v in (s.input, *s.args[:1]))


def negative_width(s: Any) -> bool:
    return min(s.args[0]) < 0


def order(s: Any) -> float:
    """The order of a norm."""
    found = s.args[0] if s.args else s.kwargs.get("p", s.kwargs.get("ord", 2))
    return found if isinstance(found, (int, float)) else 2


def odd_order(s: Any) -> bool:
    return not order(s) > 0


def unknown_size(s: Any) -> bool:
    """A size that stays what it is, as None."""
    size = s.args[0]
    return size is None or (isinstance(size, (tuple, list)) and None in size)


def fraction(s: Any) -> bool:
    """From a number that is not whole."""
    return any(float(v) % 1 > 0 for v in (s.input, *s.args[:1], *s.kwargs.values()) if _is_real(v))


def _is_real(v: Any) -> bool:
    return isinstance(v, (int, float)) or (isinstance(v, torch.Tensor) and not v.ndim)


def sizes_differ(s: Any) -> bool:
    """Axes of different sizes are summed over together."""
    other, dims = s.args[0], s.kwargs.get("dims")
    return isinstance(dims, (tuple, list)) and any(
        s.input.shape[a] != other.shape[b] for a, b in zip(*dims, strict=True)
    )


def larger_mask(s: Any) -> bool:
    return s.args[0].ndim > s.input.ndim


def no_channels(s: Any) -> bool:
    """No channels at all, and windows of one element."""
    return (
        s.kwargs["kernel_size"] == 1
        and s.input.ndim > 1
        and s.input.shape[0] == 0
        and (0 not in s.input.shape[1:])
    )


def drops(s: Any) -> bool:
    return s.kwargs.get("dropout_p", 0) > 0


def broadcasts(s: Any) -> bool:
    """Mean, target and variance of different shapes."""
    shapes = {tuple(t.shape) for t in (s.input, *s.args)}
    return len(shapes) > 1


def several_axes(s: Any) -> bool:
    return _input(s).ndim != 1


def with_axes(s: Any) -> bool:
    """Axes, and no wish for a dtype."""
    return not scalar_along(s) and "dtype" not in s.kwargs


def uneven(s: Any) -> bool:
    """Parts of different sizes."""
    parts, *axis = s.args
    return isinstance(parts, int) and s.input.shape[(axis or [0])[0]] % parts > 0


def ranks_differ(s: Any) -> bool:
    return len({t.ndim for t in s.input}) > 1


def long_axis(s: Any) -> bool:
    """An axis to squeeze that is longer than 1."""
    axes = s.args[0] if s.args else ()
    axes = axes if isinstance(axes, (tuple, list)) else (axes,)
    return bool(s.input.ndim) and any(s.input.shape[a] != 1 for a in axes)


def negative_power(s: Any) -> bool:
    power = s.input
    return bool((power < 0).any())


def some_names(params: Any) -> bool:
    """Parameters of one list with and without names."""
    return isinstance(params, list) and len({isinstance(p, tuple) for p in params}) == 2


# ── the table ────────────────────────────────────────────────────────────────────────────────────

ALONG = (
    "cumsum cumprod max.reduction_with_dim min.reduction_with_dim softmax softmax.with_dtype "
    "log_softmax log_softmax.with_dtype index_select index_add gather logsumexp transpose all any "
    "norm nn.functional.normalize linalg.vector_norm amax amin argmax argmin count_nonzero mean "
    "prod sum squeeze squeeze.multiple"
)
NUMBERS = "add mul __radd__ __rmul__ outer sign square max.binary maximum min.binary minimum"
POOLS = "nn.functional.avg_pool1d nn.functional.avg_pool2d nn.functional.avg_pool3d"
CONVOLUTIONS = "nn.functional.conv1d nn.functional.conv2d nn.functional.conv3d"
PAD = "nn.functional.pad."

REASONS = [
    # PyTorch computes, chainrule refuses
    Reason("refused", "a scalar has no axis (Array API)", ALONG, when=scalar_along),
    Reason("refused", "a scalar has no axis (Array API)", "topk sort argsort nonzero", when=scalar),
    Reason(
        "refused",
        "bools are no numbers (Array API): astype first",
        f"{NUMBERS} ge gt le lt max.reduction_with_dim max.reduction_no_dim amax "
        "min.reduction_with_dim min.reduction_no_dim amin",
        on="bool",
    ),
    Reason(
        "refused",
        "bools are no numbers (Array API): astype first",
        "prod",
        on="bool",
        when=lambda s: "dtype" in s.kwargs,
    ),
    Reason(
        "refused",
        "slice to make smaller",
        f"{PAD}constant {PAD}reflect {PAD}replicate {PAD}replicate_negative {PAD}circular",
        when=negative_width,
    ),
    Reason(
        "refused",
        "the order of a norm is above 0",
        "norm linalg.vector_norm nn.functional.normalize",
        on="float64 float32",
        when=odd_order,
    ),
    Reason("refused", "norms are of vectors", "norm.nuc", on="float64 float32"),
    Reason(
        "refused",
        "the order of a norm is above 0",
        "norm.inf",
        on="float64 float32",
        when=lambda s: order(s) == -math.inf,
    ),
    Reason(
        "refused",
        "the mean over windows is AdaptiveAvgPool",
        "nn.functional.interpolate.area",
    ),
    Reason("refused", "parts of different sizes are listed", "tensor_split", when=uneven),
    Reason(
        "refused",
        "the elements are put in order along one axis",
        "searchsorted",
        on="float64 float32 int64 uint8",
        when=several_axes,
    ),
    Reason("refused", "joined tensors have the same number of axes", "cat", when=ranks_differ),
    Reason(
        "refused",
        "an axis that is taken out has size 1",
        "squeeze squeeze.multiple",
        when=long_axis,
    ),
    Reason(
        "refused",
        "a whole number to a negative power is no whole number",
        "__rpow__",
        on="int64",
        when=negative_power,
    ),
    Reason(
        "refused",
        "the number of classes is said",
        "nn.functional.one_hot",
        on="int64",
        when=lambda s: s.kwargs["num_classes"] < 0,
    ),
    Reason("refused", "the mask broadcasts to what is filled", "masked_fill", when=larger_mask),
    Reason(
        "refused",
        "axes that are summed over have equal sizes",
        "tensordot",
        on="float64 float32 int64 uint8",
        when=sizes_differ,
    ),
    Reason(
        "refused",
        "an index has the axes of what it reads",
        "gather",
        when=lambda s: s.args[1].ndim != s.input.ndim,
    ),
    Reason(
        "refused",
        "a factor of the source's dtype",
        "index_add",
        on="uint8 bool",
        when=lambda s: s.kwargs["alpha"] in (-1, True, False),
        some=True,
    ),
    Reason(
        "refused",
        "-9 is no uint8",
        "full_like",
        on="uint8",
        when=lambda s: s.args and s.args[0] < 0 and "dtype" not in s.kwargs,
    ),
    Reason(
        "refused",
        "prediction, target and variance are not broadcast",
        "nn.functional.gaussian_nll_loss",
        on="float64 float32",
        when=broadcasts,
        some=True,
    ),
    Reason(
        "refused",
        "targets of two classes are 1 and -1",
        "nn.functional.hinge_embedding_loss",
        on="float64 float32",
        when=scalar,
        some=True,
    ),
    Reason(
        "refused",
        "targets of two classes are 1 and -1",
        "nn.functional.margin_ranking_loss nn.functional.cosine_embedding_loss",
        on="int64 uint8",
        some=True,
    ),
    Reason(
        "refused",
        "what is added to a variance is from 0",
        "nn.functional.group_norm nn.functional.layer_norm nn.functional.rms_norm",
        on="float64 float32",
        when=lambda s: s.kwargs.get("eps", 0) < 0,
    ),
    # PyTorch refuses, chainrule computes
    Reason(
        "accepted",
        "numbers are taken for tensors",
        "atan2 copysign eq ge gt le lt ne logaddexp maximum minimum logical_and logical_or "
        "logical_xor hypot nextafter bitwise_and bitwise_or bitwise_xor bitwise_left_shift "
        "bitwise_right_shift remainder pow __radd__ __rdiv__ __rmul__ __rand__ __ror__ __rxor__",
        on="error",
        when=number,
    ),
    Reason(
        "dtype",
        "an operator of a number is Python's",
        "__rmod__ __rpow__ __rsub__",
        on="error",
        when=lambda s: not isinstance(_input(s), torch.Tensor),
    ),
    Reason(
        "accepted",
        "numbers are taken for tensors",
        "max.binary min.binary",
        on="error",
        when=lambda s: isinstance(s.input, int) and not isinstance(s.args[0], int),
    ),
    Reason("accepted", "whole numbers have a mean", "mean", on="error"),
    Reason(
        "accepted",
        "broadcasts as where does",
        "masked_fill",
        on="error",
        when=lambda s: isinstance(s.args[1], torch.Tensor),
    ),
    Reason(
        "accepted",
        "an empty range, as in NumPy",
        "arange",
        on="error",
        when=lambda s: s.args[1] * (s.args[0] - s.input) < 0 and math.isfinite(s.args[0]),
    ),
    Reason(
        "accepted",
        "whole numbers promote",
        CONVOLUTIONS,
        on="error",
        when=lambda s: s.input.dtype == torch.int64,
    ),
    Reason(
        "accepted",
        "of no channels nothing comes",
        "nn.functional.max_pool1d nn.functional.max_pool3d",
        on="error",
        when=no_channels,
    ),
    # other dtypes and values
    Reason(
        "dtype",
        "whole numbers without sign are summed in uint64 (Array API)",
        "cumsum cumprod sum prod",
        on="uint8",
        when=with_axes,
    ),
    Reason("dtype", "whether it is so is a bool", "all any", on="uint8", when=with_axes),
    Reason("dtype", "the mean of whole numbers is a float32", POOLS, on="int64"),
    Reason(
        "dtype",
        "what is between whole numbers is a float32",
        "nn.functional.interpolate.bilinear nn.functional.interpolate.bicubic",
        on="uint8",
    ),
    Reason(
        "dtype",
        "a whole number with a Python float is a float32 (Array API)",
        "nn.functional.hardtanh",
        on="int64",
    ),
    Reason(
        "dtype",
        "a whole number with a Python float is a float32 (Array API)",
        "nn.functional.relu6",
        on="int64 uint8",
    ),
    Reason(
        "dtype",
        "to be multiplied with what is float",
        "nn.functional.one_hot",
        on="int64",
        when=lambda s: s.kwargs["num_classes"] > 0,
    ),
    Reason(
        "dtype", "a product of whole numbers keeps their dtype", "einsum", on="uint8", some=True
    ),
    Reason(
        "dtype",
        "promotes as where does",
        "masked_fill",
        on="bool",
        when=lambda s: not isinstance(s.args[1], torch.Tensor) and not larger_mask(s),
    ),
    Reason(
        "gradient",
        "the neighbour in the grid of floats is about the format",
        "nextafter",
        on="float64",
        when=lambda s: s.input.numel() > 0,
    ),
    Reason(
        "gradient",
        "NaN stays visible: the slope of |x| there is sign(x)",
        "abs",
        on="float64",
        when=lambda s: bool(s.input.isnan().any()),
        some=True,
    ),
    Reason(
        "gradient",
        "below 1 there is no slope, and far above it is not 0",
        "acosh",
        on="float64",
        some=True,
    ),
    Reason(
        "value",
        "the sign of NaN is NaN (Array API)",
        "sign",
        on="float64 float32",
        when=lambda s: bool(s.input.isnan().any()),
    ),
    Reason(
        "value",
        "made whole by rounding down, as in NumPy",
        "linspace linspace.tensor_overload",
        on="int64 uint8",
        some=True,
    ),
    Reason(
        "refused",
        "numbers that the dtype cannot hold; PyTorch wraps them",
        "arange",
        on="uint8",
        some=True,
    ),
    Reason(
        "shape value",
        "rounded towards 0 at the end alone",
        "arange",
        on="int64 uint8",
        when=fraction,
        some=True,
    ),
    Reason(
        "value",
        "losses of whole numbers are computed in float32; PyTorch's overflow",
        "nn.functional.margin_ranking_loss nn.functional.triplet_margin_loss",
        on="uint8",
        some=True,
    ),
    Reason(
        "value",
        "drawn at random",
        "nn.functional.scaled_dot_product_attention",
        on="float64 float32",
        when=drops,
    ),
]

# Layers, in training and evaluation, and optimizers: the samples of `test_torch_samples_nn`.
OPTIMIZERS = "Adadelta Adagrad Adam AdamW Adamax NAdam RAdam RMSprop SGD"
REASONS += [
    Reason(
        "refused",
        "nothing has no statistics: drop_last, or eval()",
        "BatchNorm1d BatchNorm2d BatchNorm3d",
        on="train",
        when=lambda s: not s.args[0].numel(),
    ),
    Reason(
        "refused",
        "a target is 0 or more unless it is a logarithm",
        "KLDivLoss",
        on="train",
        when=lambda s: s.args[0].ndim > 0 and not s.kwargs.get("log_target"),
    ),
    Reason("refused", "targets of two classes are 1 and -1", "MarginRankingLoss", on="train"),
    Reason(
        "refused",
        "a scalar has no axis (Array API)",
        "Softmax LogSoftmax",
        on="train",
        when=lambda s: not s.args[0].ndim,
    ),
    Reason(
        "value",
        "the mean of nothing that counts is 0; PyTorch's is NaN",
        "CrossEntropyLoss",
        on="train",
        when=lambda s: s.kwargs.get("ignore_index") == 1,
        some=True,
    ),
    Reason(
        "value",
        "a norm is of sizes; PyTorch takes a root of negative numbers",
        "LPPool1d LPPool2d LPPool3d",
        on="train",
        when=lambda s: s.input[0] == 1.5,
    ),
    Reason("accepted", "the weight is taken in the dtype of the scores", "NLLLoss", on="error"),
    Reason(
        "accepted",
        "one tensor is a list of one",
        OPTIMIZERS,
        on="error",
        when=lambda s: isinstance(s.input, torch.Tensor),
    ),
    Reason(
        "accepted",
        "a parameter without a name is counted",
        OPTIMIZERS,
        on="error",
        when=lambda s: some_names(s.input),
    ),
    Reason(
        "refused",
        "a parameter is given once; PyTorch warns",
        OPTIMIZERS,
        on="error",
        when=lambda s: (
            isinstance(s.input, list) and len(s.input) == 2 and (s.input[0] is s.input[1])
        ),
    ),
    Reason(
        "accepted",
        "numbers and tensors alike",
        "Adam AdamW",
        on="error",
        when=lambda s: len({type(b) for b in s.kwargs.get("betas", ())}) == 2,
    ),
]

# Arguments that chainrule does not have, by function.
ABSENT: dict[str, str] = {
    "alpha": "add sub",
    "out": "arange gather take cat index_select amax amin",
    "rounding_mode": "div.trunc_rounding",
    "decimals": "round.decimals_3 round.decimals_neg_3",
    "dim": "unique",
    "return_indices": "MaxPool1d MaxPool2d MaxPool3d "
    + " ".join(f"nn.functional.{k}max_pool{n}d" for k in ("", "adaptive_") for n in (1, 2, 3)),
    "divisor_override": "nn.functional.avg_pool2d nn.functional.avg_pool3d AvgPool2d AvgPool3d",
    "bias": "BatchNorm1d BatchNorm2d BatchNorm3d GroupNorm InstanceNorm1d InstanceNorm2d "
    "InstanceNorm3d",
    "elementwise_affine": "RMSNorm",
    "batch_first": "RNN GRU LSTM TransformerEncoderLayer TransformerDecoderLayer Transformer",
    "add_bias_kv": "MultiheadAttention",
    "add_zero_attn": "MultiheadAttention",
    "maximize": "Adadelta Adagrad Adamax NAdam RAdam RMSprop",
    "foreach": "Adam AdamW",
    "decoupled_weight_decay": "NAdam RAdam",
    "swap": "nn.functional.triplet_margin_loss",
    "max_norm": "nn.functional.embedding nn.functional.embedding_bag",
    "sparse": "nn.functional.embedding nn.functional.embedding_bag",
    "beta": "nn.functional.softplus Softplus",
    "scale_grad_by_freq": "nn.functional.embedding nn.functional.embedding_bag",
    "offsets": "nn.functional.embedding_bag",
    "per_sample_weights": "nn.functional.embedding_bag",
}
