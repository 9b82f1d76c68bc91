/**
 * What the visitor says of the sounds: right, wrong, added; each step can be undone.
 *
 * @typedef {import("./api.js").Correction} Correction
 * @typedef {{start: number, end: number, label: string, score: number|null,
 *   verdict: import("./api.js").Verdict|null, correction: Correction|null}} Row a sound, with what was said of it
 */

import { getJson, recordingPath, send } from "./api.js";

/**
 * Sounds and corrections as one list, by time. A correction is of the sound with its label that it overlaps by
 * half of the shorter. What was said right stays, also where the threshold now hides it.
 * @param {import("./api.js").Sound[]} sounds
 * @param {Correction[]} corrections
 * @returns {Row[]}
 */
export function merged(sounds, corrections) {
  /** @type {Map<string, Correction[]>} */
  const byLabel = new Map();
  for (const correction of corrections)
    byLabel.set(correction.label, [...(byLabel.get(correction.label) ?? []), correction]);
  const used = new Set();
  const rows = sounds.map((sound) => {
    const correction =
      byLabel.get(sound.label)?.find((one) => one.verdict !== "added" && overlaps(sound, one)) ?? null;
    used.add(correction);
    return { ...sound, verdict: correction?.verdict ?? null, correction };
  });
  const others = corrections
    .filter((one) => one.verdict !== "wrong" && !used.has(one))
    .map((correction) => ({ ...correction, score: null, correction }));
  return [...rows, ...others].sort((a, b) => a.start - b.start || (a.label < b.label ? -1 : 1));
}

/**
 * @param {{start: number, end: number}} a
 * @param {{start: number, end: number}} b
 */
function overlaps(a, b) {
  const shared = Math.min(a.end, b.end) - Math.max(a.start, b.start);
  return shared > 0 && shared >= 0.5 * Math.min(a.end - a.start, b.end - b.start);
}

/** A recording's corrections; tells "change" when there are others. */
export class Corrections extends EventTarget {
  /** @type {Correction[]} */
  all = [];
  /** @type {{what: string, undo: () => Promise<void>}[]} */
  #done = [];

  /** @param {string} id of the recording */
  constructor(id) {
    super();
    this.path = recordingPath(id, "corrections");
  }

  /** @param {AbortSignal} signal */
  async load(signal) {
    this.all = (await getJson(this.path, signal)).corrections;
    this.dispatchEvent(new Event("change"));
  }

  /** What `undo` would take back; null where there is nothing. */
  get last() {
    return this.#done.at(-1)?.what ?? null;
  }

  /**
   * Say of a sound that it is right, or wrong; said again, it is taken back.
   * @param {Row} row
   * @param {"right"|"wrong"} verdict
   */
  async judge(row, verdict) {
    const { correction } = row;
    if (!correction) {
      const made = await this.#create({ label: row.label, start: row.start, end: row.end, verdict });
      this.#remember(`${row.label} ${verdict}`, () => this.#remove(made));
    } else if (correction.verdict === verdict) {
      await this.#remove(correction);
      this.#remember(`${row.label} no longer ${verdict}`, () => this.#restore(correction));
    } else {
      const before = correction.verdict;
      await this.#change(correction, verdict);
      this.#remember(`${row.label} ${verdict}`, () => this.#change(correction, before));
    }
  }

  /**
   * @param {string} label
   * @param {number} start seconds
   * @param {number} end seconds
   */
  async add(label, start, end) {
    const made = await this.#create({ label, start: round(start), end: round(end), verdict: "added" });
    this.#remember(`${label} added`, () => this.#remove(made));
    return made;
  }

  /** @param {Correction} correction */
  async remove(correction) {
    await this.#remove(correction);
    this.#remember(`${correction.label} removed`, () => this.#restore(correction));
  }

  /** @returns {Promise<string|null>} what was taken back */
  async undo() {
    const step = this.#done.pop();
    if (!step) return null;
    await step.undo();
    return step.what;
  }

  /**
   * @param {string} what
   * @param {() => Promise<void>} undo
   */
  #remember(what, undo) {
    this.#done.push({ what, undo });
    this.dispatchEvent(new Event("change"));
  }

  /** @param {Omit<Correction, "id">} given */
  async #create(given) {
    const made = await send("POST", this.path, given);
    this.all.push(made);
    this.dispatchEvent(new Event("change"));
    return made;
  }

  /** @param {Correction} correction the same object lives on, under a new id: later steps know it */
  async #restore(correction) {
    const { label, start, end, verdict } = correction;
    Object.assign(correction, await send("POST", this.path, { label, start, end, verdict }));
    this.all.push(correction);
    this.dispatchEvent(new Event("change"));
  }

  /**
   * @param {Correction} correction
   * @param {import("./api.js").Verdict} verdict
   */
  async #change(correction, verdict) {
    Object.assign(
      correction,
      await send("PATCH", `${this.path}/${encodeURIComponent(correction.id)}`, { verdict }),
    );
    this.dispatchEvent(new Event("change"));
  }

  /** @param {Correction} correction */
  async #remove(correction) {
    await send("DELETE", `${this.path}/${encodeURIComponent(correction.id)}`);
    this.all = this.all.filter((one) => one !== correction);
    this.dispatchEvent(new Event("change"));
  }
}

/** @param {number} seconds to the millisecond */
function round(seconds) {
  return Math.round(seconds * 1000) / 1000;
}
