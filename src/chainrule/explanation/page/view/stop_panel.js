// What is shown under the picture for the stop at which the reader is.

/** The panel: sentences, formulas, the three numbers of the chain rule, heat maps. */
function stopPanel(page) {
  const { network, stop } = page;
  const unit = page.choice.unit();
  const input = stop.phase === "backward" ? page.choice.input(unit) : null;
  const panel = element('<div class="panel"></div>');
  const step = network.steps[stop.step];
  panel.append(element(`<h2>${heading(page)}</h2>`));
  if (step) panel.append(formulas(step, stop.phase, network.graph.symbols));
  const words = element(`<p class="say">${stopWords(network, stop, unit, input)}</p>`);
  if (stop.phase === "forward") panel.append(...story(page, step), words);
  else panel.append(words);
  const parts = {
    start: startParts,
    forward: forwardParts,
    backward: backwardParts,
    end: endParts,
  };
  if (input) panel.append(product(page, unit, input));
  if (stop.phase === "backward") panel.append(...story(page, step));
  if (step) panel.append(...closerLooks(page).filter(Boolean));
  panel.append(...parts[stop.phase](page, unit, input).filter(Boolean));
  return panel;
}

function heading({ network, stop, stops }) {
  if (stop.phase === "start")
    return `${network.batch > 1 ? `${network.batch} samples` : "One sample"}, forward and backward`;
  if (stop.phase === "end") return "Every gradient";
  const first = stops.findIndex((s) => s.phase === stop.phase);
  const way = stop.phase === "forward" ? "Forward" : "Backward";
  return `<span class="over">${way} · ${stop.at - first + 1} of ${stop.of}</span> ${escape(shorten(network.title(stop.step), 90))}`;
}

/** A value of the network as a heat map: the sample's part. */
function valueMap(page, id, { kind = "value", data, ...more } = {}) {
  const { network, sample, stop } = page;
  const whole = stop.step >= 0 && network.isShared(stop.step) && network.shape(id).length <= 2;
  const { shape, start } = whole
    ? { shape: network.shape(id), start: 0 }
    : network.part(id, sample);
  const name = network.name(id);
  if (!data && !network.known(id)) {
    return element(
      `<p class="map note">${code(name)} ${shapeText(shape)}: too large for a page, so its values are left out.</p>`,
    );
  }
  const words = kind === "value" && !data ? network.words(id, sample) : null;
  return heatmap({
    key: `${page.stop.phase}${page.stop.step}-${id}-${kind}`,
    name,
    shape,
    start,
    full: network.shape(id),
    data: data ?? network.value(id),
    kind,
    ...(kind === "value" && !data ? { write: (v, digits) => network.text(id, v, digits) } : {}),
    title: words && `${code(name)}: ${escape(words.join(" "))}`,
    ...more,
  });
}

/** Maps side by side, each with the operator before it. */
function row(...parts) {
  const out = element('<div class="maps"></div>');
  let last = out;
  for (const part of parts.filter(Boolean)) {
    if (part.className === "operator") out.append((last = element('<div class="maps"></div>')));
    last.append(part);
    if (part.className !== "operator") last = out;
  }
  return out;
}
const sign = (text) => element(`<span class="operator" aria-hidden="true">${text}</span>`);

// ── start and end ────────────────────────────────────────────────────────────────────────────────

function startParts(page) {
  const { network } = page;
  const inputs = network.inputs
    .filter((n) => n.kind !== "parameter" && network.readers.has(n.id))
    .slice(0, 4);
  return [
    row(
      ...inputs.map((n) =>
        valueMap(page, n.id, {
          pick: network.isChangeable(n.id) ? (index) => page.choose(n.id, index) : undefined,
        }),
      ),
    ),
  ];
}

function endParts(page) {
  const { network } = page;
  const found = network.inputs.filter((n) => network.gradient(n.id)?.length);
  const sizes = found.map((n) => norm(network.gradient(n.id)));
  const top = Math.max(...sizes, 1e-300);
  const order = found.map((n, k) => [n, sizes[k]]).sort((a, b) => b[1] - a[1]);
  const rows = order.map(([n, size]) => {
    const index = strongest(network, n.id);
    const g = Number(network.gradient(n.id)[index]);
    return [
      code(n.name),
      shapeText(n.shape),
      `<span class="bar" style="--v:${(size / top).toFixed(3)}">${number(size)}</span>`,
      `<button type="button" class="link" data-choose="${n.id}" data-at="${index}" data-key="end-${n.id}">${escape(elementName(n.name, index, n.shape))}</button> ${signed(g)}${oneOf(alike(network.gradient(n.id)))}`,
    ];
  });
  const heads = [
    "parameter",
    "shape",
    "length of its gradient",
    "its number that is largest in size",
  ];
  const flow = network.steps.length > 2 ? gradientFlow(page) : null;
  return [element(table(heads, rows, 2, "Gradients of the parameters")), flow];
}

