"""What PyTorch's functions are called here, for the samples that PyTorch tests itself with.

OURS names, for each function of `torch.testing._internal`'s op_db that chainrule has under the same
name or another, the call that does the same with the same arguments. APART lists equal names that
mean another thing on purpose.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch

import chainrule as cr
from chainrule import nn
from chainrule.functions.contractions import convolution_transpose

Call = Callable[..., Any]
F = nn.functional

KEYWORDS = {"dim": "axis", "keepdim": "keepdims"}
PLACE = {"device", "requires_grad", "memory_format", "layout", "pin_memory"}  # there is one place


class AbsentError(Exception):
    """The sample uses an argument that chainrule's function does not have."""


def absent(**given: Any) -> None:
    """Arguments that chainrule does not have, unless they ask for nothing."""
    for name, value in given.items():
        if value is not None and value is not False:
            raise AbsentError(name)


def renamed(function: Call, *positional: str, **others: str) -> Call:
    """The function, called with PyTorch's keywords, and with these arguments by position."""
    names = {**KEYWORDS, **others}
    parameters = inspect.signature(function).parameters
    takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters.values())

    def call(*args: Any, **kwargs: Any) -> Any:
        kwargs = {k: v for k, v in kwargs.items() if k not in PLACE}
        kwargs = {**dict(zip(positional, args[1:], strict=False)), **kwargs}
        kwargs = {names.get(k, k): v for k, v in kwargs.items()}
        for name in [] if takes_all else sorted(set(kwargs) - set(parameters)):
            absent(**{name: kwargs.pop(name)})
        return function(*args[:1], *args[1 + len(positional) :], **kwargs)

    return call


def last(x: cr.Tensor) -> cr.Tensor:
    """Channels from the second axis to the last."""
    return cr.moveaxis(x, 1, -1)


def second(x: cr.Tensor) -> cr.Tensor:
    """Channels from the last axis to the second."""
    return cr.moveaxis(x, -1, 1)


# ── elementwise ──────────────────────────────────────────────────────────────────────────────────


def _div(x: Any, y: Any, rounding_mode: str | None = None) -> Any:
    absent(rounding_mode="trunc" if rounding_mode == "trunc" else None)
    return cr.divide(x, y) if rounding_mode is None else cr.floor_divide(x, y)


def _reduced(function: Call, position: Call, binary: Call) -> Call:
    """max and min: of all, along an axis with positions, or of two."""

    def call(x: Any, other: Any = None, keepdim: bool = False, dim: Any = None) -> Any:
        if isinstance(other, cr.Tensor):
            return binary(x, other)
        axis = other if dim is None else dim
        if axis is None:
            return function(x)
        return (function(x, axis=axis, keepdims=keepdim), position(x, axis=axis, keepdims=keepdim))

    return call


def _operator(name: str) -> Call:
    return lambda x, y: getattr(x, name)(y)


# ── shapes and indices ───────────────────────────────────────────────────────────────────────────


