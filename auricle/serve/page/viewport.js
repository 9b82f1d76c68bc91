/** Which seconds of a recording are shown, and where on the screen they are. */

const SHORTEST = 0.25; // seconds that may fill the width
const NARROW = 12; // pixels; a span that is narrower cannot be pointed at

/** From second to pixel and back; tells its listeners when what is shown changes. */
export class Viewport extends EventTarget {
  duration = 1;
  from = 0;
  to = 1;
  width = 1;

  /**
   * Show the whole of a recording.
   * @param {number} duration seconds
   */
  reset(duration) {
    this.duration = Math.max(duration, SHORTEST);
    this.show(0, this.duration);
  }

  get span() {
    return this.to - this.from;
  }

  /** Is the whole recording shown? */
  get isWhole() {
    return this.span >= this.duration * 0.999;
  }

  /** @param {number} seconds */
  x(seconds) {
    return ((seconds - this.from) / this.span) * this.width;
  }

  /** @param {number} x pixels */
  seconds(x) {
    return this.from + (x / this.width) * this.span;
  }

  /**
   * Show these seconds, or as much of them as there is.
   * @param {number} from
   * @param {number} to
   */
  show(from, to) {
    const span = Math.min(Math.max(to - from, Math.min(SHORTEST, this.duration)), this.duration);
    const begin = Math.min(Math.max(from, 0), this.duration - span);
    if (begin === this.from && begin + span === this.to) return;
    this.from = begin;
    this.to = begin + span;
    this.dispatchEvent(new Event("change"));
  }

  /**
   * Zoom so that one moment stays where it is.
   * @param {number} factor above 1 shows less
   * @param {number} [at] seconds; the middle
   */
  zoom(factor, at = (this.from + this.to) / 2) {
    const span = Math.min(Math.max(this.span / factor, SHORTEST), this.duration);
    const share = (at - this.from) / this.span;
    this.show(at - share * span, at + (1 - share) * span);
  }

  /** @param {number} seconds to the right */
  pan(seconds) {
    this.show(this.from + seconds, this.to + seconds);
  }

  /**
   * Zoom and move, if need be, so that a span can be seen as one.
   * @param {number} from
   * @param {number} to
   */
  focus(from, to) {
    const least = ((to - from) * this.width) / NARROW;
    if (this.span > least) this.show(from - least / 8, from + (least * 7) / 8);
    else this.reveal(from, to);
  }

  /**
   * Move, if need be, so that a span can be seen.
   * @param {number} from
   * @param {number} [to]
   */
  reveal(from, to = from) {
    if (from >= this.from && to <= this.to) return;
    const span = Math.max(this.span, (to - from) * 1.4);
    this.show(from - span * 0.1, from + span * 0.9);
  }
}

/**
 * Seconds from one mark of the time axis to the next, so that their texts do not touch.
 * @param {number} span seconds shown
 * @param {number} width pixels
 */
export function tickSeconds(span, width) {
  const least = (span / width) * 90;
  const steps = [0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400];
  return steps.find((step) => step >= least) ?? Math.ceil(least / 14400) * 14400;
}
