/**
 * What the page asks of the service. Addresses are relative, so that a proxy's prefix works.
 *
 * @typedef {{label: string, score: number}} Tag
 * @typedef {{heard: number, duration: number|null, speed: number|null, left: number|null}} Progress
 * @typedef {{column: number, levels: number, tile: number, bands: number, low: number, high: number}} Tiles
 * @typedef {{id: string, name: string, bytes: number, created: string, expires: string|null,
 *   kind: "audio"|"video", model: string, duration: number|null, state: string, job: string|null,
 *   progress: Progress|null, error: string|null, warnings: string[], tags: Tag[], corrections: number,
 *   hop: number, window: number, playable: boolean, spectrogram: Tiles|null}} Recording
 * @typedef {{index: number, label: string, score: number, time: number}} Label
 * @typedef {{start: number, end: number, label: string, score: number}} Sound
 * @typedef {"right"|"wrong"|"added"} Verdict
 * @typedef {{id: string, label: string, start: number, end: number, verdict: Verdict}} Correction
 * @typedef {{name: string, labels: string[], thresholds: Record<string, number>|null, threshold: number,
 *   window: number, hop: number}} Model
 * @typedef {{models: Model[], formats: string[], limits: {max_upload_bytes: number, max_audio_seconds: number,
 *   keep_hours: number|null, live: boolean}}} Service
 */

const PASSING = [0, 408, 425, 429, 500, 502, 503, 504, 507]; // refusals of the moment
const LONGEST = 30_000; // milliseconds from one try to the next

/**
 * Tells "good" when the service answered what it was asked, "missing" when something is not there (any more), "locked"
 * when it wants its token: where nobody prevents that, the page that asks for it is shown.
 */
export const answers = new EventTarget();

/** An answer that is not what was asked for, with the service's own line. */
export class ApiError extends Error {
  /**
   * @param {number} status 0 where no answer came
   * @param {string} message
   * @param {number} [after] seconds after which it may be asked again, where the service says so
   */
  constructor(status, message, after = 0) {
    super(message);
    this.status = status;
    this.after = after;
  }
}

/**
 * May it be otherwise in a while?
 * @param {unknown} error
 */
export function isPassing(error) {
  return error instanceof ApiError && PASSING.includes(error.status);
}

/**
 * Is what was asked for not there?
 * @param {unknown} error
 */
export function isMissing(error) {
  return error instanceof ApiError && error.status === 404;
}

/**
 * How long to wait after so many failures: longer each time, and not all pages at the same moment.
 * @param {number} failures 1 or more
 * @param {unknown} [error] the last; not sooner than it says
 * @returns {number} milliseconds
 */
export function pause(failures, error) {
  const least = error instanceof ApiError ? error.after * 1000 : 0;
  return Math.max(least, Math.min(LONGEST, 1000 * 2 ** (failures - 1)) * (0.75 + Math.random() / 4));
}

/**
 * The service's line of an answer that is an error.
 * @param {number} status
 * @param {string} body
 * @param {string|null} [after] its Retry-After
 */
function problem(status, body, after = null) {
  if (status === 401 && answers.dispatchEvent(new Event("locked", { cancelable: true })))
    location.assign("login" + location.hash);
  if (status === 404) answers.dispatchEvent(new Event("missing"));
  try {
    const { error } = JSON.parse(body);
    if (typeof error === "string") return new ApiError(status, error, Number(after) || 0);
  } catch {
    // Not the service's own answer: a proxy's page, say.
  }
  return new ApiError(status, `The service answered ${status}. Try again in a moment.`, Number(after) || 0);
}

/**
 * @template T
 * @param {string} path
 * @param {RequestInit} init
 * @param {(answer: Response) => Promise<T>} read what is taken of an answer of a status below 300
 */
async function ask(path, init, read) {
  try {
    const answer = await fetch(path, init);
    if (answer.ok) {
      const content = await read(answer);
      answers.dispatchEvent(new Event("good"));
      return content;
    }
    throw problem(answer.status, await answer.text(), answer.headers.get("Retry-After"));
  } catch (error) {
    if (error instanceof ApiError || isAbort(error)) throw error;
    if (error instanceof SyntaxError)
      throw new ApiError(502, "Something else than the service answered. Try again in a moment.");
    throw new ApiError(0, "The service does not answer. Is it still running?");
  }
}

