/** The list of labels by their best score, and those that were added: find, and choose which rows are shown. */

import { byId, make } from "./dom.js";
import { grouped, percent } from "./format.js";

const TOP = 16; // rows, as in Hershey et al. (2017), Fig. 2
const LISTED = 60; // labels listed at a time: of 30,000 nobody reads more
const OFFERED = 50; // as completions
const MOST = 64; // rows

/**
 * @typedef {{label: string, start: number, end: number}} Place
 * @typedef {{index: number|null, label: string, score: number|null, time: number, end?: number}} Label
 *   index: in the model's list; null, and without a score, where the model does not have the label and the
 *   visitor added it; time: when its best moment begins, or where it was first added, until end
 */

/** Tells "change" when other rows are to be shown. */
export class Labels extends EventTarget {
  /** @type {Label[]} by falling score */
  all = [];
  /** @type {Label[]} that were added and the model does not have, by name */
  own = [];
  /** @type {Set<string>} labels that were ticked */
  ticked = new Set();
  /** @type {Map<string, Place>} where each label was first added */
  #places = new Map();
  /** @type {Set<string>} labels that were added, also the model's: their rows are shown */
  #added = new Set();
  /** @type {Map<string, number>|null} best scores of what is in view, where the rows are in their order */
  #inView = null;
  /** A label whose row is shown as well, above the others: that of the chosen sound. */
  #also = "";
  /** @type {(label: Label) => void} */
  #hear;

