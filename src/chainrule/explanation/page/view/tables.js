// Tables, most of them behind a picture.

const opened = new Set(); // keys of the tables that are open
const MOST_CELLS = 1200; // of a table of values

/** A table; the first `words` columns are text. Cells are HTML. */
function table(heads, rows, words = 1, caption = "") {
  const kind = (k) => (k < words ? ' class="word"' : "");
  const head = heads.map((h, k) => `<th scope="col"${kind(k)}>${h}</th>`).join("");
  const body = rows
    .map(
      (row) =>
        `<tr>${row.map((c, k) => (k ? `<td${kind(k)}>${c}</td>` : `<th scope="row" class="word">${c}</th>`)).join("")}</tr>`,
    )
    .join("");
  const title = caption ? `<caption>${caption}</caption>` : "";
  return `<div class="wide" tabindex="0" role="group" aria-label="${caption ? escape(caption.replace(/<[^>]*>/g, "")) : "table"}"><table>${title}<thead><tr>${head}</tr></thead><tbody>${body}</tbody></table></div>`;
}

/** A table that opens on a click, filled when it does. */
function tableBehind(key, body, title = "Table") {
  const details = element(
    `<details class="behind"><summary data-key="${escape(key)}-table">${title}</summary></details>`,
  );
  const fill = () =>
    details.childElementCount === 1 && details.insertAdjacentHTML("beforeend", body());
  if (opened.has(key)) {
    details.open = true;
    fill();
  }
  details.addEventListener("toggle", () => {
    if (details.open) {
      opened.add(key);
      fill();
    } else opened.delete(key);
  });
  return details;
}

function valuesTable(name, plan, part, start, full, write) {
  const columns = Math.min(plan.columns, 40);
  const rows = [];
  for (let t = 0; t < plan.tiles && rows.length * columns < MOST_CELLS; t++) {
    for (let r = 0; r < plan.rows && rows.length * columns < MOST_CELLS; r++) {
      const cells = Array.from({ length: columns }, (_, c) =>
        plan.at(t, r, c) < part.length ? write(part[plan.at(t, r, c)], 6) : "",
      );
      rows.push([escape(elementName(name, start + plan.at(t, r, 0), full)), ...cells]);
    }
  }
  const left = part.length - rows.length * columns;
  const heads = [
    "first element of the row",
    ...Array.from({ length: columns }, (_, c) => String(c)),
  ];
  const note =
    left > 0
      ? `<p class="note">${plural(left, "more value")} left out here; the arrow keys read them in the picture.</p>`
      : "";
  return table(heads, rows, 1, `Values of ${escape(name)}`) + note;
}

/** The range of each value of the network, and of its gradient. */
function networkTable(network) {
  const ids = [...network.inputs.map((n) => n.id), ...network.steps.flatMap((s) => s.outputs)];
  const range = (values, id) => {
    if (!values) return "–";
    const [low, high] = extent(values).map((v) => number(v, 3));
    return values.length === 1 ? network.text(id, Number(values[0])) : `${low} to ${high}`;
  };
  const rows = ids.map((id) => [
    code(network.name(id)),
    shapeText(network.shape(id)),
    range(network.known(id) ? network.value(id) : null, id),
    range(network.gradient(id)),
  ]);
  const heads = ["value", "shape", "values", "∂loss/∂value"];
  return table(heads, rows, 2, "The network’s values and gradients");
}

/** Pairs of what something is and its value. Both are HTML. */
function factList(facts, kind = "") {
  const rows = facts.map(([what, value]) => `<div><dt>${what}</dt><dd>${value}</dd></div>`);
  return element(`<dl class="facts ${kind}">${rows.join("")}</dl>`);
}
