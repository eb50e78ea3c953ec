// The page: what the reader has chosen, and what is drawn again when it changes.

const PLAY = 1500; // milliseconds at each stop

class Page {
  constructor(contents) {
    this.contents = contents;
    this.network = new Network(contents, contents);
    this.label = { ...contents.label };
    this.at = 0;
    this.sample = 0;
    this.chosen = null;
    this.picked = null; // a unit in the picture
    this.path = null; // the one that is chosen among
    this.paths = [];
    this.traced = false; // whether all are drawn
    this.scheme = null;
    this.units = new Map();
    this.inputs = new Map();
    this.places = new Map();
    this.before = null; // what was before another activation, depth or parameters: loss, flow, words
    this.touched = new Set(); // what has been changed by hand since `base`
    this.find = (id) => document.getElementById(id);
    this.narrow = matchMedia("(max-width: 47rem)");
    readPalette();
    this.#begin();
    this.whatIf = new WhatIf(this, this.find("what-if-body"));
    this.pointing = new Pointing(this, this.find("pointed"));
    this.training = new Training(this, this.find("train-body"));
    this.#listen();
    this.whatIf.rebuild();
    this.redraw();
  }

  get stop() {
    return this.stops[this.at];
  }

  /** What depends on the network alone. */
  #begin() {
    const { network } = this;
    this.find("samples").textContent = samplesOf(network);
    this.stops = stopsOf(network);
    this.rebase();
    const order = (p) => (p.shape.length > 1 ? 0 : 1e6) + (network.readers.get(p.id)?.[0] ?? 0);
    const [top] = network.parameters
      .filter((p) => network.known(p.id) && network.gradient(p.id))
      .sort((a, b) => order(a) - order(b));
    const first = top ?? network.inputs.find((n) => network.known(n.id) && network.gradient(n.id));
    this.chosen = first ? { id: first.id, index: strongest(network, first.id) } : null;
    this.#controls();
  }

  /** Changes by hand begin here: what they are compared with. */
  rebase() {
    const { network } = this;
    this.base = {
      loss: network.loss,
      values: new Map(network.inputs.map((n) => [n.id, network.value(n.id).slice()])),
      gradients: new Map(network.inputs.map((n) => [n.id, network.gradient(n.id)?.slice()])),
    };
    this.touched.clear();
  }

  /** Keep what there is to compare with after a change of all. */
  remember(words) {
    this.before = { loss: this.network.loss, flow: flowOf(this.network), words };
  }

  #controls() {
    const slider = this.find("slider");
    slider.max = this.stops.length - 1;
    const back = this.stops.findIndex((s) => s.phase === "backward");
    this.find("ways").style.setProperty(
      "--turn",
      `${(100 * (back - 0.5)) / (this.stops.length - 1)}%`,
    );
    const samples = this.find("sample");
    samples.parentElement.hidden = this.network.batch < 2;
    samples.innerHTML = Array.from(
      { length: this.network.batch },
      (_, k) => `<option>${k}</option>`,
    ).join("");
  }

  // ── what is chosen ─────────────────────────────────────────────────────────────────────────────

  go(at) {
    this.at = Math.max(0, Math.min(this.stops.length - 1, at));
    this.traced = false;
    this.redraw();
    this.say(
      `${stopTitle(this.network, this.stop, this.stops)}. ${this.find("panel").querySelector(".say")?.textContent.replace(/\s+/g, " ") ?? ""}`,
    );
  }

  /** Tell a screen reader. */
  say(words) {
    this.find("status").textContent = words;
  }

  /** Choose a parameter's or an input's number. */
  choose(id, index) {
    this.chosen = { id, index };
    this.path = null;
    this.traced = true;
    this.whatIf.rebuild();
    this.redraw();
  }

  /** The unit of the stop's step that the panel explains: by default the one that hands most blame on. */
  unit() {
    const { network, stop } = this;
    if (stop.step < 0) return null;
    const { outputs } = network.steps[stop.step];
    const own = this.units.get(stop.step);
    if (own && outputs.includes(own.id)) return own;
    const id = outputs.find((o) => network.gradient(o)) ?? outputs[0];
    const { shape, start } = network.part(id, this.sample);
    const count = sizeOf(shape);
    const values = network.gradient(id) ?? network.value(id);
    const part = Array.prototype.slice.call(values, start, start + count);
    const shares = stop.phase === "backward" ? this.#handed(id, start, part) : part;
    return { id, index: start + strongestOf(shares.some(Boolean) ? shares : part) };
  }

  /** What each of these units hands to the chosen number, if the step reads it, or else to its pair. */
  #handed(out, start, upstream) {
    const { network, chosen, stop } = this;
    const { inputs } = network.steps[stop.step];
    const pair = inputs.find(
      (id) => network.gradient(id) && network.isElementwise(stop.step, id, out),
    );
    let local;
    if (chosen && inputs.includes(chosen.id))
      local = network.column(stop.step, chosen.id, chosen.index).get(out);
    else if (pair !== undefined) local = network.slopes(stop.step, pair, out);
    return local ? upstream.map((g, u) => Number(g) * local[start + u]) : upstream;
  }

  /** The number that the unit hands its share to. */
  input(unit) {
    const { network, stop, chosen } = this;
    const step = network.steps[stop.step];
    const ids = step.inputs.filter((id) => network.gradient(id));
    const own = this.inputs.get(stop.step);
    if (own && ids.includes(own.id)) return own;
    if (
      chosen &&
      ids.includes(chosen.id) &&
      network.row(stop.step, unit.id, unit.index).get(chosen.id)?.[chosen.index]
    )
      return chosen;
    let best = null;
    for (const id of ids) {
      const local = network.row(stop.step, unit.id, unit.index).get(id);
      if (!local) continue;
      const pair = network.isElementwise(stop.step, id, unit.id);
      const index = pair ? unit.index : strongestOf(local);
      if (!best || (isData(network, id) && !isData(network, best.id))) best = { id, index };
    }
    return best;
  }

  pickUnit(id, index) {
    this.take(id, index);
    this.redraw();
  }

  /** At the step that makes a unit it is the unit; at those that read it, the input. */
  take(id, index) {
    const { network } = this;
    this.units.set(network.maker.get(id), { id, index });
    this.inputs.delete(network.maker.get(id));
    for (const k of network.readers.get(id) ?? []) this.#read(k, id, index);
  }

  /** Choose the input of a step, and a unit of the step that varies with it. */
  #read(k, id, index) {
    const { network } = this;
    const outputs = network.steps[k].outputs;
    const now = this.units.get(k);
    const out = outputs.includes(now?.id)
      ? now.id
      : (outputs.find((o) => network.gradient(o)) ?? outputs[0]);
    this.inputs.set(k, { id, index });
    const partner = network.partner(k, id, index, out, now?.id === out ? now.index : -1);
    if (partner >= 0) this.units.set(k, { id: out, index: partner });
  }

  pickInput(id, index) {
    const { maker } = this.network;
    if (maker.has(id)) this.take(id, index);
    else this.#read(this.stop.step, id, index);
    if (this.network.nodes.get(id).phase === "input" && this.network.isFloat(id))
      this.choose(id, index);
    else this.redraw();
  }

  /** Draw a path of blame, on the sample that it goes through. */
  showPath(k) {
    this.path = k;
    const hops = this.paths[k]?.path ?? [];
    for (const { node, index } of hops) {
      const { shape } = this.network.part(node, 0);
      const count = sizeOf(this.network.shape(node)) / sizeOf(shape);
      if (count > 1 && count === this.network.batch)
        this.sample = Math.floor(index / sizeOf(shape));
    }
    this.find("sample").value = this.sample;
    this.redraw();
  }

  // ── what is changed ────────────────────────────────────────────────────────────────────────────

  /** Change a number by hand. */
  edit(id, index, value, rebuild = false) {
    const { network, base } = this;
    base.flow ??= flowOf(network);
    base.switches ??= switchesOf(network);
    network.pass.set(id, index, value);
    this.chosen = { id, index };
    this.touched.add(`${id},${index}`);
    this.recompute(rebuild);
  }

  /** Compute again, and draw once per frame. */
  recompute(rebuild = false) {
    this.network.changed();
    this.path = null;
    if (rebuild) this.whatIf.rebuild();
    this.#soon();
  }

  #soon() {
    this.waiting ??= requestAnimationFrame(() => {
      this.waiting = null;
      this.redraw();
    });
  }

  /** Whether all numbers are those of the sample. */
  get asGiven() {
    const { network, contents, training, scheme } = this;
    return network.graph === contents && !scheme && !training.start && !this.edits().length;
  }

  /** What has been changed by hand, and is another number now: { id, index, was, now }. */
  edits() {
    return [...this.touched]
      .map((key) => key.split(",").map(Number))
      .map(([id, index]) => ({
        id,
        index,
        was: Number(this.base.values.get(id)[index]),
        now: Number(this.network.value(id)[index]),
      }))
      .filter(({ was, now }) => was !== now);
  }

  /** Everything as it was at first, except where the reader is. */
  reset() {
    this.scheme = null;
    this.#exchange(this.contents);
    this.before = null;
    this.training.reset();
    this.whatIf.rebuild();
    this.redraw();
  }

  initialise(name, seed) {
    this.remember("with other parameters");
    this.scheme = { name, seed };
    chainrule.initialise(this.network.pass, name, seed);
    this.network.changed();
    this.rebase();
    this.training.restart();
    this.whatIf.rebuild();
    this.redraw();
  }

  /** The parameters of the sample again, in the same network. */
  asTheyAre() {
    this.remember("with other parameters");
    this.scheme = null;
    this.#exchange(this.network.graph);
    this.training.restart();
    this.whatIf.rebuild();
    this.redraw();
  }

  /** The variant with another activation or depth; parameters that keep their shape keep their value. */
  variant(key, value) {
    const wanted = { ...this.label, [key]: value };
    const all = [this.contents, ...this.contents.variants];
    const fits = (v) => Object.entries(wanted).every(([k, own]) => v.label[k] === own);
    this.remember(`with ${LABELS[key](this.label[key])}`);
    this.scheme = null;
    this.#exchange(all.find(fits) ?? all.find((v) => v.label[key] === value));
    this.training.restart();
    this.whatIf.rebuild();
    this.redraw();
  }

  /** Show another variant, at the same stop. */
  #exchange(graph) {
    const { network, stop, stops, chosen } = this;
    this.label = { ...graph.label };
    this.network = new Network(this.contents, graph);
    for (const map of [this.units, this.inputs, this.places]) map.clear();
    this.path = null;
    this.picked = null;
    this.#begin();
    this.at = sameStop(this.stops, this.network, stop, network, stops);
    const name = chosen && network.nodes.get(chosen.id).name;
    const id = this.network.pass.idOf(name);
    const fits =
      id !== undefined && String(this.network.shape(id)) === String(network.shape(chosen.id));
    if (fits) this.chosen = { id, index: chosen.index };
  }

  // ── drawing ────────────────────────────────────────────────────────────────────────────────────

  redraw() {
    const focused = document.activeElement?.dataset?.key;
    document.body.dataset.phase = this.stop.phase;
    blamePanel(this, this.find("blame-body"));
    this.#picture();
    this.find("panel").replaceChildren(stopPanel(this));
    this.whatIf.update();
    this.find("loss").textContent = this.network.lossText(5);
    const slider = this.find("slider");
    slider.value = this.at;
    slider.setAttribute("aria-valuetext", stopTitle(this.network, this.stop, this.stops));
    this.find("caption").textContent = stopTitle(this.network, this.stop, this.stops);
    if (focused && document.activeElement?.dataset?.key !== focused) {
      document.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
    }
  }

  #picture() {
    const { network, sample } = this;
    const vertical = this.narrow.matches;
    const scene = this.find("scene");
    const placed = (current, room) => arrange(network, { current, sample, vertical, room });
    const work = this.find("work");
    const measured = () => Math.max(220, scene.clientWidth - 16);
    work.classList.remove("broad"); // then the tools are beside it
    const whole = placed(-1, 300).main; // as at the start, so that it stays where it is
    work.classList.toggle("broad", !vertical && whole > MOST_SHRUNK * measured());
    const room = measured();
    const view = placed(this.stop.step, room);
    const fromChosen = (path) => [{ node: this.chosen.id, index: this.chosen.index }, ...path];
    const paths = this.paths.map(({ path, share }) => ({ path: fromChosen(path), share }));
    const unit = this.unit();
    const input = this.stop.phase === "backward" ? this.input(unit) : null;
    scene.innerHTML = drawPicture(network, view, {
      stop: this.stop,
      marks: [unit ?? this.chosen, input, this.picked].filter(Boolean),
      weight: this.chosen,
      paths: this.traced ? paths : [],
      path: paths[this.path]?.path,
      sample,
      room,
    });
    this.pointing.rest(view);
    this.#scroll(scene, view);
    markMore(scene);
    this.find("picture-table").replaceChildren(
      tableBehind("picture", () => this.#table(), "Table of all values"),
    );
  }

  /** Keep the step of the stop in sight. */
  #scroll(scene, view) {
    const c = view.columns.find((column) => column.entry?.steps.includes(this.stop.step));
    if (!c) return;
    const middle = (c.from + c.at) / 2;
    if (view.vertical) scene.scrollTop = middle - scene.clientHeight / 2;
    else scene.scrollLeft = middle - scene.clientWidth / 2;
  }

  #table() {
    const { network } = this;
    const ids = [...network.inputs.map((n) => n.id), ...network.steps.flatMap((s) => s.outputs)];
    const range = (values) => {
      if (!values) return "–";
      const [low, high] = extent(values).map((v) => number(v, 3));
      return values.length === 1 ? number(Number(values[0])) : `${low} to ${high}`;
    };
    const rows = ids.map((id) => [
      code(network.name(id)),
      shapeText(network.shape(id)),
      range(network.known(id) ? network.value(id) : null),
      range(network.gradient(id)),
    ]);
    return table(
      ["value", "shape", "values", "∂loss/∂value"],
      rows,
      2,
      "The network’s values and gradients",
    );
  }

  // ── keys and clicks ────────────────────────────────────────────────────────────────────────────

  #listen() {
    const on = (id, event, f) => this.find(id).addEventListener(event, f);
    on("first", "click", () => this.go(0));
    on("back", "click", () => this.go(this.at - 1));
    on("next", "click", () => this.go(this.at + 1));
    on("last", "click", () => this.go(this.stops.length - 1));
    on("play", "click", () => this.play());
    on("slider", "input", (event) => this.go(Number(event.target.value)));
    on("sample", "change", (event) => {
      this.sample = Number(event.target.value);
      this.picked = null;
      this.units.clear();
      this.inputs.clear();
      this.redraw();
    });
    on("scene", "click", (event) => this.pointing.clicked(event));
    on("scene", "scroll", () => markMore(this.find("scene")));
    on("scene", "pointermove", (event) => this.pointing.moved(event));
    on("scene", "pointerleave", (event) => this.pointing.moved(event));
    on("panel", "click", (event) => {
      const button = event.target.closest("[data-choose]");
      if (button) this.choose(Number(button.dataset.choose), Number(button.dataset.at));
    });
    on("theme", "click", () => this.theme());
    document.addEventListener("keydown", (event) => this.#key(event));
    addEventListener("resize", () => this.#soon());
    for (const media of [this.narrow, matchMedia("(prefers-color-scheme: dark)")]) {
      media.addEventListener("change", () => {
        readPalette();
        this.redraw();
      });
    }
  }

  #key(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return;
    const { target } = event;
    const own = target.closest("input:not(#slider), select, textarea, .grid, .wide");
    const moves = { ArrowLeft: -1, ArrowRight: 1 };
    if (event.key in moves && !own) this.go(this.at + moves[event.key]);
    else if (event.key === "Home" && !own) this.go(0);
    else if (event.key === "End" && !own) this.go(this.stops.length - 1);
    else if (event.key === " " && !own && !target.closest("button, summary, a")) this.play();
    else return;
    event.preventDefault();
  }

  /** Walk on by itself, or stop walking. */
  play() {
    const running = this.timer !== undefined;
    clearInterval(this.timer);
    this.timer = undefined;
    if (!running) {
      if (this.at === this.stops.length - 1) this.go(0);
      this.timer = setInterval(
        () => (this.at < this.stops.length - 1 ? this.go(this.at + 1) : this.play()),
        PLAY,
      );
    }
    const button = this.find("play");
    button.setAttribute("aria-pressed", String(!running));
    button.setAttribute("aria-label", running ? "Play" : "Pause");
    button.textContent = running ? "▶" : "❚❚";
  }

  theme() {
    const root = document.documentElement;
    const dark = root.dataset.theme
      ? root.dataset.theme === "dark"
      : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    this.find("theme").setAttribute("aria-pressed", String(!dark));
    readPalette();
    this.redraw();
  }
}

globalThis.page = new Page(JSON.parse(document.getElementById("contents").textContent));