  /** @param {(label: Label) => void} hear called for a label whose best moment is to be heard */
  constructor(hear) {
    super();
    this.#hear = hear;
    byId("filter").addEventListener("input", () => this.#changed());
    byId("labels-clear").addEventListener("click", () => {
      this.ticked.clear();
      byId("filter").value = "";
      this.#changed();
      byId("filter").focus();
    });
  }

  /**
   * Another recording's labels.
   * @param {Label[]} labels
   * @param {number[]} ticked of the model's, by index
   * @param {string[]} own of those that were added, by name
   */
  reset(labels, ticked, own) {
    this.all = labels;
    this.#also = "";
    this.#inView = null;
    this.#show([...this.#places.values()]);
    const wanted = new Set(ticked);
    this.ticked = new Set([
      ...labels.filter(({ index }) => index !== null && wanted.has(index)).map(({ label }) => label),
      ...own.filter((name) => this.own.some(({ label }) => label === name)),
    ]);
    byId("filter").value = "";
    this.complete("");
    this.#changed();
  }

  /**
   * What was added, by time.
   * @param {Place[]} places
   */
  setAdded(places) {
    /** @type {Map<string, Place>} */
    const first = new Map();
    for (const { label, start, end } of places)
      if (!first.has(label)) first.set(label, { label, start, end });
    const same = JSON.stringify([...first]) === JSON.stringify([...this.#places]);
    this.#places = first;
    if (same) return;
    this.#show([...first.values()]);
    this.#changed();
  }

  /** @param {Place[]} places the first of each label that was added */
  #show(places) {
    const known = new Set(this.all.map(({ label }) => label));
    this.#added = new Set(places.map(({ label }) => label));
    this.own = places
      .filter(({ label }) => !known.has(label))
      .map(({ label, start, end }) => ({ index: null, label, score: null, time: start, end }))
      .sort((a, b) => (a.label < b.label ? -1 : 1));
    for (const label of this.ticked)
      if (!known.has(label) && !this.#added.has(label)) this.ticked.delete(label);
  }

  /** Which are ticked, for the address: the model's by index, others by name. */
  get place() {
    const of = (/** @type {Label[]} */ labels) => labels.filter(({ label }) => this.ticked.has(label));
    return {
      ticked: of(this.all).flatMap(({ index }) => index ?? []),
      own: of(this.own).map(({ label }) => label),
    };
  }

  /**
   * Put the rows into the order of what is in view, or back into that of the whole.
   * @param {Map<string, number>|null} scores the best of each label
   */
  setInView(scores) {
    if (!scores && !this.#inView) return;
    this.#inView = scores;
    this.dispatchEvent(new Event("change"));
  }

  /**
   * Offer the labels that go on from, or else hold, what is typed; of 30,000 not all at once.
   * @param {string} typed
   */
  complete(typed) {
    const sought = plain(typed);
    const fitting = [...this.all, ...this.own]
      .map(({ label }) => label)
      .filter((label) => plain(label).includes(sought))
      .sort();
    const begins = (/** @type {string} */ label) => Number(plain(label).startsWith(sought));
    const offered = fitting.sort((a, b) => begins(b) - begins(a)).slice(0, OFFERED);
    byId("known-labels").replaceChildren(...offered.map((label) => make("option", { value: label })));
  }

  /**
   * A label as it is spelled where it is known: "Church bells" is church_bells.
   * @param {string} typed
   */
  spelled(typed) {
    const names = [...this.all, ...this.own].map(({ label }) => label);
    if (names.includes(typed)) return typed;
    return names.find((label) => plain(label) === plain(typed)) ?? typed;
  }

  /** @param {string} label its place in the model's list, if it is there */
  indexOf(label) {
    return this.all.find((one) => one.label === label)?.index;
  }

  get #sought() {
    return plain(byId("filter").value.trim());
  }

  /** Is there a choice, so that other labels' sounds are left out? */
  get chosen() {
    return this.ticked.size > 0 || this.#sought !== "";
  }

  /** Labels that the filter's text fits: the model's, then others. */
  get fitting() {
    const sought = this.#sought;
    return [...this.all, ...this.own].filter(({ label }) => plain(label).includes(sought));
  }

  /** The labels whose rows are shown: those ticked; else the first that fit the text, and those added. */
  get rows() {
    const fitting = this.ticked.size
      ? [...this.all, ...this.own].filter(({ label }) => this.ticked.has(label))
      : this.fitting;
    const scored = fitting.filter(({ index }) => index !== null);
    const inView = this.#inView;
    if (inView) scored.sort((a, b) => (inView.get(b.label) ?? -1) - (inView.get(a.label) ?? -1));
    const first = scored.slice(0, this.ticked.size ? MOST : TOP);
    const added = fitting.filter(
      ({ label }) => this.#added.has(label) && !first.some((row) => row.label === label),
    );
    const rows = [...first, ...added.slice(0, TOP)];
    const also = [...this.all, ...this.own].find(({ label }) => label === this.#also);
    return also && !this.ticked.size && !rows.includes(also) ? [also, ...rows] : rows;
  }

  /**
   * Show a label's row, if it is not shown.
   * @param {string} label
   */
  include(label) {
    if (this.rows.some((row) => row.label === label)) return;
    if (![...this.all, ...this.own].some((row) => row.label === label)) return;
    this.#also = label;
    this.dispatchEvent(new Event("change"));
  }

  /**
   * Is a label's sound to be listed?
   * @param {string} label
   */
  lists(label) {
    if (!this.chosen) return true;
    if (this.ticked.size) return this.ticked.has(label);
    return plain(label).includes(this.#sought);
  }

  #changed() {
    byId("labels-clear").hidden = !this.chosen;
    const fitting = [...this.fitting].sort((a, b) => Number(a.index !== null) - Number(b.index !== null));
    const listed = fitting.slice(0, LISTED).map((label) => this.#item(label));
    if (!listed.length)
      listed.push(make("li", { class: "soft" }, "The model has no such label, and none was added."));
    else if (fitting.length > LISTED)
      listed.push(
        make(
          "li",
          { class: "soft small" },
          `${grouped(fitting.length - LISTED)} more: type to find them`,
        ),
      );
    byId("labels-list").replaceChildren(...listed);
    this.dispatchEvent(new Event("change"));
  }

  /** @param {Label} label */
  #item(label) {
    const box = make("input", {
      type: "checkbox",
      checked: this.ticked.has(label.label),
      "data-testid": "label-tick",
      onchange: () => {
        if (box.checked) this.ticked.add(label.label);
        else this.ticked.delete(label.label);
        byId("labels-clear").hidden = !this.chosen;
        this.dispatchEvent(new Event("change"));
      },
    });
    const [title, what] =
      label.score === null
        ? ["Hear where it was added", `Hear ${label.label}, which was added`]
        : ["Hear its best moment", `Hear the best moment of ${label.label}, score ${percent(label.score)}`];
    return make(
      "li",
      { "data-testid": "label" },
      make("label", { class: "check" }, box, make("span", { class: "label" }, label.label)),
      make(
        "button",
        {
          type: "button",
          class: "quiet numbers",
          title,
          "data-testid": "label-hear",
          "aria-label": what,
          onclick: () => this.#hear(label),
        },
        label.score === null ? "added" : percent(label.score),
      ),
    );
  }
}

/**
 * A label as it is compared: church_bells is found by "Church b".
 * @param {string} label
 */
function plain(label) {
  return label.toLowerCase().replaceAll("_", " ");
}
