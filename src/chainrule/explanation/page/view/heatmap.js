// A heat map: an array as a grid of colours, with its values at the pointer and at the arrow keys,
// and a table behind it.

const cursors = new Map(); // by the map's key: where its reader was
const opened = new Set(); // keys of the tables that are open
const MOST_CELLS = 1200; // of a table

/** How an array of any rank is laid out: tiles of rows and columns. */
function layout(shape) {
  const count = sizeOf(shape);
  const grid = (rows, columns) => ({
    tiles: 1,
    rows,
    columns,
    count,
    at: (t, r, c) => r * columns + c,
  });
  if (shape.length < 2 || (shape.length === 2 && shape.includes(1))) return grid(...folded(count));
  if (shape.length === 2) return grid(...shape);
  if (shape.length === 3) {
    // an image: channels last
    const [rows, columns, tiles] = shape;
    return { tiles, rows, columns, count, at: (t, r, c) => (r * columns + c) * tiles + t };
  }
  if (shape.length === 4 && shape[0] * shape[1] <= 121) {
    // a kernel: (rows, columns, channels in, channels out)
    const [rows, columns] = shape;
    const tiles = shape[2] * shape[3];
    return { tiles, rows, columns, count, at: (t, r, c) => (r * columns + c) * tiles + t };
  }
  return grid(count / shape.at(-1), shape.at(-1));
}

