// Colours of numbers. Values are blue above zero and orange below; gradients, which are something
// else, purple above (more of it raises the loss) and green below. Zero is the paper. The sign can
// be read without colour: what is negative has a bar, or is dashed.

const HUES = { value: ["--c1", "--c2"], gradient: ["--c4", "--c3"] };
let palette = null;

/** The page's colours as [r, g, b], read again when the theme changes. */
function readPalette() {
  const style = getComputedStyle(document.documentElement);
  palette = {};
  for (const name of [
    "--paper",
    "--ink",
    "--soft",
    "--rule",
    "--c1",
    "--c2",
    "--c3",
    "--c4",
    "--lost",
  ]) {
    palette[name] = channels(style.getPropertyValue(name).trim());
  }
}

function channels(hex) {
  const full = hex.length === 4 ? hex.replace(/[0-9a-f]/gi, "$&$&") : hex;
  return [1, 3, 5].map((k) => parseInt(full.slice(k, k + 2), 16));
}

/** The colour of a number; `scale` is the magnitude with the full colour. */
function shade(value, scale, kind = "value") {
  if (!Number.isFinite(value)) return palette["--lost"];
  const share = scale > 0 ? Math.min(1, Math.abs(value) / scale) ** 0.8 : 0;
  const full = palette[HUES[kind][value < 0 ? 1 : 0]];
  return palette["--paper"].map((c, k) => Math.round(c + (full[k] - c) * share));
}

const css = (rgb) => `rgb(${rgb.join(" ")})`;

/** Ink or paper, whichever is easier to read on this colour. */
function inkOn(rgb) {
  const contrast = (a, b) => (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  const [own, ink, paper] = [rgb, palette["--ink"], palette["--paper"]].map(luminance);
  return css(contrast(own, ink) >= contrast(own, paper) ? palette["--ink"] : palette["--paper"]);
}

function luminance(rgb) {
  const [r, g, b] = rgb.map((c) =>
    c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4,
  );
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

/** The greatest magnitude among finite numbers. */
function greatest(values) {
  let out = 0;
  for (const v of values) {
    const size = Math.abs(Number(v));
    if (size > out && Number.isFinite(size)) out = size;
  }
  return out;
}

/** The index of the greatest magnitude. */
function strongestOf(values) {
  let best = 0;
  for (let k = 1; k < values.length; k++)
    if (Math.abs(Number(values[k])) > Math.abs(Number(values[best]))) best = k;
  return best;
}

/** The least and the greatest of the finite numbers. */
function extent(values) {
  let [low, high] = [Infinity, -Infinity];
  for (const v of values) {
    const number = Number(v);
    if (!Number.isFinite(number)) continue;
    if (number < low) low = number;
    if (number > high) high = number;
  }
  return [low, high];
}
