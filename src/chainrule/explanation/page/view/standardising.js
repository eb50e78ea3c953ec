// A closer look at normalization: the three ways from a value to the loss.

/** The three ways from a value to the loss: itself, the mean, the variance. They add up. */
function standardiseLook(page, node) {
  const { network, stop } = page;
  const x = network.pass.value(node.in[0]);
  const scale = node.in[1] === undefined ? null : network.pass.value(node.in[1]);
  const { axis, eps } = node.params;
  const g = upstreamOf(network, node)[0];
  const batch = axis.includes(0);
  const who = batch ? "samples" : "features";
  const section = look(
    batch ? "What the samples of a batch share" : "What the features of a sample share",
    stop.phase === "forward" || !g
      ? `Each value becomes (x − mean) / √(variance + ${number(eps)}), with mean and variance over the ${who}. So every output depends on all of these ${who}.`
      : `Through the mean and the variance each value also moves the outputs of the other ${who}. These are the three ways; their sum is the gradient.`,
  );
  if (stop.phase !== "backward" || !g) return section;
  const { direct, mean, variance } = threeWays(x, scale, g, axis, eps);
  const sum = direct.map((v, k) => v + mean[k] + variance[k]);
  const shape = x.shape.length === 2 ? x.shape : [sizeOf(x.shape) / x.shape.at(-1), x.shape.at(-1)];
  const full = greatest([...direct, ...mean, ...variance, ...sum]);
  const map = (what, data, title) =>
    heatmap({
      key: `norm-${what}-${node.id}`,
      name: what,
      shape,
      full: shape,
      data,
      kind: "gradient",
      scale: full,
      title,
      width: 190,
      height: 200,
    });
  section.append(
    row(
      map("directly", direct, "directly"),
      sign("+"),
      map("through the mean", mean, "through the mean"),
      sign("+"),
      map("through the variance", variance, "through the variance"),
      sign("="),
      map("∂loss/∂x", sum, "gradient"),
    ),
  );
  return section;
}

/** With y = w x̂, r = 1/√(σ² + ε): w r g, −r·mean(w g), −r·x̂·mean(w g x̂), over the axes. */
function threeWays(x, scale, g, axis, eps) {
  const groups = groupsOf(x.shape, axis);
  const many = extent(groups)[1] + 1;
  const count = groups.length / many;
  const sums = (values) => {
    const out = new Float64Array(many);
    values.forEach((v, k) => (out[groups[k]] += v));
    return out.map((v) => v / count);
  };
  const data = Float64Array.from(x.data, Number);
  const mean = sums(data);
  const centred = data.map((v, k) => v - mean[groups[k]]);
  const root = sums(centred.map((v) => v * v)).map((v) => 1 / Math.sqrt(v + eps));
  const standard = centred.map((v, k) => v * root[groups[k]]);
  const weighted = Float64Array.from(
    g,
    (v, k) => Number(v) * (scale ? Number(scale.data[scale.data.length === 1 ? 0 : groups[k]]) : 1),
  );
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
  return Array.from({ length: sizeOf(shape) }, (_, k) =>
    ravel(
      unravel(k, shape).map((i, a) => (axis.includes(a) ? 0 : i)),
      kept,
    ),
  );
}
