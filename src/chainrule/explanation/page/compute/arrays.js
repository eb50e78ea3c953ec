// Arrays: { dtype, shape, data }, with the elements in C order in a typed array.
//
// float16 and bfloat16 are stored as float32 that have been rounded; int64 and uint64 as BigInt;
// bool as 0 and 1. A typed array rounds to its own format when a number is stored in it, so an
// operation that computes in float64 and stores into float32 rounds once.
(() => {
  "use strict";
  const chainrule = (globalThis.chainrule ??= {});

  const STORES = {
    bool: Uint8Array,
    int8: Int8Array,
    int16: Int16Array,
    int32: Int32Array,
    int64: BigInt64Array,
    uint8: Uint8Array,
    uint16: Uint16Array,
    uint32: Uint32Array,
    uint64: BigUint64Array,
    float16: Float32Array,
    bfloat16: Float32Array,
    float32: Float32Array,
    float64: Float64Array,
  };

  const isFloating = (dtype) => dtype.includes("float");
  const isHalf = (dtype) => dtype.endsWith("float16");
  const isBig = (dtype) => dtype.endsWith("int64");
  const width = (dtype) => Number(dtype.match(/\d+/)[0]);
  const sizeOf = (shape) => shape.reduce((n, m) => n * m, 1);

  const bits = new DataView(new ArrayBuffer(8));

  // To bfloat16: the upper half of a float32, ties to even.
  function roundBfloat16(x) {
    if (x !== x) return x;
    bits.setFloat32(0, x);
    const b = bits.getUint32(0);
    bits.setUint32(0, ((b + 0x7fff + ((b >>> 16) & 1)) & 0xffff0000) >>> 0);
    return bits.getFloat32(0);
  }

  // To float16: 11 bits, of numbers below 2⁻¹⁴ multiples of 2⁻²⁴, ties to even.
  function roundFloat16(x) {
    const y = Math.fround(x);
    if (!Number.isFinite(y) || y === 0) return y;
    const exponent = Math.max(Math.floor(Math.log2(Math.abs(y))), -14);
    const unit = 2 ** (exponent - 10);
    const out = roundEven(y / unit) * unit;
    return Math.abs(out) > 65504 ? Math.sign(y) * Infinity : out;
  }

  // To the nearest whole number, ties to even.
  function roundEven(x) {
    const low = Math.floor(x);
    const rest = x - low;
    const up = rest > 0.5 || (rest === 0.5 && low % 2 !== 0);
    const out = up ? low + 1 : low;
    return out === 0 && (x < 0 || Object.is(x, -0)) ? -0 : out;
  }

  const ROUND = {
    float64: (x) => x,
    float32: Math.fround,
    float16: roundFloat16,
    bfloat16: roundBfloat16,
  };

  const empty = (dtype, shape) => ({ dtype, shape, data: new STORES[dtype](sizeOf(shape)) });

  // The array, its elements rounded to its dtype where the typed array is wider.
  function rounded(x) {
    if (isHalf(x.dtype)) {
      const round = ROUND[x.dtype];
      for (let i = 0; i < x.data.length; i++) x.data[i] = round(x.data[i]);
    }
    return x;
  }

  // The lengths, in elements, of a step along each axis.
  function stridesOf(shape) {
    const out = new Array(shape.length);
    for (let k = shape.length - 1, n = 1; k >= 0; n *= shape[k--]) out[k] = n;
    return out;
  }

  // Calls visit(from, to) for each row of the last axis: the offsets by strides `a` and `b`.
  function eachRow(shape, a, startA, b, startB, visit) {
    const rank = shape.length - 1;
    if (sizeOf(shape) === 0) return;
    const place = new Array(Math.max(rank, 0)).fill(0);
    let i = startA;
    let j = startB;
    for (;;) {
      visit(i, j);
      let k = rank - 1;
      for (; k >= 0; k--) {
        i += a[k];
        j += b[k];
        if (++place[k] < shape[k]) break;
        i -= a[k] * shape[k];
        j -= b[k] * shape[k];
        place[k] = 0;
      }
      if (k < 0) return;
    }
  }

  // out[place · to + startTo] = x[place · from + startFrom] for each place in the shape.
  function copyStrided(shape, x, from, startFrom, out, to, startTo) {
    const last = shape.length - 1;
    const n = last < 0 ? 1 : shape[last];
    const a = last < 0 ? 0 : from[last];
    const b = last < 0 ? 0 : to[last];
    eachRow(shape, from, startFrom, to, startTo, (i, j) => {
      for (let k = 0; k < n; k++, i += a, j += b) out[j] = x[i];
    });
  }

  // A new array of the shape whose element at a place is x's at start + place · strides.
  function strided(x, shape, strides, start = 0) {
    const out = empty(x.dtype, shape);
    copyStrided(shape, x.data, strides, start, out.data, stridesOf(shape), 0);
    return out;
  }

  const reshaped = (x, shape) => ({ dtype: x.dtype, shape, data: x.data });

  const transposed = (x, axes) => {
    const strides = stridesOf(x.shape);
    return strided(x, axes.map((k) => x.shape[k]), axes.map((k) => strides[k]));
  };

  // An array from its JSON: bytes in base64, little-endian; of equal elements only the first.
  function decoded({ dtype, shape, data }) {
    const text = atob(data);
    const bytes = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
    const out = empty(dtype, shape);
    const read = isHalf(dtype) ? halves(dtype, bytes) : new STORES[dtype](bytes.buffer);
    if (read.length === out.data.length) out.data.set(read);
    else out.data.fill(read[0]);
    return out;
  }

  function halves(dtype, bytes) {
    const words = new Uint16Array(bytes.buffer);
    return Float32Array.from(words, dtype === "bfloat16" ? fromBfloat16 : fromFloat16);
  }

  function fromBfloat16(word) {
    bits.setUint32(0, (word << 16) >>> 0);
    return bits.getFloat32(0);
  }

  function fromFloat16(word) {
    const sign = word & 0x8000 ? -1 : 1;
    const exponent = (word >> 10) & 31;
    const part = word & 1023;
    if (exponent === 31) return part ? NaN : sign * Infinity;
    return sign * (exponent ? 2 ** (exponent - 25) * (1024 + part) : 2 ** -24 * part);
  }

  Object.assign(chainrule, {
    ROUND,
    copyStrided,
    decoded,
    eachRow,
    empty,
    isBig,
    isFloating,
    reshaped,
    roundEven,
    rounded,
    sizeOf,
    strided,
    stridesOf,
    transposed,
    width,
  });
})();
