/** One recording: its picture, playback, sounds, labels and corrections, kept in step. */

import { Corrections, merged } from "./annotate.js";
import { getBuffer, getJson, isAbort, recordingPath } from "./api.js";
import { showBar, spokenSelection, startBar } from "./bar.js";
import { byId, make, settled } from "./dom.js";
import { clock, count, percent, size, spoken } from "./format.js";
import { followGestures } from "./gestures.js";
import { Labels } from "./labels.js";
import { startOverview } from "./overview.js";
import { hashOf } from "./place.js";
import { Player } from "./player.js";
import { Ranges } from "./ranges.js";
import { alarm, say } from "./say.js";
import { Table } from "./table.js";
import { TileCache } from "./tiles.js";
import { Timeline } from "./timeline.js";
import { Viewport } from "./viewport.js";

/**
 * @typedef {import("./annotate.js").Row} Row
 * @typedef {import("./api.js").Recording} Recording
 */

const OVERVIEW_COLUMNS = 1600;
const MOST_SOUNDS = 5000;
const SETTLES = 250; // milliseconds without a change before the service or the address hears of it

export class RecordingView {
  /** @type {Recording|null} */
  recording = null;
  /** @type {number|null} null: the model's own */
  threshold = null;
  /** @type {{from: number, to: number}|null} */
  selection = null;
  /** @type {Row|null} */
  chosen = null;
  /** @type {Player|null} */
  player = null;
  /** @type {Corrections|null} */
  corrections = null;
  /** @type {Row[]} sounds and corrections, by time */
  rows = [];
  #found = { events: /** @type {import("./api.js").Sound[]} */ ([]), truncated: false };
  #open = new AbortController();
  #asked = new AbortController();

