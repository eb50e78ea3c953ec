// Closer looks at steps whose inside is worth a picture of its own.

/** The closer looks at the step of the stop: one for each operation that has one. */
function closerLooks(page) {
  const { network, stop } = page;
  const out = [];
  if (network.steps[stop.step].outputs.includes(network.graph.loss))
    out.push(crossEntropyLook(page));
  out.push(repeatedLook(page));
  for (const id of network.steps[stop.step].nodes) {
    const node = network.nodes.get(id);
    if (node.in.some((i) => network.pass.value(i) === undefined)) continue;
    const look = LOOKS[node.op];
    if (look) out.push(look(page, node));
  }
  return out;
}

const LOOKS = {
  convolution: convolutionLook,
  scan: recurrenceLook,
  attention: attentionLook,
  matmul: mixtureLook,
  standardise: standardiseLook,
};

function look(title, words) {
  return element(`<section class="look"><h3>${title}</h3><p class="say">${words}</p></section>`);
}

/** The upstream gradients of a node's results, as the chain rule had them. */
function upstreamOf(network, node) {
  const pull = network.steps.flatMap((s) => s.pulls).find((p) => p.node === node.id);
  return (
    pull?.upstream.map((id) => (id === null || id === undefined ? null : network.value(id))) ?? []
  );
}

/** A place that a picture remembers, such as the position of a window. */
function remembered(page, key, standard) {
  if (!page.places.has(key)) page.places.set(key, standard());
  return page.places.get(key);
}
