// A closer look at a loop: its time steps unrolled, and the gradient that fades or grows.

/** A loop over time: the state at each step, and how much gradient reaches it. */
function recurrenceLook(page, node) {
  const { network, stop } = page;
  const { length, consts, carries } = node.params;
  const pull = network.steps[stop.step].pulls.find((p) => p.node === node.id);
  const states = network.pass.value(node.id)[carries] ?? null;
  const rows = (pull?.shares ?? [])
    .slice(consts + carries)
    .filter((id) => id !== null && id !== undefined);
  const back = stop.phase === "backward";
  const reached = back
    ? rows.map((id) => network.pass.value(id)).find((a) => a && a.shape[0] === length)
    : null;
  return throughTime(node.id, length, states, reached, node.params.reverse);
}

/** A loop in Python: the values that one operation of the line has made, each from the one before. */
function repeatedLook(page) {
  const { network, stop } = page;
  const step = network.steps[stop.step];
  const last = network.nodes.get(step.outputs.at(-1));
  const alike = step.nodes
    .map((id) => network.nodes.get(id))
    .filter((n) => n.op === last.op && String(n.shape) === String(last.shape))
    .filter((n) => network.gradient(n.id) && network.known(n.id));
  const sums = last.op === "add" && sizeOf(last.shape) === 1; // terms of a sum, not a loop
  if (alike.length < 3 || sums || !isChain(network, alike)) return null;
  const joined = (get) => {
    const data = alike.flatMap((n) => Array.from(get(n.id), Number));
    return { data: Float64Array.from(data), shape: [alike.length, sizeOf(last.shape)] };
  };
  const states = joined((id) => network.value(id));
  const reached = stop.phase === "backward" ? joined((id) => network.gradient(id)) : null;
  return throughTime(last.id, alike.length, states, reached, false);
}

/** Whether each node is computed from the one before. */
function isChain(network, nodes) {
  return nodes.slice(1).every((node, k) => {
    const waiting = [...node.in];
    const seen = new Set();
    while (waiting.length) {
      const id = waiting.pop();
      if (id === nodes[k].id) return true;
      if (seen.has(id) || id < nodes[k].id) continue; // ids are in order
      seen.add(id);
      waiting.push(...network.nodes.get(id).in);
    }
    return false;
  });
}

/** The time steps of a loop, and backward how the gradient fades or grows. */
function throughTime(key, length, states, reached, reverse) {
  const section = look(
    reverse ? "Through time, from the last step to the first" : "Through time",
    reached
      ? timeWords(reached, length, reverse)
      : `The same weights are used ${length} times, once for each time step; each step reads the state of the step before it.`,
  );
  section.append(unrolled(key, length, states, reached, reverse));
  return section;
}

/** The loop unrolled: a column for each time step, with its state, and the gradient that reaches it. */
function unrolled(key, length, states, reached, reverse) {
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
        const bar =
          v < 0 && -v > 0.02 * scale
            ? `<path stroke="${inkOn(rgb)}" d="M${(t * each + each * 0.2).toFixed(1)} ${y + r * 9 + 4.2}h${(each * 0.22).toFixed(1)}"/>`
            : "";
        parts.push(
          `<g><title>${escape(`time step ${t}, number ${r}: ${number(v)}`)}</title><rect ${box} fill="${css(rgb)}" class="cell"/>${bar}</g>`,
        );
      }
      const middle = y + (rows * 9) / 2;
      const [from, to] =
        (kind === "value") !== reverse
          ? [t * each + each * 0.66, (t + 1) * each - 2]
          : [(t + 1) * each - 2, t * each + each * 0.66];
      if (t < length - 1)
        parts.push(
          `<path class="axis" marker-end="url(#arrow-${kind}-${key})" d="M${from.toFixed(1)} ${middle}L${to.toFixed(1)} ${middle}"/>`,
        );
    }
    y += rows * 9 + 24;
  };
  if (states) strip(states, "value", `state, each from the one before ${reverse ? "←" : "→"}`);
  if (reached) strip(reached, "gradient", `gradient, on its way back ${reverse ? "→" : "←"}`);
  const arrow = (kind) =>
    `<marker id="arrow-${kind}-${key}" viewBox="0 0 6 6" refX="5" refY="3" markerWidth="5" markerHeight="5" orient="auto"><path d="M0 0L6 3L0 6Z" class="head"/></marker>`;
  const width = length * each;
  const figure = element(
    `<figure class="chart-box"><div class="wide" tabindex="0" role="group" aria-label="time steps"><svg class="small" role="img" aria-label="The states of ${length} time steps${reached ? ", and the gradients that reach them" : ""}" width="${width}" height="${y - 14}" viewBox="0 0 ${width} ${y - 14}"><defs>${arrow("value")}${arrow("gradient")}</defs>${parts.join("")}</svg></div></figure>`,
  );
  const table_ = (a) =>
    heatmap({
      key: `time-${a.kind}-${key}`,
      name: a.name,
      shape: [length, sizeOf(a.array.shape) / length],
      data: a.array.data,
      kind: a.kind,
      title: `${a.name}, a row per time step`,
      width: 240,
    });
  const arrays = [
    states && { name: "state", kind: "value", array: states },
    reached && { name: "gradient", kind: "gradient", array: reached },
  ].filter(Boolean);
  if (reached)
    figure.append(
      bars({
        key: `time-bars-${key}`,
        title: "length of the gradient at each time step",
        labels: Array.from({ length }, (_, t) => String(t)),
        values: lengths(reached.data, length),
        what: "length of the gradient, by time step",
        each,
      }),
    );
  const details = element(
    `<details class="behind"><summary data-key="time-more-${key}">Every number</summary></details>`,
  );
  details.append(row(...arrays.map(table_)));
  figure.append(details);
  return figure;
}

/** The length of the part of each time step. */
function lengths(data, length) {
  const size = data.length / length;
  return Array.from({ length }, (_, t) => norm(data.slice(t * size, (t + 1) * size)));
}

function timeWords(reached, length, reverse) {
  const sizes = lengths(reached.data, length);
  const order = [...sizes.keys()].filter((t) => sizes[t] > 0); // the gradient goes from the last
  if (reverse) order.reverse();
  const [to, from] = [order[0], order.at(-1)];
  if (order.length < 2) return "No gradient reaches an earlier time step.";
  const factor = sizes[to] / sizes[from];
  const each = factor ** (1 / Math.abs(from - to));
  const words =
    factor < 0.2
      ? "fades: what was read early hardly moves the loss, so the network learns little from it"
      : factor > 5
        ? "grows: early time steps move the loss more than late ones, so training may be unstable"
        : "keeps its size";
  return `Going back from time step ${from} to ${to}, the gradient is multiplied by the local derivatives of every step on
    the way. From ${number(sizes[from], 3)} it becomes ${number(sizes[to], 3)}, on average × ${number(each, 3)} for each step: it <strong>${words}</strong>.`;
}
