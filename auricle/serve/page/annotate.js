/**
 * What the visitor says of the sounds: right, wrong, added; each step can be undone.
 *
 * @typedef {import("./api.js").Correction} Correction
 * @typedef {import("./api.js").Verdict} Verdict
 * @typedef {import("./merging.js").Row} Row
 * @typedef {import("./outbox.js").Place} Place
 * @typedef {{label: string, start: number, end: number, verdict: Verdict}} Said
 * @typedef {{of: string, what: string, correction: Correction, before: Said|null, left: Said|null}} Step of: the wish
 *   that was carried out; before, left: what was said before it, and once it was done; null where it was nothing
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

  /** What was done and can be undone, in its order. */
  get steps() {
    return this.#done;
  }

  /**
   * Have the service keep what was said.
   * @param {import("./outbox.js").Said} said
   * @returns {Promise<{what: string, made?: Correction}>} what was done; and what was added
   */
  async carryOut({ id, op, what, resumed }) {
    await this.#catchUp();
    if (op.how === "judge") return { what: await this.#judge(id, what, op.row, op.verdict, op.back) };
    if (op.how === "add") {
      const { label, start, end } = op;
      const made = await this.#create({ label, start: round(start), end: round(end), verdict: "added" });
      return { what: this.#remember(id, what, made, null), made };
    }
    if (op.how === "remove") {
      const correction = this.#alive(op.correction);
      if (!correction) return { what };
      const before = said(correction);
      await this.#remove(correction);
      return { what: this.#remember(id, what, correction, before) };
    }
    const undone = await this.#undo(op.of, resumed ? op.step : undefined);
    return { what: undone ? `Undone: ${undone}` : "Nothing to undo" };
  }

  /**
   * Say of a sound that it is right, or wrong; or take that back.
   * @param {string} of
   * @param {string} what
   * @param {Place} row as it was shown: what another window said since is not meant
   * @param {"right"|"wrong"} verdict
   * @param {boolean} takesBack
   * @returns {Promise<string>} what was done
   */
  async #judge(of, what, row, verdict, takesBack) {
    const { label, start, end } = row;
    const known = this.#known(row, verdict);
    const before = known && said(known);
    if (takesBack) {
      if (known?.verdict !== verdict) return what;
      await this.#remove(known);
      return this.#remember(of, what, known, before);
    }
    if (known?.verdict === verdict) return what;
    if (!known) return this.#remember(of, what, await this.#create({ label, start, end, verdict }), null);
    await this.#change(known, { verdict, start, end });
    return this.#remember(of, what, known, before);
  }

  /**
   * What was said of a row before, so that it is changed and not said beside it. A row may be older than that.
   * @param {Place} row
   * @param {Verdict} verdict
   * @returns {Correction|null}
   */
  #known(row, verdict) {
    const correction = row.correction && this.#alive(row.correction);
    // Of what was said of a longer stretch, a part can be judged otherwise: that is then said beside it.
    if (correction && (correction.verdict === verdict || covers(row, correction))) return correction;
    const same = (/** @type {Correction} */ one) =>
      one.label === row.label && covers(row, one) && covers(one, row);
    return this.all.findLast(same) ?? null;
  }

  /**
   * A correction as it is now; it may be another object, and have another name since it was taken back and restored.
   * @param {Correction} correction
   */
  #alive(correction) {
    const same = (/** @type {Correction} */ one) => isSameSaid(one, correction);
    return this.all.find(({ id }) => id === correction.id) ?? this.all.findLast(same) ?? null;
  }

  /**
   * Take a step back; it stays until the service has done so. What another window made of it since is left as it is.
   * @param {string} of the wish whose step it is
   * @param {Step} [kept] the same, of before the page was loaded again
   * @returns {Promise<string|null>} what was taken back; null where that had done nothing
   */
  async #undo(of, kept) {
    const step = this.#done.findLast((one) => one.of === of) ?? kept;
    if (!step) return null;
    const { before, left } = step;
    const correction = this.all.find(({ id }) => id === step.correction.id) ?? step.correction;
    try {
      if (!this.#isAsLeft(step)) throw new Error(ELSEWHERE);
      if (!before) await this.#remove(correction);
      else if (!left) await this.#restore(correction, before);
      else await this.#change(correction, before);
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
   * @param {string} of the wish
   * @param {string} what
   * @param {Correction} correction that was made, changed or removed
   * @param {Said|null} before what was said by it before
   */
  #remember(of, what, correction, before) {
    const left = this.all.includes(correction) ? said(correction) : null;
    this.#done.push({ of, what, correction, before, left });
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
    const isIt = (/** @type {Correction} */ one) => isSameSaid(one, given);
    return this.#persist(async (attempt) => {
      const all = attempt > 1 ? (await getJson(this.path)).corrections : this.all;
      return all.find(isIt) ?? send("POST", this.path, given);
    });
  }

  /**
   * @param {Correction} correction the same object lives on, under a new id: later steps know it
   * @param {Said} given
   */
  async #restore(correction, given) {
    this.#put(Object.assign(correction, await this.#post(given)));
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

/**
 * @param {Said} a
 * @param {Said} b
 */
function isSameSaid(a, b) {
  const near = Math.abs(a.start - b.start) < SAME && Math.abs(a.end - b.end) < SAME;
  return near && a.label === b.label && a.verdict === b.verdict;
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