// ── forward ──────────────────────────────────────────────────────────────────────────────────────

function forwardParts(page, unit) {
  const { network, stop } = page;
  const step = network.steps[stop.step];
  const inputs = step.inputs.filter((id) => network.nodes.get(id).phase !== "fixed").slice(0, 6);
  const gradientOf = (id) => {
    const g = network.gradient(id);
    return g && ((flat) => `gradient ${number(Number(g[flat]))}`);
  };
  const pickable = (id) =>
    network.isChangeable(id) ? (index) => page.choose(id, index) : undefined;
  const own = page.choice.number;
  const chosen = (id) => (own?.id === id ? own.index : -1);
  return [
    row(
      ...inputs.map((id) =>
        valueMap(page, id, {
          pick: pickable(id),
          chosen: chosen(id),
          say: gradientOf(id),
          width: 220,
        }),
      ),
      sign("→"),
      ...step.outputs.map((id) =>
        valueMap(page, id, {
          chosen: unit.id === id ? unit.index : -1,
          pick: (index) => page.pickUnit(id, index),
          width: 260,
        }),
      ),
    ),
  ];
}

// ── backward ─────────────────────────────────────────────────────────────────────────────────────

function backwardParts(page, unit, input) {
  const { network, stop } = page;
  const k = stop.step;
  const parts = [];
  const upstream = valueMap(page, unit.id, {
    kind: "gradient",
    data: network.gradient(unit.id),
    chosen: unit.index,
    name: `∂loss/∂${network.name(unit.id)}`,
    title: `upstream: ${code(`∂loss/∂${network.name(unit.id)}`)}`,
    pick: (index) => page.pickUnit(unit.id, index),
  });
  const inputs = network.steps[k].inputs.filter((id) => network.gradient(id));
  const apart = inputs.some((id) => !network.isElementwise(k, id, unit.id)); // else it is shown below
  if (network.value(unit.id).length > 1 && apart)
    parts.push(row(upstream, ...otherOutputs(page, unit)));
  inputs.sort((a, b) => Number(b === input?.id) - Number(a === input?.id));
  for (const id of inputs.slice(0, 5)) parts.push(chain(page, unit, id, input));
  if (inputs.length > 5)
    parts.push(
      element(
        `<p class="note">${plural(inputs.length - 5, "more input")} of this step receive a gradient in the same way.</p>`,
      ),
    );
  if (input) parts.push(total(page, unit, input));
  return parts;
}

function otherOutputs(page, unit) {
  const { network, stop } = page;
  const others = network.steps[stop.step].outputs.filter(
    (id) => id !== unit.id && network.gradient(id),
  );
  return others.map((id) =>
    valueMap(page, id, {
      kind: "gradient",
      data: network.gradient(id),
      name: `∂loss/∂${network.name(id)}`,
      title: `upstream: ${code(`∂loss/∂${network.name(id)}`)}`,
      pick: (index) => page.pickUnit(id, index),
    }),
  );
}

/** upstream × local = product, for one unit and one input. */
function product({ network, stop }, unit, input) {
  const g = Number(network.gradient(unit.id)?.[unit.index] ?? 0);
  const local = network.row(stop.step, unit.id, unit.index).get(input.id)?.[input.index] ?? 0;
  const out = network.element(unit.id, unit.index);
  const from = network.element(input.id, input.index);
  const value = Number(network.value(input.id)[input.index]);
  const cell = (kind, v, label, under) =>
    `<div class="factor ${kind}${v < 0 ? " minus" : ""}"><dt>${label}</dt><dd data-number="${v}">${number(v)}</dd><dd class="under">${under}</dd></div>`;
  return element(`<dl class="product" aria-label="the chain rule in numbers">
    ${cell("value", value, "value", code(from))}
    ${cell("gradient", g, "upstream gradient", code(`∂loss/∂${out}`))}<span class="operator" aria-hidden="true">×</span>
    ${cell("local", local, "local derivative", code(`∂${out}/∂${from}`))}<span class="operator" aria-hidden="true">=</span>
    ${cell("gradient strong", g * local, "product", `share of ${code(`∂loss/∂${from}`)}`)}</dl>`);
}

