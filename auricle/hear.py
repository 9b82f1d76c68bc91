"""A model's embeddings by the three functions that HEAR's benchmark of audio embeddings asks for, in NumPy.

Shape letters: W windows, E values of an embedding.

Source: Turian et al. (2022), "HEAR: Holistic Evaluation of Audio Representations", section 2.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from auricle.artifact import load_artifact
from auricle.runners import load_runner
from auricle.runners.windows import window_starts


class EmbeddingModel(NamedTuple):
    """A model as HEAR wants it; see `load_model`."""

    runner: Any
    sample_rate: int
    scene_embedding_size: int
    timestamp_embedding_size: int


def load_model(model: str | Path = "default", *, threads: int | None = None) -> EmbeddingModel:
    """A model for `get_timestamp_embeddings` and `get_scene_embeddings`.

    Raises:
        ValueError: no such model.

    >>> load_model("default").sample_rate  # doctest: +SKIP
    16000
    """
    artifact = load_artifact(model)
    runner = load_runner(artifact, threads=threads)
    return EmbeddingModel(runner, artifact.rate, artifact.embedding_size, artifact.embedding_size)


def get_timestamp_embeddings(audio: Any, model: EmbeddingModel) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings over time of sounds of one length.

    Args:
        audio: (n, samples) in [-1, 1] at the model's rate.
        model: as `load_model` gives it.

    Returns:
        (n, W, E) float32 embeddings, and (n, W) the middles of their windows in milliseconds. Windows are
        the model's; a sound shorter than a window is padded with zeros.

    Raises:
        ValueError: the audio has another shape, or no sample.

    >>> get_timestamp_embeddings(np.zeros((2, 80000)), load_model("default"))[0].shape  # doctest: +SKIP
    (2, 2, 256)
    """
    artifact = model.runner.artifact
    audio = np.asarray(audio, np.float32)
    if audio.ndim != 2 or not audio.shape[1]:
        raise ValueError(f"expected sounds (n, samples), got {audio.shape}")
    padding = max(artifact.window - audio.shape[1], 0)
    starts = window_starts(audio.shape[1], artifact.window, artifact.hop, artifact.tail)
    rows = []
    for sound in np.pad(audio, ((0, 0), (0, padding))):
        rows.append(
            model.runner.run(np.stack([sound[start : start + artifact.window] for start in starts]))[1]
        )
    middles = (starts + artifact.window / 2) / artifact.rate * 1000
    shape = (len(audio), len(starts))
    return np.reshape(rows, (*shape, artifact.embedding_size)), np.broadcast_to(middles, shape).copy()


def get_scene_embeddings(audio: Any, model: EmbeddingModel) -> np.ndarray:
    """(n, E) float32: one embedding a sound, the mean over its windows; see `get_timestamp_embeddings`.

    >>> get_scene_embeddings(np.zeros((2, 80000)), load_model("default")).shape  # doctest: +SKIP
    (2, 256)
    """
    embeddings, _ = get_timestamp_embeddings(audio, model)
    return embeddings.mean(axis=1, dtype=np.float64).astype(np.float32)
