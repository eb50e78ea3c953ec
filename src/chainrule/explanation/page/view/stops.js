// The stops of the walk: the start, each step forward, each step backward, the end; and what is said
// at each.

function stopsOf(network) {
  const forward = network.steps.map((_, step) => ({ phase: "forward", step }));
  const backward = forward
    .filter(({ step }) => network.steps[step].pulls.length)
    .map(({ step }) => ({ phase: "backward", step }));
  const stops = [
    { phase: "start", step: -1 },
    ...forward,
    ...backward.reverse(),
    { phase: "end", step: -1 },
  ];
  return stops.map((stop, at) => ({
    ...stop,
    at,
    of: { forward: forward.length, backward: backward.length }[stop.phase],
  }));
}

/** The stop in a few words: for the caption under the picture and for screen readers. */
function stopTitle(network, stop, stops) {
  if (stop.phase === "start") return "Start";
  if (stop.phase === "end") return "Every gradient";
  const first = stops.findIndex((s) => s.phase === stop.phase);
  const way = stop.phase === "forward" ? "Forward" : "Backward";
  return `${way}, step ${stop.at - first + 1} of ${stop.of}: ${network.title(stop.step)}`;
}

/** A plain sentence or two about a stop, as HTML. */
function stopWords(network, stop, unit, input) {
  const sentences = {
    start: startWords,
    forward: unitWords,
    backward: backwardWords,
    end: endWords,
  };
  return sentences[stop.phase](network, stop, unit, input);
}

/** How many samples there are, and what the loss is of them. */
function samplesOf(network) {
  if (network.batch < 2) return "one sample, forward and backward";
  return `${network.batch} samples, forward and backward${network.isMean ? "; the loss is their mean" : ""}`;
}

function batchWords(network) {
  if (network.batch < 2) return "";
  const loss = network.isMean ? "The loss is the mean over" : "The loss is one number for";
  return ` ${loss} ${network.batch} samples. The picture shows one of them, with the others behind it; a menu below chooses which.`;
}

/** What [0, 9] means, on a value of this network. */
function indexWords(network) {
  const id = network.steps
    .filter((s) => s.inputs.some((i) => network.nodes.get(i).kind === "parameter"))
    .flatMap((s) => s.outputs)
    .find((o) => network.shape(o).length === 2 && network.shape(o)[1] > 1);
  if (id === undefined) return "";
  const flat = Math.min(9, network.shape(id)[1] - 1);
  const row = network.batch > 1 ? "row 0 is sample 0" : "row 0 is the sample";
  return ` In ${code(network.element(id, flat))}, ${row}, and ${flat} the unit; both are counted from 0.`;
}

function startWords(network) {
  const asked = network.inputs.filter((n) => network.graph.gradients[n.name] !== undefined);
  const word = asked.every((n) => n.kind === "parameter") ? "parameter" : "number";
  const count = asked.reduce((sum, n) => sum + sizeOf(n.shape), 0);
  return `The network turns its input into one number that says how wrong it is: the
    <strong>loss, ${network.lossText()}</strong>. Going forward, each step computes values from
    the values before it. Going backward, the same question is answered for
    ${plural(count, word)}: <em>if this number grew a little, how would the loss change?</em> The
    answer is its gradient. Press <kbd>→</kbd>, here or below the picture, to walk through.${batchWords(network)}${indexWords(network)}`;
}

/** One unit of a step's output, written out in numbers. */
function unitWords(network, { step: k }, { id, index }) {
  const name = code(network.element(id, index));
  const value = Number(network.value(id)[index]);
  const data = network.steps[k].inputs.filter((i) => isData(network, i) && network.isFloat(i));
  if (data.length === 1 && network.isElementwise(k, data[0], id)) {
    const from = Number(network.value(data[0])[index]);
    return `${name} is made of ${code(network.element(data[0], index))} alone: ${number(from)} becomes ${number(value)}.`;
  }
  const { terms, rest } = weightedSum(network, k, id, index, value);
  const shown = id === network.graph.loss ? network.lossText() : number(value);
  if (!terms.length) return `${name} is ${shown}.`;
  const greatestFirst = [...terms].sort((a, b) => Math.abs(b[0] * b[1]) - Math.abs(a[0] * a[1]));
  const kept = terms.length > 6 ? greatestFirst.slice(0, 4) : terms;
  const written = kept.map(([w, x]) => `${enclosed(w)}·${enclosed(x)}`);
  if (kept.length < terms.length) written.push(`${terms.length - kept.length} more products`);
  if (Math.abs(rest) > 1e-6 * (Math.abs(value) + Math.abs(value - rest)))
    written.push(`${enclosed(rest)} (bias)`);
  return `${name} is a weighted sum: <span class="sum">${written.join(" + ")} = <strong>${shown}</strong></span>`;
}

