/** What stands where a recording cannot be shown yet: how far it is, or what went wrong and what can be done. */

import { isPassing } from "./api.js";
import { byId } from "./dom.js";
import { progressLine } from "./library.js";
import { say } from "./say.js";

/** @typedef {import("./api.js").Recording} Recording */

let said = "";

/** @param {string} text said to screen readers once, though it is shown again and again */
function sayOnce(text) {
  if (text !== said) say(text);
  said = text;
}

/**
 * @param {{title: string, text?: string, error?: string|null, bar?: boolean, cancel?: string,
 *   tryAgain?: boolean}} given cancel: the text of the button, if there is to be one
 */
function showWait({ title, text = "", error = null, bar = false, cancel = "", tryAgain = false }) {
  byId("waiting-title").textContent = title;
  byId("waiting-text").textContent = text;
  byId("waiting-bar").hidden = !bar;
  byId("waiting-error").hidden = !error;
  byId("waiting-error").textContent = error;
  byId("waiting-again").hidden = !tryAgain;
  byId("waiting-cancel").hidden = !cancel;
  byId("waiting-cancel").textContent = cancel;
}

/** @param {Recording} found one that is being tagged, or will be */
export function showWaiting(found) {
  sayOnce(`${found.name} is being tagged`);
  showWait({ title: found.name, text: progressLine(found), bar: true, cancel: "Cancel" });
  const whole = found.progress?.duration ?? found.duration;
  if (found.progress && whole) byId("waiting-bar").value = found.progress.heard / whole;
  else byId("waiting-bar").removeAttribute("value");
}

/** @param {Recording} found one that could not be tagged */
export function showFailure(found) {
  sayOnce(`${found.name} could not be tagged. ${found.error ?? ""}`);
  showWait({ title: found.name, error: found.error, cancel: "Remove" });
}

/**
 * A recording could not be shown, but may be in a while.
 * @param {string} title
 * @param {unknown} error
 */
export function showTrouble(title, error) {
  const line = error instanceof Error ? error.message : String(error);
  const whole = isPassing(error) ? `${line} It is tried again by itself.` : line;
  sayOnce(whole);
  showWait({ title, error: whole, tryAgain: true });
}

/**
 * Wait: so long, or until the button is pressed, or the machine is connected again.
 * @param {number} milliseconds
 * @param {AbortSignal} signal
 */
export function again(milliseconds, signal) {
  const over = new AbortController();
  return new Promise((resolve) => {
    const timer = Number.isFinite(milliseconds) ? window.setTimeout(() => done(), milliseconds) : 0;
    const done = () => {
      clearTimeout(timer);
      over.abort();
      resolve(null);
    };
    byId("waiting-again").addEventListener("click", done, { signal: over.signal });
    addEventListener("online", done, { signal: over.signal });
    signal.addEventListener("abort", done, { signal: over.signal });
  });
}
