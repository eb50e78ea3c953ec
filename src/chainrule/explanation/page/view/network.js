// The network on its sample, as the views ask for it: names, values, gradients, readers of values,
// and the local derivatives of a step.

class Network {
  /** variant  the contents, or one of contents.variants: the same with another activation or depth */
  constructor(contents, variant) {
    this.contents = contents;
    this.graph = variant;
    this.pass = new chainrule.Pass(contents, variant);
    this.nodes = new Map(variant.nodes.map((n) => [n.id, n]));
    this.steps = variant.steps;
    this.names = new Map(variant.nodes.filter((n) => n.name).map((n) => [n.id, n.name]));
    this.maker = new Map();
    this.readers = new Map();
    this.steps.forEach((step, k) => {
      for (const id of step.outputs) this.maker.set(id, k);
      for (const id of step.inputs) this.readers.set(id, [...(this.readers.get(id) ?? []), k]);
      step.outputs.forEach(
        (id) => this.names.has(id) || this.names.set(id, step.path || step.title),
      );
    });
    this.inputs = variant.nodes.filter((n) => n.phase === "input");
    this.parameters = this.inputs.filter((n) => n.kind === "parameter");
    this.blanks = new Map();
    this.batch = variant.samples.count;
    this.changed();
  }

  /** To call after a change of values. */
  changed() {
    this.pass.run();
    this.rows = new Map();
  }

  get loss() {
    return Number(this.pass.loss ?? NaN);
  }

  /** By how much the loss may be wrong, from the rounding of what it is the logarithm of. */
  get rounding() {
    const { nodes = [], inputs = [] } = this.steps[this.maker.get(this.graph.loss)] ?? {};
    const { dtype } = this.nodes.get(this.graph.loss);
    const epsilon = dtype === "float64" ? 2 ** -52 : 2 ** -23;
    const isDifference = nodes.some((id) => /^log/.test(this.nodes.get(id).op ?? ""));
    const known = inputs.filter((id) => this.known(id));
    const scale = Math.max(1, ...known.map((id) => greatest(this.value(id))));
    const size = isDifference ? scale : Math.abs(this.loss);
    return Number.isFinite(size) ? epsilon * size : 0;
  }

  /** The loss, or a difference of losses, without digits that its rounding makes. */
  lossText(loss = this.loss) {
    const size = Math.abs(loss);
    const sure = 1 + Math.floor(Math.log10(size / this.rounding));
    return size < this.rounding ? "about 0" : number(loss, Math.min(4, sure));
  }

  /** A number of a value as text. */
  text(id, value, digits = 4) {
    const word = this.isWord(id) ? this.contents.words[value] : undefined;
    if (word !== undefined) return `${number(value)} (${word})`;
    return id === this.graph.loss ? this.lossText(value) : number(value, digits);
  }

  /** A change of the loss as text, with its sign. */
  changeText(change) {
    return `${change >= this.rounding ? "+" : ""}${this.lossText(change)}`;
  }

  /** A step's title; that of another activation begins with its kind. */
  title(k) {
    const { title, path, kind } = this.steps[k];
    const named = (wanted) => this.contents.steps.find((s) => s.path && s.path === wanted);
    const original = named(path) ?? named(path.replace(/_\d+$/, ""));
    const isOther =
      kind && original && original.kind !== kind && !/^\d+$/.test(path.split(".").at(-1));
    return isOther ? `${kind} (in the place of ${path})` : title;
  }

  name(id) {
    const name = this.names.get(id) ?? this.nodes.get(id)?.op ?? String(id);
    return /^\d+$/.test(name) ? `layer ${name}` : name;
  }

  shape(id) {
    return this.nodes.get(id).shape;
  }

  /** Whether the page has the value: that of a very large input it has not. */
  known(id) {
    return this.pass.value(id) !== undefined;
  }

  /** A value as a flat array; of an unknown one NaN. */
  value(id) {
    return this.pass.value(id)?.data ?? this.#unknown(sizeOf(this.shape(id)));
  }