/**
 * A unit as a weighted sum of inputs: the pairs [weight, input], and the rest, its bias. The local
 * derivative by a weight is the input that it is multiplied by. No pairs where it is no such sum:
 * where derivative × value of its parameters does not add up to it.
 */
function weightedSum(network, k, id, index, value) {
  const none = { terms: [], rest: 0 };
  const local = network.row(k, id, index);
  const pairs = network.steps[k].inputs
    .filter((i) => network.nodes.get(i).kind === "parameter" && local.get(i))
    .sort((a, b) => sizeOf(network.shape(b)) - sizeOf(network.shape(a)))
    .map((i) => Array.from(local.get(i), (x, j) => [Number(network.value(i)[j]), x]));
  if (!pairs.length) return none;
  const [weights, ...others] = pairs;
  const total = (some) => some.reduce((sum, [w, x]) => sum + w * x, 0);
  const rest = total(others.flat());
  const gap = Math.abs(total(weights) + rest - value);
  const terms = weights.filter(([, x]) => x !== 0);
  return gap < 1e-4 * (Math.abs(value) + Math.abs(rest)) + 1e-9 ? { terms, rest } : none;
}

function backwardWords(network, { step: k }, unit, input) {
  const out = code(network.element(unit.id, unit.index));
  const upstream = Number(network.gradient(unit.id)?.[unit.index] ?? 0);
  const start = network.steps[k].outputs.includes(network.graph.loss);
  const first = start
    ? "The way back begins at the loss, which varies with itself at a rate of 1: its own gradient is 1. (A gradient is a rate of change, exact for small changes.)"
    : `From the steps after this one we know how the loss varies with ${out}: at a rate of ${number(upstream)}, so 0.01 more of it changes the loss by about ${number(0.01 * upstream)}. This is its <dfn>upstream gradient</dfn>.`;
  if (!input) return first;
  const from = code(network.element(input.id, input.index));
  const local = network.row(k, unit.id, unit.index).get(input.id)?.[input.index] ?? 0;
  return `${first} ${start ? "The loss" : out} varies with ${from} at a rate of ${number(local)}: the
    <dfn>local derivative</dfn>. So through ${start ? "this step" : out}, the loss varies with ${from} at a rate of
    ${enclosed(upstream)} × ${enclosed(local)} = <strong>${number(upstream * local)}</strong>. This is the chain rule.`;
}

function endWords(network) {
  const [top] = network.parameters
    .filter((p) => network.gradient(p.id)?.length)
    .map((p) => ({ p, index: strongest(network, p.id) }))
    .map(({ p, index }) => ({ p, index, g: Number(network.gradient(p.id)[index]) }))
    .sort((a, b) => Math.abs(b.g) - Math.abs(a.g));
  const count = top ? alike(network.gradient(top.p.id)) : 0;
  if (!top) return "Every input has its gradient now.";
  const name = code(network.element(top.p.id, top.index));
  return `Every parameter has its gradient now. The largest in size is that of ${name}, ${number(top.g)}${oneOf(count)}:
    ${count > 1 ? "no number moves the loss more" : "of all numbers it moves the loss most"}, and ${top.g > 0 ? "lowering" : "raising"} it lowers the loss. Gradient descent moves every
    parameter a little against its gradient, all at once: see <a href="#train">Take a step</a>.`;
}

/** The place of the stop in other stops: the same phase, the same step or the nearest one. */
function sameStop(stops, network, stop, old, oldStops) {
  const same = stops.filter((s) => s.phase === stop.phase);
  if (!same.length) return 0;
  const step = sameStep(network, stop.step, old);
  const among = oldStops.filter((s) => s.phase === stop.phase);
  const share = among.indexOf(stop) / Math.max(1, among.length - 1);
  const nearest = same[Math.round(share * (same.length - 1))];
  return (same.find((s) => s.step === step) ?? nearest).at;
}
