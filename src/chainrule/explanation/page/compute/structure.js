// Operations on shapes, indices and random bits; and those that run a graph.
(() => {
  "use strict";
  const { copyStrided, empty, operations, reshaped, rounded, sizeOf } = chainrule;
  const { strided, stridesOf, transposed } = chainrule;

  // ── shape ──────────────────────────────────────────────────────────────────────────────────────

  function broadcastTo([x], { shape }, spec) {
    if (x.data.length === 1) {
      const out = empty(spec.dtype, shape);
      out.data.fill(x.data[0]);
      return out;
    }
    const strides = stridesOf(x.shape).map((s, k) => (x.shape[k] === shape[k] ? s : 0));
    return strided(x, shape, strides);
  }

  function slice([x], { start, step }, { shape }) {
    const strides = stridesOf(x.shape);
    const first = start.reduce((sum, s, k) => sum + s * strides[k], 0);
    return strided(x, shape, strides.map((s, k) => s * step[k]), first);
  }

  function pad([x], { low, interior }, { dtype, shape }) {
    const out = empty(dtype, shape);
    const strides = stridesOf(shape);
    const first = low.reduce((sum, n, k) => sum + n * strides[k], 0);
    const steps = strides.map((s, k) => s * (interior[k] + 1));
    copyStrided(x.shape, x.data, stridesOf(x.shape), 0, out.data, steps, first);
    return out;
  }

  function concat(xs, { axis }, { dtype, shape }) {
    const out = empty(dtype, shape);
    const outer = sizeOf(shape.slice(0, axis));
    const whole = sizeOf(shape.slice(axis));
    let at = 0;
    for (const x of xs) {
      const part = sizeOf(x.shape.slice(axis));
      for (let k = 0; k < outer; k++) {
        out.data.set(x.data.subarray(k * part, (k + 1) * part), k * whole + at);
      }
      at += part;
    }
    return out;
  }

  function flip([x], { axis }) {
    const strides = stridesOf(x.shape);
    let first = 0;
    for (const k of axis) {
      first += Math.max(0, x.shape[k] - 1) * strides[k];
      strides[k] = -strides[k];
    }
    return strided(x, x.shape, strides, first);
  }

  // ── indexing ───────────────────────────────────────────────────────────────────────────────────

  // Indices from 0, as numbers.
  function places(name, indices, size, lowest = -size) {
    return Array.from(indices.data, (i) => {
      const k = Number(i);
      if (k < lowest || k >= size) {
        throw new RangeError(`[${name}] got index ${k} for an axis of size ${size}`);
      }
      return k < 0 ? k + size : k;
    });
  }

  function take([x, indices], { axis }, { dtype, shape }) {
    const out = empty(dtype, shape);
    const size = x.shape[axis];
    const rows = places("take", indices, size);
    const outer = sizeOf(x.shape.slice(0, axis));
    const inner = sizeOf(x.shape.slice(axis + 1));
    for (let a = 0, at = 0; a < outer; a++) {
      for (const row of rows) {
        const from = (a * size + row) * inner;
        out.data.set(x.data.subarray(from, from + inner), at);
        at += inner;
      }
    }
    return out;
  }

  function scatterAdd([updates, indices], { axis, size }, { dtype, shape }) {
    const out = empty(dtype, shape);
    const rows = places("scatter_add", indices, size);
    const outer = sizeOf(shape.slice(0, axis));
    const inner = sizeOf(shape.slice(axis + 1));
    for (let a = 0, at = 0; a < outer; a++) {
      for (const row of rows) {
        const to = (a * size + row) * inner;
        for (let k = 0; k < inner; k++) out.data[to + k] += updates.data[at++];
      }
    }
    return rounded(out);
  }

  function putRows([table, rows, values]) {
    const out = { ...table, data: table.data.slice() };
    const inner = sizeOf(table.shape.slice(1));
    Array.from(rows.data, Number).forEach((row, k) => {
      if (row < 0 || row >= table.shape[0]) return;
      out.data.set(values.data.subarray(k * inner, (k + 1) * inner), row * inner);
    });
    return out;
  }

  function checkedIndex([indices], { size, refusal }, { dtype, shape }) {
    const out = empty(dtype, shape);
    out.data.set(places("index", indices, size, refusal ? 0 : -size).map(BigInt));
    return out;
  }

  function argsort([x], { axis, descending }, { dtype, shape }) {
    const out = empty(dtype, shape);
    const order = (a, b) => {
      if (a !== a || b !== b) return (a !== a) - (b !== b);
      return a < b ? -1 : a > b ? 1 : 0;
    };
    const direction = descending ? -1 : 1;
    const n = shape[axis];
    const inner = sizeOf(shape.slice(axis + 1));
    for (let start = 0; start < x.data.length; start += n * inner) {
      for (let k = start; k < start + inner; k++) {
        const value = (i) => x.data[k + i * inner];
        const sorted = Array.from({ length: n }, (_, i) => i);
        sorted.sort((i, j) => direction * order(value(i), value(j)));
        sorted.forEach((i, place) => (out.data[k + place * inner] = BigInt(i)));
      }
    }
    return out;
  }

  // ── graphs ─────────────────────────────────────────────────────────────────────────────────────

  // The results of a node's operation: an array, or a list of arrays.
  function evaluated(node, inputs) {
    if (node.graph) return node.op === "scan" ? scan(inputs, node) : run(node.graph, inputs);
    return operations[node.op](inputs, node.params, node);
  }

  // The outputs of a graph: { nodes, inputs, outputs }, with constants in the nodes' `value`.
  function run(graph, arrays) {
    const values = new Array(graph.nodes.length);
    graph.inputs.forEach((id, k) => (values[id] = arrays[k]));
    for (const node of graph.nodes) {
      if (values[node.id] !== undefined) continue;
      values[node.id] =
        node.op === null ? constant(node) : evaluated(node, node.in.map((i) => values[i]));
    }
    return graph.outputs.map((id) => values[id]);
  }

  const constants = new WeakMap();

  function constant(node) {
    if (!constants.has(node)) constants.set(node, chainrule.decoded(node.value));
    return constants.get(node);
  }

  // Carry state through the steps of the graph; stack the other results of each step.
  function scan(xs, { graph, params, shape, dtype }) {
    const { length, consts, carries, reverse } = params;
    const first = consts + carries;
    const stacked = shape.slice(carries).map((s, k) => empty(dtype[carries + k], s));
    let carry = xs.slice(consts, first);
    for (let k = 0; k < length; k++) {
      const t = reverse ? length - 1 - k : k;
      const rows = xs.slice(first).map((x) => rowOf(x, t));
      const out = run(graph, [...xs.slice(0, consts), ...carry, ...rows]);
      carry = out.slice(0, carries);
      stacked.forEach((whole, j) => {
        const part = out[carries + j].data;
        whole.data.set(part, t * part.length);
      });
    }
    return [...carry, ...stacked];
  }

  function rowOf(x, t) {
    const shape = x.shape.slice(1);
    const n = sizeOf(shape);
    return { dtype: x.dtype, shape, data: x.data.subarray(t * n, (t + 1) * n) };
  }

  Object.assign(operations, {
    broadcast_to: broadcastTo,
    reshape: ([x], { shape }) => reshaped(x, shape),
    permute_dims: ([x], { axes }) => transposed(x, axes),
    slice,
    pad,
    concat,
    flip,
    take,
    scatter_add: scatterAdd,
    put_rows: putRows,
    checked_index: checkedIndex,
    argsort,
    item: ([x], { index }) => x[index],
    random_bits: ([state], { shape }) => ({
      dtype: "uint32",
      shape,
      data: chainrule.randomWords(state.data[0], state.data[1], sizeOf(shape)),
    }),
  });
  Object.assign(chainrule, { evaluated, runGraph: run });
})();
