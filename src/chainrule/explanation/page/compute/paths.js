// Paths from an input to the loss, ranked by the share of the gradient that each carries.
//
// A path goes from element to element: of an input, then of an output of each step that it passes.
// Its share is the product of the local derivatives along it. All shares of the paths through an
// element add up to (the product so far) · ∂loss/∂element, which the backward pass has computed.
// So the search begins where most is carried, follows the largest part from there to the loss, and
// knows what all paths that it did not follow carry.
(() => {
  "use strict";
  const { empty } = chainrule;

  const TRIED = 4; // paths that are followed for each one that is wanted

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

  // The elements that an element reaches in one step, with the largest part of its blame first.
  // rest[k] is what those from the k-th on carry.
  function reached(pass, id, flatIndex) {
    const hops = [];
    pass.contents.steps.forEach((step, number) => {
      if (!step.tangent?.varying.includes(id)) return;
      for (const { id: node, data } of derivatives(pass, step, id, flatIndex)) {
        const upstream = pass.cotangent(node).data;
        for (let index = 0; index < data.length; index++) {
          const local = data[index];
          if (local === 0) continue;
          hops.push({ step: number, node, index, local, part: local * upstream[index] });
        }
      }
    });
    hops.sort((a, b) => Math.abs(b.part) - Math.abs(a.part));
    const rest = new Float64Array(hops.length + 1);
    for (let k = hops.length - 1; k >= 0; k--) rest[k] = rest[k + 1] + hops[k].part;
    return { hops, rest };
  }

  // Where a search goes on: the hops of `fan` from the k-th on, behind a path of this product.
  class Fronts {
    constructor() {
      this.all = [];
    }

    push(path, fan, k) {
      if (k >= fan.hops.length) return;
      this.all.push({ path, fan, k, size: Math.abs(path.share * fan.hops[k].part) });
    }

    // The one that carries most.
    pop() {
      const { all } = this;
      const best = all.reduce((top, { size }, i) => (size > all[top].size ? i : top), 0);
      return all.splice(best, 1)[0];
    }

    // What all paths that were not followed carry.
    get total() {
      return this.all.reduce((sum, { path, fan, k }) => sum + path.share * fan.rest[k], 0);
    }
  }

  // The numbers at the hops of a path, from the input on.
  function shown(pass, hops) {
    return hops.map(({ step, node, index, local }) => {
      const upstream = Number(pass.cotangent(node).data[index]);
      const value = Number(pass.value(node).data[index]);
      return { step, node, index, value, local, upstream, product: local * upstream };
    });
  }

  // { paths: [{ path, share }, …], rest, gradient, count } of an element of an input: the shares of the
  // paths, largest first, and the rest, which all others carry, add up to the gradient. count is the
  // number of all paths, or null where they were not all followed. Null if the paths pass a step whose
  // derivative only Python knows.
  function paths(pass, id, flatIndex, count) {
    const { loss, nodes, gradients } = pass.contents;
    const gradient = pass.value(gradients[nodes[id].name])?.data[flatIndex];
    if (gradient === undefined || !tangentsKnown(pass, id)) return null;
    const known = new Map();
    const fanOf = (node, index) => {
      const key = `${node} ${index}`;
      if (!known.has(key)) known.set(key, reached(pass, node, index));
      return known.get(key);
    };
    const fronts = new Fronts();
    const found = [];
    fronts.push({ hops: [], share: 1 }, fanOf(id, flatIndex), 0);
    while (fronts.all.length && found.length < TRIED * count) {
      let { path, fan, k } = fronts.pop();
      for (let hop = fan.hops[k]; hop; k = 0, hop = fan.hops[0]) {
        fronts.push(path, fan, k + 1);
        path = { hops: [...path.hops, hop], share: path.share * hop.local };
        if (hop.node === loss) found.push(path);
        fan = hop.node === loss ? { hops: [] } : fanOf(hop.node, hop.index);
      }
    }
    found.sort((a, b) => Math.abs(b.share) - Math.abs(a.share));
    const rest = found.slice(count).reduce((sum, { share }) => sum + share, fronts.total);
    const best = found.slice(0, count);
    return {
      paths: best.map(({ hops, share }) => ({ path: shown(pass, hops), share })),
      rest,
      gradient: Number(gradient),
      count: fronts.all.length ? null : found.length,
    };
  }

  // Where all ways from an element end whose next local derivatives are all 0: [{ step, node, index }],
  // each a step and the element that it reads. At most `most` elements are followed.
  function ends(pass, id, flatIndex, most) {
    const waiting = [[id, flatIndex]];
    const seen = new Set([String(waiting[0])]);
    const out = [];
    for (let k = 0; k < waiting.length && k < most; k++) {
      const [node, index] = waiting[k];
      const { hops } = reached(pass, node, index);
      for (const hop of hops) {
        const next = [hop.node, hop.index];
        if (!seen.has(String(next))) waiting.push(next);
        seen.add(String(next));
      }
      pass.contents.steps.forEach((step, number) => {
        const reads = step.tangent?.varying.includes(node);
        if (reads && !hops.some((h) => h.step === number)) out.push({ step: number, node, index });
      });
    }
    return out;
  }

  // Whether each step that an input reaches has a tangent that the page can compute: none of its
  // inputs is left out.
  function tangentsKnown(pass, id) {
    const reached = new Set([id]);
    for (const step of pass.contents.steps) {
      const { varying = [], outputs = [], elsewhere } = step.tangent ?? {};
      if (!step.inputs.some((i) => reached.has(i))) continue;
      const unknown = elsewhere || step.inputs.some((i) => !pass.value(i));
      if (unknown && varying.some((i) => reached.has(i))) return false;
      for (const output of outputs) reached.add(output);
    }
    return reached.has(pass.contents.loss);
  }

  chainrule.Pass.prototype.ends = function (id, flatIndex, most = 300) {
    return ends(this, id, flatIndex, most);
  };

  chainrule.Pass.prototype.paths = function (id, flatIndex, count = 10) {
    return paths(this, id, flatIndex, count);
  };
})();
