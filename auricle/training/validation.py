"""Figures on the validation clips while a model trains.

Shape letters: M clips, K classes.
"""

from typing import Any

import numpy as np

from auricle.evaluation import score_clips
from auricle.metrics.blocks import rank_blocks
from auricle.metrics.ranking import summarise
from auricle.runners.windows import MeanScores, window_starts
from auricle.shards import Pack
from auricle.training.batches import embedding_windows
from auricle.training.config import TrainConfig
from auricle.training.data import chosen_label_clips
from auricle.training.outcome import LiveRunner

MANY_PAIRS = 20_000_000  # of clip and class: 80 MB of scores, and four times that to rank them at once


def validate(live: LiveRunner, pack: Pack, clips: np.ndarray, config: TrainConfig) -> dict[str, float]:
    """Metrics on the validation clips.

    Beyond 20 million pairs of clip and class, scores are kept as float16 and ranked a block at a time.
    """
    num_classes = len(live.artifact.labels)
    if len(clips) * num_classes <= MANY_PAIRS:
        targets = pack.targets(clips, config.label_set) > 0
        return {name: float(value) for name, value in summarise(targets, score(live, pack, clips)).items()}
    scores_MK = np.empty((len(clips), num_classes), np.float16)
    few = max(1, MANY_PAIRS // num_classes // 4)
    for start in range(0, len(clips), few):
        scores_MK[start : start + few] = score(live, pack, clips[start : start + few])
    ranking = rank_blocks(scores_MK, *chosen_label_clips(pack, clips, config.label_set))
    return {name: float(value) for name, value in ranking.figures.items()}


def score(live: LiveRunner, pack: Pack, clips: np.ndarray) -> np.ndarray:
    """(M, K) float32: the mean of each clip's windows' scores."""
    if live.embeddings is None:
        return score_clips(live, pack, clips, batch=live.batch, quiet=True)
    return score_embeddings(live, live.embeddings, clips)


def score_embeddings(live: LiveRunner, embeddings: Any, clips: np.ndarray) -> np.ndarray:
    """(M, K) float32: as `score_clips`, from stored embeddings; examples are cut as the artifact would.

    A clip without embeddings scores as one of zeros.
    """
    count = int(live.net.input_shape[0])  # type: ignore[index]
    scores_MK = np.empty((len(clips), len(live.artifact.labels)), np.float32)
    for row, clip in enumerate(clips):
        length = int(embeddings.indptr[clip + 1] - embeddings.indptr[clip])
        starts = window_starts(max(length, 1), count, count, live.artifact.tail)
        inputs = embedding_windows(embeddings, np.full(len(starts), clip), starts, count)
        scores_MK[row] = MeanScores(scores_MK.shape[1]).add(live.run_inputs(inputs)[0]).mean()
    return scores_MK
