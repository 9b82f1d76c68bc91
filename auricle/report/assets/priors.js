"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const count = data.label.length;
  const plot = document.getElementById("plot");
  const tip = document.getElementById("tip");
  const chosen = document.getElementById("chosen");
  const search = document.getElementById("search");
  const found = document.getElementById("found");
  const matches = document.getElementById("matches");
  const logs = data.prior.map(Math.log10);
  const order = [...logs.keys()].sort((a, b) => logs[a] - logs[b]);  // the arrow keys go along the prior
  const names = data.label.map((label) => label.toLowerCase());
  const finite = data.d.filter((d) => d !== null);  // null: infinite
  const least = (list, start) => list.reduce((a, b) => Math.min(a, b), start);
  const most = (list, start) => list.reduce((a, b) => Math.max(a, b), start);
  let left = least(logs, Infinity), right = most(logs, -Infinity);
  const room = right - left < 1e-9 ? 0.5 : 0.04 * (right - left);
  left -= room; right += room;
  const low = Math.min(least(finite, 0), 0) - 0.15, high = most(finite, 1) * 1.08 + 0.1;
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const margin = { left: 44, right: 12, top: 12, bottom: 44 };
  let width = 0, height = 0, ratio = 1, picture = null, at = -1, marked = new Set();
  let cells = new Map();  // places of points, for the pointer
  const CELL = 16;

  const x = (k) => margin.left + (logs[k] - left) / (right - left) * (width - margin.left - margin.right);
  const level = (d) => margin.top + (high - d) / (high - low) * (height - margin.top - margin.bottom);
  const y = (k) => (data.d[k] !== null ? level(data.d[k])
    : data.auc[k] > 0.5 ? margin.top + 5 : height - margin.bottom - 5);  // infinite: at the edge
  const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  function colour(ap) {
    // The end of the scale that the paper swallows is left out.
    const part = ap === null ? 0 : dark.matches ? 0.2 + 0.8 * ap : 0.88 * ap;
    const [r, g, b] = data.colours[Math.min(63, Math.round(part * 63))];
    return `rgb(${r} ${g} ${b})`;
  }

  function axes(pen) {
    pen.strokeStyle = style("--line");
    pen.fillStyle = style("--soft");
    pen.font = "12px system-ui, sans-serif";
    pen.lineWidth = 1;
    const bottom = height - margin.bottom;
    pen.textAlign = "center";
    for (let decade = Math.ceil(left); decade <= right; decade += 1) {
      const place = margin.left + (decade - left) / (right - left) * (width - margin.left - margin.right);
      pen.beginPath(); pen.moveTo(place, margin.top); pen.lineTo(place, bottom); pen.stroke();
      pen.fillText(decade < -3 ? `1e${decade}` : String(10 ** decade), place, bottom + 16);
    }
    if (Math.ceil(left) > right) pen.fillText((10 ** ((left + right) / 2)).toPrecision(2), (margin.left + width) / 2, bottom + 16);
    pen.fillText("label prior (log scale)", (margin.left + width) / 2, bottom + 36);
    pen.textAlign = "right";
    for (let d = Math.ceil(low); d <= high; d += 1) {
      pen.beginPath(); pen.moveTo(margin.left, level(d)); pen.lineTo(width - margin.right, level(d)); pen.stroke();
      pen.fillText(String(d), margin.left - 6, level(d) + 4);
    }
    pen.save();
    pen.translate(14, (margin.top + bottom) / 2); pen.rotate(-Math.PI / 2);
    pen.textAlign = "center"; pen.fillText("d\u2032", 0, 0);
    pen.restore();
  }

  function band(pen, above) {
    const line = data.line, place = (n) =>
      margin.left + (Math.log10(line.prior[n]) - left) / (right - left) * (width - margin.left - margin.right);
    const known = line.prior.map((_, n) => n).filter((n) => line.mean[n] !== null);
    if (!known.length) return;
    const trace = (side) => known.forEach((n) => pen.lineTo(place(n), level(line.mean[n] + side * line.deviation[n])));
    if (!above) {
      pen.fillStyle = style("--band");
      pen.beginPath(); trace(1); known.reverse(); trace(-1); pen.fill();
      return;
    }
    pen.strokeStyle = style("--mean");
    for (const side of [-1, 0, 1]) {
      pen.lineWidth = side ? 1.2 : 2.2;
      pen.setLineDash(side ? [4, 3] : []);
      pen.beginPath(); trace(side); pen.stroke();
    }
    pen.setLineDash([]);
  }

  // The points are drawn once into a picture of their own; pointing at one only copies that.
  function render() {
    ratio = window.devicePixelRatio || 1;
    width = plot.clientWidth;
    height = Math.round(Math.max(300, Math.min(560, width * 0.62)));
    plot.style.height = `${height}px`;
    plot.width = Math.round(width * ratio);
    plot.height = Math.round(height * ratio);
    picture = document.createElement("canvas");
    picture.width = plot.width; picture.height = plot.height;
    const pen = picture.getContext("2d");
    pen.scale(ratio, ratio);
    axes(pen);
    band(pen, false);
    const size = Math.max(1.6, Math.min(4.5, 60 / Math.sqrt(count)));
    cells = new Map();
    for (let k = 0; k < count; k += 1) {
      const [p, q] = [x(k), y(k)];
      pen.fillStyle = colour(data.ap[k]);
      pen.beginPath();
      if (data.d[k] === null) {
        const tip = data.auc[k] > 0.5 ? -1 : 1;  // a triangle points to where its class is
        pen.moveTo(p - 4, q - 3 * tip); pen.lineTo(p + 4, q - 3 * tip); pen.lineTo(p, q + 4 * tip);
      } else pen.arc(p, q, size, 0, 7);
      pen.fill();
      const cell = `${Math.floor(p / CELL)},${Math.floor(q / CELL)}`;
      if (cells.has(cell)) cells.get(cell).push(k); else cells.set(cell, [k]);
    }
    band(pen, true);
    const scale = document.getElementById("scale").getContext("2d");
    for (let n = 0; n < 64; n += 1) { scale.fillStyle = colour(n / 63); scale.fillRect(n, 0, 1, 1); }
    show();
  }

  function ring(pen, k, size, stroke) {
    pen.lineWidth = 2; pen.strokeStyle = stroke;
    pen.beginPath(); pen.arc(x(k), y(k), size, 0, 7); pen.stroke();
  }

  function show() {
    const pen = plot.getContext("2d");
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.clearRect(0, 0, plot.width, plot.height);
    pen.drawImage(picture, 0, 0);
    pen.scale(ratio, ratio);
    for (const k of marked) ring(pen, k, 6, style("--accent"));
    if (at >= 0) ring(pen, at, 8, style("--ink"));
  }

  const number = (value, digits) => (value === null ? "\u2013" : value.toFixed(digits));
  function words(k) {
    const d = data.d[k] === null ? (data.auc[k] > 0.5 ? "\u221e" : "-\u221e") : data.d[k].toFixed(2);
    return `${data.positives[k]} positives, prior ${data.prior[k].toPrecision(3)}\n` +
      `AP ${number(data.ap[k], 3)}, AUC ${number(data.auc[k], 4)}, d\u2032 ${d}`;
  }

  function choose(k, pointed) {
    at = k;
    tip.hidden = k < 0;
    if (k >= 0) {
      tip.textContent = `${data.label[k]}\n${words(k)}`;
      const wide = tip.offsetWidth, tall = tip.offsetHeight;
      tip.style.left = `${Math.max(0, Math.min(width - wide, x(k) + 12))}px`;
      tip.style.top = `${y(k) + 12 + tall > height ? y(k) - tall - 12 : y(k) + 12}px`;
      if (!pointed) chosen.textContent = `${data.label[k]}: ${words(k).replace("\n", ", ")}`;
    }
    show();
  }

  function nearest(p, q) {
    let best = -1, distance = 15 * 15;
    const [column, row] = [Math.floor(p / CELL), Math.floor(q / CELL)];
    for (let i = column - 1; i <= column + 1; i += 1) {
      for (let j = row - 1; j <= row + 1; j += 1) {
        for (const k of cells.get(`${i},${j}`) || []) {
          const squared = (x(k) - p) ** 2 + (y(k) - q) ** 2;
          if (squared < distance) { distance = squared; best = k; }
        }
      }
    }
    return best;
  }

  plot.addEventListener("pointermove", (event) => choose(nearest(event.offsetX, event.offsetY), true));
  plot.addEventListener("pointerdown", (event) => choose(nearest(event.offsetX, event.offsetY), false));
  plot.addEventListener("pointerleave", () => choose(-1, true));
  plot.addEventListener("blur", () => choose(-1, true));
  plot.addEventListener("keydown", (event) => {
    const steps = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, PageUp: 20, PageDown: -20 };
    let place = order.indexOf(at);
    if (event.key in steps) place = place < 0 ? 0 : place + steps[event.key];
    else if (event.key === "Home") place = 0;
    else if (event.key === "End") place = count - 1;
    else if (event.key === "Escape") { choose(-1, true); return; }
    else return;
    event.preventDefault();
    choose(order[Math.max(0, Math.min(count - 1, place))], false);
  });

  search.addEventListener("input", () => {
    const wanted = search.value.trim().toLowerCase();
    const hits = wanted ? [...names.keys()].filter((k) => names[k].includes(wanted)) : [];
    marked = new Set(hits.slice(0, 500));
    found.textContent = wanted ? `${hits.length} of ${count}` : "";
    matches.replaceChildren(...hits.slice(0, 40).map((k) => {
      const item = document.createElement("li"), button = document.createElement("button");
      button.type = "button";
      button.textContent = data.label[k];
      button.addEventListener("click", () => choose(k, false));
      item.append(button);
      return item;
    }));
    if (hits.length === 1) choose(hits[0], false); else choose(-1, true);
  });

  dark.addEventListener("change", render);
  new ResizeObserver(() => { if (plot.clientWidth !== width) render(); }).observe(plot);
  render();
})();
