/** The model's best score in a part of a sound, which the sound's own score does not tell. */

import { ApiError, getBuffer, isAbort, isPassing } from "./api.js";
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
    let [failures, failed] = [0, 0]; // failed: how many one after the other, of those that the others go before
    while (this.#wanted.length && !signal.aborted) {
      const row = this.#wanted[0];
      try {
        this.#known.set(keyOf(row), await this.#peak(row));
        this.#wanted.shift();
        failures = failed = 0;
        if (!this.#wanted.length) changed();
      } catch (error) {
        if (isAbort(error)) break;
        this.#wanted.shift(); // what is refused stays without a score
        if (!isPassing(error)) continue;
        const isOwn = error instanceof ApiError && error.status === 500;
        if (isOwn) this.#wanted.push(row);
        else this.#wanted.unshift(row);
        if (isOwn && ++failed < this.#wanted.length) continue;
        changed(); // what is known of the others
        await rest(++failures, error, { signal });
        failed = 0;
      }
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
