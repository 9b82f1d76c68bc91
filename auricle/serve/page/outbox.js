/**
 * What is said of sounds, on its way to the service: wishes, each for what is to be said of a row.
 *
 * The rule: of each row counts what was wished last, against what the service has. A newer wish takes the place of all
 * older ones of its row, whether they wait or are stuck; only the one that is being sent stays, and the newest follows
 * it unless both wish the same. Undo is a wish for what was said before, known as data, so it needs nothing that the
 * page knew before a reload. What was sent or replaced is gone from storage at once; a page that wakes from the
 * browser's memory reads anew what waits. A message about a wish belongs to its row, and goes with it.
 *
 * While the service does not answer, has too much to do or wants its token, the first wish waits and the others wait
 * behind it; any good answer, or an export, wakes it. What the service refuses is told of and not sent again. What it
 * fails at (500) time after time is set aside ("stuck") so that the others go on, until it is sent again or dropped.
 *
 * @typedef {import("./wishes.js").Wish} Wish
 * @typedef {import("./wishes.js").Given} Given
 */

import { ApiError, answers, isPassing } from "./api.js";
import { rest } from "./patience.js";
import { alarm, clearAlarm } from "./say.js";
import { isSameState } from "./wishes.js";

const KEPT = `auricle.wishes ${location.pathname}`; // in this tab's storage, of this service behind its proxy
const WAITING = "Not kept yet";
const NAMED = 3; // of what waits
const TRIALS = 5; // at which the service fails, before what it fails at is set aside
const LOGIN = "You are not logged in any more.";

/** Tells "change" when something else waits for the service. */
export class Outbox extends EventTarget {
  /** @type {Wish[]} what is not kept yet, in its order */
  all = [];
  /** @type {Wish|null} what is being sent */
  #sent = null;
  /** @type {unknown} why nothing goes on; null where it does */
  #trouble = null;
  #hurry = new EventTarget();
  #awake = new AbortController(); // ended when the wishes are read anew
  #numbered = 0;
  #leaves = false;
  #isRead = false; // what waited when the page was left: until then storage is not ours
  /** @type {(wish: Wish) => Promise<boolean>} */
  #send;

  /** @param {(wish: Wish) => Promise<boolean>} send was it kept? Sets `stuck` where it is to be sent again */
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

  /** Go on with what waited when the page was left: of each row, with what was wished last. */
  resume() {
    this.#awake.abort();
    this.#awake = new AbortController();
    this.#sent = this.#trouble = null;
    this.#leaves = false;
    this.#isRead = true;
    try {
      const kept = /** @type {Wish[]} */ (JSON.parse(sessionStorage.getItem(KEPT) ?? "[]"));
      const last = kept.filter(({ of }, place) => !kept.some((one, k) => k > place && one.of === of));
      this.all = last.map((wish) => ({ ...wish, stuck: false, base: undefined }));
    } catch {
      this.all = []; // storage is switched off: nothing is kept there
    }
    this.#changed();
    this.#pump();
  }

  /**
   * The last wish for a row that is on its way.
   * @param {string} of
   */
  last(of) {
    return this.all.findLast((wish) => wish.of === of && !wish.stuck) ?? null;
  }

  /**
   * Wish something, in the place of what was wished of the row before.
   * @param {Given} given
   * @returns {boolean} is there anything to be sent?
   */
  add(given) {
    const { of, wants } = given;
    this.#leaves = false;
    const sent = this.#sent?.of === of ? this.#sent : null;
    const older = this.all.filter((wish) => wish.of === of && wish !== sent);
    this.all = this.all.filter((wish) => !older.includes(wish));
    const isKnown = !older.some(({ tried }) => tried);
    const base = sent ? sent.wants : !isKnown ? undefined : older.length ? older[0].base : given.step.before;
    const isSaid = (sent || older.length > 0) && base !== undefined && isSameState(base, wants);
    // What this page sent may be said of the row now: then no other window has said it.
    const own = [...(sent ? [sent] : []), ...older].flatMap((one) => [one.wants, ...(one.expects ?? [])]);
    const expects = given.expects && [...given.expects, ...own];
    const id = `${Date.now()}-${++this.#numbered}`;
    if (!isSaid) this.all.push({ ...given, id, at: Date.now(), base, expects });
    this.#changed();
    this.#pump();
    return !isSaid;
  }

  /**
   * Do not send it (any more).
   * @param {Wish} wish
   */
  drop(wish) {
    this.all = this.all.filter((one) => one !== wish);
    this.#changed();
  }

  /**
   * Send what is stuck again.
   * @param {Wish} wish
   */
  again(wish) {
    wish.stuck = false;
    this.#changed();
    this.#pump();
  }

  /** Try now, and give what is not kept even so. */
  async flush() {
    const sent = new Promise((resolve) => {
      for (const name of ["idle", "stumble"]) this.addEventListener(name, resolve, { once: true });
    });
    this.#hurry.dispatchEvent(new Event("hurry"));
    if (this.#sent) await sent;
    return this.all;
  }

  /**
   * Ask the service until it answers, or has failed too often.
   * @template T
   * @param {(attempt: number) => Promise<T>} ask 1 at first
   * @returns {Promise<T>}
   */
  async persist(ask) {
    const { signal } = this.#awake;
    let failed = 0;
    for (let attempt = 1; ; attempt++)
      try {
        const answer = await ask(attempt);
        signal.throwIfAborted();
        this.#stumble(null);
        return answer;
      } catch (error) {
        signal.throwIfAborted();
        const status = error instanceof ApiError ? error.status : -1;
        failed = status === 500 ? failed + 1 : 0;
        if (failed === TRIALS || !(isPassing(error) || status === 401)) {
          this.#stumble(null);
          throw error;
        }
        this.#stumble(error);
        await rest(attempt, error, { hurry: this.#hurry, signal });
        signal.throwIfAborted();
      }
  }

  async #pump() {
    if (this.#sent) return;
    const { signal } = this.#awake;
    const next = () => this.all.find(({ stuck }) => !stuck);
    for (let wish = next(); wish; wish = next()) {
      this.#sent = wish;
      wish.tried = true;
      this.#keep();
      const { of } = wish;
      const isKept = await this.#send(wish);
      if (signal.aborted) return;
      this.#sent = null;
      const newer = this.all.filter((one) => one !== wish && one.of === of);
      if (!isKept) for (const one of newer) one.base = undefined;
      if (!wish.stuck || newer.length) this.all = this.all.filter((one) => one !== wish);
      this.#changed();
    }
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
    if (!this.#isRead) return true;
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
   * @param {Wish[]} waiting
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
