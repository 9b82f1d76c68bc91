/** The table of sounds: what the picture shows, in words; every row can be heard, judged, taken back. */

import { byId, make } from "./dom.js";
import { clock, count, percent } from "./format.js";
import { keyOf } from "./merging.js";

const PAGE = 100; // rows at a time
const LONG = 14; // letters of a word that may be broken
/** @type {("right"|"wrong"|"removed")[]} */
const JUDGEMENTS = ["right", "wrong", "removed"];
const HOUR = 3600; // seconds

/**
 * @typedef {import("./merging.js").Row} Row
 * @typedef {{choose: (row: Row) => void, judge: (row: Row, verdict: "right"|"wrong") => void,
 *   remove: (row: Row) => void, waits: (row: Row, verdict: "right"|"wrong"|"removed") => boolean}} Actions waits: is
 *   that said, but not kept yet?
 */

export class Table {
  #shown = PAGE;
  /** @type {Row[]} */
  #rows = [];
  /** @type {Row|null} */
  #chosen = null;
  /** @type {Map<string, HTMLTableRowElement>} what is drawn, by all that it shows */
  #drawn = new Map();

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
    this.#drawn.clear();
  }

  /**
   * @param {Row[]} rows
   * @param {{chosen: Row|null, number: string, note: string}} about number: how many; note: what else is to be said
   */
  show(rows, { chosen, number, note }) {
    this.#rows = rows;
    this.#chosen = chosen;
    byId("sounds-count").textContent = number;
    byId("events-none").hidden = note === "";
    byId("events-none").textContent = note;
    this.#draw();
  }

  /**
   * Give a row the focus, without scrolling away from where the visitor is at work.
   * @param {Row} row
   * @returns {boolean} is it listed?
   */
  focus(row) {
    const place = this.#rows.findIndex((one) => isSame(one, row));
    if (place >= this.#shown) {
      this.#shown = Math.ceil((place + 1) / PAGE) * PAGE;
      this.#draw();
    }
    byId("events").rows[place]?.querySelector("button")?.focus({ preventScroll: true });
    return place >= 0;
  }

  #draw() {
    const body = byId("events");
    const focused = document.activeElement instanceof HTMLElement && body.contains(document.activeElement);
    const key = focused ? (document.activeElement?.getAttribute("data-key") ?? "") : "";
    const place = focused ? (document.activeElement?.closest("tr")?.rowIndex ?? 1) - 1 : 0;
    this.#place(body);
    if (focused && !body.contains(document.activeElement)) {
      // What had the focus may be gone: then the row that took its place has it.
      const same = body.querySelector(`[data-key="${CSS.escape(key)}"]`);
      const near = body.rows[Math.min(place, body.rows.length - 1)]?.querySelector("button");
      // A late answer must not scroll back to it who has gone on to look elsewhere.
      if (same instanceof HTMLElement) same.focus({ preventScroll: true });
      else (near ?? byId("in-view")).focus();
    }
    const rest = this.#rows.length - this.#shown;
    byId("events-more").hidden = rest <= 0;
    if (rest > 0)
      byId("events-more").textContent = `Show ${Math.min(rest, PAGE)} more of ${count(rest, "sound")}`;
  }

  /**
   * Put the rows into the table; those that are there and say the same stay.
   * @param {HTMLTableSectionElement} body
   */
  #place(body) {
    const before = this.#drawn;
    this.#drawn = new Map();
    for (const row of this.#rows.slice(0, this.#shown)) {
      const waiting = JUDGEMENTS.map((verdict) => this.actions.waits(row, verdict));
      const shown = [row.label, row.start, row.end, row.score, row.verdict, row.correction?.id, ...waiting];
      const key = shown.join("\n");
      const drawn = before.get(key) ?? this.#row(row);
      if (this.#chosen !== null && isSame(this.#chosen, row)) drawn.setAttribute("aria-current", "true");
      else drawn.removeAttribute("aria-current");
      this.#drawn.set(key, drawn);
    }
    const wanted = new Set(this.#drawn.values());
    for (const one of [...body.rows]) if (!wanted.has(one)) one.remove();
    let here = body.firstElementChild;
    for (const one of wanted)
      if (one === here) here = here.nextElementSibling;
      else body.insertBefore(one, here);
  }

  /** @param {Row} row */
  #row(row) {
    const span = `${clock(row.start)}\u00a0– ${clock(row.end)}`; // of two lines, the first has the dash
    const name = `${row.label}, ${span}`;
    const key = keyOf(row);
    const play = make(
      "button",
      {
        type: "button",
        class: row.end < HOUR ? "quiet numbers" : "quiet numbers long",
        "data-key": `play ${key}`,
        "data-testid": "event-play",
        "aria-label": `Hear ${name}`,
        onclick: () => this.actions.choose(row),
      },
      span,
    );
    const made = make(
      "tr",
      {
        "data-testid": "event",
        "data-label": row.label,
        // All of the row does what its first button does; by keyboard it is that button.
        onclick: (/** @type {Event} */ event) => {
          const other = event.target instanceof Element && event.target.closest("button");
          if (!other && getSelection()?.isCollapsed !== false) this.actions.choose(row);
        },
      },
      make("td", {}, play),
      make("td", { class: "label" }, nameOf(row.label)),
      make("td", { class: "right numbers" }, row.score === null ? "–" : percent(row.score)),
      make("td", {}, make("span", { class: "together" }, ...this.#judgements(row, name, key))),
    );
    made.dataset.verdict = row.verdict ?? "";
    return made;
  }

  /**
   * How a button looks, which is other while what it says is not kept yet.
   * @param {Row} row
   * @param {"right"|"wrong"|"removed"} verdict
   */
  #waiting(row, verdict) {
    if (!this.actions.waits(row, verdict)) return { class: "quiet" };
    return { class: "quiet waits", title: "Not kept yet", "aria-busy": "true" };
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
            ...this.#waiting(row, "removed"),
            "data-key": `remove ${key}`,
            "data-testid": "event-remove",
            "aria-label": `Remove ${name}`,
            onclick: () => this.actions.remove(row),
          },
          make("span", { class: "word" }, "Remove"),
          make("span", { class: "sign" }, "×"),
        ),
      ];
    return /** @type {("right"|"wrong")[]} */ (["right", "wrong"]).map((verdict) =>
      make(
        "button",
        {
          type: "button",
          ...this.#waiting(row, verdict),
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

/**
 * A label's name, which breaks where its words end; of a very long one the whole is told by a tip.
 * @param {string} label
 */
function nameOf(label) {
  const words = label.split(/(?<=[_/])/);
  const pieces = words.flatMap((word) => [word, make("wbr")]).slice(0, -1);
  const long = label.split(/[\s_/-]/).some((word) => word.length > LONG);
  return make("span", { class: long ? "clamped long" : "clamped", title: label }, ...pieces);
}

/**
 * Are two rows of the same sound?
 * @param {Row} a
 * @param {Row} b
 */
export function isSame(a, b) {
  const added = (/** @type {Row} */ row) => row.verdict === "added";
  return a.label === b.label && a.start === b.start && added(a) === added(b);
}
