// The paths that carry blame to a chosen number, ranked by their share of its gradient.

const MOST_PATHS = 8;

function blamePanel(page, root) {
  const { network } = page;
  const chosen = page.choice.number;
  root.replaceChildren();
  page.paths = [];
  if (!chosen || !network.known(chosen.id) || !network.gradient(chosen.id)) {
    root.append(
      element(
        `<p class="note">${chosen && network.known(chosen.id) ? `${code(network.name(chosen.id))} has no gradient here: ${network.contents.ready ? "it is data, and gradients are those of parameters" : "set <code>requires_grad=True</code> on it to see what it does to the loss"}.` : "Choose a weight: click on a line or a cell, or press Enter on one in a heat map."}</p>`,
      ),
    );
    return;
  }
  const { id, index } = chosen;
  const name = network.element(id, index);
  const gradient = Number(network.gradient(id)[index]);
  const found = network.pass.paths(id, index, MOST_PATHS);
  page.paths = found?.paths ?? [];
  root.append(
    element(
      `<p class="say">The gradient of ${code(name)} is <strong data-gradient="${gradient}">${number(gradient)}</strong>${found?.paths.length ? ". It came from the loss along these paths; the share of each is the product of its local derivatives." : found ? "." : "; it passes a step that the page cannot compute."}</p>`,
    ),
  );
  if (!found) return;
  if (!found.paths.length) {
    root.append(element(`<p class="say stopped">${stoppedWords(page, id, index)}</p>`));
    return;
  }
  const sum = found.paths.reduce((s, p) => s + p.share, found.rest);
  const top = Math.max(...found.paths.map((p) => Math.abs(p.share)), Math.abs(found.rest), 1e-300);
  const bar = (share) =>
    `<span class="bar ${share < 0 ? "minus" : ""}" style="--v:${(Math.abs(share) / top).toFixed(3)}">${number(share)}</span>`;
  const items = found.paths.map(
    (p, k) =>
      `<li><button type="button" class="way" data-path="${k}" data-key="path-${k}" aria-pressed="${page.path === k}">${bar(p.share)}<span class="words">${pathWords(network, p.path)}</span></button></li>`,
  );
  if (Math.abs(found.rest) > 1e-9 * top)
    items.push(
      `<li><span class="way">${bar(found.rest)}<span class="words">all other paths</span></span></li>`,
    );
  root.append(element(`<ol class="ways">${items.join("")}</ol>`));
  root.append(
    element(
      `<p class="note">Sum of the shares: <strong data-shares="${sum}">${number(sum)}</strong>${found.count ? `, of ${plural(found.count, "path")} in all` : ""}</p>`,
    ),
  );
  const words = cancelWords(found);
  if (words) root.append(element(`<p class="note cancel">${words}</p>`));
  root.append(wayTable(network, found.paths[page.path ?? 0].path, page.path === null));
  for (const button of root.querySelectorAll("[data-path]")) {
    const k = Number(button.dataset.path);
    button.addEventListener("click", () => page.showPath(page.path === k ? null : k));
  }
}

/** Why nothing reaches a number: the first step on each way whose local derivative is 0. */
function stoppedWords(page, id, index) {
  const { network } = page;
  const ends = network.pass.ends(id, index);
  if (!ends.length) return "No path reaches it: no step on the way to the loss reads it.";
  const at = ends.slice(0, 3).map((end) => {
    const [out] = network.steps[end.step].outputs;
    const partner = network.partner(end.step, end.node, end.index, out, -1);
    const where =
      partner < 0 ? escape(network.title(end.step)) : code(network.element(out, partner));
    return `${where}, where the local derivative is 0${zeroWords(page, end, out)}`;
  });
  const more = ends.length > 3 ? `; and at ${plural(ends.length - 3, "more place")}` : "";
  return `No path reaches it: stopped at ${at.join("; at ")}${more}.`;
}

/** " because …": the number that makes a local derivative 0, where it is known. */
function zeroWords({ network, sample }, { step: k, node, index }, out) {
  const because = (id, flat) =>
    ` because ${code(network.element(id, flat))} = ${number(Number(network.value(id)[flat]))}`;
  if (network.isElementwise(k, node, out)) return because(node, index);
  for (const input of network.steps[k].inputs) {
    const weights = isData(network, input) && weightsOf(network, k, input, out, sample);
    if (!weights || weights.id !== node) continue;
    const [from, to] = [input, out].map((id) => network.part(id, sample));
    for (let i = 0; i < sizeOf(from.shape); i++) {
      for (let o = 0; o < sizeOf(to.shape); o++)
        if (weights.at(i, o) === index) return because(input, from.start + i);
    }
  }
  return "";
}

/** That the shares of a gradient cancel, or that the paths which are not listed carry more. */
function cancelWords({ paths, rest }) {
  const shares = [...paths.map((p) => p.share), rest];
  const sizes = shares.map(Math.abs);
  const all = sizes.reduce((a, b) => a + b, 0);
  const out = [];
  if (Math.abs(shares.reduce((a, b) => a + b, 0)) < all / 2)
    out.push(
      "Shares above and below 0 cancel: together they are less than half of what they would be with one sign.",
    );
  if (Math.abs(rest) > Math.max(...sizes.slice(0, -1)))
    out.push("The other paths are many: together they carry more than any one that is listed.");
  return out.join(" ");
}

/** A path as words: the values that it passes, up to the loss. */
function pathWords(network, path) {
  return path.map((hop) => `→ ${code(network.element(hop.node, hop.index))}`).join(" ");
}

/** The local derivatives along a path, whose product is its share. */
function wayTable(network, path, isLargest) {
  const rows = path.map((hop) => [
    code(network.element(hop.node, hop.index)),
    network.text(hop.node, hop.value),
    number(hop.local),
  ]);
  rows.push([
    "<strong>product</strong>",
    "",
    `<strong>${number(path.reduce((p, hop) => p * hop.local, 1))}</strong>`,
  ]);
  const title = isLargest ? "The path with the largest share" : "The chosen path";
  const out = element('<div class="factors"></div>');
  out.append(element(table(["along the path", "value", "local"], rows, 1, title)));
  out.append(
    element(
      '<p class="note">local: ∂ of this row by ∂ of the row above; of the first row by the chosen number.</p>',
    ),
  );
  return out;
}
