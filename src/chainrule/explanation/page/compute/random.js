// Random numbers as random.py draws them: Philox4x32-10; the key is the seed, the counter (block,
// draw).
(() => {
  "use strict";
  const { ROUND, erfinv, nextafter, sizeOf } = chainrule;

  // The upper 32 bits of the product of two words.
  function high(a, b) {
    const [a1, a0] = [a >>> 16, a & 0xffff];
    const [b1, b0] = [b >>> 16, b & 0xffff];
    const low = a0 * b0;
    const middle = a1 * b0 + (low >>> 16);
    const rest = a0 * b1 + (middle % 65536);
    return (a1 * b1 + Math.floor(middle / 65536) + Math.floor(rest / 65536)) >>> 0;
  }

  // The first words of a draw. seed, draw: BigInt of 64 bits.
  function randomWords(seed, draw, count) {
    const out = new Uint32Array(count);
    const words = (x) => [Number(x & 0xffffffffn), Number(x >> 32n)];
    const [seedLow, seedHigh] = words(seed);
    const [drawLow, drawHigh] = words(draw);
    for (let block = 0; block * 4 < count; block++) {
      let [c0, c1, c2, c3] = [block, 0, drawLow, drawHigh];
      let [k0, k1] = [seedLow, seedHigh];
      for (let round = 0; round < 10; round++) {
        const [h0, h1] = [high(0xd2511f53, c0), high(0xcd9e8d57, c2)];
        const [l0, l1] = [Math.imul(0xd2511f53, c0) >>> 0, Math.imul(0xcd9e8d57, c2) >>> 0];
        [c0, c1, c2, c3] = [(h1 ^ c1 ^ k0) >>> 0, l1, (h0 ^ c3 ^ k1) >>> 0, l0];
        k0 = (k0 + 0x9e3779b9) >>> 0;
        k1 = (k1 + 0xbb67ae85) >>> 0;
      }
      out.set([c0, c1, c2, c3].slice(0, count - block * 4), block * 4);
    }
    return out;
  }

  // Halves are drawn in float32, then rounded.
  const roundWide = (dtype) => ROUND[dtype === "float64" ? dtype : "float32"];

  // Draws in turn, as a `Generator` of that seed.
  class Generator {
    constructor(seed) {
      this.seed = BigInt(seed);
      this.draw = 0n;
    }

    // Evenly on [0, 1): 24 random bits, 53 for float64.
    unit(shape, dtype) {
      const size = sizeOf(shape);
      const wide = dtype === "float64";
      const words = randomWords(this.seed, this.draw, wide ? 2 * size : size);
      this.draw += 1n;
      const part = wide
        ? (k) => (words[k] * 2 ** 21 + (words[size + k] >>> 11)) * 2 ** -53
        : (k) => (words[k] >>> 8) * 2 ** -24;
      return Float64Array.from({ length: size }, (_, k) => part(k));
    }

    // Evenly from low (included) to top (not).
    uniform(shape, dtype, low, top) {
      const round = roundWide(dtype);
      const [from, span] = [round(low), round(top - low)];
      const below = nextafter(dtype, ROUND[dtype](top), ROUND[dtype](low));
      const scaled = (u) => Math.min(ROUND[dtype](round(from + round(u * span))), below);
      return this.unit(shape, dtype).map(low === 0 && top === 1 ? (u) => u : scaled);
    }

    // The normal distribution: √2 erf⁻¹(u) of a uniform u in (-1, 1).
    normal(shape, dtype, mean, std) {
      const round = roundWide(dtype);
      const step = dtype === "float64" ? 2 ** -53 : 2 ** -24;
      const inverse = dtype === "float64" ? chainrule.refinedErfinv : erfinv;
      const root = round(Math.SQRT2);
      return this.unit(shape, dtype).map((u) => {
        const z = round(round(inverse(u * 2 - (1 - step))) * root);
        return mean === 0 && std === 1 ? z : round(round(mean) + round(z * round(std)));
      });
    }
  }

  // Draw the parameters as contents.initialisations[scheme] says: a list of { id, draw, … }.
  function initialise(pass, scheme, seed) {
    const generator = new Generator(seed);
    for (const { id, draw, ...settings } of pass.contents.initialisations[scheme]) {
      const { shape, dtype } = pass.value(id);
      if (draw === "constant") {
        pass.setAll(id, new Float64Array(sizeOf(shape)).fill(settings.value));
      } else if (draw === "uniform") {
        pass.setAll(id, generator.uniform(shape, dtype, settings.low, settings.high));
      } else {
        pass.setAll(id, generator.normal(shape, dtype, settings.mean, settings.std));
      }
    }
  }

  Object.assign(chainrule, { initialise, randomWords });
})();
