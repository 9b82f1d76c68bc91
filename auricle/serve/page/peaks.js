/** The model's best score in a part of a sound, which the sound's own score does not tell. */

import { getBuffer, isAbort, isPassing } from "./api.js";
import { keyOf } from "./merging.js";
import { rest } from "./patience.js";

/** @typedef {import("./merging.js").Row} Row */

const INSIDE = 1e-6; // seconds; as the service: its times have six digits
const SHORTEST = 1e-5; // seconds

export class Peaks {
  /** @type {Map<string, number|null>} by row; null while it is not known */
  #known = new Map();
  /** @type {Row[]} */
  #wanted = [];
  #asking = false;

  /**
   * @param {{path: (query: string) => string, index: (label: string) => number|null|undefined, changed: () => void,
   *   signal: AbortSignal}} given path: of scores; index: of a label of the model's; changed: more is known; signal:
   *   nothing is wanted any more
   */
  constructor(given) {
    this.given = given;
  }

  /**
   * @param {Row} row
   * @returns {number|null} null while it is not known
   */
  of(row) {
    const key = keyOf(row);
    if (!this.#known.has(key)) {
      this.#known.set(key, null);
      this.#wanted.push(row);
      this.#ask();
    }
    return this.#known.get(key) ?? null;
  }

  async #ask() {
    const { signal, changed } = this.given;
    if (this.#asking) return;
    this.#asking = true;
    for (let failures = 0; this.#wanted.length && !signal.aborted;)
      try {
        const row = this.#wanted[0];
        this.#known.set(keyOf(row), await this.#peak(row));
        this.#wanted.shift();
        failures = 0;
        if (!this.#wanted.length) changed();
      } catch (error) {
        if (isAbort(error)) break;
        if (isPassing(error)) await rest(++failures, error, { signal });
        else this.#wanted.shift(); // it stays without a score
      }
    this.#asking = false;
  }

  /** @param {Row} row */
  async #peak({ label, start, end }) {
    const { path, index, signal } = this.given;
    const place = index(label);
    if (place === null || place === undefined || end - start < SHORTEST) return null;
    const span = `from=${(start + INSIDE).toFixed(6)}&to=${(end - INSIDE).toFixed(6)}`;
    const query = `${span}&columns=1&labels=${place}&smooth=true`;
    const score = new Float32Array(await getBuffer(path(query), signal))[0];
    return Number.isNaN(score) ? null : score;
  }
}
