// Paths from an input to the loss, ranked by the share of the gradient that each carries.
//
// A path goes from element to element: of an input, then of an output of each step that it passes.
// Its share is the product of the local derivatives along it. All shares of the paths through an
// element add up to (the product so far) · ∂loss/∂element, which the backward pass has computed: so
// the search follows the largest of these first, and knows what the paths that it left carry.
(() => {
  "use strict";
  const { empty } = chainrule;

  const MOST_EXPANSIONS = 4000;

  // ∂output/∂(input's element) for each output of the step: { id, data } for those that vary.
  function derivatives(pass, step, id, flatIndex) {
    const { varying, outputs, graph } = step.tangent;
    const tangents = varying.map((v) => {
      const { dtype, shape } = pass.value(v);
      const out = empty(dtype, shape);
      if (v === id) out.data[flatIndex] = 1;
      return out;
    });
    const values = step.inputs.map((i) => pass.value(i));
    const results = chainrule.runGraph(graph, [...values, ...tangents]);
    return outputs.map((output, k) => ({ id: output, data: results[k].data }));
  }

  // Elements reached from an element in one step, the largest share first.
  function expanded(pass, prefix) {
    const { steps } = pass.contents;
    const out = [];
    steps.forEach((step, number) => {
      if (!step.tangent?.varying.includes(prefix.node)) return;
      for (const { id, data } of derivatives(pass, step, prefix.node, prefix.index)) {
        const upstream = pass.cotangent(id).data;
        for (let j = 0; j < data.length; j++) {
          if (data[j] === 0) continue;
          const product = prefix.product * data[j];
          out.push({ before: prefix, step: number, node: id, index: j, local: data[j], product,
            score: product * upstream[j] });
        }
      }
    });
    return out.sort((a, b) => Math.abs(b.score) - Math.abs(a.score));
  }

  // A heap of lists, by the size of the next score of each.
  class Lists {
    constructor() {
      this.heap = [];
    }

    push(items, at) {
      if (at >= items.length) return;
      const { heap } = this;
      heap.push({ items, at, key: Math.abs(items[at].score) });
      for (let k = heap.length - 1; k > 0; ) {
        const up = (k - 1) >> 1;
        if (heap[up].key >= heap[k].key) break;
        [heap[up], heap[k]] = [heap[k], heap[up]];
        k = up;
      }
    }

    pop() {
      const { heap } = this;
      const top = heap[0];
      const last = heap.pop();
      if (heap.length) {
        heap[0] = last;
        for (let k = 0; ; ) {
          let best = 2 * k + 1;
          if (best + 1 < heap.length && heap[best + 1].key > heap[best].key) best += 1;
          if (best >= heap.length || heap[k].key >= heap[best].key) break;
          [heap[k], heap[best]] = [heap[best], heap[k]];
          k = best;
        }
      }
      this.push(top.items, top.at + 1);
      return top.items[top.at];
    }

    // What has not been popped carries in all.
    get total() {
      let sum = 0;
      for (const { items, at } of this.heap) {
        for (let k = at; k < items.length; k++) sum += items[k].score;
      }
      return sum;
    }
  }

  // The hops of a path, from the input on.
  function hops(pass, last) {
    const out = [];
    for (let at = last; at.before; at = at.before) {
      const { step, node, index, local } = at;
      const upstream = Number(pass.cotangent(node).data[index]);
      const value = Number(pass.value(node).data[index]);
      out.unshift({ step, node, index, value, local, upstream, product: local * upstream });
    }
    return out;
  }

  // { paths: [{ path, share }, …], rest, gradient } of an element of an input: the shares of the
  // paths, largest first, and the rest, which all others carry, add up to the gradient. Null if the
  // paths pass a step whose derivative only Python knows.
  function paths(pass, id, flatIndex, count) {
    const { loss, nodes, gradients } = pass.contents;
    const gradient = pass.value(gradients[nodes[id].name])?.data[flatIndex];
    if (gradient === undefined || !tangentsKnown(pass, id)) return null;
    const lists = new Lists();
    const found = [];
    const start = { node: id, index: flatIndex, product: 1, score: Number(gradient) };
    lists.push([start], 0);
    for (let k = 0; k < MOST_EXPANSIONS && lists.heap.length && found.length < count; k++) {
      const best = lists.pop();
      if (best.node === loss) found.push({ path: hops(pass, best), share: best.product });
      else lists.push(expanded(pass, best), 0);
    }
    found.sort((a, b) => Math.abs(b.share) - Math.abs(a.share));
    return { paths: found, rest: lists.total, gradient: Number(gradient) };
  }

  // Whether each step that an input reaches has a tangent that the page can compute.
  function tangentsKnown(pass, id) {
    const reached = new Set([id]);
    for (const step of pass.contents.steps) {
      const { varying = [], outputs = [], elsewhere } = step.tangent ?? {};
      if (!step.inputs.some((i) => reached.has(i))) continue;
      if (elsewhere && varying.some((i) => reached.has(i))) return false;
      for (const output of outputs) reached.add(output);
    }
    return reached.has(pass.contents.loss);
  }

  chainrule.Pass.prototype.paths = function (id, flatIndex, count = 10) {
    return paths(this, id, flatIndex, count);
  };
})();
