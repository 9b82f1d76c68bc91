/** What the visitor wants said of the sounds, as buttons and keys ask for it: put into the outbox, told of. */

import { correctionsOf } from "./annotate.js";
import { isPassing } from "./api.js";
import { covers, keyOf } from "./merging.js";
import { Outbox, lastJudgement } from "./outbox.js";
import { alarm, clearAlarm, say } from "./say.js";

/**
 * @typedef {import("./merging.js").Row} Row
 * @typedef {import("./outbox.js").Said} Said
 * @typedef {import("./outbox.js").Op} Op
 * @typedef {import("./annotate.js").Corrections} Corrections
 * @typedef {import("./annotate.js").Correction} Correction
 * @typedef {{from: number, to: number}} Span
 */

const TWICE = 400; // milliseconds in which the same again is a double click, not a change of mind
const NOWHERE = "Not heard there";

export class Judging {
  /** @type {Map<string, number>} what is being said, or was just now: when it was asked for */
  #said = new Map();

  /**
   * @param {{recording: () => string|null, rows: () => Row[], changed: () => void,
   *   kept: (said: Said, made?: Correction) => void}} stage recording: that is open; rows: its sounds; changed: other
   *   things wait; kept: something is kept now; made: what was added
   */
  constructor(stage) {
    this.stage = stage;
    this.outbox = new Outbox((said) => this.#send(said));
    this.outbox.addEventListener("change", () => stage.changed());
  }

  /** @returns {Said[]} what waits of the recording that is open */
  get #waiting() {
    return this.outbox.all.filter(({ recording }) => recording === this.stage.recording());
  }

  /** The last step, also one that waits; null where nothing was done. */
  get last() {
    const id = this.stage.recording();
    if (id === null) return null;
    /** @type {{id: string, what: string, waits: Said|null}[]} */
    let steps = correctionsOf(id, this.outbox).steps.map(({ of, what }) => ({ id: of, what, waits: null }));
    for (const said of this.#waiting) {
      const { op } = said;
      if (op.how === "undo") steps = steps.filter((one) => one.id !== op.of);
      else if (!steps.some((one) => one.id === said.id))
        steps.push({ id: said.id, what: said.what, waits: said });
    }
    return steps.at(-1) ?? null;
  }

