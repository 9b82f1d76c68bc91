"""Local classifiers per parent: which model of a family is asked for which recording, and what it then says.

The member on top scores every recording. Of the labels at the top, the one it finds most likely is entered,
and so is any over 0.5. At a label that is entered, the member behind its gate is asked, if it has one; of the
labels right below, the most likely and any over 0.5 are entered in turn, and so on down. Who gives a label:

- the member behind the nearest gate above it; without a gate above it, the member on top;
- where that one does not have it, and it is the only child of a label without a gate: it inherits that
  label's logit;
- where the branch was not entered: see `plan_gates`.

A label below several parents is given by each of them that was entered, and has the greatest of these logits.

Source: Tompkins and Nichols, "DCASE 2019 challenge Task 5: CNN + VGGish" (2019), section 4.2; after Silla and
Freitas, "A survey of hierarchical classification across different application domains", 2011.

Shape letters: N recordings, K labels of the family, M of a member.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from auricle.hierarchy import children_of, in_order, parents_of

UNASKED = ("zero", "top")
NEVER = float(np.log(1e-6) - np.log1p(-1e-6))  # the logit of a label that nobody was asked for
TOP = ""  # stands for what is above the labels at the top
Ask = Callable[[str, np.ndarray], np.ndarray]


@dataclass(frozen=True, kw_only=True, eq=False)
class Step:
    """What happens at a label, once the labels above it are done."""

    column: int  # of the label, -1 for the top
    member: str  # that is asked where the label is entered; "" where nobody is
    taken: np.ndarray  # the member's columns, ...
    given: np.ndarray  # ... and the family's
    heirs: np.ndarray  # columns that get this label's logit
    children: np.ndarray  # columns of which some are entered


@dataclass(frozen=True, kw_only=True, eq=False)
class Gating:
    """A family's rules, ready to be followed; see `plan_gates`."""

    root: str
    num_labels: int
    steps: tuple[Step, ...]
    unasked: str
    from_root: np.ndarray  # (K,) column of each label in the member on top, -1 where it does not have it


def plan_gates(
    labels: Sequence[str],
    parents: Sequence[Sequence[str]] | None,
    members: Mapping[str, Sequence[str]],
    gates: Mapping[str, str],
    unasked: str = "zero",
) -> Gating:
    """Work out who gives which label.

    Args:
        labels: K names that the family gives.
        parents: for each of them the labels right above it.
        members: name -> the member's labels. Those that the family does not have are not used.
        gates: label -> the member that is asked for what is below it. The one member that no gate names is
            the one on top.
        unasked: what a label scores that nobody was asked for: "zero" a probability of 1e-6, "top" what the
            member on top says of it, which then has to have it.

    Raises:
        ValueError: a label is its own ancestor, a gate stands at no label or names no member, not exactly one
            member is on top, or a label is given by nobody.

    >>> members = {"roughly": ["animal", "engine"], "engines": ["truck", "boat"]}
    >>> labels, parents = ["truck", "boat", "animal", "engine"], [["engine"], ["engine"], [], []]
    >>> plan_gates(labels, parents, members, {"engine": "engines"}).root
    'roughly'
    """
    hierarchy, columns = parents_of(labels, parents), {label: k for k, label in enumerate(labels)}
    # A name that is only ever a parent is no label of the family, and nothing can be asked at it.
    hierarchy = {label: [name for name in above if name in columns] for label, above in hierarchy.items()}
    root = _root(columns, members, gates, unasked)
    places = {name: {label: k for k, label in enumerate(own)} for name, own in members.items()}
    children = children_of(hierarchy)
    near: dict[str, tuple[str, ...]] = {}  # the nearest gates above a label, one on each way up
    heirs: dict[str, list[int]] = {name: [] for name in (TOP, *labels)}
    order = in_order(hierarchy)
    for label in order:
        above = hierarchy[label]
        ways = [(up,) if up in gates else near[up] for up in above] or [(TOP,)]
        near[label] = tuple(dict.fromkeys(gate for way in ways for gate in way))
        if not any(label in places[gates.get(gate, root)] for gate in near[label]):
            leaving = [up for up in above if up not in gates and len(children[up]) == 1]
            for up in leaving:
                heirs[up].append(columns[label])
            if not leaving:
                raise ValueError(_given_by_nobody(label, above, near[label], gates, root, members))
        elif unasked == "top" and TOP not in near[label] and label not in places[root]:
            raise ValueError(
                f"field 'unasked': \"top\", but the member on top, {root!r}, does not have {label!r}; "
                'use "zero"'
            )

    def step(label: str, below: list[str]) -> Step:
        member = root if label == TOP else gates.get(label, "")
        given = [name for name in order if member and label in near[name] and name in places[member]]
        return Step(
            column=columns.get(label, -1),
            member=member,
            taken=np.array([places[member][name] for name in given], np.int64),
            given=np.array([columns[name] for name in given], np.int64),
            heirs=np.array(heirs[label], np.int64),
            children=np.array([columns[name] for name in below], np.int64),
        )

    tops = [label for label in labels if not hierarchy[label]]
    return Gating(
        root=root,
        num_labels=len(labels),
        steps=(step(TOP, tops), *(step(label, children[label]) for label in order)),
        unasked=unasked,
        from_root=np.array([places[root].get(label, -1) for label in labels], np.int64),
    )


