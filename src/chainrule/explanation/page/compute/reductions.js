// Reductions, which keep their axes as size 1, and scans along an axis; of floats in float64.
(() => {
  "use strict";
  const { ROUND, eachRow, empty, isBig, maximum, minimum, operations, product } = chainrule;
  const { rounded, sizeOf, stridesOf, transposed } = chainrule;

  // The elements in rows along the reduced axes: { data, length }.
  function rows(x, axis) {
    const stay = x.shape.map((_, k) => k).filter((k) => !axis.includes(k));
    const order = [...stay, ...[...axis].sort((a, b) => a - b)];
    const moved = order.every((k, place) => k === place) ? x : transposed(x, order);
    return { data: moved.data, length: sizeOf(axis.map((k) => x.shape[k])) };
  }

  // reduce(data, from, to) of each row.
  const reduction = (reduce) => ([x], { axis }, { dtype, shape }) => {
    const out = empty(dtype, shape);
    const { data, length } = rows(x, axis);
    for (let k = 0; k < out.data.length; k++) {
      out.data[k] = reduce(data, k * length, (k + 1) * length, x.dtype);
    }
    return rounded(out);
  };

  const zero = (dtype) => (isBig(dtype) ? 0n : 0);
  const one = (dtype) => (isBig(dtype) ? 1n : 1);

  function sum(data, from, to, dtype) {
    let total = zero(dtype);
    for (let i = from; i < to; i++) total += data[i];
    return total;
  }

  function prod(data, from, to, dtype) {
    const times = product(dtype);
    let total = one(dtype);
    for (let i = from; i < to; i++) total = times(total, data[i]);
    return total;
  }

  // √∑x²; where x² overflows or vanishes, of x over the largest.
  function norm(data, from, to) {
    let squares = 0;
    let top = 0;
    for (let i = from; i < to; i++) {
      squares += data[i] * data[i];
      top = maximum(top, Math.abs(data[i]));
    }
    if ((squares >= 1e-280 && squares < Infinity) || !(top > 0 && top < Infinity)) {
      return Math.sqrt(squares);
    }
    let scaled = 0;
    for (let i = from; i < to; i++) scaled += (data[i] / top) ** 2;
    return top * Math.sqrt(scaled);
  }

  const extreme = (better) => (data, from, to) => {
    let best = data[from];
    for (let i = from + 1; i < to; i++) best = better(best, data[i]);
    return best;
  };

  // The place of the first of the best, or of the first NaN.
  const place = (better) => (data, from, to) => {
    let best = from;
    for (let i = from; i < to; i++) {
      if (data[i] !== data[i]) return BigInt(i - from);
      if (better(data[i], data[best])) best = i;
    }
    return BigInt(best - from);
  };

  function any(data, from, to) {
    for (let i = from; i < to; i++) if (data[i] != 0) return 1;
    return 0;
  }

  // ── along an axis ──────────────────────────────────────────────────────────────────────────────

  // Calls visit(start, step) for each line along the axis.
  function eachLine(shape, axis, visit) {
    const step = stridesOf(shape)[axis];
    const whole = step * shape[axis];
    if (sizeOf(shape) === 0) return;
    for (let start = 0; start < sizeOf(shape); start += whole) {
      for (let k = 0; k < step; k++) visit(start + k, step);
    }
  }

  const cumulative = (first, next) => ([x], { axis }, { dtype, shape }) => {
    const out = empty(dtype, shape);
    const then = next(dtype);
    eachLine(shape, axis, (start, step) => {
      let total = first(dtype);
      for (let t = 0, i = start; t < shape[axis]; t++, i += step) {
        out.data[i] = total = then(total, x.data[i]);
      }
    });
    return rounded(out);
  };

  // As `cumulative`, from 0 again wherever the key is not the one before.
  function sumByKey([x, keys], { axis }, { dtype, shape }) {
    const out = empty(dtype, shape);
    eachLine(shape, axis, (start, step) => {
      let total = zero(dtype);
      for (let t = 0, i = start; t < shape[axis]; t++, i += step) {
        if (t && keys.data[t] !== keys.data[t - 1]) total = zero(dtype);
        out.data[i] = total += x.data[i];
      }
    });
    return rounded(out);
  }

  // hₜ = aₜ hₜ₋₁ + bₜ from h₋₁ = 0.
  function recurrence([a, b], { axis }, { dtype, shape }) {
    const out = empty(dtype, shape);
    const round = ROUND[dtype];
    eachLine(shape, axis, (start, step) => {
      let h = 0;
      for (let t = 0, i = start; t < shape[axis]; t++, i += step) {
        h = t ? round(round(a.data[i] * h) + b.data[i]) : b.data[i];
        out.data[i] = h;
      }
    });
    return rounded(out);
  }

  // ── standardise ────────────────────────────────────────────────────────────────────────────────

  // scale · (x - mean) / √(variance + eps), the mean and the variance.
  function standardise([x, scale], { axis, eps }, { shape, dtype }) {
    const round = ROUND[dtype[0]];
    const mean = empty(dtype[1], shape[1]);
    const variance = empty(dtype[2], shape[2]);
    const { data, length } = rows(x, axis);
    for (let k = 0; k < mean.data.length; k++) {
      const from = k * length;
      mean.data[k] = sum(data, from, from + length, dtype[0]) / length;
      let squares = 0;
      for (let i = from; i < from + length; i++) squares += round(data[i] - mean.data[k]) ** 2;
      variance.data[k] = squares / length;
    }
    const out = empty(dtype[0], shape[0]);
    const spread = stridesOf(shape[1]).map((s, k) => (axis.includes(k) ? 0 : s));
    const strides = stridesOf(shape[0]);
    const rank = shape[0].length - 1;
    const n = rank < 0 ? 1 : shape[0][rank];
    const inner = rank < 0 ? 0 : spread[rank];
    eachRow(shape[0], strides, 0, spread, 0, (i, j) => {
      for (let k = 0; k < n; k++, j += inner) {
        const factor = round(1 / round(Math.sqrt(round(variance.data[j] + round(eps)))));
        const y = round(round(x.data[i + k] - mean.data[j]) * factor);
        out.data[i + k] = scale ? y * scale.data[j] : y;
      }
    });
    return [rounded(out), mean, variance];
  }

  Object.assign(operations, {
    sum: reduction(sum),
    prod: reduction(prod),
    norm: reduction(norm),
    max: reduction(extreme(maximum)),
    min: reduction(extreme(minimum)),
    any: reduction(any),
    argmax: reduction(place((a, b) => a > b)),
    argmin: reduction(place((a, b) => a < b)),
    cumulative_sum: cumulative(zero, () => (a, b) => a + b),
    cumulative_prod: cumulative(one, product),
    cumulative_sum_by_key: sumByKey,
    recurrence,
    standardise,
  });
})();
