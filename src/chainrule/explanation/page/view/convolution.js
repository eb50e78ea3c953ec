// A closer look at a convolution: the window that an output reads, and what a weight collects.

function convolutionLook(page, node) {
  const { network, stop } = page;
  const unit = page.choice.unit();
  if (
    node.shape.length !== 4 ||
    String(network.shape(unit.id)) !== String(node.shape) ||
    node.params.input_dilation.some((d) => d !== 1)
  )
    return null;
  const upstream = upstreamOf(network, node)[0];
  return stop.phase === "backward" && upstream
    ? collects(page, node, upstream, unit)
    : windowOf(page, node, unit);
}

/** The sizes of a convolution of images (N, H, W, C), and the input's row and column for a tap. */
function sizesOf(network, node) {
  const [x, w] = node.in.map((id) => network.pass.value(id));
  const { stride, padding, kernel_dilation: dilation, groups } = node.params;
  const [, height, width, channels] = x.shape;
  const [tall, wide, taken, made] = w.shape;
  const source = (i, a, axis) => i * stride[axis] + a * dilation[axis] - padding[axis][0];
  const first = (c) => Math.floor(c / (made / groups)) * taken; // the first channel that output channel c reads
  return { x, w, height, width, channels, tall, wide, taken, made, source, first, dilation };
}

/** Forward: the window over the input for one output position, times the kernel. */
function windowOf(page, node, unit) {
  const { network } = page;
  const { x, w, height, width, channels, tall, wide, taken, source, first, dilation } = sizesOf(
    network,
    node,
  );
  const [, rows, columns, made] = node.shape;
  const [n, i, j, c] = unravel(unit.index, node.shape);
  const image = (a, b, channel) => {
    const [r, s] = [source(i, a, 0), source(j, b, 1)];
    return r < 0 || r >= height || s < 0 || s >= width
      ? 0
      : Number(x.data[((n * height + r) * width + s) * channels + channel]);
  };
  const products = new Float64Array(tall * wide * taken);
  const kernel = new Float64Array(tall * wide * taken);
  let sum = 0;
  for (let a = 0; a < tall; a++) {
    for (let b = 0; b < wide; b++) {
      for (let k = 0; k < taken; k++) {
        const at = (a * wide + b) * taken + k;
        kernel[at] = Number(w.data[at * made + c]);
        products[at] = kernel[at] * image(a, b, first(c) + k);
        sum += products[at];
      }
    }
  }
  const value = Number(network.value(unit.id)[unit.index]);
  const bias = biasOf(page, node, unit, c, value - sum);
  const more =
    bias === null
      ? ""
      : `, and with the bias ${number(bias)} it is <strong>${number(value)}</strong>`;
  const out = bias === null ? node.id : unit.id;
  const section = look(
    "The moving window",
    `The same ${tall} × ${wide} kernel slides over the input. At row ${i}, column ${j} of the output it
    multiplies ${plural(tall * wide * taken, "input")} by its weights and adds up: <strong>${number(sum)}</strong> for channel ${c}${more}. A click on the output moves the window; after it the arrow keys do.`,
  );
  const frame = {
    row: source(i, 0, 0),
    column: source(j, 0, 1),
    rows: (tall - 1) * dilation[0] + 1,
    columns: (wide - 1) * dilation[1] + 1,
  };
  section.append(
    row(
      heatmap({
        key: `window-x-${node.id}`,
        name: network.name(node.in[0]),
        shape: [height, width, channels],
        full: x.shape,
        start: n * height * width * channels,
        data: x.data,
        title: "input, with the window",
        frame,
      }),
      sign("·"),
      heatmap({
        key: `window-k-${node.id}`,
        name: "kernel",
        shape: [tall, wide, taken],
        data: kernel,
        title: `kernel of channel ${c}`,
        width: 160,
      }),
      sign("="),
      heatmap({
        key: `window-p-${node.id}`,
        name: "product",
        shape: [tall, wide, taken],
        data: products,
        title: `products, sum ${number(sum)}`,
        width: 160,
      }),
      sign(bias === null ? "→" : `+ ${enclosed(bias)} →`),
      heatmap({
        key: `window-y-${node.id}`,
        name: "output",
        shape: [rows, columns, made],
        full: node.shape,
        start: n * rows * columns * made,
        data: network.value(out),
        title: bias === null ? "output" : "output, with the bias",
        chosen: ((n * rows + i) * columns + j) * made + c,
        pick: (flat) => page.pickUnit(unit.id, flat),
        follow: true,
      }),
    ),
  );
  return section;
}

