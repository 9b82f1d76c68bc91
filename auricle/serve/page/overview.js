/** The frame on the picture of the whole that shows which part the time-line shows; it can be dragged. */

import { byId } from "./dom.js";

const STILL = 4; // pixels that a click may move

/**
 * @param {import("./viewport.js").Viewport} view
 * @param {(seconds: number) => void} seek
 */
export function startOverview(view, seek) {
  const [box, frame] = [byId("overview"), byId("window")];
  const place = () => {
    frame.hidden = view.isWhole;
    frame.style.left = `${(view.from / view.duration) * 100}%`;
    frame.style.width = `${(view.span / view.duration) * 100}%`;
  };
  const seconds = (/** @type {PointerEvent} */ event) => {
    const { left, width } = box.getBoundingClientRect();
    return ((event.clientX - left) / width) * view.duration;
  };
  /** @type {{x: number, at: number, from: number, moved: boolean}|null} */
  let drag = null;
  frame.addEventListener("pointerdown", (/** @type {PointerEvent} */ event) => {
    frame.setPointerCapture(event.pointerId);
    drag = { x: event.clientX, at: seconds(event), from: view.from, moved: false };
  });
  frame.addEventListener("pointermove", (/** @type {PointerEvent} */ event) => {
    if (!drag) return;
    drag.moved ||= Math.abs(event.clientX - drag.x) > STILL;
    if (drag.moved) view.pan(drag.from + seconds(event) - drag.at - view.from);
  });
  frame.addEventListener("pointerup", (/** @type {PointerEvent} */ event) => {
    if (drag && !drag.moved) seek(seconds(event));
    drag = null;
  });
  frame.addEventListener("pointercancel", () => (drag = null));
  view.addEventListener("change", place);
}
