/**
 * Uploads, one after the other, each with its progress. While the service does not answer, or has too much to do, the
 * first waits and is sent again by itself, and those behind it wait with it.
 */

import { ApiError, answers, isAbort, isPassing, upload } from "./api.js";
import { byId, make } from "./dom.js";
import { left, size } from "./format.js";
import { rest } from "./patience.js";
import { alarm, clearAlarm, say } from "./say.js";

const WAITING = "Not uploaded yet";
const AWAY = [0, 401, 408, 502, 504]; // after which it may be this file that is not taken: others go first
const BUSY = [425, 429, 503];
const SHOWN_EVERY = 200; // milliseconds

/**
 * @typedef {{file: Blob, name: string, from: string, stop: AbortController, item: HTMLElement,
 *   bar: HTMLProgressElement, text: HTMLElement, again: HTMLElement, tries: number}} Upload tries: how often it was
 *   tried in vain and waits
 */

export class Uploads {
  /** @type {Upload[]} */
  #waiting = [];
  #running = false;
  #hurry = new EventTarget();
  /** @type {Set<string>} names of files that were not taken at all */
  #refused = new Set();
  /** @type {Set<Upload>} that failed and can be tried again */
  #failed = new Set();

  /**
   * @param {{most: number, here: () => string, done: (id: string, stayed: boolean) => void}} given most bytes;
   *   what is shown; and what to do with a recording that is there: stayed says that it is the last, and that
   *   what was shown when it was given still is
   */
  constructor({ most, here, done }) {
    this.most = most;
    this.here = here;
    this.done = done;
    addEventListener("beforeunload", (event) => {
      if (this.#running || this.#failed.size) event.preventDefault();
    });
    // Files do not outlive the page: it is not left for the one that asks for the token.
    answers.addEventListener("locked", (event) => this.#running && event.preventDefault());
  }

  /** @param {Iterable<File>} files */
  addFiles(files) {
    for (const name of this.#refused) clearAlarm(name); // of what was added before
    this.#refused.clear();
    for (const file of files) this.add(file, file.name);
  }

  /**
   * @param {Blob} file
   * @param {string} name
   */
  add(file, name) {
    if (!file.size || file.size > this.most) {
      const much = `${name} has ${size(file.size)}; this service takes up to ${size(this.most)}.`;
      alarm(file.size ? much : `${name} is empty.`, "", { cause: name, stays: true });
      this.#refused.add(name);
      return;
    }
    const from = this.here();
    const text = make("span", { class: "soft small numbers" });
    const bar = make("progress", { max: 1, "aria-label": `Upload of ${name}` });
    const again = make("button", { type: "button", "data-testid": "upload-again" }, "Try again");
    const cancel = make(
      "button",
      { type: "button", class: "quiet square", "aria-label": `Cancel the upload of ${name}` },
      "×",
    );
    const head = make("div", { class: "upload-head" }, make("span", { class: "name" }, name), cancel);
    const item = make("li", { class: "upload", "data-testid": "upload" }, head, bar, text, again);
    /** @type {Upload} */
    const given = { file, name, from, stop: new AbortController(), item, bar, text, again, tries: 0 };
    cancel.addEventListener("click", () => {
      given.stop.abort();
      if (given.tries) clearAlarm(WAITING);
      this.#failed.delete(given);
      clearAlarm(name);
      item.remove();
    });
    again.addEventListener("click", () => {
      if (given.tries) this.#hurry.dispatchEvent(new Event("hurry"));
      else this.#queue(given);
    });
    byId("uploads").append(item);
    this.#queue(given);
  }

  /** @param {Upload} given */
  #queue(given) {
    this.#failed.delete(given);
    clearAlarm(given.name);
    given.bar.hidden = false;
    given.bar.value = 0;
    given.again.hidden = true;
    given.text.textContent = "Waiting";
    this.#waiting.push(given);
    if (!this.#running) this.#run();
  }

  async #run() {
    this.#running = true;
    for (let next = this.#waiting.shift(); next; next = this.#waiting.shift()) await this.#send(next);
    this.#running = false;
  }

  /** @param {Upload} given */
  async #send(given) {
    const { file, name, from, stop, item, bar, text } = given;
    if (stop.signal.aborted) return;
    const began = performance.now();
    let shown = 0;
    const progress = (/** @type {number} */ sent, /** @type {number} */ total) => {
      const now = performance.now();
      if (now - shown < SHOWN_EVERY && sent < total) return;
      shown = now;
      bar.value = total ? sent / total : 0;
      const speed = sent / Math.max((now - began) / 1000, 0.001);
      const rest = sent < total ? left((total - sent) / speed) : "storing";
      text.textContent = `${size(sent)} of ${size(total)} · ${rest}`;
    };
    try {
      say(`Uploading ${name}`);
      const { id } = await upload(file, name, progress, stop.signal);
      item.remove();
      this.done(id, !this.#waiting.length && this.here() === from);
      clearAlarm(WAITING);
    } catch (error) {
      if (isAbort(error)) return;
      const isRead = await isReadable(file);
      const status = error instanceof ApiError && isRead ? error.status : -1;
      if (AWAY.includes(status) || BUSY.includes(status))
        return this.#wait(given, error, AWAY.includes(status));
      clearAlarm(WAITING);
      given.tries = 0;
      alarm(isRead ? error : "it cannot be read. Is it a folder, or was it moved or changed?", name, {
        stays: true,
      });
      bar.hidden = true;
      text.textContent = "Not uploaded";
      given.again.hidden = !isPassing(error);
      if (isPassing(error)) this.#failed.add(given);
    }
  }

  /**
   * Try it again in a while.
   * @param {Upload} given
   * @param {unknown} error
   * @param {boolean} last let those that wait go first, if there are others
   */
  async #wait(given, error, last) {
    const { name, stop, bar, text, again } = given;
    const others = this.#waiting.length;
    given.tries++;
    bar.hidden = true;
    again.hidden = false;
    text.textContent = "Waiting; tried again by itself";
    const names = others ? `${name} and ${others} more` : name;
    const locked = error instanceof ApiError && error.status === 401;
    // Files do not outlive this page: one logs in in another.
    const actions = locked ? [{ text: "Log in", run: () => void open("login", "_blank", "noopener") }] : [];
    const line = locked ? "You are not logged in any more." : error;
    const after = locked ? "It is sent once you are." : "It is tried again by itself.";
    alarm(line, names, { after, cause: WAITING, stays: true, actions });
    await rest(given.tries, error, { hurry: this.#hurry, signal: stop.signal });
    if (stop.signal.aborted) return;
    again.hidden = true;
    bar.hidden = false;
    bar.value = 0;
    text.textContent = "Waiting";
    if (last && others) this.#waiting.push(given);
    else this.#waiting.unshift(given);
  }
}

/**
 * A folder, or a file that was moved, changed or taken away, is not.
 * @param {Blob} file
 */
async function isReadable(file) {
  try {
    await file.slice(0, 1).arrayBuffer();
    return true;
  } catch {
    return false;
  }
}
