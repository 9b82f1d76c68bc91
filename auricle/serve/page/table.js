/** The table of sounds: what the picture shows, in words; every row can be heard, judged, taken back. */

import { byId, make } from "./dom.js";
import { clock, count, percent } from "./format.js";

const PAGE = 100; // rows at a time

/**
 * @typedef {import("./annotate.js").Row} Row
 * @typedef {{choose: (row: Row) => void, judge: (row: Row, verdict: "right"|"wrong") => void,
 *   remove: (row: Row) => void}} Actions
 */

export class Table {
  #shown = PAGE;
  /** @type {Row[]} */
  #rows = [];
  /** @type {Row|null} */
  #chosen = null;

  /** @param {Actions} actions */
  constructor(actions) {
    this.actions = actions;
    byId("events-more").addEventListener("click", () => {
      const first = this.#shown;
      this.#shown += PAGE;
      this.#draw();
      byId("events").rows[first]?.querySelector("button")?.focus();
    });
  }

  /** Another recording: its first rows. */
  reset() {
    this.#shown = PAGE;
  }

  /**
   * @param {Row[]} rows
   * @param {{chosen: Row|null, truncated: boolean, why: string}} about why: there is none
   */
  show(rows, { chosen, truncated, why }) {
    this.#rows = rows;
    this.#chosen = chosen;
    byId("sounds-count").textContent = rows.length
      ? `${rows.length.toLocaleString("en")}${truncated ? "+" : ""}`
      : "";
    byId("events-none").hidden = rows.length > 0;
    byId("events-none").textContent = why;
    this.#draw();
  }

  #draw() {
    const body = byId("events");
    const focused = document.activeElement instanceof HTMLElement && body.contains(document.activeElement);
    const key = focused ? (document.activeElement?.getAttribute("data-key") ?? "") : "";
    const place = focused ? (document.activeElement?.closest("tr")?.rowIndex ?? 1) - 1 : 0;
    body.replaceChildren(...this.#rows.slice(0, this.#shown).map((row) => this.#row(row)));
    if (focused) {
      // What had the focus may be gone: then the row that took its place has it.
      const same = body.querySelector(`[data-key="${CSS.escape(key)}"]`);
      const near = body.rows[Math.min(place, body.rows.length - 1)]?.querySelector("button");
      // A late answer must not scroll back to it who has gone on to look elsewhere.
      if (same instanceof HTMLElement) same.focus({ preventScroll: true });
      else (near ?? byId("in-view")).focus();
    }
    const rest = this.#rows.length - this.#shown;
    byId("events-more").hidden = rest <= 0;
    byId("events-more").textContent = `Show ${Math.min(rest, PAGE)} more of ${count(rest, "sound")}`;
  }

  /** @param {Row} row */
  #row(row) {
    const span = `${clock(row.start)} – ${clock(row.end)}`;
    const name = `${row.label}, ${span}`;
    const key = `${row.label} ${row.start} ${row.end}`;
    const chosen = this.#chosen?.label === row.label && this.#chosen.start === row.start;
    const play = make(
      "button",
      {
        type: "button",
        class: "quiet numbers",
        "data-key": `play ${key}`,
        "data-testid": "event-play",
        "aria-label": `Hear ${name}`,
        onclick: () => this.actions.choose(row),
      },
      span,
    );
    const made = make(
      "tr",
      { "data-testid": "event", "data-label": row.label },
      make("td", {}, play),
      make("td", { class: "label" }, row.label),
      make("td", { class: "right numbers" }, row.score === null ? "–" : percent(row.score)),
      make("td", {}, make("span", { class: "together" }, ...this.#judgements(row, name, key))),
    );
    made.dataset.verdict = row.verdict ?? "";
    if (chosen) made.setAttribute("aria-current", "true");
    return made;
  }

  /**
   * @param {Row} row
   * @param {string} name
   * @param {string} key
   */
  #judgements(row, name, key) {
    if (row.verdict === "added")
      return [
        make("span", { class: "added" }, "added"),
        make(
          "button",
          {
            type: "button",
            class: "quiet",
            "data-key": `remove ${key}`,
            "data-testid": "event-remove",
            "aria-label": `Remove ${name}`,
            onclick: () => this.actions.remove(row),
          },
          "Remove",
        ),
      ];
    return /** @type {("right"|"wrong")[]} */ (["right", "wrong"]).map((verdict) =>
      make(
        "button",
        {
          type: "button",
          class: "quiet",
          "data-key": `${verdict} ${key}`,
          "data-testid": `event-${verdict}`,
          "aria-label": `${name} is ${verdict}`,
          "aria-pressed": String(row.verdict === verdict),
          onclick: () => this.actions.judge(row, verdict),
        },
        make("span", { class: "word" }, verdict === "right" ? "Right" : "Wrong"),
        make("span", { class: "sign" }, verdict === "right" ? "✓" : "✗"),
      ),
    );
  }
}
