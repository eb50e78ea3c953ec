"""exp, log, sin… as straight-line LLVM IR, which LLVM's vectorisers widen to any vector.

No calls, no branches, and nothing depends on the order of a loop, so an element's bits are the same
alone and in a vector. Formulas are in the words of `notation`, numbers in `coefficients`; sine and
its kin have their own room, `trigonometry`.
"""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir

from .... import gauss_error
from ....errors import ArgumentError
from ..processor import Target
from .coefficients import DOUBLE, ERF_SINGLE, ERFC_FAR, LOG_ERFC, format_of
from .notation import INF, NAN, Operand, Value, halves, two_product, two_sum, where
from .trigonometry import acos, asin, atan, atan2, cos, sin, tan

# ── exponentials ─────────────────────────────────────────────────────────────────────────────────


def _exponent(x: Value, low: Operand | None = None) -> tuple[Value, Value]:
    """x + low = n ln 2 + r, |r| ≤ ln 2 / 2 -> e^r - 1, and n as a whole number. |x| < 2¹⁰."""
    f = format_of(x)
    magic = x.like(1.5 * 2.0**f.mantissa)  # adding it rounds, and leaves n in the last bits
    shifted = x.fma(1.4426950408889634, magic)
    n = shifted - magic
    r = n.fma(-f.ln2[1], n.fma(-f.ln2[0], x))
    if low is not None:
        r = r + low
    return (r * r).fma(r.polynomial(f.exp), r), shifted.bits() - magic.bits()


def _scaled(x: Value, n: Value) -> Value:
    """x · 2ⁿ in two factors, so that it overflows, or rounds once to a denormal, as it should."""
    f = format_of(x)
    total = n + 2 * f.bias
    half = total >> 1
    return x * (half << f.mantissa).float() * (total - half << f.mantissa).float()


def _clipped(x: Value, low: float, high: float) -> Value:
    x = where(x > high, high, x)
    return where(x < low, low, x)


def exp(x: Value) -> Value:
    q, n = _exponent(_clipped(x, *format_of(x).exp_range))
    return _scaled(1 + q, n)


def exp_below_zero(x: Value) -> Value:
    """eˣ for x ≤ 0, as in a softmax; 0 where it would be a denormal."""
    f = format_of(x)
    low = -f.bias * 0.69314 + 1  # a little above the logarithm of the smallest normal number
    q, n = _exponent(where(x < low, low, x))
    return where(x < low, 0, (1 + q) * (n + f.bias << f.mantissa).float())


def expm1(x: Value) -> Value:
    """2ⁿ (e^r - 1) + (2ⁿ - 1), through 2ⁿ⁻¹ for the largest x."""
    f = format_of(x)
    q, n = _exponent(_clipped(x, -40, f.exp_range[1]))
    half = (n + (f.bias - 1) << f.mantissa).float()
    return where(x.abs() < 2.0 ** -(f.mantissa + 2), x, half.fma(q, half - 0.5) * 2)


def sigmoid(x: Value) -> Value:
    """1 / (1 + z) or z / (1 + z), z = e^-|x|, corrected by what rounding e^r and 1 + z lost."""
    q, n = _exponent(_clipped(-x.abs(), format_of(x).exp_range[0], 0))
    p = 1 + q
    z = _scaled(p, n)
    den = 1 + z
    y = where(x >= 0, 1, z) / den
    return y.fma(where(x >= 0, 0, q - (p - 1)) - (z - (den - 1)), y)


def tanh(x: Value) -> Value:
    """x + x³ P(x²) / Q(x²) below 0.625, 1 - 2 / (e²ˣ + 1) above (Cephes)."""
    num, den = format_of(x).tanh
    a, z = x.abs(), x * x
    near = a < 0.625
    q, n = _exponent(_clipped(2 * a, 0, 44))
    top, below = where(near, z * z.polynomial(num), 2), z.polynomial(den)
    ratio = top / where(near, below, _scaled(1 + q, n) + 1)
    return where(near, x.fma(ratio, x), (1 - ratio).signed(x))


