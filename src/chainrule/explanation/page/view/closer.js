// Closer looks at steps whose inside is worth a picture of its own.

/** The closer looks at the step of the stop: one for each operation that has one. */
function closerLooks(page) {
  const { network, stop } = page;
  const out = [];
  if (CROSS_ENTROPY.has(network.steps[stop.step].kind)) out.push(crossEntropyLook(page));
  for (const id of network.steps[stop.step].nodes) {
    const node = network.nodes.get(id);
    if (node.in.some((i) => network.pass.value(i) === undefined)) continue;
    const look = LOOKS[node.op];
    if (look) out.push(look(page, node));
  }
  return out;
}

const CROSS_ENTROPY = new Set(["cross_entropy", "CrossEntropyLoss"]);
const LOOKS = { convolution: convolutionLook, scan: recurrenceLook, attention: attentionLook, standardise: standardiseLook };

function look(title, words) {
  return element(`<section class="look"><h3>${title}</h3><p class="say">${words}</p></section>`);
}

/** The upstream gradients of a node's results, as the chain rule had them. */
function upstreamOf(network, node) {
  const pull = network.steps.flatMap((s) => s.pulls).find((p) => p.node === node.id);
  return pull?.upstream.map((id) => (id === null || id === undefined ? null : network.value(id))) ?? [];
}

/** A place that a picture remembers, such as the position of a window. */
function remembered(page, key, standard) {
  if (!page.places.has(key)) page.places.set(key, standard());
  return page.places.get(key);
}

// ── probabilities ────────────────────────────────────────────────────────────────────────────────

/** Cross-entropy of one sample: probability, target, and their difference, which is the gradient. */
function crossEntropyLook(page) {
  const { network, stop, sample } = page;
  const step = network.steps[stop.step];
  const logits = step.inputs.find((id) => network.isFloat(id) && network.gradient(id) && network.shape(id).length === 2);
  const labels = step.inputs.find((id) => !network.isFloat(id) && isData(network, id));
  if (logits === undefined || labels === undefined) return null;
  const { start, shape } = network.part(logits, sample);
  const [count] = shape.slice(-1);
  if (count > 30 || shape.length > 1) return null;
  const values = Float64Array.from(network.value(logits).slice(start, start + count));
  const share = softmaxRows(values, 1, count);
  const right = Number(network.value(labels)[network.part(labels, sample).start]);
  const gradient = network.gradient(logits).slice(start, start + count);
  const samples = network.shape(logits)[0];
  const difference = share.map((p, c) => p - Number(c === right));
  const plain = difference.every((d, c) => Math.abs(d / samples - Number(gradient[c])) < 1e-4);
  if (!plain) return null; // weighted, smoothed or ignored: another formula
  const section = look("From scores to probabilities", stop.phase === "forward"
    ? `Softmax turns the scores into probabilities. The right class is ${right}: it has ${percent(share[right])}, and the loss of this sample is −log ${number(share[right])} = <strong>${number(-Math.log(share[right]))}</strong>.`
    : `The gradient of a score is simply its probability minus what it should be (1 for the right class, ${right}; 0 for the others)${samples > 1 ? `, over ${samples} samples` : ""}. Scores that are too high get a gradient above 0.`);
  const rows = Array.from(share, (p, c) => [
    c === right ? `<strong>${c} (right)</strong>` : String(c), number(values[c]), `<span class="bar value" style="--v:${p.toFixed(3)}">${percent(p)}</span>`,
    String(Number(c === right)), number(difference[c]), number(Number(gradient[c])),
  ]);
  section.append(element(table(["class", "score", "probability", "target", "difference", samples > 1 ? `gradient (÷ ${samples})` : "gradient"], rows, 1, "Probabilities of the classes")));
  return section;
}

// ── time ─────────────────────────────────────────────────────────────────────────────────────────

/** A loop over time: the state at each step, and how much gradient reaches it. */
function recurrenceLook(page, node) {
  const { network, stop } = page;
  const { length, consts, carries } = node.params;
  const pull = network.steps[stop.step].pulls.find((p) => p.node === node.id);
  const states = network.pass.value(node.id)[carries] ?? null;
  const rows = (pull?.shares ?? []).slice(consts + carries).filter((id) => id !== null && id !== undefined);
  const back = stop.phase === "backward";
  const reached = back ? rows.map((id) => network.pass.value(id)).find((a) => a && a.shape[0] === length) : null;
  const section = look("Through time", reached
    ? timeWords(reached, length)
    : `The same weights are used ${length} times, once for each time step; each step reads the state of the step before it.`);
  section.append(unrolled(node.id, length, states, reached));
  return section;
}

