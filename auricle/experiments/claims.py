"""Whether rows bear out what a paper says: differences of mAP, with intervals over the recordings.

Two rows are judged on the same clips, so their difference is drawn as one: each draw takes as many
recordings as there are, with replacement, and both rows are scored on it. This says how much the choice of
test recordings could change, not how much another seed of training would: several seeds are averaged.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from auricle.experiments.options import Claim
from auricle.metrics.ranking import per_class

HOLDS, FAILS, OPEN, UNTESTED = "holds", "does not hold", "within the interval", "not tested"
DRAWS = 200  # of a difference
LEVEL = 0.95


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the rows say of a claim.

    Args:
        text: the claim.
        verdict: "holds": the interval of every difference lies above 0. "does not hold": one lies below 0
            whole. "within the interval": neither, so these recordings cannot tell. "not tested": rows are
            missing.
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
    return Scored(targets_NK, scores_NK, groups, ids)


def draw_maps(scored: Scored, draws: int = DRAWS, seed: int = 0) -> np.ndarray:
    """(1 + draws,) mAP: of the clips as they are, then of each draw of recordings, which a seed decides.

    >>> rows = np.eye(2, dtype=bool)
    >>> perfect = Scored(rows, rows.astype(float), np.array(["a", "b"]), np.array(["1", "2"]))
    >>> float(draw_maps(perfect, draws=1)[0])
    1.0
    """
    names, group_of_clip = np.unique(scored.groups_N, return_inverse=True)
    order = np.argsort(group_of_clip, kind="stable")
    bounds = np.searchsorted(group_of_clip[order], np.arange(len(names) + 1))
    generator = np.random.default_rng(seed)
    out = [_map_of(scored, np.arange(len(group_of_clip)))]
    for _ in range(draws):
        drawn = generator.integers(len(names), size=len(names))
        out.append(_map_of(scored, np.concatenate([order[bounds[g] : bounds[g + 1]] for g in drawn])))
    return np.array(out)


def _map_of(scored: Scored, clips: np.ndarray) -> float:
    ap = per_class(scored.targets_NK[clips], scored.scores_NK[clips])["ap"]
    return float(ap[~np.isnan(ap)].mean()) if (~np.isnan(ap)).any() else float("nan")


def judge(claim: Claim, drawn: dict[str, np.ndarray], names: dict[str, str] | None = None) -> Verdict:
    """Hold a claim against the rows that there are.

    Args:
        claim: pairs of rows, of which the first is said to be the better one.
        drawn: row -> what `draw_maps` gives, averaged over its seeds; all over the same draws.
        names: row -> how to call it.

    >>> few, many = np.array([0.5, 0.4, 0.6]), np.array([0.7, 0.6, 0.8])
    >>> judge(Claim(text="More is better.", pairs=(("many", "few"),)), {"few": few, "many": many}).verdict
    'holds'
    """
    details, found = [], []
    for one, two in claim.pairs:
        called = [(names or {}).get(row, row) for row in (one, two)]
        if one not in drawn or two not in drawn:
            details.append(f"{called[0]} against {called[1]}: not both are there")
            found.append(UNTESTED)
            continue
        difference = drawn[one] - drawn[two]
        low, high = interval(difference[1:])
        found.append(HOLDS if low > 0 else FAILS if high < 0 else OPEN)
        details.append(
            f"{called[0]} against {called[1]}: mAP {difference[0]:+.4f} ({low:+.4f} to {high:+.4f}), "
            + found[-1]
        )
    verdict = UNTESTED
    if found:
        verdict = next(kind for kind in (FAILS, UNTESTED, OPEN, HOLDS) if kind in found)
    return Verdict(text=claim.text, verdict=verdict, details=tuple(details))


def interval(values: np.ndarray, level: float = LEVEL) -> tuple[float, float]:
    """The middle of the values: a share of `level` lies in it; NaN are left out.

    >>> interval(np.arange(101.0), level=0.9)
    (5.0, 95.0)
    """
    values = values[~np.isnan(values)]
    if not len(values):
        return float("nan"), float("nan")
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return round(float(low), 12), round(float(high), 12)


def judge_all(
    claims: Sequence[Claim], evaluations: dict[str, list[Path]], labels: Sequence[str]
) -> list[Any]:
    """The verdict on each claim.

    Args:
        claims: of the experiment.
        evaluations: row -> folders of its evaluations, one a seed.
        labels: that all rows are judged on.

    Raises:
        ValueError: two rows were not judged on the same clips.
    """
    needed = {row for claim in claims for pair in claim.pairs for row in pair} & set(evaluations)
    drawn: dict[str, np.ndarray] = {}
    clips: np.ndarray | None = None
    for row in sorted(needed):
        each = []
        for folder in evaluations[row]:
            scored = read_scores(folder, labels)
            if clips is not None and not np.array_equal(clips, scored.ids_N):
                raise ValueError(f"{folder}: was judged on other clips than the rows beside it; delete it")
            clips = scored.ids_N
            each.append(draw_maps(scored))
        drawn[row] = np.mean(each, axis=0)
    return [judge(claim, drawn) for claim in claims]
