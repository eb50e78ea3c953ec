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
  return throughTime(network, node.id, length, states, reached, node.params.reverse);
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
  return throughTime(network, last.id, alike.length, states, reached, false);
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
function throughTime(network, key, length, states, reached, reverse) {
  const { steady } = network.contents; // the factor up to which the story says so
  const section = look(
    reverse ? "Through time, from the last step to the first" : "Through time",
    reached
      ? timeWords(reached, length, reverse, steady)
      : `The same weights are used ${length} times, once for each time step; each step reads the state of the step before it.`,
  );
  section.append(...unrolled(key, length, states, reached, reverse));
  return section;
}

/** The loop unrolled: a column for each time step, with its state and the gradient that reaches it. */
function unrolled(key, length, states, reached, reverse) {
  const strip = (array, kind, title) => {
    const size = sizeOf(array.shape) / length;
    const data = Float64Array.from(array.data, (_, k) =>
      Number(array.data[(k % length) * size + Math.floor(k / length)]),
    );
    return heatmap({
      key: `time-${kind}-${key}`,
      name: kind,
      shape: [size, length],
      data,
      kind,
      title,
      width: 700,
    });
  };
  const parts = [];
  const [there, back] = reverse ? ["←", "→"] : ["→", "←"];
  if (states) parts.push(strip(states, "value", `state, a column per time step ${there}`));
  if (!reached) return parts;
  const sizes = lengths(reached.data, length);
  parts.push(
    strip(reached, "gradient", `gradient, on its way back ${back}`),
    bars({
      key: `time-bars-${key}`,
      title: "length of the gradient at each time step",
      labels: sizes.map((_, t) => String(t)),
      values: sizes,
      what: "length of the gradient, by time step",
      each: Math.max(12, Math.min(46, Math.floor(Math.min(780, innerWidth - 90) / length))),
    }),
  );
  return parts;
}

/** The length of the part of each time step. */
function lengths(data, length) {
  const size = data.length / length;
  return Array.from({ length }, (_, t) => norm(data.slice(t * size, (t + 1) * size)));
}

function timeWords(reached, length, reverse, steady) {
  const sizes = lengths(reached.data, length);
  const order = [...sizes.keys()].filter((t) => sizes[t] > 0); // the gradient goes from the last
  if (reverse) order.reverse();
  const [to, from] = [order[0], order.at(-1)];
  if (order.length < 2) return "No gradient reaches an earlier time step.";
  const factor = sizes[to] / sizes[from];
  const each = factor ** (1 / Math.abs(from - to));
  const words =
    factor < 1 / steady
      ? "fades: what was read early hardly moves the loss, so the network learns little from it"
      : factor > steady
        ? "grows: early time steps move the loss more than late ones, so training may be unstable"
        : "keeps its size";
  return `Going back from time step ${from} to ${to}, the gradient is multiplied by the local derivatives of every step on
    the way. From ${number(sizes[from], 3)} it becomes ${number(sizes[to], 3)}, on average × ${number(each, 3)} for each step: it <strong>${words}</strong>.`;
}
