/** Waiting for a service that cannot do something now, no longer than needed. */

import { ApiError, answers, pause } from "./api.js";

const AWAY = [0, 401, 408, 502, 503, 504]; // statuses after which any good answer says that it is back
const LEAST = 1000; // milliseconds from one try to the next, whatever it answers meanwhile

/**
 * Wait before something is tried again: longer each time, but no longer than until the machine is connected again, or
 * a service that was away answers anything else.
 * @param {number} failures 1 or more
 * @param {unknown} error the last
 * @param {{hurry?: EventTarget, signal?: AbortSignal}} [cut] hurry: "hurry" of it ends the wait, too; signal: the same
 */
export function rest(failures, error, { hurry, signal: ended } = {}) {
  const began = performance.now();
  const over = new AbortController();
  const { signal } = over;
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer);
      over.abort();
      resolve(null);
    };
    const soon = () => {
      clearTimeout(timer);
      timer = window.setTimeout(done, Math.max(0, LEAST - (performance.now() - began)));
    };
    let timer = window.setTimeout(done, pause(failures, error));
    addEventListener("online", done, { signal });
    hurry?.addEventListener("hurry", done, { signal });
    ended?.addEventListener("abort", done, { signal });
    if (error instanceof ApiError && AWAY.includes(error.status) && !error.after)
      answers.addEventListener("good", soon, { signal });
  });
}
