"""Attention as one operation, against PyTorch and finite differences, with each kind of mask."""

import numpy as np
import pytest
import torch

import chainrule as cr
from chainrule import nn, ops
from chainrule.errors import ShapeError

F, G = nn.functional, torch.nn.functional
N, H, T, S, D, E = 2, 3, 5, 7, 4, 6
RNG = np.random.default_rng(0)


def allowed(*shape):
    """A mask with a key in each row."""
    mask = RNG.uniform(size=shape) < 0.6
    mask[..., 0] = True
    return mask


MASKS = {
    "none": {},
    "causal": {"is_causal": True},
    "pairs": {"attn_mask": allowed(T, S)},
    "padding": {"attn_mask": allowed(N, 1, 1, S)},
    "queries of a head": {"attn_mask": allowed(1, H, T, 1)},
    "added": {"attn_mask": RNG.normal(size=(N, H, T, S))},
    "added by head": {"attn_mask": RNG.normal(size=(H, 1, S))},
    "minus infinity": {"attn_mask": np.where(allowed(T, S), 0.0, -np.inf)},
    "scaled": {"scale": 0.3},
}
SHAPES = {
    "heads": ((N, H, T, D), (N, H, S, D), (N, H, S, E)),
    "one head": ((N, T, D), (N, S, D), (N, S, E)),
    "no batch": ((T, D), (S, D), (S, E)),
    "one query": ((N, H, 1, D), (N, H, S, D), (N, H, S, E)),
    "shared keys": ((N, H, T, D), (1, 1, S, D), (N, 1, S, E)),
    "three batch axes": ((2, 1, H, T, D), (1, 2, H, S, D), (2, 2, H, S, E)),
}
PAIRS = [("heads", mask) for mask in MASKS] + [
    (shapes, mask) for shapes in SHAPES for mask in ("none", "causal") if shapes != "heads"
]


def operands(shapes):
    return [RNG.normal(size=shape) for shape in SHAPES[shapes]]


@pytest.mark.parametrize(("shapes", "mask"), PAIRS)
def test_results_and_gradients_are_those_of_torch(shapes, mask):
    arrays, settings = operands(shapes), MASKS[mask]
    ours = [cr.Tensor(a, requires_grad=True) for a in arrays]
    theirs = [torch.tensor(a, requires_grad=True) for a in arrays]
    out = F.scaled_dot_product_attention(*ours, **settings)
    masks = {k: torch.tensor(m) if k == "attn_mask" else m for k, m in settings.items()}
    expected = G.scaled_dot_product_attention(*theirs, **masks)
    weights = RNG.normal(size=out.shape)
    (out * weights).sum().backward()
    (expected * torch.tensor(weights)).sum().backward()
    np.testing.assert_allclose(out.numpy(), expected.detach().numpy(), rtol=1e-9, atol=1e-12)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("mask", MASKS)
def test_derivatives_of_both_orders(mask):
    cr.check_gradients(
        lambda *xs: F.scaled_dot_product_attention(*xs, **MASKS[mask]), *operands("heads")
    )


@pytest.mark.parametrize("shape", [(N, H, T, S), (T, S), (N, 1, 1, S), (H, T, 1)])
def test_derivatives_by_a_mask_that_is_added(shape):
    cr.check_gradients(F.scaled_dot_product_attention, *operands("heads"), RNG.normal(size=shape))


def test_derivatives_of_each_result_and_of_the_derivative():
    """The logarithm of the sums is a result too, and the derivative an operation of its own."""
    q, k, v = (RNG.normal(size=s) for s in ((1, 3, 2, 2), (1, 4, 2, 2), (1, 4, 2, 3)))
    mask, settings = allowed(1, 1, 3, 4), {"causal": True, "scale": 0.5}

    def both(q, k, v, added):
        return ops.attention(q, k, v, cr.Tensor(mask), added, **settings)

    def derivative(*xs):
        return ops.attention_derivative(*xs, cr.Tensor(mask), **settings)

    cr.check_gradients(both, q, k, v, RNG.normal(size=(1, 2, 1, 4)))
    rows = [RNG.normal(size=s) for s in ((1, 3, 2, 3), (1, 3, 2, 1))]
    cr.check_gradients(derivative, *rows, 3 + rows[1], q, k, v)


