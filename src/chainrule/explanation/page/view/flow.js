// How much gradient reaches each value: whether it fades or grows on its way back.

const norm = (values) => Math.hypot(...chunks(values));

function* chunks(values) {
  for (let k = 0; k < values.length; k += 4096) {
    let sum = 0;
    for (let j = k; j < Math.min(k + 4096, values.length); j++) sum += Number(values[j]) ** 2;
    yield Math.sqrt(sum);
  }
}

/** The length of ∂loss/∂value after each step, by the value's id. */
function flowOf(network) {
  const points = network.steps.flatMap((step) => step.outputs).filter((id) => network.gradient(id));
  return new Map(points.map((id) => [id, norm(network.gradient(id))]));
}

/** The lengths as bars, with those of the network as given as outlines. */
function gradientFlow(page) {
  const { network } = page;
  const flow = flowOf(network);
  if (flow.size < 3) return null;
  const given = page.isGiven ? null : flowOf(page.origin);
  const figure = bars({
    key: "flow",
    title: "How much gradient reaches each value",
    labels: [...flow.keys()].map((id) => network.name(id)),
    values: [...flow.values()],
    before:
      given && [...flow.keys()].map((id) => given.get(sameNode(page.origin, id, network)) ?? 0),
    what: "length of ∂loss/∂value",
  });
  const words = flowWords(network);
  if (words) figure.querySelector("figcaption").after(element(`<p class="say flow">${words}</p>`));
  return figure;
}

/** Where a gradient that nearly vanishes or explodes lost or won most; nothing if it does neither. */
function flowWords(network) {
  const passed = network.steps.flatMap((step, k) => factorsAt(network, step, k)).reverse();
  if (!passed.length) return "";
  const [from, to] = [passed[0].before, passed.at(-1).after];
  const { vanishing } = network.contents; // from which factor on the story says so
  const shrinks = to < from * vanishing;
  if (!shrinks && !(to * vanishing > from)) return "";
  const factor = (p) => p.after / p.before;
  const most = passed.reduce((a, b) => (factor(b) < factor(a) === shrinks ? b : a));
  const slopes = network.isElementwise(most.k, most.input, most.output)
    ? network.slopes(most.k, most.input, most.output)
    : null;
  const range = slopes
    ? `; its slopes are ${extent(slopes)
        .map((v) => number(v, 3))
        .join(" to ")}`
    : "";
  return `From ${code(network.name(passed[0].output))} back to ${code(network.name(passed.at(-1).input))} the gradient
    ${to ? (shrinks ? "nearly vanishes" : "explodes") : "is lost"}: its length goes from ${number(from, 3)} to ${number(to, 3)}. It ${shrinks ? "loses" : "grows"} most
    at ${escape(network.title(most.k))}: × ${number(factor(most), 3)}${range}.`;
}

/** The lengths before and after a step that hands its gradient to one value alone. */
function factorsAt(network, step, k) {
  const [output] = step.outputs;
  const inputs = step.inputs.filter((id) => network.maker.has(id) && network.gradient(id));
  const [input] = inputs;
  const isAlone = step.outputs.length === 1 && inputs.length === 1;
  if (!isAlone || output === network.graph.loss || network.readers.get(input).length > 1) return [];
  const [before, after] = [output, input].map((id) => norm(network.gradient(id)));
  return before > 0 ? [{ k, input, output, before, after }] : [];
}
