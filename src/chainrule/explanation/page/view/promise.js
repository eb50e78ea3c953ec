// What gradients promise of a change of numbers, what became of it, and why these differ.

/** Which elements of each elementwise step hand nothing on, by the step's output: relu's where it is off. */
function switchesOf(network) {
  const out = new Map();
  network.steps.forEach((step, k) => {
    const [id] = step.outputs;
    const input = step.inputs.find((i) => isData(network, i) && network.isFloat(i));
    if (input === undefined || !network.isElementwise(k, input, id)) return;
    const slopes = network.slopes(k, input, id);
    if (slopes)
      out.set(
        id,
        Array.from(slopes, (v) => v === 0),
      );
  });
  return out;
}

/** The units that are switched in one of two states alone, each with what happened to it. */
function switched(network, before, after) {
  return [...after].flatMap(([id, off]) =>
    off.flatMap((v, k) =>
      v === before.get(id)[k] ? [] : [`${network.element(id, k)} was switched ${v ? "off" : "on"}`],
    ),
  );
}

const PARTS = 8; // of a way, after each of which the slope is looked at

/**
 * What kinks on a straight way add to the change of the loss: where a unit switches, the slope jumps
 * by more than it changes on parts without a kink, and the rest of the way has the other slope.
 * from, to   the numbers at its ends, by id: the network is left at its end
 */
function kinkPart(network, from, to) {
  const at = (t) => {
    let slope = 0;
    for (const [id, end] of to) {
      const start = from.get(id);
      network.pass.setAll(
        id,
        t === 1 ? end : Array.from(end, (v, k) => start[k] + t * (v - start[k])),
      );
    }
    network.pass.run();
    for (const [id, end] of to) {
      const start = from.get(id);
      network.gradient(id).forEach((g, k) => (slope += Number(g) * (end[k] - start[k])));
    }
    return { slope, switches: switchesOf(network) };
  };
  const passed = (a, b) => switched(network, a.switches, b.switches).length > 0;
  let [last, part] = [at(0), 0];
  const near = at(1 / (8 * PARTS));
  let smooth = passed(last, near) ? 0 : 8 * (near.slope - last.slope);
  for (let k = 1; k <= PARTS; k++) {
    const next = at(k / PARTS);
    const change = next.slope - last.slope;
    if (passed(last, next)) part += (change - smooth) * (1 - (k - 0.5) / PARTS);
    else smooth = change;
    last = next;
  }
  return part;
}

/**
 * What it means that the loss changed as much as gradients promised, or else.
 * switches  those of before
 * part      () -> what kinks made of the change
 */
function compared(network, promised, real, switches, part) {
  const [least, most] = [promised, real].map(Math.abs).sort((a, b) => a - b);
  if (!Number.isFinite(real))
    return "The loss is no number any more: the change was far too large.";
  if (most < network.rounding) return "Both are less than the rounding of the loss.";
  const gap = real - promised;
  if (Math.abs(gap) <= 0.02 * most)
    return "They agree: over this way the loss is nearly a straight line, and the gradient is its slope.";
  const passed = switched(network, switches, switchesOf(network));
  const more = passed.length > 2 ? ` and ${passed.length - 2} more` : "";
  const isKinked = passed.length && part() / gap >= 0.5;
  const because = isKinked
    ? `kinks were passed, where the slope jumps: ${passed.slice(0, 2).join(", ")}${more}`
    : "the loss is curved: the gradient is its slope before the change, and the slope changes on the way";
  const before = network.loss - real;
  const isBelow = network.graph.never_negative && before + promised < 0;
  const impossible = isBelow
    ? ` The loss was ${network.lossText(before)}, and it cannot fall below 0: nothing could keep the promise.`
    : "";
  const tooFar =
    promised < 0 && real > 0
      ? "The change was too large: it went beyond the place up to which the loss falls. "
      : "";
  const share =
    promised < 0 && real < 0 && real > promised
      ? ` It fell by ${percent(least / most)} of what was promised; the smaller the change, the better the promise is kept.`
      : "";
  return `${tooFar}They differ because ${because}.${impossible}${share}`;
}
