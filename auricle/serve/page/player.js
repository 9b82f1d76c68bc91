/**
 * Playback: a media element, and wavesurfer's picture of the whole recording with its moving cursor. The peaks
 * come from the service, so that nothing is decoded here.
 */

import WaveSurfer from "./vendor/wavesurfer.esm.js";
import { colour, make } from "./dom.js";

const HEIGHT = 48; // docs/vendor.py holds it too: it stands in the style that the security policy allows

/** Tells "time" (also in each frame while it plays), "state" and "failed". */
export class Player extends EventTarget {
  /** @type {number|null} seconds at which to stop */
  #until = null;
  #frame = 0;

  /**
   * @param {import("./api.js").Recording} recording
   * @param {string} address of what is played
   * @param {Int8Array} peaks of the whole: low, high, low, high...
   * @param {{media: HTMLElement, wave: HTMLElement}} places
   */
  constructor(recording, address, peaks, places) {
    super();
    this.duration = recording.duration ?? 0;
    const video = recording.kind === "video";
    /** @type {HTMLMediaElement} */
    this.media = make(video ? "video" : "audio", { preload: "metadata" });
    if (recording.playable) this.media.src = address;
    if (video) {
      this.media.controls = true;
      this.media.setAttribute("playsinline", "");
      this.media.setAttribute("aria-label", `Picture of ${recording.name}`);
    }
    places.media.replaceChildren(this.media);
    const channel = (/** @type {number} */ offset) =>
      Float32Array.from(
        { length: peaks.length / 2 },
        (_, column) => Math.abs(peaks[column * 2 + offset]) / 127,
      );
    this.wave = WaveSurfer.create({
      container: places.wave,
      height: HEIGHT,
      media: this.media,
      peaks: [channel(1), channel(0)],
      duration: this.duration,
      cursorWidth: 2,
      normalize: false,
      ...this.#colours(),
    });
    this.wave.on("interaction", () => this.#tell("time"));
    this.wave.on("error", () => {}); // the media element's own event says it
    for (const name of ["play", "pause", "ended"]) this.media.addEventListener(name, () => this.#changed());
    for (const name of ["timeupdate", "seeked"]) this.media.addEventListener(name, () => this.#tell("time"));
    this.media.addEventListener("error", () => this.#tell("failed"));
  }

  #colours() {
    return {
      waveColor: colour("--wave"),
      progressColor: colour("--accent"),
      cursorColor: colour("--cursor"),
    };
  }

  /** Colours are other ones. */
  recolour() {
    this.wave.setOptions(this.#colours());
  }

  get time() {
    return Math.min(this.media.currentTime, this.duration);
  }

  /** Did the sound break off, on its way here? */
  get isBroken() {
    return this.media.error?.code === MediaError.MEDIA_ERR_NETWORK;
  }

  get playing() {
    return !this.media.paused && !this.media.ended && !this.media.error;
  }

  /** @param {number} seconds */
  seek(seconds) {
    this.#until = null;
    this.media.currentTime = Math.min(Math.max(seconds, 0), this.duration);
    this.#tell("time");
  }

  /**
   * @param {number} [from] seconds; from where it is
   * @param {number} [to] seconds at which to stop
   */
  async play(from, to) {
    if (from !== undefined) this.seek(from);
    this.#until = to ?? null;
    if (this.media.error) {
      // It broke off, or could not be had: it may be there now.
      const at = from ?? this.media.currentTime;
      this.media.load();
      this.media.currentTime = at;
    }
    try {
      await this.media.play();
    } catch (error) {
      const told = this.media.error || (error instanceof DOMException && error.name === "AbortError");
      if (!told) this.#tell("failed");
    }
  }

  pause() {
    this.media.pause();
  }

  toggle() {
    if (this.playing) this.pause();
    else this.play();
  }

  /** Stop, and give everything back. */
  close() {
    cancelAnimationFrame(this.#frame);
    this.media.pause();
    this.wave.destroy();
    this.media.removeAttribute("src");
    this.media.load();
    this.media.remove();
  }

  #changed() {
    this.#tell("state");
    cancelAnimationFrame(this.#frame);
    if (this.playing) this.#frame = requestAnimationFrame(() => this.#follow());
  }

  #follow() {
    if (this.#until !== null && this.media.currentTime >= this.#until) {
      this.#until = null;
      this.pause();
    }
    this.#tell("time");
    if (this.playing) this.#frame = requestAnimationFrame(() => this.#follow());
  }

  /** @param {string} what */
  #tell(what) {
    this.dispatchEvent(new Event(what));
  }
}
