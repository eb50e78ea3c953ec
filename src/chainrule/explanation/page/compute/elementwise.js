// The elementwise operations of ops.TABLE.
(() => {
  "use strict";
  const { ROUND, empty, isBig, isFloating, roundEven, rounded, width } = chainrule;
  const { ERF_NEAR, ERFC, PPND16 } = chainrule.constants;

  // ── the error function: as gauss_error.py ──────────────────────────────────────────────────────

  const polynomial = (coefficients, x) => coefficients.reduce((y, c) => y * x + c, 0);
  const ratio = ([above, below], x) => polynomial(above, x) / polynomial(below, x);
  const withSign = (x, sign) => (sign < 0 || Object.is(sign, -0) ? -Math.abs(x) : Math.abs(x));

  function erf(x) {
    if (x !== x) return x;
    const z = Math.abs(x);
    if (z < 0.84375) return x + x * ratio(ERF_NEAR, x * x);
    const big = Math.min(z, 6);
    return withSign(1 - Math.exp(-big * big) * ratio(ERFC, big), x);
  }

  function erfinv(x) {
    const q = x / 2;
    const z = Math.abs(q);
    if (z <= 0.425) return (q * ratio(PPND16.middle, 0.180625 - q * q)) / Math.SQRT2;
    if (Math.abs(x) === 1) return x * Infinity;
    if (!(z < 0.5)) return NaN;
    const r = Math.sqrt(-Math.log((1 - Math.abs(x)) / 2));
    const value = r <= 5 ? ratio(PPND16.near, r - 1.6) : ratio(PPND16.far, r - 5);
    return withSign(value, q) / Math.SQRT2;
  }

  // erfinv after a Newton step, with the difference taken so that little of it is lost.
  function refinedErfinv(x) {
    const y = erfinv(x);
    if (!Number.isFinite(y)) return y;
    const z = Math.abs(y);
    if (z < 0.84375) {
      const step = (y - x + y * ratio(ERF_NEAR, y * y)) * Math.exp(y * y);
      return y - (Math.sqrt(Math.PI) / 2) * step;
    }
    const big = Math.min(z, 6);
    let scaled = ratio(ERFC, big);
    if (big > 4) {
      let f = big;
      for (let k = 60; k > 0; k--) f = big + k / 2 / f;
      scaled = 1 / (Math.sqrt(Math.PI) * f);
    }
    const step = Math.sign(x) * ((1 - Math.abs(x)) * Math.exp(big * big) - scaled);
    return y - (Math.sqrt(Math.PI) / 2) * step;
  }

  // ── functions of numbers; those that are also of BigInt use no constant ────────────────────────

  function sigmoid(x) {
    const z = Math.exp(-Math.abs(x));
    return (x >= 0 ? 1 : z) / (1 + z);
  }

  function power(a, b) {
    if (typeof a === "bigint") return a ** b;
    return a === 1 || (a === -1 && Math.abs(b) === Infinity) ? 1 : a ** b;
  }

  function refuseZero(name, b) {
    if (b == 0) throw new Error(`[${name}] got a whole number divided by 0`);
  }

  function remainder(a, b) {
    if (typeof a === "bigint") {
      const m = a % b;
      return m !== 0n && m < 0n !== b < 0n ? m + b : m;
    }
    const m = a % b;
    if (m === 0) return withSign(0, b);
    return m < 0 !== b < 0 ? m + b : m;
  }

  function floorDivide(a, b) {
    if (typeof a === "bigint") return (a - remainder(a, b)) / b;
    if (b === 0) return a / b;
    let m = a % b;
    let quotient = (a - m) / b;
    if (m !== 0 && m < 0 !== b < 0) quotient -= 1;
    if (quotient === 0) return withSign(0, a / b);
    const low = Math.floor(quotient);
    return quotient - low > 0.5 ? low + 1 : low;
  }

  const maximum = (a, b) => (a >= b || a !== a ? a : b);
  const minimum = (a, b) => (a <= b || a !== a ? a : b);

  function logaddexp(a, b) {
    if (a === b) return a + Math.LN2;
    const gap = a - b;
    return gap > 0 ? a + Math.log1p(Math.exp(-gap)) : b + Math.log1p(Math.exp(gap));
  }

  function sign(x) {
    if (typeof x === "bigint") return x > 0n ? 1n : x < 0n ? -1n : 0n;
    return x > 0 ? 1 : x < 0 ? -1 : x === 0 ? 0 : x;
  }

  const view = new DataView(new ArrayBuffer(8));

  const SMALLEST = {
    float64: 2 ** -1074,
    float32: 2 ** -149,
    float16: 2 ** -24,
    bfloat16: 2 ** -133,
  };

  // The neighbour of a towards b in the format: the next pattern of bits.
  function nextafter(dtype, a, b) {
    if (a !== a || b !== b) return NaN;
    if (a === b) return b;
    if (a === 0) return b > a ? SMALLEST[dtype] : -SMALLEST[dtype];
    const step = b > a === a > 0 ? 1 : -1; // away from 0, or towards it
    if (dtype === "float16") return nextFloat16(a, step);
    if (dtype === "float64") {
      view.setFloat64(0, a);
      view.setBigInt64(0, view.getBigInt64(0) + BigInt(step));
      return view.getFloat64(0);
    }
    view.setFloat32(0, a);
    view.setInt32(0, view.getInt32(0) + (dtype === "bfloat16" ? step * 0x10000 : step));
    return view.getFloat32(0);
  }

  function nextFloat16(a, step) {
    const size = Math.abs(a);
    if (size === Infinity) return Math.sign(a) * 65504;
    let exponent = Math.max(Math.floor(Math.log2(size)), -14);
    if (step < 0 && size === 2 ** exponent && exponent > -14) exponent -= 1;
    return ROUND.float16(Math.sign(a) * (size + step * 2 ** (exponent - 10)));
  }

  const invert = (dtype) => (dtype === "bool" ? (x) => 1 - x : (x) => ~x);

  function shiftLeft(dtype) {
    const size = width(dtype);
    if (isBig(dtype)) return (a, b) => (b < size ? a << b : 0n);
    return (a, b) => (b < size ? a << b : 0);
  }

  function shiftRight(dtype) {
    const size = width(dtype);
    if (isBig(dtype)) return (a, b) => (b < size ? a >> b : a < 0n ? -1n : 0n);
    if (dtype === "uint32") return (a, b) => (b < size ? a >>> b : 0);
    return (a, b) => (b < size ? a >> b : a < 0 ? -1 : 0);
  }

  // The product in the dtype: of 32 bits without the bits above.
  const product = (dtype) => (/int32/.test(dtype) ? Math.imul : (a, b) => a * b);

  // ── operations ─────────────────────────────────────────────────────────────────────────────────

  function map(f, x, { dtype, shape }) {
    const out = empty(dtype, shape);
    const from = x.data;
    const to = out.data;
    for (let i = 0; i < to.length; i++) to[i] = f(from[i]);
    return rounded(out);
  }

  function map2(f, x1, x2, { dtype, shape }) {
    const out = empty(dtype, shape);
    const a = x1.data;
    const b = x2.data;
    const to = out.data;
    for (let i = 0; i < to.length; i++) to[i] = f(a[i], b[i]);
    return rounded(out);
  }

  const unary = (f) => ([x], _, spec) => map(f, x, spec);
  const binary = (f) => ([x1, x2], _, spec) => map2(f, x1, x2, spec);
  const byDtype = (f) => ([x], _, spec) => map(f(x.dtype), x, spec);
  const byDtype2 = (f) => ([x1, x2], _, spec) => map2(f(x1.dtype), x1, x2, spec);

  // Of floats only: whole numbers stay as they are.
  const ofFloats = (f) => byDtype((dtype) => (isFloating(dtype) ? f : (x) => x));

  // Whole numbers by BigInt, since powers have more digits than a float64.
  function powers([x1, x2], _, spec) {
    if (isFloating(x1.dtype)) return map2(power, x1, x2, spec);
    const to = isBig(x1.dtype) ? (x) => x : (x) => Number(BigInt.asIntN(64, x));
    return map2((a, b) => to(BigInt(a) ** BigInt(b)), x1, x2, spec);
  }

  const division = (name, f) => ([x1, x2], _, spec) => {
    if (!isFloating(x2.dtype)) x2.data.forEach((b) => refuseZero(name, b));
    return map2(f, x1, x2, spec);
  };

  // Written out, as nearly all of a pass is made of these.
  function add([x1, x2], _, { dtype, shape }) {
    const out = empty(dtype, shape);
    const [a, b, to] = [x1.data, x2.data, out.data];
    for (let i = 0; i < to.length; i++) to[i] = a[i] + b[i];
    return rounded(out);
  }

  function multiply([x1, x2], _, spec) {
    if (!isFloating(x1.dtype)) return map2(product(x1.dtype), x1, x2, spec);
    const out = empty(spec.dtype, spec.shape);
    const [a, b, to] = [x1.data, x2.data, out.data];
    for (let i = 0; i < to.length; i++) to[i] = a[i] * b[i];
    return rounded(out);
  }

  function where([condition, x1, x2], _, { dtype, shape }) {
    const out = empty(dtype, shape);
    const [c, a, b, to] = [condition.data, x1.data, x2.data, out.data];
    for (let i = 0; i < to.length; i++) to[i] = c[i] ? a[i] : b[i];
    return out;
  }

  function astype([x], { dtype }) {
    const out = empty(dtype, x.shape);
    const { data } = x;
    const to = out.data;
    const whole = !isFloating(dtype) && isFloating(x.dtype);
    const convert =
      dtype === "bool"
        ? (v) => (v != 0 ? 1 : 0)
        : isBig(dtype) && !isBig(x.dtype)
          ? (v) => BigInt(whole ? (Number.isFinite(v) ? Math.trunc(v) : 0) : v)
          : !isBig(dtype) && isBig(x.dtype)
            ? (v) => Number(isFloating(dtype) ? v : BigInt.asIntN(width(dtype), v))
            : whole
              ? Math.trunc
              : (v) => v;
    for (let i = 0; i < to.length; i++) to[i] = convert(data[i]);
    return rounded(out);
  }

  const same = ([x]) => x;

  chainrule.operations = {
    negative: unary((x) => -x),
    abs: unary((x) => (x < 0 || Object.is(x, -0) ? -x : x)),
    square: byDtype((dtype) => ((times) => (x) => times(x, x))(product(dtype))),
    sqrt: unary(Math.sqrt),
    exp: unary(Math.exp),
    expm1: unary(Math.expm1),
    log: unary(Math.log),
    log1p: unary(Math.log1p),
    log2: unary(Math.log2),
    log10: unary(Math.log10),
    sin: unary(Math.sin),
    cos: unary(Math.cos),
    tan: unary(Math.tan),
    asin: unary(Math.asin),
    acos: unary(Math.acos),
    atan: unary(Math.atan),
    sinh: unary(Math.sinh),
    cosh: unary(Math.cosh),
    tanh: unary(Math.tanh),
    asinh: unary(Math.asinh),
    acosh: unary(Math.acosh),
    atanh: unary(Math.atanh),
    sigmoid: unary(sigmoid),
    erf: unary(erf),
    erfinv: byDtype((dtype) => (dtype === "float64" ? refinedErfinv : erfinv)),
    add,
    subtract: binary((a, b) => a - b),
    multiply,
    divide: binary((a, b) => a / b),
    power: powers,
    remainder: division("remainder", remainder),
    maximum: binary(maximum),
    minimum: binary(minimum),
    atan2: binary(Math.atan2),
    hypot: binary(Math.hypot),
    logaddexp: binary(logaddexp),
    copysign: binary(withSign),
    sign: unary(sign),
    floor: ofFloats(Math.floor),
    ceil: ofFloats(Math.ceil),
    trunc: ofFloats(Math.trunc),
    round: unary(roundEven),
    floor_divide: division("floor_divide", floorDivide),
    nextafter: byDtype2((dtype) => (a, b) => nextafter(dtype, a, b)),
    equal: binary((a, b) => (a === b ? 1 : 0)),
    not_equal: binary((a, b) => (a !== b ? 1 : 0)),
    less: binary((a, b) => (a < b ? 1 : 0)),
    less_equal: binary((a, b) => (a <= b ? 1 : 0)),
    bitwise_and: binary((a, b) => a & b),
    bitwise_or: binary((a, b) => a | b),
    bitwise_xor: binary((a, b) => a ^ b),
    bitwise_invert: byDtype(invert),
    bitwise_left_shift: byDtype2(shiftLeft),
    bitwise_right_shift: byDtype2(shiftRight),
    where,
    alias: same,
    stop_gradient: same,
    astype,
  };
  Object.assign(chainrule, { erfinv, maximum, minimum, nextafter, product, refinedErfinv });
})();
