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
  const section = look(
    "From scores to probabilities",
    stop.phase === "forward"
      ? `Softmax turns the scores into probabilities. The right class is ${right}: it has ${percent(share[right])}, and the loss of this sample is −log ${number(share[right])} = <strong>${number(-Math.log(share[right]))}</strong>.`
      : `The gradient of a score is simply its probability minus what it should be (1 for the right class, ${right}; 0 for the others)${samples > 1 ? `, over ${samples} samples` : ""}. Scores that are too high get a gradient above 0.`,
  );
  const rows = Array.from(share, (p, c) => [
    c === right ? `<strong>${c} (right)</strong>` : String(c),
    number(values[c]),
    `<span class="bar value" style="--v:${p.toFixed(3)}">${percent(p)}</span>`,
    String(Number(c === right)),
    number(difference[c]),
    number(Number(gradient[c])),
  ]);
  section.append(
    element(
      table(
        [
          "class",
          "score",
          "probability",
          "target",
          "difference",
          samples > 1 ? `gradient (÷ ${samples})` : "gradient",
        ],
        rows,
        1,
        "Probabilities of the classes",
      ),
    ),
  );
  return section;
}
