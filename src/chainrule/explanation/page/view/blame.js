// The paths that carry blame to a chosen number, ranked by their share of its gradient.

const MOST_PATHS = 8;

function blamePanel(page, root) {
  const { network, chosen } = page;
  root.replaceChildren();
  page.paths = [];
  if (!chosen || !network.known(chosen.id) || !network.gradient(chosen.id)) {
    root.append(
      element(
        `<p class="note">${chosen && network.known(chosen.id) ? `${code(network.name(chosen.id))} has no gradient here: set <code>requires_grad=True</code> on it to see what it does to the loss.` : "Choose a weight: click on a line or a cell, or press Enter on one in a heat map."}</p>`,
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
      `<p class="say">The gradient of ${code(name)} is <strong data-gradient="${gradient}">${number(gradient)}</strong>${found ? ". It came from the loss along these paths; the share of each is the product of its local derivatives." : "; it passes a step that the page cannot compute."}</p>`,
    ),
  );
  if (!found) return;
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
      `<p class="note">Sum of the shares: <strong data-shares="${sum}">${number(sum)}</strong></p>`,
    ),
  );
  const shown = found.paths[page.path]?.path;
  if (shown) root.append(wayTable(network, shown));
  for (const button of root.querySelectorAll("[data-path]")) {
    const k = Number(button.dataset.path);
    button.addEventListener("click", () => page.showPath(page.path === k ? null : k));
  }
}

/** A path as words: the values that it passes, up to the loss. */
function pathWords(network, path) {
  return path.map((hop) => `→ ${code(network.element(hop.node, hop.index))}`).join(" ");
}

/** The local derivatives along a path, whose product is its share. */
function wayTable(network, path) {
  const rows = path.map((hop) => [
    code(network.element(hop.node, hop.index)),
    number(hop.value),
    number(hop.local),
  ]);
  rows.push([
    "<strong>product</strong>",
    "",
    `<strong>${number(path.reduce((p, hop) => p * hop.local, 1))}</strong>`,
  ]);
  return element(table(["along the path", "value", "local"], rows, 1, "The chosen path"));
}
