/**
 * What the visitor says of the sounds: right, wrong, added; each step can be undone.
 *
 * @typedef {import("./api.js").Correction} Correction
 * @typedef {import("./api.js").Verdict} Verdict
 * @typedef {import("./merging.js").Row} Row
 * @typedef {{label: string, start: number, end: number, verdict: Verdict}} Said
 * @typedef {{what: string, correction: Correction, left: Said|null, undo: () => Promise<unknown>}} Step left: what
 *   was said once it was done; null where it was nothing
 */

import { getJson, isMissing, recordingPath, send } from "./api.js";
import { covers } from "./merging.js";

const SAME = 1e-5; // seconds; the service's times have six digits
const ELSEWHERE = "it was changed in another window since";

/** A recording's corrections; tells "change" when there are others. */
export class Corrections extends EventTarget {
  /** @type {Correction[]} in the order in which they were said or changed, as the service has them */
  all = [];
  /** @type {Step[]} */
  #done = [];
  #changes = 0; // how often something was sent: an answer that was on its way meanwhile is an old one

  /**
   * @param {string} id of the recording
   * @param {import("./outbox.js").Outbox} outbox what is said goes through it
   */
  constructor(id, outbox) {
    super();
    this.path = recordingPath(id, "corrections");
    this.outbox = outbox;
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
   * Say of a sound that it is right, or wrong; or take that back.
   * @param {Row} row as it is shown: what another window said since is not meant
   * @param {"right"|"wrong"} verdict
   * @param {boolean} takesBack
   * @returns {Promise<string>} what was done
   */
  async judge(row, verdict, takesBack) {
    const { label, start, end } = row;
    await this.#catchUp();
    const known = this.#known(row, verdict);
    if (takesBack) {
      const what = `${label} no longer ${verdict}`;
      if (known?.verdict !== verdict) return what;
      await this.#remove(known);
      return this.#remember(what, known, false, () => this.#restore(known));
    }
    const what = `${label} ${verdict}`;
    if (!known) {
      const made = await this.#create({ label, start, end, verdict });
      return this.#remember(what, made, true, () => this.#remove(made));
    }
    if (known.verdict === verdict) return what;
    const before = { verdict: known.verdict, start: known.start, end: known.end };
    await this.#change(known, { verdict, start, end });
    return this.#remember(what, known, true, () => this.#change(known, before));
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
    await this.#catchUp();
    const made = await this.#create({ label, start: round(start), end: round(end), verdict: "added" });
    this.#remember(`${label} added`, made, true, () => this.#remove(made));
    return made;
  }

  /** @param {Correction} correction */
  async remove(correction) {
    await this.#remove(correction);
    this.#remember(`${correction.label} removed`, correction, false, () => this.#restore(correction));
  }

  /**
   * Take the last step back; it stays the last one until the service has done so. What another window made of it
   * since is left as it is.
   * @returns {Promise<string|null>} what was taken back
   */
  async undo() {
    const step = this.#done.at(-1);
    if (!step) return null;
    await this.#catchUp();
    try {
      if (!this.#isAsLeft(step)) throw new Error(ELSEWHERE);
      await step.undo();
    } catch (error) {
      if (!isMissing(error) && !(error instanceof Error && error.message === ELSEWHERE)) throw error;
      this.#forget(step); // it never can be undone
      await this.load();
      throw error;
    }
    this.#forget(step);
    return step.what;
  }

  /**
   * Is it as a step left it? What is gone is not otherwise: undoing finds that out.
   * @param {Step} step
   */
  #isAsLeft({ correction, left }) {
    const found = this.all.find(({ id }) => id === correction.id);
    const same = (/** @type {Said} */ one) =>
      one.label === correction.label && one.start === correction.start && one.end === correction.end;
    if (!left) return !found && !this.all.some(same);
    return !found || JSON.stringify(said(found)) === JSON.stringify(left);
  }

  /** @param {Step} step */
  #forget(step) {
    this.#done = this.#done.filter((one) => one !== step);
    this.#tell();
  }

  /**
   * @param {string} what
   * @param {Correction} correction that was made, changed or removed
   * @param {boolean} there is it there now?
   * @param {() => Promise<unknown>} undo
   */
  #remember(what, correction, there, undo) {
    this.#done.push({ what, correction, left: there ? said(correction) : null, undo });
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
  #send(method, path, body) {
    return this.#persist(() => send(method, path, body));
  }

  /**
   * @template T
   * @param {(attempt: number) => Promise<T>} ask
   */
  async #persist(ask) {
    this.#changes++;
    try {
      return await this.outbox.persist(ask);
    } finally {
      this.#changes++;
    }
  }

  /** Know what other windows said, before more is said. */
  async #catchUp() {
    await this.outbox.persist(() => this.load());
  }

  /** @param {Correction} correction */
  #pathOf(correction) {
    return `${this.path}/${encodeURIComponent(correction.id)}`;
  }

  /** @param {Said} given */
  async #create(given) {
    return this.#put(await this.#post(given));
  }

  /**
   * Say it once: where an answer was lost, the service may have it already.
   * @param {Said} given
   * @returns {Promise<Correction>}
   */
  #post(given) {
    const before = new Set(this.all.map(({ id }) => id));
    const isIt = (/** @type {Correction} */ one) =>
      !before.has(one.id) &&
      one.label === given.label &&
      one.verdict === given.verdict &&
      Math.abs(one.start - given.start) < SAME;
    return this.#persist(async (attempt) => {
      const there = attempt > 1 ? (await getJson(this.path)).corrections.find(isIt) : null;
      return there ?? send("POST", this.path, given);
    });
  }

  /** @param {Correction} correction the same object lives on, under a new id: later steps know it */
  async #restore(correction) {
    this.#put(Object.assign(correction, await this.#post(said(correction))));
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

/** @type {Map<string, Corrections>} by recording: of one that was looked at before, some may be on their way */
const known = new Map();

/**
 * @param {string} id of a recording
 * @param {import("./outbox.js").Outbox} outbox
 */
export function correctionsOf(id, outbox) {
  const found = known.get(id) ?? new Corrections(id, outbox);
  known.set(id, found);
  return found;
}

/**
 * What it says, without its name.
 * @param {Correction} correction
 * @returns {Said}
 */
function said({ label, start, end, verdict }) {
  return { label, start, end, verdict };
}
