"""Sine, cosine, tangent and their inverses, in the form that `elementary` describes.

An angle of any size is first reduced by π/2 (Payne and Hanek): the bits of 2/π that matter for its
exponent are read from a table that the module holds once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from llvmlite import ir

from ..ir_types import F64
from .coefficients import DOUBLE, format_of
from .notation import INF, Operand, Value, halves, two_product, two_sum, where

# ── reduction ────────────────────────────────────────────────────────────────────────────────────


def _pi(bits: int) -> int:
    """⌊2^bits π⌋, but for the last few bits, by Machin's 16 atan ⅕ - 4 atan ¹⁄₂₃₉."""

    def atan_inverse(n: int) -> int:
        total, power, k = 0, (1 << bits) // n, 1
        while power:
            total += power // k if k % 4 == 1 else -(power // k)
            power //= n * n
            k += 2
        return total

    return 4 * (4 * atan_inverse(5) - atan_inverse(239))


def _quarters(steps: Sequence[int], pieces: Sequence[int]) -> list[float]:
    """2ˢ · 2/π mod 4 for each step s, as a sum of floats, each of at most the bits of its piece."""
    scale = max(steps) + 320
    two_over_pi = (1 << 2 * scale + 1) // _pi(scale)
    out = []
    for step in steps:
        rest, place = (two_over_pi << step) % (4 << scale), 2
        for bits in pieces:
            place -= bits
            unit = 1 << scale + place
            part = (rest + unit // 2) // unit
            rest -= part * unit
            out.append(part * 2.0**place)
    return out


def _gathered(table: str, make: Callable[[], list[float]], x: Value, width: int) -> list[Value]:
    """Row x of a table of float64 that the module holds once."""
    b = x.builder
    module = b.module
    name = f"chainrule.{table}"
    if name not in module.globals:
        numbers = make()
        shape = ir.ArrayType(F64, len(numbers))
        new = ir.GlobalVariable(module, shape, name)
        new.initializer, new.global_constant = ir.Constant(shape, numbers), True
        new.linkage, new.align = "internal", 64
    rows = module.globals[name]
    places = ([x.like(0).ir, (x * width + column).ir] for column in range(width))
    return [x.make(b.load(b.gep(rows, place, inbounds=True))) for place in places]


def _nearest(x: Value) -> tuple[Value, Value]:
    """The whole number next to x, |x| < 2⁵⁰, and its last bits."""
    magic = x.like(1.5 * 2.0**52)
    shifted = x + magic
    return shifted - magic, shifted.bits()


def _reduced_single(x: Value) -> tuple[Value, Value]:
    """x = (n + r) π/2 -> r π/2 in float64, and n mod 4 in the last bits (Payne and Hanek).

    x = m 2ᵉ, and (2ᵉ · 2/π mod 4) is read from a table: 29 bits, whose product with m is exact, and
    53 more. m 2ᵉ itself takes m's place, and the table is scaled to match.
    """
    exponent = x.bits() >> 23 & 0xFF
    row = where(exponent > 150, exponent - 150, 0)
    steps = range(106)
    high, low = _gathered(
        "quarters.single",
        lambda: [t / 2.0 ** steps[i // 2] for i, t in enumerate(_quarters(steps, (29, 53)))],
        row,
        2,
    )
    wide = x.widened()
    product, rest = wide * high, wide * low
    n, bits = _nearest(product + rest)
    return ((product - n) + rest) * 1.5707963267948966, bits


def _reduced_double(x: Value) -> tuple[Value, Value, Value]:
    """The same in steps of 32 exponents with 4 · 53 bits -> r π/2 in two parts, and n mod 4."""
    exponent = x.bits() >> 52 & 0x7FF
    row = where(exponent > 1075, exponent - 1075, 0) >> 5
    x = x * ((1023 - row * 32) << 52).float()
    steps = [32 * g for g in range(31)]
    parts = _gathered("quarters.double", lambda: _quarters(steps, (53,) * 4), row, 4)
    (p1, e1), (p2, e2), (p3, e3) = (two_product(x, part) for part in parts[:3])
    p1, e1, p2 = (v - 4 * (v * 0.25).rint() for v in (p1, e1, p2))
    n, bits = _nearest((p1 + e1) + p2)
    terms = [x * parts[3] + e3, p3, e2, p2, e1, p1 - n]
    for _ in range(2):  # each sweep gathers what the additions lose (Ogita, Rump and Oishi)
        for i in range(1, len(terms)):
            terms[i], terms[i - 1] = two_sum(terms[i], terms[i - 1])
    low = terms[0]
    for term in terms[1:-1]:
        low = low + term
    high, (pi_high, pi_low) = terms[-1], DOUBLE.pi_half
    r, lost = two_product(high, pi_high)
    return r, lost + (high * pi_low + low * pi_high), bits


# ── sine, cosine, tangent ────────────────────────────────────────────────────────────────────────


def _sin_cos(r: Value, low: Operand) -> tuple[tuple[Value, Value], tuple[Value, Value]]:
    """sin and cos of r + low, |r| ≤ π/4, each rounded and what that lost (fdlibm)."""
    f, z = format_of(r), r * r
    less = (z * (0.5 * low - z * r * z.polynomial(f.sin[:-1])) - low) - z * r * f.sin[-1]
    s = r - less
    w = 1 - 0.5 * z
    more = ((1 - w) - 0.5 * z) + (z * z * z.polynomial(f.cos) - r * low)
    c = w + more
    return (s, (r - s) - less), (c, (w - c) + more)


def _turned(x: Value, turns: int) -> Value:
    """sin(x + turns π/2): sine or cosine of what is left of x, with a sign."""
    if x.double:
        r, low, n = _reduced_double(x)
    else:
        wide, n = _reduced_single(x)
        r, low = wide.narrowed(), x.like(0)
    (s, _), (c, _) = _sin_cos(r, low)
    n = n + turns
    y = where((n & 1).equals(0), s, c)
    return where((n & 2).equals(0), y, -y)


def sin(x: Value) -> Value:
    return where(x.abs() < format_of(x).tiny, x, _turned(x, 0))


def cos(x: Value) -> Value:
    return _turned(x, 1)


def tan(x: Value) -> Value:
    """s / c or -c / s; in float64 one step of division more, with what s and c lost."""
    if x.double:
        r, low, n = _reduced_double(x)
    else:
        r, n = _reduced_single(x)
        low = r.like(0)
    (s, s_low), (c, c_low) = _sin_cos(r, low)
    even = (n & 1).equals(0)
    num, den = where(even, s, -c), where(even, c, s)
    y = num / den
    if x.double:
        p, lost = two_product(y, den)
        num_low, den_low = where(even, s_low, -c_low), where(even, c_low, s_low)
        y = y + (((num - p) - lost) + (num_low - y * den_low)) / den
    return where(x.abs() < format_of(x).tiny, x, y if x.double else y.narrowed())


# ── inverses ─────────────────────────────────────────────────────────────────────────────────────


def _arc(x: Value) -> tuple[Value, Value, Value, Value]:
    """For |x| < ½ z = x², above z = (1 - |x|) / 2 -> asin(√z) / √z - 1, and √z in two parts."""
    f, a = format_of(x), x.abs()
    near = a < 0.5
    z = where(near, x * x, (1 - a) * 0.5)
    num, den = f.asin
    p = z * z.polynomial(num) / z.polynomial(den)
    s = z.sqrt()
    high, _ = halves(s)
    low = (z - high * high) / (s + high + 2.0**-100)
    return near, p, high, low


def asin(x: Value) -> Value:
    """x + x p below ½, π/2 - 2 asin √((1 - |x|) / 2) above (fdlibm)."""
    near, p, high, low = _arc(x)
    pi_high, pi_low = format_of(x).pi_half
    s = high + low
    y = 0.5 * pi_high - ((2 * s * p - (pi_low - 2 * low)) - (0.5 * pi_high - 2 * high))
    return where(near, x.fma(p, x), y.signed(x))


def acos(x: Value) -> Value:
    near, p, high, low = _arc(x)
    pi_high, pi_low = format_of(x).pi_half
    s = high + low
    positive = 2 * (high + s.fma(p, low))
    negative = 2 * (pi_high - (s + (s * p - pi_low)))
    return where(near, pi_high - (x - (pi_low - x * p)), where(x > 0, positive, negative))


def _arctangent(a: Value, b: Operand) -> tuple[Value, Value, Value, Value]:
    """atan(a / b) = high + low + t (1 - q), from c = 0, ½, 1, 1½ or inf (fdlibm).

    high + low is atan c, and t = (a / b - c) / (1 + c a / b). b is a value or 1.
    """
    f = format_of(a)
    num, den = a, a.like(b)
    high, low = a.like(0), a.like(0)
    steps = (
        (0.4375, 2 * a - b, 2 * b + a),
        (0.6875, a - b, a + b),
        (1.1875, a - 1.5 * b, b + 1.5 * a),
        (2.4375, -b, a),
    )
    for (start, above, below), h, lo in zip(steps, f.atan_high, f.atan_low, strict=True):
        far = a >= start * b
        num, den = where(far, above, num), where(far, below, den)
        high, low = where(far, h, high), where(far, lo, low)
    t = num / den
    z = t * t
    return high, low, t, z * z.polynomial(f.atan)


def atan(x: Value) -> Value:
    high, low, t, q = _arctangent(x.abs(), 1)
    return where(x.equals(x), high - ((t * q - low) - t), x).signed(x)


def atan2(y: Value, x: Value) -> Value:
    """The angle of (x, y): atan(|y| / |x|), or π less that where x is negative, with y's sign.

    Both are made smaller where sums of them may overflow, and larger where they may be denormal.
    Two infinities count as equal.
    """
    f = format_of(x)
    a, b = y.abs(), x.abs()
    infinite = a.equals(INF) & b.equals(INF)
    half = f.bias // 2
    large, small = where(a > b, a, b) > 2.0**half, where(a > b, a, b) < 2.0**-half
    scale = where(large, x.like(2.0**-half), where(small, x.like(2.0**half), 1))
    a, b = (where(infinite, 1, size * scale) for size in (a, b))
    b = where(a.equals(0) & b.equals(0), 1, b)
    high, low, t, q = _arctangent(a, b)
    pi_high, pi_low = (2 * part for part in f.pi_half)
    rest, lost = two_sum(x.like(pi_high), -high)
    negative = x.like(1).signed(x) < 0
    high, low = where(negative, rest, high), where(negative, lost + (pi_low - low), low)
    t = where(negative, -t, t)
    angle = (high - ((t * q - low) - t)).signed(y)
    return where(x.equals(x) & y.equals(y), angle, x + y)