/** The loop unrolled: a column for each time step, with its state, and the gradient that reaches it. */
function unrolled(key, length, states, reached) {
  const each = Math.max(12, Math.min(46, Math.floor(780 / length)));
  const parts = [];
  let y = 16;
  const strip = (a, kind, words) => {
    const rows = Math.min(24, sizeOf(a.shape) / length);
    const size = sizeOf(a.shape) / length;
    const scale = greatest(a.data);
    parts.push(`<text class="soft" x="0" y="${y - 5}">${words}</text>`);
    for (let t = 0; t < length; t++) {
      for (let r = 0; r < rows; r++) {
        const v = Number(a.data[t * size + r]);
        const rgb = shade(v, scale, kind);
        const box = `x="${(t * each).toFixed(1)}" y="${y + r * 9}" width="${(each * 0.62).toFixed(1)}" height="8.4"`;
        const bar = v < 0 && -v > 0.02 * scale ? `<path stroke="${inkOn(rgb)}" d="M${(t * each + each * 0.2).toFixed(1)} ${y + r * 9 + 4.2}h${(each * 0.22).toFixed(1)}"/>` : "";
        parts.push(`<g><title>${escape(`time step ${t}, number ${r}: ${number(v)}`)}</title><rect ${box} fill="${css(rgb)}" class="cell"/>${bar}</g>`);
      }
      const middle = y + (rows * 9) / 2;
      const [from, to] = kind === "value" ? [t * each + each * 0.66, (t + 1) * each - 2] : [(t + 1) * each - 2, t * each + each * 0.66];
      if (t < length - 1) parts.push(`<path class="axis" marker-end="url(#arrow-${kind}-${key})" d="M${from.toFixed(1)} ${middle}L${to.toFixed(1)} ${middle}"/>`);
    }
    y += rows * 9 + 24;
  };
  if (states) strip(states, "value", "state, forward in time →");
  if (reached) strip(reached, "gradient", "gradient, backward in time ←");
  const arrow = (kind) => `<marker id="arrow-${kind}-${key}" viewBox="0 0 6 6" refX="5" refY="3" markerWidth="5" markerHeight="5" orient="auto"><path d="M0 0L6 3L0 6Z" class="head"/></marker>`;
  const width = length * each;
  const figure = element(`<figure class="chart-box"><div class="wide" tabindex="0" role="region" aria-label="time steps"><svg class="small" role="img" aria-label="The states of ${length} time steps${reached ? ", and the gradients that reach them" : ""}" width="${width}" height="${y - 14}" viewBox="0 0 ${width} ${y - 14}"><defs>${arrow("value")}${arrow("gradient")}</defs>${parts.join("")}</svg></div></figure>`);
  const table_ = (a) => heatmap({ key: `time-${a.kind}-${key}`, name: a.name, shape: [length, sizeOf(a.array.shape) / length], data: a.array.data, kind: a.kind, title: `${a.name}, a row per time step`, width: 240 });
  const arrays = [states && { name: "state", kind: "value", array: states }, reached && { name: "gradient", kind: "gradient", array: reached }].filter(Boolean);
  if (reached) figure.append(bars({ key: `time-bars-${key}`, title: "length of the gradient at each time step", labels: Array.from({ length }, (_, t) => String(t)), values: lengths(reached.data, length), what: "length of the gradient, by time step", each }));
  const details = element(`<details class="behind"><summary data-key="time-more-${key}">Every number</summary></details>`);
  details.append(row(...arrays.map(table_)));
  figure.append(details);
  return figure;
}

/** The length of the part of each time step. */
function lengths(data, length) {
  const size = data.length / length;
  return Array.from({ length }, (_, t) => norm(data.slice(t * size, (t + 1) * size)));
}