/** The bias of a channel, if that is what the step adds to the sum of a window; else null. */
function biasOf({ network, stop }, node, unit, channel, added) {
  if (unit.id === node.id) return null;
  const { inputs } = network.steps[stop.step];
  const isBias = (id) => network.nodes.get(id).kind === "parameter" && id !== node.in[1];
  const found = inputs.find((id) => isBias(id) && sizeOf(network.shape(id)) === node.shape[3]);
  const bias = found === undefined ? NaN : Number(network.value(found)[channel]);
  return Math.abs(bias - added) < 1e-4 * (1 + Math.abs(bias)) ? bias : null;
}

/** Backward: one kernel weight collects upstream × input over all positions. */
function collects(page, node, upstream, unit) {
  const { network, sample } = page;
  const { x, w, height, width, channels, tall, wide, taken, source, first } = sizesOf(
    network,
    node,
  );
  const [batch, rows, columns, made] = node.shape;
  const weights = network.gradient(node.in[1]) ?? w.data;
  const input = page.choice.input(unit);
  const weight = input?.id === node.in[1] ? input.index : strongestOf(weights);
  const [a, b, k, c] = unravel(weight, w.shape);
  const product = (n, i, j) => {
    const [r, s] = [source(i, a, 0), source(j, b, 1)];
    if (r < 0 || r >= height || s < 0 || s >= width) return [0, 0];
    const read = Number(x.data[((n * height + r) * width + s) * channels + first(c) + k]);
    return [read, read * Number(upstream[((n * rows + i) * columns + j) * made + c])];
  };
  let whole = 0;
  const [inputs, products, given] = [0, 0, 0].map(() => new Float64Array(rows * columns));
  const shown = Math.min(sample, batch - 1);
  for (let n = 0; n < batch; n++) {
    for (let i = 0; i < rows; i++) {
      for (let j = 0; j < columns; j++) {
        const [read, share] = product(n, i, j);
        whole += share;
        if (n !== shown) continue;
        inputs[i * columns + j] = read;
        products[i * columns + j] = share;
        given[i * columns + j] = Number(upstream[((n * rows + i) * columns + j) * made + c]);
      }
    }
  }
  const own = products.reduce((sum, v) => sum + v, 0);
  const name = code(elementName(network.name(node.in[1]), weight, w.shape));
  const others =
    batch > 1 ? ` (${number(own)} from this sample, the rest from the ${batch - 1} others)` : "";
  const section = look(
    "What a kernel weight collects",
    `${name} is used at all ${rows * columns} positions. At each it is blamed with upstream gradient × the input
    that it was multiplied by; its gradient is the sum over the positions: <strong>${number(whole)}</strong>${others}.`,
  );
  const shape = [rows, columns];
  section.append(
    row(
      heatmap({
        key: `collect-w-${node.id}`,
        name: network.name(node.in[1]),
        shape: w.shape,
        data: weights,
        kind: "gradient",
        chosen: weight,
        width: 180,
        title: "gradient of the kernel",
        pick: (flat) => page.pickInput(node.in[1], flat),
      }),
      heatmap({
        key: `collect-g-${node.id}`,
        name: "upstream",
        shape,
        data: given,
        kind: "gradient",
        title: `upstream, channel ${c}`,
        width: 150,
      }),
      sign("×"),
      heatmap({
        key: `collect-x-${node.id}`,
        name: "input",
        shape,
        data: inputs,
        title: `input, moved by (${a}, ${b})`,
        width: 150,
      }),
      sign("="),
      heatmap({
        key: `collect-p-${node.id}`,
        name: "share",
        shape,
        data: products,
        kind: "gradient",
        title: `shares, sum ${number(own)}`,
        width: 150,
      }),
    ),
  );
  return section;
}
