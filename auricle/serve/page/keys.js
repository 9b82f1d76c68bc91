/** The keys, and the dialog that lists them. Keys of one letter can be switched off. */

import { byId, kept, make } from "./dom.js";

const OFF = "auricle.keys"; // what is kept: "off"
// Keys that go on while they are held: those that move and zoom. What says or changes something is done once.
const GO_ON = /^((Shift\+)?Arrow\w+|Page\w+|[-+=np])$/;
const PRESSED = "button, a, input, summary"; // what Space or Enter presses
const ONCE = "#events button, #bar button, #undo, #bar input"; // the browser clicks them again while Enter is held

/**
 * @typedef {{keys: string[], shown: string, what: string, run: (event: KeyboardEvent) => void,
 *   recording?: boolean}} Key keys: as `nameOf` names them; shown: in the list, "" where the key before it says
 *   it too; recording: only with one that is open
 */

/**
 * A pressed key's name: "a", "Shift+ArrowLeft", "Ctrl+z".
 * @param {KeyboardEvent} event
 */
function nameOf(event) {
  const held = (event.ctrlKey || event.metaKey ? "Ctrl+" : "") + (event.altKey ? "Alt+" : "");
  const shift = event.shiftKey && event.key.length > 1 ? "Shift+" : "";
  return held + shift + (event.key.length === 1 ? event.key.toLowerCase() : event.key);
}

/** Knows whether what has the focus was clicked: then Space plays, and does not press it once more. */
class Focus {
  wasClicked = false;
  /** @type {Element|null} */
  #clicked = null;
  #key = ""; // of it: a row that is drawn anew has another such button

  constructor() {
    document.addEventListener("pointerdown", ({ target }) => {
      this.#clicked = target instanceof Element ? target.closest(PRESSED) : null;
      this.#key = this.#clicked?.getAttribute("data-key") ?? "";
      if (this.#clicked && this.#clicked === document.activeElement) this.wasClicked = true;
    });
    document.addEventListener("focusin", ({ target }) => {
      const key = target instanceof Element ? target.getAttribute("data-key") : null;
      this.wasClicked = target === this.#clicked || (key !== null && key === this.#key);
      if (this.wasClicked) return;
      this.#clicked = null;
      this.#key = "";
    });
  }
}

/**
 * Does what has the focus want this key for itself?
 * @param {KeyboardEvent} event
 * @param {boolean} wasClicked did it get the focus by a click?
 */
function isTaken(event, wasClicked) {
  const target = event.target;
  if (!(target instanceof HTMLElement) || document.querySelector("dialog[open]")) return true;
  if (target.matches("input:not([type=checkbox], [type=range]), textarea, select"))
    return event.key !== "Escape";
  if (target.matches("input[type=range]")) return /^(Arrow|Home|End|Page)/.test(event.key);
  if (target.matches("video")) return event.key === " ";
  return !wasClicked && target.matches(PRESSED) && (event.key === " " || event.key === "Enter");
}

/**
 * @param {Key[]} keys
 * @param {() => boolean} isOpen is a recording open?
 */
export function startKeys(keys, isOpen) {
  const byName = new Map(keys.flatMap((key) => key.keys.map((name) => [name, key])));
  const focus = new Focus();
  let letters = kept(OFF) !== "off";
  let swallowed = false;
  document.addEventListener("keydown", (event) => {
    const name = nameOf(event);
    if (event.repeat && name === "Enter" && event.target instanceof Element && event.target.matches(ONCE))
      event.preventDefault();
    const key = byName.get(name);
    if (!key || event.defaultPrevented || isTaken(event, focus.wasClicked)) return;
    // A character that reaches the page from speech input, say, must not set things off: it can be switched off.
    const onPlot = event.target instanceof Element && event.target.id === "plot";
    if (name.length === 1 && !letters && !onPlot) return;
    if (key.recording && !isOpen()) return;
    event.preventDefault();
    swallowed = name === " ";
    if (!event.repeat || GO_ON.test(name)) key.run(event);
  });
  document.addEventListener("keyup", (event) => {
    if (swallowed && event.key === " ") event.preventDefault(); // some browsers press a button only now
    if (event.key === " ") swallowed = false;
  });
  byId("help-keys").replaceChildren(
    ...keys
      .filter(({ shown }) => shown)
      .map(({ shown, what }) =>
        make(
          "div",
          {},
          make("dt", {}, ...shown.split(" ").map((text) => make("kbd", {}, text))),
          make("dd", {}, what),
        ),
      ),
  );
  const dialog = byId("help");
  byId("help-open").addEventListener("click", () => dialog.showModal());
  byId("help-close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (/** @type {Event} */ event) => {
    if (event.target === dialog) dialog.close();
  });
  byId("keys-on").checked = letters;
  byId("keys-on").addEventListener("change", () => {
    letters = byId("keys-on").checked;
    kept(OFF, letters ? null : "off");
  });
}
