// A heat map: an array as a grid of colours, with its values at the pointer and at the arrow keys,
// and a table behind it.

const cursors = new Map(); // by the map's key: where its reader was

/**
 * A heat map as an element.
 *
 * key       names it: cursor and open table stay through redrawing
 * name, shape, data, start   the array `name`, of which the part of this shape from `start` is shown
 * full      the shape of the whole array, for the names of elements
 * kind      value or gradient
 * title     HTML above it
 * chosen    the flat index (in the whole array) that has a frame
 * pick      called with a flat index on a click or Enter
 * scale     the magnitude of full colour; the greatest by default
 * width     of the picture in pixels, at most
 * say       (flat) -> more text for the reading line
 * follow    whether the arrow keys choose, not only Enter
 * axes      [words at the rows, words at the columns], each a list or null
 * write     (value, digits) -> a number of it as text
 * frame     { row, column, rows, columns } of a window to outline in every tile
 */
function heatmap({
  key,
  name,
  shape,
  data,
  start = 0,
  full = shape,
  kind = "value",
  title,
  chosen = -1,
  pick,
  scale,
  width = 300,
  height = 260,
  say,
  frame,
  follow = false,
  axes = [],
  write = number,
}) {
  const plan = planOf(shape, width, height);
  const part = Array.prototype.slice.call(data, start, start + plan.count).map(Number);
  const keys = pick
    ? "Arrow keys read the cells, Enter chooses one."
    : "Arrow keys read the cells.";
  const figure = element(`<figure class="map">
    <figcaption>${title ?? code(name)} <span class="shape">${shapeText(shape)}</span></figcaption>
    <div class="grid" tabindex="0" role="application" aria-roledescription="heat map" data-key="${escape(key)}"
      aria-label="${escape(`Heat map of ${name}, ${shapeText(shape)}. ${keys}`)}"></div>
    <output class="reading"></output></figure>`);
  figure.style.setProperty("--wide", `${Math.max(plan.width, 190)}px`);
  const grid = figure.querySelector(".grid");
  grid.style.maxWidth = `${plan.width}px`;
  if (pick) grid.classList.add("pickable");
  label(grid, axes);
  const { canvas, pen } = gridCanvas(plan, part, {
    scale: scale ?? greatest(part),
    kind,
    ratio: Math.min(globalThis.devicePixelRatio || 1, 2),
  });
  canvas.setAttribute("aria-hidden", "true");
  grid.append(canvas);
  const isHere = chosen >= start && chosen < start + plan.count;
  const spot = isHere ? cellOf(plan, chosen - start) : null;
  outline(pen, plan, spot, frame);
  const flatOf = (cell) => start + plan.at(...cell);
  const text = (cell) => {
    const flat = flatOf(cell);
    const [from, to] = [axes[0]?.[cell[1]], axes[1]?.[cell[2]]];
    const named = from && to ? `${name}[${from}, ${to}]` : elementName(name, flat, full);
    return `${named} = ${write(Number(data[flat]), 6)}${say ? `, ${say(flat)}` : ""}`;
  };
  const range = part.some(Number.isFinite)
    ? extent(part)
        .map((v) => number(v, 3))
        .join(" to ")
    : "no finite value";
  const more = plan.shown < plan.tiles ? `, ${plan.shown} of ${plan.tiles} tiles shown` : "";
  const resting = plan.count === 1 ? text([0, 0, 0]) : range + more;
  read(figure, plan, {
    key,
    spot,
    text,
    resting,
    pick: pick && ((cell) => pick(flatOf(cell))),
    follow,
  });
  figure.append(tableBehind(key, () => valuesTable(name, plan, part, start, full, write)));
  return figure;
}

/** Words at the rows and at the columns of a map. */
function label(grid, [rows, columns]) {
  const longest = (words) => Math.max(0, ...(words ?? []).map((w) => w.length));
  const place = (k, words) => `${((100 * (k + 0.5)) / words.length).toFixed(2)}%`;
  rows?.forEach((word, k) =>
    grid.append(
      element(`<span class="at-row" style="top:${place(k, rows)}">${escape(word)}</span>`),
    ),
  );
  columns?.forEach((word, k) =>
    grid.append(
      element(`<span class="at-column" style="left:${place(k, columns)}">${escape(word)}</span>`),
    ),
  );
  if (rows) grid.style.marginLeft = `${longest(rows) * 0.5 + 0.6}rem`;
  if (columns) grid.style.marginTop = `${longest(columns) * 0.5 + 0.6}rem`;
}

