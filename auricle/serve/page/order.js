/**
 * The order of the time-line's rows: by the best score in the whole recording, or, where the visitor wants that, in
 * what is in view. Rows change places only at rest: not while it plays, and not under the pointer.
 */

import { getBuffer, isAbort } from "./api.js";
import { byId, kept, settled } from "./dom.js";
import { alarm, clearAlarm } from "./say.js";

const ON = "auricle.rows"; // what is kept: "view"
const REST = 600; // milliseconds without a change
const UNORDERED = "The rows are not in order";
const MOST = 64; // labels that the service is asked about at once

export class RowOrder {
  #asked = new AbortController();
  #done = "";
  /** @type {() => void} */
  #again;

  /**
   * @param {import("./viewport.js").Viewport} view
   * @param {import("./labels.js").Labels} labels
   * @param {{busy: () => boolean, sounding: () => string[], path: (query: string) => string|null}} hooks busy: may
   *   no row move now? sounding: labels of the sounds in view; path: of the scores of the recording that is open
   */
  constructor(view, labels, hooks) {
    this.view = view;
    this.labels = labels;
    this.hooks = hooks;
    this.#again = settled(() => this.#settle(), REST);
    const button = byId("rows-in-view");
    this.on = kept(ON) === "view";
    button.setAttribute("aria-pressed", String(this.on));
    button.addEventListener("click", () => {
      this.on = !this.on;
      kept(ON, this.on ? "view" : null);
      button.setAttribute("aria-pressed", String(this.on));
      this.update();
    });
    for (const one of [view, labels]) one.addEventListener("change", () => this.on && this.#again());
    view.addEventListener("change", () => {
      if (view.isWhole && document.activeElement === button) byId("plot").focus();
      button.hidden = view.isWhole;
    });
  }

  /** Another recording, or none. */
  reset() {
    this.#asked.abort();
    this.#done = "";
  }

  #settle() {
    if (this.hooks.busy()) this.#again();
    else this.update();
  }

  /** Put the rows in order now. */
  async update() {
    const { from, to } = this.view;
    if (!this.on || this.view.isWhole) {
      this.#done = "";
      return this.labels.setInView(null);
    }
    const sounding = new Set(this.hooks.sounding());
    const candidates = this.labels.fitting.filter(({ index }) => index !== null);
    candidates.sort((a, b) => Number(sounding.has(b.label)) - Number(sounding.has(a.label)));
    const asked = candidates.slice(0, MOST);
    const path = this.hooks.path(
      `from=${from}&to=${to}&columns=1&labels=${asked.map(({ index }) => index).join(",")}`,
    );
    if (!path || !asked.length || path === this.#done) return;
    this.#asked.abort();
    const { signal } = (this.#asked = new AbortController());
    try {
      const scores = new Float32Array(await getBuffer(path, signal));
      clearAlarm(UNORDERED);
      if (this.#isBusyAgain()) return;
      this.#done = path;
      this.labels.setInView(new Map(asked.map(({ label }, row) => [label, scores[row]])));
    } catch (error) {
      if (!isAbort(error)) alarm(error, UNORDERED);
    }
  }

  /** Has something begun while the service was asked? */
  #isBusyAgain() {
    const busy = this.hooks.busy();
    if (busy) this.#again();
    return busy;
  }
}