  /**
   * Is this said of a row, but not kept yet, since the service takes nothing?
   * @param {Row} row
   * @param {"right"|"wrong"|"removed"} verdict
   */
  waits(row, verdict) {
    const [of, waiting] = [keyOf(row), this.#waiting];
    if (verdict === "removed")
      return this.outbox.isTroubled && waiting.some((said) => said.of === of && said.op.how === "remove");
    const last = this.outbox.isTroubled ? lastJudgement(waiting, of) : null;
    return last?.verdict === verdict && !last.back;
  }

  /**
   * @param {"right"|"wrong"} verdict
   * @param {Row|null} row
   */
  judge(verdict, row) {
    if (!row || row.verdict === "added") return say("Choose a sound first");
    const of = keyOf(row);
    const last = lastJudgement(this.#waiting, of); // on its way, it counts before what is shown
    const stands = last ? (last.back ? null : last.verdict) : row.verdict;
    const back = stands === verdict;
    this.#said.delete(`${verdict === "right" ? "wrong" : "right"} ${of}`);
    const what = `${row.label} ${back ? "no longer " : ""}${verdict}`;
    return this.#say(verdict, of, what, { how: "judge", row: placeOf(row), verdict, back });
  }

  /**
   * A label is heard in a span. Where the model hears it already, that is right there.
   * @param {string} label
   * @param {Span} span
   */
  add(label, { from, to }) {
    const place = { label, start: from, end: to };
    const of = keyOf(place);
    const same = this.stage.rows().find((row) => keyOf(row) === of);
    if (same && same.verdict === "added") return say(`${label} is there already`);
    if (same) return same.verdict === "right" ? say(`${label} is right already`) : this.judge("right", same);
    const heard = this.stage.rows().find((row) => row.label === label && covers(row, place));
    if (heard && heard.verdict === null) {
      const row = { ...place, correction: null };
      return this.#say("right", of, `${label} right`, { how: "judge", row, verdict: "right", back: false });
    }
    return this.#say("added", of, `${label} added`, { how: "add", ...place });
  }

  /**
   * A label is not heard in a span of what the model takes for it.
   * @param {string} label
   * @param {Span} span
   */
  deny(label, { from, to }) {
    const place = { label, start: from, end: to };
    const meets = (/** @type {Row} */ row) => row.label === label && row.start < to && row.end > from;
    if (!this.stage.rows().some((row) => meets(row) && row.verdict !== "wrong"))
      return alarm(`${label} is not among the sounds there, so there is nothing to call wrong.`, "", {
        cause: NOWHERE,
      });
    clearAlarm(NOWHERE);
    const row = { ...place, correction: null };
    const what = `${label} wrong`;
    return this.#say("wrong", keyOf(place), what, { how: "judge", row, verdict: "wrong", back: false });
  }

  /** @param {Row} row */
  remove(row) {
    const { correction } = row;
    if (correction) this.#say("removed", keyOf(row), `${row.label} removed`, { how: "remove", correction });
  }

  /** Take the last step back: one that was not sent is not sent at all. */
  undo() {
    const { last } = this;
    const id = this.stage.recording();
    if (!last || id === null) return say("Nothing to undo");
    if (last.waits && (!last.waits.tried || last.waits.stuck)) {
      clearAlarm(causeOf(last.waits));
      this.#said.delete(last.waits.key);
      this.outbox.drop(last.waits);
      return say(`Undone: ${last.what}`);
    }
    const step = correctionsOf(id, this.outbox).steps.find(({ of }) => of === last.id);
    const op = /** @type {Op} */ ({ how: "undo", of: last.id, step });
    return this.outbox.add({ recording: id, key: "", of: "undo", what: `undo of ${last.what}`, op });
  }

  /**
   * @param {string} how
   * @param {string} of keyOf a row
   * @param {string} what the same in words
   * @param {Op} op
   */
  #say(how, of, what, op) {
    const recording = this.stage.recording();
    const [key, now] = [`${how} ${of}`, performance.now()];
    const before = this.#said.get(key);
    // Of what visibly waits one may have changed one's mind; else the same again, before it is answered, is one wish.
    const changed = op.how === "judge" && this.outbox.isTroubled && now - (before ?? 0) > TWICE;
    if (recording === null || (before !== undefined && !changed)) return;
    this.#said.set(key, now);
    return this.outbox.add({ recording, key, of, what, op });
  }

  /** @param {Said} said */
  async #send(said) {
    const { recording, key, what, op } = said;
    const cause = causeOf(said);
    try {
      const done = await correctionsOf(recording, this.outbox).carryOut(said);
      say(done.what);
      clearAlarm(cause);
      this.stage.kept(said, done.made);
    } catch (error) {
      said.stuck = isPassing(error);
      const undo = op.how === "undo";
      const failed = undo ? `“${what.replace("undo of ", "")}” was not undone` : `“${what}” was not kept`;
      const again = { text: "Send again", run: () => this.#again(said) };
      alarm(error, failed, {
        cause,
        stays: true,
        actions: said.stuck ? [again] : [],
        closed: () => said.stuck && this.outbox.drop(said),
      });
    }
    setTimeout(() => this.#said.delete(key), TWICE);
  }

  /** @param {Said} said that the service failed at */
  #again(said) {
    clearAlarm(causeOf(said));
    this.outbox.again(said);
  }
}

/**
 * Of the message that it was not kept: one about a row, or a span whatever the label.
 * @param {Said} said
 */
function causeOf({ of, op }) {
  return `correction ${op.how === "add" ? of.replace(/^.* (?=\S+ \S+$)/, "") : of}`;
}

/**
 * @param {Row} row
 * @returns {import("./outbox.js").Place}
 */
function placeOf({ label, start, end, correction }) {
  return { label, start, end, correction };
}
