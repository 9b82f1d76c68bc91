"""Whether rows bear out what a paper says: differences of a figure, with intervals over recordings and seeds.

Rows are judged on the same clips, so a difference of two, or of two differences, is drawn as one: each draw
takes as many recordings as there are, with replacement, and all rows are scored on it. Only seeds count that
all of the rows have. Where these are two or more, each draw takes as many seeds as there are, too, with
replacement and the same ones for all rows, and averages over them: the interval is then over test recordings
and trainings. With one seed it is over recordings alone: what another seed of training could change is not
in it.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from auricle.experiments.cells import FIGURES as NAMED
from auricle.experiments.options import RANKING, Claim, GainClaim
from auricle.metrics.ranking import summarise

HOLDS, FAILS, OPEN, UNTESTED = "holds", "does not hold", "within the interval", "not tested"
DRAWS = 200  # of a difference
SEED_OF_SEEDS = 1  # another one than that of the recordings, or both would be drawn alike
LEVEL = 0.95
BySeed = Mapping[int, np.ndarray]  # seed of training -> (1 + draws,)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the rows say of a claim.

    Args:
        text: the claim.
        verdict: "holds": the interval of every difference lies above 0. "does not hold": one lies below 0
            whole. "within the interval": neither, so these recordings and seeds cannot tell. "not tested":
            rows are missing, or have no seed in common.
        details: a sentence for each pair.
    """

    text: str
    verdict: str
    details: tuple[str, ...]


@dataclass(frozen=True)
class Scored:
    """Scores of one evaluation: targets (N, K) bool, scores (N, K), groups and ids (N,)."""

    targets_NK: np.ndarray
    scores_NK: np.ndarray
    groups_N: np.ndarray
    ids_N: np.ndarray


def read_scores(evaluation: Path, labels: Sequence[str]) -> Scored:
    """What `evaluate` wrote to a folder, the columns of some labels, in their order.

    Raises:
        ValueError: a label is not among the scores.
    """
    import pyarrow.parquet as pq

    table = pq.read_table(evaluation / "scores.parquet")
    names: list[str] = json.loads(table.schema.metadata[b"labels"])
    if missing := sorted(set(labels) - set(names)):
        raise ValueError(f"{evaluation}: has no scores of {', '.join(missing[:5])}")
    columns = [names.index(label) for label in labels]
    scores_NK = np.stack(table["scores"].to_numpy())[:, columns]
    truth = [set(row) for row in table["labels"].to_pylist()]
    targets_NK = np.array([[label in row for label in labels] for row in truth], bool)
    ids, groups = (table[name].to_numpy(zero_copy_only=False) for name in ("id", "group"))
    alone = [group or "\x1f" + clip for group, clip in zip(groups, ids, strict=True)]  # a clip without one
    return Scored(targets_NK, scores_NK, np.array(alone), ids)


def draw_figures(scored: Scored, draws: int = DRAWS, seed: int = 0) -> dict[str, np.ndarray]:
    """Figure -> (1 + draws,): of the clips as they are, then of each draw of recordings.

    Args:
        scored: of one evaluation.
        draws: how often to draw.
        seed: of the draws; they are the same whatever was scored.

    Returns:
        RANKING, as `auricle.metrics.ranking.summarise` gives them.

    >>> rows = np.eye(2, dtype=bool)
    >>> perfect = Scored(rows, rows.astype(float), np.array(["a", "b"]), np.array(["1", "2"]))
    >>> float(draw_figures(perfect, draws=1)["map"][0])
    1.0
    """
    names, group_of_clip = np.unique(scored.groups_N, return_inverse=True)
    order = np.argsort(group_of_clip, kind="stable")
    bounds = np.searchsorted(group_of_clip[order], np.arange(len(names) + 1))
    generator = np.random.default_rng(seed)
    found = [summarise(scored.targets_NK, scored.scores_NK)]
    for _ in range(draws):
        drawn = generator.integers(len(names), size=len(names))
        clips = np.concatenate([order[bounds[g] : bounds[g + 1]] for g in drawn])
        found.append(summarise(scored.targets_NK[clips], scored.scores_NK[clips]))
    return {name: np.array([figures[name] for figures in found], float) for name in RANKING}