  /** @param {import("./api.js").Service} service */
  constructor(service) {
    this.service = service;
    this.view = new Viewport();
    this.timeline = new Timeline(this.view, byId("plot"), byId("picture"), byId("overlay"));
    this.labels = new Labels((label) => this.hear(label));
    this.labels.addEventListener("change", () => this.#showLabels());
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
    startOverview(this.view, (seconds) => this.seek(seconds));
    this.#followPointer();
    this.#followControls();
    const keep = settled(() => this.#keepPlace(), SETTLES);
    this.keepPlace = keep;
    const list = settled(() => this.#showTable(), SETTLES);
    this.view.addEventListener("change", () => {
      keep();
      if (byId("in-view").checked) list();
    });
    this.listen = settled(() => this.#getSounds(), SETTLES);
  }

  get model() {
    return this.service.models.find(({ name }) => name === this.recording?.model) ?? this.service.models[0];
  }

  /** @param {string} label */
  thresholdOf(label) {
    return this.threshold ?? this.model.thresholds?.[label] ?? this.model.threshold;
  }

  /**
   * Show a recording that is tagged.
   * @param {Recording} recording
   * @param {import("./place.js").Place} place
   */
  async open(recording, place) {
    this.close();
    const open = (this.#open = new AbortController());
    this.recording = recording;
    this.threshold = place.threshold;
    const duration = recording.duration ?? 0;
    byId("name").textContent = recording.name;
    byId("facts").textContent = [clock(duration, 0), size(recording.bytes), recording.model].join(" · ");
    byId("warnings").hidden = !recording.warnings.length;
    byId("warnings").textContent = recording.warnings.join(" ");
    byId("total").textContent = clock(duration, 0);
    byId("plot").setAttribute("aria-valuemax", duration.toFixed(1));
    this.view.reset(duration);
    if (place.from !== null && place.to !== null) this.view.show(place.from, place.to);
    this.table.reset();
    this.#showThreshold();
    const path = (/** @type {string} */ part) => recordingPath(recording.id, part);
    this.corrections = new Corrections(recording.id);
    this.corrections.addEventListener("change", () => this.#merge());
    const [{ labels }, peaks] = await Promise.all([
      getJson(path("labels"), open.signal),
      getBuffer(path(`peaks?from=0&to=${duration}&columns=${OVERVIEW_COLUMNS}`), open.signal),
      this.corrections.load(open.signal),
    ]);
    this.#startContent(recording);
    this.#startPlayer(recording, new Int8Array(peaks), place.at);
    this.labels.reset(labels, place.ticked);
    this.timeline.recolour();
    await this.#getSounds();
    say(`${recording.name}: ${count(this.rows.length, "sound")} in ${spoken(duration)}`);
  }

  /** @param {Recording} recording */
  #startContent(recording) {
    const path = (/** @type {string} */ part) => recordingPath(recording.id, part);
    const draw = () => this.timeline.redraw();
    this.timeline.content = {
      labels: [],
      sounds: this.rows,
      threshold: (label) => this.thresholdOf(label),
      peaks: new Ranges(async (from, to, columns, signal) => {
        return new Int8Array(await getBuffer(path(`peaks?from=${from}&to=${to}&columns=${columns}`), signal));
      }, draw),
      scores: new Ranges(async (from, to, columns, signal) => {
        const labels = this.labels.rows.map(({ index }) => index).join(",");
        const query = `from=${from}&to=${to}&columns=${columns}&labels=${labels}`;
        return new Float32Array(await getBuffer(path(`scores?${query}`), signal));
      }, draw),
      tiles: recording.spectrogram && new TileCache(recording.id, recording.spectrogram, draw),
    };
  }

  /**
   * @param {Recording} recording
   * @param {Int8Array} peaks
   * @param {number} at
   */
  #startPlayer(recording, peaks, at) {
    const address = recordingPath(recording.id, "media");
    const player = new Player(recording, address, peaks, { media: byId("media"), wave: byId("wavesurfer") });
    this.player = player;
    byId("media").hidden = recording.kind !== "video";
    const failed = () => alarm("This browser cannot play this recording. Its sounds are listed all the same.");
    if (!recording.playable) failed();
    player.addEventListener("failed", failed);
    player.addEventListener("time", () => this.#showTime());
    player.addEventListener("state", () => {
      byId("play").setAttribute("aria-label", player.playing ? "Pause" : "Play");
      byId("play").firstElementChild.textContent = player.playing ? "❚❚" : "▶";
      this.#describePosition();
      this.keepPlace();
    });
    if (at > 0) player.seek(at);
    this.#showTime();
  }

  /** Stop, forget, give back. */
  close() {
    this.#open.abort();
    this.#asked.abort();
    this.player?.close();
    this.timeline.content?.peaks.clear();
    this.timeline.content?.scores.clear();
    this.timeline.content?.tiles?.close();
    this.timeline.content = null;
    this.player = this.recording = this.corrections = null;
    this.rows = [];
    this.#found = { events: [], truncated: false };
    this.clear(true);
  }

  /** Colours are other ones. */
  recolour() {
    this.timeline.recolour();
    this.player?.recolour();
  }

  // ---- playback -------------------------------------------------------------------------------------------

  /** @param {number} seconds */
  seek(seconds) {
    this.player?.seek(seconds);
    this.view.reveal(this.player?.time ?? 0);
    this.#describePosition();
    this.keepPlace();
  }

  /** @param {import("./api.js").Label} label whose best moment is heard */
  hear(label) {
    const end = label.time + (this.recording?.window ?? 2);
    this.view.reveal(label.time, end);
    this.player?.play(label.time, end);
  }

  playSelection() {
    const span = this.chosen ? { from: this.chosen.start, to: this.chosen.end } : this.selection;
    if (span) this.player?.play(span.from, span.to);
  }

  #showTime() {
    const player = this.player;
    if (!player) return;
    const text = clock(player.time);
    if (byId("now").textContent !== text) byId("now").textContent = text;
    if (player.playing) this.view.reveal(player.time);
    this.timeline.position = player.time;
    this.timeline.move();
    if (!player.playing) this.#describePosition();
  }

  /** What the picture, as a slider, says of where it is. */
  #describePosition() {
    const time = this.player?.time ?? 0;
    const here = this.rows.filter((row) => row.start <= time && row.end > time && row.verdict !== "wrong");
    const sounds = here.map((row) => row.label + (row.score === null ? "" : ` ${percent(row.score)}`));
    byId("plot").setAttribute("aria-valuenow", time.toFixed(1));
    byId("plot").setAttribute("aria-valuetext", [spoken(time), ...sounds].join(", "));
  }

  // ---- what is found and what is said of it ---------------------------------------------------------------

  async #getSounds() {
    if (!this.recording) return;
    this.#asked.abort();
    const asked = (this.#asked = new AbortController());
    const query = new URLSearchParams({ limit: String(MOST_SOUNDS) });
    if (this.threshold !== null) query.set("threshold", this.threshold.toFixed(2));
    try {
      this.#found = await getJson(recordingPath(this.recording.id, `events?${query}`), asked.signal);
      this.#merge();
    } catch (error) {
      if (!isAbort(error)) alarm(error, "The sounds could not be listed");
    }
  }

  #merge() {
    this.rows = merged(this.#found.events, this.corrections?.all ?? []);
    const { chosen } = this;
    this.chosen = this.rows.find((row) => row.label === chosen?.label && row.start === chosen.start) ?? null;
    if (this.timeline.content) this.timeline.content.sounds = this.rows;
    byId("undo").disabled = !this.corrections?.last;
    byId("undo").title = this.corrections?.last ? `Undo: ${this.corrections.last}` : "";
    this.#showTable();
    this.#showSelection();
    this.timeline.redraw();
  }

  /** Rows that are listed: of the labels chosen, and in view where only that is wanted. */
  get listed() {
    const inView = byId("in-view").checked;
    const { from, to } = this.view;
    return this.rows.filter((row) => this.labels.lists(row.label) && (!inView || (row.end > from && row.start < to)));
  }

  #showTable() {
    const none = this.rows.length ? "No such sound here." : "No sound passes the threshold. Lower it to see more.";
    this.table.show(this.listed, { chosen: this.chosen, truncated: this.#found.truncated, why: none });
  }

  #showLabels() {
    const content = this.timeline.content;
    if (!content) return;
    content.labels = this.labels.rows;
    content.scores.clear();
    byId("gutter").style.paddingTop = `${this.timeline.rowsTop}px`;
    byId("gutter").replaceChildren(
      ...content.labels.map((label) => {
        const name = make("div", { class: "gutter-row", title: label.label, onclick: () => this.hear(label) }, label.label);
        name.style.height = `${this.timeline.rowHeight}px`;
        return name;
      }),
    );
    this.#showTable();
    this.timeline.recolour();
    this.keepPlace();
  }

  /** @param {number|null} threshold null: the model's own */
  setThreshold(threshold) {
    this.threshold = threshold;
    this.#showThreshold();
    this.timeline.redraw();
    this.listen();
    this.keepPlace();
  }

  #showThreshold() {
    const own = this.threshold === null;
    const byLabel = own && this.model.thresholds !== null;
    byId("threshold").value = String(this.threshold ?? this.model.threshold);
    byId("threshold-value").textContent = byLabel ? "by label" : (this.threshold ?? this.model.threshold).toFixed(2);
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
    this.view.reveal(row.start, row.end);
    this.#showSelection();
    this.#showTable();
    say(spokenSelection(row, null));
    if (heard) this.playSelection();
  }

  /**
   * The next sound that is listed, or the one before.
   * @param {1|-1} step
   */
  step(step) {
    const listed = this.listed;
    const here = this.player?.time ?? 0;
    const now = listed.findIndex((row) => row === this.chosen);
    const after = listed.findIndex((row) => row.start > here);
    const from = now >= 0 ? now + step : step > 0 ? after : (after < 0 ? listed.length : after) - 1;
    const row = listed[from];
    if (!row) return say(step > 0 ? "No later sound" : "No earlier sound");
    this.choose(row);
    this.seek(row.start);
  }

  /**
   * @param {number} from seconds
   * @param {number} to seconds
   */
  select(from, to) {
    const inside = (/** @type {number} */ at) => Math.min(Math.max(at, 0), this.view.duration);
    this.selection = { from: inside(Math.min(from, to)), to: inside(Math.max(from, to)) };
    this.chosen = null;
    this.#showSelection();
  }

  /**
   * Move, and take what is passed over into the selection.
   * @param {number} seconds
   */
  extend(seconds) {
    const now = this.player?.time ?? 0;
    const { from, to } = this.selection ?? { from: now, to: now };
    const other = Math.abs(now - from) < Math.abs(now - to) ? to : from;
    this.seek(now + seconds);
    this.select(other, this.player?.time ?? 0);
  }

  /** @param {boolean} [quietly] */
  clear(quietly = false) {
    const had = this.chosen ?? this.selection;
    this.chosen = this.selection = null;
    this.#showSelection();
    if (had && !quietly) {
      this.#showTable();
      say(spokenSelection(null, null));
    }
  }

  #showSelection() {
    this.timeline.chosen = this.chosen;
    this.timeline.selection = this.selection;
    this.timeline.move();
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
    if (!span) return say("Select a span first");
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
    } catch (error) {
      alarm(error, "The correction was not kept");
    }
  }

