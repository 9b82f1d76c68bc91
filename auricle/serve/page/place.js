/** Where the visitor is, as the address' hash: so that a reload, or a link, shows the same again. */

/**
 * @typedef {{id: string, threshold: number|null, ticked: number[], own?: string[], from: number|null,
 *   to: number|null, at: number}} Place ticked: labels of the model, by index; own: others, by name
 */

/**
 * @param {string} hash
 * @returns {Place|null} null on the start page
 */
export function placeOf(hash) {
  const given = new URLSearchParams(hash.replace(/^#/, ""));
  const id = given.get("r");
  if (!id) return null;
  const number = (/** @type {string} */ name) => {
    const value = parseFloat(given.get(name) ?? "");
    return Number.isFinite(value) && value >= 0 ? value : null;
  };
  const threshold = number("threshold");
  return {
    id,
    threshold: threshold !== null && threshold <= 1 ? threshold : null,
    ticked: (given.get("labels") ?? "").split(",").filter(Boolean).map(Number).filter(Number.isInteger),
    own: given.getAll("own"),
    from: number("from"),
    to: number("to"),
    at: number("at") ?? 0,
  };
}

/**
 * @param {Place} place
 * @returns {string}
 */
export function hashOf({ id, threshold, ticked, own = [], from, to, at }) {
  const parts = [`r=${encodeURIComponent(id)}`];
  if (threshold !== null) parts.push(`threshold=${threshold.toFixed(2)}`);
  if (ticked.length) parts.push(`labels=${ticked.join(",")}`);
  parts.push(...own.map((label) => `own=${encodeURIComponent(label)}`));
  if (from !== null && to !== null) parts.push(`from=${from.toFixed(2)}`, `to=${to.toFixed(2)}`);
  if (at > 0) parts.push(`at=${at.toFixed(2)}`);
  return "#" + parts.join("&");
}