/** Outline the chosen cell, and a window in every tile. */
function outline(pen, { shown, rows, columns, cell, tall, place }, spot, window) {
  pen.lineWidth = 2;
  if (spot) {
    const [x, y] = place(...spot);
    pen.strokeStyle = css(palette["--ink"]);
    pen.strokeRect(x + 1, y + 1, Math.max(cell - 2, 3), Math.max(tall - 2, 3));
  }
  if (!window) return;
  const [w, h] = [window.columns * cell - 1, window.rows * tall - 1];
  pen.strokeStyle = css(palette["--lost"]);
  for (let t = 0; t < shown; t++) {
    const [x, y] = place(t, 0, 0);
    pen.save();
    pen.beginPath();
    pen.rect(x - 1, y - 1, columns * cell + 2, rows * tall + 2);
    pen.clip();
    pen.strokeRect(x + window.column * cell, y + window.row * tall, w, h);
    pen.restore();
  }
}

/** Let the pointer and the arrow keys read the cells of a map; a click or Enter picks one. */
function read(figure, plan, { key, spot, text, resting, pick, follow }) {
  const { shown, rows, columns, across, down, cell, tall, place } = plan;
  const grid = figure.querySelector(".grid");
  const reading = figure.querySelector(".reading");
  const frame = element('<span class="cursor" hidden></span>');
  grid.append(frame);
  const rest = () => {
    frame.hidden = true;
    reading.textContent = resting;
  };
  const show = (at) => {
    const [x, y] = place(...at);
    const share = (v, whole) => `${(100 * v) / whole}%`;
    frame.hidden = false;
    frame.style.cssText = `left:${share(x, plan.width)};top:${share(y, plan.height)};width:${share(cell, plan.width)};height:${share(tall, plan.height)}`;
    reading.textContent = text(at);
  };
  const under = (event) => {
    const area = grid.querySelector("canvas").getBoundingClientRect();
    const [x, y] = [event.clientX - area.left, event.clientY - area.top];
    return cellAt(plan, x / area.width, y / area.height);
  };
  const cursor = () => {
    const [t, r, c] = cursors.get(key) ?? spot ?? [0, 0, 0];
    return [Math.min(t, shown - 1), Math.min(r, rows - 1), Math.min(c, columns - 1)];
  };
  const moved = (pressed) => {
    const [t, r, c] = cursor();
    const total = across * columns;
    let x = (t % across) * columns + c;
    let y = Math.floor(t / across) * rows + r;
    if (pressed === "ArrowLeft") x--;
    else if (pressed === "ArrowRight") x++;
    else if (pressed === "ArrowUp") y--;
    else if (pressed === "ArrowDown") y++;
    else if (pressed === "Home") x = 0;
    else if (pressed === "End") x = total - 1;
    else return null;
    const tile = Math.floor(y / rows) * across + Math.floor(x / columns);
    const next = [tile, y % rows, x % columns];
    const isInside = x >= 0 && x < total && y >= 0 && y < down * rows && tile < shown;
    return isInside && plan.at(...next) < plan.count ? next : cursor();
  };
  grid.addEventListener("pointermove", (event) => {
    const at = under(event);
    if (at) show(at);
  });
  grid.addEventListener("pointerleave", () =>
    document.activeElement === grid ? show(cursor()) : rest(),
  );
  grid.addEventListener("click", (event) => {
    const at = under(event);
    if (!at) return;
    cursors.set(key, at);
    pick?.(at);
  });
  grid.addEventListener("focus", () => show(cursor()));
  grid.addEventListener("blur", rest);
  grid.addEventListener("keydown", (event) => {
    const isPick = (event.key === "Enter" || event.key === " ") && pick;
    const next = moved(event.key);
    if (!isPick && !next) return;
    event.preventDefault();
    event.stopPropagation();
    if (next) {
      cursors.set(key, next);
      show(next);
    }
    if (isPick || (follow && pick)) pick(cursor());
  });
  rest();
}
