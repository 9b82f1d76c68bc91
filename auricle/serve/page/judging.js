/** What the visitor wants said of the sounds, as buttons and keys ask for it: put into the outbox, told of. */

import { correctionsOf } from "./annotate.js";
import { ApiError, isAbort, isMissing, isPassing } from "./api.js";
import { covers } from "./merging.js";
import { Outbox } from "./outbox.js";
import { alarm, clearAlarm, say } from "./say.js";
import { Steps, nameOf, stateOf } from "./wishes.js";

/**
 * @typedef {import("./merging.js").Row} Row
 * @typedef {import("./wishes.js").Wish} Wish
 * @typedef {import("./wishes.js").State} State
 * @typedef {import("./api.js").Correction} Correction
 * @typedef {{label: string, start: number, end: number, correction: Correction|null}} Place
 * @typedef {{from: number, to: number}} Span
 */

const TWICE = 400; // milliseconds in which the same again is a double click, not a change of mind
const NOWHERE = "Not heard there";

export class Judging {
  /** @type {Map<string, {how: string, at: number}>} of each row, what was asked for last, or just answered */
  #asked = new Map();
  #steps = new Steps();
  #numbered = 0;

  /**
   * @param {{recording: () => string|null, rows: () => Row[], changed: () => void,
   *   kept: (wish: Wish, made?: Correction) => void}} stage recording: that is open; rows: its sounds; changed: other
   *   things wait; kept: something is kept now; made: what was added
   */
  constructor(stage) {
    this.stage = stage;
    this.outbox = new Outbox((wish) => this.#send(wish));
    this.outbox.addEventListener("change", () => stage.changed());
    // Out of the browser's memory comes a page whose wishes another page may have sent meanwhile.
    addEventListener("pageshow", ({ persisted }) => persisted && this.resume());
  }

  /** Go on with what waited when the page was left. */
  resume() {
    for (const wish of this.outbox.all) clearAlarm(causeOf(wish));
    this.outbox.resume();
    for (const { how, step } of this.outbox.all) if (how !== "undo") this.#steps.add(step);
    this.stage.changed();
  }

  /** The last step, also one that waits; null where nothing was done. */
  get last() {
    return this.#steps.last(this.stage.recording());
  }

  /**
   * Is this said of a row, but not kept yet, since the service takes nothing?
   * @param {Row} row
   * @param {"right"|"wrong"|"removed"} verdict
   */
  waits(row, verdict) {
    const last = this.outbox.isTroubled ? this.outbox.last(this.#about(row, verdict).of) : null;
    return last !== null && (last.wants?.verdict ?? "removed") === verdict;
  }

  /**
   * What a verdict on a row is about, and what stands of that once all is kept that is on its way.
   * @param {Place} row
   * @param {"right"|"wrong"|"removed"|"added"} verdict
   * @returns {{of: string, over: State|null, stands: State|null}}
   */
  #about(row, verdict) {
    const { correction } = row;
    // Of what was said of a longer stretch, a part can be judged otherwise: that is then said beside it.
    // What is removed goes whole.
    const isOwn =
      correction &&
      (verdict === "removed" || correction.verdict === verdict || covers(row, correction));
    const over = isOwn ? stateOf(correction) : null;
    const of = nameOf(this.stage.recording(), over ?? row);
    const last = this.outbox.last(of);
    return { of, over, stands: last ? last.wants : over };
  }

  /**
   * @param {"right"|"wrong"} verdict
   * @param {Row|null} row
   */
  judge(verdict, row) {
    if (!row || row.verdict === "added") return say("Choose a sound first");
    const back = this.#about(row, verdict).stands?.verdict === verdict;
    return this.#say(verdict, row, `${row.label} ${back ? "no longer " : ""}${verdict}`, back);
  }

  /**
   * A label is heard in a span. Where the model hears it already, that is right there.
   * @param {string} label
   * @param {Span} span
   */
  add(label, { from, to }) {
    const place = { label, start: from, end: to, correction: null };
    const own = nameOf(null, place);
    const same = this.stage.rows().find((row) => nameOf(null, row) === own);
    const { stands } = this.#about(same ?? place, "added");
    if (stands?.verdict === "added") return say(`${label} is there already`);
    if (same && same.verdict !== "added")
      return stands?.verdict === "right" ? say(`${label} is right already`) : this.judge("right", same);
    const heard = this.stage.rows().find((row) => row.label === label && covers(row, place));
    if (heard && heard.verdict === null) return this.#say("right", place, `${label} right`);
    clearAlarm(spanOf(this.stage.recording(), place)); // of another label that was refused there
    return this.#say("added", place, `${label} added`);
  }

  /**
   * A label is not heard in a span of what the model takes for it.
   * @param {string} label
   * @param {Span} span
   */
  deny(label, { from, to }) {
    const place = { label, start: from, end: to, correction: null };
    const meets = (/** @type {Row} */ row) => row.label === label && row.start < to && row.end > from;
    if (!this.stage.rows().some((row) => meets(row) && row.verdict !== "wrong"))
      return alarm(`${label} is not among the sounds there, so there is nothing to call wrong.`, "", {
        cause: NOWHERE,
      });
    clearAlarm(NOWHERE);
    if (this.#about(place, "wrong").stands?.verdict !== "wrong")
      this.#say("wrong", place, `${label} wrong`);
  }

  /** @param {Row} row */
  remove(row) {
    if (row.correction && this.#about(row, "removed").stands)
      this.#say("removed", row, `${row.label} removed`, true);
  }

  /** Take the last step back: one that was not sent is not sent at all. */
  undo() {
    const step = this.last;
    if (!step) return say("Nothing to undo");
    const { recording, of, what, before, left } = step;
    this.#steps.drop(step);
    this.#asked.set(of, { how: "undo", at: performance.now() });
    const wish = { recording, of, how: /** @type {const} */ ("undo"), what: `undo of ${what}`, step };
    if (!this.#add({ ...wish, wants: before, over: left, expects: [left] })) say(`Undone: ${what}`);
  }

  /**
   * @param {"right"|"wrong"|"added"|"removed"} how
   * @param {Place} row
   * @param {string} what the same in words
   * @param {boolean} [back] nothing is to be said of it any more
   */
  #say(how, row, what, back = false) {
    const recording = this.stage.recording();
    const { of, over, stands } = this.#about(row, how);
    if (recording === null || this.#isAgain(of, how)) return;
    const [start, end] = how === "added" ? [row.start, row.end].map(cut) : [row.start, row.end];
    const wants = back || how === "removed" ? null : { label: row.label, start, end, verdict: how };
    const [id, at] = [`${Date.now()} ${++this.#numbered}`, Date.now()];
    const step = { id, recording, of, at, what, before: stands, left: wants };
    this.#steps.add(step);
    // What is taken back is what is shown, and nothing else that another window said.
    this.#add({ recording, of, how, what, wants, over, step, expects: wants ? undefined : [stands, over] });
  }

  /** @param {import("./wishes.js").Given} given */
  #add(given) {
    const stuck = this.outbox.all.find((one) => one.of === given.of && one.stuck);
    if (stuck) this.#giveUp(stuck, given.step);
    clearAlarm(causeOf(given));
    return this.outbox.add(given);
  }

  /**
   * Is the same asked for again? Twice at once, or before it is answered, is one wish; but of what visibly waits one
   * may have changed one's mind.
   * @param {string} of
   * @param {string} how
   */
  #isAgain(of, how) {
    const now = performance.now();
    const before = this.#asked.get(of);
    this.#asked.set(of, { how, at: now });
    if (before?.how !== how) return false;
    return now - before.at < TWICE || (!this.outbox.isTroubled && this.outbox.last(of)?.how === how);
  }

  /**
   * @param {Wish} wish
   * @returns {Promise<boolean>} is it kept?
   */
  async #send(wish) {
    const { recording, of, how, what, step } = wish;
    try {
      const { made, ...told } = await correctionsOf(recording, this.outbox).carryOut(wish);
      if (how !== "undo") this.#steps.settle(step, told);
      say(how === "undo" ? `Undone: ${step.what}` : what);
      clearAlarm(causeOf(wish));
      if (how === "added") clearAlarm(spanOf(recording, wish.wants));
      this.stage.kept(wish, how === "added" ? made : undefined);
      return true;
    } catch (error) {
      if (isAbort(error)) return false; // it was read anew
      wish.stuck = isPassing(error);
      if (this.outbox.all.some((one) => one !== wish && one.of === of)) this.#giveUp(wish, wish.step);
      else this.#explain(wish, error);
      return false;
    } finally {
      if (this.#asked.get(of)?.how === how) this.#asked.set(of, { how, at: performance.now() });
    }
  }

  /**
   * @param {Wish} wish that was not kept
   * @param {unknown} error
   */
  #explain(wish, error) {
    const { recording, of, how, step, stuck } = wish;
    // What another window changed never can be undone; a step that was refused was none.
    if (!stuck && how !== "undo") this.#steps.forget(of);
    if (!stuck && how === "undo" && error instanceof ApiError && !isMissing(error)) this.#steps.add(step);
    const cause = how === "added" && !stuck ? spanOf(recording, wish.wants) : causeOf(wish);
    alarm(error, `“${step.what}” was not ${how === "undo" ? "undone" : "kept"}`, {
      cause,
      stays: true,
      actions: stuck ? [{ text: "Send again", run: () => this.#again(wish) }] : [],
      closed: () => wish.stuck && this.#close(wish),
    });
  }

  /** @param {Wish} wish that the service failed at */
  #again(wish) {
    clearAlarm(causeOf(wish));
    this.outbox.again(wish);
  }

  /** @param {Wish} wish that the service failed at */
  #close(wish) {
    if (wish.how === "undo") this.#steps.add(wish.step);
    else this.#steps.forget(wish.of);
    this.outbox.drop(wish);
  }

  /**
   * Something newer is wished of the row: what was not kept is no step.
   * @param {Wish} wish
   * @param {import("./wishes.js").Step} step of the newer
   */
  #giveUp(wish, step) {
    if (wish.how !== "undo") this.#steps.drop(wish.step);
    else if (step.id !== wish.step.id && step.at > wish.at) this.#steps.add(wish.step);
  }
}

/**
 * Of the messages about a wish: each row has its own.
 * @param {{of: string}} wish
 */
function causeOf({ of }) {
  return `correction ${of}`;
}

/**
 * Of the message that a label was refused: it is about the span, whatever label is tried there next.
 * @param {string|null} recording
 * @param {{start: number, end: number}|null} span
 */
function spanOf(recording, span) {
  return span ? `correction ${nameOf(recording, { ...span, label: "" })}` : "";
}

/** @param {number} seconds to the millisecond, and not beyond the recording's end */
function cut(seconds) {
  return Math.floor(seconds * 1000 + 1e-6) / 1000;
}
