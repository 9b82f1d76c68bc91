/**
 * What is said of sounds, on its way to the service: queued -> sent -> kept.
 *
 * One after the other, in the order in which it was said. While the service does not answer, has too much to do or
 * wants its token, the first of them waits and the others wait behind it; any good answer, or an export, wakes it.
 * What the service refuses is told of and not sent again. What it fails at (500) time after time is set aside ("stuck")
 * so that the others go on, until the visitor sends it again or drops it. What waits outlives a reload of the page, so
 * that one can log in again.
 *
 * @typedef {import("./annotate.js").Correction} Correction
 * @typedef {{label: string, start: number, end: number, correction: Correction|null}} Place
 * @typedef {{how: "judge", row: Place, verdict: "right"|"wrong", back: boolean}
 *   | {how: "add", label: string, start: number, end: number}
 *   | {how: "remove", correction: Correction}
 *   | {how: "undo", of: string, step?: import("./annotate.js").Step}} Op
 * @typedef {{id: string, recording: string, at: number, key: string, of: string, what: string, op: Op, tried?: boolean,
 *   stuck?: boolean, resumed?: boolean}} Said at: when; key: of what is said, and of which row; of: the row; what: in
 *   words; tried: the service may have it; resumed: it was said before the page was loaded again
 */

import { ApiError, answers, isPassing } from "./api.js";
import { rest } from "./patience.js";
import { alarm, clearAlarm } from "./say.js";

const KEPT = `auricle.outbox ${location.pathname}`; // in this tab's storage, of this service behind its proxy
const WAITING = "Not kept yet";
const NAMED = 3; // of what waits
const TRIALS = 5; // at which the service fails, before what it fails at is set aside
const LOGIN = "You are not logged in any more.";

/** Tells "change" when something else waits for the service. */
export class Outbox extends EventTarget {
  /** @type {Said[]} what is not kept yet, in its order */
  all = [];
  #sending = false;
  /** @type {unknown} why nothing goes on; null where it does */
  #trouble = null;
  #hurry = new EventTarget();
  #numbered = 0;
  #leaves = false;
  /** @type {(said: Said) => Promise<void>} */
  #send;

  /** @param {(said: Said) => Promise<void>} send never fails; sets `stuck` where it is to be sent again */
  constructor(send) {
    super();
    this.#send = send;
    addEventListener("beforeunload", (event) => {
      if (this.all.length && !this.#leaves) event.preventDefault(); // it would be lost
    });
    // What waits is shown, and how to log in: who was at work is not taken away from it.
    answers.addEventListener("locked", (event) => {
      if (this.all.some(({ stuck }) => !stuck)) event.preventDefault();
      else this.#leaves = this.#keep();
    });
  }

  /** Does the service take nothing now? */
  get isTroubled() {
    return this.#trouble !== null;
  }

  /** Go on with what waited when the page was left. */
  resume() {
    try {
      const kept = /** @type {Said[]} */ (JSON.parse(sessionStorage.getItem(KEPT) ?? "[]"));
      this.all = kept.map((said) => ({ ...said, stuck: false, resumed: true }));
    } catch {
      this.all = []; // storage is switched off: nothing is kept there
    }
    this.#pump();
  }

  /**
   * Say something, after what was said before.
   * @param {Omit<Said, "id"|"at">} said
   */
  add(said) {
    this.all.push({ ...said, id: `${Date.now()}-${++this.#numbered}`, at: Date.now() });
    this.#changed();
    return this.#pump();
  }

  /**
   * Do not send it (any more).
   * @param {Said} said
   */
  drop(said) {
    this.all = this.all.filter((one) => one !== said);
    this.#changed();
  }

  /**
   * Send what is stuck again.
   * @param {Said} said
   */
  again(said) {
    said.stuck = false;
    this.#changed();
    this.#pump();
  }

  /** Try now, and give what is not kept even so. */
  async flush() {
    const sent = new Promise((resolve) => {
      for (const name of ["idle", "stumble"]) this.addEventListener(name, resolve, { once: true });
    });
    this.#hurry.dispatchEvent(new Event("hurry"));
    if (this.#sending) await sent;
    return this.all;
  }

  /**
   * Ask the service until it answers, or has failed too often.
   * @template T
   * @param {(attempt: number) => Promise<T>} ask 1 at first
   * @returns {Promise<T>}
   */
  async persist(ask) {
    let failed = 0;
    for (let attempt = 1; ; attempt++)
      try {
        const answer = await ask(attempt);
        this.#stumble(null);
        return answer;
      } catch (error) {
        const status = error instanceof ApiError ? error.status : -1;
        failed = status === 500 ? failed + 1 : 0;
        if (failed === TRIALS || !(isPassing(error) || status === 401)) {
          this.#stumble(null);
          throw error;
        }
        this.#stumble(error);
        await rest(attempt, error, { hurry: this.#hurry });
      }
  }

  async #pump() {
    if (this.#sending) return;
    this.#sending = true;
    const next = () => this.all.find(({ stuck }) => !stuck);
    for (let said = next(); said; said = next()) {
      said.tried = true;
      this.#keep();
      await this.#send(said);
      if (!said.stuck) this.all = this.all.filter((one) => one !== said);
      this.#changed();
    }
    this.#sending = false;
    this.dispatchEvent(new Event("idle"));
  }

  /** @param {unknown} trouble */
  #stumble(trouble) {
    const same = trouble === this.#trouble;
    this.#trouble = trouble;
    if (trouble) this.dispatchEvent(new Event("stumble"));
    if (!same) this.#changed();
  }

  /** @returns {boolean} is it there after a reload? */
  #keep() {
    try {
      if (this.all.length) sessionStorage.setItem(KEPT, JSON.stringify(this.all));
      else sessionStorage.removeItem(KEPT);
      return true;
    } catch {
      return false;
    }
  }

  #changed() {
    const isKept = this.#keep();
    const waiting = this.all.filter(({ stuck }) => !stuck);
    if (this.#trouble && waiting.length) this.#tell(waiting, isKept);
    else clearAlarm(WAITING);
    this.dispatchEvent(new Event("change"));
  }

  /**
   * @param {Said[]} waiting
   * @param {boolean} isKept
   */
  #tell(waiting, isKept) {
    const names = waiting.slice(0, NAMED).map(({ what }) => what);
    if (waiting.length > NAMED) names.push(`${waiting.length - NAMED} more`);
    const locked = this.#trouble instanceof ApiError && this.#trouble.status === 401;
    const leave = () => {
      this.#leaves = isKept;
      location.assign("login" + location.hash);
    };
    const now = () => this.#hurry.dispatchEvent(new Event("hurry"));
    alarm(locked ? LOGIN : this.#trouble, `${WAITING} (${names.join(", ")})`, {
      after: locked ? "It is sent once you are." : "It is sent again by itself.",
      cause: WAITING,
      stays: true,
      actions: locked ? [{ text: "Log in", run: leave }] : [{ text: "Send now", run: now }],
    });
  }
}

/**
 * What stands once all is sent of which something waits: of judgements, the last about a row.
 * @param {Said[]} waiting
 * @param {string} of the row
 */
export function lastJudgement(waiting, of) {
  const found = waiting.findLast((said) => said.of === of && said.op.how === "judge" && !said.stuck);
  return found?.op.how === "judge" ? found.op : null;
}
