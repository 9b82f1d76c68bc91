"""Scores over time of clips, or of recordings as they are read: what events are found in.

Windows are cut as `auricle tag --events` cuts them: a hop apart, and one more aligned to the end of a clip.

Shape letters: M clips, W windows of a clip, S classes.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import soxr

from auricle.evaluation.recordings import Recordings
from auricle.events import EventConfig, smoothed
from auricle.probabilities import calibrated
from auricle.runners.lengths import at_window
from auricle.runners.windows import sigmoid, step_spans, window_starts


class Line(NamedTuple):
    """The scores of a clip over time."""

    times: np.ndarray  # (W, 2) float64, start and stop of each window in seconds
    scores: np.ndarray  # (W, S) float64


def hop_samples(artifact: Any, config: EventConfig) -> int:
    """Samples from window to window when events are looked for.

    Raises:
        ValueError: the hop is longer than a window, or shorter than a sample; no window has such a length.

    >>> from types import SimpleNamespace
    >>> hop_samples(SimpleNamespace(rate=16000, window=32000, hop=32000), EventConfig(hop=0.5))
    8000
    """
    artifact = at_window(artifact, config.window)
    if config.hop is None:
        return int(artifact.hop)
    if not 1 <= config.hop * artifact.rate <= artifact.window:
        raise ValueError(
            f"hop is {config.hop:g} s; expected at most {artifact.window / artifact.rate:g} s, a window of "
            "this model, so that nothing goes unheard"
        )
    return round(config.hop * artifact.rate)


def score_lines(
    runner: Any, pack: Any, clips: np.ndarray, columns: Sequence[int], *, hop: int, batch: int = 16
) -> Iterator[Line]:
    """The scores over time of each clip in turn, of some of the model's classes.

    Windows stand as in `auricle tag`: the last is aligned to the end, and a clip shorter than a window is
    padded, but its one window ends where the clip does. A clip without samples is silence for a window. A net
    that decides for steps within a window has a row for each.

    >>> lines = score_lines(runner, Pack("out/scenes"), clips, [0, 3], hop=8000)  # doctest: +SKIP
    >>> for line in lines:  # doctest: +SKIP
    ...     print(line.scores.max(axis=0))
    """
    artifact, mapped = runner.artifact, calibrated(runner.artifact)
    buffer = np.zeros((batch, artifact.window), np.float32)
    in_steps = artifact.step and hasattr(runner, "run_steps")
    # Spans of windows, and times and scores so far; the first is the next one, the last may not have all its
    # windows yet.
    lines: list[tuple[list[tuple[int, int]], list[np.ndarray], list[np.ndarray]]] = []
    owners: list[int] = []  # of the buffer's rows: places in `lines`

    def run() -> None:
        rows = buffer[: len(owners)]
        logits_BSK = runner.run_steps(rows)[0] if in_steps else runner.run(rows)[0][:, None]
        for owner, logits_SK in zip(owners, logits_BSK, strict=True):
            spans, times, scores = lines[owner]
            start, stop = spans[len(times)]
            told, starts, stops = np.ones(1, bool), np.array([start]), np.array([stop])
            if in_steps:
                covered = spans[len(times) - 1][1] if times else 0
                told, starts, stops = step_spans(
                    start, stop, step=artifact.step, count=len(logits_SK), covered=covered
                )
            times.append(np.stack([starts, stops], 1))
            scores.append(sigmoid(mapped(logits_SK[told]))[:, columns])
        owners.clear()

    def ready(open_lines: int) -> Iterator[Line]:
        while len(lines) > open_lines and len(lines[0][1]) == len(lines[0][0]):
            _, times, scores = lines.pop(0)
            owners[:] = [owner - 1 for owner in owners]
            yield Line(np.concatenate(times) / artifact.rate, np.concatenate(scores))

    for clip in clips:
        lines.append(([], [], []))
        for window, start, stop in _windows(pack, int(clip), artifact, hop):
            lines[-1][0].append((start, stop))
            buffer[len(owners), : len(window)] = window
            buffer[len(owners), len(window) :] = 0
            owners.append(len(lines) - 1)
            if len(owners) == batch:
                run()
                yield from ready(1)
    if owners:
        run()
    yield from ready(0)


def _windows(pack: Any, clip: int, artifact: Any, hop: int) -> Iterator[tuple[np.ndarray, int, int]]:
    """(samples, first sample, end) of each window of a clip, at the model's rate."""
    if isinstance(pack, Recordings):
        yield from pack.windows(clip, artifact.window, hop)
        return
    samples = pack.samples(clip).astype(np.float32) / 32768
    if pack.rate != artifact.rate:
        samples = soxr.resample(samples, pack.rate, artifact.rate, quality="HQ")
    length = max(len(samples), 1)
    for start in window_starts(length, artifact.window, hop, "align").tolist():
        yield samples[start : start + artifact.window], start, min(start + artifact.window, length)


def smoothed_line(line: Line, labels: Sequence[str], config: EventConfig) -> np.ndarray:
    """(W, S) scores, smoothed as each label's settings say.

    >>> line = Line(np.array([[0.0, 1.0], [1.0, 2.0]]), np.array([[0.2], [0.4]]))
    >>> smoothed_line(line, ["dog"], EventConfig(smooth=2.0)).round(3).ravel().tolist()
    [0.3, 0.3]
    """
    seconds_S = np.array([config.of(label).smooth for label in labels])
    middles, scores = line.times.mean(axis=1), np.array(line.scores, np.float64)
    for seconds in np.unique(seconds_S[seconds_S > 0]).tolist():
        which = seconds_S == seconds
        scores[:, which] = smoothed(middles, scores[:, which], seconds)
    return scores
