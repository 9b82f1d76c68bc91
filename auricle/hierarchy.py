"""Labels that stand above labels: ancestors, levels, and scores that do not contradict each other.

A hierarchy is a mapping from each label to the list of labels right above it, its parents:
`{"dog": ["animal"], "animal": []}`. A label may have several parents and stand at any depth; a name that is
only ever a parent is a top label. What a model scores may be a part of the hierarchy: AudioSet has 632 sounds
and lists 527 of them, and what is between two labels without being one is stepped over.

Shape letters: N clips, K labels.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np

Parents = Mapping[str, Collection[str]]
RULES = ("raise", "lower")
PATHS = ("shortest", "longest")
ROWS = 2048  # clips turned at a time: a block of 632 labels stays in the cache


def parents_of(labels: Sequence[str], lists: Sequence[Sequence[str]] | None) -> dict[str, list[str]]:
    """The hierarchy of labels that come with a list of parents each, as an artifact has them; checked.

    Args:
        labels: K names.
        lists: the parents of each; None where labels are flat.

    Raises:
        ValueError: not one list a label, or a label is its own ancestor.

    >>> parents_of(["dog", "animal"], [["animal"], []])
    {'dog': ['animal'], 'animal': []}
    """
    lists = [[] for _ in labels] if lists is None else lists
    if len(lists) != len(labels):
        raise ValueError(f"{len(labels)} labels, but parents of {len(lists)}; expected a list for each label")
    parents = {label: list(above) for label, above in zip(labels, lists, strict=True)}
    in_order(parents)
    return parents


def in_order(parents: Parents) -> list[str]:
    """All names of a hierarchy, each after its parents, otherwise as they stand there.

    Raises:
        ValueError: a label is its own ancestor; the message has the circle.

    >>> in_order({"dog": ["pet", "animal"], "pet": ["animal"]})
    ['animal', 'pet', 'dog']
    """
    done: dict[str, None] = {}
    for start in parents:
        path, open_ = [start], {start: iter(parents[start])}
        while path:
            above = next((name for name in open_[path[-1]] if name not in done), None)
            if above is None:
                done[path[-1]] = None
                del open_[path.pop()]
            elif above in open_:
                circle = [*path[path.index(above) :], above]
                raise ValueError(f"label {above!r} is its own ancestor: {' < '.join(circle)}")
            else:
                path.append(above)
                open_[above] = iter(parents.get(above, ()))
    return list(done)


def ancestors(parents: Parents) -> dict[str, tuple[str, ...]]:
    """Label -> all labels above it, each once, those of the top first.

    >>> ancestors({"dog": ["pet", "animal"], "pet": ["animal"]})["dog"]
    ('animal', 'pet')
    """
    order = in_order(parents)
    rank = {name: place for place, name in enumerate(order)}
    found: dict[str, tuple[str, ...]] = {}
    for name in order:
        direct = parents.get(name, ())
        above = set(direct).union(*(found[parent] for parent in direct))
        found[name] = tuple(sorted(above, key=rank.__getitem__))
    return found


def children_of(parents: Parents) -> dict[str, list[str]]:
    """Label -> the labels right below it.

    >>> children_of({"dog": ["animal"], "cat": ["animal"]})
    {'dog': [], 'cat': [], 'animal': ['dog', 'cat']}
    """
    below: dict[str, list[str]] = {name: [] for name in parents}
    for name, above in parents.items():
        for parent in dict.fromkeys(above):
            below.setdefault(parent, []).append(name)
    return below


def depths(parents: Parents, path: str = "shortest") -> dict[str, int]:
    """Label -> how many steps it stands below the top: 0 for a label without parents.

    Args:
        parents: the hierarchy.
        path: of several ways up, "shortest" or "longest" counts. A parent is not always less deep than its
            child by the shortest way; by the longest it is.

    Raises:
        ValueError: the path is neither, or a label is its own ancestor.

    >>> hierarchy = {"dog": ["pet", "animal"], "pet": ["animal"]}
    >>> depths(hierarchy)["dog"], depths(hierarchy, "longest")["dog"]
    (1, 2)
    """
    if path not in PATHS:
        raise ValueError(f"path is {path!r}; expected one of {', '.join(PATHS)}")
    choose = min if path == "shortest" else max
    found: dict[str, int] = {}
    for name in in_order(parents):
        found[name] = choose((found[parent] + 1 for parent in parents.get(name, ())), default=0)
    return found


def levels(parents: Parents, labels: Iterable[str] | None = None, path: str = "shortest") -> list[list[str]]:
    """The labels of each depth, from the top down; a depth without labels has an empty list.

    Args:
        parents: the hierarchy.
        labels: those to be sorted into levels, in their order; None takes all names. One that the hierarchy
            does not know stands at the top.
        path: as in `depths`.

    >>> levels({"dog": ["animal"], "cat": ["animal"], "animal": []})
    [['animal'], ['dog', 'cat']]
    """
    depth = depths(parents, path)
    names = list(depth if labels is None else labels)
    found: list[list[str]] = [[] for _ in range(1 + max((depth.get(name, 0) for name in names), default=-1))]
    for name in names:
        found[depth.get(name, 0)].append(name)
    return found


def among(parents: Parents, labels: Sequence[str]) -> dict[str, list[str]]:
    """The hierarchy of some labels only: parents are the nearest ancestors among them.

    >>> among({"dog": ["pet"], "pet": ["animal"]}, ["dog", "animal"])
    {'dog': ['animal'], 'animal': []}
    """
    kept = set(labels)
    nearest: dict[str, dict[str, None]] = {}  # for each name, itself if kept, else the kept ones above
    found: dict[str, list[str]] = {}
    for name in in_order(parents):
        above: dict[str, None] = {}
        for parent in parents.get(name, ()):
            above |= nearest[parent]
        nearest[name] = {name: None} if name in kept else above
        found[name] = list(above)
    return {label: found.get(label, []) for label in labels}


def consistent(
    scores_NK: np.ndarray, labels: Sequence[str], parents: Parents, rule: str = "raise"
) -> np.ndarray:
    """Scores under which no label is less likely than one below it.

    "raise" gives every label at least the maximum of its descendants' scores: what is heard precisely is also
    heard roughly. "lower" gives every label at most the maximum of its parents' scores: what is not heard
    roughly is not heard precisely. Either leaves scores alone that are consistent already.

    Args:
        scores_NK: (N, K) scores or logits; NaN spreads to where the rule takes it.
        labels: K names.
        parents: the hierarchy; labels that it does not know are left alone.
        rule: "raise" or "lower".

    Returns:
        (N, K) of the same type, a copy.

    Raises:
        ValueError: the shape does not fit the labels, a label stands there twice or is its own ancestor, or
            the rule is neither.

    >>> consistent(np.array([[0.75, 0.25]]), ["dog", "animal"], {"dog": ["animal"]})
    array([[0.75, 0.75]])
    >>> consistent(np.array([[0.75, 0.25]]), ["dog", "animal"], {"dog": ["animal"]}, "lower")
    array([[0.25, 0.25]])
    """
    if rule not in RULES:
        raise ValueError(f"rule is {rule!r}; expected one of {', '.join(RULES)}")
    scores_NK = np.asarray(scores_NK)
    places = _places(scores_NK, labels)
    near = among(parents, labels)
    order = [name for name in in_order(near) if near[name]]  # parents before children
    edges = [(places[name], [places[parent] for parent in near[name]]) for name in order]
    out = np.empty_like(scores_NK, order="C")
    for start in range(0, len(scores_NK), ROWS):
        # Turned: a label's scores lie side by side.
        block_KN = np.array(scores_NK[start : start + ROWS].T, order="C")
        if rule == "raise":
            for child, above in reversed(edges):
                for parent in above:
                    np.maximum(block_KN[parent], block_KN[child], out=block_KN[parent])
        else:
            for child, above in edges:
                cap_N = block_KN[above].max(axis=0)
                np.minimum(block_KN[child], cap_N, out=block_KN[child])
        out[start : start + ROWS] = block_KN.T
    return out


def complete_targets(targets_NK: np.ndarray, labels: Sequence[str], parents: Parents) -> np.ndarray:
    """Targets in which a clip that has a label has all labels above it, too.

    Args:
        targets_NK: (N, K) bool, 0 and 1, or shares in [0, 1], where an ancestor gets the greatest below it.
        labels: K names.
        parents: the hierarchy.

    Returns:
        (N, K) of the same type, a copy.

    Raises:
        ValueError: as `consistent`.

    >>> complete_targets(np.array([[1, 0]]), ["dog", "animal"], {"dog": ["animal"]})
    array([[1, 1]])
    """
    return consistent(targets_NK, labels, parents)


def complete_labels(names: Iterable[str], labels: Sequence[str], parents: Parents) -> list[str]:
    """One clip's labels with all of `labels` above them, in the order of `labels`.

    >>> complete_labels(["dog"], ["dog", "cat", "animal"], {"dog": ["animal"], "cat": ["animal"]})
    ['dog', 'animal']
    """
    above, names = ancestors(parents), list(names)
    present = set(names).union(*(above.get(name, ()) for name in names))
    return [label for label in labels if label in present]


def coarse_from_fine(
    fine_NF: np.ndarray, fine: Sequence[str], coarse: Sequence[str], parents: Parents
) -> np.ndarray:
    """Scores of labels inferred from those below them: the maximum over a label's descendants.

    Args:
        fine_NF: (N, F) scores or logits.
        fine: F names.
        coarse: C names to infer; one that is also in `fine` counts itself.
        parents: the hierarchy, of any depth between the two.

    Returns:
        (N, C) of the same type.

    Raises:
        ValueError: the shape does not fit, or a coarse label has none of the fine ones below it.

    >>> coarse_from_fine(np.array([[0.25, 0.75]]), ["dog", "cat"], ["animal"], dict.fromkeys(["dog", "cat"],
    ...     ["animal"]))
    array([[0.75]])

    Source: Tompkins and Nichols (2019), section 1: 29 fine labels "from which we infer the 8 coarse labels".
    """
    fine_NF = np.asarray(fine_NF)
    places, above = _places(fine_NF, fine), ancestors(parents)
    out = np.empty((len(fine_NF), len(coarse)), fine_NF.dtype)
    for column, label in enumerate(coarse):
        below = [places[name] for name in fine if name == label or label in above.get(name, ())]
        if not below:
            raise ValueError(f"label {label!r}: none of the {len(fine)} labels to infer it from is below it")
        out[:, column] = fine_NF[:, below].max(axis=1)
    return out


def _places(array_NK: np.ndarray, labels: Sequence[str]) -> dict[str, int]:
    if array_NK.ndim != 2 or array_NK.shape[1] != len(labels):
        raise ValueError(f"expected an array (clips, {len(labels)} labels), got {array_NK.shape}")
    places = {label: place for place, label in enumerate(labels)}
    if len(places) < len(labels):
        twice = next(label for place, label in enumerate(labels) if places[label] != place)
        raise ValueError(f"label {twice!r} stands there twice")
    return places
