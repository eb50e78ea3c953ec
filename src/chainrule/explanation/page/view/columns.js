// Where everything in the picture is: the steps folded by module, the values between them in
// columns, and the blocks (circles or grids) that show a value. `main` runs along the network, from
// left to right, on a phone from top to bottom; `cross` across it.

const MOST_STEPS = 14; // drawn one by one; more are folded by module
const MOST_CIRCLES = 10;
const MOST_EDGES = 400;

/** The steps as entries { steps, label, folded }, folded by module where they are many. */
function entriesOf(network, current) {
  const alone = (k) => ({ steps: [k], label: labelOf(network.steps[k]), folded: false });
  if (network.steps.length <= MOST_STEPS) return network.steps.map((_, k) => alone(k));
  const depths = [4, 3, 2, 1].map((depth) => runs(network.steps, depth));
  const groups = depths.find((g) => g.length <= MOST_STEPS) ?? depths.at(-1);
  return groups.flatMap(({ key, steps }) => {
    const open = steps.length === 1 || steps.includes(current);
    if (open) return steps.map(alone);
    return [{ steps, label: `${shorten(key, 16)} · ${steps.length} steps`, folded: true }];
  });
}

/** Neighbouring steps whose paths begin with the same `depth` parts. */
function runs(steps, depth) {
  const out = [];
  steps.forEach((step, k) => {
    const key = step.path ? step.path.split(".").slice(0, depth).join(".") : "";
    const last = out.at(-1);
    if (key && last?.key === key) last.steps.push(k);
    else out.push({ key: key || `step ${k + 1}`, steps: [k] });
  });
  return out;
}

const labelOf = (step) => shorten(step.kind || step.path || step.title, 18);

function shorten(text, limit) {
  if (text.length <= limit) return text;
  const tail = limit >> 1;
  return `${text.slice(0, limit - 1 - tail)}…${text.slice(-tail)}`;
}

/** The columns: each a list of node ids, and the entry that leads to it. */
function columnsOf(network, entries) {
  const columns = [{ ids: [], entry: null }];
  const column = new Map();
  const data = (step) => step.inputs.filter((id) => isData(network, id));
  entries.forEach((entry, e) => {
    const inside = new Set(entry.steps.flatMap((k) => network.steps[k].outputs));
    const inputs = [...new Set(entry.steps.flatMap((k) => data(network.steps[k])))];
    for (const id of inputs) {
      if (!inside.has(id) && !column.has(id) && !network.maker.has(id)) {
        column.set(id, e);
        columns[e].ids.push(id);
      }
    }
    const last = network.steps[entry.steps.at(-1)].outputs;
    const read = (id) => (network.readers.get(id) ?? []).some((k) => !entry.steps.includes(k));
    const ids = [...inside].filter((id) => last.includes(id) || read(id));
    ids.forEach((id) => column.set(id, e + 1));
    columns.push({ ids, entry, inputs: inputs.filter((id) => !inside.has(id)) });
  });
  return { columns, column };
}

const isData = (network, id) => {
  const node = network.nodes.get(id);
  return node.phase !== "fixed" && node.kind !== "parameter" && node.kind !== "buffer";
};

/** A block for a value: circles for a few numbers, else a grid. Sizes in pixels. */
function blockOf(network, id, sample, vertical, room) {
  const { shape, start } = network.part(id, sample);
  const count = sizeOf(shape);
  const flat = shape.filter((n) => n > 1);
  if (flat.length <= 1 && count <= MOST_CIRCLES) {
    const radius = count === 1 ? 19 : 16;
    const gap = vertical ? Math.min(40, room / count) : count > 8 ? 32 : count > 5 ? 36 : 40;
    return {
      id,
      kind: "circles",
      count,
      start,
      radius: Math.min(radius, gap / 2 - 2),
      gap,
      along: 2 * radius + 4,
      across: gap * count,
    };
  }
  let { rows, columns, tiles, at } = layout(shape);
  if (flat.length <= 1) {
    [rows, columns] = count <= 16 && !vertical ? [count, 1] : folded(count);
    at = (t, r, c) => r * columns + c;
  }
  const shown = Math.min(tiles, 6);
  const wide = shown > 3 ? 2 : 1;
  const limit = tiles > 1 ? 62 : 132;
  const cell = Math.max(0.5, Math.min(12, limit / Math.max(rows, columns)));
  const [w, h] = [columns * cell, rows * cell];
  const box = [wide * w + (wide - 1) * 5, Math.ceil(shown / wide) * (h + 5) - 5];
  return {
    id,
    kind: "grid",
    count,
    start,
    rows,
    columns,
    at,
    tiles,
    shown,
    wide,
    cell,
    width: box[0],
    height: box[1],
    place: (t, r, c) => [
      (t % wide) * (w + 5) + c * cell,
      Math.floor(t / wide) * (h + 5) + r * cell,
    ],
    along: vertical ? box[1] : box[0],
    across: vertical ? box[0] : box[1],
  };
}

