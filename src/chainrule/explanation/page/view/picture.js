// The picture of the network, as SVG.

const MOST_SHRUNK = 1.4; // a picture that is wider than its room is drawn smaller up to this

/**
 * The picture as an SVG string.
 *
 * view    from `arrange`
 * stop    { phase, step }: where the reader is
 * marks   [{ id, index }]: the numbers that are explained, and that the reader has chosen
 * weight  { id, index }: the parameter's or input's number that is chosen
 * paths   [{ path, share }] of blame to draw thin, the larger the share the wider
 * path    a path of blame to draw, or null
 * room    the width that there is for it, in pixels
 */
function drawPicture(network, view, { stop, marks, weight, paths, path, sample, room }) {
  const { vertical } = view;
  const head = vertical ? 0 : 26;
  const foot = vertical ? 0 : 34;
  const [width, height] = vertical
    ? [view.cross + 8, view.main]
    : [view.main, view.cross + head + foot];
  const at = (main, cross) => (vertical ? [cross + 4, main] : [main, cross + head]);
  const scene = new Scene(network, view, at, stop, sample, weight);
  const parts = [scene.highlight(height)];
  view.columns.forEach((c, index) => c.entry && parts.push(scene.gap(c, index)));
  for (const block of view.blocks.values()) parts.push(scene.block(block, marks));
  parts.push(scene.trace(paths));
  if (path) parts.push(scene.path(path));
  const title = `The network from its input to the loss: ${view.columns
    .flatMap((c) => c.ids)
    .map((id) => network.name(id))
    .join(", ")}`;
  const fit = width > room && width < MOST_SHRUNK * room ? room / width : 1; // a little too wide: smaller
  return `<svg class="net" role="img" aria-label="${escape(title)}" width="${(fit * width).toFixed(0)}" height="${(fit * height).toFixed(0)}" viewBox="0 0 ${width.toFixed(1)} ${height.toFixed(1)}">${parts.join("")}</svg>`;
}

class Scene {
  constructor(network, view, at, stop, sample, weight) {
    Object.assign(this, { network, view, at, stop, sample, weight });
  }

  /** Whether a step has been passed in the direction of the stop. */
  reached(k) {
    const { phase, step } = this.stop;
    if (phase === "forward") return k <= step;
    if (phase === "backward") return k >= step;
    return true;
  }

  /** What a value's block shows at this stop: its value, or the gradient that has reached it. */
  shows(id) {
    const { phase, step } = this.stop;
    const made = this.network.maker.get(id) ?? -1;
    if (phase === "start") return { kind: "value" };
    if (phase === "forward") return { kind: "value", faint: made > step };
    const readers = this.network.readers.get(id) ?? [];
    const complete = phase === "end" || readers.every((k) => k >= step);
    if (complete && this.network.gradient(id)) return { kind: "gradient" };
    return { kind: "value", faint: true };
  }

  text(x, y, words, kind = "", anchor = "middle") {
    return `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" class="${kind}" text-anchor="${anchor}">${escape(words)}</text>`;
  }

  /** The band behind the step at which the reader is. */
  highlight(height) {
    const { phase, step } = this.stop;
    const c = this.view.columns.find((column) => column.entry?.steps.includes(step));
    if (!c || phase === "start" || phase === "end") return "";
    const [from, to] = [c.from - 2, c.at + c.size / 2 + 6];
    const box = this.view.vertical
      ? `x="0" y="${from}" width="${this.view.cross + 8}" height="${to - from}"`
      : `x="${from}" y="0" width="${to - from}" height="${height}"`;
    return `<rect class="here ${phase}" ${box} rx="6"/>`;
  }

  // ── between columns ────────────────────────────────────────────────────────────────────────────