def follow_gates(gating: Gating, count: int, ask: Ask) -> np.ndarray:
    """The family's logits of some recordings, each member asked for those that enter its gate only.

    Args:
        gating: see `plan_gates`.
        count: N recordings.
        ask: (member's name, (n,) rows) -> (n, M) its logits of these recordings; never with no rows.

    Returns:
        (N, K) float32.

    >>> members = {"roughly": ["animal", "engine"], "engines": ["truck", "boat"]}
    >>> labels, parents = ["truck", "boat", "animal", "engine"], [["engine"], ["engine"], [], []]
    >>> gating = plan_gates(labels, parents, members, {"engine": "engines"})
    >>> says = {"roughly": np.array([[1.0, -1.0], [1.0, 2.0]]), "engines": np.array([[3.0, 4.0]] * 2)}
    >>> follow_gates(gating, 2, lambda member, rows: says[member][rows]).round(1)
    array([[-13.8, -13.8,   1. ,  -1. ],
           [  3. ,   4. ,   1. ,   2. ]], dtype=float32)
    """
    logits_NK = np.full((count, gating.num_labels), NEVER, np.float32)
    given_NK = np.zeros((count, gating.num_labels), bool)
    entered_NK = np.zeros((count, gating.num_labels), bool)
    for step in gating.steps:
        rows = np.arange(count) if step.column < 0 else np.flatnonzero(entered_NK[:, step.column])
        if len(step.heirs):
            _give(logits_NK, given_NK, np.arange(count), step.heirs, logits_NK[:, [step.column]])
        if not len(rows):
            continue
        if step.member:
            answers = ask(step.member, rows)
            if step.column < 0 and gating.unasked == "top":
                has = gating.from_root >= 0
                logits_NK[:, has] = answers[:, gating.from_root[has]]
            _give(logits_NK, given_NK, rows, step.given, answers[:, step.taken])
        if len(step.children):
            _enter(step, rows, logits_NK, given_NK, entered_NK)
    return logits_NK


def _give(
    logits_NK: np.ndarray, given_NK: np.ndarray, rows: np.ndarray, columns: np.ndarray, said: np.ndarray
) -> None:
    """Write down what was said; where something was before, the greater."""
    place = np.ix_(rows, columns)
    before = np.where(given_NK[place], logits_NK[place], -np.inf)
    logits_NK[place] = np.maximum(before, said)
    given_NK[place] = True


def _enter(
    step: Step, rows: np.ndarray, logits_NK: np.ndarray, given_NK: np.ndarray, entered_NK: np.ndarray
) -> None:
    """Mark the most likely of a label's children, and any over 0.5; of those that are known by now."""
    place = np.ix_(rows, step.children)
    likely = np.where(given_NK[place], logits_NK[place], -np.inf)
    chosen = likely > 0
    best = likely.argmax(axis=1)
    chosen[np.arange(len(rows)), best] |= likely.max(axis=1) > -np.inf
    entered_NK[place] |= chosen


def _root(
    columns: Mapping[str, int], members: Mapping[str, Sequence[str]], gates: Mapping[str, str], unasked: str
) -> str:
    """The name of the member on top."""
    if unasked not in UNASKED:
        raise ValueError(f"field 'unasked': expected one of {', '.join(UNASKED)}, got {unasked!r}")
    for label, member in gates.items():
        if label not in columns:
            raise ValueError(f"field 'gates': {label!r} is no label of the family")
        if member not in members:
            raise ValueError(
                f"field 'gates': {label!r} asks member {member!r}, which is not there; there are "
                f"{', '.join(members) or 'none'}"
            )
    tops = [name for name in members if name not in gates.values()]
    if not tops:
        circle = ", ".join(f"{label!r} asks {member!r}" for label, member in list(gates.items())[:3])
        raise ValueError(
            f"field 'gates': a circle: every member stands behind a gate ({circle}), none on top"
        )
    if len(tops) > 1:
        raise ValueError(
            f"field 'gates': none of the members {', '.join(map(repr, tops))} is named by a gate; expected "
            "one, the member on top"
        )
    return tops[0]


def _given_by_nobody(
    label: str,
    above: Sequence[str],
    near: Sequence[str],
    gates: Mapping[str, str],
    root: str,
    members: Mapping[str, Sequence[str]],
) -> str:
    gate = near[0]
    name = gates.get(gate, root)
    asked = f"gate {gate!r} asks member {name!r} for it" if gate != TOP else f"it is for {name!r}, on top"
    own = list(members[name])
    has = ", ".join(own[:5]) + (f" and {len(own) - 5} more" if len(own) > 5 else "") or "none"
    only = "" if set(above) & set(gates) or not above else f", nor is it the only label below {above[0]!r}"
    return f"label {label!r}: given by nobody: {asked}, which has not got it but {has}{only}"
