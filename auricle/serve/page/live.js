/** The microphone's view: level, the last minute's rows of labels, and what was heard as a table. */

import { byId, calm, colour, make } from "./dom.js";
import { clock, percent, size } from "./format.js";
import { Microphone } from "./microphone.js";
import { Ramp } from "./ramp.js";
import { alarm, clearAlarm, say } from "./say.js";

/** @typedef {import("./microphone.js").Heard} Heard */

const SECONDS = 60; // shown
const FAILED = "The microphone"; // what messages are of
const ROWS = 10;
const ROW_HEIGHT = 24;
const LISTED = 60; // rows of the table
const SAID_EVERY = 6000; // milliseconds at least from one reading out to the next

export class Live {
  /** @type {Microphone|null} */
  #microphone = null;
  /** @type {Heard[]} of the last minute */
  #heard = [];
  /** @type {Map<string, number>} best score of each label */
  #best = new Map();
  #said = { at: 0, label: "" };
  #level = 0;
  #frame = 0;
  #shown = false; // is the view, so that nothing else need tell of the microphone?

  /**
   * @param {{most: number, threshold: (label: string) => number, keep: (file: Blob, name: string) => void,
   *   leave: () => void}} given
   */
  constructor({ most, threshold, keep, leave }) {
    this.most = most;
    this.threshold = threshold;
    for (const id of ["live-stop", "listening-stop"]) byId(id).addEventListener("click", () => this.stop());
    byId("live-again").addEventListener("click", () => this.start());
    byId("live-discard").addEventListener("click", () => {
      this.close();
      leave();
    });
    addEventListener("beforeunload", (event) => {
      if (this.#microphone?.seconds) event.preventDefault();
    });
    byId("live-keep").addEventListener("click", () => {
      const kept = this.#microphone?.wav();
      this.close();
      leave();
      if (kept) keep(kept, `Microphone ${stamp(new Date())}.wav`);
    });
    new ResizeObserver(() => this.#draw()).observe(byId("live-canvas"));
  }

  /** Is it listening, or is something heard that is neither kept nor discarded? */
  get open() {
    return this.#microphone !== null && (this.#microphone.phase !== "over" || this.#microphone.seconds > 0);
  }

  /**
   * The view is shown, or something else is: then a bar says that the microphone is on, and can stop it.
   * @param {boolean} shown
   */
  show(shown) {
    this.#shown = shown;
    this.#showPhase();
  }

  async start() {
    this.close();
    clearAlarm(FAILED);
    const microphone = (this.#microphone = new Microphone(this.most));
    byId("live-rows").replaceChildren();
    byId("live-note").textContent = "Asking for the microphone…";
    this.#showPhase();
    /** @type {(name: string, take: (detail: any) => void) => void} one that was forgotten says no more */
    const follow = (name, take) =>
      microphone.addEventListener(name, (event) => {
        if (this.#microphone === microphone) take(/** @type {CustomEvent} */ (event).detail);
      });
    follow("row", (heard) => this.#take(heard));
    follow("level", (peak) => this.#showLevel(peak));
    follow("phase", () => this.#showPhase());
    follow("silent", () => {
      byId("live-note").textContent =
        "The browser gives no sound. Is a sound device connected, and is this page allowed to use it?";
    });
    follow("over", (error) => this.#over(error));
    try {
      await microphone.start();
      if (this.#microphone !== microphone || microphone.phase !== "on") return;
      byId("live-note").textContent = "Listening. The first row comes once the model has heard enough.";
      say("Listening");
    } catch (error) {
      if (this.#microphone !== microphone) return;
      this.#microphone = null;
      this.#over(error instanceof Error ? error : null);
    }
  }

  stop() {
    this.#microphone?.stop();
  }

  /** Stop, and forget. */
  close() {
    const microphone = this.#microphone;
    this.#microphone = null;
    microphone?.stop();
    this.#showPhase();
    this.#heard = [];
    this.#best.clear();
  }

  recolour() {
    this.#draw();
  }

  /** What can be done now: stop it, or keep what was heard. */
  #showPhase() {
    const phase = this.#microphone?.phase ?? "over";
    const over = phase === "over";
    byId("listen").textContent = over ? "Microphone" : "Listening…";
    byId("live-stop").hidden = over;
    byId("live-stop").disabled = phase === "ending";
    byId("live-keep").hidden = !over || !this.#microphone?.seconds;
    byId("live-again").hidden = byId("live-discard").hidden = !over;
    byId("listening").hidden = this.#shown || !this.open;
    byId("listening").dataset.phase = phase;
    byId("listening-stop").hidden = over || phase === "ending";
    this.#showTime();
  }

  /** How much was heard; in the view, and where something else is shown. */
  #showTime() {
    const seconds = this.#microphone?.seconds ?? 0;
    const bytes = Math.round(seconds * (this.#microphone?.rate ?? 0) * 2);
    byId("live-time").textContent = `${clock(seconds, 0)} · ${size(bytes)}`;
    const said = {
      asking: "The microphone is asked for",
      on: `The microphone is on · ${clock(seconds, 0)}`,
      ending: `Heard by the microphone: ${clock(seconds, 0)}`,
      over: `Heard by the microphone: ${clock(seconds, 0)}, not kept yet`,
    };
    byId("listening-text").textContent = said[this.#microphone?.phase ?? "over"];
  }

  /** @param {Error|null} error */
  #over(error) {
    this.#level = 0;
    this.#showLevel(0);
    this.#showPhase();
    const seconds = this.#microphone?.seconds ?? 0;
    byId("live-note").textContent = seconds
      ? "Stopped. Keep it to look at it closely, correct it and export it."
      : "";
    if (error) alarm(error, "", { cause: FAILED });
    else say(`Stopped after ${clock(seconds, 0)}`);
  }

  /** @param {Heard} heard */
  #take(heard) {
    this.#heard = [...this.#heard.filter((one) => one.end > heard.end - SECONDS), heard];
    for (const { label, score } of heard.tags)
      this.#best.set(label, Math.max(score, this.#best.get(label) ?? 0));
    const sure = heard.tags.filter(({ label, score }) => score >= this.threshold(label));
    byId("live-note").textContent = sure.length
      ? `Now: ${sure.map(({ label }) => label).join(", ")}`
      : "Now: nothing that the model is sure of";
    if (sure.length) {
      const rows = byId("live-rows");
      rows.prepend(
        make(
          "tr",
          { "data-testid": "live-row" },
          make("td", { class: "numbers" }, `${clock(heard.start)} – ${clock(heard.end)}`),
          make(
            "td",
            { class: "label" },
            sure.map(({ label, score }) => `${label} ${percent(score)}`).join(", "),
          ),
        ),
      );
      while (rows.rows.length > LISTED) rows.rows[LISTED].remove();
    }
    this.#speak(sure[0]?.label ?? "");
    this.#draw();
  }

  /** @param {string} label said when it is another than before, and not too often */
  #speak(label) {
    const now = performance.now();
    if (!label || label === this.#said.label || now - this.#said.at < SAID_EVERY) return;
    this.#said = { at: now, label };
    say(label);
  }

  /** @param {number} peak 0..1 */
  #showLevel(peak) {
    const decibels = Math.max(0, 1 + Math.log10(Math.max(peak, 1e-4)) / 3); // 0 at -60 dB
    this.#level = Math.max(decibels, calm() ? 0 : this.#level * 0.8);
    this.#frame ||= requestAnimationFrame(() => {
      this.#frame = 0;
      byId("live-meter").firstElementChild.style.transform = `scaleX(${this.#level.toFixed(3)})`;
      byId("live-meter").setAttribute("aria-valuenow", String(Math.round(this.#level * 100)));
      this.#showTime();
    });
  }

  #draw() {
    const canvas = byId("live-canvas");
    if (!canvas.clientWidth) return;
    const names = [...this.#best]
      .sort((a, b) => b[1] - a[1])
      .slice(0, ROWS)
      .map(([label]) => label)
      .sort();
    const ratio = window.devicePixelRatio || 1;
    const [width, height] = [canvas.clientWidth, ROWS * ROW_HEIGHT];
    canvas.style.height = `${height}px`;
    [canvas.width, canvas.height] = [Math.round(width * ratio), Math.round(height * ratio)];
    const context = canvas.getContext("2d");
    context.scale(ratio, ratio);
    const ramp = new Ramp(1);
    const gutter = Math.min(150, width * 0.34);
    const end = Math.max(SECONDS, this.#heard.at(-1)?.end ?? 0);
    const x = (/** @type {number} */ seconds) =>
      gutter + ((seconds - end + SECONDS) / SECONDS) * (width - gutter);
    context.font = `13px ${getComputedStyle(canvas).fontFamily}`;
    context.textBaseline = "middle";
    for (let row = 0; row < ROWS; row++) {
      context.fillStyle = colour("--row");
      context.fillRect(gutter, row * ROW_HEIGHT, width - gutter, ROW_HEIGHT - 2);
    }
    this.#heard.forEach((heard, index) => {
      // A window stands for the moments nearer to its middle than to the next one's, as in the time-line.
      const next = this.#heard[index + 1];
      const until = next ? (heard.start + heard.end + next.start + next.end) / 4 : heard.end;
      const before = this.#heard[index - 1];
      const since = before ? (heard.start + heard.end + before.start + before.end) / 4 : heard.start;
      for (const { label, score } of heard.tags) {
        const row = names.indexOf(label);
        if (row < 0) continue;
        const pixel = ramp.pixel(score, this.threshold(label));
        context.fillStyle = `rgb(${pixel & 255}, ${(pixel >> 8) & 255}, ${(pixel >> 16) & 255})`;
        const from = Math.max(gutter, x(since));
        context.fillRect(from, row * ROW_HEIGHT, Math.max(1, x(until) - from + 0.5), ROW_HEIGHT - 2);
      }
    });
    context.fillStyle = colour("--ink");
    names.forEach((label, row) => {
      const text =
        context.measureText(label).width > gutter - 10 ? label.slice(0, Math.floor(gutter / 8)) + "…" : label;
      context.fillText(text, 0, row * ROW_HEIGHT + ROW_HEIGHT / 2 - 1);
    });
  }
}

/** @param {Date} now */
function stamp(now) {
  const two = (/** @type {number} */ number) => String(number).padStart(2, "0");
  const day = [now.getFullYear(), two(now.getMonth() + 1), two(now.getDate())].join("-");
  return `${day} ${two(now.getHours())}.${two(now.getMinutes())}.${two(now.getSeconds())}`;
}
