"""Scores over time beside the spectrogram: which sounds are where in a recording, at a glance.

Source: Hershey et al., "CNN Architectures for Large-Scale Audio Classification", ICASSP 2017,
https://arxiv.org/abs/1609.09430, Fig. 2: the 16 outputs with the greatest peaks over the recording. Peaks are
taken over what is drawn.

Shape letters: W windows, K classes of the model, S classes shown, F mel bands, C columns of a picture.
"""

import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from auricle.audio import blocks
from auricle.features import FeatureConfig, band_edges, log_mel
from auricle.report.style import COLOURS, GREY, drawing, shortened
from auricle.runners.windows import sigmoid

TOP = 16
MOST_COLUMNS = 2000  # of a picture; what is finer is pooled
CONFIG = FeatureConfig()
MARK = COLOURS[1]
MARKED = "underlined: from the label's threshold (≥) on"
ROWS_AT_ONCE = 4096  # windows gone through at a time, of a recording that may be a day


@dataclass(frozen=True, kw_only=True, eq=False)
class Timeline:
    """S classes by falling peak, and their scores over W windows; times in seconds of the recording."""

    path: str
    model: str
    labels: tuple[str, ...]
    starts: np.ndarray  # (W,) float64, rising
    stops: np.ndarray  # (W,)
    scores: np.ndarray  # (W, S) float32 in [0, 1]
    thresholds: np.ndarray | None = None  # (S,) from which each class is shown as there; None: nobody chose

    @property
    def peaks(self) -> np.ndarray:
        """(S,) the greatest score of each class."""
        return self.scores.max(axis=0)

    @property
    def cells(self) -> tuple[np.ndarray, np.ndarray]:
        """(W,) left and right ends of what each window stands for: each moment is the nearest window's.

        Where windows touch, these are the windows themselves; where they overlap, the ends lie midway between
        their centres; where they leave gaps, the gaps belong to none.
        """
        middles = (self.starts + self.stops) / 2
        between = (middles[1:] + middles[:-1]) / 2
        left = np.maximum(self.starts, np.append(self.starts[:1], between))
        right = np.minimum(self.stops, np.append(between, self.stops[-1:]))
        return left, right

    def above(self, scores: np.ndarray) -> np.ndarray:
        """Which of (N, S) scores, of any moments, reach their class's threshold; none without thresholds."""
        if self.thresholds is None:
            return np.zeros(scores.shape, bool)
        return np.asarray(scores >= self.thresholds)

    @property
    def scale(self) -> float:
        """The score that full colour stands for: 1, or the greatest peak where no score reaches a half.

        A model of 30,000 labels seldom says more than a few hundredths.
        """
        greatest = float(self.peaks.max(initial=0.0))
        return greatest if 0 < greatest < 0.5 else 1.0


