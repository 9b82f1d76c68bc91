/** The list of the visitor's recordings. */

import { ApiError, getJson, isAbort, isPassing, pause } from "./api.js";
import { byId, make } from "./dom.js";
import { clock, grouped, left } from "./format.js";
import { alarm, clearAlarm } from "./say.js";

/** @typedef {import("./api.js").Recording} Recording */

const LIST = "The list of recordings";
const ASKED_EVERY = 2000; // milliseconds, while something is being worked on

/**
 * Is it still being worked on, or will be once the service goes on?
 * @param {Recording} recording
 */
export function isWaiting({ state }) {
  return state === "queued" || state === "running" || state === "interrupted";
}

/**
 * How far it is, as a line.
 * @param {Recording} recording
 */
export function progressLine({ state, progress, duration }) {
  if (state === "interrupted") return "Interrupted; it goes on when the service does";
  if (state === "queued") return "Waiting for its turn";
  if (!progress) return "Listening";
  const whole = progress.duration ?? duration;
  const parts = [
    whole ? `${clock(progress.heard, 0)} of ${clock(whole, 0)} heard` : `${clock(progress.heard, 0)} heard`,
  ];
  if (progress.speed) parts.push(`${grouped(Math.round(progress.speed))} times real time`);
  if (progress.left !== null) parts.push(left(progress.left));
  return parts.join(" · ");
}

export class Library {
  /** @type {Recording[]} newest first */
  all = [];
  /** @type {string|null} */
  open = null;
  /** @type {Map<string, string>} by id, also of what is gone */
  #names = new Map();
  #drawn = "";
  #timer = 0;
  #asked = new AbortController();
  #failures = 0; // in a row

  /**
   * Ask for the list, and again while something is being worked on, or when the service did not answer.
   * @returns {Promise<boolean>} is it as the service now has it?
   */
  async refresh() {
    clearTimeout(this.#timer);
    this.#asked.abort();
    const asked = (this.#asked = new AbortController());
    const later = (/** @type {number} */ wait) => {
      this.#timer = window.setTimeout(() => this.refresh(), wait);
    };
    try {
      const { recordings } = await getJson("v1/recordings", asked.signal);
      if (asked.signal.aborted) return false;
      this.all = recordings;
      for (const { id, name } of this.all) this.#names.set(id, name);
    } catch (error) {
      if (isAbort(error) || asked.signal.aborted) return false;
      const again = isPassing(error);
      if (again) later(pause(++this.#failures));
      // Who stays here without the token has something on its way, whose message says so.
      if (error instanceof ApiError && error.status === 401) clearAlarm(LIST);
      else alarm(error, LIST, { after: again ? "It is tried again." : "", stays: true });
      return false;
    }
    this.#failures = 0;
    clearAlarm(LIST);
    this.draw();
    if (this.all.some(isWaiting)) later(ASKED_EVERY);
    return true;
  }

  draw() {
    // What is as before stays, element by element: a click may have begun on it.
    const drawn = JSON.stringify([this.open, this.all.map((recording) => ({ ...recording, expires: null }))]);
    if (drawn === this.#drawn) return;
    this.#drawn = drawn;
    byId("library-count").textContent = this.all.length ? String(this.all.length) : "";
    byId("manifests").hidden = !this.all.some(({ corrections }) => corrections > 0);
    const focused =
      byId("recordings").contains(document.activeElement) && document.activeElement?.getAttribute("href");
    byId("recordings").replaceChildren(...this.all.map((recording) => this.#item(recording)));
    if (focused)
      byId("recordings")
        .querySelector(`[href="${CSS.escape(focused)}"]`)
        ?.focus();
  }

  /** @param {string} id is it in the list? */
  has(id) {
    return this.all.some((recording) => recording.id === id);
  }

  /**
   * The name of a recording that is, or was, in the list.
   * @param {string} id
   */
  nameOf(id) {
    return this.#names.get(id);
  }

  /**
   * A recording has so many corrections now.
   * @param {string} id
   * @param {number} corrections
   */
  count(id, corrections) {
    const found = this.all.find((recording) => recording.id === id);
    if (!found || found.corrections === corrections) return;
    found.corrections = corrections;
    this.draw();
  }

  /** @param {Recording} recording */
  #item(recording) {
    const { id, name, state, duration, tags, corrections } = recording;
    const parts = duration === null ? [] : [clock(duration, 0)];
    if (corrections) parts.push(`${corrections} corrected`);
    if (tags.length)
      parts.push(
        tags
          .map(({ label }) => label)
          .slice(0, 2)
          .join(", "),
      );
    let about = parts.join(" · ");
    if (isWaiting(recording)) about = progressLine(recording);
    if (state === "failed") about = `Could not be tagged: ${reason(recording)}`;
    if (state === "cancelled") about = "Cancelled";
    const link = make(
      "a",
      { href: `#r=${encodeURIComponent(id)}`, "data-testid": "recording-link" },
      make("span", { class: "name", title: name }, name),
      make("span", { class: "soft small numbers" }, about),
    );
    if (id === this.open) link.setAttribute("aria-current", "page");
    return make("li", { "data-state": state }, link);
  }
}

/**
 * Why it could not be tagged, without its name, which stands above.
 * @param {Recording} recording
 */
function reason({ name, error }) {
  const text = error ?? "nobody knows why";
  return text.startsWith(`${name}: `) ? text.slice(name.length + 2) : text;
}
