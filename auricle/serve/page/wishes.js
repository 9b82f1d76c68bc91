/**
 * What somebody wants said of a row, as data; and the steps that they can take back.
 *
 * @typedef {import("./api.js").Verdict} Verdict
 * @typedef {{label: string, start: number, end: number, verdict: Verdict, id?: string}} State what is said of a row
 * @typedef {{id: string, recording: string, of: string, at: number, what: string, before: State|null,
 *   left: State|null, settled?: boolean}} Step of: the row; what: in words; before, left: what was said of the row
 *   before the step, and after it; null where nothing was; settled: the service was told
 * @typedef {{recording: string, of: string, how: Verdict|"removed"|"undo", what: string, wants: State|null,
 *   over: State|null, expects?: (State|null)[], step: Step}} Given of: the row; how: it was said; wants: what is to be
 *   said of the row; over: what the row showed as said of it; expects: what may be said of it now, where anything else
 *   is another window's word and stands; step: that this is, or that it takes back
 * @typedef {Given & {id: string, at: number, base?: State|null, tried?: boolean, stuck?: boolean}} Wish at: when;
 *   base: what stands if this is never sent, where that is known; tried: the service may have it; stuck: the service
 *   failed at it too often
 */

const SAME = 1e-5; // seconds; the service's times have six digits

/**
 * @param {State|null} a
 * @param {State|null} b
 */
export function isSameState(a, b) {
  return a === null || b === null ? a === b : a.verdict === b.verdict && isSamePlace(a, b);
}

/**
 * @param {State} a
 * @param {State} b
 */
export function isSamePlace(a, b) {
  return a.label === b.label && Math.abs(a.start - b.start) < SAME && Math.abs(a.end - b.end) < SAME;
}

/**
 * @template {State|null} S
 * @param {S} correction as the service has it
 * @returns {S}
 */
export function stateOf(correction) {
  if (!correction) return correction;
  const { label, start, end, verdict, id } = correction;
  return /** @type {S} */ ({ label, start, end, verdict, id });
}

/**
 * What a row is called, over all recordings; also where its times were rounded meanwhile.
 * @param {string|null} recording
 * @param {{label: string, start: number, end: number}} place
 */
export function nameOf(recording, { label, start, end }) {
  return `${recording} ${label} ${start.toFixed(3)} ${end.toFixed(3)}`;
}

/** What was said, step by step, and can be taken back. */
export class Steps {
  /** @type {Step[]} */
  #all = [];

  /** @param {Step} step also one that could not be taken back */
  add(step) {
    if (this.#all.some(({ id }) => id === step.id)) return;
    this.#all = [...this.#all, step].sort((a, b) => a.at - b.at);
  }

  /** @param {Step} step */
  drop(step) {
    this.#all = this.#all.filter((one) => one.id !== step.id);
  }

  /** @param {string|null} recording */
  last(recording) {
    return this.#all.findLast((step) => step.recording === recording) ?? null;
  }

  /**
   * The service was told. What it had before is known now, where the page said nothing of the row before.
   * @param {Step} step
   * @param {{before?: State|null, now: State|null}} told before: what it had, if that was changed
   */
  settle(step, { before, now }) {
    const earlier = this.#all.filter(({ of, at }) => of === step.of && at <= step.at);
    const own = earlier.find(({ id }) => id === step.id);
    if (own && own === earlier[0] && before !== undefined) own.before = before;
    if (own) own.left = now;
    for (const one of earlier) one.settled = true;
  }

  /**
   * The service was not told of this row, and will not be.
   * @param {string} of
   */
  forget(of) {
    this.#all = this.#all.filter((step) => step.settled || step.of !== of);
  }
}
