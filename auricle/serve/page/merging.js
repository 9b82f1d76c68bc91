/**
 * Sounds and what was said of them as one list, by the rules of an export (docs/serve.md): "wrong" takes its
 * stretch out of its label's sounds; "right" and "added" put theirs in, together with what the model hears there.
 *
 * @typedef {import("./api.js").Correction} Correction
 * @typedef {import("./api.js").Sound} Sound
 * @typedef {{start: number, end: number, label: string, score: number|null,
 *   verdict: import("./api.js").Verdict|null, correction: Correction|null, part?: boolean}} Row a sound, with what
 *   was said of it; part: it is not all of what the model hears there
 * @typedef {{start: number, end: number}} Span
 */

const SAME = 1e-6; // seconds; the service's times have six digits

/**
 * What is heard and what was said, by time. What is wrong is a row of its own where something was heard; the
 * rest of a longer sound stays. What is right or added stays, also where the threshold hides it.
 * @param {Sound[]} sounds
 * @param {Correction[]} corrections in the order in which they were said or changed
 * @param {(row: Row) => number|null} [peak] the model's best score in a part of a sound; null while it is not known
 * @returns {Row[]}
 */
export function merged(sounds, corrections, peak = () => null) {
  /** @type {Map<string, Row[]>} of the labels of which something was said */
  const judged = new Map(corrections.map(({ label }) => [label, []]));
  /** @type {Row[]} */
  const rows = [];
  for (const sound of sounds)
    (judged.get(sound.label) ?? rows).push({ ...sound, verdict: null, correction: null });
  for (const correction of corrections)
    judged.set(correction.label, applied(judged.get(correction.label) ?? [], correction));
  for (const own of judged.values())
    for (const row of own) rows.push(row.part && row.score !== null ? { ...row, score: peak(row) } : row);
  return rows.sort((a, b) => a.start - b.start || (a.label < b.label ? -1 : Number(a.label > b.label)));
}

/**
 * A label's rows after one thing more was said.
 * @param {Row[]} rows
 * @param {Correction} correction
 * @returns {Row[]}
 */
function applied(rows, correction) {
  const { label, start, end, verdict } = correction;
  /** @type {Row} */
  const own = { label, start, end, score: null, verdict, correction };
  if (verdict === "wrong") {
    const heard = rows.filter((row) => row.verdict !== "wrong" && shared(row, own) > SAME);
    if (!heard.length) return rows;
    own.score = best(heard);
    own.part = heard.some((row) => row.part || !covers(own, row));
    return [...rows.flatMap((row) => (row.verdict === "wrong" ? [row] : without(row, own))), own];
  }
  const joined = rows.filter((row) => row.verdict === null && shared(row, correction) >= -SAME);
  own.start = Math.min(start, ...joined.map((row) => row.start));
  own.end = Math.max(end, ...joined.map((row) => row.end));
  own.score = best(joined);
  own.part = joined.some(({ part }) => part);
  const others = rows.filter((row) => !joined.includes(row));
  return [...others.flatMap((row) => (row.verdict === "wrong" ? without(row, correction) : [row])), own];
}

/**
 * A row's rests beside a span.
 * @param {Row} row
 * @param {Span} span
 */
function without(row, span) {
  if (shared(row, span) <= 0) return [row];
  const rests = [
    { ...row, end: Math.min(row.end, span.start), part: true },
    { ...row, start: Math.max(row.start, span.end), part: true },
  ];
  return rests.filter(({ start, end }) => end - start > SAME);
}

/** @param {Row[]} rows */
function best(rows) {
  const scores = rows.flatMap(({ score }) => (score === null ? [] : [score]));
  return scores.length ? Math.max(...scores) : null;
}

/**
 * Seconds that two spans share; below 0, seconds between them.
 * @param {Span} a
 * @param {Span} b
 */
function shared(a, b) {
  return Math.min(a.end, b.end) - Math.max(a.start, b.start);
}

/**
 * Is one span the other, or the whole of it and more?
 * @param {Span} a
 * @param {Span} b
 */
export function covers(a, b) {
  return a.start <= b.start + SAME && a.end >= b.end - SAME;
}

/**
 * What a row is called in lists of them.
 * @param {{label: string, start: number, end: number}} row
 */
export function keyOf({ label, start, end }) {
  return `${label} ${start} ${end}`;
}