def test_rows_without_a_key():
    """They are 0, with gradients of 0, of second order too; others are as without these rows."""
    mask = allowed(T, S)
    mask[1] = mask[3] = False
    q, k, v = operands("heads")

    def function(*xs, rows=np.s_[:]):
        return F.scaled_dot_product_attention(xs[0][:, :, rows], *xs[1:], mask[rows])

    cr.check_gradients(function, q, k, v)
    tensors = [cr.Tensor(x) for x in (q, k, v)]
    out = function(*tensors).numpy()
    assert not out[:, :, [1, 3]].any()
    kept = np.array([0, 2, 4])
    expected = function(*tensors, rows=kept).numpy()
    np.testing.assert_allclose(out[:, :, kept], expected, rtol=1e-12)
    first = cr.grad(lambda q: function(q, *tensors[1:]).sum())(tensors[0]).numpy()
    assert not first[:, :, [1, 3]].any()


def test_nothing_to_attend_to():
    q, k, v = (cr.Tensor(np.ones(s)) for s in ((2, 3, 4), (2, 0, 4), (2, 0, 5)))
    causal = F.scaled_dot_product_attention(q, k, v, np.ones((3, 0), bool), is_causal=True)
    assert causal.shape == (2, 3, 5)
    assert not causal.numpy().any()
    assert F.scaled_dot_product_attention(q[:, :0], k, v).shape == (2, 0, 5)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_is_as_in_the_formula(value):
    """A query that is not finite spoils its own row; scores that are all -inf have no softmax."""
    q, k, v = (RNG.normal(size=(1, 4, 3)) for _ in range(3))
    q[0, 2] = value
    out = F.scaled_dot_product_attention(*map(cr.Tensor, (q, k, v))).numpy()
    assert np.isnan(out[0, 2]).all()
    assert np.isfinite(out[0, [0, 1, 3]]).all()
    lowest = cr.Tensor(np.full((1, 4, 4), -np.inf))
    plain = F.scaled_dot_product_attention(lowest, -lowest, lowest)
    assert np.isnan(plain.numpy()).all()


@pytest.mark.parametrize("dtype", [cr.float16, cr.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    arrays = [cr.Tensor(a.astype(np.float32)) for a in operands("heads")]
    halves = [a.astype(dtype) for a in arrays]
    out = F.scaled_dot_product_attention(*halves, is_causal=True)
    expected = F.scaled_dot_product_attention(
        *(a.astype(cr.float32) for a in halves), is_causal=True
    )
    assert out.dtype == dtype
    np.testing.assert_array_equal(out.numpy(), expected.astype(dtype).numpy())


def test_operands_that_do_not_fit():
    q, k, v = (cr.Tensor(x) for x in operands("heads"))
    name = r"\[scaled_dot_product_attention\]"
    for wrong in ((q, k[..., :3], v), (q, k[..., :-1, :], v), (q, k, v[0, 0, 0])):
        with pytest.raises(ShapeError, match=name):
            F.scaled_dot_product_attention(*wrong)
    with pytest.raises(ShapeError, match=name):
        F.scaled_dot_product_attention(q, k[:, :2], v)
    with pytest.raises(ShapeError, match=r"\[attention\]"):
        ops.attention(q, k, v, causal=False, scale=1.0)
    x = cr.zeros((1, 2, 1, 4), dtype="float16")
    with pytest.raises(ShapeError, match="float32 or float64"):
        ops.attention(x, x, x, causal=False, scale=1.0)
    x = cr.zeros((1, 2, 1, 4))
    with pytest.raises(ShapeError, match=r"\[attention\] got the mask int64"):
        ops.attention(x, x, x, cr.zeros((1, 1, 2, 2), dtype="int64"), causal=False, scale=1.0)


def test_dropout_is_of_the_weights():
    cr.random.seed(0)
    q, k, v = (cr.Tensor(x) for x in operands("heads"))
    ones = cr.ones_like(v)
    kept = F.scaled_dot_product_attention(q, k, ones, dropout_p=0.5).numpy()
    assert kept.std() > 0.1
    assert abs(kept.mean() - 1) < 0.3
