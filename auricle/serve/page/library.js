/** The list of the visitor's recordings. */

import { getJson } from "./api.js";
import { byId, make } from "./dom.js";
import { clock, left } from "./format.js";
import { alarm } from "./say.js";

/** @typedef {import("./api.js").Recording} Recording */

/**
 * Is it still being worked on?
 * @param {Recording} recording
 */
export function isWaiting({ state }) {
  return state === "queued" || state === "running";
}

/**
 * How far it is, as a line.
 * @param {Recording} recording
 */
export function progressLine({ state, progress, duration }) {
  if (state === "queued") return "Waiting for its turn";
  if (!progress) return "Listening";
  const whole = progress.duration ?? duration;
  const parts = [
    whole ? `${clock(progress.heard, 0)} of ${clock(whole, 0)} heard` : `${clock(progress.heard, 0)} heard`,
  ];
  if (progress.speed) parts.push(`${Math.round(progress.speed).toLocaleString("en")} times real time`);
  if (progress.left !== null) parts.push(left(progress.left));
  return parts.join(" · ");
}

export class Library {
  /** @type {Recording[]} newest first */
  all = [];
  /** @type {string|null} */
  open = null;
  #timer = 0;

  /** Ask for the list, and again while something is being worked on. */
  async refresh() {
    clearTimeout(this.#timer);
    try {
      this.all = (await getJson("v1/recordings")).recordings;
    } catch (error) {
      alarm(error, "The list of recordings");
      return;
    }
    this.draw();
    if (this.all.some(isWaiting)) this.#timer = window.setTimeout(() => this.refresh(), 2000);
  }

  draw() {
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
    if (state === "failed") about = "Could not be tagged";
    if (state === "cancelled") about = "Cancelled";
    if (state === "interrupted") about = "Interrupted; it goes on when the service does";
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
