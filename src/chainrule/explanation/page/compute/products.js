// Contractions and windows: products, convolutions, attention; of floats summed in float64.
(() => {
  "use strict";
  const { copyStrided, empty, isBig, isFloating, operations, product } = chainrule;
  const { ROUND, rounded, sizeOf, stridesOf } = chainrule;

  // What sums are collected in, before they are rounded.
  const sums = (dtype, n) =>
    isFloating(dtype) ? new Float64Array(n) : new Array(n).fill(isBig(dtype) ? 0n : 0);

  // Whether terms with a factor of 0 can be left out of products with these: 0 · ∞ is not 0.
  const allFinite = (x) => x.data.every(Number.isFinite);

  // ── products ───────────────────────────────────────────────────────────────────────────────────

  function matmul([x1, x2], _, { dtype, shape }) {
    const out = empty(dtype, shape);
    const [n, m] = shape.slice(-2);
    const k = x1.shape.at(-1);
    const times = isFloating(dtype) ? null : product(dtype);
    const row = sums(dtype, m);
    const [a, b, to] = [x1.data, x2.data, out.data];
    const sparse = !times && n > 1 && allFinite(x2);
    const count = sizeOf(shape.slice(0, -2));
    for (let batch = 0, at = 0; batch < count; batch++) {
      for (let i = 0; i < n; i++, at += m) {
        row.fill(isBig(dtype) ? 0n : 0);
        for (let l = 0; l < k; l++) {
          const v = a[(batch * n + i) * k + l];
          if (sparse && v === 0) continue;
          const from = (batch * k + l) * m;
          if (times) for (let j = 0; j < m; j++) row[j] += times(v, b[from + j]);
          else for (let j = 0; j < m; j++) row[j] += v * b[from + j];
        }
        for (let j = 0; j < m; j++) to[at + j] = row[j];
      }
    }
    return rounded(out);
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

  function convolution([input, w], params, { dtype, shape }) {
    const { stride, padding, input_dilation, kernel_dilation, groups } = params;
    const x = spread(input, padding, input_dilation);
    const window = w.shape.slice(0, -2);
    const [c, o] = [w.shape.at(-2), w.shape.at(-1) / groups];
    const at = offsets(x, shape.slice(1, -1), window, stride, kernel_dilation);
    const out = empty(dtype, shape);
    const row = sums(dtype, groups * o);
    const times = isFloating(dtype) ? null : product(dtype);
    const sparse = !times && allFinite(w);
    let to = 0;
    for (let n = 0; n < shape[0]; n++) {
      for (const begin of at.begin) {
        row.fill(isBig(dtype) ? 0n : 0);
        at.inside.forEach((offset, place) => {
          const from = n * at.sample + begin + offset;
          for (let g = 0; g < groups; g++) {
            for (let k = 0; k < c; k++) {
              const v = x.data[from + g * c + k];
              if (sparse && v === 0) continue;
              const weight = (place * c + k) * groups * o + g * o;
              if (times) {
                for (let j = 0; j < o; j++) row[g * o + j] += times(v, w.data[weight + j]);
              } else for (let j = 0; j < o; j++) row[g * o + j] += v * w.data[weight + j];
            }
          }
        });
        for (let j = 0; j < groups * o; j++) out.data[to++] = row[j];
      }
    }
    return rounded(out);
  }

  // The adjoint of `convolution` in w.
  function convolutionWeight([input, z], params, { dtype, shape }) {
    const { kernel, stride, padding, input_dilation, kernel_dilation, groups } = params;
    const x = spread(input, padding, input_dilation);
    const [c, o] = [shape.at(-2), shape.at(-1) / groups];
    const at = offsets(x, z.shape.slice(1, -1), kernel, stride, kernel_dilation);
    const total = sums(dtype, sizeOf(shape));
    const times = isFloating(dtype) ? null : product(dtype);
    const sparse = !times && allFinite(z);
    let row = 0;
    for (let n = 0; n < z.shape[0]; n++) {
      for (const begin of at.begin) {
        at.inside.forEach((offset, place) => {
          const from = n * at.sample + begin + offset;
          for (let g = 0; g < groups; g++) {
            for (let k = 0; k < c; k++) {
              const v = x.data[from + g * c + k];
              if (sparse && v === 0) continue;
              const to = (place * c + k) * groups * o + g * o;
              const error = row + g * o;
              if (times) {
                for (let j = 0; j < o; j++) total[to + j] += times(v, z.data[error + j]);
              } else for (let j = 0; j < o; j++) total[to + j] += v * z.data[error + j];
            }
          }
        });
        row += groups * o;
      }
    }
    const out = empty(dtype, shape);
    for (let i = 0; i < out.data.length; i++) out.data[i] = total[i];
    return rounded(out);
  }

  function unfold([x], { window, stride, dilation }, { dtype, shape }) {
    const out = empty(dtype, shape);
    const c = x.shape.at(-1);
    const at = offsets(x, shape.slice(1, 1 + window.length), window, stride, dilation);
    let to = 0;
    for (let n = 0; n < shape[0]; n++) {
      for (const begin of at.begin) {
        for (const offset of at.inside) {
          const from = n * at.sample + begin + offset;
          for (let k = 0; k < c; k++) out.data[to++] = x.data[from + k];
        }
      }
    }
    return out;
  }

  // The adjoint of `unfold`.
  function fold([x], { size, stride, dilation }, { dtype, shape }) {
    const total = { dtype, shape, data: sums(dtype, sizeOf(shape)) };
    const c = shape.at(-1);
    const counts = x.shape.slice(1, 1 + size.length);
    const at = offsets(total, counts, x.shape.slice(1 + size.length, -1), stride, dilation);
    let from = 0;
    for (let n = 0; n < shape[0]; n++) {
      for (const begin of at.begin) {
        for (const offset of at.inside) {
          const to = n * at.sample + begin + offset;
          for (let k = 0; k < c; k++) total.data[to + k] += x.data[from++];
        }
      }
    }
    const out = empty(dtype, shape);
    for (let i = 0; i < out.data.length; i++) out.data[i] = total.data[i];
    return rounded(out);
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

  // softmax(scores) v, and log ∑ exp of each row of scores.
  function attention([query, key, value, ...masks], { causal, scale }, { dtype, shape }) {
    const [out, log] = [0, 1].map((k) => empty(dtype[k], shape[k]));
    const [N, T, H] = query.shape;
    const [S, e] = [key.shape[1], value.shape[3]];
    const scores = new Float64Array(S);
    for (let n = 0; n < N; n++) {
      for (let t = 0; t < T; t++) {
        for (let h = 0; h < H; h++) {
          scoresOf(query, key, masks, causal, scale, n, t, h, scores);
          let top = scores.reduce((a, b) => Math.max(a, b), -Infinity);
          if (top === -Infinity) top = 0;
          let total = 0;
          for (let s = 0; s < S; s++) total += scores[s] = Math.exp(scores[s] - top);
          const row = (n * T + t) * H + h;
          const sum = new Float64Array(e);
          for (let s = 0; s < S; s++) {
            const weight = scores[s] / (masks.length && total === 0 ? 1 : total);
            const from = ((n * S + s) * H + h) * e;
            for (let k = 0; k < e; k++) sum[k] += weight * value.data[from + k];
          }
          out.data.set(sum, row * e);
          log.data[row] = top + Math.log(total);
        }
      }
    }
    return [out, log];
  }

  // The cotangents of query, key and value.
  function attentionDerivative(inputs, { causal, scale }, { dtype, shape }) {
    const [g, delta, log, query, key, value, ...masks] = inputs;
    const total = shape.map((s) => new Float64Array(sizeOf(s)));
    const [N, T, H, d] = query.shape;
    const [S, e] = [key.shape[1], value.shape[3]];
    const scores = new Float64Array(S);
    for (let n = 0; n < N; n++) {
      for (let t = 0; t < T; t++) {
        for (let h = 0; h < H; h++) {
          scoresOf(query, key, masks, causal, scale, n, t, h, scores);
          const row = (n * T + t) * H + h;
          const shift = masks.length && log.data[row] === -Infinity ? 0 : log.data[row];
          for (let s = 0; s < S; s++) {
            const weight = Math.exp(scores[s] - shift);
            const at = (n * S + s) * H + h;
            let error = -delta.data[row];
            for (let k = 0; k < e; k++) {
              error += g.data[row * e + k] * value.data[at * e + k];
              total[2][at * e + k] += weight * g.data[row * e + k];
            }
            const share = weight * error * scale;
            for (let k = 0; k < d; k++) {
              total[0][row * d + k] += share * key.data[at * d + k];
              total[1][at * d + k] += share * query.data[row * d + k];
            }
          }
        }
      }
    }
    return total.map((data, k) => {
      const out = empty(dtype[k], shape[k]);
      out.data.set(data);
      return out;
    });
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
