"""Runs a model that takes embeddings, on waveforms: its embedder first, then its own net.

Shape letters: B windows of the model, N samples of such a window, T windows of the embedder in it, D values
of an embedding, K classes, E values of the model's own embedding.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from auricle.runners.windows import check_windows


class ComposedRunner:
    """See `auricle.runners.load_runner`.

    Args:
        artifact: of a model whose input is an embedding.
        embedder: runner of the model that makes it.
        head: (B, T, D) float32 -> ((B, K), (B, E)) float32, for any B, a row's answer independent of others.
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
        """(B, window) float32 -> (B, T, D) float32, what the net gets."""
        return embed_windows(self.embedder, waveforms_BN)

    def run_embedded(
        self, waveforms_BN: np.ndarray, embeddings_BTD: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """As `run`, of waveforms whose embeddings may be known already."""
        count = len(waveforms_BN)
        logits_BK = np.empty((count, self.artifact.num_classes), np.float32)
        embeddings_BE = np.empty((count, self.artifact.embedding_size), np.float32)
        for start in range(0, count, self.batch):
            part = slice(start, start + self.batch)
            x_BTD = self.embed(waveforms_BN[part]) if embeddings_BTD is None else embeddings_BTD[part]
            logits_BK[part], embeddings_BE[part] = self._head(x_BTD)
        return logits_BK, embeddings_BE


def embed_windows(embedder: Any, waveforms_BN: np.ndarray) -> np.ndarray:
    """Embeddings of the windows within waveforms: what a model that takes embeddings sees of them.

    Args:
        embedder: a runner, as `auricle.runners.load_runner` gives it.
        waveforms_BN: (B, N) float32, N = window + (T - 1) * hop of the embedder.

    Returns:
        (B, T, D) float32.

    Raises:
        ValueError: the waveforms are shorter than a window, or samples are left over.

    >>> embed_windows(runner, np.zeros((2, 15600 + 9 * 15360), np.float32)).shape  # doctest: +SKIP
    (2, 10, 128)
    """
    window, hop = embedder.artifact.window, embedder.artifact.hop
    batch, samples = waveforms_BN.shape
    windows, left = divmod(samples - window, hop)
    if samples < window or left:
        raise ValueError(
            f"expected waveforms of {window} samples and any number of times {hop} more, got {samples}"
        )
    cut = np.lib.stride_tricks.sliding_window_view(waveforms_BN, window, axis=1)[:, ::hop]
    _, embeddings = embedder.run(np.ascontiguousarray(cut.reshape(-1, window), dtype=np.float32))
    return embeddings.reshape(batch, windows + 1, -1)
