// A closer look at cross-entropy: scores, probabilities, and the gradient of the scores.

/** Cross-entropy of one sample: probability, target, and their difference, which is the gradient. */
function crossEntropyLook(page) {
  const { network, stop, sample } = page;
  const step = network.steps[stop.step];
  const logits = step.inputs.find(
    (id) => network.isFloat(id) && network.gradient(id) && network.shape(id).length === 2,
  );
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
  if (!plain) return null; // another loss, or weighted, smoothed or ignored
  const strong = (c, text) => (c === right ? `<strong>${text}</strong>` : text);
  const bar = (c) =>
    `<span class="bar value" style="--v:${share[c].toFixed(3)}">${percent(share[c])}</span>`;
  const all = {
    class: (c) => strong(c, c === right ? `${c} (right)` : String(c)),
    score: (c) => number(values[c]),
    probability: bar,
    "−log probability": (c) =>
      strong(
        c,
        c === right && samples < 2 ? network.lossText() : network.lossText(-Math.log(share[c])),
      ),
    "− target": (c) => String(Number(c === right)),
    "= difference": (c) => number(difference[c]),
    [samples > 1 ? `÷ ${samples} = gradient` : "= gradient"]: (c) => number(Number(gradient[c])),
  };
  const kept = (head) =>
    stop.phase === "forward"
      ? !/^[−=÷] /.test(head)
      : !(/score|log/.test(head) || (samples < 2 && head === "= difference"));
  const columns = Object.entries(all).filter(([head]) => kept(head));
  const rows = Array.from(share, (_, c) => columns.map(([, cell]) => cell(c)));
  const heads = columns.map(([head]) => head);
  const section = element('<section class="look"><h3>From scores to probabilities</h3></section>');
  section.append(element(table(heads, rows, 1, "Probabilities of the classes")));
  return section;
}
