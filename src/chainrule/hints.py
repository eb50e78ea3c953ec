"""Other libraries' names, and what they are called here: for the message of an AttributeError."""

from __future__ import annotations

FUNCTIONS = {
    "absolute": "abs", "amax": "max", "amin": "min", "arccos": "acos", "arcsin": "asin",
    "arctan": "atan", "arctan2": "atan2", "cat": "concat", "clamp": "clip",
    "conv1d": "convolution", "conv2d": "convolution", "conv3d": "convolution",
    "cumprod": "cumulative_prod", "cumsum": "cumulative_sum", "from_numpy": "asarray",
    "index_select": "take", "manual_seed": "random.seed", "masked_fill": "where", "mm": "matmul",
    "mod": "remainder", "ndarray": "Tensor", "no_gradient": "no_grad", "permute": "permute_dims",
    "rand": "random.uniform", "randint": "random.integers", "randn": "random.normal",
    "randperm": "random.permutation", "swapaxes": "transpose(x, a, b)", "topk": "top_k",
    "true_divide": "divide", "unsqueeze": "expand_dims",
}  # fmt: skip

METHODS = {
    "abs": "cr.abs(x)", "add_": "x += y", "backwards": "x.backward()", "contiguous": "x itself",
    "cpu": "x itself", "copy": "x.clone()", "copy_": "x[...] = y", "cuda": "x itself",
    "cumsum": "cr.cumulative_sum(x)", "dim": "x.ndim", "double": "x.astype(cr.float64)",
    "fill_": "x[...] = value", "float": "x.astype(cr.float32)", "half": "x.astype(cr.float16)",
    "long": "x.astype(cr.int64)", "matmul": "x @ y", "mul_": "x *= y", "norm": "cr.norm(x)",
    "numel": "x.size", "permute": "cr.permute_dims(x, axes)", "pow": "x ** y",
    "requires_grad_": "x.requires_grad = True", "retain_grad": "x.register_hook(print)",
    "softmax": "cr.softmax(x)", "to": "x.astype(dtype)", "transpose": "cr.transpose(x, axes)",
    "unsqueeze": "cr.expand_dims(x, axis=k)", "view": "x.reshape(shape)",
    "zero_": "x[...] = 0", "zero_grad": "x.grad = None",
}  # fmt: skip


def missing(kind: str, name: str) -> AttributeError:
    """The error for a name that is not there, saying what it is called here."""
    known = (FUNCTIONS if kind == "chainrule" else METHODS).get(name)
    hint = f"; here it is {known}" if known else ""
    return AttributeError(f"{kind} has no attribute {name!r}{hint}")