def gather(
    parts: Iterable[Any],
    labels: Sequence[str],
    rate: int,
    *,
    path: str,
    model: str = "",
    top: int = TOP,
    calibrate: Callable[[np.ndarray], np.ndarray] = np.asarray,
    thresholds: np.ndarray | None = None,
) -> Timeline:
    """The classes with the greatest peaks among windows that come a few at a time.

    Scores of all classes go to a temporary file: memory holds those that are shown only.

    Args:
        parts: as `auricle.tagging.Tagger.windows` gives them: `starts`, `stops` (samples), `logits` (B, K).
        labels: K names.
        rate: samples a second of `starts` and `stops`.
        path: the recording, for the title.
        model: its name, for the title.
        top: how many classes; equal peaks keep the labels' order. Classes that reach their threshold
            somewhere come before others.
        calibrate: logits (B, K) -> logits, as `auricle.probabilities.calibrated` gives it for a model.
        thresholds: (K,) scores from which each class is shown as there; None where nobody chose them.

    Raises:
        ValueError: `top` is below 1, or there is no label or no window.

    >>> from types import SimpleNamespace
    >>> part = SimpleNamespace(starts=np.array([0]), stops=np.array([8]), logits=np.array([[-1.0, 2.0]]))
    >>> gather([part], ["dog", "rain"], 8, path="a.wav", top=1).labels
    ('rain',)
    """
    if top < 1:
        raise ValueError(f"top is {top}; expected at least 1")
    if not len(labels):
        raise ValueError(f"{path}: the model has no labels, there is nothing to draw")
    peaks = np.full(len(labels), -np.inf, np.float32)
    starts: list[np.ndarray] = []
    stops: list[np.ndarray] = []
    with tempfile.TemporaryFile() as spool:
        for part in parts:
            logits = np.ascontiguousarray(calibrate(part.logits), np.float32)
            np.maximum(peaks, logits.max(axis=0), out=peaks)
            spool.write(logits.tobytes())
            starts.append(np.array(part.starts) / rate)
            stops.append(np.array(part.stops) / rate)
        if not starts:
            raise ValueError(f"{path}: there is no window to draw")
        lower = np.zeros(len(labels), bool) if thresholds is None else sigmoid(peaks) < thresholds
        chosen = np.lexsort((-peaks, lower))[:top]  # which, and then in which order
        shown = chosen[np.lexsort((chosen, -peaks[chosen]))]
        count = sum(map(len, starts))
        scores = np.empty((count, len(shown)), np.float32)
        spool.seek(0)
        for first in range(0, count, ROWS_AT_ONCE):
            rows = min(ROWS_AT_ONCE, count - first)
            content = spool.read(rows * len(labels) * 4)
            logits = np.frombuffer(content, np.float32).reshape(rows, len(labels))
            scores[first : first + rows] = sigmoid(logits[:, shown])
    return Timeline(
        path=path,
        model=model,
        labels=tuple(labels[k] for k in shown),
        starts=np.concatenate(starts),
        stops=np.concatenate(stops),
        scores=scores,
        thresholds=None if thresholds is None else np.asarray(thresholds, np.float64)[shown],
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Spectrogram:
    """Log-mel over time, pooled to a picture's columns."""

    values: np.ndarray  # (F, C) float32, natural logarithms; NaN where there is no frame at all
    start: float  # seconds: left edge of the first column
    end: float  # right edge of the last
    loudest: float  # the greatest value of any frame


def spectrogram(
    path: str | Path,
    start: float,
    end: float,
    *,
    columns: int = MOST_COLUMNS,
    config: FeatureConfig = CONFIG,
    warn: Any = None,
) -> Spectrogram:
    """Log-mel of part of a recording, in memory that does not grow with its length.

    A column holds the mean of the frames whose centres fall into it; there are never more columns than frames
    would fill.

    Args:
        path: the recording.
        start: seconds.
        end: seconds.
        columns: at most.
        config: of the log-mel.
        warn: as in `auricle.audio.blocks`.

    Raises:
        AudioError: the recording cannot be read.

    >>> spectrogram("examples/scene.ogg", 0, 2).values.shape  # doctest: +SKIP
    (64, 200)
    """
    columns = max(1, min(columns, int((end - start) * config.rate / config.hop)))
    sums = np.zeros((columns, config.bands))
    counts = np.zeros(columns)
    loudest = -np.inf
    for centres, frames in frame_stream(path, start, end, config=config, warn=warn):
        place = np.clip(((centres - start) / (end - start) * columns).astype(int), 0, columns - 1)
        np.add.at(sums, place, frames)
        np.add.at(counts, place, 1)
        loudest = max(loudest, float(frames.max()))
    with np.errstate(invalid="ignore"):
        values = (sums / counts[:, None]).T.astype(np.float32)
    # Frames end before the recording does, and some columns may lie between two frames.
    known = np.flatnonzero(counts)
    if len(known):
        nearest = known[np.abs(np.arange(columns)[:, None] - known).argmin(axis=1)]
        values = values[:, nearest]
    return Spectrogram(values=values, start=start, end=end, loudest=loudest)


def frame_stream(
    path: str | Path, start: float, end: float | None, *, config: FeatureConfig = CONFIG, warn: Any = None
) -> Any:
    """Log-mel frames as a recording is read: (centres in seconds (T,), frames (T, F)) a block.

    >>> for centres, frames in frame_stream("examples/scene.ogg", 0, None):  # doctest: +SKIP
    ...     print(centres[0], frames.shape)
    """
    kept = np.empty(0, np.float32)
    for block in blocks(path, config.rate, start=start, end=end, warn=warn):
        first = block.start - len(kept)
        samples = np.concatenate([kept, block.samples])
        frames = log_mel(samples, config)
        if len(frames):
            centres = (first + config.hop * np.arange(len(frames)) + config.window / 2) / config.rate
            yield centres, frames
        kept = samples[len(frames) * config.hop :]


def draw_timeline(timeline: Timeline, picture: Spectrogram, *, title: str = "") -> Figure:
    """Fig. 2: the spectrogram, and under it a row of intensity for each class on the same time axis.

    The number at the end of a row is its peak. Where there are thresholds, each is a second number, and what
    reaches it is underlined.

    >>> line = Timeline(path="a.wav", model="m", labels=("dog",), starts=np.array([0.0]),
    ...                 stops=np.array([1.0]), scores=np.array([[0.7]], np.float32))
    >>> blank = Spectrogram(values=np.zeros((64, 9), np.float32), start=0.0, end=1.0, loudest=1.0)
    >>> draw_timeline(line, blank).axes[1].get_yticklabels()[0].get_text()
    'dog'
    """
    rows = len(timeline.labels)
    edges, scores = score_cells(timeline)
    with drawing():
        figure = Figure(figsize=(9.5, 2.6 + 0.245 * rows), layout="constrained")
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(1.7, max(0.25 * rows, 0.5)))
        bands = CONFIG.bands
        above.imshow(
            picture.values,
            origin="lower",
            aspect="auto",
            extent=(picture.start, picture.end, 0, bands),
            cmap="magma",
            vmin=np.log(CONFIG.log_offset),
            vmax=max(picture.loudest, 0.0),
            interpolation="nearest",
        )
        ticks = [250, 1000, 2000, 4000, 7000]
        above.set_yticks(bands_of(ticks), [f"{hertz / 1000:g}" for hertz in ticks])
        above.set_ylabel("kHz (mel)")
        above.set_title(title or Path(timeline.path).name)
        above.tick_params(labelbottom=False)
        mesh = below.pcolormesh(
            edges, np.arange(rows + 1), scores.T, cmap=_paper_to_blue(), vmin=0, vmax=timeline.scale
        )
        below.set_yticks(np.arange(rows) + 0.5, [shortened(label) for label in timeline.labels])
        below.set_ylim(rows, 0)
        below.tick_params(axis="y", length=0)
        below.hlines(np.arange(1, rows), edges[0], edges[-1], color="#dddddd", linewidth=0.6)
        for row, peak in enumerate(timeline.peaks.tolist()):
            _beside(below, row, 1.006, score_text(peak), GREY)
        below.set_xlim(edges[0], edges[-1])
        unit = "time (seconds)" if edges[-1] < 600 else "time (h:min:s)"
        below.set_xlabel(unit if timeline.thresholds is None else f"{unit}; {MARKED}")
        _mark_above(below, timeline, edges, scores)
        if edges[-1] >= 600:
            below.xaxis.set_major_formatter(lambda seconds, _: clock(seconds))
        bar = figure.colorbar(mesh, ax=below, pad=0.05, aspect=30, label="score")
        bar.outline.set_visible(False)
    return figure