  gap(c, index) {
    const { vertical } = this.view;
    const middle = c.from + c.gap.size / 2;
    const passed = c.entry.steps.some((k) => this.reached(k));
    const parts = [];
    if (c.gap.kind === "folded") parts.push(this.folded(c, middle));
    for (const link of c.gap.links ?? []) parts.push(this.link(link, c.entry.steps[0], c.gap.kind));
    if (c.gap.kind === "matrix") parts.push(this.matrix(c.gap.matrix, c, middle));
    for (const id of c.inputs) {
      const far = this.view.column.get(id);
      if (far < index - 1) parts.push(this.arc(this.view.blocks.get(id), c, index));
    }
    if (c.gap.kind !== "folded") {
      parts.push(
        vertical
          ? this.text(6, middle + 4, c.entry.label, "kind", "start")
          : this.text(middle, 16, c.entry.label, "kind"),
      );
    }
    return `<g class="${passed ? "" : "faint"}">${parts.join("")}</g>`;
  }

  folded(c, middle) {
    const wide = 6.6 * c.entry.label.length + 20;
    const [x, y] = this.at(middle, this.view.cross / 2);
    const lines = this.view.vertical
      ? `M${x} ${c.from}V${c.from + c.gap.size}`
      : `M${c.from} ${y}H${c.from + c.gap.size}`;
    return `<path class="tie" d="${lines}"/><g class="fold" data-step="${this.stop.phase === "start" || this.stop.phase === "forward" ? c.entry.steps[0] : c.entry.steps.at(-1)}"><rect x="${x - wide / 2}" y="${y - 17}" width="${wide}" height="34" rx="6"/>${this.text(x, y + 4, c.entry.label)}</g>`;
  }

  link(link, k, gapKind) {
    const { from, to } = link;
    if (link.kind === "weights") return this.weights(link, k);
    if (link.kind === "ties" && gapKind !== "matrix") {
      return `<path class="tie" d="${link.ties.map(([i, o]) => this.line(from, i, to, o)).join("")}"/>`;
    }
    return `<path class="band" d="${this.band(from, to)}"/>`;
  }

  line(from, i, to, o) {
    const [a, b] = [this.unit(from, i, 1), this.unit(to, o, -1)];
    return `M${a[0].toFixed(1)} ${a[1].toFixed(1)}L${b[0].toFixed(1)} ${b[1].toFixed(1)}`;
  }

  /** The edge of a unit on the side of the next column (1) or of the one before (-1). */
  unit(block, i, side) {
    const off = (i - (block.count - 1) / 2) * block.gap;
    return this.at(block.main + side * block.radius, block.cross + off);
  }

  weights({ from, to, weights }, k) {
    const { phase } = this.stop;
    const back = phase === "end" || (phase === "backward" && this.reached(k));
    const kind = back ? "gradient" : "value";
    const values = back ? this.network.gradient(weights.id) : this.network.value(weights.id);
    if (!values || !this.network.known(weights.id))
      return `<path class="band" d="${this.band(from, to)}"/>`;
    const scale = greatest(values) || 1;
    const lines = [];
    for (let i = 0; i < from.count; i++) {
      for (let o = 0; o < to.count; o++) {
        const flat = weights.at(i, o);
        const v = Number(values[flat]);
        const d = this.line(from, i, to, o);
        const width = 0.6 + 4.4 * (Math.abs(v) / scale);
        const name = this.network.element(weights.id, flat);
        const marked = this.weight?.id === weights.id && this.weight.index === flat;
        lines.push([
          marked ? Infinity : Math.abs(v),
          `<g class="weight${marked ? " marked" : ""}" data-id="${weights.id}" data-index="${flat}"><title>${escape(`${name} = ${number(Number(this.network.value(weights.id)[flat]))}`)}</title>${marked ? `<path class="mark" d="${d}" stroke-width="${(width + 4).toFixed(2)}"/>` : ""}<path class="${kind}${v < 0 ? " minus" : ""}" d="${d}" stroke-width="${width.toFixed(2)}"/><path class="hit" d="${d}"/></g>`,
        ]);
      }
    }
    return lines
      .sort((a, b) => a[0] - b[0])
      .map((l) => l[1])
      .join("");
  }

