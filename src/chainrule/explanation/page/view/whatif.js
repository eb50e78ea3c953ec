// "What if": another value for a weight or an input, another activation, depth or initialisation.

const LABELS = {
  activation: (name) => name || "several",
  depth: (count) => plural(count, "hidden layer"),
};

/** What a field for numbers holds: nothing in the place of NaN and ∞, which it cannot. */
const entered = (value) => (Number.isFinite(value) ? value : "");

/** That a network which is no longer the given one has not been trained. */
function strangeWords({ contents, label, scheme, training }) {
  if (training?.start) return "";
  const own = (key) => label[key] === contents.label[key];
  const drawn = scheme
    ? "its parameters are drawn at random"
    : label.depth > contents.label.depth
      ? "its added layers are drawn at random"
      : "its parameters are those of the network as given";
  if (!scheme && own("activation") && own("depth")) return "";
  return `This network is not trained: ${drawn}. So its loss, lower or higher, does not tell how well it would learn.`;
}

class WhatIf {
  constructor(page, root) {
    Object.assign(this, { page, root });
  }

  /** Everything again: after another choice, or another network. */
  rebuild() {
    const { page, root } = this;
    const { network } = page;
    const chosen = page.choice.number;
    root.replaceChildren();
    if (chosen) this.#number(network, chosen);
    this.#network();
    root.append(
      element(
        '<p class="actions"><button type="button" data-key="reset">Back to the sample’s values</button></p>',
      ),
    );
    root.querySelector('[data-key="reset"]').addEventListener("click", () => page.reset());
  }

  /** The choice of a number: its tensor, its index, and a slider. */
  #number(network, { id, index }) {
    const options = network.inputs
      .filter((n) => network.isFloat(n.id) && network.known(n.id) && sizeOf(n.shape))
      .map(
        (n) =>
          `<option value="${n.id}"${n.id === id ? " selected" : ""}>${escape(shorten(n.name, 30))}</option>`,
      )
      .join("");
    const shape = network.shape(id);
    const axes = unravel(index, shape).map(
      (i, axis) =>
        `<input type="number" min="0" max="${shape[axis] - 1}" value="${i}" data-axis="${axis}" data-key="axis-${axis}" aria-label="index along axis ${axis}">`,
    );
    const value = Number(network.value(id)[index]);
    const reach = Math.max(2 * greatest([value]), 1.5 * greatest(network.value(id)), 1e-3);
    this.root.append(
      element(`<div class="number">
      <p class="pick"><select data-key="tensor" aria-label="parameter or input">${options}</select>${shape.length ? `<span class="axes">[${axes.join("")}]</span>` : ""}</p>
      <p class="pick"><label class="slide">value <input type="range" data-key="slide" min="${-reach}" max="${reach}" step="any" value="${entered(value)}"></label>
      <input type="number" step="any" data-key="value" aria-label="value of the chosen number" value="${entered(value)}"></p>
      <p class="refused clamped" role="alert"></p><dl class="facts"></dl><p class="note why"></p></div>`),
    );
    const find = (key) => this.root.querySelector(`[data-key="${key}"]`);
    find("tensor").addEventListener("change", (event) => {
      const other = Number(event.target.value);
      this.page.choose(other, strongest(network, other));
    });
    for (const input of this.root.querySelectorAll("[data-axis]")) {
      input.addEventListener("change", () => {
        const wanted = [...this.root.querySelectorAll("[data-axis]")].map((i) =>
          Math.round(Number(i.value) || 0),
        );
        const at = wanted.map((i, axis) => Math.min(Math.max(0, i), shape[axis] - 1));
        this.page.choose(id, ravel(at, shape));
        const axis = at.findIndex((i, k) => i !== wanted[k]);
        if (axis >= 0)
          this.root.querySelector(".clamped").textContent =
            `There is no index ${wanted[axis]}: along axis ${axis} they go from 0 to ${shape[axis] - 1}.`;
      });
    }
    find("slide").addEventListener("input", (event) => this.#set(Number(event.target.value)));
    find("slide").addEventListener("change", () => this.#say());
    find("value").addEventListener("change", (event) => {
      const value = Number(event.target.value);
      if (!Number.isFinite(value)) return;
      this.#set(value);
      this.#say();
    });
    if (
      network.nodes.get(id).kind === "data" &&
      sizeOf(network.part(id, this.page.sample).shape) > 10
    )
      this.#painting();
  }

  #set(value) {
    const { id, index } = this.page.choice.number;
    this.page.edit(id, index, value);
  }

