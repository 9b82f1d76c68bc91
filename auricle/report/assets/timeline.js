"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const plot = document.getElementById("plot");
  const tip = document.getElementById("tip");
  const now = document.getElementById("now");
  const player = document.getElementById("player");
  const problem = document.getElementById("problem");
  const picture = new Image();
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const rows = data.labels.length;
  const first = data.edges[0], last = data.edges[data.edges.length - 1];
  const ROW = 22, TOP = 8, TALL = 150, GAP = 12, FOOT = 38;
  let from = first, to = last, at = first;  // what is in view, and the moment of the cursor
  let width = 0, ratio = 1, names = 120, right = 46;
  const height = TOP + TALL + GAP + rows * ROW + FOOT;

  const x = (seconds) => names + (seconds - from) / (to - from) * (width - names - right);
  const seconds = (place) => from + (place - names) / (width - names - right) * (to - from);
  const clip = (value, low, high) => Math.max(low, Math.min(high, value));
  const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  function clock(value, digits) {
    const whole = Math.floor(value / 60), rest = value - 60 * whole;
    const tail = rest.toFixed(digits).padStart(digits ? digits + 3 : 2, "0");
    return `${whole >= 60 ? `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}` : whole}:${tail}`;
  }

  function cell(moment) {
    let low = 0, high = data.scores.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (data.edges[middle] <= moment) low = middle; else high = middle - 1;
    }
    return low;
  }

  function shade(score) {
    const part = clip(score / data.scale, 0, 1);
    const [r, g, b] = dark.matches
      ? [35 + 75 * part, 38 + 155 * part, 42 + 213 * part]
      : [255 - 247 * part, 255 - 207 * part, 255 - 148 * part];
    return `rgb(${r} ${g} ${b})`;
  }

  const mark = () => (dark.matches ? "#ffb454" : "#d55e00");

  function step() {
    const wanted = (to - from) / Math.max(2, (width - names - right) / 80);
    return [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600].find((s) => s >= wanted) || 7200;
  }

  function shortened(pen, label) {
    if (pen.measureText(label).width <= names - 12) return label;
    let length = label.length;
    while (length > 1 && pen.measureText(`${label.slice(0, length)}\u2026`).width > names - 12) length -= 1;
    return `${label.slice(0, length)}\u2026`;
  }

  let base = null;  // all but the cursor, drawn anew only when the view changes
  function render() {
    ratio = window.devicePixelRatio || 1;
    width = plot.clientWidth;
    names = clip(width * 0.28, 84, 190);
    const ruler = plot.getContext("2d");
    ruler.font = "13px system-ui, sans-serif";
    const widest = (texts) => Math.max(...texts.map((text) => Math.ceil(ruler.measureText(text).width)));
    const peaks = 14 + widest(["peak", ...data.peaks]);
    const limits = data.thresholds.map((limit) => limit === "never" ? limit : `\u2265 ${limit}`);
    right = peaks + (limits.length ? 4 + widest(limits) : 0);
    plot.style.height = `${height}px`;
    plot.width = Math.round(width * ratio);
    plot.height = Math.round(height * ratio);
    base = document.createElement("canvas");
    base.width = plot.width; base.height = plot.height;
    const pen = base.getContext("2d");
    pen.scale(ratio, ratio);
    const under = TOP + TALL + GAP, wide = width - names - right;
    pen.save();
    pen.beginPath(); pen.rect(names, 0, wide, height); pen.clip();
    if (picture.complete && picture.naturalWidth) {
      pen.imageSmoothingEnabled = true;
      pen.drawImage(picture, x(first), TOP, x(last) - x(first), TALL);
    }
    for (let n = cell(from); n < data.scores.length && data.edges[n] < to; n += 1) {
      const begin = x(data.edges[n]), end = x(data.edges[n + 1]);
      for (let k = 0; k < rows; k += 1) {
        const score = data.scores[n][k];
        if (score === null) continue;
        pen.fillStyle = shade(score);
        pen.fillRect(begin, under + k * ROW, end - begin + 0.3, ROW - 1);
      }
      pen.fillStyle = mark();
      for (const k of data.above[n]) pen.fillRect(begin, under + (k + 1) * ROW - 5, end - begin + 0.3, 4);
    }
    pen.restore();
    pen.font = "13px system-ui, sans-serif";
    pen.textBaseline = "middle";
    pen.textAlign = "right";
    for (let k = 0; k < rows; k += 1) {
      const middle = under + (k + 0.5) * ROW;
      pen.fillStyle = style("--ink"); pen.textAlign = "right";
      pen.fillText(shortened(pen, data.labels[k]), names - 8, middle);
      pen.fillStyle = style("--soft"); pen.textAlign = "left";
      pen.fillText(data.peaks[k], names + wide + 6, middle);
      if (limits.length) {
        pen.fillStyle = mark();
        pen.fillText(limits[k], names + wide + peaks - 4, middle);
      }
      pen.strokeStyle = style("--line");
      pen.lineWidth = 0.5;
      pen.beginPath(); pen.moveTo(names, under + (k + 1) * ROW - 0.5); pen.lineTo(names + wide, under + (k + 1) * ROW - 0.5); pen.stroke();
    }
    pen.fillStyle = style("--soft");
    pen.font = "12px system-ui, sans-serif";
    pen.textAlign = "right";
    for (const hertz of data.ticks) pen.fillText(hertz[0], names - 8, TOP + TALL * (1 - hertz[1]));
    pen.fillText("peak", width - 2 - right + peaks, under - GAP / 2);
    pen.textAlign = "center";
    const each = step();
    for (let tick = Math.ceil(from / each - 1e-9) * each; tick <= to + 1e-9; tick += each) {
      pen.fillText(clock(Math.abs(tick), each < 1 ? 1 : 0), x(tick), under + rows * ROW + 12);
      pen.fillRect(x(tick) - 0.5, under + rows * ROW, 1, 4);
    }
    pen.fillText("time (min:s)", names + wide / 2, under + rows * ROW + 29);
    show();
  }

  function show() {
    const pen = plot.getContext("2d");
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.clearRect(0, 0, plot.width, plot.height);
    pen.drawImage(base, 0, 0);
    pen.scale(ratio, ratio);
    if (at >= from && at <= to) {
      pen.fillStyle = style("--cursor");
      pen.fillRect(x(at) - 1, 0, 2, TOP + TALL + GAP + rows * ROW + 4);
    }
  }

  // As the peaks are written: a model that is never sure is not 0.00 everywhere.
  const written = (score) => (score >= 0.1 ? score.toFixed(2) : String(Number(score.toPrecision(2))));

  function words(moment, most) {
    const scores = data.scores[cell(moment)];
    const best = scores.map((score, k) => [score, k]).filter(([score]) => score !== null).sort((a, b) => b[0] - a[0]);
    return best.slice(0, most).map(([score, k]) => `${data.labels[k]} ${written(score)}`).join(", ") || "no window";
  }

  const limit = (row) => (data.thresholds.length ? ` (threshold ${data.thresholds[row]})` : "");

  let told = -1;
  function say(force) {
    const place = cell(at);
    if (!force && place === told) return;  // a screen reader hears of a window once
    told = place;
    now.textContent = `${clock(at, 1)}: ${words(at, 3)}`;
  }

  function go(moment, seek) {
    at = clip(moment, first, last);
    if (at < from || at > to) {
      const span = to - from;
      from = clip(at - span * 0.1, first, last - span); to = from + span;
      render();
    } else show();
    if (seek && player && player.readyState > 0) player.currentTime = at;
    say(seek);
  }

  function zoom(factor) {
    const span = clip((to - from) * factor, Math.min(1, last - first), last - first);
    from = clip(at - span * (at - from) / (to - from), first, last - span);
    to = from + span;
    render();
  }

  plot.addEventListener("click", (event) => { if (event.offsetX >= names) go(seconds(event.offsetX), true); });
  plot.addEventListener("pointermove", (event) => {
    const moment = seconds(event.offsetX), row = Math.floor((event.offsetY - TOP - TALL - GAP) / ROW);
    tip.hidden = moment < from || moment > to;
    if (tip.hidden) return;
    const place = cell(moment), scores = data.scores[place];
    const span = `${clock(data.edges[place], 2)} to ${clock(data.edges[place + 1], 2)}`;
    const named = row >= 0 && row < rows;
    tip.textContent = named
      ? `${data.labels[row]} ${scores[row] === null ? "\u2013" : written(scores[row])}${limit(row)}\n${span}`
      : `${words(moment, 3)}\n${span}`;
    tip.style.left = `${clip(event.offsetX + 14, 0, width - tip.offsetWidth)}px`;
    tip.style.top = `${clip(event.offsetY + 14, 0, height - tip.offsetHeight)}px`;
  });
  plot.addEventListener("pointerleave", () => { tip.hidden = true; });
  plot.addEventListener("keydown", (event) => {
    const place = cell(at), edges = data.edges;
    if (event.key === "ArrowRight") go(edges[Math.min(place + 1, data.scores.length - 1)] + 1e-6, true);
    else if (event.key === "ArrowLeft") go(edges[Math.max(0, place - 1)] + 1e-6, true);
    else if (event.key === "Home") go(first, true);
    else if (event.key === "End") go(last, true);
    else if (event.key === "+" || event.key === "=") zoom(0.5);
    else if (event.key === "-") zoom(2);
    else if (event.key === " " && player) player.paused ? player.play() : player.pause();
    else return;
    event.preventDefault();
  });
  document.getElementById("nearer").addEventListener("click", () => zoom(0.5));
  document.getElementById("further").addEventListener("click", () => zoom(2));

  if (player) {
    player.addEventListener("loadedmetadata", () => {
      player.currentTime = at;  // the excerpt's beginning, or where the reader has gone since
    });
    player.addEventListener("seeking", () => go(player.currentTime, false));
    player.addEventListener("timeupdate", () => {
      if (player.currentTime > last && !player.paused && last < player.duration - 0.1) player.pause();
    });
    const failed = () => { problem.hidden = false; };
    player.addEventListener("error", failed);
    if (player.error) failed();
    // timeupdate comes four times a second; the cursor moves with every picture of the screen.
    const follow = () => {
      if (!player.paused && player.readyState > 1) go(player.currentTime, false);
      requestAnimationFrame(follow);
    };
    requestAnimationFrame(follow);
  }
  picture.addEventListener("load", render);
  picture.src = data.picture;
  dark.addEventListener("change", render);
  new ResizeObserver(() => { if (plot.clientWidth !== width) render(); }).observe(plot);
  render();
  say(true);
})();