/**
 * @param {string} path
 * @param {AbortSignal} [signal]
 * @returns {Promise<any>}
 */
export function getJson(path, signal) {
  return ask(path, { signal }, (answer) => answer.json());
}

/**
 * @param {string} path
 * @param {AbortSignal} [signal]
 */
export function getBuffer(path, signal) {
  return ask(path, { signal }, (answer) => answer.arrayBuffer());
}

/**
 * Could this be had? What a media element does not say: why not.
 * @param {string} path
 * @param {AbortSignal} [signal]
 */
export function check(path, signal) {
  return ask(path, { signal, headers: { Range: "bytes=0-0" } }, (answer) => answer.arrayBuffer());
}

/**
 * @param {string} path
 * @param {AbortSignal} [signal]
 */
export async function getPicture(path, signal) {
  return createImageBitmap(await ask(path, { signal }, (answer) => answer.blob()));
}

/**
 * A file, with the name that the service gives it.
 * @param {string} path
 * @param {number} most bytes; of a larger one, or one that may be, only the name is had
 * @returns {Promise<{name: string, content: Blob|null}>}
 */
export function getFile(path, most) {
  return ask(path, {}, async (answer) => {
    const about = answer.headers.get("Content-Disposition") ?? "";
    const [spelled, plain] = [/filename\*=UTF-8''([^;]+)/i.exec(about), /filename="([^"]*)"/i.exec(about)];
    const name = spelled ? decodeURIComponent(spelled[1]) : (plain?.[1] ?? "");
    const bytes = answer.headers.get("Content-Length");
    if (bytes !== null && Number(bytes) <= most) return { name, content: await answer.blob() };
    await answer.body?.cancel();
    return { name, content: null };
  });
}

/**
 * @param {"POST"|"PATCH"|"DELETE"} method
 * @param {string} path
 * @param {unknown} [body]
 * @returns {Promise<any>} null where there is nothing to say
 */
export function send(method, path, body) {
  const headers = body === undefined ? undefined : { "Content-Type": "application/json" };
  const init = { method, headers, body: body === undefined ? undefined : JSON.stringify(body) };
  return ask(path, init, async (answer) => (answer.status === 204 ? null : answer.json()));
}

/**
 * Upload a recording. XMLHttpRequest, since fetch does not say how much has gone.
 * @param {Blob} file
 * @param {string} name
 * @param {(sent: number, total: number) => void} onProgress
 * @param {AbortSignal} signal
 * @returns {Promise<{id: string, job: string}>}
 */
export function upload(file, name, onProgress, signal) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const form = new FormData();
    form.append("file", file, name);
    request.open("POST", "v1/recordings");
    request.upload.onprogress = (event) => onProgress(event.loaded, event.total);
    request.onload = () => {
      const { status, responseText } = request;
      if (status >= 300)
        return reject(problem(status, responseText, request.getResponseHeader("Retry-After")));
      try {
        resolve(JSON.parse(responseText));
      } catch {
        reject(new ApiError(502, "Something else than the service answered. Try again in a moment."));
      }
    };
    request.onerror = () =>
      reject(new ApiError(0, "The upload broke off: the service ended it or cannot be reached."));
    request.onabort = () => reject(new DOMException("cancelled", "AbortError"));
    signal.addEventListener("abort", () => request.abort());
    request.send(form);
  });
}

/**
 * Was it cancelled, so that there is nothing to say?
 * @param {unknown} error
 */
export function isAbort(error) {
  return error instanceof DOMException && error.name === "AbortError";
}

/**
 * The path of a recording, or of a part of it.
 * @param {string} id
 * @param {string} [part]
 */
export function recordingPath(id, part) {
  return `v1/recordings/${encodeURIComponent(id)}${part ? "/" + part : ""}`;
}