def _mark_above(axes: Any, timeline: Timeline, edges: np.ndarray, scores: np.ndarray) -> None:
    """A line under what reaches its class's threshold, and the threshold beside the peak."""
    if timeline.thresholds is None:
        return
    for row, (reached, threshold) in enumerate(
        zip(timeline.above(scores).T, timeline.thresholds.tolist(), strict=True)
    ):
        turns = np.flatnonzero(np.diff(reached, prepend=False, append=False))
        axes.hlines(
            np.full(len(turns) // 2, row + 0.87), edges[turns[::2]], edges[turns[1::2]], MARK, linewidth=3
        )
        _beside(axes, row, 1.068, limit_text(threshold), MARK)


def _beside(axes: Any, row: int, place: float, text: str, color: str) -> None:
    """A number to the right of a row."""
    axes.text(
        place, row + 0.5, text, transform=axes.get_yaxis_transform(), va="center", fontsize=8.5, color=color
    )


def score_cells(timeline: Timeline, columns: int = MOST_COLUMNS) -> tuple[np.ndarray, np.ndarray]:
    """Edges and scores of cells that cover the time-line; what is finer than `columns` is pooled by maximum.

    Returns:
        (C + 1,) rising seconds and (C, S) scores; NaN where no window was.

    >>> line = Timeline(path="a.wav", model="m", labels=("dog",), starts=np.array([0.0, 2.0]),
    ...                 stops=np.array([1.0, 3.0]), scores=np.array([[0.5], [0.25]], np.float32))
    >>> edges, scores = score_cells(line)
    >>> edges.tolist(), scores[:, 0].tolist()
    ([0.0, 1.0, 2.0, 3.0], [0.5, nan, 0.25])
    """
    left, right = timeline.cells
    scores = timeline.scores
    if len(left) > columns:
        step = -(-len(left) // columns)
        first = np.arange(0, len(left), step)
        last = np.minimum(first + step, len(left)) - 1
        scores = np.maximum.reduceat(scores, first, axis=0)
        left, right = left[first], right[last]
    edges: list[float] = [float(left[0])]
    rows: list[np.ndarray] = []
    for begin, stop, row in zip(left.tolist(), right.tolist(), scores, strict=True):
        if begin > edges[-1] + 1e-9:
            rows.append(np.full(len(row), np.nan, np.float32))
            edges.append(begin)
        rows.append(row)
        edges.append(stop)
    return np.array(edges), np.array(rows)


def clock(seconds: float) -> str:
    """A moment as people read it.

    >>> clock(75.25), clock(3605)
    ('1:15', '1:00:05')
    """
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def bands_of(hertz: Sequence[float]) -> np.ndarray:
    """Where frequencies lie on an axis that counts bands: a band's centre is at its middle.

    >>> bands_of([125.0])
    array([-0.5])
    """
    edges = band_edges(CONFIG)
    return np.interp(hertz, edges, np.arange(len(edges)) - 0.5)


def score_text(score: float) -> str:
    """A score in few digits, the same in every kind of picture.

    >>> score_text(0.8351), score_text(0.0412), score_text(0.00123456)
    ('0.84', '0.041', '0.0012')
    """
    return f"{score:.2f}" if score >= 0.1 else f"{score:.2g}"


def limit_text(threshold: float) -> str:
    """From which score on a class is shown as there.

    >>> limit_text(0.8351), limit_text(2.0)
    ('≥ 0.84', 'never')
    """
    return "never" if threshold > 1 else f"≥ {score_text(threshold)}"


def _paper_to_blue() -> Any:
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("score", ["#ffffff", "#9ecae1", "#3182bd", "#08306b"])
