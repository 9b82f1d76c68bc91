/** The list of labels by their best score: find, and choose which rows are shown. */

import { byId, make } from "./dom.js";
import { percent } from "./format.js";

const TOP = 16; // rows, as in Hershey et al. (2017), Fig. 2
const LISTED = 60; // labels listed at a time: of 30,000 nobody reads more
const OFFERED = 50; // as completions

/** @typedef {import("./api.js").Label} Label */

/** Tells "change" when other rows are to be shown. */
export class Labels extends EventTarget {
  /** @type {Label[]} by falling score */
  all = [];
  /** @type {Set<number>} indices of the labels that were ticked */
  ticked = new Set();
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
   * @param {number[]} ticked
   */
  reset(labels, ticked) {
    this.all = labels;
    this.#also = "";
    this.ticked = new Set(ticked.filter((index) => labels.some((label) => label.index === index)));
    byId("filter").value = "";
    this.complete("");
    this.#changed();
  }

  /**
   * Offer the model's labels that go on from, or else hold, what is typed; of 30,000 not all at once.
   * @param {string} typed
   */
  complete(typed) {
    const sought = plain(typed);
    const fitting = this.all
      .map(({ label }) => label)
      .filter((label) => plain(label).includes(sought))
      .sort();
    const begins = (/** @type {string} */ label) => Number(plain(label).startsWith(sought));
    const offered = fitting.sort((a, b) => begins(b) - begins(a)).slice(0, OFFERED);
    byId("known-labels").replaceChildren(...offered.map((label) => make("option", { value: label })));
  }

  get #sought() {
    return plain(byId("filter").value.trim());
  }

  /** Is there a choice, so that other labels' sounds are left out? */
  get chosen() {
    return this.ticked.size > 0 || this.#sought !== "";
  }

  /** Labels that the filter's text fits. */
  get #fitting() {
    const sought = this.#sought;
    return this.all.filter(({ label }) => plain(label).includes(sought));
  }

  /** The labels whose rows are shown: those ticked; else the first that fit the text. */
  get rows() {
    if (this.ticked.size) return this.all.filter(({ index }) => this.ticked.has(index)).slice(0, 64);
    const first = this.#fitting.slice(0, TOP);
    const also = this.all.find(({ label }) => label === this.#also);
    return also && !first.includes(also) ? [also, ...first] : first;
  }

  /**
   * Show a label's row, if it is not shown.
   * @param {string} label
   */
  include(label) {
    if (this.rows.some((row) => row.label === label) || !this.all.some((row) => row.label === label)) return;
    this.#also = label;
    this.dispatchEvent(new Event("change"));
  }

  /**
   * Is a label's sound to be listed?
   * @param {string} label
   */
  lists(label) {
    if (!this.chosen) return true;
    if (this.ticked.size) return this.all.some((one) => one.label === label && this.ticked.has(one.index));
    return plain(label).includes(this.#sought);
  }

  #changed() {
    byId("labels-clear").hidden = !this.chosen;
    const fitting = this.#fitting;
    const listed = fitting.slice(0, LISTED).map((label) => this.#item(label));
    if (!listed.length) listed.push(make("li", { class: "soft" }, "The model has no such label."));
    else if (fitting.length > LISTED)
      listed.push(
        make(
          "li",
          { class: "soft small" },
          `${(fitting.length - LISTED).toLocaleString("en")} more: type to find them`,
        ),
      );
    byId("labels-list").replaceChildren(...listed);
    this.dispatchEvent(new Event("change"));
  }

  /** @param {Label} label */
  #item(label) {
    const box = make("input", {
      type: "checkbox",
      checked: this.ticked.has(label.index),
      "data-testid": "label-tick",
      onchange: () => {
        if (box.checked) this.ticked.add(label.index);
        else this.ticked.delete(label.index);
        byId("labels-clear").hidden = !this.chosen;
        this.dispatchEvent(new Event("change"));
      },
    });
    return make(
      "li",
      { "data-testid": "label" },
      make("label", { class: "check" }, box, make("span", { class: "label" }, label.label)),
      make(
        "button",
        {
          type: "button",
          class: "quiet numbers",
          title: "Hear its best moment",
          "data-testid": "label-hear",
          "aria-label": `Hear the best moment of ${label.label}, score ${percent(label.score)}`,
          onclick: () => this.#hear(label),
        },
        percent(label.score),
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
