// The page: its network, where the reader is, what has been changed, and what is drawn again then.

class Page {
  constructor(contents) {
    this.contents = contents;
    this.network = new Network(contents, contents);
    this.label = { ...contents.label };
    this.at = 0;
    this.sample = 0;
    this.path = null; // the one that is chosen among
    this.paths = [];
    this.traced = false; // whether all are drawn
    this.scheme = null;
    this.places = new Map();
    this.touched = new Set(); // what has been changed by hand since `base`
    this.find = (id) => document.getElementById(id);
    this.narrow = matchMedia("(max-width: 47rem)");
    this.about = this.find("about").textContent;
    readPalette();
    this.choice = new Choice(this);
    this.choice.number = firstNumber(this.network);
    this.#begin();
    this.whatIf = new WhatIf(this, this.find("what-if-body"));
    this.pointing = new Pointing(this, this.find("pointed"));
    this.training = new Training(this, this.find("train-body"));
    this.controls = new Controls(this);
    this.redraw(true);
  }

  get stop() {
    return this.stops[this.at];
  }

  /** The network as given, which is never changed. */
  get origin() {
    this.given ??= new Network(this.contents, this.contents);
    return this.given;
  }

  get isAtEnd() {
    return this.at === this.stops.length - 1;
  }

  /** What depends on the network alone. */
  #begin() {
    const { network } = this;
    this.find("samples").textContent = samplesOf(network);
    this.stops = stopsOf(network);
    this.rebase();
    const turn = this.stops.findIndex((s) => s.phase === "backward") - 0.5;
    const last = this.stops.length - 1;
    this.find("slider").max = last;
    this.find("ways").style.setProperty("--turn", `${(100 * turn) / last}%`);
    const samples = this.find("sample");
    samples.parentElement.hidden = network.batch < 2;
    const option = (_, k) => `<option>${k}</option>`;
    samples.innerHTML = Array.from({ length: network.batch }, option).join("");
    samples.value = this.sample;
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

  // ── where the reader is ────────────────────────────────────────────────────────────────────────

  go(at) {
    this.at = Math.max(0, Math.min(this.stops.length - 1, at));
    this.traced = false;
    this.redraw();
    const said = this.find("panel").querySelector(".say")?.textContent.replace(/\s+/g, " ") ?? "";
    this.say(`${stopTitle(this.network, this.stop, this.stops)}. ${said}`);
  }

  /** Tell a screen reader. */
  say(words) {
    this.find("status").textContent = words;
  }

  /** Show another sample. */
  show(sample) {
    this.sample = sample;
    this.choice.forget();
    this.redraw();
  }

  /** Choose a parameter's or an input's number. */
  choose(id, index) {
    this.#turnTo(id, index);
    this.choice.choose(id, index);
    this.path = null;
    this.traced = true;
    this.redraw(true);
  }

  /** No choice, as at first. */
  forget() {
    this.choice.forget();
    this.choice.number = firstNumber(this.network);
    this.path = null;
    this.traced = false;
    this.redraw(true);
    this.say("Nothing is chosen.");
  }

  pickUnit(id, index) {
    this.choice.take(id, index);
    this.redraw();
  }

  pickInput(id, index) {
    const { network, choice } = this;
    if (network.maker.has(id)) choice.take(id, index);
    else choice.read(this.stop.step, id, index);
    if (network.isChangeable(id)) this.choose(id, index);
    else this.redraw();
  }

  /** Draw a path of blame, on the sample that it goes through. */
  showPath(k) {
    this.path = k;
    for (const { node, index } of this.paths[k]?.path ?? []) this.#turnTo(node, index);
    this.redraw();
  }

