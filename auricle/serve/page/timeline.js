/**
 * The picture: time axis, waveform, spectrogram, and the rows of labels over the same seconds; after Hershey et
 * al. (2017), Fig. 2. Only what is seen is drawn, at most once a frame. What moves (the cursor, what is pointed
 * at, the selection) is on a canvas of its own.
 */

import { coarse, colour, isDark } from "./dom.js";
import { clock } from "./format.js";
import { Ramp } from "./ramp.js";
import { tickSeconds } from "./viewport.js";

/**
 * @typedef {import("./merging.js").Row} Row
 * @typedef {{labels: import("./labels.js").Label[], sounds: Row[], threshold: (label: string) => number,
 *   knows: (from: number, to: number) => boolean,
 *   peaks: import("./ranges.js").Ranges<Int8Array>, scores: import("./ranges.js").Ranges<Float32Array>,
 *   tiles: import("./tiles.js").TileCache|null}} Content knows: are all sounds there known?
 */

const AXIS = 20;
const WAVE = 52;
const SPECTRUM = 112;
const GAP = 6;
const LINE = 3; // the height of the line under what passes the threshold

/** The colours that are drawn with, as they now are. */
function palette() {
  const names = ["ink", "paper", "soft", "line", "wave", "row", "accent", "selection", "cursor", "spectrum"];
  return Object.fromEntries(names.map((name) => [name, colour(`--${name}`)]));
}

export class Timeline {
  /** @type {Content|null} */
  content = null;
  /** @type {{from: number, to: number}|null} */
  selection = null;
  /** @type {Row|null} */
  chosen = null;
  position = 0;
  /** @type {number|null} seconds */
  pointed = null;
  #pending = 0;
  #dirty = false;
  #font = "";
  #ramp = new Ramp(1);
  #colours = palette();
  #dark = isDark();
  #rows = document.createElement("canvas");

  /**
   * @param {import("./viewport.js").Viewport} view
   * @param {HTMLElement} plot what the canvases lie in
   * @param {HTMLCanvasElement} picture
   * @param {HTMLCanvasElement} overlay
   */
  constructor(view, plot, picture, overlay) {
    this.view = view;
    this.plot = plot;
    this.picture = picture;
    this.overlay = overlay;
    this.#font = getComputedStyle(plot).fontFamily;
    view.addEventListener("change", () => this.redraw());
    new ResizeObserver(() => this.redraw()).observe(plot);
  }

  /** Of a row of labels, in pixels: fingers need more. */
  get rowHeight() {
    return coarse() ? 28 : 20;
  }

  /** Where the rows of labels begin. */
  get rowsTop() {
    return AXIS + WAVE + GAP + (this.content?.tiles ? SPECTRUM + GAP : 0);
  }

  get height() {
    return this.rowsTop + (this.content?.labels.length ?? 0) * this.rowHeight + 2;
  }

  /**
   * What lies at a height of the picture.
   * @param {number} y pixels
   * @returns {{part: "axis"|"wave"|"spectrum"|"row", row: number, share: number}} share: of the part's height
   */
  at(y) {
    if (y < AXIS) return { part: "axis", row: -1, share: 0 };
    if (y < AXIS + WAVE + GAP) return { part: "wave", row: -1, share: 0 };
    if (y < this.rowsTop) return { part: "spectrum", row: -1, share: (y - AXIS - WAVE - GAP) / SPECTRUM };
    const row = Math.floor((y - this.rowsTop) / this.rowHeight);
    return { part: "row", row: Math.min(row, (this.content?.labels.length ?? 0) - 1), share: 0 };
  }

  /**
   * Where a frequency lies in the spectrogram.
   * @param {number} hertz
   * @param {import("./api.js").Tiles} about
   */
  heightOf(hertz, { low, high }) {
    const share = (mel(high) - mel(hertz)) / (mel(high) - mel(low));
    return AXIS + WAVE + GAP + share * SPECTRUM;
  }

