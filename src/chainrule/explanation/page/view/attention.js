// A closer look at attention: scores, shares, and the gradient of both.

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
  const at = (a, i, j) => ((b * a.shape[1] + i) * heads + h) * a.shape[3] + j;
  const { causal, scale } = node.params;
  const scores = matrix(t, s, (i, j) => {
    let sum = 0;
    for (let c = 0; c < d; c++)
      sum += Number(query.data[at(query, i, c)]) * Number(key.data[at(key, j, c)]);
    return maskedScore(sum * scale, masks, b, h, i, j, causal && j > i + s - t);
  });
  const weights = softmaxRows(scores, t, s);
  const upstream = upstreamOf(network, node)[0];
  const names = (what) => ({ shape: [t, s], full: [t, s], name: what });
  const head = heads > 1 ? headPicker(page, node, state, heads) : "";
  const section = look(
    `Attention${heads > 1 ? `, head ${h + 1} of ${heads}` : ""}`,
    stop.phase === "forward" || !upstream
      ? "Row i, column j: how well the query of position i fits the key of position j. Softmax turns each row into shares that add up to 1; the output of position i is the mixture of all values in these shares."
      : "A score is worth raising if the value it brings in lowers the loss more than the mixture as a whole. So each row of the scores’ gradient adds up to 0: what one position gains, others lose.",
  );
  if (head) section.append(head);
  const maps = [
    heatmap({
      key: `scores-${node.id}`,
      ...names("score"),
      data: scores,
      title: "scores q·k",
      width: 250,
    }),
    sign("→"),
    heatmap({
      key: `weights-${node.id}`,
      ...names("weight"),
      data: weights,
      title: "softmax of each row",
      width: 250,
    }),
  ];
  section.append(row(...maps));
  if (stop.phase === "backward" && upstream) {
    const given = matrix(t, s, (i, j) => {
      let sum = 0;
      for (let c = 0; c < e; c++)
        sum += Number(upstream[at(value, i, c)]) * Number(value.data[at(value, j, c)]);
      return sum;
    });
    const mean = Float64Array.from({ length: t }, (_, i) => {
      let m = 0;
      for (let j = 0; j < s; j++) m += weights[i * s + j] * given[i * s + j];
      return m;
    });
    const gradient = matrix(t, s, (i, j) => weights[i * s + j] * (given[i * s + j] - mean[i]));
    section.append(
      row(
        heatmap({
          key: `dweights-${node.id}`,
          ...names("∂loss/∂weight"),
          data: given,
          kind: "gradient",
          title: "gradient of the weights",
          width: 250,
        }),
        sign("→"),
        heatmap({
          key: `dscores-${node.id}`,
          ...names("∂loss/∂score"),
          data: gradient,
          kind: "gradient",
          title: "gradient of the scores",
          width: 250,
        }),
      ),
    );
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
  const options = Array.from(
    { length: heads },
    (_, h) => `<option value="${h}"${h === state.head ? " selected" : ""}>${h + 1}</option>`,
  ).join("");
  const label = element(
    `<p class="pick"><label>Head <select data-key="head-${node.id}">${options}</select></label></p>`,
  );
  label.querySelector("select").addEventListener("change", (event) => {
    state.head = Number(event.target.value);
    page.redraw();
  });
  return label;
}
