/** Files and folders that are dropped on the page. */

import { byId } from "./dom.js";
import { count } from "./format.js";
import { alarm, clearAlarm } from "./say.js";

const OTHER = /^(?!(audio|video|application\/(ogg|octet-stream|x-.*))(\/|$))/; // kinds of files that hold no sound
const DROPPED = "dropped folders";

/** @param {(files: File[]) => void} take */
export function startDropping(take) {
  let inside = 0; // how many elements deep the drag is
  const veil = (/** @type {number} */ depth) => {
    inside = Math.max(0, depth);
    byId("veil").hidden = inside === 0;
  };
  const files = (/** @type {DragEvent} */ event) => event.dataTransfer?.types.includes("Files");
  addEventListener("dragenter", (event) => files(event) && veil(inside + 1));
  addEventListener("dragleave", (event) => files(event) && veil(inside - 1));
  addEventListener("dragover", (event) => files(event) && event.preventDefault());
  addEventListener("drop", (event) => {
    if (!files(event) || !event.dataTransfer) return;
    event.preventDefault();
    veil(0);
    const { items, files: plain } = event.dataTransfer;
    // All of this is gone when the event is over.
    const entries = [...items].map((item) => item.webkitGetAsEntry?.() ?? null);
    const folders = /** @type {FileSystemDirectoryEntry[]} */ (entries.filter((one) => one?.isDirectory));
    const names = new Set(folders.map(({ name }) => name));
    const single = folders.length ? [...plain].filter(({ name }) => !names.has(name)) : [...plain];
    takeAll(single, folders, take);
  });
}

/**
 * What one drop holds is taken, and told of, at once.
 * @param {File[]} single
 * @param {FileSystemDirectoryEntry[]} folders
 * @param {(files: File[]) => void} take
 */
async function takeAll(single, folders, take) {
  const taken = [...single];
  const lines = [];
  for (const folder of folders)
    try {
      const all = await filesOf(folder);
      const found = all.filter(({ name, type }) => !name.startsWith(".") && !OTHER.test(type || "audio/"));
      if (!found.length)
        lines.push(`${folder.name} is a folder without a recording (${count(all.length, "file")}).`);
      taken.push(...found);
    } catch (error) {
      lines.push(`The folder ${folder.name} could not be read: ${error instanceof Error ? error.message : error}`);
    }
  clearAlarm(DROPPED);
  if (lines.length) alarm(lines.join(" "), "", { cause: DROPPED });
  if (taken.length) take(taken);
}

/**
 * The files of a folder, and of those in it, by name.
 * @param {FileSystemDirectoryEntry} folder
 * @returns {Promise<File[]>}
 */
async function filesOf(folder) {
  const reader = folder.createReader();
  /** @type {FileSystemEntry[]} */
  const entries = [];
  for (;;) {
    // A browser gives them in portions, the last of which is empty.
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) break;
    entries.push(...some);
  }
  entries.sort((a, b) => (a.name < b.name ? -1 : 1));
  const files = [];
  for (const entry of entries)
    if (entry.isDirectory) files.push(...(await filesOf(/** @type {FileSystemDirectoryEntry} */ (entry))));
    else
      files.push(
        await new Promise((resolve, reject) =>
          /** @type {FileSystemFileEntry} */ (entry).file(resolve, reject),
        ),
      );
  return files;
}
