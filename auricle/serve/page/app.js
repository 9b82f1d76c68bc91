/** The page: start, what is shown when, and the keys. */

import { getJson, isAbort, recordingPath, send } from "./api.js";
import { byId } from "./dom.js";
import { startExport } from "./export.js";
import { size } from "./format.js";
import { startKeys } from "./keys.js";
import { Library, isWaiting, progressLine } from "./library.js";
import { Live } from "./live.js";
import { hashOf, placeOf } from "./place.js";
import { RecordingView } from "./recording.js";
import { alarm, clearAlarm, say } from "./say.js";
import { startTheme } from "./theme.js";
import { Uploads } from "./uploads.js";

const SECTIONS = ["start", "waiting", "live", "recording"];
const ASKED_EVERY = 1000; // milliseconds, while a recording is worked on
const NONE = { threshold: null, ticked: [], from: null, to: null, at: 0 };

/** @type {import("./api.js").Service} */
let service;
/** @type {RecordingView} */
let recording;
/** @type {Live} */
let live;
/** @type {Uploads} */
let uploads;
const library = new Library();
let visit = new AbortController(); // of what is shown; ended when something else is

/** @param {string} wanted id of the section that is shown */
function show(wanted) {
  for (const id of SECTIONS) byId(id).hidden = id !== wanted;
  byId("listen").disabled = byId("start-listen").disabled = !service.limits.live;
}

/** @param {string} text of the window's title */
function entitle(text) {
  document.title = text ? `${text} – auricle` : "auricle";
}

/** Show what the address' hash says. */
async function route() {
  visit.abort();
  visit = new AbortController();
  const place = placeOf(location.hash);
  recording.close();
  clearAlarm();
  closeLibrary();
  library.open = place?.id ?? null;
  library.draw();
  if (location.hash === "#microphone") {
    entitle("Microphone");
    show("live");
    if (!live.open) await live.start();
  } else if (!place) {
    entitle("");
    show("start");
  } else await openRecording(place, visit.signal);
}

/**
 * Wait until a recording is tagged, then show it.
 * @param {import("./place.js").Place} place
 * @param {AbortSignal} signal
 */
async function openRecording(place, signal) {
  byId("waiting-error").hidden = true;
  try {
    let found = await getJson(recordingPath(place.id), signal);
    entitle(found.name);
    const waited = isWaiting(found);
    while (isWaiting(found)) {
      showWaiting(found);
      await new Promise((resolve) => setTimeout(resolve, ASKED_EVERY));
      if (signal.aborted) return;
      found = await getJson(recordingPath(place.id), signal);
    }
    if (waited) library.refresh();
    if (found.state !== "done") return showFailure(found);
    show("recording");
    await recording.open(found, place);
  } catch (error) {
    if (isAbort(error) || signal.aborted) return;
    show("start");
    alarm(error);
  }
}

/** @param {import("./api.js").Recording} found */
function showWaiting(found) {
  if (byId("waiting").hidden) say(`${found.name} is being tagged`);
  show("waiting");
  byId("waiting-title").textContent = found.name;
  byId("waiting-text").textContent = progressLine(found);
  byId("waiting-bar").hidden = false;
  byId("waiting-cancel").textContent = "Cancel";
  const whole = found.progress?.duration ?? found.duration;
  if (found.progress && whole) byId("waiting-bar").value = found.progress.heard / whole;
  else byId("waiting-bar").removeAttribute("value");
}

/** @param {import("./api.js").Recording} found */
function showFailure(found) {
  show("waiting");
  byId("waiting-title").textContent = found.name;
  byId("waiting-bar").hidden = true;
  byId("waiting-text").textContent =
    found.state === "interrupted"
      ? "The service stopped before this was done. It goes on when the service does."
      : "";
  byId("waiting-error").hidden = !found.error;
  byId("waiting-error").textContent = found.error ?? "";
  byId("waiting-cancel").textContent = "Remove";
  say(`${found.name} could not be tagged. ${found.error ?? ""}`);
}

/** @param {string} id of a recording that is deleted, or no longer worked on */
async function remove(id) {
  try {
    await send("DELETE", recordingPath(id));
  } catch (error) {
    alarm(error);
    return;
  }
  location.hash = "";
  await library.refresh();
  say("Deleted");
}

function closeLibrary() {
  byId("library").classList.remove("open");
  byId("toggle-library").setAttribute("aria-expanded", "false");
}

function listen() {
  location.hash = "microphone";
}

function startAdding() {
  const input = byId("file");
  for (const id of ["choose", "start-choose"]) byId(id).addEventListener("click", () => input.click());
  for (const id of ["listen", "start-listen"]) byId(id).addEventListener("click", listen);
  input.addEventListener("change", () => {
    uploads.addFiles(input.files);
    input.value = "";
  });
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
    if (!files(event)) return;
    event.preventDefault();
    veil(0);
    uploads.addFiles(event.dataTransfer?.files ?? []);
  });
}

