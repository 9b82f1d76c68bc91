/** Peaks and scores of the seconds in view: fetched a little wider than seen, a few answers kept. */

import { isAbort, isPassing, pause } from "./api.js";
import { alarm, clearAlarm } from "./say.js";

const WHOLE_COLUMNS = 2048; // of the picture of the whole that is there while a finer one comes
const MOST_COLUMNS = 4096;
const KEPT = 6; // answers
const WAIT = 90; // milliseconds without a change before a finer one is asked for
const WHOLE = "The picture is not whole"; // what is said where it is not

/**
 * @template T
 * @typedef {{from: number, to: number, columns: number, data: T}} Range
 */

/**
 * @template T
 */
export class Ranges {
  /** @type {Range<T>[]} */
  #kept = [];
  /** @type {AbortController|null} */
  #asked = null;
  #timer = 0;
  #wanted = "";
  #failures = 0; // in a row
  #notBefore = 0; // milliseconds; after a failure, nothing is asked for until then

  /**
   * @param {(from: number, to: number, columns: number, signal: AbortSignal) => Promise<T>} fetch
   * @param {number} finest seconds; shorter columns would say no more
   * @param {() => void} arrived called when there is more to draw
   */
  constructor(fetch, finest, arrived) {
    this.fetch = fetch;
    this.finest = finest;
    this.arrived = arrived;
  }

  /** Forget everything, and ask for nothing more. */
  clear() {
    clearTimeout(this.#timer);
    this.#asked?.abort();
    this.#kept = [];
    this.#wanted = "";
    this.#failures = this.#notBefore = 0;
  }

  /**
   * The finest answer that covers what is shown, and a finer one is asked for where it is too coarse.
   * @param {import("./viewport.js").Viewport} view
   * @returns {Range<T>|null}
   */
  best(view) {
    const slack = view.span * 1e-6;
    const covering = this.#kept.filter((one) => one.from <= view.from + slack && one.to >= view.to - slack);
    const column = (/** @type {Range<T>} */ one) => (one.to - one.from) / one.columns;
    const found = covering.reduce((a, b) => (a && column(a) <= column(b) ? a : b), /** @type {any} */ (null));
    if (!found) this.#want(0, view.duration, WHOLE_COLUMNS, 0);
    else if (column(found) > (1.3 * view.span) / view.width && column(found) > this.finest)
      this.#wantAround(view);
    return found;
  }

  /** @param {import("./viewport.js").Viewport} view */
  #wantAround(view) {
    const [from, to] = [Math.max(0, view.from - view.span), Math.min(view.duration, view.to + view.span)];
    const columns = Math.min((view.width * (to - from)) / view.span, (1.1 * (to - from)) / this.finest);
    this.#want(from, to, Math.min(MOST_COLUMNS, Math.ceil(columns)), WAIT);
  }

  /**
   * @param {number} from
   * @param {number} to
   * @param {number} columns
   * @param {number} wait
   */
  #want(from, to, columns, wait) {
    const wanted = `${from} ${to} ${columns}`;
    if (wanted === this.#wanted) return;
    this.#wanted = wanted;
    clearTimeout(this.#timer);
    const longer = Math.max(wait, this.#notBefore - performance.now());
    this.#timer = window.setTimeout(() => this.#get(from, to, columns, wanted), longer);
  }

  /**
   * @param {number} from
   * @param {number} to
   * @param {number} columns
   * @param {string} wanted these
   */
  async #get(from, to, columns, wanted) {
    this.#asked?.abort();
    const asked = (this.#asked = new AbortController());
    try {
      const data = await this.fetch(from, to, columns, asked.signal);
      if (asked.signal.aborted) return;
      this.#kept.push({ from, to, columns, data });
      if (this.#kept.length > KEPT) this.#kept.splice(1, 1); // the first is of the whole
      this.#failures = this.#notBefore = 0;
      clearAlarm(WHOLE);
      this.arrived();
    } catch (error) {
      if (!isAbort(error) && !asked.signal.aborted) this.#failed(error, wanted);
    }
  }

  /**
   * Ask again in a while, if that may help. Of what goes over by itself nothing is said.
   * @param {unknown} error
   * @param {string} wanted what did not come
   */
  #failed(error, wanted) {
    const wait = pause(++this.#failures, error);
    this.#notBefore = performance.now() + wait;
    const again = isPassing(error);
    if (!again || this.#failures > 1) alarm(error, WHOLE, { after: again ? "It is tried again." : "" });
    if (!again || wanted !== this.#wanted) return;
    this.#wanted = "";
    clearTimeout(this.#timer);
    this.#timer = window.setTimeout(this.arrived, wait); // what is drawn then asks for what it lacks
  }
}
