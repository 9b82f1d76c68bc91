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

/** @typedef {{text: string, run: () => void}} Action */
/**
 * @typedef {{text: string, stays: boolean, line: HTMLElement, item: HTMLElement, buttons: HTMLElement,
 *   actions: Action[], closed: () => void}} Message
 */
/** @type {Map<string, Message>} by cause */
const shown = new Map();
/** @type {Map<string, string>} texts that were closed, by cause */
const closed = new Map();

/**
 * Show what went wrong; beside what is shown already, but in the place of what has the same cause.
 * @param {unknown} error
 * @param {string} [before] what was being done
 * @param {{after?: string, cause?: string, stays?: boolean, actions?: Action[], closed?: () => void}} [about] after:
 *   what is done about it, without the visitor: what was closed is not shown again; cause: `clearAlarm` of it takes
 *   the message away; stays: also when something else is looked at; actions: buttons beside it; closed: called when
 *   the visitor closes it
 */
export function alarm(error, before = "", about = {}) {
  const { after = "", cause = before, stays = false, actions = [], closed: onClose = () => {} } = about;
  const text = error instanceof Error ? error.message : String(error);
  const ended = after && !/[.?!]$/.test(text) ? `${text}.` : text;
  const whole = (before ? `${before}: ${ended}` : ended) + (after && ` ${after}`);
  const own = cause || whole;
  const known = shown.get(own);
  if (after && closed.get(own) === whole) return;
  // A button stays where it is called the same, and does what the last message about the cause says.
  const press = (/** @type {number} */ place) => shown.get(own)?.actions[place]?.run();
  const buttons = make("span", { class: "together" });
  buttons.append(
    ...actions.map(({ text }, place) =>
      make("button", { type: "button", class: "small", onclick: () => press(place) }, text),
    ),
  );
  if (known) {
    Object.assign(known, { actions, closed: onClose });
    if (known.text !== whole) known.text = known.line.textContent = whole; // read out once
    if (known.buttons.textContent !== buttons.textContent) {
      known.buttons.replaceWith(buttons);
      known.buttons = buttons;
    }
    return;
  }
  const line = make("p", {}, whole);
  const label = "Close this message";
  const close = make("button", { type: "button", class: "quiet square", "aria-label": label }, "×");
  close.addEventListener("click", () => closeAlarm(own));
  const item = make("div", {}, line, buttons, close);
  shown.set(own, { text: whole, stays, line, item, buttons, actions, closed: onClose });
  byId("alarm").hidden = false;
  byId("alarm").append(item);
}

/** @param {string} cause of the message that the visitor closes */
function closeAlarm(cause) {
  const message = shown.get(cause);
  clearAlarm(cause);
  closed.set(cause, message?.text ?? "");
  message?.closed();
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