function timeWords(reached, length) {
  const sizes = lengths(reached.data, length);
  const from = sizes.findLastIndex((s) => s > 0);
  const to = sizes.findIndex((s) => s > 0);
  if (from <= to) return "No gradient reaches an earlier time step.";
  const factor = sizes[to] / sizes[from];
  const each = factor ** (1 / (from - to));
  const words = factor < 0.2 ? "fades: what was read early hardly moves the loss, so the network learns little from it"
    : factor > 5 ? "grows: early time steps move the loss more than late ones, so training may be unstable" : "keeps its size";
  return `Going back from time step ${from} to ${to}, the gradient is multiplied by the local derivatives of every step on
    the way. From ${number(sizes[from], 3)} it becomes ${number(sizes[to], 3)}, on average × ${number(each, 3)} for each step: it <strong>${words}</strong>.`;
}

// ── attention ────────────────────────────────────────────────────────────────────────────────────

/** The scores, their softmax and the gradient of both, for a head of a sample. */
function attentionLook(page, node) {
  const { network, sample, stop } = page;
  const [query, key, value] = node.in.map((id) => network.pass.value(id));
  const masks = node.in.slice(3).map((id) => network.pass.value(id));
  const [n, t, heads, d] = query.shape;
  const [s, e] = [key.shape[1], value.shape[3]];
  const state = remembered(page, `head-${node.id}`, () => ({ head: 0 }));
  const h = Math.min(state.head, heads - 1);
  const b = Math.min(sample, n - 1);
  const at = (a, i, j) => (((b * a.shape[1] + i) * heads + h) * a.shape[3]) + j;
  const { causal, scale } = node.params;
  const scores = matrix(t, s, (i, j) => {
    let sum = 0;
    for (let c = 0; c < d; c++) sum += Number(query.data[at(query, i, c)]) * Number(key.data[at(key, j, c)]);
    return maskedScore(sum * scale, masks, b, h, i, j, causal && j > i + s - t);
  });
  const weights = softmaxRows(scores, t, s);
  const upstream = upstreamOf(network, node)[0];
  const names = (what) => ({ shape: [t, s], full: [t, s], name: what });
  const head = heads > 1 ? headPicker(page, node, state, heads) : "";
  const section = look(`Attention${heads > 1 ? `, head ${h + 1} of ${heads}` : ""}`, stop.phase === "forward" || !upstream
    ? "Row i, column j: how well the query of position i fits the key of position j. Softmax turns each row into shares that add up to 1; the output of position i is the mixture of all values in these shares."
    : "A score is worth raising if the value it brings in lowers the loss more than the mixture as a whole. So each row of the scores’ gradient adds up to 0: what one position gains, others lose.");
  if (head) section.append(head);
  const maps = [
    heatmap({ key: `scores-${node.id}`, ...names("score"), data: scores, title: "scores q·k", width: 250 }),
    sign("→"),
    heatmap({ key: `weights-${node.id}`, ...names("weight"), data: weights, title: "softmax of each row", width: 250 }),
  ];
  section.append(row(...maps));
  if (stop.phase === "backward" && upstream) {
    const given = matrix(t, s, (i, j) => {
      let sum = 0;
      for (let c = 0; c < e; c++) sum += Number(upstream[at(value, i, c)]) * Number(value.data[at(value, j, c)]);
      return sum;
    });
    const mean = Float64Array.from({ length: t }, (_, i) => { let m = 0; for (let j = 0; j < s; j++) m += weights[i * s + j] * given[i * s + j]; return m; });
    const gradient = matrix(t, s, (i, j) => weights[i * s + j] * (given[i * s + j] - mean[i]));
    section.append(row(
      heatmap({ key: `dweights-${node.id}`, ...names("∂loss/∂weight"), data: given, kind: "gradient", title: "gradient of the weights", width: 250 }),
      sign("→"),
      heatmap({ key: `dscores-${node.id}`, ...names("∂loss/∂score"), data: gradient, kind: "gradient", title: "gradient of the scores", width: 250 }),
    ));
  }
  return section;
}

function matrix(rows, columns, f) {
  const out = new Float64Array(rows * columns);
  for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) out[i * columns + j] = f(i, j);
  return out;
}

/** A score after the masks, which are of shape (N, H, T, S) with each size possibly 1. */
function maskedScore(score, masks, b, h, i, j, future) {
  if (future) return -Infinity;
  for (const mask of masks) {
    const at = [b, h, i, j].map((k, axis) => (mask.shape[axis] === 1 ? 0 : k));
    const m = mask.data[ravel(at, mask.shape)];
    if (mask.dtype === "bool") {
      if (!m) return -Infinity;
    } else score += Number(m);
  }
  return score;
}

