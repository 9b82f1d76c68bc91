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

const LACKS = "an export lacks something";

/** @type {Set<string>} addresses of what is asked for */
const underWay = new Set();

/**
 * Let the links of an element be downloads that say what goes wrong.
 * @param {HTMLElement} place
 * @param {(address: string) => Promise<string[]>} missing what was said and will not be in it
 */
export function followDownloads(place, missing) {
  place.addEventListener("click", (event) => {
    const link = event.target instanceof Element && event.target.closest("a[download]");
    const plain = !event.ctrlKey && !event.metaKey && !event.shiftKey && !event.altKey;
    if (!(link instanceof HTMLAnchorElement) || !plain) return;
    event.preventDefault();
    download(link.href, link.textContent ?? "", missing);
  });
}

/**
 * @param {string} address
 * @param {string} what
 * @param {(address: string) => Promise<string[]>} missing
 */
async function download(address, what, missing) {
  const failed = `“${what}” was not exported`;
  if (underWay.has(address)) return;
  underWay.add(address);
  const shown = window.setTimeout(showWork, SOON);
  const without = await missing(address);
  for (let attempt = 1; ; attempt++)
    try {
      // An archive is written as it is sent, so it is asked for once: its table says whether there is one.
      const archive = /[?&]audio=true/.test(address);
      const { name, content } = await getFile(archive ? address.replace("audio=true", "") : address, LARGE);
      clearAlarm(failed);
      if (archive) save(address, "", null);
      else save(address, name, content);
      const lacks = `“${what}” was exported without what is not kept yet`;
      if (without.length) alarm(without.join(", "), lacks, { cause: LACKS, stays: true });
      else clearAlarm(LACKS);
      say(`Exported: ${archive ? what : name || what}`);
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
