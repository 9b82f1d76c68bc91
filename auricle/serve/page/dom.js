/** Small helpers over the document. */

/**
 * The element of an id, which index.html has.
 * @param {string} id
 * @returns {any} typed by its use: the page's ids are fixed
 */
export function byId(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`index.html has no #${id}`);
  return found;
}

/**
 * Make an element.
 * @param {string} tag
 * @param {Record<string, unknown>} [properties] "class" and names with a dash are attributes, "on…" listeners
 * @param {...(Node|string)} children
 * @returns {any}
 */
export function make(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), /** @type {EventListener} */ (value));
    else if (name === "class") made.className = String(value);
    else if (name.includes("-") || name === "role") made.setAttribute(name, String(value));
    else /** @type {any} */ (made)[name] = value;
  }
  made.append(...children);
  return made;
}

const stiller = matchMedia("(prefers-reduced-motion: reduce)");
const fingers = matchMedia("(pointer: coarse)");
const probe = make("i", { hidden: true });

/**
 * A colour of the style sheet, as it now is in light or dark.
 * @param {string} name such as "--accent"
 */
export function colour(name) {
  if (!probe.isConnected) document.body.append(probe);
  probe.style.color = `var(${name})`;
  return getComputedStyle(probe).color;
}

/**
 * What this browser keeps for the page; null where nothing is, or nothing may be.
 * @param {string} key
 * @param {string|null} [value] to keep; null forgets it
 */
export function kept(key, value) {
  try {
    if (value === null) localStorage.removeItem(key);
    else if (value !== undefined) localStorage.setItem(key, value);
    return localStorage.getItem(key);
  } catch {
    return null; // storage is switched off: the page works without
  }
}

/** Is the page dark now? */
export function isDark() {
  const [red, green, blue] = (colour("--paper").match(/[\d.]+/g) ?? []).map(Number);
  return red + green + blue < 384;
}

/** Does the visitor want less movement? */
export function calm() {
  return stiller.matches;
}

/** Are fingers what points here? */
export function coarse() {
  return fingers.matches;
}

/**
 * Call once, so many milliseconds after the last time it was asked for.
 * @template {unknown[]} A
 * @param {(...given: A) => void} call
 * @param {number} milliseconds
 * @returns {(...given: A) => void}
 */
export function settled(call, milliseconds) {
  let timer = 0;
  return (...given) => {
    clearTimeout(timer);
    timer = window.setTimeout(() => call(...given), milliseconds);
  };
}