def _half_exp(x: Value) -> Value:
    q, n = _exponent(_clipped(x, 0, format_of(x).exp_range[1] + 1))
    return _scaled(1 + q, n - 1)


def sinh(x: Value) -> Value:
    a, z = x.abs(), x * x
    h = _half_exp(a)
    return where(a < 1, x.fma(z * z.polynomial(format_of(x).sinh), x), (h - 0.25 / h).signed(x))


def cosh(x: Value) -> Value:
    h = _half_exp(x.abs())
    return h + 0.25 / h


# ── logarithms ───────────────────────────────────────────────────────────────────────────────────


def _mantissa(x: Value) -> tuple[Value, Value]:
    """x = 2ᵏ (1 + f), √½ ≤ 1 + f < √2 -> f and k as a float; a denormal x too."""
    f = format_of(x)
    scale = f.mantissa + 2
    tiny = x < 2.0 ** (1 - f.bias)
    moved = where(tiny, x * 2.0**scale, x).bits() + ((f.bias << f.mantissa) - f.root_half)
    whole = 2.0**f.mantissa
    k = (moved >> f.mantissa | x.like(whole).bits()).float()
    m = ((moved & (1 << f.mantissa) - 1) + f.root_half).float()
    return m - 1, k - where(tiny, x.like(whole + f.bias + scale), whole + f.bias)


def _log_parts(m: Value) -> tuple[Value, Value]:
    """log(1 + m) = m - h + s (h + R): h = m²/2 and s (h + R), s = m / (2 + m) (fdlibm)."""
    s, h = m / (2 + m), 0.5 * m * m
    z = s * s
    return h, s * (h + z * z.polynomial(format_of(m).log))


def _defined(x: Value, y: Value, edge: float = 0) -> Value:
    """y, but -inf at the edge of the domain, NaN below, x itself at inf and NaN."""
    y = where(x.equals(edge), -INF, where(x < edge, NAN, y))
    return where(x < INF, y, x)


def _log(x: Value, low: Operand = 0, doublings: Operand = 0) -> Value:
    """log(x (1 + low) 2^doublings) for 0 < x < inf, low tiny."""
    f = format_of(x)
    m, k = _mantissa(x)
    k = k + doublings
    h, rest = _log_parts(m)
    return k.fma(f.ln2[0], m - (h - (rest + k.fma(f.ln2[1], low))))


def log(x: Value) -> Value:
    return _defined(x, _log(x))


def log1p(x: Value) -> Value:
    """log(u) + (1 + x - u) / u, u = 1 + x rounded (fdlibm)."""
    u, low = two_sum(x.like(1), x)
    y = _defined(x, _log(u, low / u), -1)
    return where(x.abs() < 2.0 ** -(format_of(x).mantissa + 1), x, y)


def _log_base(x: Value, inverse: tuple[float, float], two: tuple[float, float]) -> Value:
    """The logarithm with 1 / log(base) and log_base(2) in two parts each (fdlibm)."""
    m, k = _mantissa(x)
    h, rest = _log_parts(m)
    high, _ = halves(m - h)
    low = (m - high) - h + rest
    top, start = high * inverse[0], k * two[0]
    total = start + top
    small = (low + high).fma(inverse[1], low * inverse[0]) + k * two[1]
    return _defined(x, total + (small + ((start - total) + top)))


def log2(x: Value) -> Value:
    return _log_base(x, format_of(x).log2, (1, 0))


def log10(x: Value) -> Value:
    return _log_base(x, format_of(x).log10, format_of(x).log10_2)


def asinh(x: Value) -> Value:
    """log(1 + a + a² / (1 + √(a² + 1))), from 2¹⁴ on log(2a)."""
    a = x.abs()
    big = a > (2.0**28 if x.double else 2.0**14)
    s, e1 = two_sum(a, a * a / (1 + (a * a + 1).sqrt()))
    u, e2 = two_sum(s, 1)
    y = _log(where(big, a, u), where(big, 0, (e1 + e2) / u), where(big, x.like(1), 0))
    return where(a < format_of(x).tiny, x, where(a < INF, y, a).signed(x))