  #unknown(size) {
    if (!this.blanks.has(size)) this.blanks.set(size, new Float32Array(size).fill(NaN));
    return this.blanks.get(size);
  }

  /** Whether the reader can change its numbers. */
  isChangeable(id) {
    return this.nodes.get(id).phase === "input" && this.isFloat(id);
  }

  isFloat(id) {
    return String(this.nodes.get(id).dtype).startsWith("float");
  }

  /** What a sample's whole numbers stand for, where the page has words for them. */
  words(id, sample) {
    if (!this.isWord(id)) return null;
    const { shape, start } = this.part(id, sample);
    const own = Array.from(this.value(id).slice(start, start + sizeOf(shape)), Number);
    return own.map((k) => this.contents.words[k] ?? String(k));
  }

  isWord(id) {
    return this.contents.words.length > 0 && isData(this, id) && !this.isFloat(id);
  }

  /** The node that has ∂loss/∂node, or undefined where no gradient reaches. */
  gradientId(id) {
    const name = this.nodes.get(id).name;
    return this.graph.gradients[name] ?? this.graph.cotangents[id];
  }

  gradient(id) {
    const g = this.gradientId(id);
    return this.pass.value(g)?.data ?? null;
  }

  element(id, index) {
    return elementName(this.name(id), index, this.shape(id));
  }

  /** Whether the loss is a mean over the samples. */
  get isMean() {
    return this.graph.samples.of_loss === "mean";
  }

  /** One sample's part of a value: its shape, and where it begins in the flat array. */
  part(id, sample) {
    const { shape, kind } = this.nodes.get(id);
    const vector = shape.length === 1 && kind !== undefined && this.isFloat(id); // of features
    if (
      !this.batch ||
      shape[0] !== this.batch ||
      vector ||
      kind === "parameter" ||
      kind === "buffer"
    ) {
      return { shape, start: 0 };
    }
    return { shape: shape.slice(1), start: sample * sizeOf(shape.slice(1)) };
  }

  /**
   * The local derivatives ∂out[index]/∂input of a step's output: one array for each input's id.
   * The chain rule multiplies them by the upstream gradient of out[index].
   */
  row(k, out, index) {
    const key = `${k},${out},${index}`;
    if (!this.rows.has(key)) {
      const seed = new Float64Array(sizeOf(this.shape(out)));
      seed[index] = 1;
      this.rows.set(key, this.shares(k, out, seed));
    }
    return this.rows.get(key);
  }

  /** Whether a step computes one sample's values from those of the others too. */
  isShared(k) {
    const nodes = this.steps[k].nodes.map((id) => this.nodes.get(id));
    return this.batch > 1 && nodes.some((n) => n.op === "standardise" && n.params.axis.includes(0));
  }

  /**
   * The local derivatives ∂out/∂input[index] of a step: one array for each output's id.
   * ones  as if all inputs were 1
   */
  column(k, input, index, ones = false) {
    const { inputs, tangent } = this.steps[k];
    if (!tangent?.graph || inputs.some((id) => !this.known(id))) return new Map();
    const directions = tangent.varying.map((id) => {
      const { dtype, shape } = this.pass.value(id);
      const out = chainrule.empty(dtype, shape);
      if (id === input) out.data[index] = 1;
      return out;
    });
    const values = inputs.map((id) => {
      const value = this.pass.value(id);
      if (!ones || !this.isFloat(id)) return value;
      return { ...value, data: new value.data.constructor(value.data.length).fill(1) };
    });
    const results = chainrule.runGraph(tangent.graph, [...values, ...directions]);
    return new Map(tangent.outputs.map((id, o) => [id, results[o].data]));
  }

  /** What a step hands back to each of its inputs for this upstream gradient of an output. */
  shares(k, out, upstream) {
    const { inputs, tangent } = this.steps[k];
    if (!tangent?.back || inputs.some((id) => !this.known(id))) return new Map();
    const gradients = tangent.outputs.map((id) => {
      const { dtype, shape, data } = this.pass.value(id);
      return {
        dtype,
        shape,
        data: id === out ? data.constructor.from(upstream) : new data.constructor(data.length),
      };
    });
    const values = inputs.map((id) => this.pass.value(id));
    const shares = chainrule.runGraph(tangent.back, [...values, ...gradients]);
    return new Map(tangent.varying.map((id, v) => [id, shares[v].data]));
  }

  /** The local derivatives of a step that makes each element of one element. */
  slopes(k, input, out) {
    return this.shares(k, out, new Float64Array(sizeOf(this.shape(out))).fill(1)).get(input);
  }

  /**
   * The unit of a step's output to look at beside this element of its input: the unit `now` if it
   * varies with it, else the one that hands most to it. Where none does, the one that could: the one
   * that varies with it when all inputs are 1. -1 if there is none.
   * sample  the one that the unit is of; any by default
   */
  partner(k, input, index, out, now, sample) {
    if (this.isElementwise(k, input, out)) return index;
    const { shape, start } = this.part(out, sample ?? 0);
    const isOwn = (u) => sample === undefined || (u >= start && u < start + sizeOf(shape));
    const local = this.column(k, input, index)
      .get(out)
      ?.map((v, u) => (isOwn(u) ? v : 0));
    if (local && local[now]) return now;
    const g = this.gradient(out);
    const handed = local && Array.from(local, (v, u) => v * Number(g?.[u] ?? 1));
    if (handed?.some(Boolean)) return strongestOf(handed);
    const could = this.column(k, input, index, true)
      .get(out)
      ?.map((v, u) => (isOwn(u) ? v : 0));
    return could?.some(Boolean) ? (could[now] ? now : strongestOf(could)) : -1;
  }

  /** Whether each element of the output depends on the same element of the input alone. */
  isElementwise(k, input, out) {
    const step = this.steps[k];
    const same = String(this.shape(input)) === String(this.shape(out));
    const { pointwise } = chainrule.constants;
    return same && step.nodes.every((id) => pointwise.includes(this.nodes.get(id).op));
  }
}

/** The index of the parameter's element that has the greatest gradient. */
function strongest(network, id) {
  return strongestOf(network.gradient(id) ?? network.value(id));
}
