/**
 * What the visitor says of the sounds: right, wrong, added; each step can be undone.
 *
 * @typedef {import("./api.js").Correction} Correction
 * @typedef {import("./api.js").Verdict} Verdict
 * @typedef {import("./merging.js").Row} Row
 * @typedef {{what: string, undo: () => Promise<unknown>}} Step
 */

import { getJson, isMissing, recordingPath, send } from "./api.js";
import { covers } from "./merging.js";

/** A recording's corrections; tells "change" when there are others. */
export class Corrections extends EventTarget {
  /** @type {Correction[]} in the order in which they were said or changed, as the service has them */
  all = [];
  /** @type {Step[]} */
  #done = [];
  #changes = 0; // how often something was sent: an answer that was on its way meanwhile is an old one

  /** @param {string} id of the recording */
  constructor(id) {
    super();
    this.path = recordingPath(id, "corrections");
  }

  /**
   * Ask which there are; also again, since another window may have said something.
   * @param {AbortSignal} [signal]
   */
  async load(signal) {
    let before, found;
    do {
      before = this.#changes;
      found = /** @type {Correction[]} */ ((await getJson(this.path, signal)).corrections);
    } while (before !== this.#changes);
    if (JSON.stringify(found) === JSON.stringify(this.all)) return;
    // Steps that can be undone hold these objects.
    const known = new Map(this.all.map((one) => [one.id, one]));
    this.all = found.map((one) => Object.assign(known.get(one.id) ?? one, one));
    this.#tell();
  }

  /** What `undo` would take back; null where there is nothing. */
  get last() {
    return this.#done.at(-1)?.what ?? null;
  }

  /**
   * Say of a sound that it is right, or wrong; said again, it is taken back.
   * @param {Row} row
   * @param {"right"|"wrong"} verdict
   * @returns {Promise<string>} what was done
   */
  async judge(row, verdict) {
    const { label, start, end } = row;
    const known = this.#known(row, verdict);
    if (!known) {
      const made = await this.#create({ label, start, end, verdict });
      return this.#remember(`${label} ${verdict}`, () => this.#remove(made));
    }
    if (known.verdict === verdict) {
      await this.#remove(known);
      return this.#remember(`${label} no longer ${verdict}`, () => this.#restore(known));
    }
    const before = { verdict: known.verdict, start: known.start, end: known.end };
    await this.#change(known, { verdict, start, end });
    return this.#remember(`${label} ${verdict}`, () => this.#change(known, before));
  }

  /**
   * What was said of a row before, so that it is changed and not said beside it. A row may be older than that.
   * @param {Row} row
   * @param {Verdict} verdict
   */
  #known(row, verdict) {
    const { correction } = row;
    // Of what was said of a longer stretch, a part can be judged otherwise: that is then said beside it.
    if (correction && this.all.includes(correction))
      if (correction.verdict === verdict || covers(row, correction)) return correction;
    return this.all.findLast((one) => one.label === row.label && covers(row, one) && covers(one, row));
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

  /**
   * Take the last step back; it stays the last one until the service has done so.
   * @returns {Promise<string|null>} what was taken back
   */
  async undo() {
    const step = this.#done.at(-1);
    if (!step) return null;
    try {
      await step.undo();
    } catch (error) {
      if (!isMissing(error)) throw error;
      this.#forget(step); // it was changed elsewhere, and never can be undone
      await this.load();
      throw error;
    }
    this.#forget(step);
    return step.what;
  }

  /** @param {Step} step */
  #forget(step) {
    this.#done = this.#done.filter((one) => one !== step);
    this.#tell();
  }

  /**
   * @param {string} what
   * @param {() => Promise<unknown>} undo
   */
  #remember(what, undo) {
    this.#done.push({ what, undo });
    this.#tell();
    return what;
  }

  #tell() {
    this.dispatchEvent(new Event("change"));
  }

  /**
   * @param {"POST"|"PATCH"|"DELETE"} method
   * @param {string} path
   * @param {unknown} [body]
   */
  async #send(method, path, body) {
    this.#changes++;
    try {
      return await send(method, path, body);
    } finally {
      this.#changes++;
    }
  }

  /** @param {Correction} correction */
  #pathOf(correction) {
    return `${this.path}/${encodeURIComponent(correction.id)}`;
  }

  /** @param {Omit<Correction, "id">} given */
  async #create(given) {
    return this.#put(await this.#send("POST", this.path, given));
  }

  /** @param {Correction} correction the same object lives on, under a new id: later steps know it */
  async #restore(correction) {
    const { label, start, end, verdict } = correction;
    this.#put(Object.assign(correction, await this.#send("POST", this.path, { label, start, end, verdict })));
  }

  /**
   * @param {Correction} correction
   * @param {Partial<Correction>} changed
   */
  async #change(correction, changed) {
    this.#put(Object.assign(correction, await this.#send("PATCH", this.#pathOf(correction), changed)));
  }

  /**
   * What was just said is the last.
   * @param {Correction} said
   */
  #put(said) {
    this.all = [...this.all.filter(({ id }) => id !== said.id), said];
    this.#tell();
    return said;
  }

  /** @param {Correction} correction */
  async #remove(correction) {
    try {
      await this.#send("DELETE", this.#pathOf(correction));
    } catch (error) {
      if (!isMissing(error)) throw error; // gone is gone
    }
    this.all = this.all.filter(({ id }) => id !== correction.id);
    this.#tell();
  }
}

/** @param {number} seconds to the millisecond */
function round(seconds) {
  return Math.round(seconds * 1000) / 1000;
}
