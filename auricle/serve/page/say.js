/** What the page says: messages, shown while they are true or until they are closed, and words to read out. */

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

let about = ""; // what the message that is shown is of

/**
 * Show what went wrong.
 * @param {unknown} error
 * @param {string} [before] what was being done: `clearAlarm` of the same takes this message away, no other
 * @param {string} [after] what comes of it
 */
export function alarm(error, before = "", after = "") {
  const text = error instanceof Error ? error.message : String(error);
  const whole = (before ? `${before}: ${text}` : text) + (after && ` ${after}`);
  about = before;
  byId("alarm").hidden = false;
  if (byId("alarm-text").textContent !== whole) byId("alarm-text").textContent = whole; // read out once
}

/**
 * Take the message away.
 * @param {string} [of] only a message of this; without it whatever is shown
 */
export function clearAlarm(of) {
  if (of !== undefined && of !== about) return;
  about = "";
  byId("alarm").hidden = true;
  byId("alarm-text").textContent = "";
}