  /** Show the sample that this element is of, if it is of one. */
  #turnTo(id, index) {
    const { shape } = this.network.part(id, 0);
    const count = sizeOf(this.network.shape(id)) / sizeOf(shape);
    const sample = Math.floor(index / sizeOf(shape));
    if (count < 2 || count !== this.network.batch || sample === this.sample) return;
    this.sample = sample;
    this.choice.forget();
    this.find("sample").value = sample;
  }

  // ── what is changed ────────────────────────────────────────────────────────────────────────────

  /** Change a number by hand. */
  edit(id, index, value, rebuild = false) {
    const { network, base } = this;
    base.switches ??= switchesOf(network);
    network.pass.set(id, index, value);
    this.choice.number = { id, index };
    this.touched.add(`${id},${index}`);
    this.recompute(rebuild);
  }

  /** Compute again, and draw once per frame. */
  recompute(rebuild = false) {
    this.network.changed();
    this.path = null;
    this.soon(rebuild);
  }

  soon(rebuild = false) {
    this.rebuilds ||= rebuild;
    this.waiting ??= requestAnimationFrame(() => {
      this.redraw(this.rebuilds);
      this.waiting = this.rebuilds = null;
    });
  }

  /** Whether all numbers are those that Python has told the story of. */
  get isTold() {
    return !this.scheme && !this.training.start && !this.edits().length;
  }

  /** Whether all is as it was given. */
  get isGiven() {
    return this.isTold && this.network.graph === this.contents;
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
    this.training.reset();
    this.#exchange(this.contents);
  }

  initialise(name, seed) {
    this.scheme = { name, seed };
    chainrule.initialise(this.network.pass, name, seed);
    this.network.changed();
    this.rebase();
    this.#again();
  }

  /** The parameters of the sample again, in the same network. */
  asTheyAre() {
    this.#exchange(this.network.graph);
  }

  /** The variant with another activation or depth; parameters that keep their shape keep their value. */
  variant(key, value) {
    const wanted = { ...this.label, [key]: value };
    const all = [this.contents, ...this.contents.variants];
    const fits = (v) => Object.entries(wanted).every(([k, own]) => v.label[k] === own);
    const { scheme } = this;
    this.#exchange(all.find(fits) ?? all.find((v) => v.label[key] === value));
    if (scheme) this.initialise(scheme.name, scheme.seed);
  }

  /** Show this network with the parameters of the sample, at the same stop. */
  #exchange(graph) {
    const { network: old, stop, stops } = this;
    this.scheme = null;
    this.label = { ...graph.label };
    this.network = new Network(this.contents, graph);
    this.places.clear();
    this.path = null;
    this.choice.follow(this.network, old);
    this.#begin();
    this.at = sameStop(this.stops, this.network, stop, old, stops);
    this.#again();
  }

  #again() {
    this.training.restart();
    this.redraw(true);
  }

  // ── drawing ────────────────────────────────────────────────────────────────────────────────────

  /** Draw everything again; the controls of "What if" too if they are others now. */
  redraw(rebuild = false) {
    const { network, stop } = this;
    const key = document.activeElement?.dataset?.key;
    const top = document.activeElement?.getBoundingClientRect().top;
    if (rebuild) this.whatIf.rebuild();
    document.body.dataset.phase = stop.phase;
    const about = this.find("about");
    about.replaceChildren(told(this.about, this.isGiven));
    this.find("past").textContent = about.querySelector(".past") ? PAST : "";
    blamePanel(this, this.find("blame-body"));
    this.#picture();
    this.find("panel").replaceChildren(stopPanel(this));
    this.whatIf.update();
    this.find("loss").textContent = network.lossText();
    const title = stopTitle(network, stop, this.stops);
    this.find("slider").value = this.at;
    this.find("slider").setAttribute("aria-valuetext", title);
    this.find("caption").textContent = title;
    if (key) this.#focus(key, top);
  }

  /** Give the focus back to a control, and leave it where it was under the reader's hand. */
  #focus(key, top) {
    const control = document.querySelector(`[data-key="${CSS.escape(key)}"]`);
    if (!control) return;
    if (document.activeElement !== control) control.focus({ preventScroll: true });
    const moved = control.getBoundingClientRect().top - top;
    if (control.closest("aside")) scrollBy({ top: moved, behavior: "instant" });
  }

  /** Draw in the colours of now. */
  repaint() {
    readPalette();
    this.redraw();
  }

  #picture() {
    const { network, sample, choice } = this;
    const vertical = this.narrow.matches;
    const scene = this.find("scene");
    const placed = (current, room) => arrange(network, { current, sample, vertical, room });
    const work = this.find("work");
    const measured = () => Math.max(220, scene.clientWidth - 16);
    const place = `${innerWidth} ${vertical}`;
    if (this.place !== place) {
      // Decided once for a window: the tools stay where they are when the network gets deeper.
      this.place = place;
      work.classList.remove("broad"); // then the tools are beside it
      const whole = placed(-1, 300).main;
      work.classList.toggle("broad", !vertical && whole > MOST_SHRUNK * measured());
    }
    const room = measured();
    const view = placed(this.stop.step, room);
    const fromChosen = (path) => [{ node: choice.number.id, index: choice.number.index }, ...path];
    const paths = this.paths.map(({ path, share }) => ({ path: fromChosen(path), share }));
    const unit = choice.unit();
    const input = this.stop.phase === "backward" ? choice.input(unit) : null;
    scene.innerHTML = drawPicture(network, view, {
      stop: this.stop,
      marks: [unit ?? choice.number, input, choice.picked].filter(Boolean),
      weight: choice.number,
      paths: this.traced ? paths : [],
      path: paths[this.path]?.path,
      sample,
      room,
    });
    this.pointing.rest(view);
    this.#scroll(scene, view);
    markMore(scene);
    this.find("picture-table").replaceChildren(
      tableBehind("picture", () => networkTable(network), "Table of all values"),
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
}

globalThis.page = new Page(JSON.parse(document.getElementById("contents").textContent));
