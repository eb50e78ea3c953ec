// A closer look at attention: scores, shares, and the gradient of both.

/** Attention as one operation: its scores are computed here, as the operation does. */
function attentionLook(page, node) {
  const { network } = page;
  const [query, key, value] = node.in.map((id) => network.pass.value(id));
  const masks = node.in.slice(3).map((id) => network.pass.value(id));
  const [samples, t, heads, d] = query.shape;
  const [s, e] = [key.shape[1], value.shape[3]];
  const { causal, scale } = node.params;
  const upstream = upstreamOf(network, node)[0];
  const b = Math.min(page.sample, samples - 1);
  return attentionPictures(page, node.id, t, s, heads, (h) => {
    const at = (a, i, j) => ((b * a.shape[1] + i) * heads + h) * a.shape[3] + j;
    const dot = (x, y, i, j, size) => {
      let sum = 0;
      for (let c = 0; c < size; c++)
        sum += Number(x.data[at(x, i, c)]) * Number(y.data[at(y, j, c)]);
      return sum;
    };
    const scores = matrix(t, s, (i, j) =>
      maskedScore(dot(query, key, i, j, d) * scale, masks, b, h, i, j, causal && j > i + s - t),
    );
    const weights = softmaxRows(scores, t, s);
    if (!upstream) return { scores, weights };
    const arriving = { data: upstream, shape: [samples, t, heads, e] };
    const given = matrix(t, s, (i, j) => dot(arriving, value, i, j, e));
    const mean = matrix(t, 1, (i) => {
      let sum = 0;
      for (let j = 0; j < s; j++) sum += weights[i * s + j] * given[i * s + j];
      return sum;
    });
    const gradient = matrix(t, s, (i, j) => weights[i * s + j] * (given[i * s + j] - mean[i]));
    return { scores, weights, given, gradient };
  });
}

/** A product whose first factor is a softmax of scores: attention made of ordinary operations. */
function mixtureLook(page, node) {
  const { network } = page;
  const weights = network.nodes.get(node.in[0]);
  const scores = softmaxInput(network, weights);
  if (scores === null) return null;
  const [t, s] = weights.shape.slice(-2);
  const outer = weights.shape.slice(0, -2); // (samples, heads), (samples) or none
  const heads = outer.length > 1 ? sizeOf(outer.slice(1)) : 1;
  const b = outer.length ? Math.min(page.sample, outer[0] - 1) : 0;
  return attentionPictures(page, node.id, t, s, heads, (h) => {
    const from = (b * heads + h) * t * s;
    const part = (values) => values && Float64Array.from(values.slice(from, from + t * s), Number);
    return {
      scores: part(network.value(scores)),
      weights: part(network.value(weights.id)),
      given: part(network.gradient(weights.id)),
      gradient: part(network.gradient(scores)),
    };
  });
}

/** The scores that a node is the softmax of, or null if it is none. */
function softmaxInput(network, node) {
  let inner = node;
  for (const op of ["divide", "exp", "subtract"])
    if (inner.op === op) inner = network.nodes.get(inner.in[0]);
  const same = inner !== node && String(inner.shape) === String(node.shape);
  if (!same || node.shape.length < 2) return null;
  const columns = node.shape.at(-1);
  const values = network.value(node.id);
  for (let k = 0; k < values.length; k += columns) {
    let sum = 0;
    for (let j = 0; j < columns; j++) sum += Number(values[k + j]);
    if (!(Math.abs(sum - 1) < 1e-3)) return null;
  }
  return inner.id;
}

/** Scores (t × s) and their softmax, backward with the gradients of both; `of(head)` has them. */
function attentionPictures(page, key, t, s, heads, of) {
  const state = remembered(page, `head-${key}`, () => ({ head: 0 }));
  const { scores, weights, given, gradient } = of(state.head);
  const back = page.stop.phase === "backward" && gradient;
  const section = look(
    `Attention${heads > 1 ? `, head ${state.head} of ${heads}` : ""}`,
    back
      ? "An attention score is worth raising if the value that it brings in lowers the loss more than the mixture as a whole. So each row of their gradient adds up to 0: what one position gains, others lose."
      : "Row i, column j: how well the query of position i fits the key of position j. Softmax turns each row into shares that add up to 1; the output of position i is the mixture of all values in these shares.",
  );
  if (heads > 1) section.append(headPicker(page, key, state, heads));
  const map = (name, data, title, kind = "value") =>
    heatmap({
      key: `${title}-${key}`,
      name,
      shape: [t, s],
      data,
      title,
      kind,
      width: 250,
      axes: [t, s].map((size) => wordsAlong(page, size)),
    });
  section.append(
    row(
      map("attention score", scores, "attention scores: query · key"),
      sign("→"),
      map("attention weight", weights, "attention weights: softmax of each row"),
    ),
  );
  if (back) {
    section.append(
      row(
        map("∂loss/∂weight", given, "gradient of the attention weights", "gradient"),
        sign("→"),
        map("∂loss/∂score", gradient, "gradient of the attention scores", "gradient"),
      ),
    );
  }
  return section;
}

/** The words of the sample, if it has so many; else none. */
function wordsAlong({ network, sample }, size) {
  const all = network.inputs.map((n) => network.words(n.id, sample));
  return all.find((words) => words?.length === size) ?? null;
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

function headPicker(page, key, state, heads) {
  const option = (_, h) => `<option${h === state.head ? " selected" : ""}>${h}</option>`;
  const options = Array.from({ length: heads }, option).join("");
  const label = element(
    `<p class="pick"><label>Head <select data-key="head-${key}">${options}</select></label></p>`,
  );
  label.querySelector("select").addEventListener("change", (event) => {
    state.head = Number(event.target.value);
    page.redraw();
  });
  return label;
}
