/** Colours by score, in light and dark. */

import { colour } from "./dom.js";

const STEPS = 256;
const FADED = 0.4; // how much of its colour a score below the threshold has

/**
 * @param {string} text such as rgb(1, 2, 3)
 * @returns {number[]}
 */
function channels(text) {
  return (text.match(/[\d.]+/g) ?? []).slice(0, 3).map(Number);
}

/** From the colour of an empty row to full colour, as RGBA bytes that image data takes. */
export class Ramp {
  /** @param {number} scale the score that full colour stands for */
  constructor(scale) {
    this.scale = scale;
    const [low, high] = [channels(colour("--row")), channels(colour("--heat"))];
    const faded = low.map((value, index) => value + (high[index] - value) * FADED);
    this.bright = table(low, high);
    this.dim = table(low, faded);
  }

  /**
   * @param {number} score NaN is an empty row
   * @param {number} threshold
   * @returns {number} as a 32-bit pixel
   */
  pixel(score, threshold) {
    const step = Math.min(STEPS - 1, Math.round((score / this.scale) * (STEPS - 1))) || 0;
    return (score >= threshold ? this.bright : this.dim)[step];
  }
}

/**
 * @param {number[]} low
 * @param {number[]} high
 */
function table(low, high) {
  const bytes = new Uint8ClampedArray(STEPS * 4);
  for (let step = 0; step < STEPS; step++) {
    const share = step / (STEPS - 1);
    for (let channel = 0; channel < 3; channel++)
      bytes[step * 4 + channel] = low[channel] + (high[channel] - low[channel]) * share;
    bytes[step * 4 + 3] = 255;
  }
  return new Uint32Array(bytes.buffer);
}
