/** What is said to the service, one thing after the other; what it cannot take now is sent again, and told of. */

import { isPassing, pause } from "./api.js";
import { alarm, clearAlarm } from "./say.js";

const WAITING = "Not kept yet";
const NAMED = 3; // of what waits

/** @typedef {{key: string, what: string}} Said key: of what is said, and of what; what: in words */

/** Tells "change" when something else waits for the service. */
export class Outbox extends EventTarget {
  #turn = Promise.resolve();
  /** @type {Said[]} on their way, in their order */
  #said = [];
  /** @type {unknown} why nothing goes on; null where it does */
  #trouble = null;

  constructor() {
    super();
    addEventListener("beforeunload", (event) => {
      if (this.#said.length) event.preventDefault(); // it would be lost
    });
  }

  /**
   * Say something, after what was said before.
   * @param {Said} said
   * @param {() => Promise<void>} run never fails
   */
  add(said, run) {
    this.#said.push(said);
    if (this.#trouble) this.#tell();
    this.#turn = this.#turn.then(run).then(() => {
      this.#said = this.#said.filter((one) => one !== said);
      if (this.#trouble) this.#tell();
    });
    return this.#turn;
  }

  /**
   * Does this wait, since the service takes nothing?
   * @param {string} key
   */
  holds(key) {
    return this.#trouble !== null && this.#said.some((one) => one.key === key);
  }

  /**
   * Ask the service until it answers.
   * @template T
   * @param {(attempt: number) => Promise<T>} ask 1 at first
   * @returns {Promise<T>}
   */
  async persist(ask) {
    for (let attempt = 1; ; attempt++)
      try {
        const answer = await ask(attempt);
        this.#stumble(null);
        return answer;
      } catch (error) {
        if (!isPassing(error)) {
          this.#stumble(null);
          throw error;
        }
        this.#stumble(error);
        await rest(pause(attempt, error));
      }
  }

  /** @param {unknown} trouble */
  #stumble(trouble) {
    if (trouble === this.#trouble) return;
    this.#trouble = trouble;
    this.#tell();
  }

  #tell() {
    const names = this.#said.slice(0, NAMED).map(({ what }) => what);
    if (this.#said.length > NAMED) names.push(`${this.#said.length - NAMED} more`);
    const about = { after: "It is sent again by itself.", cause: WAITING, stays: true };
    if (this.#trouble) alarm(this.#trouble, `${WAITING} (${names.join(", ")})`, about);
    else clearAlarm(WAITING);
    this.dispatchEvent(new Event("change"));
  }
}

/**
 * Wait; no longer than until the machine is connected again.
 * @param {number} milliseconds
 */
function rest(milliseconds) {
  return new Promise((resolve) => {
    const timer = window.setTimeout(() => done(), milliseconds);
    const done = () => {
      clearTimeout(timer);
      removeEventListener("online", done);
      resolve(null);
    };
    addEventListener("online", done);
  });
}
