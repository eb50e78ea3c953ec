// "Take a step": an optimizer moves all parameters, one step or ten at a time.

const KINDS = ["SGD", "momentum", "RMSprop", "Adam"];
const RATES = [1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001, 5e-4, 2e-4, 1e-4];

class Training {
  constructor(page, root) {
    Object.assign(this, { page, root });
    if (page.contents.left_out.length) {
      root.append(
        element('<p class="note">This network has too many numbers for a page to train it.</p>'),
      );
      return;
    }
    const kinds = KINDS.map((k) => `<option>${k}</option>`).join("");
    root.append(
      element(`<div><p class="pick"><label>optimizer <select data-key="optimizer">${kinds}</select></label>
      <label>learning rate <input type="number" step="any" min="0" data-key="lr"></label></p>
      <div class="rule"></div>
      <p class="actions"><button type="button" data-key="one">1 step</button> <button type="button" data-key="ten">10 steps</button></p>
      <p class="refused" role="alert"></p><div class="result"></div></div>`),
    );
    this.kind = root.querySelector('[data-key="optimizer"]');
    this.rate = root.querySelector('[data-key="lr"]');
    this.isOwn = false; // whether the reader has chosen the rate
    this.kind.addEventListener("change", () => this.#begin());
    this.rate.addEventListener("input", () => {
      this.isOwn = true;
      this.#begin();
    });
    root.querySelector('[data-key="one"]').addEventListener("click", () => this.steps(1));
    root.querySelector('[data-key="ten"]').addEventListener("click", () => this.steps(10));
    this.restart();
  }

  /** No step taken yet. */
  restart() {
    if (!this.kind) return;
    this.losses = [this.page.network.loss];
    this.used = []; // optimizers, with their rates
    this.start = null;
    this.#begin();
    this.show();
  }

  /** As at the start: SGD, and a rate that suits it. */
  reset() {
    if (this.kind) this.kind.value = KINDS[0];
    this.isOwn = false;
    this.restart();
  }

  /** A new optimizer, with a rate that suits it unless the reader has one. */
  #begin() {
    this.optimizer = null;
    const kind = this.kind.value;
    if (!this.isOwn) this.rate.value = suitable(this.page.network.pass, kind);
    const tried =
      "The rate was tried: one step with it lowers the loss by half of what the gradient promises or more, and by a third of the loss at most";
    const why =
      kind === "momentum" ? `${tried}; then divided by ten, because steps add up.` : `${tried}.`;
    const about = this.root.querySelector(".rule");
    about.replaceChildren(...ruleOf(kind, Number(this.rate.value)));
    if (!this.isOwn) about.append(element(`<p class="note">${why}</p>`));
    this.#refuse("");
  }

