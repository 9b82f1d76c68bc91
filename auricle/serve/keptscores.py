"""What a model said of a recording, kept exactly: from it comes what `auricle tag` gives, without a model.

Of every window the logits are kept as the model gave them, float32. The windows lie on a grid that the
model's own is a part of: the finer one is for the time-line, both give the numbers of the command line.

Shape letters: W windows, K labels, C columns.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import cache, cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from auricle.artifact import Artifact
from auricle.events import SAME, Event, EventConfig, events_of, smoothed, stretches
from auricle.probabilities import calibrated
from auricle.runners.windows import sigmoid
from auricle.serve.columns import column_times, reduced
from auricle.serve.pictures import Take
from auricle.tagging import Tagger, Windows

LONGEST_HOP, SHORTEST_HOP = 1.0, 0.1  # seconds, of the time-line
ROWS = 1024  # windows that are looked at at once
PORTION = 1 << 20  # scores that are looked at at once
LOGITS, WINDOWS, BEST, SMOOTHED = "logits", "windows", "best.npy", "smoothed"


def fine_hop(artifact: Artifact) -> int:
    """Samples from window to window: the largest part of the model's hop of at most a second.

    Where events have a hop of their own, it is a part of both, if one can be found that is not very short.
    """
    wanted = artifact.hop
    events = events_of(artifact).hop
    if events is not None:
        both = math.gcd(artifact.hop, round(events * artifact.rate))
        wanted = both if both >= SHORTEST_HOP * artifact.rate else artifact.hop
    longest = max(1, int(LONGEST_HOP * artifact.rate))
    parts = range(-(-wanted // longest), wanted + 1)
    return next(wanted // part for part in parts if wanted % part == 0)


class ScoreWriter:
    """Writes windows as they are scored.

    Args:
        folder: for the files.
        take: is told of bytes before they are written.
    """

    def __init__(self, folder: Path, take: Take):
        self.folder, self.take = folder, take
        self._logits, self._windows = (folder / LOGITS).open("wb"), (folder / WINDOWS).open("wb")
        self._best: np.ndarray | None = None  # (2, K): the greatest logit, and where its window begins

    def add(self, part: Windows) -> None:
        """Some more windows."""
        logits = np.ascontiguousarray(part.logits, "<f4")
        self.take(logits.nbytes + 24 * len(logits))
        self._logits.write(logits.tobytes())
        self._windows.write(np.stack([part.starts, part.stops, part.on_grid], axis=1).astype("<i8").tobytes())
        if self._best is None:
            self._best = np.full((2, logits.shape[1]), -np.inf)
        row = logits.argmax(axis=0)
        greatest = logits[row, np.arange(logits.shape[1])]
        higher = greatest > self._best[0]
        self._best[:, higher] = greatest[higher], part.starts[row][higher]

    def finish(self) -> None:
        """Write what is known only now."""
        self.close()
        assert self._best is not None  # a recording without a sample is an error
        np.save(self.folder / BEST, self._best)

    def close(self) -> None:
        """Let go of the files."""
        self._logits.close()
        self._windows.close()


class KeptScores:
    """What a `ScoreWriter` wrote.

    Args:
        folder: with its files.
        artifact: the model that scored.
        hop: samples from window to window.
    """

    def __init__(self, folder: Path, artifact: Artifact, hop: int):
        self.folder, self.artifact, self.hop = folder, artifact, hop

    @cached_property
    def windows(self) -> np.ndarray:
        """(W, 3) int64: first sample, end, whether it is on the grid."""
        return np.fromfile(self.folder / WINDOWS, "<i8").reshape(-1, 3)

    @cached_property
    def logits(self) -> np.ndarray:
        """(W, K) float32, read when they are looked at."""
        shape = (len(self.windows), self.artifact.num_classes)
        return np.memmap(self.folder / LOGITS, "<f4", "r", shape=shape)

    @cached_property
    def bounds(self) -> np.ndarray:
        """(W + 1,) seconds, of the stretches that the windows stand for."""
        return self._bounds(np.arange(len(self.windows)))

    def rows(self, hop: int) -> tuple[np.ndarray, np.ndarray]:
        """The windows of a coarser grid: their rows, and whether each is on it.

        Raises:
            ValueError: the grid is no part of the one that was scored.
        """
        if hop % self.hop or not 0 < hop <= self.artifact.window:
            rate = self.artifact.rate
            raise ValueError(
                f"hop is {hop / rate:g} s; expected {self.hop / rate:g} s or a whole multiple, up to "
                f"{self.artifact.window / rate:g} s"
            )
        on_grid = int(self.windows[:, 2].sum())
        rows = np.arange(0, on_grid, hop // self.hop)
        grid = np.ones(len(rows), bool)
        if rows[-1] != len(self.windows) - 1:  # the last is then the one that is aligned to the end
            rows, grid = np.append(rows, len(self.windows) - 1), np.append(grid, False)
        return rows, grid

    def best(self) -> tuple[np.ndarray, np.ndarray]:
        """Of every label the best score of any window, and when that window begins, in seconds: (K,) each."""
        logits, starts = np.load(self.folder / BEST)
        return sigmoid(calibrated(self.artifact)(logits[None]))[0], starts / self.artifact.rate

    def columns(
        self, start: float, end: float, columns: int, labels: Sequence[int], smooth: bool = False
    ) -> np.ndarray:
        """(labels, C) float32: the best score of each label in each column; NaN where there is no window.

        Args:
            start: seconds.
            end: seconds.
            columns: C.
            labels: places in the model's list.
            smooth: take the scores that events are found in.
        """
        out = np.full((len(labels), columns), np.nan, np.float32)
        begin, stop = column_times(start, end, columns)
        first = np.searchsorted(self.bounds, begin, "right") - 1
        last = np.maximum(first, np.searchsorted(self.bounds, stop, "left") - 1)
        inside = (first < len(self.windows)) & (last >= 0)
        if inside.any():
            first, last = (rows[inside].clip(0, len(self.windows) - 1) for rows in (first, last))
            low, high = int(first.min()), int(last.max()) + 1
            if smooth:
                scores = self._of_events(events_of(self.artifact), self.hop, list(labels))[low:high]
                out[:, inside] = reduced(scores, first - low, last - low, np.maximum).T
            else:
                chosen = self.logits[low:high, list(labels)]
                greatest = reduced(chosen, first - low, last - low, np.maximum)
                out[:, inside] = self._scores(greatest, labels).T
        return out

    def peaks(self, config: EventConfig, hop: int) -> Callable[[str, float, float], float]:
        """A function: the best score of a label from start to end (seconds), as of an event there.

        Args:
            config: the settings of the events.
            hop: samples, see `rows`.
        """
        bounds, labels = self._bounds(self.rows(hop)[0]), self.artifact.labels

        @cache
        def scores_of(label: str) -> np.ndarray:
            return self._of_events(config, hop, [labels.index(label)])[:, 0]

        def peak(label: str, start: float, end: float) -> float:
            first = max(0, int(np.searchsorted(bounds, start + SAME, "right")) - 1)
            last = int(np.searchsorted(bounds, end - SAME, "left"))
            return float(f"{scores_of(label)[first : max(last, first + 1)].max():.6g}")

        return peak

    def events(
        self,
        config: EventConfig,
        hop: int,
        limit: int | None = None,
        start: float = 0.0,
        end: float = math.inf,
    ) -> tuple[list[Event], int]:
        """The events, or the first of them, as `auricle tag --events` finds them; and how many there are.

        Args:
            config: the settings.
            hop: samples, see `rows`.
            limit: how many are given.
            start: seconds; events that are over by then are left out, and do not count.
            end: seconds; the same of events that begin only then.
        """
        rows, _ = self.rows(hop)
        bounds, labels = self._bounds(rows), self.artifact.labels
        best, _ = self.best()
        own = [config.of(label) for label in labels]
        able = [k for k in range(len(labels)) if best[k] >= own[k].onset]  # smoothing makes no score higher
        runs = []
        for some in self._portions(able, len(rows)):
            scores = self._smoothed([own[k].smooth for k in some], rows, hop, some)
            runs += [_runs(bounds, scores[:, column], own[k]) for column, k in enumerate(some)]
        if not runs:
            return [], 0
        starts, ends, greatest = (np.concatenate(part) for part in zip(*runs, strict=True))
        which = np.repeat(np.array(able, np.int64), [len(run[0]) for run in runs])
        starts, ends = starts.round(6), ends.round(6)
        inside = (ends > start) & (starts < end)
        starts, ends, greatest, which = starts[inside], ends[inside], greatest[inside], which[inside]
        rank = np.argsort(np.argsort(np.array(labels, object)))
        order = np.lexsort((rank[which], starts))[:limit]
        events = [
            {
                "start": float(starts[n]),
                "end": float(ends[n]),
                "label": labels[which[n]],
                "score": float(f"{greatest[n]:.6g}"),
            }
            for n in order.tolist()
        ]
        return events, len(starts)

    def keep_smoothed(self, take: Take) -> None:
        """Write the scores that events are found in, where the model's are smoothed: that takes a while."""
        config = events_of(self.artifact)
        seconds = [config.of(label).smooth for label in self.artifact.labels]
        if not any(seconds):
            return
        rows = np.arange(len(self.windows))
        with (self.folder / SMOOTHED).open("wb") as file:  # label by label
            for some in self._portions(range(len(seconds)), len(rows)):
                scores = self._smoothed([seconds[k] for k in some], rows, 0, some)
                take(scores.nbytes)
                file.write(np.ascontiguousarray(scores.T, "<f8").tobytes())

    def _portions(self, labels: Sequence[int], count: int) -> Iterator[list[int]]:
        """Labels, as many at a time as do not take much memory with so many windows."""
        size = max(1, PORTION // max(1, count))
        for start in range(0, len(labels), size):
            yield list(labels[start : start + size])

    def _of_events(self, config: EventConfig, hop: int, labels: list[int]) -> np.ndarray:
        """(rows, labels) float64: the scores that events are found in."""
        seconds = [config.of(self.artifact.labels[k]).smooth for k in labels]
        return self._smoothed(seconds, self.rows(hop)[0], hop, labels)

    def _smoothed(self, seconds: list[float], rows: np.ndarray, hop: int, labels: list[int]) -> np.ndarray:
        """(rows, labels) float64: scores, each label's smoothed over its own seconds."""
        if hop == self.hop and any(seconds) and (self.folder / SMOOTHED).is_file():
            shape = (self.artifact.num_classes, len(self.windows))
            return np.asarray(np.memmap(self.folder / SMOOTHED, "<f8", "r", shape=shape)[labels]).T
        scores = self._scores(self.logits[rows[:, None], labels], labels)
        middles = self.windows[rows, :2].sum(axis=1) / 2 / self.artifact.rate
        for length in sorted({each for each in seconds if each > 0}):
            some = [column for column, each in enumerate(seconds) if each == length]
            scores[:, some] = smoothed(middles, scores[:, some], length)
        return scores

    def tagger(self) -> "KeptTagger":
        """A `Tagger` that knows this recording, whatever it is asked about."""
        return KeptTagger(self)

    def _bounds(self, rows: np.ndarray) -> np.ndarray:
        return stretches(*(self.windows[rows, :2] / self.artifact.rate).T)

    def _scores(self, logits: np.ndarray, labels: Sequence[int]) -> np.ndarray:
        """Scores of some labels' logits (..., those labels), float64."""
        if self.artifact.calibration is None:
            return sigmoid(np.asarray(logits, np.float64))
        whole = np.zeros((*logits.shape[:-1], self.artifact.num_classes))
        whole[..., list(labels)] = logits
        return sigmoid(calibrated(self.artifact)(whole))[..., list(labels)]


class KeptTagger(Tagger):
    """A `Tagger` whose windows were scored before; only their `hop` can be chosen."""

    def __init__(self, kept: KeptScores):
        super().__init__(runner=SimpleNamespace(artifact=kept.artifact))
        self.kept = kept

    def windows(self, source: Any, *, hop: int | None = None, **_: Any) -> Iterator[Windows]:
        """See `Tagger.windows`; there are no embeddings."""
        rows, grid = self.kept.rows(self.artifact.hop if hop is None else hop)
        for start in range(0, len(rows), ROWS):
            part = rows[start : start + ROWS]
            starts, stops, _on = self.kept.windows[part].T
            logits = np.asarray(self.kept.logits[part])
            yield Windows(
                starts, stops, grid[start : start + ROWS], logits, np.zeros((len(part), 0), np.float32)
            )


def _runs(
    bounds: np.ndarray, scores_W: np.ndarray, config: EventConfig
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Starts, ends and scores of one label's events; the rules are those of `auricle.events`, unsmoothed."""
    on = np.concatenate([[False], scores_W >= config.offset, [False]])
    changes = np.flatnonzero(on[1:] != on[:-1])
    first, after = changes[::2], changes[1::2]
    if not len(first):
        return np.zeros(0), np.zeros(0), np.zeros(0)
    greatest = np.maximum.reduceat(np.append(scores_W, 0.0), np.stack([first, after], 1).ravel())[::2]
    kept = greatest >= config.onset
    starts, ends, greatest = bounds[first[kept]], bounds[after[kept]], greatest[kept]
    if not len(starts):
        return starts, ends, greatest
    apart = np.flatnonzero(np.append(True, starts[1:] - ends[:-1] > config.max_gap + SAME))
    starts, greatest = starts[apart], np.maximum.reduceat(greatest, apart)
    ends = ends[np.append(apart[1:], len(ends)) - 1]
    long = ends - starts >= config.min_length - SAME
    return starts[long], ends[long], greatest[long]