function softmaxRows(scores, rows, columns) {
  const out = new Float64Array(scores.length);
  for (let i = 0; i < rows; i++) {
    const part = scores.subarray(i * columns, (i + 1) * columns);
    const top = Math.max(...part);
    const powers = part.map((v) => (top === -Infinity ? 0 : Math.exp(v - top)));
    const total = powers.reduce((a, b) => a + b, 0) || 1;
    powers.forEach((p, j) => (out[i * columns + j] = p / total));
  }
  return out;
}

function headPicker(page, node, state, heads) {
  const options = Array.from({ length: heads }, (_, h) => `<option value="${h}"${h === state.head ? " selected" : ""}>${h + 1}</option>`).join("");
  const label = element(`<p class="pick"><label>Head <select data-key="head-${node.id}">${options}</select></label></p>`);
  label.querySelector("select").addEventListener("change", (event) => {
    state.head = Number(event.target.value);
    page.redraw();
  });
  return label;
}

// ── standardising ────────────────────────────────────────────────────────────────────────────────

/** The three ways from a value to the loss: itself, the mean, the variance. They add up. */
function standardiseLook(page, node) {
  const { network, stop } = page;
  const x = network.pass.value(node.in[0]);
  const scale = node.in[1] === undefined ? null : network.pass.value(node.in[1]);
  const { axis, eps } = node.params;
  const g = upstreamOf(network, node)[0];
  const batch = axis.includes(0);
  const who = batch ? "samples" : "features";
  const section = look(batch ? "What the samples of a batch share" : "What the features of a sample share", stop.phase === "forward" || !g
    ? `Each value becomes (x − mean) / √(variance + ${number(eps)}), with mean and variance over the ${who}. So every output depends on all of these ${who}.`
    : `Through the mean and the variance each value also moves the outputs of the other ${who}. These are the three ways; their sum is the gradient.`);
  if (stop.phase !== "backward" || !g) return section;
  const { direct, mean, variance } = threeWays(x, scale, g, axis, eps);
  const sum = direct.map((v, k) => v + mean[k] + variance[k]);
  const shape = x.shape.length === 2 ? x.shape : [sizeOf(x.shape) / x.shape.at(-1), x.shape.at(-1)];
  const full = greatest([...direct, ...mean, ...variance, ...sum]);
  const map = (what, data, title) => heatmap({ key: `norm-${what}-${node.id}`, name: what, shape, full: shape, data, kind: "gradient", scale: full, title, width: 190, height: 200 });
  section.append(row(map("directly", direct, "directly"), sign("+"), map("through the mean", mean, "through the mean"), sign("+"), map("through the variance", variance, "through the variance"), sign("="), map("∂loss/∂x", sum, "gradient")));
  return section;
}

/** With y = w x̂, r = 1/√(σ² + ε): w r g, −r·mean(w g), −r·x̂·mean(w g x̂), over the axes. */
function threeWays(x, scale, g, axis, eps) {
  const groups = groupsOf(x.shape, axis);
  const count = groups.length / (Math.max(...groups) + 1);
  const sums = (values) => {
    const out = new Float64Array(Math.max(...groups) + 1);
    values.forEach((v, k) => (out[groups[k]] += v));
    return out.map((v) => v / count);
  };
  const data = Float64Array.from(x.data, Number);
  const mean = sums(data);
  const centred = data.map((v, k) => v - mean[groups[k]]);
  const root = sums(centred.map((v) => v * v)).map((v) => 1 / Math.sqrt(v + eps));
  const standard = centred.map((v, k) => v * root[groups[k]]);
  const weighted = Float64Array.from(g, (v, k) => Number(v) * (scale ? Number(scale.data[scale.data.length === 1 ? 0 : groups[k]]) : 1));
  const middle = sums(weighted);
  const along = sums(weighted.map((v, k) => v * standard[k]));
  return {
    direct: weighted.map((v, k) => v * root[groups[k]]),
    mean: weighted.map((_, k) => -root[groups[k]] * middle[groups[k]]),
    variance: weighted.map((_, k) => -root[groups[k]] * standard[k] * along[groups[k]]),
  };
}

/** For each element the number of its group: elements that differ along these axes alone. */
function groupsOf(shape, axis) {
  const kept = shape.map((n, a) => (axis.includes(a) ? 1 : n));
  return Array.from({ length: sizeOf(shape) }, (_, k) => ravel(unravel(k, shape).map((i, a) => (axis.includes(a) ? 0 : i)), kept));
}
