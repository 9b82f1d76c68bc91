/**
 * The sounds that the model hears in a recording. A long one has more than are asked for at once: then those at
 * its beginning are known, and what is looked at, or gone to, is asked for.
 *
 * @typedef {import("./api.js").Sound} Sound
 * @typedef {{events: Sound[], total: number, truncated: boolean}} Answer
 */

import { getJson, isAbort, isPassing, pause, recordingPath } from "./api.js";
import { alarm, clearAlarm } from "./say.js";

const MOST = 5000; // in an answer
const KEPT = 30_000; // known at a time
const NEAR = 60; // seconds that are looked through at first for a sound before a moment
const LEAST = 0.5; // at least
const FAILED = "The sounds could not be listed";

export class Sounds {
  /** @type {Sound[]} all that are known */
  all = [];
  /** How many the recording has. */
  total = 0;
  /** How far from the beginning all are known, in seconds. */
  until = Infinity;
  /** @type {Map<string, Sound>} */
  #known = new Map();
  /** @type {{from: number, to: number}[]} where all are known, besides the beginning */
  #spans = [];
  /** @type {{from: number, to: number, total: number}|null} the last span that has more than an answer holds */
  #crowded = null;

  /**
   * @param {string} id of the recording
   * @param {number} duration seconds
   * @param {number|null} threshold null: the model's own
   */
  constructor(id, duration, threshold) {
    this.path = recordingPath(id, "events");
    this.duration = duration;
    this.threshold = threshold;
  }

  /** Are there more than those at the beginning? */
  get truncated() {
    return this.until < Infinity;
  }

  /** @param {AbortSignal} signal */
  async load(signal) {
    const { events, total, truncated } = await this.#ask({}, signal);
    this.total = total;
    if (truncated) {
      this.until = events[events.length - 1].start;
      this.#crowded = { from: 0, to: this.duration, total };
    }
    this.#add(events);
  }

  /**
   * Are all sounds known that are heard in a span?
   * @param {number} from seconds
   * @param {number} to seconds
   */
  knows(from, to) {
    return to <= this.until || this.#spans.some((span) => span.from <= from && span.to >= to);
  }

  /**
   * How many sounds a span has, where they are too many to be known.
   * @param {number} from
   * @param {number} to
   * @returns {number|null}
   */
  crowd(from, to) {
    return this.#crowded?.from === from && this.#crowded.to === to ? this.#crowded.total : null;
  }

  /**
   * How many sounds there are where not all of them are known; else null.
   * @param {{from: number, to: number}|null} view null: in the whole recording
   */
  most(view) {
    if (view) return this.crowd(view.from, view.to);
    return this.truncated ? this.total : null;
  }

  /**
   * Know the sounds of a span, or the first of them where they are too many.
   * @param {number} from seconds
   * @param {number} to seconds
   * @param {AbortSignal} signal
   * @returns {Promise<boolean>} is there something new?
   */
  async cover(from, to, signal) {
    if (to <= from || this.knows(from, to) || this.crowd(from, to) !== null) return false;
    const { events, total, truncated } = await this.#ask(
      { from: from.toFixed(3), to: to.toFixed(3) },
      signal,
    );
    if (this.#known.size > KEPT) {
      this.#spans = [];
      this.#known.clear();
      this.#add(this.all.filter(({ start }) => start <= this.until));
    }
    this.#spans.push({ from, to: truncated ? events[events.length - 1].start : to });
    if (truncated) this.#crowded = { from, to, total };
    this.#add(events);
    return true;
  }

  /**
   * Know the sounds after a moment, or before it, as far as the next one that is wanted.
   * @param {number} at seconds
   * @param {1|-1} step
   * @param {() => {start: number}|undefined} find gives the next one of those that are known
   * @param {AbortSignal} signal
   */
  async toward(at, step, find, signal) {
    let [edge, span] = [at, NEAR];
    for (;;) {
      edge = this.#reach(edge, step);
      const start = find()?.start;
      // Of those that begin where an answer ended, some may be missing.
      if (start !== undefined && (step > 0 ? start < edge : start >= edge)) return;
      if (step > 0 ? edge >= this.duration : edge <= 0) return;
      const [from, to] = step > 0 ? [edge, this.duration] : [Math.max(0, edge - span), edge];
      const more = await this.cover(from, to, signal);
      if (step > 0 && !more) return;
      if (step < 0) span *= this.crowd(from, to) === null ? 2 : 0.25;
      if (span < LEAST) return;
    }
  }

  /**
   * How far all sounds are known from a moment on, or back from it.
   * @param {number} at
   * @param {1|-1} step
   */
  #reach(at, step) {
    const spans = [{ from: 0, to: this.until }, ...this.#spans];
    const beyond = (/** @type {number} */ edge) =>
      spans.find(({ from, to }) => (step > 0 ? from <= edge && to > edge : to >= edge && from < edge));
    for (let next = beyond(at); next; next = beyond(at)) at = step > 0 ? next.to : next.from;
    return at;
  }

  /** @param {Sound[]} events */
  #add(events) {
    for (const event of events) this.#known.set(`${event.label} ${event.start}`, event);
    this.all = [...this.#known.values()];
  }

  /**
   * @param {Record<string, string>} where
   * @param {AbortSignal} signal
   * @returns {Promise<Answer>}
   */
  #ask(where, signal) {
    const query = new URLSearchParams({ limit: String(MOST), ...where });
    if (this.threshold !== null) query.set("threshold", this.threshold.toFixed(2));
    return getJson(`${this.path}?${query}`, signal);
  }
}

/**
 * Ask for sounds; again, where the service may answer in a while.
 * @param {AbortSignal} signal ends it
 * @param {() => Promise<void>} ask
 */
export async function persistently(signal, ask) {
  for (let failures = 1; !signal.aborted; failures++)
    try {
      await ask();
      return clearAlarm(FAILED);
    } catch (error) {
      if (isAbort(error) || signal.aborted) return;
      const again = isPassing(error);
      alarm(error, FAILED, { after: again ? "It is tried again." : "" });
      if (!again) return;
      await new Promise((resolve) => setTimeout(resolve, pause(failures, error)));
    }
}
