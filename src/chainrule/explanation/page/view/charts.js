// Small charts: bars, and a curve.

/** Bars for positive numbers; by decades if they are far apart. */
function bars({ key, title, labels, values, before, what, each: wanted }) {
  const finite = [...values, ...(before ?? [])].filter((v) => v > 0 && Number.isFinite(v));
  const [low, high] = extent(finite);
  const log = finite.length > 1 && high / low > 30;
  const floor = log ? Math.floor(Math.log10(low)) - 0.3 : 0;
  const share = (v) =>
    v > 0 ? (log ? (Math.log10(v) - floor) / (Math.log10(high) - floor) : v / high) : 0;
  const room = Math.min(760, innerWidth - 40);
  const each = wanted ?? Math.max(12, Math.min(64, room / values.length));
  const left = log ? 48 : 0;
  const [width, height] = [left + each * values.length, 150];
  const powers = log
    ? Array.from(
        { length: Math.floor(Math.log10(high)) - Math.ceil(floor) + 1 },
        (_, k) => 10 ** (Math.ceil(floor) + k),
      )
    : [];
  const lines = powers.map((v) => {
    const y = (height - share(v) * (height - 22)).toFixed(1);
    return `<path class="grid" d="M${left} ${y}H${width}"/><text class="soft" x="${left - 6}" y="${Number(y) + 4}" text-anchor="end">${number(v)}</text>`;
  });
  const parts = values.map((v, k) => {
    const tall = Math.max(v > 0 ? 2 : 0, share(v) * (height - 22));
    const x = left + k * each + each * 0.14;
    const old = before ? share(before[k]) * (height - 22) : 0;
    const outline =
      old > 0
        ? `<rect class="was" x="${(x - 2).toFixed(1)}" y="${(height - old).toFixed(1)}" width="${(each * 0.72 + 4).toFixed(1)}" height="${old.toFixed(1)}"/>`
        : "";
    const shown =
      each > 34
        ? `<text x="${left + (k + 0.5) * each}" y="${height - tall - 5}" text-anchor="middle">${brief(v)}</text>`
        : "";
    return `<g><title>${escape(`${labels[k]}: ${number(v)}${before ? `, as given ${number(before[k])}` : ""}`)}</title><rect class="bar-up" x="${x.toFixed(1)}" y="${(height - tall).toFixed(1)}" width="${(each * 0.72).toFixed(1)}" height="${tall.toFixed(1)}"/>${outline}${shown}</g>`;
  });
  const limit = Math.max(2, Math.floor(each / 6.6));
  const every = Math.ceil(24 / each);
  const names = labels.map((l, k) =>
    k % every
      ? ""
      : `<text class="soft" x="${(left + (k + 0.5) * each).toFixed(1)}" y="${height + 15}" text-anchor="middle">${escape(shorten(String(l), limit))}</text>`,
  );
  const figure =
    element(`<figure class="chart-box"><figcaption>${title}${log ? "; each line of the scale is ten times the one below it" : ""}${before ? "; outlines: as given" : ""}</figcaption>
    <div class="wide" tabindex="0" role="group" aria-label="${escape(what)}"><svg class="small" role="img" aria-label="${escape(`${what}: ${labels.map((l, k) => `${l} ${number(values[k])}`).join(", ")}`)}" width="${width}" height="${height + 20}" viewBox="0 0 ${width} ${height + 20}"><path class="axis" d="M${left} ${height}H${width}"/>${lines.join("")}${parts.join("")}${names.join("")}</svg></div></figure>`);
  figure.append(
    tableBehind(key, () =>
      table(
        ["", what, ...(before ? ["as given"] : [])],
        labels.map((l, k) => [
          escape(l),
          number(values[k], 6),
          ...(before ? [number(before[k], 6)] : []),
        ]),
        1,
        escape(what),
      ),
    ),
  );
  return figure;
}

/** A curve of a loss over steps, with its ends as numbers; `text` writes a loss. */
function curve({ key, title, values, text }) {
  const [width, height, left, top] = [300, 120, 6, 16];
  const finite = values.filter(Number.isFinite);
  const [low, high] = extent(finite);
  const x = (k) => left + (k / Math.max(1, values.length - 1)) * (width - 2 * left);
  const y = (v) => top + (1 - (v - low) / (high - low || 1)) * (height - top - 20);
  const d = values
    .map((v, k) =>
      Number.isFinite(v)
        ? `${k && Number.isFinite(values[k - 1]) ? "L" : "M"}${x(k).toFixed(1)} ${y(v).toFixed(1)}`
        : "",
    )
    .join("");
  const last = values.at(-1);
  const dot = Number.isFinite(last)
    ? `<circle cx="${x(values.length - 1).toFixed(1)}" cy="${y(last).toFixed(1)}" r="3.5"/>`
    : "";
  const figure = element(
    `<figure class="chart-box"><figcaption>${title}</figcaption><svg class="small curve" role="img" aria-label="${escape(`${title}: from ${text(values[0])} to ${text(last)} in ${values.length - 1} steps`)}" viewBox="0 0 ${width} ${height}"><path class="axis" d="M${left} ${height - 16}H${width - left}"/><path class="line" d="${d}"/>${dot}<text class="soft" x="${left}" y="${height - 3}">0</text><text class="soft" x="${width - left}" y="${height - 3}" text-anchor="end">${plural(values.length - 1, "step")}</text><text x="${left}" y="11">${text(values[0])}</text><text x="${width - left}" y="11" text-anchor="end">${text(last)}</text></svg></figure>`,
  );
  figure.append(
    tableBehind(key, () =>
      table(
        ["step", "loss"],
        values.map((v, k) => [String(k), text(v)]),
        1,
        "Loss after each step",
      ),
    ),
  );
  return figure;
}