def acosh(x: Value) -> Value:
    """log(1 + t + √(t (t + 2))) with t = x - 1, for large x log(2x)."""
    big = x > (2.0**28 if x.double else 2.0**14)
    t = x - 1
    s, e1 = two_sum((t * (t + 2)).sqrt(), t)
    u, e2 = two_sum(s, 1)
    y = _log(where(big, x, u), where(big, 0, (e1 + e2) / u), where(big, x.like(1), 0))
    return where(x < 1, NAN, where(x < INF, y, x))


def atanh(x: Value) -> Value:
    """½ log((1 + x) / (1 - x)): near 0 by the series that `log` is made of."""
    a, z = x.abs(), x * x
    near = x.fma(0.5 * z * z.polynomial(format_of(x).log), x)
    t = 2 * a / (1 - a)
    u, low = two_sum(t, 1)
    far = where(a < 1, 0.5 * _log(u, low / u), where(a.equals(1), x.like(INF), NAN)).signed(x)
    return where(a < 0.17, near, far)


# ── the error function ───────────────────────────────────────────────────────────────────────────


def erf(x: Value) -> Value:
    """Near 0 x + x R(x²), above 1 - erfc(x); tables of float64: see `gauss_error.py`."""
    a, z = x.abs(), x * x
    near = a < 0.84375
    if not x.double:
        b = _clipped(a, 0.5, 3.95)
        q, n = _exponent(-b.polynomial(LOG_ERFC))
        return where(near, x.fma(z.polynomial(ERF_SINGLE), x), (1 - _scaled(1 + q, n)).signed(x))
    b = _clipped(a, 0.5, 6)
    num, den = (
        where(near, z.polynomial(close), b.polynomial(far))
        for close, far in zip(gauss_error.ERF_NEAR, gauss_error.ERFC, strict=True)
    )
    q, n = _exponent(-b * b)
    ratio = num / den
    return where(near, x.fma(ratio, x), (1 - _scaled(1 + q, n) * ratio).signed(x))


def _erfinv(x: Value) -> Value:
    """Wichura's AS 241 as in `gauss_error.py`, without the Newton step."""
    a = x.abs()
    middle = a <= 0.85
    r = (-log((1 - a) * 0.5)).sqrt()
    below = r <= 5
    at = where(middle, 0.180625 - 0.25 * x * x, where(below, r - 1.6, r - 5))
    num, den = (
        at.polynomial(
            [
                where(middle, p, where(below, x.like(q), s))
                for p, q, s in zip(*map(reversed, tables), strict=True)
            ]
        )
        for tables in (
            (gauss_error.PPND16_A, gauss_error.PPND16_C, gauss_error.PPND16_E),
            (gauss_error.PPND16_B, gauss_error.PPND16_D, gauss_error.PPND16_F),
        )
    )
    y = where(middle, a, 1) * (num / den * where(middle, x.like(0.125**0.5), 0.5**0.5))
    return where(a < 1, y, where(a.equals(1), x.like(INF), NAN)).signed(x)


def _refined(y: Value, x: Value) -> Value:
    """y - (erf(y) - x) / erf′(y), with the difference taken as in `gauss_error.py`."""
    a, square = y.abs(), y * y
    near, far = a < 0.84375, a > 4
    inverse = 1 / square
    num, den = (
        where(near, square.polynomial(p), where(far, inverse.polynomial(r), a.polynomial(q)))
        for p, q, r in zip(gauss_error.ERF_NEAR, gauss_error.ERFC, ERFC_FAR, strict=True)
    )
    ratio = num / den
    q, n = _exponent(square)
    power = _scaled(1 + q, n)
    inside = ((a - x.abs()) + a * ratio) * power
    scaled = where(far, (0.5641895835477562869 - inverse * ratio) / a, ratio)
    outside = (1 - x.abs()) * power - scaled
    step = 0.886226925452758014 * where(near, inside, outside)
    return where(a < INF, (a - step).signed(x), y)


def erfinv(x: Value) -> Value:
    if not x.double:
        return _in_double(_erfinv, x)
    return _refined(_erfinv(x), x)