  #say() {
    const { network, base } = this.page;
    this.page.say(`The loss is ${network.lossText()}; it was ${network.lossText(base.loss)}.`);
  }

  /** An input as a picture to change by clicks: each turns a number off, or fully on. */
  #painting() {
    this.canvas = element('<div class="painting"></div>');
    this.root.append(this.canvas);
  }

  #network() {
    const { page } = this;
    const { contents } = page;
    const { label = {}, variants = [], missing = [] } = contents;
    for (const [key, own] of Object.entries(label)) {
      const labels = [label, ...variants.map((v) => v.label)].map((l) => l[key]);
      const values = [...new Set(labels)].filter((v) => v !== null);
      if (values.length < 2) continue;
      const option = (v) =>
        `<option value="${escape(v)}"${v === page.label[key] ? " selected" : ""}>${escape(LABELS[key]?.(v) ?? v)}${v === own ? " (as it is)" : ""}</option>`;
      const line = element(
        `<p class="pick"><label>${escape(key)} <select data-key="variant-${escape(key)}">${values.map(option).join("")}</select></label></p>`,
      );
      const select = line.querySelector("select");
      select.addEventListener("change", () => page.variant(key, values[select.selectedIndex]));
      this.root.append(line);
      const added = key === "depth" ? page.label.depth - own : 0;
      if (added > 0)
        this.root.append(
          element(
            `<p class="note">${plural(added, "layer")} added${page.scheme ? "" : ", with weights as <code>nn.Linear</code> draws them, one layer after another, from seed 0; the others keep theirs"}.</p>`,
          ),
        );
    }
    for (const line of missing) this.root.append(element(`<p class="note">${escape(line)}</p>`));
    const schemes = Object.keys(page.network.graph.initialisations ?? {});
    if (!schemes.length) return;
    this.root.append(
      element(`<p class="pick"><label>parameters <select data-key="scheme"><option value="">as they are</option>${schemes.map((s) => `<option value="${escape(s)}"${s === page.scheme?.name ? " selected" : ""}>${escape(s.replaceAll("_", " "))}</option>`).join("")}</select></label>
      <label>${page.scheme ? "seed" : "seed (of drawn parameters)"} <input type="number" min="0" step="1" value="${page.scheme?.seed ?? 0}" data-key="seed"${page.scheme ? "" : " disabled"}></label></p>`),
    );
    if (page.scheme)
      this.root.append(
        element(`<p class="note">${schemeWords(page.network, page.scheme.name)}</p>`),
      );
    const strange = strangeWords(page);
    if (strange) this.root.append(element(`<p class="note strange">${strange}</p>`));
    const draw = () => {
      const name = this.root.querySelector('[data-key="scheme"]').value;
      const seed = Math.max(
        0,
        Math.round(Number(this.root.querySelector('[data-key="seed"]').value) || 0),
      );
      if (name) page.initialise(name, seed);
      else page.asTheyAre();
    };
    for (const key of ["scheme", "seed"])
      this.root.querySelector(`[data-key="${key}"]`).addEventListener("change", draw);
  }

  /** What it was before all changes by hand, and as given. */
  #comparison() {
    const { network, base } = this.page;
    const edits = this.page.edits();
    if (this.page.isGiven) return [];
    const given = ["loss as given", this.page.origin.lossText()];
    if (!edits.length) return [given];
    const each =
      edits.length === 1
        ? [["value was", number(edits[0].was)]]
        : edits
            .slice(0, 6)
            .map((e) => [
              code(network.element(e.id, e.index)),
              `${number(e.was)} → ${number(e.now)}`,
            ]);
    if (edits.length > 6) each.push(["more changes", String(edits.length - 6)]);
    const all = edits.length > 1 ? ` by all ${edits.length} changes` : "";
    const facts = [
      ...each,
      ["loss was", network.lossText(base.loss)],
      ...(base.loss === this.page.origin.loss ? [] : [given]),
      [`change of the loss${all}`, network.changeText(network.loss - base.loss)],
    ];
    const predicted = this.#predicted(edits);
    if (predicted !== null)
      facts.push([
        `change that the gradient predicts${edits.length > 1 ? " for all" : ""}`,
        network.changeText(predicted),
      ]);
    return facts;
  }

  /** Gradient × change, over all changes by hand; null where a gradient is unknown. */
  #predicted(edits) {
    const { gradients } = this.page.base;
    if (!edits.every((e) => gradients.get(e.id))) return null;
    return edits.reduce(
      (sum, e) => sum + Number(gradients.get(e.id)[e.index]) * (e.now - e.was),
      0,
    );
  }

  /** What kinks on the way of these changes made of the loss. */
  #kinks(edits) {
    const { network, base } = this.page;
    const ids = [...new Set(edits.map((e) => e.id))];
    const numbers = (of) => new Map(ids.map((id) => [id, Float64Array.from(of(id))]));
    return kinkPart(
      network,
      numbers((id) => base.values.get(id)),
      numbers((id) => network.value(id)),
    );
  }

  /** The numbers that a change moves; the controls stay as they are. */
  update() {
    const { network, base, sample } = this.page;
    if (!this.page.choice.number) return;
    const { id, index } = this.page.choice.number;
    const value = Number(network.value(id)[index]);
    for (const key of ["slide", "value"]) {
      const input = this.root.querySelector(`[data-key="${key}"]`);
      if (input && (document.activeElement !== input || key === "slide"))
        input.value = entered(key === "slide" ? value : Number(value.toPrecision(6)));
    }
    const [now, was] = [network.gradient(id), base.gradients.get(id)].map(
      (g) => g && number(Number(g[index])),
    );
    const facts = [
      ["gradient", now ? (now === was ? now : `was ${was}, is ${now}`) : "not computed"],
      ["loss", `<strong data-loss="${network.loss}">${network.lossText()}</strong>`],
      ...this.#comparison(),
    ];
    if (network.pass.outdated?.size)
      facts.push([
        "note",
        "the page cannot compute all that follows: some values are those of before",
      ]);
    this.root.querySelector(".facts").replaceWith(factList(facts));
    const edits = this.page.edits();
    const predicted = edits.length ? this.#predicted(edits) : null;
    this.root.querySelector(".why").textContent =
      predicted === null
        ? ""
        : compared(network, predicted, network.loss - base.loss, base.switches, () =>
            this.#kinks(edits),
          );
    if (this.canvas?.isConnected) {
      const { shape, start } = network.part(id, sample);
      const top = Math.max(greatest(base.values.get(id)), 1e-9);
      const paint = (flat) => {
        const now = Number(network.value(id)[flat]);
        this.page.edit(id, flat, Math.abs(now) > top / 2 ? 0 : top, true);
      };
      this.canvas.replaceChildren(
        heatmap({
          key: "paint",
          name: network.name(id),
          shape,
          start,
          full: network.shape(id),
          data: network.value(id),
          chosen: index,
          scale: top,
          pick: paint,
          width: 260,
          title: "click to switch numbers on and off",
        }),
      );
    }
  }
}
