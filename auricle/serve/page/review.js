/** What is found in a recording and what is said of it: sounds, threshold, selection, corrections. */

import { Corrections, merged } from "./annotate.js";
import { getJson, isAbort, recordingPath } from "./api.js";
import { showBar, spokenSelection, startBar } from "./bar.js";
import { byId, settled } from "./dom.js";
import { alarm, clearAlarm, say } from "./say.js";
import { Table } from "./table.js";

/**
 * @typedef {import("./annotate.js").Row} Row
 * @typedef {import("./api.js").Recording} Recording
 * @typedef {{view: import("./viewport.js").Viewport, timeline: import("./timeline.js").Timeline,
 *   labels: import("./labels.js").Labels, time: () => number, seek: (seconds: number) => void,
 *   play: (from: number, to: number) => void, keepPlace: () => void,
 *   corrected: (count: number) => void}} Stage what the recording's view gives
 */

const MOST_SOUNDS = 5000;
const SETTLES = 250; // milliseconds without a change of the threshold before the service hears of it

export class Review {
  /** @type {number|null} null: the model's own */
  threshold = null;
  /** @type {{from: number, to: number}|null} */
  selection = null;
  /** @type {Row|null} */
  chosen = null;
  /** @type {Corrections|null} */
  corrections = null;
  /** @type {Row[]} sounds and corrections, by time */
  rows = [];
  /** @type {Recording|null} */
  #recording = null;
  #found = { events: /** @type {import("./api.js").Sound[]} */ ([]), truncated: false };
  #asked = new AbortController();
  /** @type {() => void} */
  #getSettled;

  /**
   * @param {import("./api.js").Service} service
   * @param {Stage} stage
   */
  constructor(service, stage) {
    this.service = service;
    this.stage = stage;
    this.table = new Table({
      choose: (row) => this.choose(row, true),
      judge: (row, verdict) => this.judge(verdict, row),
      remove: (row) => this.remove(row),
    });
    startBar({
      play: () => this.playSelection(),
      judge: (verdict) => this.judge(verdict),
      add: (label) => this.add(label),
      remove: () => this.chosen && this.remove(this.chosen),
      close: () => this.clear(),
    });
    this.#getSettled = settled(() => this.getSounds(), SETTLES);
    byId("undo").addEventListener("click", () => this.undo());
    byId("threshold").addEventListener("input", () => this.setThreshold(Number(byId("threshold").value)));
    byId("threshold-own").addEventListener("click", () => this.setThreshold(null));
    byId("in-view").addEventListener("change", () => this.showTable());
  }

