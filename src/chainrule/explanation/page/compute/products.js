// Contractions and windows: products, convolutions, attention; of floats summed in float64.
(() => {
  "use strict";
  const { copyStrided, empty, isBig, isFloating, operations, product } = chainrule;
  const { ROUND, rounded, sizeOf, stridesOf } = chainrule;

  // What sums are collected in, before they are rounded.
  const sums = (dtype, n) =>
    isFloating(dtype) ? new Float64Array(n) : new Array(n).fill(isBig(dtype) ? 0n : 0);

  const summed = (total, dtype, shape) => {
    const out = empty(dtype, shape);
    out.data.set(total);
    return rounded(out);
  };

  // Whether terms with a factor of 0 can be left out of products with these: 0 · ∞ is not 0.
  const allFinite = (x) => isFloating(x.dtype) && x.data.every(Number.isFinite);

  // ── products ───────────────────────────────────────────────────────────────────────────────────

  function matmul([x1, x2], _, { dtype, shape }) {
    const [n, m] = shape.slice(-2);
    const k = x1.shape.at(-1);
    const times = product(dtype);
    const total = sums(dtype, sizeOf(shape));
    const [a, b] = [x1.data, x2.data];
    const zeros = n === 1 || !allFinite(x2); // finding out costs as much as one row
    for (let row = 0; row * m < total.length; row++) {
      const batch = Math.floor(row / n);
      for (let l = 0; l < k; l++) {
        const v = a[row * k + l];
        if (v === 0 && !zeros) continue;
        const [from, to] = [(batch * k + l) * m, row * m];
        for (let j = 0; j < m; j++) total[to + j] += times(v, b[from + j]);
      }
    }
    return summed(total, dtype, shape);
  }

  // ── windows ────────────────────────────────────────────────────────────────────────────────────

  // All places in a shape, in order.
  function placesIn(shape) {
    let out = [[]];
    for (const n of shape) {
      out = out.flatMap((p) => Array.from({ length: n }, (_, k) => [...p, k]));
    }
    return out;
  }

  const dot = (a, b) => a.reduce((total, v, k) => total + v * b[k], 0);

  // (N, *size, C) with zeros between the elements and around them; a negative padding crops.
  function spread(x, padding, dilation) {
    const sizes = x.shape.slice(1, -1);
    const shape = sizes.map(
      (n, k) => Math.max(0, n - 1) * dilation[k] + Math.min(n, 1) + padding[k][0] + padding[k][1],
    );
    const out = empty(x.dtype, [x.shape[0], ...shape, x.shape.at(-1)]);
    // The elements that are inside, along each axis.
    const first = sizes.map((_, k) => Math.max(0, Math.ceil(-padding[k][0] / dilation[k])));
    const count = sizes.map((n, k) => {
      const end = Math.ceil((shape[k] - padding[k][0]) / dilation[k]);
      return Math.max(0, Math.min(n, end) - first[k]);
    });
    const [from, to] = [stridesOf(x.shape), stridesOf(out.shape)];
    const steps = to.map((s, k) => (k && k < to.length - 1 ? s * dilation[k - 1] : s));
    const startFrom = dot(first, from.slice(1));
    const startTo = dot(first.map((n, k) => n * dilation[k] + padding[k][0]), to.slice(1));
    const inside = [x.shape[0], ...count, x.shape.at(-1)];
    copyStrided(inside, x.data, from, startFrom, out.data, steps, startTo);
    return out;
  }

  // The offsets of windows and of places inside a window, in elements of x (N, *size, C).
  function offsets(x, counts, window, stride, dilation) {
    const strides = stridesOf(x.shape).slice(1, -1);
    return {
      begin: placesIn(counts).map((p) => dot(p, strides.map((s, k) => s * stride[k]))),
      inside: placesIn(window).map((p) => dot(p, strides.map((s, k) => s * dilation[k]))),
      sample: sizeOf(x.shape.slice(1)),
    };
  }

  // Calls visit(from, place, row) for each place of each window: where its channels begin in x, its
  // number in the window, and the number of the window.
  function eachPlace(samples, { begin, inside, sample }, visit) {
    for (let n = 0, row = 0; n < samples; n++) {
      for (const first of begin) {
        const from = n * sample + first;
        for (let place = 0; place < inside.length; place++) visit(from + inside[place], place, row);
        row += 1;
      }
    }
  }

  // Calls visit(v, weight, out) for each number under each window: the numbers of the first of the o
  // kernel weights that it meets, and of the outputs; those that are 0 only if `zeros`.
  function eachMeeting(input, params, kernel, counts, zeros, visit) {
    const { stride, padding, input_dilation, kernel_dilation, groups } = params;
    const x = spread(input, padding, input_dilation);
    const [c, all] = kernel.slice(-2);
    const o = all / groups;
    const at = offsets(x, counts, kernel.slice(0, -2), stride, kernel_dilation);
    eachPlace(x.shape[0], at, (from, place, row) => {
      for (let g = 0; g < groups; g++) {
        for (let k = 0; k < c; k++) {
          const v = x.data[from + g * c + k];
          if (zeros || v !== 0) visit(v, (place * c + k) * all + g * o, row * all + g * o);
        }
      }
    });
  }

  function convolution([x, w], params, { dtype, shape }) {
    const total = sums(dtype, sizeOf(shape));
    const times = product(dtype);
    const o = w.shape.at(-1) / params.groups;
    eachMeeting(x, params, w.shape, shape.slice(1, -1), !allFinite(w), (v, weight, out) => {
      for (let j = 0; j < o; j++) total[out + j] += times(v, w.data[weight + j]);
    });
    return summed(total, dtype, shape);
  }

  // The adjoint of `convolution` in w.
  function convolutionWeight([x, z], params, { dtype, shape }) {
    const total = sums(dtype, sizeOf(shape));
    const times = product(dtype);
    const o = shape.at(-1) / params.groups;
    eachMeeting(x, params, shape, z.shape.slice(1, -1), !allFinite(z), (v, weight, out) => {
      for (let j = 0; j < o; j++) total[weight + j] += times(v, z.data[out + j]);
    });
    return summed(total, dtype, shape);
  }

  function unfold([x], { window, stride, dilation }, { dtype, shape }) {
    const out = empty(dtype, shape);
    const c = x.shape.at(-1);
    const at = offsets(x, shape.slice(1, 1 + window.length), window, stride, dilation);
    eachPlace(shape[0], at, (from, place, row) => {
      const to = (row * at.inside.length + place) * c;
      for (let k = 0; k < c; k++) out.data[to + k] = x.data[from + k];
    });
    return out;
  }

  // The adjoint of `unfold`.
  function fold([x], { size, stride, dilation }, { dtype, shape }) {
    const total = sums(dtype, sizeOf(shape));
    const c = shape.at(-1);
    const [counts, window] = [x.shape.slice(1, 1 + size.length), x.shape.slice(1 + size.length, -1)];
    const at = offsets({ shape }, counts, window, stride, dilation);
    eachPlace(shape[0], at, (to, place, row) => {
      const from = (row * at.inside.length + place) * c;
      for (let k = 0; k < c; k++) total[to + k] += x.data[from + k];
    });
    return summed(total, dtype, shape);
  }

  // The largest of each window, and its number in the window: the first of equal ones, or NaN.
  function maxPool([x], { window, stride, dilation, padding }, { dtype, shape }) {
    const [value, index] = [0, 1].map((k) => empty(dtype[k], shape[k]));
    const c = x.shape.at(-1);
    const sizes = x.shape.slice(1, -1);
    const strides = stridesOf(x.shape);
    const inside = placesIn(window);
    let to = 0;
    for (let n = 0; n < shape[0][0]; n++) {
      for (const at of placesIn(shape[0].slice(1, -1))) {
        const met = []; // [number in the window, offset in x] of what is not padding
        inside.forEach((p, number) => {
          const place = p.map((v, k) => at[k] * stride[k] + v * dilation[k] - padding[k][0]);
          if (place.every((v, k) => v >= 0 && v < sizes[k])) {
            met.push([number, n * strides[0] + dot(place, strides.slice(1))]);
          }
        });
        for (let k = 0; k < c; k++, to++) {
          let [number, from] = met[0];
          for (const [other, offset] of met) {
            const [a, b] = [x.data[offset + k], x.data[from + k]];
            if (b === b && (a > b || a !== a)) [number, from] = [other, offset];
          }
          value.data[to] = x.data[from + k];
          index.data[to] = number;
        }
      }
    }
    return [value, index];
  }

  // ── attention: queries (N, T, H, d), keys (N, S, H, d), values (N, S, H, e), then masks ─────────

  // scale · q kᵀ plus the masks of one sample, head and query; -∞ where attending is not allowed.
  function scoresOf(query, key, masks, causal, scale, n, t, h, out) {
    const [, T, H, d] = query.shape;
    const S = key.shape[1];
    const round = ROUND[query.dtype];
    for (let s = 0; s < S; s++) {
      let total = 0;
      for (let k = 0; k < d; k++) {
        const q = round(query.data[((n * T + t) * H + h) * d + k] * round(scale));
        total += q * key.data[((n * S + s) * H + h) * d + k];
      }
      out[s] = causal && s > t ? -Infinity : round(total);
    }
    for (const mask of masks) {
      const strides = stridesOf(mask.shape).map((m, k) => (mask.shape[k] === 1 ? 0 : m));
      const at = n * strides[0] + h * strides[1] + t * strides[2];
      for (let s = 0; s < S; s++) {
        const m = mask.data[at + s * strides[3]];
        if (mask.dtype === "bool") out[s] = m ? out[s] : -Infinity;
        else out[s] = round(out[s] + m);
      }
    }
    return out;
  }

  // Calls visit(scores, row, at) for each query of each head: the number of the query, and of key s.
  function eachQuery(query, key, masks, { causal, scale }, visit) {
    const [N, T, H] = query.shape;
    const S = key.shape[1];
    const scores = new Float64Array(S);
    for (let n = 0; n < N; n++) {
      for (let t = 0; t < T; t++) {
        for (let h = 0; h < H; h++) {
          scoresOf(query, key, masks, causal, scale, n, t, h, scores);
          visit(scores, (n * T + t) * H + h, (s) => (n * S + s) * H + h);
        }
      }
    }
  }

  // softmax(scores) v, and log ∑ exp of each row of scores.
  function attention([query, key, value, ...masks], params, { dtype, shape }) {
    const [out, log] = shape.map((s) => new Float64Array(sizeOf(s)));
    const e = value.shape[3];
    eachQuery(query, key, masks, params, (scores, row, at) => {
      let top = scores.reduce((a, b) => Math.max(a, b), -Infinity);
      if (top === -Infinity) top = 0;
      const weights = scores.map((score) => Math.exp(score - top));
      const total = weights.reduce((a, b) => a + b, 0);
      weights.forEach((w, s) => {
        const weight = w / (masks.length && total === 0 ? 1 : total);
        for (let k = 0; k < e; k++) out[row * e + k] += weight * value.data[at(s) * e + k];
      });
      log[row] = top + Math.log(total);
    });
    return [out, log].map((data, k) => summed(data, dtype[k], shape[k]));
  }

  // The cotangents of query, key and value.
  function attentionDerivative(inputs, params, { dtype, shape }) {
    const [g, delta, log, query, key, value, ...masks] = inputs;
    const total = shape.map((s) => new Float64Array(sizeOf(s)));
    const [d, e] = [query.shape[3], value.shape[3]];
    eachQuery(query, key, masks, params, (scores, row, at) => {
      const shift = masks.length && log.data[row] === -Infinity ? 0 : log.data[row];
      scores.forEach((score, s) => {
        const weight = Math.exp(score - shift);
        let error = -delta.data[row];
        for (let k = 0; k < e; k++) {
          error += g.data[row * e + k] * value.data[at(s) * e + k];
          total[2][at(s) * e + k] += weight * g.data[row * e + k];
        }
        const share = weight * error * params.scale;
        for (let k = 0; k < d; k++) {
          total[0][row * d + k] += share * key.data[at(s) * d + k];
          total[1][at(s) * d + k] += share * query.data[row * d + k];
        }
      });
    });
    return total.map((data, k) => summed(data, dtype[k], shape[k]));
  }

  Object.assign(operations, {
    matmul,
    convolution,
    convolution_weight: convolutionWeight,
    unfold,
    fold,
    max_pool: maxPool,
    attention,
    attention_derivative: attentionDerivative,
  });
})();
