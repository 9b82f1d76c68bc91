/** The spectrogram's tiles: those in view are fetched, others that were on their way are not, the latest stay. */

import { getPicture, isAbort, isPassing, pause, recordingPath } from "./api.js";

const KEPT = 200; // tiles of 256 x 96 pixels, 98 kB each
const REST = 60; // milliseconds that the view has not moved before fine tiles are asked for

export class TileCache {
  /** @type {Map<string, ImageBitmap|null>} by path; null is one that is not to be had; oldest use first */
  #tiles = new Map();
  /** @type {Map<string, AbortController>} */
  #asked = new Map();
  /** @type {Map<string, {failures: number, again: number}>} when to ask again for what failed, by path */
  #failed = new Map();
  #timer = 0;
  #seen = ""; // what was in view
  #moved = -Infinity; // when that was last something else, in milliseconds

  /**
   * @param {string} id of the recording
   * @param {import("./api.js").Tiles} about
   * @param {() => void} arrived
   */
  constructor(id, about, arrived) {
    this.id = id;
    this.about = about;
    this.arrived = arrived;
  }

  /** Ask for nothing more, and give the memory back. */
  close() {
    clearTimeout(this.#timer);
    for (const asked of this.#asked.values()) asked.abort();
    for (const tile of this.#tiles.values()) tile?.close();
    this.#tiles.clear();
    this.#failed.clear();
  }

  /**
   * Draw what is in view; what is not there yet is drawn coarser, where a coarser tile is there.
   * @param {CanvasRenderingContext2D} canvas
   * @param {import("./viewport.js").Viewport} view
   * @param {number} y
   * @param {number} height
   */
  draw(canvas, view, y, height) {
    this.#watch(view);
    const column = view.span / view.width / (window.devicePixelRatio || 1);
    const wished = Math.floor(Math.log2(Math.max(column / this.about.column, 1)));
    const level = Math.min(wished, this.about.levels - 1);
    const fine = this.#inView(view, level);
    const coarse = this.#inView(view, this.about.levels - 1);
    const lacking = fine.some(({ path }) => !this.#tiles.get(path));
    const levels = lacking ? this.about.levels - 1 : level;
    for (let coarser = levels; coarser >= level; coarser--)
      for (const { path, start, seconds } of this.#inView(view, coarser)) {
        const tile = this.#tiles.get(path);
        if (tile) this.#put(canvas, view, tile, start, seconds, y, height);
      }
    const rest = this.#moved + REST - performance.now();
    const wanted = rest > 0 ? fine.filter(({ path }) => this.#asked.has(path) || this.#tiles.has(path)) : fine;
    this.#ask(new Set([...coarse, ...wanted].map(({ path }) => path)), rest > 0 && lacking ? rest : Infinity);
  }

  /**
   * Does what is in view move? The first view does not.
   * @param {import("./viewport.js").Viewport} view
   */
  #watch(view) {
    const seen = `${view.from} ${view.to} ${view.width}`;
    if (this.#seen && seen !== this.#seen) this.#moved = performance.now();
    this.#seen = seen;
  }

  /**
   * The tiles of a level that are in view.
   * @param {import("./viewport.js").Viewport} view
   * @param {number} level
   */
  #inView(view, level) {
    const seconds = this.about.tile * this.about.column * 2 ** level;
    const first = Math.floor(view.from / seconds);
    const last = Math.floor(Math.min(view.to, view.duration - 1e-6) / seconds);
    return Array.from({ length: Math.max(0, last - first + 1) }, (_, index) => ({
      path: recordingPath(this.id, `spectrogram/${level}/${first + index}.png`),
      start: (first + index) * seconds,
      seconds,
    }));
  }

  /**
   * @param {CanvasRenderingContext2D} canvas
   * @param {import("./viewport.js").Viewport} view
   * @param {ImageBitmap} tile
   * @param {number} start seconds
   * @param {number} seconds of a whole tile
   * @param {number} y
   * @param {number} height
   */
  #put(canvas, view, tile, start, seconds, y, height) {
    const [left, width] = [view.x(start), (seconds / view.span) * view.width];
    // Only the part that is seen: a tile may be stretched to many times the canvas' width.
    const from = Math.max(0, Math.floor((-left / width) * this.about.tile) - 1);
    const to = Math.min(tile.width, Math.ceil(((view.width - left) / width) * this.about.tile) + 1);
    if (to <= from) return;
    const pixel = width / this.about.tile;
    canvas.drawImage(
      tile,
      from,
      0,
      to - from,
      tile.height,
      left + from * pixel,
      y,
      (to - from) * pixel,
      height,
    );
  }

  /**
   * @param {Set<string>} wanted paths; the others are asked for no longer
   * @param {number} later milliseconds after which others may be wanted
   */
  #ask(wanted, later) {
    for (const [path, asked] of this.#asked) if (!wanted.has(path)) asked.abort();
    const now = performance.now();
    let next = now + later;
    for (const path of wanted) {
      const again = this.#failed.get(path)?.again ?? 0;
      const tile = this.#tiles.get(path);
      if (tile !== undefined) {
        this.#tiles.delete(path);
        this.#tiles.set(path, tile);
      } else if (again > now) next = Math.min(next, again);
      else if (!this.#asked.has(path)) this.#get(path);
    }
    clearTimeout(this.#timer);
    if (next < Infinity) this.#timer = window.setTimeout(this.arrived, next - now);
    for (const [path, tile] of this.#tiles) {
      if (this.#tiles.size <= KEPT) break;
      tile?.close();
      this.#tiles.delete(path);
    }
  }

  /** @param {string} path */
  async #get(path) {
    const asked = new AbortController();
    this.#asked.set(path, asked);
    try {
      const tile = await getPicture(path, asked.signal);
      if (asked.signal.aborted) tile.close();
      else this.#tiles.set(path, tile);
      this.#failed.delete(path);
    } catch (error) {
      if (isPassing(error) && !asked.signal.aborted) {
        const failures = (this.#failed.get(path)?.failures ?? 0) + 1;
        this.#failed.set(path, { failures, again: performance.now() + pause(failures) });
      } else if (!isAbort(error) && !asked.signal.aborted) this.#tiles.set(path, null);
    } finally {
      this.#asked.delete(path);
      this.arrived();
    }
  }
}
