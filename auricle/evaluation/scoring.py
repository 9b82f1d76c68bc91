"""Clips of a pack through a model, a batch of windows at a time.

Shape letters: M clips evaluated, W windows, K classes of the model.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import soxr

from auricle.artifact import load_artifact
from auricle.pooling import pooling_of
from auricle.probabilities import calibrated, clip_scores
from auricle.progress import Progress
from auricle.runners import load_runner
from auricle.runners.windows import PooledScores, window_starts


def score_clips(
    runner: Any,
    pack: Any,
    clips: np.ndarray,
    *,
    batch: int = 16,
    pooling: str | None = None,
    quiet: bool = False,
) -> np.ndarray:
    """Scores of clips of a pack, by the artifact's window, hop and tail.

    Args:
        runner: as `auricle.runners.load_runner` gives it.
        pack: a `Pack` whose rate is at least the model's.
        clips: (M,) positions in the pack.
        batch: windows scored at once.
        pooling: how windows' scores become a clip's: see `auricle.runners.windows.PooledScores`; None is the
            model's own way.
        quiet: show no progress.

    Returns:
        (M, K) float32 in [0, 1]. A clip without samples scores as silence.

    Raises:
        ValueError: the pack's rate is below the model's, or the pooling is unknown.

    >>> runner = load_runner(load_artifact("default"))  # doctest: +SKIP
    >>> score_clips(runner, Pack("out/pack"), np.arange(10)).shape  # doctest: +SKIP
    (10, 50)
    """
    scores_MK = np.empty((len(clips), len(runner.artifact.labels)), np.float32)
    with Progress(len(clips), "scoring", unit="clips", quiet=quiet) as progress:
        scored = stream_scores(runner, pack, clips, batch=batch, pooling=pooling)
        for row, scores_K in zip(scores_MK, scored, strict=True):
            row[:] = scores_K
            progress.advance()
    return scores_MK


def stream_scores(
    runner: Any, pack: Any, clips: np.ndarray, *, batch: int = 16, pooling: str | None = None
) -> Iterator[np.ndarray]:
    """(K,) float64 of each clip in turn, as `score_clips` has them, holding one batch of windows.

    >>> for scores_K in stream_scores(runner, Pack("out/pack"), np.arange(10)):  # doctest: +SKIP
    ...     print(scores_K.argmax())
    """
    artifact = runner.artifact
    of_windows = calibrated(artifact)
    pooling = pooling or pooling_of(artifact)
    of_clip = clip_scores(artifact) if pooling == pooling_of(artifact) else np.asarray
    batches = (
        (of_windows(logits), owners) for logits, owners in stream_logits(runner, pack, clips, batch=batch)
    )
    for scores_K in pool(batches, len(artifact.labels), pooling):
        yield of_clip(scores_K)


def stream_logits(
    runner: Any, pack: Any, clips: np.ndarray, *, batch: int = 16
) -> Iterator[tuple[np.ndarray, list[int]]]:
    """Logits (W, K) of a batch of windows, as the model gives them, and each one's position in `clips`.

    Clips come in their order; what is yielded holds until the next.

    >>> for logits_WK, owners in stream_logits(runner, Pack("out/pack"), np.arange(10)):  # doctest: +SKIP
    ...     print(owners)
    """
    check_rate(runner.artifact, pack)
    buffer = np.zeros((batch, runner.artifact.window), np.float32)
    owners: list[int] = []  # of the buffer's rows: clips in order, each clip's windows together
    return _batches(runner.artifact, pack, clips, runner, buffer, owners)


def pool(
    batches: Iterable[tuple[np.ndarray, Any]], num_classes: int, pooling: str = "mean"
) -> Iterator[np.ndarray]:
    """(K,) float64 scores of each clip in turn, from its windows' logits, however they come in batches.

    Args:
        batches: (W, K) logits, and for each of the W windows its clip's number: all clips' from 0 on, rising.
        num_classes: K.
        pooling: see `auricle.runners.windows.PooledScores`.

    >>> [score.tolist() for score in pool([(np.zeros((2, 1)), [0, 0]), (np.zeros((1, 1)), [1])], 1)]
    [[0.5], [0.5]]
    """
    owner, pooled = None, PooledScores(num_classes, pooling)
    for logits_WK, whose in batches:
        bounds = np.flatnonzero(np.diff(whose, prepend=-1, append=-1))
        for start, end in zip(bounds, bounds[1:], strict=False):
            if whose[start] != owner:
                if owner is not None:
                    yield pooled.score()
                owner, pooled = whose[start], PooledScores(num_classes, pooling)
            pooled.add(logits_WK[start:end])
    if owner is not None:
        yield pooled.score()


def _batches(
    artifact: Any, pack: Any, clips: np.ndarray, runner: Any, buffer: np.ndarray, owners: list[int]
) -> Iterator[tuple[np.ndarray, list[int]]]:
    """Logits of a batch of windows, and the row of the clip that each belongs to."""
    for owner, window in _windows(artifact, pack, clips):
        buffer[len(owners), : len(window)] = window
        buffer[len(owners), len(window) :] = 0
        owners.append(owner)
        if len(owners) == len(buffer):
            yield runner.run(buffer)[0], owners
            owners.clear()
    if owners:
        yield runner.run(buffer[: len(owners)])[0], owners


def _windows(artifact: Any, pack: Any, clips: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """(row of the clip, its next window as float32, shorter where the clip ends)."""
    for row, clip in enumerate(clips):
        samples = pack.samples(int(clip))
        if pack.rate != artifact.rate:
            samples = soxr.resample(
                samples.astype(np.float32) / 32768, pack.rate, artifact.rate, quality="HQ"
            )
        starts = window_starts(len(samples), artifact.window, artifact.hop, artifact.tail)
        for start in starts if len(starts) else (0,):
            window = samples[start : start + artifact.window]
            yield row, window.astype(np.float32) / 32768 if window.dtype == np.int16 else window


def open_model(model: Any, pack: Any, **options: Any) -> tuple[Any, Any]:
    """Runner and artifact of what the caller gave; the rate is looked at before anything heavy is loaded.

    >>> runner, artifact = open_model("default", Pack("out/pack"), threads=1)  # doctest: +SKIP
    """
    if hasattr(model, "run"):
        check_rate(model.artifact, pack)
        return model, model.artifact
    artifact = model if hasattr(model, "labels") else load_artifact(model)
    check_rate(artifact, pack)
    return load_runner(artifact, **options), artifact


def check_rate(artifact: Any, pack: Any) -> None:
    """Refuse a pack whose rate is below the model's.

    >>> check_rate(load_artifact("default"), Pack("out/pack"))  # doctest: +SKIP
    """
    if pack.rate < artifact.rate:
        raise ValueError(
            f"{pack.path}: packed at {pack.rate} Hz, but the model needs {artifact.rate} Hz, and what was "
            f"cut off does not come back: pack the source again with --rate {artifact.rate}"
        )
