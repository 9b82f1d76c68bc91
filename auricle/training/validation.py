"""Figures on the validation clips while a model trains.

Shape letters: M clips, W windows, K classes.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy.special import expit

from auricle import distributed
from auricle.datasets.taxonomy import Taxonomy, is_unknown
from auricle.evaluation.scoring import pool, stream_scores
from auricle.metrics.blocks import ALONE, Together, rank_blocks
from auricle.metrics.ranking import summarise
from auricle.metrics.urban import Branch, coarse_metrics, fine_metrics
from auricle.pooling import pooling_of
from auricle.runners.windows import logit, window_starts
from auricle.sampling import share
from auricle.shards import Pack
from auricle.training.batches import embedding_windows
from auricle.training.beside import Beside
from auricle.training.config import TrainConfig
from auricle.training.data import chosen_label_clips
from auricle.training.outcome import LiveRunner

OF_LEVEL = ("micro_auprc", "micro_f1", "macro_auprc")
MANY_PAIRS = 20_000_000  # of clip and class: 80 MB of scores as float32


def validate(live: LiveRunner, pack: Pack, clips: np.ndarray, config: TrainConfig) -> dict[str, float]:
    """Metrics on the validation clips.

    Beyond 20 million pairs of clip and class, scores are kept as float16 logits: half the room, and those of
    a sure model do not tie near 1 as float16 probabilities would.

    Several processes score a share of the clips each, every clip once, by the same network: running
    statistics are those of rank 0. Scores stay where they are, and counts are added up; only the figures of a
    taxonomy want all scores in one place. All processes have rank 0's figures in the end, so that they
    decide alike.
    """
    num_classes = len(live.artifact.labels)
    half = len(clips) * num_classes > MANY_PAIRS
    distributed.share_buffers(live.net)
    mine = clips[share(len(clips), distributed.rank(), distributed.world())]
    scores_MK = np.empty((len(mine), num_classes), np.float16 if half else np.float32)
    for row, scores_K in zip(scores_MK, stream(live, pack, mine) if len(mine) else (), strict=True):
        row[:] = logit(scores_K) if half else scores_K
    together = ALONE if distributed.world() == 1 else Together(distributed.gather, distributed.add)
    positives = chosen_label_clips(pack, mine, config.label_set)
    ranking = rank_blocks(scores_MK, *positives, threads=config.threads, together=together)
    figures = {name: float(value) for name, value in ranking.figures.items()}
    if pack.taxonomy(config.label_set) is not None:
        gathered = distributed.gather(scores_MK)
        whole_MK = scores_MK if len(gathered) == 1 else np.concatenate(gathered)
        figures |= urban_figures(whole_MK, pack, clips, config.label_set, logits=half)
    return distributed.broadcast(figures)


def figure_names(pack: Pack, label_set: str) -> list[str]:
    """What `validate` gives of a label set.

    >>> figure_names(Pack("out/pack"), "labels")[:2]  # doctest: +SKIP
    ['map', 'auc']
    """
    every = [*summarise(np.eye(2, dtype=bool), np.eye(2))]
    if (found := pack.taxonomy(label_set)) is None:
        return every
    taxonomy, names = Taxonomy.from_dict(found), set(pack.label_names(label_set))
    pairs = zip(taxonomy.coarse, taxonomy.fine, strict=True)
    having = {"fine": bool(names & set(taxonomy.fine_labels))}
    having["coarse"] = all(names & {label, *below} for label, below in pairs)
    return every + [f"{name}_{level}" for level, has in having.items() if has for name in OF_LEVEL]


def urban_figures(
    scores_MK: np.ndarray, pack: Pack, clips: np.ndarray, label_set: str, *, logits: bool = False
) -> dict[str, float]:
    """`micro_auprc_fine`, `micro_auprc_coarse` and the like, of a label set with a taxonomy; else nothing.

    By the rules of `auricle.evaluation.urban`: what is true is read of the whole set that a view is of; a
    coarse class without an output has the highest score of its fine ones, a fine label without one 0; clips
    of which nothing is known are left out. But of a set that has the labels of some coarse classes only, as
    that of one of a hierarchy's models, the figures are of these.

    Args:
        scores_MK: of the label set's labels.
        pack: validated on.
        clips: (M,).
        label_set: what they are held against, or a view of it.
        logits: scores are logits.
    """
    found = pack.taxonomy(label_set)
    if found is None:
        return {}
    taxonomy, names = Taxonomy.from_dict(found), pack.label_names(label_set)
    whole = whole_set(pack, label_set)
    told = ~pack.unknown(clips, whole).all(axis=1)
    truth_MK, scores_MK = pack.targets(clips[told], whole) > 0, scores_MK[told].astype(np.float32)
    if not told.any():
        return {}
    truth = dict(zip(pack.label_names(whole), truth_MK.T, strict=True))
    score = dict(zip(names, (expit(scores_MK) if logits else scores_MK).T, strict=True))
    nothing_M = np.zeros(len(truth_MK))
    pairs = list(zip(taxonomy.coarse, taxonomy.fine, strict=True))
    figures: dict[str, float] = {}
    branches: list[Branch] = []
    of_fine: list[str] = []
    for _, below in pairs:
        if not any(label in score for label in below):
            continue
        start, end = len(of_fine), len(of_fine) + len(below)
        unknown = end - 1 if is_unknown(below[-1]) else None
        branches.append((tuple(range(start, end if unknown is None else unknown)), unknown))
        of_fine += below
    if of_fine:
        table = [np.stack([one.get(label, nothing_M) for label in of_fine], axis=1) for one in (truth, score)]
        figures |= _named(fine_metrics(table[0] > 0, table[1], branches), "fine")
    own = [[label] if label in score else [name for name in below if name in score] for label, below in pairs]
    if all(own):
        score_MC = np.stack([np.max([score[name] for name in columns], axis=0) for columns in own], axis=1)
        truth_MC = [
            truth[label]
            if label in truth
            else np.any([truth[name] for name in below if name in truth], axis=0)
            for label, below in pairs
        ]
        figures |= _named(coarse_metrics(np.stack(truth_MC, axis=1), score_MC), "coarse")
    return figures


def whole_set(pack: Pack, label_set: str) -> str:
    """The label set that a view is of, at the end of all views; any other set is its own.

    >>> whole_set(Pack("out/pack"), "agreement50-coarse")  # doctest: +SKIP
    'agreement50'
    """
    while (above := pack.manifest["label_sets"][label_set].get("view_of", "")) in pack.label_sets:
        label_set = above
    return label_set


def _named(figures: dict[str, Any], level: str) -> dict[str, float]:
    return {f"{name}_{level}": float(figures[name]) for name in OF_LEVEL}


def stream(live: LiveRunner, pack: Pack, clips: np.ndarray) -> Iterator[np.ndarray]:
    """(K,) float64 of each clip in turn: from its windows' scores by the model's `pooling`."""
    rule = pooling_of(live.artifact)
    short = bool((pack.lengths[clips] <= live.artifact.window).all())  # a clip is one window
    if live.beside is not None and short and live.beside.serves(clips):
        return pool(_of_both(live, live.beside, pack, clips), len(live.artifact.labels), rule)
    if live.embeddings is None:
        return stream_scores(live, pack, clips, batch=live.batch)
    return pool(_embedded(live, live.embeddings, clips), len(live.artifact.labels), rule)


def _of_both(
    live: LiveRunner, beside: Beside, pack: Pack, clips: np.ndarray
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Logits (W, K) of clips of one window with their stored embeddings, and whose they are."""
    assert beside.rows_CT is not None, "asked before"
    for first in range(0, len(clips), live.batch):
        some = clips[first : first + live.batch]
        waveforms = pack.patches(some, np.zeros(len(some), np.int64), live.artifact.window)
        stored = np.asarray(beside.stored.values[beside.rows_CT[some]])
        heard = waveforms.astype(np.float32) / 32768
        yield live.run_inputs(heard, stored)[0], np.arange(first, first + len(some))


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
