"""Figures on the validation clips while a model trains.

Shape letters: M clips, W windows, K classes.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from auricle.evaluation.scoring import pool, stream_scores
from auricle.metrics.blocks import rank_blocks
from auricle.runners.windows import logit, window_starts
from auricle.shards import Pack
from auricle.training.batches import embedding_windows
from auricle.training.config import TrainConfig
from auricle.training.data import chosen_label_clips
from auricle.training.outcome import LiveRunner

MANY_PAIRS = 20_000_000  # of clip and class: 80 MB of scores as float32


def validate(live: LiveRunner, pack: Pack, clips: np.ndarray, config: TrainConfig) -> dict[str, float]:
    """Metrics on the validation clips.

    Beyond 20 million pairs of clip and class, scores are kept as float16 logits: half the room, and those of
    a sure model do not tie near 1 as float16 probabilities would.
    """
    num_classes = len(live.artifact.labels)
    half = len(clips) * num_classes > MANY_PAIRS
    scores_MK = np.empty((len(clips), num_classes), np.float16 if half else np.float32)
    for row, scores_K in zip(scores_MK, stream(live, pack, clips), strict=True):
        row[:] = logit(scores_K) if half else scores_K
    ranking = rank_blocks(
        scores_MK, *chosen_label_clips(pack, clips, config.label_set), threads=config.threads
    )
    return {name: float(value) for name, value in ranking.figures.items()}


def stream(live: LiveRunner, pack: Pack, clips: np.ndarray) -> Iterator[np.ndarray]:
    """(K,) float64 of each clip in turn: the mean of its windows' scores."""
    if live.embeddings is None:
        return stream_scores(live, pack, clips, batch=live.batch)
    return pool(_embedded(live, live.embeddings, clips), len(live.artifact.labels))


def _embedded(
    live: LiveRunner, embeddings: Any, clips: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Logits (W, K) of examples of stored embeddings, cut as the artifact would, and whose they are.

    A clip without embeddings has one example, of zeros.
    """
    count = int(live.net.input_shape[0])  # type: ignore[index]
    lengths = embeddings.indptr[clips + 1] - embeddings.indptr[clips]
    places = [window_starts(max(int(n), 1), count, count, live.artifact.tail) for n in lengths]
    starts = np.concatenate(places)
    owners = np.repeat(np.arange(len(clips)), [len(place) for place in places])
    for first in range(0, len(starts), live.batch):
        whose = owners[first : first + live.batch]
        inputs = embedding_windows(embeddings, clips[whose], starts[first : first + live.batch], count)
        yield live.run_inputs(inputs)[0], whose