  // ---- controls -------------------------------------------------------------------------------------------

  #followPointer() {
    const { view, timeline } = this;
    const tip = byId("tip");
    followGestures(byId("plot"), {
      view,
      selects: (y, touch) =>
        timeline.at(y).part !== "axis" && (!touch || byId("select-mode").getAttribute("aria-pressed") === "true"),
      click: (x, y) => this.#click(view.seconds(x), timeline.at(y).row),
      select: (from, to, y, done) => {
        this.select(from, to);
        const { row } = timeline.at(y);
        if (done && row >= 0) byId("bar-label").value = timeline.content?.labels[row].label ?? "";
        if (done) say(spokenSelection(null, this.selection));
      },
      point: (at) => {
        timeline.pointed = at && view.seconds(at.x);
        timeline.move();
        tip.hidden = !at || !timeline.content;
        if (at && timeline.content) this.#showTip(at.x, at.y);
      },
    });
  }

  /**
   * @param {number} seconds
   * @param {number} row of labels; -1 for none
   */
  #click(seconds, row) {
    const label = this.timeline.content?.labels[row]?.label;
    const sound = this.rows.find((one) => one.label === label && one.start <= seconds && one.end > seconds);
    if (sound) return this.choose(sound, true);
    this.clear(true);
    this.#showTable();
    this.seek(seconds);
  }

  /**
   * @param {number} x
   * @param {number} y
   */
  #showTip(x, y) {
    const seconds = this.view.seconds(x);
    const { part, row, share } = this.timeline.at(y);
    const texts = [clock(seconds, this.view.span < 20 ? 2 : 1)];
    const tiles = this.recording?.spectrogram;
    if (part === "spectrum" && tiles && share <= 1) {
      const [low, high] = [tiles.low, tiles.high].map((hertz) => Math.log(1 + hertz / 700));
      texts.push(`${Math.round(700 * (Math.exp(high + share * (low - high)) - 1))} Hz`);
    }
    if (row >= 0) {
      const score = this.timeline.scoreAt(row, seconds);
      texts.push(this.timeline.content?.labels[row].label ?? "");
      if (!Number.isNaN(score)) texts.push(percent(score));
    }
    const tip = byId("tip");
    tip.textContent = texts.join("  ");
    tip.style.left = `${Math.min(Math.max(0, x + 12), this.view.width - tip.offsetWidth)}px`;
    tip.style.top = `${Math.max(0, y - 30)}px`;
  }

  #followControls() {
    byId("play").addEventListener("click", () => this.player?.toggle());
    byId("zoom-in").addEventListener("click", () => this.zoom(2));
    byId("zoom-out").addEventListener("click", () => this.zoom(0.5));
    byId("zoom-fit").addEventListener("click", () => this.view.show(0, this.view.duration));
    byId("undo").addEventListener("click", () => this.undo());
    byId("threshold").addEventListener("input", () => this.setThreshold(Number(byId("threshold").value)));
    byId("threshold-own").addEventListener("click", () => this.setThreshold(null));
    byId("in-view").addEventListener("change", () => this.#showTable());
    byId("select-mode").addEventListener("click", () => {
      const pressed = byId("select-mode").getAttribute("aria-pressed") === "true";
      byId("select-mode").setAttribute("aria-pressed", String(!pressed));
    });
  }

  /** @param {number} factor about the cursor where it is seen, else the middle */
  zoom(factor) {
    const time = this.player?.time ?? 0;
    this.view.zoom(factor, time >= this.view.from && time <= this.view.to ? time : undefined);
    say(`${spoken(this.view.span)} shown`);
  }

  #keepPlace() {
    if (!this.recording) return;
    const { from, to, duration } = this.view;
    const whole = to - from >= duration * 0.999;
    const hash = hashOf({
      id: this.recording.id, threshold: this.threshold, ticked: [...this.labels.ticked],
      from: whole ? null : from, to: whole ? null : to, at: this.player?.time ?? 0,
    });
    history.replaceState(null, "", hash);
  }
}
