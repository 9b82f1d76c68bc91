/** Numbers as people read them. */

const english = new Intl.NumberFormat("en"); // one for all: making one takes long

/**
 * @param {number} number
 * @returns {string} such as 12,345
 */
export function grouped(number) {
  return english.format(number);
}

/**
 * Seconds as a clock: 0:07.5, 12:03.0, 2:03:04.0.
 * @param {number} seconds
 * @param {number} [digits] after the point
 */
export function clock(seconds, digits = 1) {
  const unit = 10 ** digits;
  const all = Math.round(Math.max(0, seconds) * unit);
  const whole = Math.floor(all / unit);
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const two = (/** @type {number} */ number) => String(number).padStart(2, "0");
  const fraction = digits ? "." + String(all % unit).padStart(digits, "0") : "";
  return (hours ? `${hours}:${two(minutes)}` : `${minutes}`) + `:${two(rest)}${fraction}`;
}

/**
 * Seconds in words, for what is read out.
 * @param {number} seconds
 */
export function spoken(seconds) {
  const [hours, minutes] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60];
  const rest = Math.round((seconds % 60) * 10) / 10;
  const parts = [count(hours, "hour"), count(minutes, "minute"), count(rest, "second")];
  return parts.filter((part) => !part.startsWith("0 ")).join(" ") || "0 seconds";
}

/**
 * A time that is left, roughly.
 * @param {number} seconds
 */
export function left(seconds) {
  if (seconds < 1.5) return "a second left";
  if (seconds < 100) return `${Math.round(seconds)} s left`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min left`;
  return `${(seconds / 3600).toFixed(1)} h left`;
}

/**
 * @param {number} bytes
 * @returns {string} such as 3.2 MB
 */
export function size(bytes) {
  if (bytes < 1000) return `${bytes} bytes`;
  const units = ["kB", "MB", "GB", "TB"];
  let [value, unit] = [bytes / 1000, 0];
  while (value >= 999.5 && unit < units.length - 1) [value, unit] = [value / 1000, unit + 1];
  return `${value < 10 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}

/**
 * @param {number} number
 * @param {string} word for one of them
 */
export function count(number, word) {
  return `${grouped(number)} ${word}${number === 1 ? "" : "s"}`;
}

/**
 * A score with two digits, never 1.00 or 0.00 for what is neither.
 * @param {number} score
 */
export function percent(score) {
  return Math.min(Math.max(score, score > 0 ? 0.01 : 0), score < 1 ? 0.99 : 1).toFixed(2);
}
