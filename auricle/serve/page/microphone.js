/** The microphone: sound to the service as it comes, rows of tags back, and the sound kept for a recording. */

import { ApiError } from "./api.js";

const FULL = 2 ** 32 - 64; // bytes that a WAV file can hold
const PATIENCE = 5000; // milliseconds to wait for the last rows
const SILENT = 4000; // milliseconds after which it is told that the browser gives no sound
const BEHIND = 4_000_000; // bytes not yet sent at which the service is too slow

/**
 * @typedef {"asking"|"on"|"ending"|"over"} Phase the visitor is asked; it hears; the last rows are waited for
 * @typedef {{start: number, end: number, tags: import("./api.js").Tag[]}} Heard
 */

/**
 * Tells "row" (detail: Heard), "level" (detail: 0..1), "phase", "silent" (the browser gives no sound, not even of
 * silence), and "over" (detail: Error or null).
 */
export class Microphone extends EventTarget {
  /** @type {Blob[]} */
  #kept = [];
  #bytes = 0;
  /** @type {ArrayBuffer[]} not yet in a blob */
  #loose = [];
  /** @type {MediaStream|null} */
  #stream = null;
  /** @type {AudioContext|null} */
  #context = null;
  /** @type {WebSocket|null} */
  #socket = null;
  /** @type {Phase} */
  phase = "asking";
  rate = 48000;

  /** @param {number} most bytes that may be kept */
  constructor(most) {
    super();
    this.most = Math.min(most, FULL);
  }

  get seconds() {
    return this.#bytes / 2 / this.rate;
  }

  /**
   * Ask for the microphone, and listen. Where it was stopped meanwhile, nothing is left on.
   * @throws {ApiError} in words for the visitor
   */
  async start() {
    try {
      await this.#open();
    } catch (error) {
      const stopped = this.#is("ending", "over");
      this.#enter("over");
      this.#release();
      this.#socket?.close();
      if (!stopped) throw error instanceof ApiError ? error : new ApiError(0, whyNot(error));
    }
  }

  async #open() {
    if (!navigator.mediaDevices?.getUserMedia)
      throw new ApiError(
        0,
        "Browsers give the microphone only to pages over https or on this machine (localhost).",
      );
    const audio = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
    this.#stream = await navigator.mediaDevices.getUserMedia({ audio });
    if (!this.#is("asking")) return this.#release(); // stopped while the visitor was asked
    this.#enter("on");
    const context = (this.#context = new AudioContext());
    context.resume().catch(() => {}); // some browsers start it only when they are asked
    this.rate = context.sampleRate;
    await context.audioWorklet.addModule(new URL("./capture.js", import.meta.url));
    if (!this.#is("on")) return this.#release();
    const node = new AudioWorkletNode(context, "capture", { numberOfOutputs: 0 });
    node.port.onmessage = ({ data }) => this.#take(data);
    context.createMediaStreamSource(this.#stream).connect(node);
    this.#stream.getTracks()[0].addEventListener("ended", () => this.stop());
    setTimeout(() => {
      if (!this.#bytes && this.#is("on")) this.dispatchEvent(new Event("silent"));
    }, SILENT);
    this.#connect();
  }

  /** @param {...Phase} phases is it one of these now? */
  #is(...phases) {
    return phases.includes(this.phase);
  }

  /** @param {Phase} phase */
  #enter(phase) {
    if (this.phase === phase) return;
    this.phase = phase;
    this.dispatchEvent(new Event("phase"));
  }

  #connect() {
    const address = new URL("v1/live", location.href);
    address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    address.hash = "";
    const socket = (this.#socket = new WebSocket(address));
    socket.onopen = () => {
      socket.send(
        JSON.stringify({
          rate: this.rate,
          channels: 1,
          format: "s16le",
          top: 16,
          threshold: 0,
          hop: 1,
        }),
      );
      for (const blob of this.#kept) socket.send(blob);
      for (const part of this.#loose) socket.send(part);
    };
    socket.onmessage = ({ data }) => {
      const said = JSON.parse(data);
      if (said.error) this.#end(new ApiError(0, said.error));
      else if (said.start !== undefined) this.dispatchEvent(new CustomEvent("row", { detail: said }));
    };
    socket.onclose = ({ code }) => {
      if (code === 1013) this.#end(new ApiError(0, "Too many are listening at once. Try again in a while."));
      else if (code === 1000 || code === 1005) this.#end(null);
      else this.#end(new ApiError(0, "The service broke the line. What was heard until then can be kept."));
    };
  }

  /** @param {ArrayBuffer} pcm */
  #take(pcm) {
    if (this.phase !== "on") return;
    const values = new Int16Array(pcm);
    let peak = 0;
    for (const value of values) peak = Math.max(peak, Math.abs(value));
    this.dispatchEvent(new CustomEvent("level", { detail: peak / 32767 }));
    this.#loose.push(pcm);
    this.#bytes += pcm.byteLength;
    if (this.#socket?.readyState === WebSocket.OPEN) {
      if (this.#socket.bufferedAmount > BEHIND)
        this.#end(new ApiError(0, "The service does not keep up. What was heard can be kept."));
      else this.#socket.send(pcm);
    }
    if (this.#loose.length >= 100) this.#kept.push(new Blob(this.#loose.splice(0)));
    if (this.#bytes + pcm.byteLength > this.most)
      this.#end(new ApiError(0, "That is as much as one recording may hold. It can be kept."));
  }

  /** Stop listening; the service still says what it heard. */
  stop() {
    this.#release();
    if (this.#is("ending", "over")) return;
    if (this.#socket?.readyState === WebSocket.OPEN) {
      this.#enter("ending");
      this.#socket.send(JSON.stringify({ end: true }));
      setTimeout(() => this.#end(null), PATIENCE);
    } else this.#end(null);
  }

  #release() {
    for (const track of this.#stream?.getTracks() ?? []) track.stop();
    if (this.#context && this.#context.state !== "closed") this.#context.close().catch(() => {});
  }

  /** @param {Error|null} error */
  #end(error) {
    if (this.phase === "over") return;
    this.#release();
    this.#enter("over");
    this.#socket?.close();
    this.dispatchEvent(new CustomEvent("over", { detail: error }));
  }

  /** What was heard, as a WAV file. */
  wav() {
    const header = new DataView(new ArrayBuffer(44));
    const text = (/** @type {number} */ at, /** @type {string} */ letters) =>
      [...letters].forEach((letter, index) => header.setUint8(at + index, letter.charCodeAt(0)));
    text(0, "RIFF");
    header.setUint32(4, 36 + this.#bytes, true);
    text(8, "WAVEfmt ");
    header.setUint32(16, 16, true);
    header.setUint16(20, 1, true); // PCM
    header.setUint16(22, 1, true); // one channel
    header.setUint32(24, this.rate, true);
    header.setUint32(28, this.rate * 2, true);
    header.setUint16(32, 2, true);
    header.setUint16(34, 16, true);
    text(36, "data");
    header.setUint32(40, this.#bytes, true);
    return new Blob([header, ...this.#kept, ...this.#loose], { type: "audio/wav" });
  }
}

/** @param {unknown} error of what the browser was asked for */
function whyNot(error) {
  const name = error instanceof DOMException ? error.name : "";
  if (name === "NotAllowedError")
    return "The microphone was not allowed. The browser's address bar can allow it.";
  if (name === "NotFoundError") return "No microphone was found.";
  if (name === "NotReadableError") return "The microphone is in use by another program.";
  return `The microphone could not be opened: ${error instanceof Error ? error.message : error}`;
}
