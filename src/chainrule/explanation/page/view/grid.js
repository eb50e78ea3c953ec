// Arrays as grids of coloured cells: how they are laid out, and how they are painted. A plan has
// tiles of rows and columns; `at(tile, row, column)` is the place in the flat array, and once it has
// sizes, `place(tile, row, column)` that in the picture.

const MOST_TILES = 48; // of a heat map

/** How an array of any rank is laid out. */
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
  const isImage = shape.length === 3; // channels last
  const isKernel = shape.length === 4 && shape[0] * shape[1] <= 121; // channels in, channels out last
  if (!isImage && !isKernel) return grid(count / shape.at(-1), shape.at(-1));
  const [rows, columns] = shape;
  const tiles = sizeOf(shape.slice(2));
  return { tiles, rows, columns, count, at: (t, r, c) => (r * columns + c) * tiles + t };
}

/** The rows and columns of a long vector, read like text: a square if it is one. */
function folded(count) {
  const side = Math.sqrt(count);
  if (count <= 16) return [1, count];
  if (Number.isInteger(side)) return [side, side];
  const columns = count <= 64 ? 8 : count <= 256 ? 16 : 32;
  return [Math.ceil(count / columns), columns];
}

/** The plan of an array in a heat map of at most this width and height, in pixels. */
function planOf(shape, width, height) {
  const plan = layout(shape);
  const { tiles, rows, columns } = plan;
  const shown = Math.min(tiles, MOST_TILES);
  const wide = Math.max(1, Math.floor(width / Math.max(columns * 4 + 4, 30)));
  const square = shown < 4 ? shown : Math.ceil(Math.sqrt(shown));
  const across = Math.min(shown, wide, square);
  const down = Math.ceil(shown / across);
  const gap = tiles > 1 ? 4 : 0;
  const high = (height - gap * (down - 1)) / (down * rows);
  const room = Math.min((width - gap * (across - 1)) / (across * columns), Math.max(3, high));
  const cell = Math.max(0.2, Math.min(44, room >= 2 ? Math.floor(room) : room));
  const tall = Math.max(cell, Math.min(rows === 1 ? 26 : 9, high));
  const [w, h] = [cell * columns, tall * rows];
  const place = (t, r, c) => [
    (t % across) * (w + gap) + c * cell,
    Math.floor(t / across) * (h + gap) + r * tall,
  ];
  const box = { width: across * (w + gap) - gap, height: down * (h + gap) - gap };
  return { ...plan, shown, across, down, cell, tall, place, ...box };
}

/** The tile, row and column of an element, or null if it is in a tile that is not shown. */
function cellOf(plan, inside) {
  for (let t = 0; t < plan.shown; t++) {
    for (let r = 0; r < plan.rows; r++) {
      for (let c = 0; c < plan.columns; c++) if (plan.at(t, r, c) === inside) return [t, r, c];
    }
  }
  return null;
}

/** Where in a grid its element is, or null if it is in a tile that is not shown. */
function placeIn(plan, inside) {
  const cell = cellOf(plan, inside);
  return cell && plan.place(...cell);
}

/** The tile, row and column at a place, each from 0 to 1; null beside the cells. */
function cellAt(plan, across, down) {
  const { cell, tall = cell, rows, columns } = plan;
  for (let t = 0; t < plan.shown; t++) {
    const [left, top] = plan.place(t, 0, 0);
    const c = Math.floor((across * plan.width - left) / cell);
    const r = Math.floor((down * plan.height - top) / tall);
    const isInside = c >= 0 && c < columns && r >= 0 && r < rows;
    if (isInside && plan.at(t, r, c) < plan.count) return [t, r, c];
  }
  return null;
}

/** A grid on a canvas: `ratio` pixels of it for one of the plan, one or more for each cell. */
function gridCanvas(plan, values, { start = 0, scale, kind, ratio }) {
  const { shown, rows, columns, cell, tall = cell } = plan;
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(plan.width * ratio));
  canvas.height = Math.max(1, Math.round(plan.height * ratio));
  const pen = canvas.getContext("2d");
  pen.scale(ratio, ratio);
  pen.textAlign = "center";
  pen.textBaseline = "middle";
  const every = Math.max(1, Math.floor(1 / (ratio * Math.min(cell, tall)))); // cells per pixel
  for (let t = 0; t < shown; t++) {
    if (shown > 1) {
      const [x, y] = plan.place(t, 0, 0);
      pen.fillStyle = css(palette["--soft"]);
      pen.globalAlpha = 0.45;
      pen.fillRect(x - 1, y - 1, columns * cell + 2, rows * tall + 2);
      pen.globalAlpha = 1;
      pen.clearRect(x, y, columns * cell, rows * tall);
    }
    for (let r = 0; r < rows; r += every) {
      for (let c = 0; c < columns; c += every) {
        const inside = plan.at(t, r, c);
        if (inside >= plan.count) continue;
        const [x, y] = plan.place(t, r, c);
        const value = Number(values[start + inside]);
        paintCell(pen, x, y, cell * every, tall * every, value, scale, kind);
      }
    }
  }
  return { canvas, pen };
}

/** One cell: its colour, and its value as a number if there is room, else a bar if it is negative. */
function paintCell(pen, x, y, width, height, value, scale, kind) {
  const rgb = shade(value, scale, kind);
  const line = width > 7 ? 1 : 0;
  pen.fillStyle = css(rgb);
  pen.fillRect(x, y, width - line, height - line);
  pen.fillStyle = inkOn(rgb);
  if (width >= 34 && height >= 18) {
    pen.font = "11px sans-serif";
    pen.fillText(brief(value), x + (width - line) / 2, y + height / 2, width - 4);
  } else if (value < 0 && width >= 7 && height >= 7 && -value > 0.02 * scale) {
    const bar = Math.min(width, height) * 0.45;
    pen.fillRect(x + (width - line - bar) / 2, y + (height - line) / 2 - 0.6, bar, 1.2);
  }
}

/** A grid as a data URL, coloured by the part of the values that it shows. */
function gridImage(plan, values, start, kind) {
  const scale = greatest(values.slice(start, start + plan.count));
  return gridCanvas(plan, values, { start, scale, kind, ratio: 2 }).canvas.toDataURL();
}