  /**
   * Another recording.
   * @param {Recording} recording
   * @param {number|null} threshold
   * @param {AbortSignal} signal
   */
  async open(recording, threshold, signal) {
    this.#recording = recording;
    this.threshold = threshold;
    this.table.reset();
    this.#showThreshold();
    this.corrections = new Corrections(recording.id);
    this.corrections.addEventListener("change", () => this.#merge());
    await this.corrections.load(signal);
  }

  /** Forget everything. */
  close() {
    this.#asked.abort();
    this.#recording = this.corrections = null;
    this.rows = [];
    this.#found = { events: [], truncated: false };
    this.clear(true);
  }

  get model() {
    return this.service.models.find(({ name }) => name === this.#recording?.model) ?? this.service.models[0];
  }

  /** @param {string} label */
  thresholdOf(label) {
    return this.threshold ?? this.model.thresholds?.[label] ?? this.model.threshold;
  }

  playSelection() {
    const span = this.chosen ? { from: this.chosen.start, to: this.chosen.end } : this.selection;
    if (span) this.stage.play(span.from, span.to);
  }

  async getSounds() {
    if (!this.#recording) return;
    this.#asked.abort();
    const asked = (this.#asked = new AbortController());
    const query = new URLSearchParams({ limit: String(MOST_SOUNDS) });
    if (this.threshold !== null) query.set("threshold", this.threshold.toFixed(2));
    try {
      this.#found = await getJson(recordingPath(this.#recording.id, `events?${query}`), asked.signal);
      this.#merge();
    } catch (error) {
      if (!isAbort(error)) alarm(error, "The sounds could not be listed");
    }
  }

  #merge() {
    this.rows = merged(this.#found.events, this.corrections?.all ?? []);
    const { chosen } = this;
    this.chosen = this.rows.find((row) => row.label === chosen?.label && row.start === chosen.start) ?? null;
    if (this.stage.timeline.content) this.stage.timeline.content.sounds = this.rows;
    this.stage.corrected(this.corrections?.all.length ?? 0);
    byId("undo").disabled = !this.corrections?.last;
    byId("undo").title = this.corrections?.last ? `Undo: ${this.corrections.last}` : "Undo";
    this.showTable();
    this.#showSelection();
    this.stage.timeline.redraw();
  }

  /** Rows that are listed: of the labels chosen, and in view where only that is wanted. */
  get listed() {
    const inView = byId("in-view").checked;
    const { from, to } = this.stage.view;
    return this.rows.filter(
      (row) => this.stage.labels.lists(row.label) && (!inView || (row.end > from && row.start < to)),
    );
  }

  showTable() {
    const none = this.rows.length
      ? "No such sound here."
      : "No sound passes the threshold. Lower it to see more.";
    this.table.show(this.listed, { chosen: this.chosen, truncated: this.#found.truncated, why: none });
  }

  /** @param {number|null} threshold null: the model's own */
  setThreshold(threshold) {
    this.threshold = threshold;
    this.#showThreshold();
    this.stage.timeline.redraw();
    this.#getSettled();
    this.stage.keepPlace();
  }

  #showThreshold() {
    const own = this.threshold === null;
    const byLabel = own && this.model.thresholds !== null;
    byId("threshold").value = String(this.threshold ?? this.model.threshold);
    byId("threshold-value").textContent = byLabel
      ? "by label"
      : (this.threshold ?? this.model.threshold).toFixed(2);
    byId("threshold-own").setAttribute("aria-pressed", String(own));
  }

  /**
   * Choose a sound, and maybe hear it.
   * @param {Row} row
   * @param {boolean} [heard]
   */
  choose(row, heard = false) {
    this.chosen = row;
    this.selection = null;
    this.stage.view.focus(row.start, row.end);
    this.stage.labels.include(row.label);
    this.#showSelection();
    this.showTable();
    say(spokenSelection(row, null));
    if (heard) this.playSelection();
  }

  /**
   * The next sound that is listed, or the one before.
   * @param {1|-1} step
   */
  step(step) {
    const listed = this.listed;
    const here = this.stage.time();
    const now = listed.findIndex((row) => row === this.chosen);
    const after = listed.findIndex((row) => row.start > here);
    const from = now >= 0 ? now + step : step > 0 ? after : (after < 0 ? listed.length : after) - 1;
    const row = listed[from];
    if (!row) return say(step > 0 ? "No later sound" : "No earlier sound");
    this.choose(row);
    this.stage.seek(row.start);
  }

  /**
   * @param {number} from seconds
   * @param {number} to seconds
   */
  select(from, to) {
    const inside = (/** @type {number} */ at) => Math.min(Math.max(at, 0), this.stage.view.duration);
    this.selection = { from: inside(Math.min(from, to)), to: inside(Math.max(from, to)) };
    this.chosen = null;
    this.#showSelection();
  }

  /**
   * Move, and take what is passed over into the selection.
   * @param {number} seconds
   */
  extend(seconds) {
    const now = this.stage.time();
    const { from, to } = this.selection ?? { from: now, to: now };
    const other = Math.abs(now - from) < Math.abs(now - to) ? to : from;
    this.stage.seek(now + seconds);
    this.select(other, this.stage.time());
  }

  /** @param {boolean} [quietly] */
  clear(quietly = false) {
    const had = this.chosen ?? this.selection;
    this.chosen = this.selection = null;
    this.#showSelection();
    if (had && !quietly) {
      this.showTable();
      say(spokenSelection(null, null));
    }
  }

  #showSelection() {
    this.stage.timeline.chosen = this.chosen;
    this.stage.timeline.selection = this.selection;
    this.stage.timeline.move();
    showBar(this.chosen, this.selection);
  }

  /**
   * @param {"right"|"wrong"} verdict
   * @param {Row|null} [row] the chosen one
   */
  judge(verdict, row = this.chosen) {
    if (!row || row.verdict === "added") return say("Choose a sound first");
    return this.#correct(async (corrections) => {
      await corrections.judge(row, verdict);
      return `${row.label} ${corrections.last?.includes("no longer") ? "no longer " : ""}${verdict}`;
    });
  }

  /** @param {string} label */
  add(label) {
    const span = this.chosen ? { from: this.chosen.start, to: this.chosen.end } : this.selection;
    if (!span || span.to <= span.from) return say("Select a span first");
    const same = this.rows.find(
      (row) => row.label === label && row.start === span.from && row.end === span.to,
    );
    if (same && same.verdict === "added") return say(`${label} is there already`);
    if (same) return same.verdict === "right" ? say(`${label} is right already`) : this.judge("right", same);
    return this.#correct(async (corrections) => {
      const made = await corrections.add(label, span.from, span.to);
      byId("bar-label").value = "";
      const row = this.rows.find((one) => one.correction === made);
      if (row) this.choose(row);
      return `${label} added`;
    });
  }

  /** @param {Row} row */
  remove(row) {
    const { correction } = row;
    if (correction)
      this.#correct(async (corrections) => {
        await corrections.remove(correction);
        return `${row.label} removed`;
      });
  }

  undo() {
    return this.#correct(async (corrections) => {
      const what = await corrections.undo();
      return what ? `Undone: ${what}` : "Nothing to undo";
    });
  }

  /** @param {(corrections: Corrections) => Promise<string>} change gives what is said of it */
  async #correct(change) {
    if (!this.corrections) return;
    try {
      say(await change(this.corrections));
      clearAlarm();
    } catch (error) {
      alarm(error, "The correction was not kept");
    }
  }
}
