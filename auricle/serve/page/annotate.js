/**
 * What the service keeps of what was said of a recording's sounds, and how it comes to keep something else.
 *
 * @typedef {import("./api.js").Correction} Correction
 * @typedef {import("./wishes.js").State} State
 * @typedef {import("./wishes.js").Wish} Wish
 */

import { getJson, isMissing, recordingPath, send } from "./api.js";
import { isSamePlace, isSameState, stateOf } from "./wishes.js";

const ELSEWHERE = "it was changed in another window since.";

/** A recording's corrections; tells "change" when there are others. */
export class Corrections extends EventTarget {
  /** @type {Correction[]} in the order in which they were said or changed, as the service has them */
  all = [];
  #changes = 0; // how often something was sent: an answer that was on its way meanwhile is an old one

  /**
   * @param {string} id of the recording
   * @param {import("./outbox.js").Outbox} outbox what is said goes through it
   */
  constructor(id, outbox) {
    super();
    this.path = recordingPath(id, "corrections");
    this.outbox = outbox;
  }

  /**
   * Ask which there are; also again, since another window may have said something.
   * @param {AbortSignal} [signal]
   */
  async load(signal) {
    let before, found;
    do {
      before = this.#changes;
      found = /** @type {Correction[]} */ ((await getJson(this.path, signal)).corrections);
    } while (before !== this.#changes);
    if (JSON.stringify(found) === JSON.stringify(this.all)) return;
    // Rows hold these objects.
    const known = new Map(this.all.map((one) => [one.id, one]));
    this.all = found.map((one) => Object.assign(known.get(one.id) ?? one, one));
    this.#tell();
  }

  /**
   * Have the service keep what is wished.
   * @param {Wish} wish
   * @returns {Promise<{before?: State|null, now: State|null, made?: Correction}>} before: what it kept of the row, if
   *   that was changed; now: what it keeps; made: what was added
   */
  async carryOut(wish) {
    await this.#catchUp();
    const { wants, expects, how } = wish;
    const known = this.#known(wish);
    const before = stateOf(known);
    const isSaid = how !== "undo" && known !== null && known.verdict === wants?.verdict;
    if (isSaid || isSameState(known, wants)) return { now: before, made: known ?? undefined };
    if (expects && !expects.some((state) => isSameState(state, known))) throw new Error(ELSEWHERE);
    if (!wants) {
      if (known) await this.#remove(known);
      return { before, now: null };
    }
    const made = await this.#replace(known, wants, how === "undo");
    return { before, now: stateOf(made), made: known ? undefined : made };
  }

  /**
   * What is kept of the row that a wish is about, so that it is changed and nothing is said beside it. The row may be
   * older than that; and what was taken back and restored has another name.
   * @param {Wish} wish
   * @returns {Correction|null}
   */
  #known({ wants, over, expects, how, step }) {
    const states = how === "undo" ? [...(expects ?? []), wants] : [over, step.before];
    const said = states.filter((state) => state !== null);
    const places = how === "undo" || !wants ? said : [...said, wants];
    return (
      this.all.findLast(({ id }) => said.some((state) => state.id === id)) ??
      this.all.findLast((one) => said.some((state) => isSameState(state, one))) ??
      this.all.findLast((one) => places.some((state) => isSamePlace(state, one))) ??
      null
    );
  }

  /**
   * @param {Correction|null} known
   * @param {State} wants
   * @param {boolean} undoes
   */
  async #replace(known, { label, start, end, verdict }, undoes) {
    try {
      if (known) return await this.#change(known, { verdict, start, end });
    } catch (error) {
      if (!isMissing(error)) throw error;
      await this.#catchUp(); // the recording is there, and what was to be changed is not
      if (undoes) throw new Error(ELSEWHERE);
    }
    return this.#put(await this.#post({ label, start, end, verdict }));
  }

  #tell() {
    this.dispatchEvent(new Event("change"));
  }

  /**
   * @param {"POST"|"PATCH"|"DELETE"} method
   * @param {string} path
   * @param {unknown} [body]
   */
  #send(method, path, body) {
    return this.#persist(() => send(method, path, body));
  }

  /**
   * @template T
   * @param {(attempt: number) => Promise<T>} ask
   */
  async #persist(ask) {
    this.#changes++;
    try {
      return await this.outbox.persist(ask);
    } finally {
      this.#changes++;
    }
  }

  /** Know what other windows said, before more is said. */
  async #catchUp() {
    await this.outbox.persist(() => this.load());
  }

  /** @param {Correction} correction */
  #pathOf(correction) {
    return `${this.path}/${encodeURIComponent(correction.id)}`;
  }

  /**
   * Say it once: where an answer was lost, the service may have it already.
   * @param {State} given
   * @returns {Promise<Correction>}
   */
  #post(given) {
    const isIt = (/** @type {Correction} */ one) => isSameState(one, given);
    return this.#persist(async (attempt) => {
      const all = attempt > 1 ? (await getJson(this.path)).corrections : this.all;
      return all.find(isIt) ?? send("POST", this.path, given);
    });
  }

  /**
   * @param {Correction} correction
   * @param {Partial<Correction>} changed
   */
  async #change(correction, changed) {
    return this.#put(Object.assign(correction, await this.#send("PATCH", this.#pathOf(correction), changed)));
  }

  /**
   * What was just said is the last.
   * @param {Correction} said
   */
  #put(said) {
    this.all = [...this.all.filter(({ id }) => id !== said.id), said];
    this.#tell();
    return said;
  }

  /** @param {Correction} correction */
  async #remove(correction) {
    try {
      await this.#send("DELETE", this.#pathOf(correction));
    } catch (error) {
      if (!isMissing(error)) throw error; // gone is gone
    }
    this.all = this.all.filter(({ id }) => id !== correction.id);
    this.#tell();
  }
}

/** @type {Map<string, Corrections>} by recording: of one that was looked at before, some may be on their way */
const known = new Map();

/**
 * @param {string} id of a recording
 * @param {import("./outbox.js").Outbox} outbox
 */
export function correctionsOf(id, outbox) {
  const found = known.get(id) ?? new Corrections(id, outbox);
  known.set(id, found);
  return found;
}
