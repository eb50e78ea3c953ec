// Colours of numbers. Values are blue above zero and orange below; gradients, which are something
// else, purple above (more of it raises the loss) and green below. Zero is the paper. The sign can
// be read without colour: what is negative has a bar, or is dashed.

const HUES = { value: ["--c1", "--c2"], gradient: ["--c4", "--c3"] };
const PAINTED = ["--paper", "--ink", "--soft", "--lost", ...HUES.value, ...HUES.gradient];
let palette = null;

/** The page's colours as [r, g, b], read again when the theme changes. */
function readPalette() {
  const style = getComputedStyle(document.documentElement);
  const read = (name) => [name, channels(style.getPropertyValue(name).trim())];
  palette = Object.fromEntries(PAINTED.map(read));
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

/** Black or white, whichever is easier to read on this colour: a contrast of 4.5 or more. */
const inkOn = (rgb) => css(luminance(rgb) > 0.179 ? [0, 0, 0] : [255, 255, 255]);

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

/** The index of the greatest magnitude: of those that are equal but for rounding, the first. */
function strongestOf(values, rounding = 1e-6) {
  const least = greatest(values) * (1 - rounding);
  return Math.max(
    0,
    values.findIndex((v) => Math.abs(Number(v)) >= least),
  );
}

/** How many have the greatest magnitude. */
function alike(values, rounding = 1e-6) {
  const least = greatest(values) * (1 - rounding);
  return values.filter((v) => Math.abs(Number(v)) >= least).length;
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
