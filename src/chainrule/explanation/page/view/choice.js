// What the reader has chosen: a number, and at each step a unit and the input that it is explained by.

class Choice {
  constructor(page) {
    this.page = page;
    this.number = null; // { id, index } of a parameter's or an input's number
    this.picked = null; // a unit in the picture
    this.forget();
  }

  /** No unit of any step. */
  forget() {
    this.units = new Map(); // by step
    this.inputs = new Map();
    this.shown = new Map(); // what is shown where the reader has chosen none, so that it stays
    this.picked = null;
  }

  /** Choose a parameter's or an input's number. */
  choose(id, index) {
    this.number = { id, index };
    this.shown.clear();
  }

  /** The same numbers and units in another network, as far as it has them. */
  follow(network, old) {
    const translated = (at) => {
      const id = at ? sameNode(network, at.id, old) : undefined;
      return id === undefined ? null : { id, index: at.index };
    };
    this.number = translated(this.number) ?? firstNumber(network);
    this.picked = translated(this.picked);
    for (const name of ["units", "inputs", "shown"]) {
      const entries = [...this[name]].flatMap(([key, at]) => {
        const [step, ...more] = String(key).split(" ");
        const [k, to] = [sameStep(network, Number(step), old), translated(at)];
        return k === undefined || !to ? [] : [[more.length ? [k, ...more].join(" ") : k, to]];
      });
      this[name] = new Map(entries);
    }
  }

  /** What is shown under a key: what was shown before, or what is found now. */
  #stays(key, find) {
    if (!this.shown.has(key)) this.shown.set(key, find());
    return this.shown.get(key);
  }

  /** The unit of the stop's step that the panel explains: by default the one that hands most blame on. */
  unit() {
    const { network, stop } = this.page;
    if (stop.step < 0) return null;
    const { outputs } = network.steps[stop.step];
    const own = this.units.get(stop.step);
    if (own && outputs.includes(own.id)) return own;
    if (stop.phase === "backward") this.#thread();
    return this.#stays(`${stop.step} ${stop.phase}`, () => this.#strongestUnit(outputs));
  }

  /**
   * Where nothing is shown yet, show what is on the path that carries most of the sample's blame to
   * the number: at each stop the unit to which the stop before it has handed its product.
   */
  #thread() {
    const { network, paths, sample } = this.page;
    const isHere = ({ node, index }) => {
      const { shape, start } = network.part(node, sample);
      return index >= start && index < start + sizeOf(shape);
    };
    const found = paths.find(({ path }) => path.every(isHere));
    let from = this.number;
    for (const { node, index } of found?.path ?? []) {
      const step = network.maker.get(node);
      const [at, key] = [{ id: node, index }, `${step} backward`];
      const input = from;
      if (!this.shown.has(key)) this.shown.set(key, at);
      if (network.steps[step].inputs.includes(input.id))
        this.#stays(`${key} ${step} ${index}`, () => input);
      from = at;
    }
  }

  #strongestUnit(outputs) {
    const { network, stop, sample } = this.page;
    const id = outputs.find((o) => network.gradient(o)) ?? outputs[0];
    const { shape, start } = network.part(id, sample);
    const values = network.gradient(id) ?? network.value(id);
    const part = Array.prototype.slice.call(values, start, start + sizeOf(shape));
    const shares = stop.phase === "backward" ? this.#handed(id, start, part) : part;
    return { id, index: start + strongestOf(shares.some(Boolean) ? shares : part) };
  }

  /** What each of these units hands to the chosen number, if the step reads it, or else to its pair. */
  #handed(out, start, upstream) {
    const { network, stop } = this.page;
    const { number } = this;
    const { inputs } = network.steps[stop.step];
    const pair = inputs.find(
      (id) => network.gradient(id) && network.isElementwise(stop.step, id, out),
    );
    let local;
    if (number && inputs.includes(number.id))
      local = network.column(stop.step, number.id, number.index).get(out);
    else if (pair !== undefined) local = network.slopes(stop.step, pair, out);
    return local ? upstream.map((g, u) => Number(g) * local[start + u]) : upstream;
  }

  /** The number that the unit hands its share to. */
  input(unit) {
    const { network, stop } = this.page;
    const ids = network.steps[stop.step].inputs.filter((id) => network.gradient(id));
    const own = this.inputs.get(stop.step);
    if (own && ids.includes(own.id)) return own;
    const key = `${stop.step} ${stop.phase} ${network.maker.get(unit.id)} ${unit.index}`;
    return this.#stays(key, () => this.#strongestInput(unit, ids));
  }

  #strongestInput(unit, ids) {
    const { network, stop, sample } = this.page;
    const { number } = this;
    const row = network.row(stop.step, unit.id, unit.index);
    if (number && ids.includes(number.id) && row.get(number.id)?.[number.index]) return number;
    const moving = ids.filter((id) => row.get(id)?.some(Boolean));
    let best = null;
    for (const id of moving.length ? moving : ids.filter((i) => row.get(i))) {
      const local = row.get(id);
      const pair = network.isElementwise(stop.step, id, unit.id);
      const { shape, start } = network.part(id, sample);
      const own = local.slice(start, start + sizeOf(shape));
      const index = pair ? unit.index : start + strongestOf(own);
      if (!best || (isData(network, id) && !isData(network, best.id))) best = { id, index };
    }
    return best;
  }

  /** At the step that makes a unit it is the unit; at those that read it, the input. */
  take(id, index) {
    const { network } = this.page;
    this.units.set(network.maker.get(id), { id, index });
    this.inputs.delete(network.maker.get(id));
    for (const k of network.readers.get(id) ?? []) this.read(k, id, index);
  }

  /** Choose the input of a step, and a unit of the step that varies with it. */
  read(k, id, index) {
    const { network } = this.page;
    const outputs = network.steps[k].outputs;
    const now = this.units.get(k);
    const out = outputs.includes(now?.id)
      ? now.id
      : (outputs.find((o) => network.gradient(o)) ?? outputs[0]);
    this.inputs.set(k, { id, index });
    const kept = now?.id === out ? now.index : -1;
    const partner = network.partner(k, id, index, out, kept, this.page.sample);
    if (partner >= 0) this.units.set(k, { id: out, index: partner });
  }
}

/** The number that is chosen at first: of the first weight, the one with the greatest gradient. */
function firstNumber(network) {
  const order = (p) => (p.shape.length > 1 ? 0 : 1e6) + (network.readers.get(p.id)?.[0] ?? 0);
  const isAsked = (n) => network.known(n.id) && network.gradient(n.id)?.length;
  const [top] = network.parameters.filter(isAsked).sort((a, b) => order(a) - order(b));
  const first = top ?? network.inputs.find(isAsked);
  return first ? { id: first.id, index: strongest(network, first.id) } : null;
}

/** The step of a network that is the k-th of another one: by its path or line, else by its place. */
function sameStep(network, k, old) {
  const { path, title } = old.steps[k] ?? {};
  const found = network.steps.findIndex((s) => (path ? s.path === path : s.title === title));
  if (found >= 0) return found;
  return network.steps.length === old.steps.length ? k : undefined;
}

/** The node of a network that is this one of another: of the same name or at the same place. */
function sameNode(network, id, old) {
  const made = old.maker.get(id);
  const output = old.steps[made]?.outputs.indexOf(id);
  const other =
    made === undefined
      ? network.pass.idOf(old.nodes.get(id).name)
      : network.steps[sameStep(network, made, old)]?.outputs[output];
  const isSame = other !== undefined && String(network.shape(other)) === String(old.shape(id));
  return isSame ? other : undefined;
}
