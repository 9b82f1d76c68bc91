/** Pointer and wheel over the picture: look, click, select, move, zoom. */

/**
 * @typedef {{
 *   view: import("./viewport.js").Viewport,
 *   selects: (y: number, touch: boolean) => boolean,
 *   click: (x: number, y: number) => void,
 *   point: (at: {x: number, y: number}|null) => void,
 *   select: (from: number, to: number, y: number, done: boolean) => void,
 * }} Hooks selects: does a drag from this height select, or move?
 */

const STILL = 5; // pixels that a click may move

/**
 * @param {HTMLElement} plot
 * @param {Hooks} hooks
 */
export function followGestures(plot, hooks) {
  const { view } = hooks;
  /** @type {Map<number, {x: number, y: number}>} */
  const down = new Map();
  /** @type {{x: number, y: number, seconds: number, selects: boolean, moved: boolean}|null} */
  let drag = null;
  const place = (/** @type {PointerEvent|WheelEvent} */ event) => {
    const box = plot.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  };

  plot.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    const at = place(event);
    plot.setPointerCapture(event.pointerId);
    down.set(event.pointerId, at);
    const selects = hooks.selects(at.y, event.pointerType === "touch");
    drag = down.size === 1 ? { ...at, seconds: view.seconds(at.x), selects, moved: false } : null;
  });
  plot.addEventListener("pointermove", (event) => {
    const at = place(event);
    if (event.pointerType === "mouse") hooks.point(at);
    if (!down.has(event.pointerId)) return;
    if (down.size === 2) pinch(event.pointerId, at);
    down.set(event.pointerId, at);
    if (!drag) return;
    drag.moved ||= Math.abs(at.x - drag.x) > STILL;
    if (!drag.moved) return;
    if (drag.selects) hooks.select(drag.seconds, view.seconds(at.x), drag.y, false);
    else view.pan(drag.seconds - view.seconds(at.x));
  });
  plot.addEventListener("pointerup", (event) => {
    if (!down.delete(event.pointerId) || !drag) return;
    const at = place(event);
    if (!drag.moved) hooks.click(at.x, at.y);
    else if (drag.selects) hooks.select(drag.seconds, view.seconds(at.x), drag.y, true);
    drag = null;
  });
  plot.addEventListener("pointercancel", (event) => {
    down.delete(event.pointerId);
    drag = null;
  });
  plot.addEventListener("pointerleave", () => hooks.point(null));
  plot.addEventListener("wheel", (event) => wheel(event), { passive: false });

  /**
   * @param {number} moved
   * @param {{x: number, y: number}} at
   */
  function pinch(moved, at) {
    const [other] = [...down].filter(([id]) => id !== moved).map(([, where]) => where);
    const before = /** @type {{x: number, y: number}} */ (down.get(moved));
    const [apart, apartNow] = [Math.abs(before.x - other.x), Math.abs(at.x - other.x)];
    const middle = view.seconds((before.x + other.x) / 2);
    if (apart > 10 && apartNow > 10) view.zoom(apartNow / apart, middle);
    view.pan(middle - view.seconds((at.x + other.x) / 2));
  }

  /** @param {WheelEvent} event */
  function wheel(event) {
    const unit = event.deltaMode === 1 ? 16 : event.deltaMode === 2 ? 400 : 1;
    const [across, along] = [event.deltaX * unit, event.deltaY * unit];
    const before = [view.from, view.to];
    if (event.shiftKey || Math.abs(across) > Math.abs(along))
      view.pan(((across || along) / view.width) * view.span);
    else view.zoom(Math.exp(-along / 400), view.seconds(place(event).x));
    // Where there is nothing left to zoom, the page scrolls as ever.
    if (event.ctrlKey || before[0] !== view.from || before[1] !== view.to) event.preventDefault();
  }
}
