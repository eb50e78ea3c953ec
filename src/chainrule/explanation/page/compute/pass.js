// A pass over the graph of a page: all values, forward and backward, and what changes make of them.
(() => {
  "use strict";
  const { decoded, evaluated, isBig, rounded } = chainrule;

  // What a node gives for the values of its inputs; undefined if only Python can compute it.
  function computed(node, values) {
    const inputs = node.in.map((i) => values[i]);
    return node.elsewhere || inputs.includes(undefined) ? undefined : evaluated(node, inputs);
  }

  // The values of contents, or of a variant of it: one of contents.variants.
  //
  // outdated   the nodes (ids) that a change makes wrong: only Python can compute them, or what
  //            they depend on
  class Pass {
    constructor(contents, variant = contents) {
      this.contents = variant;
      this.nodes = variant.nodes;
      this._source = contents;
      this._values = new Array(this.nodes.length);
      const inputs = this.nodes.filter((node) => node.phase === "input");
      this._byName = new Map(inputs.map(({ name, id }) => [name, id]));
      this.reset();
    }

    // Back to the values of the sample.
    reset() {
      for (const node of this.nodes) {
        const value = node.like ? this._alike(node.like).value : node.value;
        this._values[node.id] = Array.isArray(value) ? value.map(decoded) : value && decoded(value);
      }
      this.outdated = new Set();
      this._changed = new Set();
      this._computed = false;
    }

    _alike([variant, id]) {
      return (variant === null ? this._source : this._source.variants[variant]).nodes[id];
    }

    // The value of a node: an array, a list of arrays for several results, undefined if unknown.
    value(id) {
      return this._values[id];
    }

    // The id of an input.
    idOf(name) {
      return this._byName.get(name);
    }

    get loss() {
      const value = this._values[this.contents.loss];
      return value && Number(value.data[0]);
    }

    // ∂loss/∂parameter.
    gradient(name) {
      return this._values[this.contents.gradients[name]];
    }

    // ∂loss/∂node for a node of the forward pass.
    cotangent(id) {
      const of = this.contents.cotangents[id];
      return Array.isArray(of) ? of.map((i) => this._values[i]) : this._values[of];
    }

    // Set one element of an input; `run` computes what follows.
    set(id, flatIndex, number) {
      const x = this._values[id];
      x.data[flatIndex] = isBig(x.dtype) ? BigInt(Math.trunc(number)) : number;
      rounded(x);
      this._changed.add(id);
    }

    setAll(id, numbers) {
      const x = this._values[id];
      x.data.set(isBig(x.dtype) ? Array.from(numbers, BigInt) : numbers);
      rounded(x);
      this._changed.add(id);
    }

    // The loss if some inputs, by id, had other numbers; undefined if only Python can compute it.
    lossWith(numbers) {
      const values = [...this._values];
      const changed = new Set();
      for (const [id, data] of numbers) {
        values[id] = { ...values[id], data: values[id].data.constructor.from(data) };
        rounded(values[id]);
        changed.add(id);
      }
      for (const node of this.nodes) {
        if (node.phase !== "forward" || !node.in.some((i) => changed.has(i))) continue;
        values[node.id] = computed(node, values);
        if (!values[node.id]) return undefined;
        changed.add(node.id);
      }
      return Number(values[this.contents.loss].data[0]);
    }

    // Compute the nodes that depend on what has changed.
    run() {
      const { outdated, _changed: changed } = this;
      for (const node of this.nodes) {
        const affected = node.in.some((i) => changed.has(i));
        if (node.op === null || (this._computed && !affected)) continue;
        const value = computed(node, this._values);
        if (value) this._values[node.id] = value;
        const wrong = (affected && !value) || node.in.some((i) => outdated.has(i));
        if (wrong) outdated.add(node.id);
        if (affected) changed.add(node.id);
      }
      this._changed = new Set();
      this._computed = true;
      return this;
    }
  }

  Object.assign(chainrule, { Pass });
})();