/** The rows and columns of a long vector, read like text: a square if it is one. */
function folded(count) {
  const side = Math.sqrt(count);
  if (count <= 16) return [1, count];
  if (Number.isInteger(side)) return [side, side];
  const columns = count <= 64 ? 8 : count <= 256 ? 16 : 32;
  return [Math.ceil(count / columns), columns];
}

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
  frame: window,
  follow = false,
}) {
  const plan = layout(shape);
  const shown = Math.min(plan.tiles, 48);
  const count = sizeOf(shape);
  const part = Array.prototype.slice.call(data, start, start + count).map(Number);
  scale ??= greatest(part);
  const across =
    plan.tiles === 1
      ? 1
      : Math.min(
          shown,
          Math.max(1, Math.floor(width / Math.max(plan.columns * 4 + 4, 30))),
          shown < 4 ? shown : Math.ceil(Math.sqrt(shown)),
        );
  const down = Math.ceil(shown / across);
  const gap = plan.tiles > 1 ? 4 : 0;
  const room = Math.min(
    (width - gap * (across - 1)) / (across * plan.columns),
    Math.max(3, (height - gap * (down - 1)) / (down * plan.rows)),
  );
  const cell = Math.max(0.2, Math.min(44, room >= 2 ? Math.floor(room) : room));
  const tall = Math.max(
    cell,
    Math.min(plan.rows === 1 ? 26 : 9, (height - gap * (down - 1)) / (down * plan.rows)),
  );
  const inner = { width: cell * plan.columns, height: tall * plan.rows };
  const box = {
    width: across * inner.width + gap * (across - 1),
    height: down * inner.height + gap * (down - 1),
  };
  const place = (t, r, c) => [
    (t % across) * (inner.width + gap) + c * cell,
    Math.floor(t / across) * (inner.height + gap) + r * tall,
  ];

  const keys = pick
    ? "Arrow keys read the cells, Enter chooses one."
    : "Arrow keys read the cells.";
  const figure = element(`<figure class="map">
    <figcaption>${title ?? code(name)} <span class="shape">${shapeText(shape)}</span></figcaption>
    <div class="grid" tabindex="0" role="application" aria-roledescription="heat map" data-key="${escape(key)}"
      aria-label="${escape(`Heat map of ${name}, ${shapeText(shape)}. ${keys}`)}"></div>
    <output class="reading"></output></figure>`);
  const grid = figure.querySelector(".grid");
  const reading = figure.querySelector(".reading");
  const canvas = document.createElement("canvas");
  const ratio = Math.min(globalThis.devicePixelRatio || 1, 2);
  canvas.width = Math.max(1, Math.round(box.width * ratio));
  canvas.height = Math.max(1, Math.round(box.height * ratio));
  figure.style.setProperty("--wide", `${Math.max(box.width, 190)}px`);
  canvas.setAttribute("aria-hidden", "true");
  grid.style.maxWidth = `${box.width}px`;
  grid.append(canvas);
  const frame = element('<span class="cursor" hidden></span>');
  grid.append(frame);
  if (pick) grid.classList.add("pickable");

  const every = Math.max(1, Math.floor(1 / (ratio * Math.min(cell, tall)))); // cells per pixel
  const pen = canvas.getContext("2d");
  pen.scale(ratio, ratio);
  pen.textAlign = "center";
  pen.textBaseline = "middle";
  for (let t = 0; t < shown; t++) {
    for (let r = 0; r < plan.rows; r += every) {
      for (let c = 0; c < plan.columns; c += every) {
        const at = plan.at(t, r, c);
        if (at >= count) continue;
        paintCell(pen, ...place(t, r, c), cell * every, tall * every, part[at], scale, kind);
      }
    }
  }
  if (plan.tiles > 1) {
    pen.strokeStyle = css(palette["--soft"]);
    pen.globalAlpha = 0.45;
    for (let t = 0; t < shown; t++) {
      const [x, y] = place(t, 0, 0);
      pen.strokeRect(x + 0.5, y + 0.5, inner.width - 1, inner.height - 1);
    }
    pen.globalAlpha = 1;
  }
  const spot =
    chosen >= start && chosen < start + count ? cellOf(plan, shown, chosen - start) : null;
  if (spot) {
    const [x, y] = place(...spot);
    pen.strokeStyle = css(palette["--ink"]);
    pen.lineWidth = 2;
    pen.strokeRect(x + 1, y + 1, Math.max(cell - 2, 3), Math.max(tall - 2, 3));
  }

  for (let t = 0; t < shown && window; t++) {
    const [x, y] = place(t, 0, 0);
    pen.save();
    pen.beginPath();
    pen.rect(x - 1, y - 1, inner.width + 2, inner.height + 2);
    pen.clip();
    pen.strokeStyle = css(palette["--lost"]);
    pen.lineWidth = 2;
    pen.strokeRect(
      x + window.column * cell,
      y + window.row * tall,
      window.columns * cell - 1,
      window.rows * tall - 1,
    );
    pen.restore();
  }

  const text = (t, r, c) => {
    const flat = start + plan.at(t, r, c);
    return `${elementName(name, flat, full)} = ${number(Number(data[flat]), 6)}${say ? ` · ${say(flat)}` : ""}`;
  };
  const anyFinite = part.some(Number.isFinite);
  const rest = () => {
    frame.hidden = true;
    const more = shown < plan.tiles ? ` · ${shown} of ${plan.tiles} tiles shown` : "";
    reading.textContent =
      count === 1
        ? text(0, 0, 0)
        : anyFinite
          ? `${extent(part)
              .map((v) => number(v, 3))
              .join(" to ")}${more}`
          : "no finite value";
  };
  const show = (t, r, c) => {
    const [x, y] = place(t, r, c);
    const share = (v, whole) => `${(100 * v) / whole}%`;
    frame.hidden = false;
    frame.style.cssText = `left:${share(x, box.width)};top:${share(y, box.height)};width:${share(cell, box.width)};height:${share(tall, box.height)}`;
    reading.textContent = text(t, r, c);
  };
  const under = (event) => {
    const area = canvas.getBoundingClientRect();
    const x = ((event.clientX - area.left) / area.width) * box.width;
    const y = ((event.clientY - area.top) / area.height) * box.height;
    const [i, j] = [Math.floor(x / (inner.width + gap)), Math.floor(y / (inner.height + gap))];
    const [c, r] = [
      Math.floor((x - i * (inner.width + gap)) / cell),
      Math.floor((y - j * (inner.height + gap)) / tall),
    ];
    const t = j * across + i;
    return t >= 0 &&
      t < shown &&
      c >= 0 &&
      c < plan.columns &&
      r >= 0 &&
      r < plan.rows &&
      plan.at(t, r, c) < count
      ? [t, r, c]
      : null;
  };
  grid.addEventListener("pointermove", (event) => {
    const cellUnder = under(event);
    if (cellUnder) show(...cellUnder);
  });
  grid.addEventListener("pointerleave", () =>
    document.activeElement === grid ? show(...cursor()) : rest(),
  );
  grid.addEventListener("click", (event) => {
    const cellUnder = under(event);
    if (!cellUnder) return;
    cursors.set(key, cellUnder);
    pick?.(start + plan.at(...cellUnder));
  });
  const cursor = () => {
    const [t, r, c] = cursors.get(key) ?? spot ?? [0, 0, 0];
    return [Math.min(t, shown - 1), Math.min(r, plan.rows - 1), Math.min(c, plan.columns - 1)];
  };
  grid.addEventListener("focus", () => show(...cursor()));
  grid.addEventListener("blur", rest);
  grid.addEventListener("keydown", (event) => {
    let [t, r, c] = cursor();
    const total = across * plan.columns;
    let x = (t % across) * plan.columns + c;
    let y = Math.floor(t / across) * plan.rows + r;
    if (event.key === "ArrowLeft") x--;
    else if (event.key === "ArrowRight") x++;
    else if (event.key === "ArrowUp") y--;
    else if (event.key === "ArrowDown") y++;
    else if (event.key === "Home") x = 0;
    else if (event.key === "End") x = total - 1;
    else if ((event.key === "Enter" || event.key === " ") && pick) {
      event.preventDefault();
      event.stopPropagation();
      pick(start + plan.at(t, r, c));
      return;
    } else return;
    event.preventDefault();
    event.stopPropagation();
    const moved = Math.floor(y / plan.rows) * across + Math.floor(x / plan.columns);
    if (x < 0 || x >= total || y < 0 || y >= down * plan.rows || moved >= shown) return;
    const next = [moved, y % plan.rows, x % plan.columns];
    if (plan.at(...next) >= count) return;
    cursors.set(key, next);
    show(...next);
    if (follow) pick(start + plan.at(...next));
  });
  rest();
  figure.append(tableBehind(key, () => valuesTable(name, plan, part, start, full)));
  return figure;
}

