/** One recording: its picture, playback, sounds, labels and corrections, kept in step. */

import { check, getBuffer, getJson, isAbort, recordingPath } from "./api.js";
import { spokenSelection } from "./bar.js";
import { byId, make, settled } from "./dom.js";
import { clock, count, percent, size, spoken } from "./format.js";
import { followGestures } from "./gestures.js";
import { Labels } from "./labels.js";
import { startOverview } from "./overview.js";
import { RowOrder } from "./order.js";
import { hashOf } from "./place.js";
import { Player } from "./player.js";
import { Ranges } from "./ranges.js";
import { Review } from "./review.js";
import { alarm, clearAlarm, say } from "./say.js";
import { TileCache } from "./tiles.js";
import { Timeline, hertzAt } from "./timeline.js";
import { Viewport } from "./viewport.js";

/** @typedef {import("./api.js").Recording} Recording */

const OVERVIEW_COLUMNS = 1600;
const FINEST_PEAK = 0.001; // seconds
const SETTLES = 250; // milliseconds without a change before the address tells of it
const TIP = 280; // pixels, the widest that is usual
const SILENT = "It cannot be played now";
const MARKED = [200, 1000, 4000]; // Hz, beside the spectrogram

export class RecordingView {
  /** @type {Recording|null} */
  recording = null;
  /** @type {Player|null} */
  player = null;
  #open = new AbortController();
  #opened = false;
  #scored = ""; // indices of the labels that scores are asked of
  /** @type {{x: number, y: number}|null} where the pointer is on the picture */
  #pointed = null;

