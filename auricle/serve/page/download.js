/**
 * Downloads. They are asked for here, so that it can be told why the service refuses one; what is large is then left
 * to the browser's own downloading, which needs no memory.
 */

import { getFile, isAbort, pause } from "./api.js";
import { byId, make } from "./dom.js";
import { alarm, clearAlarm, say } from "./say.js";

const LARGE = 2 ** 28; // bytes
const TRIES = 5; // where the service says when to come again
const SOON = 400; // milliseconds in which nobody wonders what goes on
const KEPT = 60_000; // milliseconds that a browser has to take what it saves

/** @type {Set<string>} addresses of what is asked for */
const underWay = new Set();

/**
 * Let the links of an element be downloads that say what goes wrong.
 * @param {HTMLElement} place
 */
export function followDownloads(place) {
  place.addEventListener("click", (event) => {
    const link = event.target instanceof Element && event.target.closest("a[download]");
    const plain = !event.ctrlKey && !event.metaKey && !event.shiftKey && !event.altKey;
    if (!(link instanceof HTMLAnchorElement) || !plain) return;
    event.preventDefault();
    download(link.href, link.textContent ?? "");
  });
}

/**
 * @param {string} address
 * @param {string} what
 */
async function download(address, what) {
  const failed = `“${what}” was not exported`;
  if (underWay.has(address)) return;
  underWay.add(address);
  const shown = window.setTimeout(showWork, SOON);
  for (let attempt = 1; ; attempt++)
    try {
      const { name, content } = await getFile(address, LARGE);
      clearAlarm(failed);
      save(address, name, content);
      say(`Exported: ${name || what}`);
      break;
    } catch (error) {
      if (isAbort(error)) break;
      const again = attempt < TRIES && error instanceof Error && "after" in error && Number(error.after) > 0;
      alarm(error, failed, { after: again ? "It is asked for again by itself." : "", stays: true });
      if (!again) break;
      await new Promise((resolve) => setTimeout(resolve, pause(attempt, error)));
    }
  clearTimeout(shown);
  underWay.delete(address);
  showWork();
}

/**
 * @param {string} address
 * @param {string} name
 * @param {Blob|null} content null: the browser asks for it
 */
function save(address, name, content) {
  const here = content && URL.createObjectURL(content);
  const link = make("a", { href: here ?? address, download: here ? name : "", hidden: true });
  document.body.append(link); // some browsers want it there
  link.click();
  link.remove();
  if (here) setTimeout(() => URL.revokeObjectURL(here), KEPT);
}

function showWork() {
  const busy = underWay.size > 0;
  byId("export").textContent = busy ? "Exporting…" : "Export";
  byId("export").setAttribute("aria-busy", String(busy));
}
