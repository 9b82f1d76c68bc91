/** The export menu: links, which are downloaded. */

import { recordingPath } from "./api.js";
import { byId, make } from "./dom.js";
import { followDownloads } from "./download.js";

/** @typedef {{id: string, threshold: number|null, formats: string[], corrections: number}} Exported */

/** @type {Record<string, string>} */
const WHAT = {
  table: "Text table",
  csv: "CSV, for spreadsheets",
  jsonl: "JSON Lines, for programs",
  json: "JSON",
  parquet: "Parquet, for data frames",
  audacity: "Audacity labels",
  raven: "Raven selection table",
  webvtt: "WebVTT subtitles",
  jams: "JAMS",
};

/**
 * Make the menu open and close.
 * @param {import("./outbox.js").Outbox} outbox what was said and is not kept is no part of an export
 * @param {() => Exported|null} current what would be exported
 */
export function startExport(outbox, current) {
  const [button, list] = [byId("export"), byId("export-list")];
  const open = (/** @type {boolean} */ wanted) => {
    const what = current();
    if (wanted && what) list.replaceChildren(...links(what));
    list.hidden = !wanted;
    button.setAttribute("aria-expanded", String(wanted));
  };
  button.addEventListener("click", () => {
    open(list.hidden);
    list.querySelector("a")?.focus();
  });
  list.addEventListener("click", (/** @type {Event} */ event) => {
    if (!(event.target instanceof HTMLAnchorElement)) return;
    open(false);
    button.focus(); // what had the focus is gone
  });
  const missing = async (/** @type {string} */ address) => {
    const waiting = outbox.all.length ? await outbox.flush() : [];
    const one = /\/v1\/recordings\/([^/]+)\//.exec(address)?.[1];
    return waiting
      .filter(({ recording }) => !one || recording === decodeURIComponent(one))
      .map(({ what }) => what);
  };
  followDownloads(list, missing);
  followDownloads(byId("manifests"), missing);
  document.addEventListener("pointerdown", (event) => {
    if (event.target instanceof Node && !button.contains(event.target) && !list.contains(event.target))
      open(false);
  });
  list.parentElement.addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
    const all = [...list.querySelectorAll("a")];
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (event.key === "Escape" && !list.hidden) {
      event.stopPropagation();
      open(false);
      button.focus();
    } else if (step && !list.hidden) {
      event.preventDefault();
      all[(all.indexOf(document.activeElement) + step + all.length) % all.length]?.focus();
    }
  });
}

/** @param {Exported} what */
function links({ id, threshold, formats, corrections }) {
  const path = (/** @type {string} */ format) => {
    const query = new URLSearchParams({ format });
    if (threshold !== null) query.set("threshold", threshold.toFixed(2));
    return `${recordingPath(id, "export")}?${query}`;
  };
  const link = (/** @type {string} */ format, /** @type {string} */ text) =>
    make("a", { href: path(format), download: "", "data-testid": `export-${format}` }, text);
  return [
    make("p", { class: "soft small" }, "Sounds above the threshold, with your corrections"),
    ...formats
      .filter((format) => format !== "manifest")
      .map((format) => link(format, WHAT[format] ?? format)),
    make("hr"),
    corrections
      ? link("manifest", "Training manifest, for auricle pack")
      : make("p", { class: "soft small" }, "Judge or add a sound, and there is a training manifest as well"),
  ];
}
