"""Runs a model of two inputs on waveforms: its own front end, and an embedder of another rate beside it.

The embedder hears the model's window resampled (soxr, HQ) to its own rate, and gives exactly T embeddings: of
its windows from the first sample on, its hop apart. What lies beyond the T-th is not heard; where the window
ends before it, zeros follow. So 10 s are 10 windows of VGGish (9.78 s), the tail dropped, as published.

Shape letters: B windows of the model, N samples of such a window, T windows of the embedder in it, D values
of an embedding, K classes, E values of the model's own embedding.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import soxr

from auricle.runners.composed import embed_windows
from auricle.runners.windows import check_windows

# Seconds before a cut in which resampled samples depend on what comes after it. Measured of soxr's HQ to
# 16 kHz: 13 ms from 44.1 kHz, 30 from 48, 40 from 32; differences above 1e-6 only in the last 6 ms.
EDGE = 0.05


class FusionRunner:
    """See `auricle.runners.load_runner`.

    Args:
        artifact: of a model whose second input is an embedding.
        embedder: runner of the model that makes it.
        head: ((B, N), (B, T, D)) float32 -> ((B, K), (B, E)) float32, for any B, a row's answer independent
            of others.
        batch: windows of the model at a time.
    """

    def __init__(self, artifact: Any, embedder: Any, head: Callable[..., Any], *, batch: int):
        self.artifact = artifact
        self.embedder = embedder
        self.batch = batch
        self._head = head

    def run(self, waveforms_BN: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(B, window) float32 -> logits (B, K) and embeddings (B, E), float32, for any B."""
        check_windows(waveforms_BN, self.artifact.window)
        return self.run_embedded(waveforms_BN, None)

    def embed(self, waveforms_BN: np.ndarray) -> np.ndarray:
        """(B, window) float32 -> (B, T, D) float32, what the net gets beside its own features."""
        windows = self.artifact.embedder_windows
        return embed_resampled(self.embedder, waveforms_BN, self.artifact.rate, windows)

    def run_embedded(
        self, waveforms_BN: np.ndarray, embeddings_BTD: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """As `run`, of waveforms whose embeddings may be known already."""
        count = len(waveforms_BN)
        logits_BK = np.empty((count, self.artifact.num_classes), np.float32)
        embeddings_BE = np.empty((count, self.artifact.embedding_size), np.float32)
        for start in range(0, count, self.batch):
            part = slice(start, start + self.batch)
            x_BN = np.asarray(waveforms_BN[part], np.float32)
            x_BTD = self.embed(x_BN) if embeddings_BTD is None else embeddings_BTD[part]
            logits_BK[part], embeddings_BE[part] = self._head((x_BN, x_BTD))
        return logits_BK, embeddings_BE


def embed_resampled(embedder: Any, waveforms_BN: np.ndarray, rate: int, windows: int) -> np.ndarray:
    """Embeddings of waveforms of any rate: what a model of two inputs sees of them beside its own features.

    Args:
        embedder: a runner, as `auricle.runners.load_runner` gives it.
        waveforms_BN: (B, N) float32.
        rate: of the waveforms in Hz, at least the embedder's.
        windows: T. Which they are is said at the top of this file.

    Returns:
        (B, T, D) float32; a row does not depend on the others, to the last bit.

    Raises:
        ValueError: the waveforms are not (B, N), or the rate is below the embedder's.

    >>> embed_resampled(runner, np.zeros((2, 441000), np.float32), 44100, 10).shape  # doctest: +SKIP
    (2, 10, 1024)
    """
    artifact = embedder.artifact
    if waveforms_BN.ndim != 2:
        raise ValueError(f"expected waveforms (B, N), got {waveforms_BN.shape}")
    if rate < artifact.rate:
        raise ValueError(
            f"waveforms of {rate} Hz, but the embedder {artifact.name} needs {artifact.rate} Hz, and what "
            "was cut off does not come back"
        )
    needed = artifact.window + (windows - 1) * artifact.hop
    fitted_BN = np.zeros((len(waveforms_BN), needed), np.float32)
    for row, waveform_N in zip(fitted_BN, waveforms_BN, strict=True):
        heard = np.asarray(waveform_N, np.float32)
        if rate != artifact.rate:
            heard = soxr.resample(heard, rate, artifact.rate, quality="HQ")
        row[: len(heard)] = heard[:needed]
    if not len(fitted_BN):
        return np.zeros((0, windows, artifact.embedding_size), np.float32)
    return embed_windows(embedder, fitted_BN)


def stored_rows(
    indptr: np.ndarray,
    about: Mapping[str, Any],
    lengths: np.ndarray,
    *,
    rate: int,
    window: int,
    windows: int,
) -> np.ndarray:
    """Which rows of a pack's embedding set are what `embed_resampled` gives of the first window of each clip.

    They are the same to float16's rounding, in which sets are stored (2^-11 of a value). A clip has such rows
    where all T windows lie in it, and end 50 ms before the model's window does if the clip goes on after
    that: resampled samples depend on what comes after them that far.

    Args:
        indptr: (C + 1,) bounds of the clips' rows in the set.
        about: of the set: rate, window, hop and pooling.
        lengths: (C,) samples of the clips, at the pack's rate.
        rate: of the pack, and of the model's waveforms.
        window: samples of the model's window at that rate; a shorter clip is padded with zeros.
        windows: T.

    Returns:
        (C, T) int64, rows of the set's values; -1 in all of a clip's places where they have to be computed.

    Raises:
        ValueError: the set holds one embedding a clip.

    >>> about = {"rate": 8000, "window": 800, "hop": 400, "pooling": "none"}
    >>> lengths = np.array([3200, 1600])
    >>> stored_rows(np.array([0, 3, 4]), about, lengths, rate=16000, window=3200, windows=3)
    array([[ 0,  1,  2],
           [-1, -1, -1]])
    """
    if about.get("pooling", "none") != "none":
        raise ValueError(
            f"the embedding set holds one embedding a clip, the {about['pooling']} of its windows'; embed "
            "the pack again without --clips"
        )
    indptr, lengths = np.asarray(indptr, np.int64), np.asarray(lengths, np.int64)
    end = about["window"] + (windows - 1) * about["hop"]
    heard = lengths * about["rate"] // rate
    cut_early = window * about["rate"] / rate - (EDGE * about["rate"] if about["rate"] != rate else 0)
    usable = (np.diff(indptr) >= windows) & (heard >= end) & ((lengths <= window) | (end <= cut_early))
    return np.where(usable[:, None], indptr[:-1, None] + np.arange(windows), -1)