@lru_cache(maxsize=4096)  # a table is written after each run, from the same evaluations and one more
def _drawn(
    evaluation: Path, labels: tuple[str, ...], written: int
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Ids of the clips, and the draws of one evaluation; `written` tells it from an earlier one there."""
    scored = read_scores(evaluation, labels)
    return scored.ids_N, draw_figures(scored)


def draw_rows(
    evaluations: Mapping[str, Mapping[int, Path]],
    labels: Sequence[str],
    read: Callable[[Path], tuple[np.ndarray, dict[str, np.ndarray]]] | None = None,
) -> dict[str, dict[int, dict[str, np.ndarray]]]:
    """Row -> seed -> figure -> (1 + DRAWS,); the same draws of recordings for all rows and seeds.

    Args:
        evaluations: row -> seed -> folder of its evaluation.
        labels: that all rows are judged on.
        read: folder -> ids and draws, of evaluations by another protocol than ranking.

    Raises:
        ValueError: two rows were not judged on the same clips, or not on these labels.

    >>> draw_rows({}, ["rain"])
    {}
    """
    drawn: dict[str, dict[int, dict[str, np.ndarray]]] = {}
    clips: np.ndarray | None = None
    for row, folders in evaluations.items():
        for seed, folder in folders.items():
            if read is not None:
                ids, figures = read(folder)
            else:
                written = (folder / "scores.parquet").stat().st_mtime_ns
                ids, figures = _drawn(folder, tuple(labels), written)
            if clips is not None and not np.array_equal(clips, ids):
                raise ValueError(f"{folder}: was judged on other clips than the rows beside it; delete it")
            clips = ids
            drawn.setdefault(row, {})[seed] = figures
    return drawn


def contrasts(claim: Claim | GainClaim) -> list[tuple[str, dict[str, int]]]:
    """What a claim says is above zero: each as a name, and how often each row's figure counts in it.

    >>> contrasts(Claim(text="More is better.", pairs=(("many", "few"),)))
    [('many against few', {'many': 1, 'few': -1})]
    >>> of_gains = contrasts(GainClaim(text="", gains=((("a", "b"), ("c", "d")),)))
    >>> [weights for _, weights in of_gains]
    [{'a': 1, 'b': -1}, {'a': 1, 'b': -1, 'c': -1, 'd': 1}]
    """
    if isinstance(claim, Claim):
        return [(f"{one} against {two}", _weights((one, 1), (two, -1))) for one, two in claim.pairs]
    found = []
    for more, less in claim.gains:
        gain, other = (f'gain of "{better}" over "{base}"' for better, base in (more, less))
        found.append((gain, _weights((more[0], 1), (more[1], -1))))
        both = _weights((more[0], 1), (more[1], -1), (less[0], -1), (less[1], 1))
        found.append((f"{gain} against {other}", both))
    return found


def _weights(*terms: tuple[str, int]) -> dict[str, int]:
    """Summed, since a row may be in both gains."""
    found: dict[str, int] = {}
    for row, weight in terms:
        found[row] = found.get(row, 0) + weight
    return found


def judge(claim: Claim | GainClaim, drawn: Mapping[str, BySeed]) -> Verdict:
    """Hold a claim against the rows that there are.

    Args:
        claim: differences, or differences of differences, that are said to be above zero.
        drawn: row -> seed -> (1 + draws,) of the claim's figure; all over the same draws.

    >>> few, many = np.array([0.5, 0.4, 0.6]), np.array([0.7, 0.6, 0.8])
    >>> claim = Claim(text="More is better.", pairs=(("many", "few"),))
    >>> judge(claim, {"few": {0: few}, "many": {0: many}}).verdict
    'holds'
    >>> judge(claim, {"few": {0: few}, "many": {1: many}}).details
    ('many against few: no seed in common (many: 1; few: 0)',)
    """
    details, found = [], []
    for name, weights in contrasts(claim):
        said, verdict = _judge_one(weights, drawn, NAMED[claim.figure][2])
        details.append(f"{name}: {said}")
        found.append(verdict)
    verdict = UNTESTED
    if found:
        verdict = next(kind for kind in (FAILS, UNTESTED, OPEN, HOLDS) if kind in found)
    return Verdict(text=claim.text, verdict=verdict, details=tuple(details))


def _judge_one(weights: Mapping[str, int], drawn: Mapping[str, BySeed], figure: str) -> tuple[str, str]:
    """What there is to say of one difference, and its verdict."""
    if missing := [row for row in weights if not drawn.get(row)]:
        return f"{', '.join(missing)} not there", UNTESTED
    seeds = sorted(set.intersection(*(set(drawn[row]) for row in weights)))
    if not seeds:
        there = "; ".join(f"{row}: {_listed(drawn[row])}" for row in weights)
        return f"no seed in common ({there})", UNTESTED
    with np.errstate(invalid="ignore"):  # d' of a perfect ranking is infinite, and two of them no difference
        differences = np.array(
            [np.sum([weight * drawn[row][seed] for row, weight in weights.items()], axis=0) for seed in seeds]
        )
        values = over_seeds(differences)
    if np.isnan(values[0]):
        return f"a {figure} is not defined", UNTESTED
    low, high = interval(values)
    verdict = HOLDS if low > 0 else FAILS if high < 0 else OPEN
    parts = [f"{figure} {values[0]:+.4f} ({low:+.4f} to {high:+.4f})"]
    left_out = any(len(drawn[row]) > len(seeds) for row in weights)
    if len(seeds) > 1:
        alike = int((np.sign(differences[:, 0]) == np.sign(values[0])).sum())
        parts.append(f"{alike} of {len(seeds)} seeds" + (f" ({_listed(seeds)})" if left_out else ""))
    else:
        parts.append(f"seed {seeds[0]} alone" if left_out else "one seed")
    return ", ".join([*parts, verdict]), verdict


def over_seeds(values_SD: np.ndarray) -> np.ndarray:
    """(1 + draws,): the mean over seeds; then of each draw the mean over as many, drawn with replacement.

    Args:
        values_SD: (seeds, 1 + draws): a row for each seed: the figure, then its draws over recordings.

    >>> over_seeds(np.array([[0.5, 0.4, 0.6]])).tolist()  # of one seed: over recordings alone
    [0.5, 0.4, 0.6]
    >>> float(over_seeds(np.array([[1.0, 1.0], [2.0, 2.0]]))[0])
    1.5
    """
    seeds, columns = values_SD.shape
    picked_SD = np.random.default_rng(SEED_OF_SEEDS).integers(seeds, size=(seeds, columns))
    picked_SD[:, 0] = np.arange(seeds)  # the figure itself is of each seed once
    return np.take_along_axis(values_SD, picked_SD, axis=0).mean(axis=0)


def _listed(seeds: Iterable[int]) -> str:
    return ", ".join(str(seed) for seed in sorted(seeds))


def interval(values_D: np.ndarray, level: float = LEVEL) -> tuple[float, float]:
    """The middle of the draws: a share of `level` lies in it; moved so that their median is the figure.

    Draws lie higher than the figure, since copies of a clip rank beside each other, and not equally so for
    two rows (`auricle.metrics.bootstrap`).

    Args:
        values_D: (1 + draws,): the figure, or a difference of some, and then the draws; NaN are left out.
        level: a share.

    >>> interval(np.array([40.0, *range(101)]), level=0.9)
    (-5.0, 85.0)
    """
    figure, drawn = values_D[0], values_D[1:][~np.isnan(values_D[1:])]
    if np.isnan(figure) or not len(drawn):
        return float("nan"), float("nan")
    # Infinite values (d' of a perfect ranking) would not survive interpolation.
    method = "linear" if np.isfinite(drawn).all() else "nearest"
    ends = [(1 - level) / 2, 0.5, (1 + level) / 2]
    low, median, high = (float(value) for value in np.quantile(drawn, ends, method=method))  # type: ignore[call-overload]
    shift = float(figure) - median if np.isfinite([figure, median]).all() else 0.0
    return round(low + shift, 12), round(high + shift, 12)