  #refuse(words) {
    this.root.querySelector(".refused").textContent = words;
  }

  steps(count) {
    const { network } = this.page;
    const rate = Number(this.rate.value);
    if (!(rate > 0)) {
      this.#refuse(
        this.rate.value === ""
          ? "A step needs a learning rate, such as 0.1."
          : `With a learning rate of ${number(rate)} no step lowers the loss: it has to be above 0, such as 0.1.`,
      );
      return;
    }
    this.#refuse("");
    this.optimizer ??= new chainrule.Optimizer(this.kind.value, { lr: rate });
    this.start ??= new Map(
      network.parameters.map((p) => [p.id, Float64Array.from(network.value(p.id))]),
    );
    const used = `${this.kind.value}, learning rate ${this.rate.value}`;
    if (this.used.at(-1) !== used) this.used.push(used);
    this.losses.splice(-1, 1, network.loss); // it may have been changed by hand
    const before = {
      loss: network.loss,
      square: squaredLength(network),
      switches: switchesOf(network),
    };
    let promised = 0;
    const ways = []; // of the steps that passed kinks
    for (let k = 0; k < count; k++) {
      const moved = this.optimizer.next(network.pass);
      const from = new Map([...moved.keys()].map((id) => [id, network.value(id).slice()]));
      const switches = switchesOf(network);
      promised += changeOfLine(network.pass, moved);
      for (const [id, numbers] of moved) network.pass.setAll(id, numbers);
      network.pass.run();
      if (switched(network, switches, switchesOf(network)).length) ways.push([from, moved]);
      this.losses.push(network.loss);
    }
    const end = new Map(network.parameters.map((p) => [p.id, network.value(p.id).slice()]));
    const kinks = () => {
      const part = ways.reduce((sum, [from, to]) => sum + kinkPart(network, from, to), 0);
      for (const [id, numbers] of end) network.pass.setAll(id, numbers);
      network.pass.run();
      return part;
    };
    const isPlain = count === 1 && this.kind.value === "SGD";
    const how = isPlain
      ? `−lr · ‖g‖² = −${number(rate)} × ${number(before.square)}`
      : `the sum of gradient × change${count > 1 ? `, over ${count} steps` : ""}`;
    const real = network.loss - before.loss;
    const words = compared(network, promised, real, before.switches, kinks);
    this.taken = { count, promised, how, real, words };
    this.page.recompute(true);
    this.page.rebase();
    this.show();
    this.page.say(
      `After ${plural(count, "step")} the loss is ${network.lossText()}. ${this.taken.words}`,
    );
  }

  show() {
    const { network } = this.page;
    const root = this.root.querySelector(".result");
    root.replaceChildren();
    if (!this.start) return;
    const { promised, real, how, count, words } = this.taken;
    const facts = [
      [`gradients promised <small>${how}</small>`, network.changeText(promised)],
      ["the loss really changed by", `<strong>${network.changeText(real)}</strong>`],
    ];
    root.append(
      element(`<h3>${count === 1 ? "This step" : `These ${count} steps`}</h3>`),
      factList(facts, "promise"),
      element(`<p class="note">${escape(words)}</p>`),
      ...(network.batch < 2 && real < 0 && network.inputs.some((n) => n.kind === "data")
        ? [
            element(
              '<p class="note">It learns this one sample by heart: that is fitting, not learning.</p>',
            ),
          ]
        : []),
      curve({
        key: "losses",
        title: `loss after each step of ${this.used.join(", then ")}`,
        values: this.losses,
        text: (loss) => network.lossText(loss),
      }),
    );
    const moved = network.parameters
      .flatMap((p) => {
        const before = this.start.get(p.id);
        const now = network.value(p.id);
        if (!before?.length || !now) return [];
        const moves = before.map((v, k) => Number(now[k]) - v);
        const index = strongestOf(moves, 1e-3); // moves are differences: they lose digits
        return [
          { p, index, alike: alike(moves, 1e-3), before: before[index], now: Number(now[index]) },
        ];
      })
      .sort((a, b) => Math.abs(b.now - b.before) - Math.abs(a.now - a.before))
      .slice(0, 6);
    root.append(
      element(
        table(
          ["weight", "was", "is"],
          moved.map((m) => [
            code(elementName(m.p.name, m.index, m.p.shape)) + oneOf(m.alike),
            number(m.before),
            number(m.now),
          ]),
          1,
          "The weight that moved most, of each tensor",
        ),
      ),
    );
  }
}

/**
 * The largest rate at which one step lowers the loss by half of what its gradients promise, or more,
 * and not by more than a third of it: many steps of one sample would be a cliff instead of a curve.
 * Momentum has a part of it: many steps of the same gradient add up to one of SGD with the whole.
 */
function suitable(pass, kind) {
  const { momentum = 0 } = kind === "momentum" ? chainrule.constants.optimizers[kind] : {};
  for (const rate of RATES) {
    const optimizer = new chainrule.Optimizer(kind === "momentum" ? "SGD" : kind, { lr: rate });
    const moved = optimizer.next(pass);
    const promised = -changeOfLine(pass, moved);
    const fallen = pass.loss - pass.lossWith(moved);
    const steady = fallen <= Math.abs(pass.loss) / 3;
    if (fallen > 0 && fallen >= promised / 2 && steady)
      return Number((rate * (1 - momentum)).toPrecision(1));
  }
  return RATES.at(-1);
}

/** What the loss would change by if it were a straight line: gradient × change, added up. */
function changeOfLine(pass, moved) {
  let change = 0;
  for (const [id, numbers] of moved) {
    const [x, g] = [pass.value(id).data, pass.gradient(pass.nodes[id].name).data];
    numbers.forEach((v, k) => (change += (v - x[k]) * g[k]));
  }
  return change;
}

/** ‖g‖²: the sum of all squared gradients of parameters. */
function squaredLength(network) {
  const gradients = network.parameters.map((p) => network.gradient(p.id)).filter(Boolean);
  return gradients.reduce((sum, g) => sum + norm(g) ** 2, 0);
}
