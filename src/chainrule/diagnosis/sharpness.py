"""The largest eigenvalue of a loss's Hessian, and the rate at which steps diverge."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from ..compile import Compiled
from ..errors import ArgumentError, user_line
from ..graph import Array
from ..nn.arguments import expect_integers, expect_number
from ..tensor import Tensor, enable_grad
from ..transforms import hvp
from .functional import as_function

Product = Callable[[Array], Array]  # a symmetric matrix times a vector, both float64

PRODUCTS = 100
EXHAUSTED = 1e-12  # relative length of what is left of a vector: all directions were seen


def sharpness(
    loss: Callable[[], Any],
    parameters: Iterable[Tensor],
    *,
    products: int = PRODUCTS,
    tolerance: float = 1e-3,
) -> float:
    """λ, the largest eigenvalue of the Hessian ∂²loss/∂parameters² at their present values.

    Gradient descent with a rate above 2/λ moves away from a minimum along the eigenvector, in
    steps that grow; `critical_rate` has the limit for momentum and weight decay.

    loss         computes the loss of a batch, a floating scalar; it is recorded once
    products     Hessian-vector products at most, each about 2.5 times as long as a step
    tolerance    relative; the result is no larger than λ, except for rounding

    By Lanczos' method (1950), which needs fewer products than power iteration and is not misled by
    a large negative eigenvalue. No Hessian is stored, only four vectors like the parameters.
    """
    expect_integers("sharpness", 1, products=products)
    expect_number("sharpness", "tolerance", tolerance, 1e-3, above=0)
    product, size = hessian_product("sharpness", loss, parameters)
    return largest_eigenvalue(product, size, products, tolerance)[0]


def critical_rate(
    sharpness: float,
    *,
    momentum: float = 0.0,
    dampening: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
) -> float:
    """The largest learning rate with which SGD does not diverge where the loss has this sharpness.

    Of a quadratic loss, with λ the sharpness and the weight decay together:
        2 (1 + momentum) / ((1 - dampening) λ)          2/λ without momentum
        2 (1 + momentum) / ((1 + 2 momentum) λ)         with nesterov
    Infinite if λ is not positive. (Goh, Why momentum really works, 2017; Cohen et al., Gradient
    descent on neural networks typically occurs at the edge of stability, 2021, appendix B.)

    Batches of few rows lower the limit, because their gradients are noise, and the sharpness
    changes during the training. There is no such number for Adam: the squared gradients that it
    divides by grow as soon as steps overshoot.
    """
    expect_number("critical_rate", "sharpness", sharpness, 1.0)
    expect_number("critical_rate", "momentum", momentum, 0.9, least=0)
    expect_number("critical_rate", "dampening", dampening, 0.0, least=0)
    expect_number("critical_rate", "weight_decay", weight_decay, 1e-4, least=0)
    if max(momentum, dampening) >= 1:
        raise ArgumentError(
            "critical_rate",
            f"got momentum {momentum:g} and dampening {dampening:g}",
            "expected numbers below 1: with 1 or more no rate converges",
            "momentum=0.9",
            user_line(),
        )
    curvature = sharpness + weight_decay
    if curvature <= 0:
        return math.inf
    limit = 2 * (1 + momentum) / curvature
    return limit / (1 + 2 * momentum) if nesterov else limit / (1 - dampening)


def hessian_product(
    name: str, loss: Callable[[], Any], parameters: Iterable[Tensor]
) -> tuple[Product, int]:
    """The Hessian of a loss times a vector, and how many numbers the vector has."""
    with enable_grad():
        function, start = as_function(name, loss, parameters)
    sizes = [p.size for p in start]
    ends = np.cumsum(sizes)[:-1]
    step = Compiled(lambda *along: hvp(function, start, along))

    def product(v: Array) -> Array:
        parts = zip(np.split(v, ends), start, strict=True)
        with enable_grad():
            out = step(*(Tensor(part.reshape(p.shape).astype(p.dtype)) for part, p in parts))
        return np.concatenate([t.numpy().ravel() for t in out]).astype(np.float64)

    return product, sum(sizes)


def largest_eigenvalue(
    product: Product,
    size: int,
    products: int = PRODUCTS,
    tolerance: float = 1e-3,
    seconds: float = math.inf,
) -> tuple[float, float]:
    """The largest eigenvalue of a symmetric matrix by its products with vectors, and its error.

    An eigenvalue is within this error, and the value is no larger than the largest, except for
    rounding. NaN, with an infinite error, if a product is not finite.

    tolerance   relative: of the error
    seconds     of processor time after the first product, when the value so far is returned

    Lanczos: q₁ random, βₖ qₖ₊₁ = A qₖ - αₖ qₖ - βₖ₋₁ qₖ₋₁ with αₖ = qₖᵀ A qₖ. The largest
    eigenvalue of the tridiagonal matrix of α and β, with the unit eigenvector s, is within
    βₖ |sₖ| of an eigenvalue of A. Rounding spoils the q's orthogonality only along eigenvectors
    that have converged (Paige, 1971), which leaves the largest eigenvalue as it is.
    """
    q = np.random.default_rng(0).normal(size=size)
    q /= np.linalg.norm(q)
    before, beta = np.zeros(size), 0.0
    alphas: list[float] = []
    betas: list[float] = []
    value, error, began = math.nan, math.inf, math.inf
    for _ in range(min(products, size)):
        w = product(q)
        if not np.isfinite(w).all():
            return math.nan, math.inf
        began = min(began, time.process_time())
        alpha = float(q @ w)
        w -= alpha * q + beta * before
        beta = float(np.linalg.norm(w))
        alphas.append(alpha)
        values, vectors = np.linalg.eigh(np.diag(alphas) + np.diag(betas, 1) + np.diag(betas, -1))
        value, scale = float(values[-1]), float(np.abs(values).max())
        error = beta * abs(float(vectors[-1, -1]))
        exhausted = beta <= EXHAUSTED * scale
        if exhausted or error <= tolerance * abs(value) or time.process_time() - began > seconds:
            break
        betas.append(beta)
        before, q = q, w / beta
    return value, error
