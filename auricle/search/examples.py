"""Which windows of an example hold nothing: what is like those is silence, wherever it is.

Shape letters: B windows of a batch, N samples, K classes, W windows, E values of an embedding.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from auricle.fingerprint import SILENT, Sound, decibels
from auricle.text import counted


class SilenceMarker:
    """A runner that gives silent windows an embedding that is no number, which no window of sound has.

    Args:
        runner: as `auricle.runners.load_runner` gives it.

    >>> tagger.runner = SilenceMarker(tagger.runner)  # doctest: +SKIP
    """

    def __init__(self, runner: Any):
        self.runner, self.artifact = runner, runner.artifact

    def run(self, waveforms_BN: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(B, K) logits and (B, E) embeddings, those of silence NaN."""
        logits, embeddings = self.runner.run(waveforms_BN)
        silent = is_silent(waveforms_BN, self.artifact.rate)
        return logits, np.where(silent[:, None], np.float32(np.nan), embeddings)


def is_silent(waveforms_BN: np.ndarray, rate: int) -> np.ndarray:
    """(B,) bool: whether no frame of a window is above digital silence, see `auricle.fingerprint`.

    >>> is_silent(np.stack([np.zeros(32000), np.sin(np.arange(32000))]), 16000)
    array([ True, False])
    """
    count = waveforms_BN.shape[1]
    size = min(Sound(rate).size, count)
    first = range(0, count - size + 1, size)
    frames = np.stack([waveforms_BN[:, at : at + size] for at in (*first, count - size)], axis=1)
    frames = frames.astype(np.float64) - frames.mean(axis=2, keepdims=True, dtype=np.float64)
    return np.asarray((decibels(np.square(frames).mean(axis=2)) < SILENT).all(axis=1))


def audible(embeddings_WE: np.ndarray, warn: Callable[[str], None]) -> np.ndarray:
    """The embeddings that `SilenceMarker` did not mark.

    Args:
        embeddings_WE: of an example.
        warn: is told how many were.

    Raises:
        ValueError: all were.

    >>> audible(np.array([[1.0, 2.0], [np.nan, np.nan]]), print)
    1 of 2 windows is digital silence and is not looked for
    array([[1., 2.]])
    """
    silent = np.isnan(embeddings_WE).any(axis=1)
    if silent.all():
        raise ValueError(
            "the example is digital silence, which is like all other silence; give one in which something is "
            "heard"
        )
    if silent.any():
        verb = "is" if silent.sum() == 1 else "are"
        warn(
            f"{silent.sum():,} of {counted(len(silent), 'window')} {verb} digital silence and {verb} not "
            "looked for"
        )
    return embeddings_WE[~silent]