  /**
   * The score of a row at a moment; NaN where it is not known (yet).
   * @param {number} row
   * @param {number} seconds
   */
  scoreAt(row, seconds) {
    const range = this.content?.scores.best(this.view);
    const place = this.content ? placesOf(this.content.labels)[row] : -1;
    if (!range || place < 0) return NaN;
    const column = Math.floor(((seconds - range.from) / (range.to - range.from)) * range.columns);
    return range.data[place * range.columns + Math.min(Math.max(column, 0), range.columns - 1)];
  }

  /** Colours are other ones. */
  recolour() {
    this.#colours = palette();
    this.#dark = isDark();
    this.#ramp = new Ramp(1);
    this.rescale();
  }

  /** Other labels are shown: the strongest of them has the strongest colour. */
  rescale() {
    const scores = (this.content?.labels ?? []).flatMap(({ score }) => score ?? []);
    const greatest = scores.length ? Math.max(...scores) : 1;
    this.#ramp.scale = greatest > 0 && greatest < 0.5 ? greatest : 1;
    this.redraw();
  }

  /** Draw everything anew, in the next frame. */
  redraw() {
    this.#dirty = true;
    this.move();
  }

  /** Draw anew what moves, in the next frame. */
  move() {
    this.#pending ||= requestAnimationFrame(() => {
      this.#pending = 0;
      if (!this.content || !this.plot.clientWidth) return;
      if (this.#dirty) this.#drawPicture();
      this.#dirty = false;
      this.#drawOverlay();
    });
  }

  /**
   * A canvas of the right size, cleared, in CSS pixels.
   * @param {HTMLCanvasElement} canvas
   */
  #cleared(canvas) {
    const ratio = window.devicePixelRatio || 1;
    const [width, height] = [Math.round(this.view.width * ratio), Math.round(this.height * ratio)];
    if (canvas.width !== width || canvas.height !== height) {
      [canvas.width, canvas.height] = [width, height];
      canvas.style.height = `${this.height}px`;
      this.plot.style.height = `${this.height}px`;
    }
    const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, this.view.width, this.height);
    return context;
  }

  #drawPicture() {
    const content = /** @type {Content} */ (this.content);
    this.view.width = this.plot.clientWidth;
    const canvas = this.#cleared(this.picture);
    this.#drawAxis(canvas);
    this.#drawWave(canvas, content.peaks.best(this.view));
    if (content.tiles) this.#drawSpectrum(canvas, content.tiles);
    this.#drawRows(canvas, content);
    this.#drawSounds(canvas, content);
  }

  /** @param {CanvasRenderingContext2D} canvas */
  #drawAxis(canvas) {
    const step = tickSeconds(this.view.span, this.view.width);
    const digits = step < 0.1 ? 2 : step < 1 ? 1 : 0;
    canvas.font = `11px ${this.#font}`;
    canvas.textBaseline = "middle";
    canvas.fillStyle = this.#colours.soft;
    canvas.strokeStyle = this.#colours.line;
    canvas.lineWidth = 1;
    canvas.beginPath();
    for (let tick = Math.ceil(this.view.from / step); tick * step <= this.view.to; tick++) {
      const x = Math.round(this.view.x(tick * step)) + 0.5;
      canvas.moveTo(x, AXIS - 6);
      canvas.lineTo(x, this.height);
      const text = clock(tick * step, digits);
      if (x + 4 + canvas.measureText(text).width < this.view.width) canvas.fillText(text, x + 4, AXIS / 2);
    }
    canvas.stroke();
  }

  /**
   * @param {CanvasRenderingContext2D} canvas
   * @param {import("./ranges.js").Range<Int8Array>|null} range
   */
  #drawWave(canvas, range) {
    if (!range) return;
    const [middle, half] = [AXIS + WAVE / 2, WAVE / 2];
    canvas.fillStyle = this.#colours.wave;
    for (let x = 0; x < this.view.width; x++) {
      const [first, last] = columnsOf(range, this.view.seconds(x), this.view.seconds(x + 1));
      let [low, high] = [127, -128];
      for (let column = first; column <= last; column++) {
        low = Math.min(low, range.data[column * 2]);
        high = Math.max(high, range.data[column * 2 + 1]);
      }
      const top = middle - (high / 127) * half;
      canvas.fillRect(x, top, 1, Math.max(1, ((high - low) / 127) * half));
    }
  }

  /**
   * Grey tiles in the colours of the page: ink on paper in light, light on dark in dark.
   * @param {CanvasRenderingContext2D} canvas
   * @param {import("./tiles.js").TileCache} tiles
   */
  #drawSpectrum(canvas, tiles) {
    const y = AXIS + WAVE + GAP;
    const dark = this.#dark;
    canvas.save();
    canvas.beginPath();
    canvas.rect(0, y, this.view.width, SPECTRUM);
    canvas.clip();
    canvas.fillStyle = "black";
    canvas.fillRect(0, y, this.view.width, SPECTRUM);
    tiles.draw(canvas, this.view, y, SPECTRUM);
    if (!dark) {
      canvas.globalCompositeOperation = "difference";
      canvas.fillStyle = "white";
      canvas.fillRect(0, y, this.view.width, SPECTRUM);
    }
    canvas.globalCompositeOperation = "multiply"; // dimmed, where the page is dark
    canvas.fillStyle = this.#colours.spectrum;
    canvas.fillRect(0, y, this.view.width, SPECTRUM);
    canvas.globalCompositeOperation = dark ? "lighten" : "darken";
    canvas.fillStyle = this.#colours.row;
    canvas.fillRect(0, y, this.view.width, SPECTRUM);
    canvas.restore();
  }

  /**
   * @param {CanvasRenderingContext2D} canvas
   * @param {Content} content
   */
  #drawRows(canvas, content) {
    const places = placesOf(content.labels);
    const range = Math.max(...places) < 0 ? null : content.scores.best(this.view);
    const [width, rows] = [Math.max(1, Math.round(this.view.width)), content.labels.length];
    if (!rows) return;
    [this.#rows.width, this.#rows.height] = [width, rows];
    const context = /** @type {CanvasRenderingContext2D} */ (this.#rows.getContext("2d"));
    const image = context.createImageData(width, rows);
    const pixels = new Uint32Array(image.data.buffer);
    const thresholds = content.labels.map(({ label }) => content.threshold(label));
    const loud = []; // where a sound would be underlined, were it known
    for (let x = 0; x < width; x++) {
      const [first, last] = range
        ? columnsOf(range, this.view.seconds(x), this.view.seconds(x + 1))
        : [0, -1];
      const known = content.knows(this.view.seconds(x), this.view.seconds(x + 1));
      for (let row = 0; row < rows; row++) {
        let score = NaN;
        for (let column = first; column <= last; column++) {
          const value = places[row] < 0 ? NaN : (range?.data[places[row] * range.columns + column] ?? NaN);
          if (!(score >= value)) score = value;
        }
        pixels[row * width + x] = this.#ramp.pixel(score, thresholds[row]);
        if (!known && score >= thresholds[row]) loud.push({ x, row });
      }
    }
    context.putImageData(image, 0, 0);
    canvas.imageSmoothingEnabled = false;
    for (let row = 0; row < rows; row++)
      canvas.drawImage(
        this.#rows,
        0,
        row,
        width,
        1,
        0,
        this.rowsTop + row * this.rowHeight,
        width,
        this.rowHeight - 2,
      );
    canvas.imageSmoothingEnabled = true;
    canvas.fillStyle = this.#colours.ink;
    for (const { x, row } of loud)
      canvas.fillRect(x, this.rowsTop + (row + 1) * this.rowHeight - 2 - LINE, 1, LINE);
  }

  /**
   * The lines under what passes the threshold, and what was said of it.
   * @param {CanvasRenderingContext2D} canvas
   * @param {Content} content
   */
  #drawSounds(canvas, content) {
    const rowOf = new Map(content.labels.map(({ label }, row) => [label, row]));
    const { ink, paper } = this.#colours;
    canvas.textBaseline = "middle";
    canvas.font = `bold 12px ${this.#font}`;
    for (const sound of content.sounds) {
      const row = rowOf.get(sound.label);
      if (row === undefined || sound.end < this.view.from || sound.start > this.view.to) continue;
      const [left, right] = [this.view.x(sound.start), this.view.x(sound.end)];
      const width = Math.max(2, right - left - 1);
      const y = this.rowsTop + row * this.rowHeight;
      canvas.fillStyle = ink;
      const step = sound.verdict === "wrong" ? 6 : width; // what is wrong has a broken line
      for (let x = left; x < left + width; x += step)
        canvas.fillRect(x, y + this.rowHeight - 2 - LINE, Math.min(step, step === 6 ? 3 : width), LINE);
      if (sound.verdict && width > 14) {
        canvas.fillStyle = paper;
        canvas.fillRect(left + 2, y + 1, 13, 13);
        canvas.fillStyle = ink;
        canvas.fillText({ right: "✓", wrong: "✗", added: "+" }[sound.verdict], left + 4, y + 8);
      }
    }
  }

  #drawOverlay() {
    const canvas = this.#cleared(this.overlay);
    if (this.selection) {
      const [left, right] = [this.view.x(this.selection.from), this.view.x(this.selection.to)];
      canvas.fillStyle = this.#colours.selection;
      canvas.fillRect(left, AXIS, right - left, this.height - AXIS);
      canvas.fillStyle = this.#colours.accent;
      canvas.fillRect(left - 1, AXIS, 2, this.height - AXIS);
      canvas.fillRect(right - 1, AXIS, 2, this.height - AXIS);
    }
    const row = this.content?.labels.findIndex(({ label }) => label === this.chosen?.label) ?? -1;
    if (this.chosen && row >= 0) {
      const [left, right] = [this.view.x(this.chosen.start), this.view.x(this.chosen.end)];
      canvas.strokeStyle = this.#colours.ink;
      canvas.lineWidth = 2;
      canvas.strokeRect(
        left,
        this.rowsTop + row * this.rowHeight,
        Math.max(3, right - left),
        this.rowHeight - 2,
      );
    }
    if (this.pointed !== null) {
      canvas.fillStyle = this.#colours.soft;
      canvas.fillRect(Math.round(this.view.x(this.pointed)), AXIS, 1, this.height - AXIS);
    }
    const x = this.view.x(this.position);
    canvas.fillStyle = this.#colours.cursor;
    canvas.fillRect(x - 1, AXIS - 6, 2, this.height - AXIS + 6);
    canvas.beginPath();
    canvas.moveTo(x - 5, AXIS - 9);
    canvas.lineTo(x + 5, AXIS - 9);
    canvas.lineTo(x, AXIS - 2);
    canvas.fill();
  }
}

/**
 * The first and last column of an answer that lie in these seconds; at least one.
 * @param {{from: number, to: number, columns: number}} range
 * @param {number} from
 * @param {number} to
 */
function columnsOf(range, from, to) {
  const each = (range.to - range.from) / range.columns;
  const first = Math.min(Math.max(Math.floor((from - range.from) / each + 1e-6), 0), range.columns - 1);
  const last = Math.min(Math.max(Math.ceil((to - range.from) / each - 1e-6) - 1, first), range.columns - 1);
  return [first, last];
}

/**
 * Which row of scores each label has; -1 for those that the model does not have.
 * @param {import("./labels.js").Label[]} labels
 */
function placesOf(labels) {
  let next = 0;
  return labels.map(({ index }) => (index === null ? -1 : next++));
}

/** @param {number} hertz */
function mel(hertz) {
  return Math.log(1 + hertz / 700);
}

/**
 * The frequency at a height of the spectrogram.
 * @param {number} share of its height, from above
 * @param {import("./api.js").Tiles} about
 */
export function hertzAt(share, { low, high }) {
  return 700 * (Math.exp(mel(high) + share * (mel(low) - mel(high))) - 1);
}