  band(from, to) {
    const ends = (b, side) =>
      [-1, 1].map((s) =>
        this.at(b.main + (side * b.along) / 2 + side * 3, b.cross + (s * b.across) / 2),
      );
    const [a, b] = ends(from, 1);
    const [c, d] = ends(to, -1);
    const p = ([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`;
    return `M${p(a)}L${p(c)}L${p(d)}L${p(b)}Z`;
  }

  /** A small heat map of the weights, where they are too many for lines. */
  matrix(id, c, middle) {
    const { phase, step } = this.stop;
    const back = phase === "end" || (phase === "backward" && c.entry.steps[0] >= step);
    const values = back ? this.network.gradient(id) : this.network.value(id);
    if (!values || !this.network.known(id)) return "";
    const plan = layout(this.network.shape(id));
    const tiles = Math.min(plan.tiles, 9);
    const wide = tiles > 4 ? 3 : tiles > 1 ? 2 : 1;
    const limit = (this.view.vertical ? 64 : 60) / (tiles > 1 ? wide : 1);
    const cell = Math.min(7, limit / plan.columns);
    const tall = Math.min(7, limit / plan.rows);
    const [w, h] = [plan.columns * cell, plan.rows * tall];
    const [width, height] = [wide * (w + 3) - 3, Math.ceil(tiles / wide) * (h + 3) - 3];
    const [x, y] = this.at(middle, this.view.cross / 2);
    const [left, top] = [x - width / 2, y - height / 2];
    const place = (t, r, col) => [
      (t % wide) * (w + 3) + col * cell,
      Math.floor(t / wide) * (h + 3) + r * tall,
    ];
    const drawn = { ...plan, shown: tiles, cell, tall, place, width, height, start: 0 };
    this.view.plans.set(id, drawn);
    const image = gridImage(drawn, values, 0, back ? "gradient" : "value");
    const name = this.network.name(id);
    const short = shorten(name.split(".").at(-1), 14);
    return `<g class="weight" data-id="${id}"><rect class="card" x="${left - 5}" y="${top - 5}" width="${width + 10}" height="${height + 10}" rx="3"/><image x="${left}" y="${top}" width="${width}" height="${height}" href="${image}"/></g>${this.view.vertical ? this.text(left + width + 11, y + 4, short, "soft", "start") : this.text(x, top + height + 19, short, "soft")}`;
  }

  /** A connection that goes past other columns. */
  arc(from, c, index) {
    const target = this.view.blocks.get(c.ids.find((id) => this.network.maker.has(id)));
    const [a, b] = [
      this.at(from.main, from.cross - from.across / 2 - 2),
      this.at(target.main, target.cross - target.across / 2 - 2),
    ];
    const { vertical } = this.view;
    const reach = 6 + 5 * Math.min(6, index - this.view.column.get(from.id));
    const over = vertical
      ? [this.view.cross - 2, (a[1] + b[1]) / 2]
      : [(a[0] + b[0]) / 2, Math.max(22, Math.min(a[1], b[1]) - reach)];
    return `<path class="arc" d="M${a.map((v) => v.toFixed(1)).join(" ")}Q${over.map((v) => v.toFixed(1)).join(" ")} ${b.map((v) => v.toFixed(1)).join(" ")}"/>`;
  }

  // ── values ─────────────────────────────────────────────────────────────────────────────────────

  block(block, marks) {
    const { kind, faint } = this.shows(block.id);
    const network = this.network;
    const known = kind === "gradient" || network.known(block.id);
    const values = kind === "gradient" ? network.gradient(block.id) : network.value(block.id);
    const name = shorten(network.name(block.id), 15);
    const { vertical } = this.view;
    const label = kind === "gradient" ? `∂loss/∂${shorten(network.name(block.id), 11)}` : name;
    const [x, y] = this.at(block.main, block.cross);
    const alone = this.view.columns[this.view.column.get(block.id)].ids.length === 1;
    const under = vertical ? "" : this.text(x, y + block.across / 2 + 15, label, "name");
    const free = this.view.cross - block.across > 160; // room beside the block
    const beside = !vertical
      ? ""
      : alone && free
        ? this.text(x + block.across / 2 + 8, y + 4, label, "name", "start")
        : this.text(x, y + block.along / 2 + 11, label, "name");
    const drawn =
      block.kind === "circles"
        ? this.circles(block, values, kind, marks)
        : this.grid(block, known ? values : null, kind, marks);
    return `<g class="${faint ? "faint" : ""}">${this.sheets(block)}${drawn}${under}${beside}</g>`;
  }

  /** The other samples of a batch, as sheets behind the one that is shown. */
  sheets(block) {
    const { batch } = this.network;
    if (batch < 2 || batch * block.count !== sizeOf(this.network.shape(block.id))) return "";
    const [x, y] = this.at(block.main, block.cross);
    const [along, across] = [block.along + 4, block.across + 4];
    const [w, h] = this.view.vertical ? [across, along] : [along, across];
    return [6, 3]
      .map(
        (d) =>
          `<rect class="sheet" x="${x - w / 2 + d}" y="${y - h / 2 - d}" width="${w}" height="${h}" rx="4"/>`,
      )
      .join("");
  }

  circles(block, values, kind, marks) {
    const whole = !this.network.isFloat(block.id);
    const scale = whole
      ? 0
      : greatest(Array.prototype.slice.call(values, block.start, block.start + block.count));
    const readers = this.network.readers.get(block.id) ?? [];
    const numbered =
      block.count > 1 &&
      readers.some((k) => this.network.steps[k].outputs.includes(this.network.graph.loss));
    const classes = this.network.contents.words;
    const labels =
      this.network.words(block.id, this.sample) ??
      (numbered && Array.from({ length: block.count }, (_, i) => classes[i] ?? String(i)));
    return Array.from({ length: block.count }, (_, i) => {
      const v = Number(values[block.start + i]);
      const [x, y] = this.at(block.main, block.cross + (i - (block.count - 1) / 2) * block.gap);
      const fill = shade(v, scale, kind);
      const flat = block.start + i;
      const marked = marks.some((m) => m.id === block.id && m.index === flat);
      const name = this.network.element(block.id, flat);
      const isSmall = v !== 0 && Math.abs(v) < 0.005 * Math.min(1, scale);
      const words = isSmall ? "~0" : brief(v);
      return `<g class="unit${marked ? " chosen" : ""}" data-id="${block.id}" data-index="${flat}"><title>${escape(`${kind === "gradient" ? "∂loss/∂" : ""}${name} = ${number(v)}`)}</title><circle class="${kind}${v < 0 ? " minus" : ""}" cx="${x.toFixed(1)}" cy="${y.toFixed(1)}" r="${block.radius}" fill="${css(fill)}"/><text x="${x.toFixed(1)}" y="${(y + 3.7).toFixed(1)}" text-anchor="middle" style="fill:${inkOn(fill)}${fitting(words, block.radius)}">${words}</text>${labels ? this.beside(block, x, y, labels[i]) : ""}</g>`;
    }).join("");
  }

  /** The class of a score, or the word of a number, beside it. */
  beside(block, x, y, label) {
    return this.view.vertical
      ? this.text(x, y - block.radius - 4, label, "index")
      : this.text(x + block.radius + 5, y + 4, label, "index", "start");
  }

  grid(block, values, kind, marks) {
    const [x, y] = this.at(block.main, block.cross);
    const [left, top] = [x - block.width / 2, y - block.height / 2];
    const card = `<rect class="card" x="${left - 2}" y="${top - 2}" width="${block.width + 4}" height="${block.height + 4}"/>`;
    if (!values) return `<g>${card}${this.text(x, y + 4, "left out", "soft")}</g>`;
    const image = gridImage(block, values, block.start, kind);
    const more =
      block.tiles > block.shown
        ? this.text(x, top - 5, `${block.shown} of ${block.tiles}`, "soft")
        : "";
    this.view.plans.set(block.id, block);
    const mark = marks
      .filter(
        (m) => m.id === block.id && m.index >= block.start && m.index < block.start + block.count,
      )
      .map((m) => placeIn(block, m.index - block.start))
      .filter(Boolean)
      .map(
        ([dx, dy]) =>
          `<rect class="frame" x="${left + dx - 1}" y="${top + dy - 1}" width="${block.cell + 2}" height="${block.cell + 2}"/>`,
      )
      .join("");
    return `<g class="grid-block" data-id="${block.id}">${card}<image x="${left}" y="${top}" width="${block.width}" height="${block.height}" href="${image}"/>${mark}${more}</g>`;
  }

  // ── a path of blame ────────────────────────────────────────────────────────────────────────────

  path(path) {
    const points = path.map(({ node, index }) => this.spot(node, index)).filter(Boolean);
    if (points.length < 2) return "";
    const d = route(points);
    const dots = points
      .map((p) => `<circle cx="${p[0].toFixed(1)}" cy="${p[1].toFixed(1)}" r="5"/>`)
      .join("");
    return `<g class="blame"><path class="under" d="${d}"/><path d="${d}"/>${dots}</g>`;
  }

  /** Many paths, without those through other samples. */
  trace(paths) {
    const top = greatest(paths.map((p) => p.share)) || 1;
    const lines = paths
      .filter(({ path }) => path.every(({ node, index }) => this.isShown(node, index)))
      .map(({ path, share }) => {
        const points = path.map(({ node, index }) => this.spot(node, index)).filter(Boolean);
        const width = 1 + (4 * Math.abs(share)) / top;
        return points.length < 2
          ? ""
          : `<path d="${route(points)}" stroke-width="${width.toFixed(1)}"/>`;
      });
    return `<g class="trace">${lines.join("")}</g>`;
  }

  isShown(id, flat) {
    const block = this.view.blocks.get(id);
    return !block || (flat >= block.start && flat < block.start + block.count);
  }

  /** The place of an element in the picture, or null. */
  spot(id, flat) {
    const block = this.view.blocks.get(id);
    if (!block) return this.weightSpot(id, flat);
    const inside = flat - block.start;
    if (inside < 0 || inside >= block.count) return this.at(block.main, block.cross);
    if (block.kind === "circles")
      return this.at(block.main, block.cross + (inside - (block.count - 1) / 2) * block.gap);
    const [x, y] = this.at(block.main, block.cross);
    const [left, top] = placeIn(block, inside) ?? [block.width / 2, block.height / 2];
    return [
      x - block.width / 2 + left + block.cell / 2,
      y - block.height / 2 + top + block.cell / 2,
    ];
  }

  /** The middle of a weight's line, or of the matrix that it is in. */
  weightSpot(id, flat) {
    for (const c of this.view.columns) {
      for (const link of c.gap?.links ?? []) {
        if (link.kind !== "weights" || link.weights.id !== id) continue;
        for (let i = 0; i < link.from.count; i++) {
          for (let o = 0; o < link.to.count; o++) {
            if (link.weights.at(i, o) !== flat) continue;
            const [a, b] = [this.unit(link.from, i, 1), this.unit(link.to, o, -1)];
            return [(a[0] + b[0]) / 2, (a[1] + b[1]) / 2];
          }
        }
      }
      const reads = c.entry?.steps.some((k) => this.network.steps[k].inputs.includes(id));
      if (reads) return this.at(c.from + c.gap.size / 2, this.view.cross / 2);
    }
    return null;
  }
}

/** The size of a text that fits into a circle; raised digits are narrow. */
function fitting(text, radius) {
  const wide = [...text].reduce((sum, c) => sum + (/[⁰¹²³⁴⁵⁶⁷⁸⁹⁻.]/.test(c) ? 0.4 : 0.62), 0);
  const size = (1.75 * radius) / wide;
  return size < 10.5 ? `;font-size:${Math.max(6.5, size).toFixed(1)}px` : "";
}

/** Fade the sides of a box behind which there is more to scroll to, and say so. */
function markMore(box) {
  const { scrollLeft, scrollWidth, clientWidth } = box;
  box.classList.toggle("more-before", scrollLeft > 4);
  box.classList.toggle("more-after", scrollLeft < scrollWidth - clientWidth - 4);
  box.title =
    scrollWidth > clientWidth + 4 ? "The picture is wider than its box: scroll sideways" : "";
}

/** The line through points, for a path element. */
function route(points) {
  return points.map((p, k) => `${k ? "L" : "M"}${p[0].toFixed(1)} ${p[1].toFixed(1)}`).join("");
}