  /**
   * @param {import("./api.js").Service} service
   * @param {(id: string, count: number) => void} corrected told how many corrections a recording has now
   */
  constructor(service, corrected) {
    this.view = new Viewport();
    this.timeline = new Timeline(this.view, byId("plot"), byId("picture"), byId("overlay"));
    this.labels = new Labels((label) => this.hear(label));
    this.labels.addEventListener("change", () => this.#showLabels());
    this.keepPlace = settled(() => this.#keepPlace(), SETTLES);
    this.review = new Review(service, {
      view: this.view,
      timeline: this.timeline,
      labels: this.labels,
      time: () => this.player?.time ?? 0,
      seek: (seconds) => this.seek(seconds),
      play: (from, to) => this.player?.play(from, to),
      keepPlace: () => this.keepPlace(),
      corrected: (count) => this.recording && corrected(this.recording.id, count),
    });
    this.order = new RowOrder(this.view, this.labels, {
      busy: () => Boolean(this.player?.playing) || this.timeline.at(this.#pointed?.y ?? 0).row >= 0,
      sounding: () => this.review.sounding,
      path: (query) => this.recording && recordingPath(this.recording.id, `scores?${query}`),
    });
    startOverview(this.view, (seconds) => this.seek(seconds));
    this.#followPointer();
    this.#followControls();
    const look = settled(() => this.review.look(), SETTLES);
    this.view.addEventListener("change", () => {
      this.keepPlace();
      if (this.#pointed) this.#showPointed();
      look();
    });
    // The recording that is open stays as it is when it is chosen again.
    byId("recordings").addEventListener("click", (/** @type {Event} */ event) => {
      const link = event.target instanceof Element && event.target.closest("a[aria-current]");
      if (!link || !this.recording) return;
      event.preventDefault();
      if (byId("toggle-library").getAttribute("aria-expanded") === "true") byId("toggle-library").click();
    });
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
    const duration = recording.duration ?? 0;
    byId("name").textContent = byId("name").title = recording.name;
    byId("facts").textContent = [clock(duration, 0), size(recording.bytes), recording.model].join(" · ");
    byId("warnings").hidden = !recording.warnings.length;
    byId("warnings").textContent = recording.warnings.join(" ");
    byId("total").textContent = clock(duration, 0);
    byId("plot").setAttribute("aria-valuemax", duration.toFixed(1));
    this.view.reset(duration);
    if (place.from !== null && place.to !== null) this.view.show(place.from, place.to);
    const path = (/** @type {string} */ part) => recordingPath(recording.id, part);
    const [{ labels }, peaks] = await Promise.all([
      getJson(path("labels"), open.signal),
      getBuffer(path(`peaks?from=0&to=${duration}&columns=${OVERVIEW_COLUMNS}`), open.signal),
      this.review.open(recording, place.threshold, open.signal),
    ]);
    this.#startContent(recording);
    this.#startPlayer(recording, new Int8Array(peaks), place.at);
    this.labels.reset(labels, place.ticked, place.own ?? []);
    this.timeline.recolour();
    this.#opened = true;
    await this.review.getSounds();
    say(`${recording.name}: ${count(this.review.rows.length, "sound")} in ${spoken(duration)}`);
  }

  /** @param {Recording} recording */
  #startContent(recording) {
    const path = (/** @type {string} */ part) => recordingPath(recording.id, part);
    const draw = () => this.timeline.redraw();
    this.timeline.content = {
      labels: [],
      sounds: this.review.rows,
      threshold: (label) => this.review.thresholdOf(label),
      knows: (from, to) => this.review.knows(from, to),
      peaks: new Ranges(
        async (from, to, columns, signal) => {
          return new Int8Array(
            await getBuffer(path(`peaks?from=${from}&to=${to}&columns=${columns}`), signal),
          );
        },
        FINEST_PEAK,
        draw,
      ),
      scores: new Ranges(
        async (from, to, columns, signal) => {
          const query = `from=${from}&to=${to}&columns=${columns}&labels=${this.#scored}`;
          return new Float32Array(await getBuffer(path(`scores?${query}`), signal));
        },
        recording.hop / 200,
        draw,
      ),
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
    const unplayable = () =>
      alarm("This browser cannot play this recording. Its sounds are listed all the same.");
    if (!recording.playable) unplayable();
    player.addEventListener("failed", () => this.#explain(recording, unplayable));
    player.addEventListener("time", () => this.#showTime());
    player.addEventListener("state", () => {
      if (player.playing) clearAlarm(SILENT);
      byId("play").setAttribute("aria-label", player.playing ? "Pause" : "Play");
      byId("play").firstElementChild.textContent = player.playing ? "❚❚" : "▶";
      this.#describePosition();
      this.keepPlace();
    });
    if (at > 0) player.seek(at);
    this.#showTime();
  }

  /**
   * Why it does not play: the service may be away, or busy, or have it no longer.
   * @param {Recording} recording
   * @param {() => void} unplayable
   */
  async #explain(recording, unplayable) {
    const { signal } = this.#open;
    try {
      await check(recordingPath(recording.id, "media"), signal);
      if (this.player?.isBroken) alarm("the sound broke off. Play it again.", SILENT);
      else unplayable();
    } catch (error) {
      if (!isAbort(error)) alarm(error, SILENT);
    }
  }

  /** Another window may have said something of this recording. */
  async refresh() {
    await this.review.corrections?.load(this.#open.signal);
  }

  /** Stop, forget, give back. */
  close() {
    this.#opened = false;
    this.order.reset();
    this.#open.abort();
    this.player?.close();
    this.timeline.content?.peaks.clear();
    this.timeline.content?.scores.clear();
    this.timeline.content?.tiles?.close();
    this.timeline.content = null;
    this.player = this.recording = null;
    this.review.close();
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

  /** @param {import("./labels.js").Label} label whose best moment is heard, or where it was added */
  hear(label) {
    const end = label.end ?? label.time + (this.recording?.window ?? 2);
    this.view.reveal(label.time, end);
    this.player?.play(label.time, end);
  }

  #showTime() {
    const player = this.player;
    if (!player) return;
    const text = clock(player.time);
    if (byId("now").textContent !== text) byId("now").textContent = text;
    // The view follows the cursor out of sight, but lets the visitor look elsewhere meanwhile.
    const before = this.timeline.position;
    if (player.playing && before >= this.view.from && before <= this.view.to) this.view.reveal(player.time);
    this.timeline.position = player.time;
    this.timeline.move();
    if (!player.playing) this.#describePosition();
  }

  /** What the picture, as a slider, says of where it is. */
  #describePosition() {
    const time = this.player?.time ?? 0;
    const here = this.review.rows.filter(
      (row) => row.start <= time && row.end > time && row.verdict !== "wrong",
    );
    const sounds = here.map((row) => row.label + (row.score === null ? "" : ` ${percent(row.score)}`));
    byId("plot").setAttribute("aria-valuenow", time.toFixed(1));
    byId("plot").setAttribute("aria-valuetext", [spoken(time), ...sounds].join(", "));
  }

  #showLabels() {
    const content = this.timeline.content;
    if (!content) return;
    content.labels = this.labels.rows;
    const scored = content.labels.flatMap(({ index }) => index ?? []).join(",");
    if (scored !== this.#scored) content.scores.clear();
    this.#scored = scored;
    byId("gutter").style.paddingTop = `${this.timeline.rowsTop}px`;
    this.#markBands();
    byId("gutter").replaceChildren(
      ...content.labels.map((label) => {
        const name = make(
          "div",
          { class: "gutter-row", title: label.label, onclick: () => this.hear(label) },
          label.label,
        );
        name.style.height = `${this.timeline.rowHeight}px`;
        return name;
      }),
    );
    this.review.showTable();
    this.timeline.rescale();
    this.keepPlace();
  }

  #markBands() {
    const about = this.recording?.spectrogram;
    const marks = about ? MARKED.filter((hertz) => hertz > about.low && hertz < about.high) : [];
    byId("bands").replaceChildren(
      ...marks.map((hertz) => {
        const mark = make("span", {}, hertz < 1000 ? `${hertz} Hz` : `${hertz / 1000} kHz`);
        mark.style.top = `${about ? this.timeline.heightOf(hertz, about) : 0}px`;
        return mark;
      }),
    );
  }

  // ---- controls -------------------------------------------------------------------------------------------

  #followPointer() {
    const { view, timeline } = this;
    followGestures(byId("plot"), {
      view,
      selects: (y, touch) =>
        timeline.at(y).part !== "axis" &&
        (!touch || byId("select-mode").getAttribute("aria-pressed") === "true"),
      click: (x, y) => this.#click(view.seconds(x), timeline.at(y).row),
      select: (from, to, y, done) => {
        this.review.select(from, to);
        const { row } = timeline.at(y);
        if (done && row >= 0) byId("bar-label").value = timeline.content?.labels[row].label ?? "";
        if (done) say(spokenSelection(null, this.review.selection));
      },
      point: (at) => {
        this.#pointed = at;
        this.#showPointed();
      },
    });
  }

  #showPointed() {
    const at = this.timeline.content ? this.#pointed : null;
    this.timeline.pointed = at && this.view.seconds(at.x);
    this.timeline.move();
    byId("tip").hidden = !at;
    if (at) this.#showTip(at.x, at.y);
  }

  /**
   * @param {number} seconds
   * @param {number} row of labels; -1 for none
   */
  #click(seconds, row) {
    const label = this.timeline.content?.labels[row]?.label;
    const sound = this.review.rows.find(
      (one) => one.label === label && one.start <= seconds && one.end > seconds,
    );
    if (sound) return this.review.choose(sound, true);
    this.review.clear(true);
    this.review.showTable();
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
    if (part === "spectrum" && tiles && share <= 1) texts.push(`${Math.round(hertzAt(share, tiles))} Hz`);
    if (row >= 0) {
      const score = this.timeline.scoreAt(row, seconds);
      texts.push(this.timeline.content?.labels[row].label ?? "");
      if (!Number.isNaN(score)) texts.push(percent(score));
    }
    const tip = byId("tip");
    tip.textContent = texts.join("  ");
    // To the left of the pointer where there may be too little room; its width is not asked for: that takes long.
    const left = x > this.view.width * 0.4 && x + TIP > this.view.width;
    tip.style.left = left ? "auto" : `${x + 12}px`;
    tip.style.right = left ? `${this.view.width - x + 12}px` : "auto";
    tip.style.maxWidth = left ? "none" : `${this.view.width - x - 12}px`;
    tip.style.top = `${Math.max(0, y - 30)}px`;
  }

  #followControls() {
    byId("play").addEventListener("click", () => this.player?.toggle());
    byId("zoom-in").addEventListener("click", () => this.zoom(2));
    byId("zoom-out").addEventListener("click", () => this.zoom(0.5));
    byId("zoom-fit").addEventListener("click", () => this.view.show(0, this.view.duration));
    byId("bar-label").addEventListener("input", () => this.labels.complete(byId("bar-label").value));
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
    if (!this.recording || !this.#opened) return; // before, not all of the place is there
    const { from, to, isWhole } = this.view;
    const hash = hashOf({
      id: this.recording.id,
      threshold: this.review.threshold,
      ...this.labels.place,
      from: isWhole ? null : from,
      to: isWhole ? null : to,
      at: this.player?.time ?? 0,
    });
    history.replaceState(null, "", hash);
  }
}