def _diagonal(x: Any, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Any:
    return cr.diagonal(cr.moveaxis(x, (dim1, dim2), (-2, -1)), offset=offset)


def _linalg_diagonal(x: Any, *, offset: int = 0, dim1: int = -2, dim2: int = -1) -> Any:
    return _diagonal(x, offset, dim1, dim2)


def _given(*sizes: Any, **keywords: Any) -> Any:
    """Sizes one by one or as one tuple."""
    found = (*sizes, *keywords.values())
    return found[0] if len(found) == 1 and not isinstance(found[0], int) else found


def _sorted(x: Any, dim: int = -1, descending: bool = False, stable: bool = True) -> Any:
    order = {"axis": dim, "descending": descending, "stable": stable}
    return cr.sort(x, **order), cr.argsort(x, **order)


def _searchsorted(
    row: Any,
    x: Any,
    *,
    out_int32: bool = False,
    right: bool = False,
    side: str | None = None,
    sorter: Any = None,
) -> Any:
    found = cr.searchsorted(row, x, side=side or ("right" if right else "left"), sorter=sorter)
    return found.astype(cr.int32) if out_int32 else found


def _unique(
    x: Any,
    return_inverse: bool = False,
    return_counts: bool = False,
    dim: Any = None,
    **order: bool,
) -> Any:
    absent(dim=dim)
    found = cr.unique_all(x)
    more = (return_inverse, found.inverse_indices), (return_counts, found.counts)
    return (found.values, *(v for wanted, v in more if wanted))


def _nonzero(x: Any, as_tuple: bool = False) -> Any:
    return cr.nonzero(x) if as_tuple else cr.stack(cr.nonzero(x), axis=1)


def _pad(x: Any, pad: Any, mode: str = "constant", value: Any = None) -> Any:
    """PyTorch counts pads from the last axis."""
    pairs = [(pad[k], pad[k + 1]) for k in range(0, len(pad) - 1, 2)][::-1]
    widths = [(0, 0)] * (x.ndim - len(pairs)) + pairs
    mode = {"replicate": "edge", "circular": "wrap"}.get(mode, mode)
    return cr.pad(x, widths, mode, 0 if value is None else value)


def _index_add(x: Any, dim: int, index: Any, source: Any, *, alpha: Any = 1) -> Any:
    size = cr.moveaxis(x, dim, 0).shape[0]
    return x + cr.scatter_add(source * alpha, index, size=size, axis=dim)


def _variance(function: Call) -> Call:
    """With 1 less than their number divided by, unless said otherwise."""

    def call(
        x: Any,
        dim: Any = None,
        unbiased: bool = True,
        keepdim: bool = False,
        *,
        correction: Any = None,
    ) -> Any:
        if isinstance(dim, bool):
            dim, unbiased = None, dim
        correction = int(unbiased) if correction is None else correction
        axis = None if dim == () or dim == [] else dim
        return function(x, axis=axis, correction=correction, keepdims=keepdim)

    return call


def _norm(x: Any, p: Any = "fro", dim: Any = None, keepdim: bool = False, dtype: Any = None) -> Any:
    x = x if dtype is None else x.astype(dtype)
    return cr.norm(x, ord=2 if p in ("fro", None) else p, axis=dim, keepdims=keepdim)


def _vector_norm(x: Any, *args: Any, **kwargs: Any) -> Any:
    return _norm(x, *args, **{"p" if k == "ord" else k: v for k, v in kwargs.items()})


def _in_dtype(function: Call) -> Call:
    """A function along an axis, of x in the dtype."""

    def call(x: Any, dim: Any = None, *args: Any, dtype: Any = None, **kwargs: Any) -> Any:
        x = x if dtype is None else x.astype(dtype)
        return renamed(function)(x, *args, dim=dim, **kwargs)

    return call


# ── networks ─────────────────────────────────────────────────────────────────────────────────────


def _convolution(
    x: Any,
    w: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Any:
    n = w.ndim - 2
    batch = x if x.ndim == w.ndim else x[None]
    kernel = cr.permute_dims(w, (*range(2, n + 2), 1, 0))
    y = cr.convolution(
        last(batch),
        kernel,
        stride=_one(stride),
        padding=_one(padding),
        kernel_dilation=_one(dilation),
        groups=groups,
    )
    y = second(y if bias is None else y + bias)
    return y if x.ndim == w.ndim else y[0]


def _one(value: Any) -> Any:
    """A number for all dimensions, as PyTorch gives it in a tuple of one too."""
    return value[0] if isinstance(value, (tuple, list)) and len(value) == 1 else value


def _transposed(
    x: Any,
    w: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    output_padding: Any = 0,
    groups: int = 1,
    dilation: Any = 1,
) -> Any:
    n = w.ndim - 2
    batch = x if x.ndim == w.ndim else x[None]
    kernel = cr.permute_dims(w, (*range(2, n + 2), 1, 0))
    y = convolution_transpose(
        last(batch),
        kernel,
        stride=_one(stride),
        padding=_one(padding),
        output_padding=_one(output_padding),
        kernel_dilation=_one(dilation),
        groups=groups,
    )
    y = second(y if bias is None else y + bias)
    return y if x.ndim == w.ndim else y[0]


def _pooled(function: Call, n: int) -> Call:
    def call(
        x: Any,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = None,
        ceil_mode: bool = False,
        return_indices: bool = False,
        **kwargs: Any,
    ) -> Any:
        absent(return_indices=return_indices)
        batch = x if x.ndim == n + 2 else x[None]
        kwargs |= {} if dilation is None else {"dilation": _one(dilation)}
        kwargs |= {"padding": _one(padding), "ceil_mode": ceil_mode}
        stride = None if stride in (None, (), []) else _one(stride)
        y = function(last(batch), _one(kernel_size), stride=stride, **kwargs)
        return second(y) if x.ndim == n + 2 else second(y)[0]

    return call


def _avg_pool(n: int) -> Call:
    pooled = _pooled(cr.avg_pool, n)

    def call(
        x: Any,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: Any = None,
    ) -> Any:
        absent(divisor_override=divisor_override)
        return pooled(
            x,
            kernel_size,
            stride,
            padding,
            ceil_mode=ceil_mode,
            count_include_pad=count_include_pad,
        )

    return call


def _adaptive(layer: Call, n: int) -> Call:
    def call(x: Any, output_size: Any, return_indices: bool = False) -> Any:
        absent(return_indices=return_indices)
        y = second(layer(_one(output_size))(last(x if x.ndim == n + 2 else x[None])))
        return y if x.ndim == n + 2 else y[0]

    return call


def _interpolate(
    x: Any,
    size: Any = None,
    scale_factor: Any = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Any:
    absent(antialias=antialias)
    settings = _one(size), _one(scale_factor), mode, align_corners, recompute_scale_factor
    return second(F.interpolate(last(x), *settings))


def _by_class(function: Call) -> Call:
    """The classes on the last axis, in the scores and in probabilities."""

    def call(x: Any, target: Any, weight: Any = None, **kwargs: Any) -> Any:
        if x.ndim > 1:
            target = last(target) if target.ndim == x.ndim else target
            x = last(x)
        return function(x, target, weight=weight, **kwargs)

    return call


def _prelu(x: Any, weight: Any) -> Any:
    return F.prelu(x, weight) if x.ndim < 2 else second(F.prelu(last(x), weight))


def _with(layer: Any, **state: Any) -> Any:
    """The layer with these tensors in the place of its own."""
    for name, value in state.items():
        object.__setattr__(layer, name, value)
    return layer


def _embedding(weight: Any, x: Any, padding_idx: int | None = None, **others: Any) -> Any:
    absent(**others)
    return _with(nn.Embedding(*weight.shape, padding_idx=padding_idx), weight=weight)(x)


def _bag(
    weight: Any, x: Any, mode: str = "mean", padding_idx: int | None = None, **others: Any
) -> Any:
    absent(**others)
    layer = nn.EmbeddingBag(*weight.shape, mode=mode, padding_idx=padding_idx)
    return _with(layer, weight=weight)(x)


def _bilinear(a: Any, b: Any, weight: Any, bias: Any = None) -> Any:
    layer = nn.Bilinear(*weight.shape[1:], weight.shape[0], bias=bias is not None)
    return _with(layer, weight=weight, bias=bias)(a, b)


def _group_norm(
    x: Any, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5
) -> Any:
    layer = nn.GroupNorm(num_groups, cr.moveaxis(x, 1, 0).shape[0], eps)
    one, zero = cr.ones(x.shape[1], dtype=x.dtype), cr.zeros(x.shape[1], dtype=x.dtype)
    _with(layer, weight=one if weight is None else weight, bias=zero if bias is None else bias)
    return second(layer(last(x)))


# ── the tables ───────────────────────────────────────────────────────────────────────────────────

OURS: dict[str, Call] = {
    "mul": cr.multiply,
    "sub": renamed(cr.subtract),
    "div": _div,
    "true_divide": cr.divide,
    "clamp": cr.clip,
    "eq": cr.equal,
    "ne": cr.not_equal,
    "ge": cr.greater_equal,
    "gt": cr.greater,
    "le": cr.less_equal,
    "lt": cr.less,
    "neg": cr.negative,
    "bitwise_not": cr.bitwise_invert,
    "masked_fill": F.masked_fill,
    "where": lambda x, condition, other: cr.where(condition, x, other),
    "clone": lambda x, **k: x.clone(),
    "round": lambda x, decimals=0: absent(decimals=decimals or None) or cr.round(x),
    "arange": lambda start, stop=None, step=1, *, end=None, dtype=None, **k: renamed(cr.arange)(
        start, stop if end is None else end, step, dtype=dtype, **k
    ),
    "max": _reduced(cr.max, cr.argmax, cr.maximum),
    "min": _reduced(cr.min, cr.argmin, cr.minimum),
    "amax": renamed(cr.max, "axis"),
    "amin": renamed(cr.min, "axis"),
    **{
        n: _operator(n)
        for n in (
            "__radd__",
            "__rmul__",
            "__rand__",
            "__ror__",
            "__rxor__",
            "__rmatmul__",
            "__rmod__",
            "__rpow__",
            "__rsub__",
            "__getitem__",
        )
    },
    "__rdiv__": _operator("__rtruediv__"),
    "item": cr.Tensor.item,
    "T": lambda x: x.T,
    "mT": lambda x: x.mT,
    # shapes
    "diagonal": _diagonal,
    "linalg.diagonal": _linalg_diagonal,
    "broadcast_to": renamed(cr.broadcast_to, size="shape"),
    "broadcast_tensors": cr.broadcast_arrays,
    "movedim": cr.moveaxis,
    "permute": lambda x, *dims, **k: cr.permute_dims(x, _given(*dims, **k)),
    "unsqueeze": lambda x, dim: cr.expand_dims(x, axis=dim),
    "squeeze": renamed(cr.squeeze, "axis"),
    "flip": renamed(cr.flip, dims="axis"),
    "roll": renamed(cr.roll, "shift", "axis", shifts="shift", dims="axis"),
    "repeat": lambda x, *sizes: cr.tile(x, _given(*sizes)),
    "tile": lambda x, *sizes, **k: cr.tile(x, _given(*sizes, **k)),
    "repeat_interleave": lambda x, repeats, dim=None, *, output_size=None: cr.repeat(
        x, repeats, axis=dim
    ),
    "cat": renamed(cr.concat, "axis"),
    "stack": renamed(cr.stack, "axis"),
    "unbind": renamed(cr.unstack, "axis"),
    "tensor_split": lambda x, indices_or_sections=None, dim=0, **k: cr.split(
        x, indices_or_sections if indices_or_sections is not None else next(iter(k.values())), dim
    ),
    "tril": renamed(cr.tril, "k", diagonal="k"),
    "triu": renamed(cr.triu, "k", diagonal="k"),
    "nn.functional.pad": _pad,
    "meshgrid": lambda *xs, **k: cr.meshgrid(
        *(xs[0] if isinstance(xs[0], (list, tuple)) else xs), **k
    ),
    # indices
    "take_along_dim": lambda x, indices, dim=None: cr.take_along_axis(
        *((x, indices) if dim is not None else (x.reshape(-1), indices.reshape(-1))),
        axis=-1 if dim is None else dim,
    ),
    "index_select": lambda x, dim, index, out=None: absent(out=out) or cr.take(x, index, axis=dim),
    "index_add": _index_add,
    "sort": _sorted,
    "argsort": renamed(cr.argsort, "axis", "descending"),
    "unique": _unique,
    "topk": lambda x, k, dim=-1, largest=True, in_order=True: cr.top_k(
        x, k, axis=dim, largest=largest
    ),
    "searchsorted": _searchsorted,
    "nonzero": _nonzero,
    "isin": lambda elements, test_elements, *, assume_unique=False, invert=False: cr.isin(
        elements, test_elements, invert=invert
    ),
    # reductions
    "cumsum": renamed(cr.cumulative_sum, "axis"),
    "cumprod": renamed(cr.cumulative_prod, "axis"),
    **{
        n: renamed(getattr(cr, n), "axis", "keepdims")
        for n in (
            "sum",
            "prod",
            "mean",
            "all",
            "any",
            "argmax",
            "argmin",
            "count_nonzero",
            "logsumexp",
        )
    },
    "mean": _in_dtype(cr.mean),
    "softmax": _in_dtype(cr.softmax),
    "log_softmax": _in_dtype(cr.log_softmax),
    "std": _variance(cr.std),
    "var": _variance(cr.var),
    "norm": _norm,
    "linalg.vector_norm": _vector_norm,
    "linalg.vecdot": renamed(cr.vecdot),
    "diff": renamed(cr.diff, "n", "axis", "prepend", "append"),
    # products
    "mm": cr.matmul,
    "bmm": cr.matmul,
    "mv": cr.matmul,
    "einsum": lambda xs, equation: cr.einsum(equation, *xs),
    "tensordot": lambda a, b, dims=2: cr.tensordot(a, b, axes=dims),
    # networks
    "nn.functional.glu": renamed(F.glu),
    "nn.functional.normalize": renamed(F.normalize),
    "nn.functional.cross_entropy": _by_class(F.cross_entropy),
    "nn.functional.nll_loss": _by_class(F.nll_loss),
    "nn.functional.prelu": _prelu,
    **{f"nn.functional.conv{n}d": _convolution for n in (1, 2, 3)},
    **{f"nn.functional.conv_transpose{n}d": _transposed for n in (1, 2, 3)},
    **{f"nn.functional.max_pool{n}d": _pooled(cr.max_pool, n) for n in (1, 2, 3)},
    **{f"nn.functional.avg_pool{n}d": _avg_pool(n) for n in (1, 2, 3)},
    **{
        f"nn.functional.adaptive_avg_pool{n}d": _adaptive(getattr(nn, f"AdaptiveAvgPool{n}d"), n)
        for n in (1, 2, 3)
    },
    **{
        f"nn.functional.adaptive_max_pool{n}d": _adaptive(getattr(nn, f"AdaptiveMaxPool{n}d"), n)
        for n in (1, 2, 3)
    },
    "nn.functional.interpolate": _interpolate,
    "nn.functional.pixel_shuffle": lambda x, upscale_factor: second(
        F.pixel_shuffle(last(x), upscale_factor)
    ),
    "nn.functional.pixel_unshuffle": lambda x, downscale_factor: second(
        F.pixel_unshuffle(last(x), downscale_factor)
    ),
    "nn.functional.embedding": _embedding,
    "nn.functional.embedding_bag": _bag,
    "nn.functional.bilinear": _bilinear,
    "nn.functional.group_norm": _group_norm,
}

# PyTorch's own function called so that equal elements have one order.
THEIRS: dict[str, Call] = {
    "sort": lambda x, dim=-1, descending=False, stable=True: torch.sort(
        x, dim=dim, descending=descending, stable=True
    ),
    "argsort": lambda x, dim=-1, descending=False, stable=True: torch.argsort(
        x, dim=dim, descending=descending, stable=True
    ),
    "topk": lambda x, k, dim=-1, largest=True, in_order=True: (
        tuple(t.narrow(dim, 0, k) for t in torch.sort(x, dim=dim, descending=largest, stable=True))
        if x.ndim
        else torch.topk(x, k, dim, largest)
    ),
    "unique": lambda x, **k: torch.unique(x, **{**k, "sorted": True}),
}

# Equal names for different things, and what has no values to compare.
APART = {
    "equal": "element by element, as in NumPy; PyTorch's is one bool, and eq is what equal is here",
    "split": "a number of parts, as in NumPy; PyTorch's tensor_split, which is compared",
    "unfold": "windows over all sizes of a batch; PyTorch's is along one axis",
    "nn.functional.unfold": "channels last, the windows as axes",
    "scatter_add": "the adjoint of take, compared as index_add",
    "linalg.norm": "norms of vectors; PyTorch's vector_norm, which is compared",
    "bfloat16": "a dtype; PyTorch's is a method that converts to it",
    "bool": "a dtype; PyTorch's is a method that converts to it",
}

RANDOM = ("empty", "empty_like", "nn.functional.dropout")  # the shape and dtype are compared


def ours(name: str, aliases: tuple[str, ...]) -> Call | None:
    """Our call for PyTorch's function, or None where there is none."""
    if name in APART or name.startswith("masked."):
        return None
    if name in OURS:
        return OURS[name]
    for n in (name, *aliases):
        short = n.removeprefix("nn.functional.")
        if n != short and hasattr(F, short):
            return renamed(getattr(F, short))
        if n in cr.__all__:
            return renamed(getattr(cr, n))
    tail = name.rpartition(".")[2]
    return renamed(getattr(cr, tail)) if "." in name and tail in cr.__all__ else None
