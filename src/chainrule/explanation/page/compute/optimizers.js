// Optimizers as chainrule.optim: the same settings and defaults, the same numbers.
(() => {
  "use strict";
  const { ROUND } = chainrule;

  // (round, settings, value, gradient, state of the element, step) → new value, for each kind.
  // The state is an array of the kind's slots, which the rule changes.
  const RULES = {
    // w ← w - lr · v with v = momentum · v + g.
    SGD: (r, { lr, momentum }) => (w, g, s) => {
      if (momentum) s[0] = r(r(r(momentum) * s[0]) + g);
      return r(w - r(r(lr) * (momentum ? s[0] : g)));
    },

    // w ← w - lr · g / (√v + ε) with v = α v + (1 - α) g².
    RMSprop: (r, { lr, alpha, eps }) => (w, g, s) => {
      s[0] = r(r(r(alpha) * s[0]) + r(r(1 - alpha) * r(g * g)));
      const step = r(g / r(r(Math.sqrt(s[0])) + r(eps)));
      return r(w - r(r(lr) * step));
    },

    // w ← w - lr · m̂ / (√v̂ + ε).
    Adam: (r, { lr, betas: [b1, b2], eps }, t) => {
      const rate = r(lr / (1 - b1 ** t));
      const scale = r(1 / Math.sqrt(1 - b2 ** t));
      return (w, g, s) => {
        s[0] = r(s[0] + r(r(1 - b1) * r(g - s[0])));
        s[1] = r(r(r(b2) * s[1]) + r(r(1 - b2) * r(g * g)));
        const root = r(r(r(Math.sqrt(s[1])) * scale) + r(eps));
        return r(w - r(r(rate * s[0]) / root));
      };
    },
  };

  // kind: SGD, momentum (SGD with momentum), RMSprop or Adam. settings: those of chainrule.optim
  // that its rule above reads; others have their defaults.
  class Optimizer {
    constructor(kind, settings = {}) {
      this.settings = { ...chainrule.constants.optimizers[kind], ...settings };
      this.count = 0;
      this._rule = RULES[kind === "momentum" ? "SGD" : kind];
      this._state = new Map(); // by name: two arrays like the parameter
    }

    // Change each parameter by its gradient, and compute the pass again.
    step(pass) {
      for (const [id, moved] of this.next(pass)) pass.setAll(id, moved);
      return pass.run();
    }

    // What the next step makes of each parameter: its numbers by id. The step counts as taken.
    next(pass) {
      this.count += 1;
      const out = new Map();
      for (const name of Object.keys(pass.contents.gradients)) {
        const id = pass.idOf(name);
        const [x, g] = [pass.value(id), pass.gradient(name)];
        if (pass.nodes[id].kind === "parameter" && x && g) out.set(id, this._moved(name, x, g));
      }
      return out;
    }

    _moved(name, x, g) {
      if (!this._state.has(name)) {
        this._state.set(name, [0, 1].map(() => new Float64Array(x.data.length)));
      }
      const [first, second] = this._state.get(name);
      const rule = this._rule(ROUND[x.dtype], this.settings, this.count);
      const slots = [0, 0];
      const moved = new Float64Array(x.data.length);
      for (let i = 0; i < moved.length; i++) {
        slots[0] = first[i];
        slots[1] = second[i];
        moved[i] = rule(x.data[i], g.data[i], slots);
        first[i] = slots[0];
        second[i] = slots[1];
      }
      return moved;
    }
  }

  Object.assign(chainrule, { Optimizer });
})();
