/** What the page says: messages, each shown while it is true or until it is closed, and words to read out. */

import { byId, make } from "./dom.js";

const PAUSE = 150; // milliseconds; so that what is said twice in a row is read out once

let timer = 0;

/**
 * Say something to screen readers, politely; the last of several at once is what is read.
 * @param {string} text
 */
export function say(text) {
  clearTimeout(timer);
  timer = window.setTimeout(() => {
    byId("status").textContent = text;
  }, PAUSE);
}

/** @type {Map<string, {text: string, stays: boolean, line: HTMLElement, item: HTMLElement}>} by cause */
const shown = new Map();
/** @type {Map<string, string>} texts that were closed, by cause */
const closed = new Map();

/**
 * Show what went wrong; beside what is shown already, but in the place of what has the same cause.
 * @param {unknown} error
 * @param {string} [before] what was being done
 * @param {{after?: string, cause?: string, stays?: boolean}} [about] after: what is done about it, without the
 *   visitor: what was closed is not shown again; cause: `clearAlarm` of it takes the message away; stays: also when
 *   something else is looked at
 */
export function alarm(error, before = "", { after = "", cause = before, stays = false } = {}) {
  const text = error instanceof Error ? error.message : String(error);
  const ended = after && !/[.?!]$/.test(text) ? `${text}.` : text;
  const whole = (before ? `${before}: ${ended}` : ended) + (after && ` ${after}`);
  const own = cause || whole;
  const known = shown.get(own);
  if (known?.text === whole || (after && closed.get(own) === whole)) return; // read out once
  if (known) {
    known.text = known.line.textContent = whole;
    return;
  }
  const line = make("p", {}, whole);
  const label = "Close this message";
  const close = make("button", { type: "button", class: "quiet square", "aria-label": label }, "×");
  close.addEventListener("click", () => closeAlarm(own));
  const item = make("div", {}, line, close);
  shown.set(own, { text: whole, stays, line, item });
  byId("alarm").hidden = false;
  byId("alarm").append(item);
}

/** @param {string} cause of the message that the visitor closes */
function closeAlarm(cause) {
  const text = shown.get(cause)?.text ?? "";
  clearAlarm(cause);
  closed.set(cause, text);
  (byId("alarm").querySelector("button") ?? byId("main")).focus({ preventScroll: true });
}

/**
 * Take a message away, if it is shown.
 * @param {string} cause
 */
export function clearAlarm(cause) {
  closed.delete(cause);
  shown.get(cause)?.item.remove();
  shown.delete(cause);
  byId("alarm").hidden = shown.size === 0;
}

/** Something else is looked at: messages of what was shown before go, those that stay stay. */
export function leaveAlarms() {
  for (const [cause, { stays }] of [...shown]) if (!stays) clearAlarm(cause);
}