def _in_double(function: Callable[..., Value], *xs: Value) -> Value:
    """Compute in float64 and round once."""
    y = function(*(x.widened() for x in xs))
    return y if xs[0].double else y.narrowed()


# ── power ────────────────────────────────────────────────────────────────────────────────────────

_THIRDS = (2 / 3, 3.700743415417188e-17)
_ATANH = [2 / n for n in range(25, 3, -2)]  # of z^k: 2 / (2k + 5)


def _log_twofold(x: Value) -> tuple[Value, Value]:
    """log x to some 2⁻⁶⁶: 2s + s (⅔ z + z² G(z)), s = f / (2 + f), z = s², in twofold numbers."""
    f, k = _mantissa(x)
    den, den_low = two_sum(f, 2)
    s = f / den
    p, e = two_product(s, den)
    s_low = (((f - p) - e) - s * den_low) / den
    z, z_low = two_product(s, s)
    z_low = z_low + 2 * s * s_low
    a, a_low = two_product(z, _THIRDS[0])
    a_low = a_low + (z * _THIRDS[1] + z_low * _THIRDS[0])
    w, w_low = two_sum(a, z * z * z.polynomial(_ATANH))
    w_low = w_low + a_low
    b, b_low = two_product(s, w)
    b_low = b_low + (s * w_low + s_low * w)
    h, low = two_sum(2 * s, b)
    low = low + (b_low + 2 * s_low)
    total, rest = two_sum(k * DOUBLE.ln2[0], h)
    return total, rest + (low + k * DOUBLE.ln2[1])


def _pow(x: Value, y: Value) -> Value:
    a = x.abs()
    high, low = _log_twofold(a)
    high = where(a.equals(0), -INF, where(a < INF, high, a))
    product, lost = two_product(y, high)
    lost = where(product.abs() < 1e3, lost + y * low, 0)
    q, n = _exponent(_clipped(product, *DOUBLE.exp_range), lost)
    size = _scaled(1 + q, n)
    whole, half = y.rint().equals(y), y * 0.5
    odd = whole & ~half.rint().equals(half)
    signed = where(odd, size.signed(x), size)
    out = where((x < 0) & (x > -INF) & ~whole, NAN, signed)
    one = x.equals(1) | y.equals(0) | (x.equals(-1) & y.abs().equals(INF))
    return where(one, 1, out)


def power(x: Value, y: Value) -> Value:
    return _in_double(_pow, x, y)


# ── the table ────────────────────────────────────────────────────────────────────────────────────

# By the names of `ops.py`, and sqrt, which is one instruction.
FUNCTIONS: dict[str, Callable[..., Value]] = {
    "exp": exp,
    "expm1": expm1,
    "log": log,
    "log1p": log1p,
    "log2": log2,
    "log10": log10,
    "sin": sin,
    "cos": cos,
    "tan": tan,
    "asin": asin,
    "acos": acos,
    "atan": atan,
    "atan2": atan2,
    "sinh": sinh,
    "cosh": cosh,
    "tanh": tanh,
    "asinh": asinh,
    "acosh": acosh,
    "atanh": atanh,
    "sigmoid": sigmoid,
    "erf": erf,
    "erfinv": erfinv,
    "sqrt": Value.sqrt,
    "power": power,
}


def module_for(name: str, target: Target) -> ir.Module:
    """An LLVM module, which knows what of the target formulas depend on."""
    module = ir.Module(name)
    module.triple, module.fused = target.triple, target.fma
    module.converts_halves = target.converts_halves
    return module


def emit_function(builder: ir.IRBuilder, name: str, *xs: ir.Value) -> ir.Value:
    """Emit the function of `ops.py` with that name on float or double values.

    Whether the target has a fused multiply-add says the module: see `module_for`.
    """
    fused: bool = builder.module.fused
    if name not in FUNCTIONS:
        known = ", ".join(FUNCTIONS)
        raise ArgumentError(
            "compile", f"got function {name!r}", f"expected one of {known}", "compose it"
        )
    return FUNCTIONS[name](*(Value(builder, x, fused) for x in xs)).ir