/** How a step's weights lie: w[flat(i, o)] is the weight from input i to output o; null if it has none. */
function weightsOf(network, k, input, output, sample) {
  const step = network.steps[k];
  const [from, to] = [input, output].map((id) => sizeOf(network.part(id, sample).shape));
  for (const id of step.inputs) {
    const node = network.nodes.get(id);
    if (node.kind !== "parameter") continue;
    const [a, b] = node.shape;
    if (node.shape.length === 1 && to === 1 && a === from && from > 1) return { id, at: (i) => i };
    if (node.shape.length !== 2) continue;
    const product = step.nodes
      .map((n) => network.nodes.get(n))
      .find((n) => n.op === "matmul" || n.op === "scan");
    if (product?.op !== "matmul") continue;
    const straight = product.in[1] === id;
    if (straight && a === from && b === to) return { id, at: (i, o) => i * b + o };
    if (!straight && a === to && b === from) return { id, at: (i, o) => o * b + i };
  }
  return null;
}

/** The parameter of a step that is shown between its columns: the largest matrix. */
function mainParameter(network, step) {
  const matrices = step.inputs.filter(
    (id) => network.nodes.get(id).kind === "parameter" && network.shape(id).length > 1,
  );
  return matrices.sort((a, b) => sizeOf(network.shape(b)) - sizeOf(network.shape(a)))[0];
}

/** Everything placed: blocks with their positions, gaps with their entries, the size of the picture. */
function arrange(network, { current, sample, vertical, room }) {
  const entries = entriesOf(network, current);
  const { columns, column } = columnsOf(network, entries);
  const blocks = new Map();
  let main = 8;
  let cross = 0;
  columns.forEach((c, index) => {
    const made = c.ids.map((id) => blockOf(network, id, sample, vertical, room));
    if (c.entry) {
      const outs = made.filter((b) => network.maker.has(b.id));
      c.gap = gapOf(network, c, column, index, blocks, outs, sample, vertical);
      c.from = main;
      main += c.gap.size;
    }
    const named = made.map((b) =>
      vertical ? 0 : Math.min(6.6 * (network.name(b.id).length + 7), 104),
    );
    const size =
      Math.max(26, ...made.map((b) => b.along), ...named) + (vertical && made.length > 1 ? 12 : 0);
    c.at = main + size / 2;
    c.size = size;
    const between = vertical ? 18 : 34;
    c.across = made.reduce((sum, b) => sum + b.across + between, -between);
    made.forEach((b) => blocks.set(b.id, b));
    main += size;
    cross = Math.max(cross, c.across);
  });
  if (vertical) cross = Math.max(cross, room);
  for (const c of columns) {
    let y = (cross - c.across) / 2;
    for (const id of c.ids) {
      const b = blocks.get(id);
      b.main = c.at;
      b.cross = y + b.across / 2;
      y += b.across + (vertical ? 18 : 34);
    }
  }
  return { entries, columns, column, blocks, plans: new Map(), main: main + 8, cross, vertical };
}

/** The space before a column, and what connects it with the one before. */
function gapOf(network, c, column, index, blocks, outs, sample, vertical) {
  const text = 6.6 * c.entry.label.length + 14;
  const least = vertical ? 46 : Math.max(text, 58);
  if (c.entry.folded) return { kind: "folded", size: vertical ? 64 : Math.max(text + 24, 96) };
  const [k] = c.entry.steps;
  const near = c.inputs.filter((id) => column.get(id) === index - 1);
  const links = near.flatMap((input) =>
    outs.map((out) => linkOf(network, k, blocks.get(input), out, sample)),
  );
  const weights = links.find((l) => l.kind === "weights");
  if (weights) return { kind: "links", links, size: Math.max(least, vertical ? 110 : 132) };
  const matrix = mainParameter(network, network.steps[k]);
  if (matrix !== undefined)
    return { kind: "matrix", matrix, links, size: Math.max(least, vertical ? 96 : 98) };
  return { kind: "links", links, size: least };
}

/** What is drawn from one block to the next. */
function linkOf(network, k, from, to, sample) {
  const circles = from.kind === "circles" && to.kind === "circles";
  const weights =
    circles && from.count * to.count <= MOST_EDGES
      ? weightsOf(network, k, from.id, to.id, sample)
      : null;
  if (weights) return { kind: "weights", from, to, weights };
  const ties = circles && network.isFloat(from.id) ? tiesOf(network, k, from, to) : null;
  return ties ? { kind: "ties", from, to, ties } : { kind: "band", from, to };
}

/** Which unit of `to` varies with which of `from`: pairs of their numbers; null if unknown. */
function tiesOf(network, k, from, to) {
  const all = Array.from({ length: from.count }, (_, i) => i);
  if (network.isElementwise(k, from.id, to.id)) return all.map((i) => [i, i]);
  const out = [];
  for (let o = 0; o < to.count; o++) {
    const local = network.row(k, to.id, to.start + o).get(from.id);
    if (!local) return all.flatMap((i) => [...Array(to.count).keys()].map((o) => [i, o]));
    for (const i of all) if (local[from.start + i] !== 0) out.push([i, o]);
  }
  return out;
}
