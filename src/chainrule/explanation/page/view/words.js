// Words of others beside the numbers: the formulas of a step and its story, the rules of optimizers,
// the schemes of first parameters; each with what its signs mean.

/** The formulas of a step, with a key. */
function formulas(step, phase, symbols) {
  const lines = step.equations?.[phase] ?? [];
  if (!lines.length) return document.createDocumentFragment();
  const out = element(
    `<div class="formulas"><pre class="equations" tabindex="0" role="group" aria-label="formulas">${lines.map(withPowers).map(escape).join("\n")}</pre></div>`,
  );
  out.append(
    tableBehind("symbols", () => keyToFormulas(symbols, lines.join(" ")), "Key to the formulas"),
  );
  return out;
}

// What signs and functions in formulas mean: what they look like, the meaning, where they are.
const SIGNS = [
  ["δ_v", "∂L/∂v, the gradient of the value v: of the result z_v, where v is a layer", /δ/],
  ["z, h", "what a layer computes: z before an activation, h behind it", /[zh][_₀-₉ₐ-ₜ]/],
  ["a ⊙ b", "a times b, element by element", /⊙/],
  ["a b", "of tables of numbers: rows of a times columns of b, added up", /\p{L} W|ᵀ \p{L}/u],
  ["ᵀ", "rows and columns exchanged", /ᵀ/],
  ["[…]", "1 where the condition holds, else 0; behind a name: an element", /\[/],
  ["Σ", "the sum over an index", /Σ/],
  ["max", "the largest", /(?<!arg)max(?![a-z_])/],
  ["σ(v)", "the sigmoid, 1/(1 + e⁻ᵛ)", /σ/],
  ["log", "the natural logarithm", /log/],
  ["softmax(v)", "eᵛ for each number, divided by their sum: above 0, in all 1", /softmax/],
  ["onehot(c)", "1 at the place c, 0 at all others", /onehot/],
  ["reshape", "the same numbers in another shape", /reshape/],
  ["argmax", "the place of the largest", /argmax/],
  ["⌊v⌋", "v rounded down", /⌊/],
  ["N", "the number of samples", /\bN\b/],
];

/** What the letters and signs in these formulas mean, and those in the meanings. */
function keyToFormulas(symbols, text) {
  const used = (symbols ?? []).filter(([symbol]) => isIn(text, symbol));
  const all = [text, ...used.map(([, means]) => means)].join(" ");
  const signs = SIGNS.filter(([, , where]) => where.test(all));
  const rows = [
    ...signs.map(([sign, means]) => [code(sign), means]),
    ...used.map(([symbol, means]) => [code(symbol), code(means)]),
  ];
  return table(["sign", "meaning"], rows, 2, "Key to the formulas");
}

/** What the story of the sample tells at this stop. */
function story({ isTold, stop }, step) {
  const lines = step.story?.[stop.phase] ?? [];
  const paragraphs = lines.map((line) => {
    const paragraph = element('<p class="say story"></p>');
    paragraph.append(told(line, isTold));
    return paragraph;
  });
  const isPast = paragraphs.some((p) => p.querySelector(".past"));
  return isPast ? [element(`<p class="note">${PAST}</p>`), ...paragraphs] : paragraphs;
}

const PAST = "Grey sentences have the numbers from before your changes.";

// What no change of numbers changes: names and lines of code, years, sizes and constants.
const STAYING =
  /`.+?`|“.+?”|\([^()]*\d{4}\)|\d+(?: × \d+)+|\d+ (?:numbers|samples)|divided by \d+|Guessing among .*?;|\d\/\d/g;

/** A text of the sample; once its numbers are others, the sentences that have some are marked. */
function told(text, isTrue) {
  const sentences = text.match(/.+?(?:[.?!](?=\s|$)|$)\s*/gs) ?? [];
  const html = sentences.map((sentence) => {
    const words = escape(withPowers(sentence)).replace(/`(.+?)`/g, "<code>$1</code>");
    const plain = sentence.replace(STAYING, "");
    const hasNumbers = /(?<![\p{L}\d_.])(?![01](?!\.?\d))\d/u.test(plain); // other than 0 and 1
    return hasNumbers && !isTrue ? `<span class="past">${words}</span>` : words;
  });
  return document.createRange().createContextualFragment(html.join(""));
}

// ── optimizers and schemes ───────────────────────────────────────────────────────────────────────

const PURPOSES = {
  SGD: "Each parameter moves against its gradient, by the learning rate times it.",
  momentum:
    "It goes on in the direction of earlier steps: where gradients agree it gets faster, where they change their sign they partly cancel.",
  RMSprop: "Each gradient is divided by its usual size, so that all parameters move about as fast.",
  Adam: "Momentum and RMSprop in one: a mean of the gradients, divided by their usual size.",
};
// The rules without what is 0 here; the whole rule stands in the key.
const PLAIN = {
  SGD: ["w ← w - lr · g"],
  momentum: ["w ← w - lr · v with v = momentum · v + g"],
};
const fading = (of) => `a mean of ${of} in which old steps count less and less`;
// What signs in the rules mean: the sign, the settings with its value, the meaning (by optimizer).
const RULE_SIGNS = [
  ["w", [], "a parameter; each moves by itself"],
  ["g", [], "its gradient"],
  ["lr", ["lr"], "the learning rate"],
  ["m", [], fading("g")],
  [
    "v",
    [],
    {
      SGD: "what moves it: the gradient itself, as momentum is 0",
      momentum: "what moves it: all gradients so far, old ones less and less",
      RMSprop: `${fading("g²")}; √v is the usual size of g`,
      Adam: `${fading("g²")}; √v is the usual size of g`,
    },
  ],
  ["m̂, v̂", [], "m and v, made larger in the first steps, as they begin at 0"],
  ["momentum", ["momentum"], "how much of the old v is kept"],
  ["dampening", ["dampening"], "how much of g is left out"],
  ["weight_decay", ["weight_decay"], "how much w is pulled to 0"],
  ["α", ["alpha"], "how much of the old mean is kept"],
  ["β₁, β₂", ["betas"], "how much of the old means is kept"],
  ["t", [], "the number of the step"],
  ["ε", ["eps"], "keeps the division away from 0"],
];

/** What an optimizer does, and its rule with a key. */
function ruleOf(kind, rate) {
  const lines = (PLAIN[kind] ?? chainrule.constants.rules[kind]).map(code).join("<br>");
  return [
    element(`<p class="note">${PURPOSES[kind]}</p>`),
    element(`<p class="note">${lines}</p>`),
    tableBehind("rule", () => keyToRule(kind, rate), "Key to the rule"),
  ];
}

/** What the signs in an optimizer's rule mean, and the values of its settings. */
function keyToRule(kind, rate) {
  const text = chainrule.constants.rules[kind].join(" ");
  const settings = { ...chainrule.constants.optimizers[kind], lr: rate };
  const rows = RULE_SIGNS.filter(([sign]) => sign.split(", ").some((s) => isIn(text, s))).map(
    ([sign, names, meaning]) => {
      const values = names.flatMap((n) => settings[n]).map((v) => number(v));
      const here = values.length ? `; here ${values.join(", ")}` : "";
      return [code(sign), `${meaning[kind] ?? meaning}${here}`];
    },
  );
  const whole = PLAIN[kind]
    ? `<p class="note">The whole rule: ${chainrule.constants.rules[kind].map(code).join("<br>")}</p>`
    : "";
  const first =
    kind === "RMSprop"
      ? `<p class="note">The first step is ${number(1 / Math.sqrt(1 - settings.alpha))} × lr, as v begins at 0 and nothing makes up for that.</p>`
      : "";
  return whole + first + table(["sign", "meaning"], rows, 2, "Key to the rule");
}

/** What a scheme draws: its rule, what the words in that mean, and the draws in this network. */
function schemeWords(network, name) {
  const { rules, fan, gain } = chainrule.constants.initialisations;
  const rule = rules[name];
  const meanings = [
    [/U\(/, "U(a, b): any number from a to b, each equally likely"],
    [/N\(/, "N(m, s²): near m, two of three numbers within s (a bell curve)"],
    [/fan/, fan],
    [/gain/, `gain: ${gain[0].toLowerCase()}${gain.slice(1, -1)}`],
  ].flatMap(([used, means]) => (used.test(rule) ? [means] : []));
  const draws = network.graph.initialisations[name]
    .filter((d) => d.draw !== "constant" && network.shape(d.id).length > 1)
    .slice(0, 3)
    .map((d) => {
      const drawn =
        d.draw === "uniform"
          ? `U(${number(d.low, 3)}, ${number(d.high, 3)})`
          : `N(${number(d.mean, 3)}, ${number(d.std, 3)}²)`;
      return `${code(network.name(d.id))} ${drawn}`;
    });
  const here = draws.length ? ` Here: ${draws.join(", ")}.` : "";
  return `${escape([rule.replace(/\.$/, ""), ...meanings].join(". "))}.${here}`;
}

/** Whether a sign stands by itself in a formula, transposed or with a power too. */
function isIn(text, sign) {
  const literal = sign.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
  const whole = new RegExp(`(?<![\\p{L}\\p{N}_])${literal}(?![\\p{L}\\p{N}\\p{M}_])`, "u");
  return whole.test(text.normalize("NFC").replace(/[ᵀ²]/g, " ").replaceAll("ᵗ", " t "));
}
