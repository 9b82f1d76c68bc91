/** What is found in a recording and what is said of it: sounds, threshold, selection, corrections. */

import { correctionsOf } from "./annotate.js";
import { recordingPath } from "./api.js";
import { showBar, spokenSelection, startBar, uncover } from "./bar.js";
import { byId, settled } from "./dom.js";
import { grouped } from "./format.js";
import { Judging } from "./judging.js";
import { covers, merged } from "./merging.js";
import { Peaks } from "./peaks.js";
import { say } from "./say.js";
import { Sounds, persistently } from "./sounds.js";
import { Table, isSame } from "./table.js";

/**
 * @typedef {import("./merging.js").Row} Row
 * @typedef {import("./annotate.js").Corrections} Corrections
 * @typedef {import("./api.js").Recording} Recording
 * @typedef {{view: import("./viewport.js").Viewport, timeline: import("./timeline.js").Timeline,
 *   labels: import("./labels.js").Labels, time: () => number, seek: (seconds: number) => void,
 *   play: (from: number, to: number) => void, keepPlace: () => void,
 *   corrected: (count: number) => void}} Stage what the recording's view gives
 */

const SETTLES = 250; // milliseconds without a change of the threshold before the service hears of it
const LATE = 3000; // milliseconds after which who said it does something else

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
  /** @type {Sounds|null} */
  #sounds = null;
  #asked = new AbortController();
  #looked = new AbortController(); // at what is in view
  /** @type {Peaks|null} */
  #peaks = null;
  /** @type {() => void} */
  #getSettled;

  /**
   * @param {import("./api.js").Service} service
   * @param {Stage} stage
   */
  constructor(service, stage) {
    this.service = service;
    this.stage = stage;
    this.judging = new Judging({
      recording: () => this.#recording?.id ?? null,
      rows: () => this.rows,
      changed: () => this.#showWaiting(),
      kept: (wish, made) => this.#kept(wish, made),
    });
    this.table = new Table({
      choose: (row) => this.choose(row, true),
      judge: (row, verdict) => this.judging.judge(verdict, row),
      remove: (row) => this.judging.remove(row),
      waits: (row, verdict) => this.judging.waits(row, verdict),
    });
    startBar({
      play: () => this.playSelection(),
      judge: (verdict) => this.judge(verdict),
      add: (label) => this.#label(label, true),
      deny: (label) => this.#label(label, false),
      remove: () => this.chosen && this.judging.remove(this.chosen),
      close: () => this.clear(),
    });
    this.#getSettled = settled(() => this.getSounds(), SETTLES);
    byId("undo").addEventListener("click", () => this.judging.undo());
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
    this.#peaks = new Peaks({
      path: (query) => recordingPath(recording.id, `scores?${query}`),
      index: (label) => this.stage.labels.indexOf(label),
      changed: () => this.#merge(),
      signal,
    });
    this.corrections = correctionsOf(recording.id, this.judging.outbox);
    this.corrections.addEventListener("change", () => this.#merge(), { signal });
    await this.corrections.load(signal);
  }

  /** Forget everything. */
  close() {
    this.#asked.abort();
    this.#looked.abort();
    this.#recording = this.corrections = this.#sounds = this.#peaks = null;
    this.rows = [];
    this.clear(true);
  }

  get model() {
    return this.service.models.find(({ name }) => name === this.#recording?.model) ?? this.service.models[0];
  }

  /** @param {string} label */
  thresholdOf(label) {
    return this.threshold ?? this.model.thresholds?.[label] ?? this.model.threshold;
  }

  /**
   * Are all sounds known that are heard in a span?
   * @param {number} from
   * @param {number} to
   */
  knows(from, to) {
    return this.#sounds?.knows(from, to) ?? true;
  }

  playSelection() {
    const span = this.chosen ? { from: this.chosen.start, to: this.chosen.end } : this.selection;
    if (span) this.stage.play(span.from, span.to);
  }

  async getSounds() {
    if (!this.#recording) return;
    this.#asked.abort();
    this.#looked.abort();
    const { signal } = (this.#asked = new AbortController());
    const sounds = new Sounds(this.#recording.id, this.stage.view.duration, this.threshold);
    await persistently(signal, async () => {
      await sounds.load(signal);
      this.#sounds = sounds;
      this.#merge();
    });
    await this.look();
  }

  /** Something else is in view: of a recording with very many sounds, know those there. */
  async look() {
    const { from, to } = this.stage.view;
    const sounds = this.#sounds;
    if (byId("in-view").checked) this.showTable();
    if (!sounds?.truncated) return;
    this.#looked.abort();
    const { signal } = (this.#looked = new AbortController());
    await persistently(signal, async () => {
      if (await sounds.cover(from, to, signal)) this.#merge();
    });
  }

  #merge() {
    const all = this.corrections?.all ?? [];
    this.rows = this.#merged();
    const { chosen } = this;
    this.chosen = (chosen && this.rows.find((row) => isSame(row, chosen))) ?? null;
    if (this.stage.timeline.content) this.stage.timeline.content.sounds = this.rows;
    this.stage.labels.setAdded(this.rows.filter(({ verdict }) => verdict === "added"));
    this.stage.corrected(all.length);
    this.#showWaiting();
    this.#showSelection();
    this.stage.timeline.redraw();
  }

  #merged() {
    return merged(
      this.#sounds?.all ?? [],
      this.corrections?.all ?? [],
      (row) => this.#peaks?.of(row) ?? null,
    );
  }

  /** Other things are said, or not kept yet. */
  #showWaiting() {
    const last = this.judging.last?.what;
    byId("undo").disabled = !last;
    byId("undo").title = last ? `Undo: ${last}` : "Undo";
    this.showTable();
  }

  /** Rows that are listed: of the labels chosen; in view where only that is wanted, else as far as all are known. */
  get listed() {
    const inView = byId("in-view").checked;
    const { from, to } = this.stage.view;
    const until = this.#sounds?.until ?? 0;
    const isListed = (/** @type {Row} */ row) =>
      inView ? row.end > from && row.start < to : row.start <= until || row.verdict !== null;
    return this.rows.filter((row) => this.stage.labels.lists(row.label) && isListed(row));
  }

  /** Labels of the sounds in view. */
  get sounding() {
    const { from, to } = this.stage.view;
    return this.rows.filter((row) => row.end > from && row.start < to).map(({ label }) => label);
  }

  showTable() {
    const rows = this.listed;
    const inView = byId("in-view").checked;
    const most = this.#sounds?.most(inView ? this.stage.view : null) ?? null;
    const whole = most === null ? "" : this.stage.labels.chosen ? "+" : ` of ${grouped(most)}`;
    const number = rows.length || whole ? grouped(rows.length) + whole : "";
    this.table.show(rows, { chosen: this.chosen, number, note: this.#note(rows.length, most !== null) });
  }

  /**
   * What is to be said under the table.
   * @param {number} listed
   * @param {boolean} more are there than are listed
   */
  #note(listed, more) {
    const { from, to } = this.stage.view;
    const inView = byId("in-view").checked;
    if (more && inView) return "The first sounds in view are listed. Zoom in to see the others.";
    if (more) return "The first sounds are listed, and what you judged. Zoom in, and list what is in view.";
    if (listed) return "";
    if (inView && !this.#sounds?.knows(from, to)) return "Looking for the sounds in view…";
    return this.rows.length ? "No such sound here." : "No sound passes the threshold. Lower it to see more.";
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
  async step(step) {
    const at = this.chosen?.start ?? this.stage.time();
    const sounds = this.#sounds;
    const before = sounds?.all;
    if (sounds?.truncated && !byId("in-view").checked) {
      const { signal } = this.#asked;
      const find = () => this.#beside(this.#fitting(this.#merged()), step);
      await persistently(signal, () => sounds.toward(at, step, find, signal));
      if (signal.aborted) return;
      if (sounds.all !== before) this.#merge();
    }
    const row = this.#beside(byId("in-view").checked ? this.listed : this.#fitting(this.rows), step);
    if (!row) return say(step > 0 ? "No later sound" : "No earlier sound");
    this.choose(row);
    this.stage.seek(row.start);
  }

  /** @param {Row[]} rows */
  #fitting(rows) {
    return rows.filter(({ label }) => this.stage.labels.lists(label));
  }

  /**
   * The row after the chosen one, or after what is heard now; or the one before.
   * @param {Row[]} rows
   * @param {1|-1} step
   * @returns {Row|undefined}
   */
  #beside(rows, step) {
    const { chosen } = this;
    const now = chosen ? rows.findIndex((row) => isSame(row, chosen)) : -1;
    if (now >= 0) return rows[now + step];
    const after = rows.findIndex((row) => row.start > this.stage.time());
    return rows[step > 0 ? after : (after < 0 ? rows.length : after) - 1];
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

  /** @param {"right"|"wrong"} verdict of the chosen sound */
  judge(verdict) {
    return this.judging.judge(verdict, this.chosen);
  }

  /**
   * Say of the span that is selected that a label is heard there, or not.
   * @param {string} typed
   * @param {boolean} heard
   */
  #label(typed, heard) {
    const span = this.chosen ? { from: this.chosen.start, to: this.chosen.end } : this.selection;
    if (!span || span.to <= span.from) return say("Select a span first");
    const label = this.stage.labels.spelled(typed);
    return heard ? this.judging.add(label, span) : this.judging.deny(label, span);
  }

  /**
   * Something is kept: what was added or called wrong just now is chosen.
   * @param {import("./wishes.js").Wish} wish
   * @param {import("./api.js").Correction} [made]
   */
  #kept({ recording, how, wants, at }, made) {
    if (recording !== this.#recording?.id || Date.now() - at > LATE) return;
    const [bar, focus] = [byId("bar"), document.activeElement];
    if (bar.contains(focus) && (made || this.selection)) byId("bar-label").value = "";
    if (wants && (how === "right" || how === "wrong") && this.selection) return this.#chooseAgain(wants);
    const row = made && this.rows.find((one) => one.correction === made);
    if (!row) return;
    this.choose(row);
    uncover(row.label);
    // Who has gone on to something else stays there.
    if ((bar.contains(focus) || focus === document.body) && !this.table.focus(row))
      byId("bar-remove").focus();
  }

  /** @param {import("./wishes.js").State} place a span that was judged */
  #chooseAgain(place) {
    const isIt = (/** @type {Row} */ { label, correction: said }) =>
      said !== null && label === place.label && covers(said, place) && covers(place, said);
    const row = this.rows.find(isIt);
    const { selection } = this;
    if (row && selection?.from === place.start && selection.to === place.end) this.choose(row);
  }
}
