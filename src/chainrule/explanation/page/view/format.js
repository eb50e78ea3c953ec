// Numbers, shapes and names as text, and HTML made of text.

const SUPERSCRIPTS = "⁰¹²³⁴⁵⁶⁷⁸⁹";

/** A value as people write it: 0.0312, 12,345, 1.2×10⁻⁵, NaN, ∞. */
function number(value, digits = 4) {
  if (typeof value === "bigint") value = Number(value);
  if (typeof value === "boolean") return value ? "true" : "false";
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  const size = Math.abs(value);
  let text;
  if (value === 0) text = "0";
  else if (size < 1e-3 || size >= 1e6 || (digits === 1 && (size < 0.005 || size >= 1000))) {
    const [mantissa, power] = value.toExponential(Math.min(2, digits - 1)).split("e");
    text = `${trimmed(mantissa)}×10${raised(power)}`;
  } else if (size >= 1000) text = Math.round(value).toLocaleString("en-US");
  else text = trimmed(value.toPrecision(digits));
  return text.replace("-", "−");
}

const raised = (power) => String(Number(power)).replace(/./g, (c) => SUPERSCRIPTS[c] ?? "⁻");

/** A text with its numbers as they are written here: 1.64e-05 as 1.64×10⁻⁵. */
const withPowers = (text) =>
  text.replace(
    /(\d)e([-−+]?)0*(\d+)\b/g,
    (_, digit, sign, power) => `${digit}×10${raised((sign && sign !== "+" ? "-" : "") + power)}`,
  );

const trimmed = (text) => (text.includes(".") ? text.replace(/\.?0+$/, "") : text);

/** A value in a cell or a circle: at most about five characters. */
function brief(value) {
  const size = Math.abs(Number(value));
  if (size !== 0 && (size < 0.005 || size >= 1000)) {
    if (!Number.isFinite(size)) return number(value);
    return number(value, 1);
  }
  return number(Number(Number(value).toFixed(size >= 100 ? 0 : size >= 10 ? 1 : 2)));
}

/** A value in parentheses if it is negative, for use behind an operator. */
const enclosed = (value) => (value < 0 ? `(${number(value)})` : number(value));

const signed = (value) => (value > 0 ? `+${number(value)}` : number(value));
const percent = (share) => `${number(100 * share, 3)}%`;
const plural = (count, word) => `${count.toLocaleString("en-US")} ${word}${count === 1 ? "" : "s"}`;
const shapeText = (shape) => (shape.length ? shape.join(" × ") : "one number");
/** That a number is as large as others: " (one of 9)". */
const oneOf = (count) => (count > 1 ? ` (one of ${count.toLocaleString("en-US")})` : "");
const sizeOf = (shape) => shape.reduce((a, b) => a * b, 1);

/** The index along each axis of an element's place in the flat array. */
function unravel(flat, shape) {
  const out = new Array(shape.length);
  for (let axis = shape.length - 1; axis >= 0; axis--) {
    out[axis] = flat % shape[axis];
    flat = Math.floor(flat / shape[axis]);
  }
  return out;
}

const ravel = (indices, shape) => indices.reduce((flat, i, axis) => flat * shape[axis] + i, 0);

/** An element as Python writes it: `w[2, 1]`. */
function elementName(name, flat, shape) {
  return sizeOf(shape) === 1 ? name : `${name}[${unravel(flat, shape).join(", ")}]`;
}

const ESCAPES = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#x27;" };
const escape = (text) => String(text).replace(/[&<>"']/g, (c) => ESCAPES[c]);
const code = (text) => `<code>${escape(text)}</code>`;

/** An element made of HTML, which the caller has escaped. */
function element(html) {
  const template = document.createElement("template");
  template.innerHTML = html.trim();
  return document.importNode(template.content.firstElementChild, true); // a template's own cannot draw text
}
