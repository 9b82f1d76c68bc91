/** The bar under the picture: what is selected, and what can be said of it. */

import { byId } from "./dom.js";
import { clock, percent, spoken } from "./format.js";

const GAP = 8; // pixels

/**
 * @typedef {import("./annotate.js").Row} Row
 * @typedef {{from: number, to: number}} Span
 * @typedef {{play: () => void, judge: (verdict: "right"|"wrong") => void, add: (label: string) => void,
 *   deny: (label: string) => void, remove: () => void, close: () => void}} Actions
 */

/** @param {Actions} actions */
export function startBar(actions) {
  byId("bar-play").addEventListener("click", actions.play);
  byId("bar-right").addEventListener("click", () => actions.judge("right"));
  byId("bar-wrong").addEventListener("click", () => actions.judge("wrong"));
  byId("bar-remove").addEventListener("click", actions.remove);
  byId("bar-close").addEventListener("click", actions.close);
  byId("bar").addEventListener("submit", (/** @type {Event} */ event) => {
    event.preventDefault();
    const label = byId("bar-label").value.trim();
    if (label) actions.add(label);
    else byId("bar-label").focus();
  });
  byId("bar-deny").addEventListener("click", () => {
    const label = byId("bar-label").value.trim();
    if (label) actions.deny(label);
    else byId("bar-label").focus();
  });
}

/**
 * Show what is selected: a sound, a span, or nothing.
 * @param {Row|null} chosen
 * @param {Span|null} selection
 */
export function showBar(chosen, selection) {
  byId("bar").hidden = !chosen && !selection;
  byId("bar-verdict").hidden = !chosen || chosen.verdict === "added";
  byId("bar-deny").hidden = !selection;
  byId("bar-remove").hidden = chosen?.verdict !== "added";
  byId("bar-right").setAttribute("aria-pressed", String(chosen?.verdict === "right"));
  byId("bar-wrong").setAttribute("aria-pressed", String(chosen?.verdict === "wrong"));
  const [from, to] = chosen ? [chosen.start, chosen.end] : [selection?.from ?? 0, selection?.to ?? 0];
  byId("bar-name").textContent = chosen?.label ?? "Selected";
  const score = chosen && chosen.score !== null ? `, score ${percent(chosen.score)}` : "";
  byId("bar-what").textContent = `${clock(from)} – ${clock(to)}${score}`;
  byId("bar-label").placeholder = chosen ? "Another label" : "Label";
}

/**
 * Have a label's row of the time-line not lie behind the bar.
 * @param {string} label
 */
export function uncover(label) {
  const row = [...byId("gutter").children].find(({ textContent }) => textContent === label);
  if (!row) return;
  const { top, bottom } = row.getBoundingClientRect();
  const behind = bottom - byId("bar").getBoundingClientRect().top;
  if (behind > 0 && top < innerHeight) scrollBy(0, behind + GAP);
}

/**
 * The same for screen readers.
 * @param {Row|null} chosen
 * @param {Span|null} selection
 */
export function spokenSelection(chosen, selection) {
  if (chosen) {
    const said = chosen.verdict ? `, ${chosen.verdict}` : "";
    return `${chosen.label}, ${spoken(chosen.start)} to ${spoken(chosen.end)}${said}`;
  }
  return selection ? `${spoken(selection.from)} to ${spoken(selection.to)} selected` : "Nothing selected";
}
