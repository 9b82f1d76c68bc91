/** What the page says: messages that stay until they are closed, and a few words for screen readers. */

import { byId } from "./dom.js";

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

/**
 * Show what went wrong.
 * @param {unknown} error
 * @param {string} [before] what was being done
 */
export function alarm(error, before) {
  const text = error instanceof Error ? error.message : String(error);
  byId("alarm").hidden = false;
  byId("alarm-text").textContent = before ? `${before}: ${text}` : text;
}

/** Take the message away. */
export function clearAlarm() {
  byId("alarm").hidden = true;
  byId("alarm-text").textContent = "";
}