/** The tile, row and column of an element, or null if it is in a tile that is not shown. */
function cellOf(plan, shown, inside) {
  for (let t = 0; t < shown; t++) {
    for (let r = 0; r < plan.rows; r++) {
      for (let c = 0; c < plan.columns; c++) if (plan.at(t, r, c) === inside) return [t, r, c];
    }
  }
  return null;
}

/** One cell: its colour, and its value as a number if there is room, else a bar if it is negative. */
function paintCell(pen, x, y, width, height, value, scale, kind) {
  const rgb = shade(value, scale, kind);
  const line = width > 7 ? 1 : 0;
  pen.fillStyle = css(rgb);
  pen.fillRect(x, y, width - line, height - line);
  if (width >= 34 && height >= 18) {
    pen.fillStyle = inkOn(rgb);
    pen.font = "11px sans-serif";
    pen.fillText(brief(value), x + (width - line) / 2, y + height / 2, width - 4);
  } else if (value < 0 && width >= 7 && height >= 7 && -value > 0.02 * scale) {
    pen.fillStyle = inkOn(rgb);
    const bar = Math.min(width, height) * 0.45;
    pen.fillRect(x + (width - line - bar) / 2, y + (height - line) / 2 - 0.6, bar, 1.2);
  }
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

function valuesTable(name, plan, part, start, full) {
  const columns = Math.min(plan.columns, 40);
  const rows = [];
  for (let t = 0; t < plan.tiles && rows.length * columns < MOST_CELLS; t++) {
    for (let r = 0; r < plan.rows && rows.length * columns < MOST_CELLS; r++) {
      const cells = Array.from({ length: columns }, (_, c) =>
        plan.at(t, r, c) < part.length ? number(part[plan.at(t, r, c)], 6) : "",
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
