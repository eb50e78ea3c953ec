// "Take a step": an optimizer moves all parameters, one step or ten at a time.

const RATES = { SGD: 0.1, momentum: 0.05, RMSprop: 0.01, Adam: 0.01 };

class Training {
  constructor(page, root) {
    Object.assign(this, { page, root });
    if (page.contents.left_out.length) {
      root.append(
        element('<p class="note">This network has too many numbers for a page to train it.</p>'),
      );
      return;
    }
    const kinds = Object.keys(RATES)
      .map((k) => `<option>${k}</option>`)
      .join("");
    root.append(
      element(`<div><p class="pick"><label>optimizer <select data-key="optimizer">${kinds}</select></label>
      <label>learning rate <input type="number" step="any" min="0" data-key="lr" value="${RATES.SGD}"></label></p>
      <p class="actions"><button type="button" data-key="one">1 step</button> <button type="button" data-key="ten">10 steps</button></p>
      <div class="result"></div></div>`),
    );
    this.kind = root.querySelector('[data-key="optimizer"]');
    this.rate = root.querySelector('[data-key="lr"]');
    this.kind.addEventListener("change", () => {
      this.rate.value = RATES[this.kind.value];
      this.optimizer = null;
    });
    this.rate.addEventListener("change", () => (this.optimizer = null));
    root.querySelector('[data-key="one"]').addEventListener("click", () => this.steps(1));
    root.querySelector('[data-key="ten"]').addEventListener("click", () => this.steps(10));
    this.restart();
  }

  /** No step taken yet. */
  restart() {
    if (!this.kind) return;
    this.optimizer = null;
    this.losses = [this.page.network.loss];
    this.start = null;
    this.show();
  }

  steps(count) {
    const { network } = this.page;
    this.optimizer ??= new chainrule.Optimizer(this.kind.value, { lr: Number(this.rate.value) });
    this.start ??= new Map(
      network.parameters.map((p) => [p.id, Float64Array.from(network.value(p.id))]),
    );
    if (this.losses.at(-1) !== network.loss) this.losses.push(network.loss); // changed by hand
    for (let k = 0; k < count; k++) {
      this.optimizer.step(network.pass);
      this.losses.push(network.loss);
    }
    this.page.recompute();
    this.show();
    this.page.say(`After ${plural(count, "step")} the loss is ${number(network.loss)}.`);
  }

  show() {
    const { network } = this.page;
    const root = this.root.querySelector(".result");
    root.replaceChildren();
    if (!this.start) {
      root.append(
        element(
          '<p class="note">Each step moves every parameter against its gradient, and computes everything again.</p>',
        ),
      );
      return;
    }
    root.append(curve({ key: "losses", title: "loss after each step", values: this.losses }));
    const moved = network.parameters
      .flatMap((p) => {
        const before = this.start.get(p.id);
        const now = network.value(p.id);
        if (!before || !now) return [];
        const index = strongestOf(before.map((v, k) => Number(now[k]) - v));
        return [{ p, index, before: before[index], now: Number(now[index]) }];
      })
      .sort((a, b) => Math.abs(b.now - b.before) - Math.abs(a.now - a.before))
      .slice(0, 6);
    root.append(
      element(
        table(
          ["moved most", "was", "is"],
          moved.map((m) => [
            code(elementName(m.p.name, m.index, m.p.shape)),
            number(m.before),
            number(m.now),
          ]),
          1,
          "Weights that moved most",
        ),
      ),
    );
  }
}
