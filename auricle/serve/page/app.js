/** The page: start, what is shown when, and the keys. */

import { answers, getJson, isAbort, isMissing, isPassing, pause, recordingPath, send } from "./api.js";
import { byId, settled } from "./dom.js";
import { startDropping } from "./dropping.js";
import { startExport } from "./export.js";
import { count, grouped, size, spoken } from "./format.js";
import { startKeys } from "./keys.js";
import { Library, isWaiting } from "./library.js";
import { Live } from "./live.js";
import { hashOf, placeOf } from "./place.js";
import { RecordingView } from "./recording.js";
import { alarm, clearAlarm, leaveAlarms, say } from "./say.js";
import { startTheme } from "./theme.js";
import { Uploads } from "./uploads.js";
import { again, showFailure, showTrouble, showWaiting } from "./waiting.js";

const SECTIONS = ["start", "waiting", "live", "recording"];
const ASKED_EVERY = 1000; // milliseconds, while a recording is worked on
const LONG = 60_000; // milliseconds after which a failure is not counted with those before
const SETTLES = 50; // milliseconds, in which a window tells more than once that it is looked at
const [CORRECTIONS, NOT_DELETED, SERVICE] = ["The corrections", "It was not deleted", "The service"];
const NONE = { threshold: null, ticked: [], from: null, to: null, at: 0 };

/** @type {import("./api.js").Service} */
let service;
/** @type {RecordingView} */
let recording;
/** @type {Live} */
let live;
/** @type {Uploads|null} */
let uploads = null;
/** @type {File[]} files that were chosen before the service said what it takes */
const early = [];
const library = new Library();
let visit = new AbortController(); // of what is shown; ended when something else is

/** @param {string} wanted id of the section that is shown */
function show(wanted) {
  for (const id of SECTIONS) byId(id).hidden = id !== wanted;
  live.show(wanted === "live");
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
  leaveAlarms();
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
 * Show a recording. While the service does not answer it is tried again: by itself, or by the button.
 * @param {import("./place.js").Place} place
 * @param {AbortSignal} signal
 */
async function openRecording(place, signal) {
  for (let failures = 1; ; failures++) {
    const began = performance.now();
    try {
      return await showTagged(place, signal);
    } catch (error) {
      if (isAbort(error) || signal.aborted) return;
      recording.close();
      if (isMissing(error)) return showGone(place.id);
      history.replaceState(null, "", hashOf(place)); // what was there of it may have changed the address
      show("waiting");
      showTrouble(library.nameOf(place.id) ?? "Recording", error);
      if (performance.now() - began > LONG) failures = 1;
      await again(isPassing(error) ? pause(failures) : Infinity, signal);
      if (signal.aborted) return;
    }
  }
}

/**
 * Wait until a recording is tagged, then show it.
 * @param {import("./place.js").Place} place
 * @param {AbortSignal} signal
 */
async function showTagged(place, signal) {
  let found = await getJson(recordingPath(place.id), signal);
  entitle(found.name);
  const waited = isWaiting(found);
  while (isWaiting(found)) {
    show("waiting");
    showWaiting(found);
    await new Promise((resolve) => setTimeout(resolve, ASKED_EVERY));
    if (signal.aborted) return;
    found = await getJson(recordingPath(place.id), signal);
  }
  if (waited) library.refresh();
  show(found.state === "done" ? "recording" : "waiting");
  if (found.state !== "done") return showFailure(found);
  await recording.open(found, place);
}

/** @param {string} id of a recording that was to be shown and is not there */
function showGone(id) {
  visit.abort();
  recording.close();
  history.replaceState(null, "", "#");
  library.open = null;
  entitle("");
  show("start");
  alarm(`${library.nameOf(id) ?? "This recording"} is gone: it was deleted, or its time was over.`);
  return library.refresh();
}

/** Another tab, or time, may have changed what is shown: look again. */
async function look() {
  if (document.visibilityState !== "visible") return;
  const id = library.open;
  try {
    const known = await library.refresh();
    if (!known || !id || id !== library.open) return;
    if (!library.has(id)) await getJson(recordingPath(id), visit.signal); // is it really not there?
    await recording.refresh();
    clearAlarm(CORRECTIONS);
  } catch (error) {
    if (isMissing(error) && id && id === library.open) await showGone(id);
    else if (!isAbort(error) && !isPassing(error)) alarm(error, CORRECTIONS);
  }
}

/** @param {string} id of a recording that is deleted, or no longer worked on */
async function remove(id) {
  try {
    await send("DELETE", recordingPath(id));
  } catch (error) {
    if (!isMissing(error)) return alarm(error, NOT_DELETED); // what is gone already need not be deleted
  }
  clearAlarm(NOT_DELETED);
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

/** @param {File[]} files to be uploaded, once the service has said what it takes */
function take(files) {
  if (uploads) return uploads.addFiles(files);
  early.push(...files);
  say(`${count(early.length, "file")} will be uploaded when the service answers`);
}

function startAdding() {
  const input = byId("file");
  const taken = () => {
    take([...input.files]);
    input.value = "";
  };
  for (const id of ["choose", "start-choose"]) byId(id).addEventListener("click", () => input.click());
  input.addEventListener("change", taken);
  startDropping(take);
  addEventListener("beforeunload", (event) => early.length && event.preventDefault());
  if (input.files.length) taken(); // chosen before this was there
}

function startButtons() {
  for (const id of ["listen", "start-listen"]) byId(id).addEventListener("click", listen);
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
  const { outbox } = recording.review.judging;
  startExport(
    outbox,
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
    key(["z", "Ctrl+z"], "Z", "Undo", () => review.judging.undo()),
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

/**
 * What the service can do; asked for until it says so.
 * @returns {Promise<import("./api.js").Service>}
 */
async function askService() {
  for (let failures = 1; ; failures++)
    try {
      const found = await getJson("v1/models");
      clearAlarm(SERVICE);
      return found;
    } catch (error) {
      alarm(error, "", { after: "It is tried again.", cause: SERVICE });
      await new Promise((resolve) => setTimeout(resolve, pause(failures)));
    }
}

async function start() {
  startTheme(() => {
    recording?.recolour();
    live?.recolour();
  });
  startAdding();
  service = await askService();
  const { limits, models } = service;
  recording = new RecordingView(service, (id, count) => library.count(id, count));
  live = new Live({
    most: limits.max_upload_bytes,
    threshold: (label) => models[0].thresholds?.[label] ?? models[0].threshold,
    keep: (file, name) => uploads?.add(file, name),
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
  byId("model").textContent = `${models[0].name}, ${grouped(models[0].labels.length)} labels`;
  byId("limits").textContent =
    `Up to ${size(limits.max_upload_bytes)} and ${spoken(limits.max_audio_seconds)} each.`;
  byId("library-note").textContent = limits.keep_hours
    ? `Kept for ${spoken(limits.keep_hours * 3600)}, then deleted.`
    : "";
  startButtons();
  startKeys(keys(), () => recording.recording !== null);
  addEventListener("hashchange", route);
  const lookAgain = settled(look, SETTLES);
  document.addEventListener("visibilitychange", lookAgain);
  addEventListener("focus", lookAgain);
  addEventListener("pageshow", ({ persisted }) => persisted && lookAgain());
  answers.addEventListener("missing", lookAgain);
  if (location.hash === "#microphone") history.replaceState(null, "", "#"); // nobody listens without being asked to
  await library.refresh();
  recording.review.judging.resume();
  await route();
  if (early.length) uploads.addFiles(early.splice(0));
}

start();
