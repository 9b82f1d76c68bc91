"""How far annotators agree: with each other, class by class, and with the verified truth.

Krippendorff's alpha compares the disagreement there is with what chance would give: 1 is full agreement, 0 is
chance. It allows any number of annotators and missing votes: a clip with one vote on a label tells nothing,
and each other clip counts by the pairs of votes it has.

Source: Krippendorff, "Computing Krippendorff's Alpha-Reliability", 2011, section C (nominal data).
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from auricle.datasets.annotations import NO_VOTE, Annotations, Voters, choose_labels, count_votes
from auricle.text import counted

THRESHOLDS = (0.25, 0.5, 0.75)
HEADS = (
    "class",
    "votes",
    "heard",
    "all agree",
    "all agree, if heard",
    "alpha",
    ">25%",
    ">50%",
    ">75%",
    "unknown",
    "verified",
)
AGAINST = ("precision, fine", "recall, fine", "precision, coarse", "recall, coarse")


def krippendorff_alpha(cast: np.ndarray, heard: np.ndarray) -> np.ndarray:
    """Krippendorff's alpha of yes-or-no votes, for each label.

    Args:
        cast: (N, K) how many voted on each label of each clip.
        heard: (N, K) how many of them said yes.

    Returns:
        (K,) float64; NaN where all votes are the same, or no clip has two.

    >>> votes = np.array([[0, 1, 0, 0, 0, 0, 0, 0, 1, 0], [1, 1, 1, 0, 0, 1, 0, 0, 0, 0]])
    >>> float(krippendorff_alpha(np.full((10, 1), 2), votes.sum(axis=0)[:, None])[0].round(3))
    0.095
    """
    cast = np.asarray(cast, dtype=np.float64)
    yes = np.where(cast > 1, heard, 0.0)
    cast = np.where(cast > 1, cast, 0.0)
    no = cast - yes
    differing = (yes * no / np.maximum(cast - 1, 1)).sum(axis=0)
    total, all_yes, all_no = cast.sum(axis=0), yes.sum(axis=0), no.sum(axis=0)
    chance = all_yes * all_no
    return np.where(chance > 0, 1 - (total - 1) * differing / np.where(chance > 0, chance, 1), np.nan)


def agreement(annotations: Annotations, voters: Voters = "crowd") -> dict[str, Any]:
    """Statistics of agreement, ready for JSON; what cannot be said is None.

    Args:
        annotations: as read.
        voters: whose votes: the crowd's, or "all" but the verified truth.

    Returns:
        `clips`, `annotators`, `votes` (of how many annotators a clip has votes: number -> clips), `verified`
        (clips), `alpha` (mean over fine, and over coarse classes), `classes`, `thresholds` and `annotator`
        (precision and recall against the verified truth), `notes`.

    Raises:
        ValueError: there are no such votes.

    >>> agreement(annotations)["alpha"]["coarse"]  # doctest: +SKIP
    0.39
    """
    rows = annotations.rows_of(voters)
    if not rows.any():
        raise ValueError(f"annotations: no votes of {'the crowd' if voters == 'crowd' else 'anyone'}")
    cast, heard = count_votes(annotations, voters)
    alpha = krippendorff_alpha(cast, heard)
    per_clip = np.bincount(np.bincount(annotations.clip[rows], minlength=len(annotations.clips)))
    fine = len(annotations.taxonomy.fine_labels)
    return {
        "clips": len(annotations.clips),
        "annotators": len(np.unique(annotations.annotator[rows])),
        "votes": {str(number): int(clips) for number, clips in enumerate(per_clip) if clips},
        "verified": int(annotations.verified_rows().sum()),
        "alpha": {"fine": _mean(alpha[:fine]), "coarse": _mean(alpha[fine:])},
        "classes": _classes(annotations, cast, heard, alpha, voters),
        "thresholds": [_threshold(annotations, share, voters) for share in THRESHOLDS],
        "annotator": _annotators(annotations, rows),
        "notes": dict(annotations.notes),
    }


def summary(found: Mapping[str, Any]) -> str:
    """One sentence on who voted and how far they agree.

    >>> summary({"clips": 2, "annotators": 3, "votes": {"3": 2}, "verified": 1,
    ...          "alpha": {"fine": 0.18, "coarse": None}})
    '2 clips by 3 annotators, 3 a clip; 1 clip verified; mean alpha 0.18 of fine classes, – of coarse ones'
    """
    *less, most = found["votes"]
    each = f"{', '.join(less)} or {most}" if less else most
    each = each if len(less) < 3 else "several"
    verified = f"{counted(found['verified'], 'clip')} verified"
    fine, coarse = _figure(found["alpha"]["fine"]), _figure(found["alpha"]["coarse"])
    return (
        f"{counted(found['clips'], 'clip')} by {counted(found['annotators'], 'annotator')}, {each} a clip; "
        f"{verified}; "
        f"mean alpha {fine} of fine classes, {coarse} of coarse ones"
    )


def class_rows(found: Mapping[str, Any]) -> list[list[str]]:
    """The table of classes, under `HEADS`."""
    return [
        [
            row["label"],
            str(row["votes"]),
            str(row["heard"]),
            _figure(row["full_agreement"]),
            _figure(row["full_agreement_heard"]),
            _figure(row["alpha"]),
            *(str(row[f"positive_{at}"]) for at in (25, 50, 75)),
            str(row["unknown"]),
            str(row["verified"]) if found["verified"] else "–",
        ]
        for row in found["classes"]
    ]


def threshold_rows(found: Mapping[str, Any]) -> list[list[str]]:
    """What is chosen at each share of votes, against the verified truth."""
    return [[f"{100 * row['agreement']:.0f}%", *_cells(row)] for row in found["thresholds"]]


def annotator_rows(found: Mapping[str, Any], most: int | None = None) -> list[list[str]]:
    """Annotators against the verified truth, those of most clips first."""
    return [[row["annotator"], str(row["clips"]), *_cells(row)] for row in found["annotator"][:most]]


def _cells(row: Mapping[str, Any]) -> list[str]:
    return [_figure(row[level][what]) for level in ("fine", "coarse") for what in ("precision", "recall")]


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{round(value, 2) + 0.0:.2f}"


def _classes(
    annotations: Annotations, cast: np.ndarray, heard: np.ndarray, alpha: np.ndarray, voters: Voters
) -> list[dict[str, Any]]:
    several = cast > 1
    full = several & ((heard == 0) | (heard == cast))
    by_some = several & (heard > 0)
    truth = _truth(annotations)
    share = heard / np.maximum(cast, 1)
    # Of votes alone, above half: nobody was asked, or X of the class is all that was chosen.
    unknown = choose_labels(annotations, 0.5, verified=False, voters=voters).unknown.sum(axis=0)
    out = []
    for column, label in enumerate(annotations.taxonomy.labels):
        row: dict[str, Any] = {
            "label": label,
            "votes": int(cast[:, column].sum()),
            "heard": int(heard[:, column].sum()),
            "full_agreement": _ratio(full[:, column].sum(), several[:, column].sum()),
            "full_agreement_heard": _ratio((full & by_some)[:, column].sum(), by_some[:, column].sum()),
            "alpha": _number(alpha[column]),
        }
        row |= {f"positive_{100 * at:.0f}": int((share[:, column] > at).sum()) for at in THRESHOLDS}
        row["unknown"] = int(unknown[column])
        out.append(row | {"verified": int((truth[:, column] == 1).sum())})
    return out


def _truth(annotations: Annotations) -> np.ndarray:
    """(N, K) int8: the verified truth; -1 where there is none."""
    truth = np.full((len(annotations.clips), annotations.votes.shape[1]), NO_VOTE, dtype=np.int8)
    rows = annotations.verified_rows()
    truth[annotations.clip[rows]] = annotations.votes[rows]
    return truth


def _threshold(annotations: Annotations, share: float, voters: Voters) -> dict[str, Any]:
    """What is chosen at a threshold, against the verified truth."""
    chosen = choose_labels(annotations, share, verified=False, voters=voters)
    cast, _ = count_votes(annotations, voters)
    said = np.where(cast > 0, chosen.positive, NO_VOTE)
    return {"agreement": share} | _against(said, _truth(annotations), len(annotations.taxonomy.fine_labels))


def _annotators(annotations: Annotations, rows: np.ndarray) -> list[dict[str, Any]]:
    """Each annotator against the verified truth, those of most clips first, under names that tell nothing."""
    truth = _truth(annotations)[annotations.clip]
    judged = rows & (truth != NO_VOTE).any(axis=1)
    who = annotations.annotator[judged]
    names, counts = np.unique(who, return_counts=True)
    order = np.argsort(who, kind="stable")
    votes, truth = annotations.votes[judged][order], truth[judged][order]
    ends = np.cumsum(counts)
    fine = len(annotations.taxonomy.fine_labels)
    out = [
        {"clips": int(count)} | _against(votes[end - count : end], truth[end - count : end], fine)
        for count, end in zip(counts.tolist(), ends.tolist(), strict=True)
    ]
    ranked = sorted(range(len(names)), key=lambda index: -counts[index])
    return [{"annotator": f"A{rank + 1}"} | out[index] for rank, index in enumerate(ranked)]


def _against(said: np.ndarray, truth: np.ndarray, fine: int) -> dict[str, Any]:
    """Precision and recall where both have voted, over fine and over coarse labels."""
    found: dict[str, Any] = {}
    for level, columns in (("fine", slice(0, fine)), ("coarse", slice(fine, None))):
        both = (said[:, columns] != NO_VOTE) & (truth[:, columns] != NO_VOTE)
        yes, right = both & (said[:, columns] == 1), both & (truth[:, columns] == 1)
        hits = (yes & right).sum()
        found[level] = {"precision": _ratio(hits, yes.sum()), "recall": _ratio(hits, right.sum())}
    return found


def _ratio(part: np.integer[Any], whole: np.integer[Any]) -> float | None:
    return float(part / whole) if whole else None


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _mean(values: np.ndarray) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else None