/** One input of the step: local derivative × upstream = share; all shares together the gradient. */
function chain(page, unit, id, input) {
  const { network, stop } = page;
  const name = network.name(id);
  const chosen = input?.id === id ? input.index : -1;
  const alone = network.value(unit.id).length === 1;
  const pick = (index) => page.pickInput(id, index);
  const whole = valueMap(page, id, {
    kind: "gradient",
    data: network.gradient(id),
    chosen,
    pick,
    width: 190,
    name: `∂loss/∂${name}`,
    title: `${alone ? "gradient" : "all shares"}: ${code(`∂loss/∂${name}`)}`,
    say: (flat) => `value ${number(Number(network.value(id)[flat]))}`,
  });
  const section = element(`<section class="chain"><h3>To ${code(name)}</h3></section>`);
  const slopes = network.isElementwise(stop.step, id, unit.id)
    ? network.slopes(stop.step, id, unit.id)
    : null; // also where Python alone computes the step
  if (slopes && network.gradient(unit.id)) {
    const scale = Math.max(greatest(slopes), 1e-300);
    section.append(
      row(
        valueMap(page, unit.id, {
          kind: "gradient",
          data: network.gradient(unit.id),
          chosen: unit.index,
          width: 190,
          name: `∂loss/∂${network.name(unit.id)}`,
          title: "upstream",
          pick: (index) => page.pickUnit(unit.id, index),
          key: `up-${stop.step}-${id}`,
        }),
        sign("×"),
        valueMap(page, id, {
          data: slopes,
          scale,
          width: 190,
          name: `∂${network.name(unit.id)}/∂${name}`,
          title: "local derivative, number by number",
          chosen: unit.index,
          pick,
          key: `local-${stop.step}-${id}`,
        }),
        sign("="),
        whole,
      ),
    );
    return section;
  }
  const local = network.row(stop.step, unit.id, unit.index).get(id);
  if (!local) return null;
  const g = Number(network.gradient(unit.id)?.[unit.index] ?? 0);
  const share = Float64Array.from(local, (v) => v * g);
  const out = network.element(unit.id, unit.index);
  const scale = Math.max(greatest(network.gradient(id)), greatest(share));
  const shares = () =>
    valueMap(page, id, {
      kind: "gradient",
      data: share,
      scale,
      chosen,
      pick,
      width: 190,
      name: `share of ∂loss/∂${name}`,
      title: `share through ${code(out)}`,
      key: `share-${stop.step}-${id}`,
    });
  section.append(
    row(
      valueMap(page, id, {
        data: local,
        chosen,
        pick,
        width: 190,
        name: `∂${out}/∂${name}`,
        title: `local: ${code(`∂${out}/∂${name}`)}`,
        key: `local-${stop.step}-${id}`,
      }),
      sign(`× ${enclosed(g)} =`),
      ...(alone ? [] : [shares(), sign("+ … =")]),
      whole,
    ),
  );
  return section;
}

/** The gradient of one input as the sum over all units of the step: upstream × local each. */
function total(page, unit, input) {
  const { network, stop } = page;
  const local = network.column(stop.step, input.id, input.index).get(unit.id);
  if (!local || local.length < 2 || network.isElementwise(stop.step, input.id, unit.id))
    return null;
  const g = network.gradient(unit.id);
  if (!g) return null;
  const terms = Array.from(local, (v, u) => ({ u, upstream: Number(g[u]), local: v }))
    .map((t) => ({ ...t, share: t.upstream * t.local }))
    .filter((t) => t.share !== 0);
  if (!terms.length) return null;
  terms.sort((a, b) => Math.abs(b.share) - Math.abs(a.share));
  const sum = terms.reduce((s, t) => s + t.share, 0);
  const rows = terms
    .slice(0, 8)
    .map((t) => [
      code(network.element(unit.id, t.u)),
      number(t.upstream),
      number(t.local),
      number(t.share),
    ]);
  const rest = terms.slice(8).reduce((s, t) => s + t.share, 0);
  if (terms.length > 8) rows.push([`${terms.length - 8} more`, "", "", number(rest)]);
  const from = network.element(input.id, input.index);
  rows.push(["<strong>sum</strong>", "", "", `<strong data-sum="${sum}">${number(sum)}</strong>`]);
  const section = element(
    `<section class="total"><h3>${code(`∂loss/∂${from}`)} adds up</h3></section>`,
  );
  const gradient = Number(network.gradient(input.id)[input.index]);
  section.append(
    element(
      table(
        ["through", "upstream", "local", "product"],
        rows,
        1,
        `Shares of ∂loss/∂${escape(from)}`,
      ),
    ),
  );
  const elsewhere = gradient - sum;
  if (Math.abs(elsewhere) > 1e-5 * (Math.abs(gradient) + Math.abs(sum))) {
    section.append(
      element(
        `<p class="note">${code(from)} is also read elsewhere: other steps add ${number(elsewhere)}, so its gradient is ${number(gradient)}.</p>`,
      ),
    );
  }
  return section;
}