function startButtons() {
  byId("alarm-close").addEventListener("click", clearAlarm);
  byId("delete").addEventListener("click", () => {
    const { id, name } = recording.recording ?? {};
    if (id && confirm(`Delete ${name} and its corrections?`)) remove(id);
  });
  byId("waiting-cancel").addEventListener("click", () => library.open && remove(library.open));
  byId("skip").addEventListener("click", (/** @type {Event} */ event) => {
    event.preventDefault(); // the hash says which recording is open
    byId("main").focus();
  });
  byId("toggle-library").addEventListener("click", () => {
    const open = byId("library").classList.toggle("open");
    byId("toggle-library").setAttribute("aria-expanded", String(open));
  });
  startExport(
    () =>
      recording.recording && {
        id: recording.recording.id,
        threshold: recording.review.threshold,
        formats: service.formats,
        corrections: recording.review.corrections?.all.length ?? 0,
      },
  );
}

/** @returns {import("./keys.js").Key[]} */
function keys() {
  const { review } = recording;
  const time = () => recording.player?.time ?? 0;
  const page = () => recording.view.span * 0.8;
  const small = () => Math.max(0.05, recording.view.span / 100);
  /** @type {(keys: string[], shown: string, what: string, run: () => void) => import("./keys.js").Key} */
  const key = (names, shown, what, run) => ({ keys: names, shown, what, run, recording: true });
  return [
    key([" ", "k"], "Space", "Play or pause", () => recording.player?.toggle()),
    key(["ArrowLeft"], "← →", "A little back, forward", () => recording.seek(time() - small())),
    key(["ArrowRight"], "", "", () => recording.seek(time() + small())),
    key(["PageUp"], "PgUp PgDn", "Far back, forward", () => recording.seek(time() - page())),
    key(["PageDown"], "", "", () => recording.seek(time() + page())),
    key(["Home"], "Home End", "To the beginning, the end", () => recording.seek(0)),
    key(["End"], "", "", () => recording.seek(recording.view.duration)),
    key(["+", "="], "+ −", "Zoom in, out", () => recording.zoom(2)),
    key(["-"], "", "", () => recording.zoom(0.5)),
    key(["0"], "0", "Show all", () => recording.view.show(0, recording.view.duration)),
    key(["n"], "N P", "Next, previous sound", () => review.step(1)),
    key(["p"], "", "", () => review.step(-1)),
    key(["Enter"], "Enter", "Hear the selection", () => review.playSelection()),
    key(["r"], "R W", "The sound is right, wrong", () => review.judge("right")),
    key(["w"], "", "", () => review.judge("wrong")),
    key(["Shift+ArrowLeft"], "Shift ← →", "Select from here", () => review.extend(-small())),
    key(["Shift+ArrowRight"], "", "", () => review.extend(small())),
    key(["["], "[ ]", "The selection begins, ends here", () => {
      const end = review.selection?.to ?? 0;
      review.select(time(), end > time() ? end : time() + 1);
    }),
    key(["]"], "", "", () => {
      const begin = review.selection?.from ?? Infinity;
      review.select(begin < time() ? begin : time() - 1, time());
    }),
    key(["a"], "A", "Add a label to the selection", () => {
      if (!review.selection && !review.chosen) review.select(time(), time() + 1);
      byId("bar-label").focus();
    }),
    key(["z", "Ctrl+z"], "Z", "Undo", () => review.undo()),
    key(["t"], "T", "To the threshold", () => byId("threshold").focus()),
    key(["f", "/"], "F", "Find a label", () => byId("filter").focus()),
    key(["e"], "E", "Export", () => byId("export").click()),
    key(["Escape"], "Esc", "Clear the selection", () => {
      review.clear();
      byId("plot").focus();
    }),
    { keys: ["u"], shown: "U", what: "Choose files", run: () => byId("file").click() },
    { keys: ["m"], shown: "M", what: "Microphone", run: listen },
    { keys: ["?"], shown: "?", what: "This list", run: () => byId("help").showModal() },
  ];
}

async function start() {
  startTheme(() => {
    recording?.recolour();
    live?.recolour();
  });
  try {
    service = await getJson("v1/models");
  } catch (error) {
    alarm(error);
    return;
  }
  const { limits, models } = service;
  recording = new RecordingView(service, (id, count) => library.count(id, count));
  live = new Live({
    most: limits.max_upload_bytes,
    threshold: models[0].threshold,
    keep: (file, name) => uploads.add(file, name),
    leave: () => (location.hash = ""),
  });
  uploads = new Uploads({
    most: limits.max_upload_bytes,
    here: () => placeOf(location.hash)?.id ?? location.hash,
    done: async (id, stayed) => {
      await library.refresh();
      if (stayed) location.hash = hashOf({ id, ...NONE });
    },
  });
  byId("model").textContent = `${models[0].name}, ${models[0].labels.length.toLocaleString("en")} labels`;
  const hours = limits.max_audio_seconds / 3600;
  byId("limits").textContent =
    `Up to ${size(limits.max_upload_bytes)} and ${hours.toLocaleString("en")} hours each.`;
  byId("library-note").textContent = limits.keep_hours
    ? `Kept for ${limits.keep_hours.toLocaleString("en")} hours, then deleted.`
    : "";
  startAdding();
  startButtons();
  startKeys(keys(), () => recording.recording !== null);
  addEventListener("hashchange", route);
  if (location.hash === "#microphone") history.replaceState(null, "", "#"); // nobody listens without being asked to
  await library.refresh();
  await route();
}

start();
