"""A recording's windows, scored as it is read: for `auricle.tagging.Tagger`.

Shape letters: B windows of a batch, K classes, E embedding, S steps of a window.
"""

import contextlib
import queue
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from auricle.audio import Block, Device, RawFormat
from auricle.listening import (
    BLOCKS_AHEAD,
    LIVE_AHEAD_SECONDS,
    LIVE_BLOCK_SECONDS,
    cut,
    decoded_ahead,
    never_empty,
    source_name,
)
from auricle.runners.windows import step_spans

Source = str | Path | BinaryIO | Device
Span = tuple[int, int, bool]  # start, stop, on the grid?


class Windows(NamedTuple):
    """Some windows and what the model says of them."""

    starts: np.ndarray  # (B,) int64, first sample, counted from the recording's beginning at the model's rate
    stops: np.ndarray  # (B,) int64, end of what was heard: before start + window in a shorter recording
    on_grid: np.ndarray  # (B,) bool; False for the one that was aligned to the end
    logits: np.ndarray  # (B, K) float32
    embeddings: np.ndarray  # (B, E) float32


def scored_windows(
    runner: Any,
    source: Source,
    *,
    batch: int,
    hop: int,
    start: float,
    end: float | None,
    raw: RawFormat | None,
    warn: Callable[[str], None] | None,
    live: bool,
    stop: threading.Event | None,
    decoded: Iterator[Block] | None,
    whole: bool,
) -> Iterator[Windows]:
    """`auricle.tagging.Tagger.windows` by a runner, `batch` windows of `hop` samples at a time.

    >>> for part in scored_windows(runner, "dog.wav", batch=4, hop=16000, **place):  # doctest: +SKIP
    ...     print(part.starts)
    """
    artifact = runner.artifact
    if hop < 1:
        raise ValueError(f"hop is {hop}; expected at least 1 sample")
    gathered = np.empty((batch, artifact.window), np.float32)
    spans: list[Span] = []  # of the windows gathered so far
    in_steps = artifact.step and not whole and hasattr(runner, "run_steps")
    covered = 0 if in_steps else None  # the end of what steps were told of
    depth = round(LIVE_AHEAD_SECONDS / LIVE_BLOCK_SECONDS) if live else BLOCKS_AHEAD
    ready: queue.Queue[Block | BaseException | None] = queue.Queue(depth)
    if decoded is None:
        place: dict[str, Any] = {"start": start, "end": end, "raw": raw}
        ahead = decoded_ahead(ready, source, artifact.rate, **place, warn=warn, live=live, stop=stop)
    else:
        ahead = never_empty(decoded, source_name(source))
    with contextlib.closing(ahead):  # its thread ends here, also where the caller stops early
        for piece in cut(ahead, artifact.window, hop):
            if piece is not None:
                samples, begin, upto, on_grid = piece
                gathered[len(spans), : len(samples)] = samples
                gathered[len(spans), len(samples) :] = 0
                spans.append((begin, upto, on_grid))
            if len(spans) == batch or (live and spans and piece is None and ready.empty()):
                yield _score(runner, source, gathered[: len(spans)], spans, covered)
                covered, spans = None if covered is None else spans[-1][1], []
        if spans:
            yield _score(runner, source, gathered[: len(spans)], spans, covered)


def _score(
    runner: Any, source: Source, waveforms_BN: np.ndarray, spans: list[Span], covered: int | None
) -> Windows:
    if covered is not None:
        return _score_steps(runner, source, waveforms_BN, spans, covered)
    starts, stops, on_grid = zip(*spans, strict=True)
    logits, embeddings = runner.run(waveforms_BN)
    _check_finite(runner.artifact, source, logits, starts)
    return Windows(
        np.array(starts, np.int64), np.array(stops, np.int64), np.array(on_grid), logits, embeddings
    )


def _score_steps(
    runner: Any, source: Source, waveforms_BN: np.ndarray, spans: list[Span], covered: int
) -> Windows:
    logits_BSK, embeddings_BSE = runner.run_steps(waveforms_BN)
    rows: list[tuple[np.ndarray, ...]] = []
    for (start, stop, on_grid), logits, embeddings in zip(spans, logits_BSK, embeddings_BSE, strict=True):
        which, starts, stops = step_spans(
            start, stop, step=runner.artifact.step, count=len(logits), covered=covered
        )
        _check_finite(runner.artifact, source, logits[which], starts)
        rows.append((starts, stops, np.full(len(starts), on_grid), logits[which], embeddings[which]))
        covered = stop
    return Windows(*(np.concatenate(column) for column in zip(*rows, strict=True)))


def _check_finite(artifact: Any, source: Source, logits: np.ndarray, starts: Any) -> None:
    finite = np.isfinite(logits).all(axis=1)
    if not finite.all():
        seconds = starts[int(np.argmin(finite))] / artifact.rate
        raise ValueError(
            f"{source_name(source)}: the model {artifact.name} gives a score that is no number at "
            f"{seconds:.2f} s; auricle check tells whether the model is damaged"
        )
