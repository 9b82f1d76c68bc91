"""Which moments to ask about next: those that a classifier of the answers so far is least sure of.

Of each label: with a yes and a no, a linear head is trained on the embeddings of what was answered, and every
moment is scored by it. With a yes or an example, but no no, moments come by similarity, and every fourth one
at random: what a head needs is a contrast. With neither, they come as different from each other as can be.

Shape letters: W rows, E values of an embedding, N answered rows.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import count as numbers
from typing import NamedTuple

import numpy as np

from auricle.linear import Linear, fit_linear
from auricle.search.answers import Answers, Question
from auricle.search.nearest import scan, similar, unit_rows
from auricle.search.store import Segment, VectorIndex

ORDERS = ("uncertain", "likely")
# Of the head: strong, for few answers; see `auricle.linear`.
PENALTY = 0.01
RANDOM_EVERY = 4
SAMPLE = 4096  # rows among which those are looked for that differ most
LOOKED_AT = 1024  # of these, at most so many are put in order

Stretch = tuple[str, float, float]  # path of a recording, start and end in seconds


class Known(NamedTuple):
    """Rows of which it is known whether a label is heard there."""

    positions: np.ndarray  # (N,) int64
    heard: np.ndarray  # (N,) bool


def known_rows(index: VectorIndex, answers: Answers, label: str) -> Known:
    """The rows that lie, at least by half, in a stretch that was answered; of copies, those of the first.

    A stretch of a recording that has left the index, or has changed its length, has none.

    >>> known_rows(VectorIndex("out/index"), Answers(), "dog")  # doctest: +SKIP
    """
    heard: dict[int, bool] = {}
    for moment in answers.moments:
        if label not in moment.yes and label not in moment.no:
            continue
        rows = index.rows_of(index.all_named(moment.path)[0], moment.start, moment.end)
        for row, (start, end) in zip(rows.tolist(), index.spans(rows), strict=True):
            common = min(end, moment.end) - max(start, moment.start)
            if common >= 0.5 * min(end - start, moment.end - moment.start) - 1e-9:
                heard[row] = label in moment.yes
    positions = np.array(sorted(heard), np.int64)
    return Known(positions, np.array([heard[row] for row in positions.tolist()], bool))


def train_head(index: VectorIndex, known: Known, examples: np.ndarray | None = None) -> Linear | None:
    """A classifier of one label; None before there is both a yes and a no. Each side counts half.

    Args:
        index: where the rows are.
        known: what was answered.
        examples: (Q, E) embeddings of what the label sounds like: as good as a yes each.

    >>> train_head(VectorIndex("out/index"), known)  # doctest: +SKIP
    """
    rows, heard = index.values(known.positions), known.heard
    if examples is not None and len(examples):
        rows = np.concatenate([rows, np.asarray(examples, np.float32)])
        heard = np.concatenate([heard, np.ones(len(examples), bool)])
    if not heard.any() or heard.all():
        return None
    weights = np.where(heard, 0.5 / heard.sum(), 0.5 / (~heard).sum())
    return fit_linear(rows, heard[:, None].astype(float), kind="several", penalty=PENALTY, weights_N=weights)


def head_scores(head: Linear) -> Callable[[Segment, slice], np.ndarray]:
    """For `auricle.search.nearest.scan`: the probability of a head's one label.

    >>> scores = scan(VectorIndex("out/index"), head_scores(head))  # doctest: +SKIP
    """
    return lambda segment, rows: head.scores(segment.values[rows])[:, 0].astype(np.float32)


def propose(
    index: VectorIndex,
    answers: Answers,
    labels: Sequence[str],
    *,
    examples: Mapping[str, np.ndarray] | None = None,
    count: int = 10,
    order: str = "uncertain",
    gap: float | None = None,
    seed: int = 0,
    also_without: Iterable[Question] = (),
    heard: Mapping[str, Iterable[Stretch]] | None = None,
) -> list[Question]:
    """The next questions: the labels take turns, and no two moments of one recording are close together.

    Of recordings that are the same sound under several names, the first alone is asked about.

    Args:
        index: where.
        answers: what was said; what was answered of a label is not asked again.
        labels: to be asked about.
        examples: label -> (Q, E) embeddings of what it sounds like.
        count: how many at most.
        order: "uncertain" asks where the head is least sure, "likely" where it is surest of a label.
        gap: seconds between questions of one recording; None takes a window's length.
        seed: of what is drawn at random; the number of answers counts, too.
        also_without: questions that are not to be asked again, such as skipped ones.
        heard: label -> stretches of which it is known that the label is heard there, such as those of which
            the examples are: what overlaps with one is not asked.

    Raises:
        ValueError: no label, an unknown order, an empty index.

    >>> propose(VectorIndex("out/index"), Answers(), ["dog"], count=3)  # doctest: +SKIP
    """
    if order not in ORDERS:
        raise ValueError(f"order is {order!r}; expected {' or '.join(ORDERS)}")
    if not labels:
        raise ValueError("no label to ask about: name one")
    if not len(index):
        raise ValueError(f"{index.path}: holds no moments")
    gap = index.window_seconds if gap is None else gap
    rng = np.random.default_rng([seed, len(answers)])
    queues = {
        label: _queue(index, answers, label, (examples or {}).get(label), order, rng) for label in labels
    }
    chosen: list[Question] = []
    taken: dict[str, list[tuple[float, float]]] = {}
    for question in also_without:
        taken.setdefault(question.path, []).append((question.start, question.end))
    waiting = list(labels)
    for turn in numbers():
        if not waiting or len(chosen) == count:
            return chosen
        label = waiting[turn % len(waiting)]
        found = _next(index, answers, label, queues[label], taken, gap, tuple((heard or {}).get(label, ())))
        if found is None:
            waiting.remove(label)
            continue
        chosen.append(found)
        taken.setdefault(found.path, []).append((found.start, found.start + gap))
    raise AssertionError("not reached")


class _Queue:
    """Rows in the order in which they are to be asked about, some of them drawn at random between."""

    def __init__(self, rows: np.ndarray, scores: np.ndarray, random: np.ndarray):
        self.rows, self.scores, self.random = rows, scores, random
        self._at = self._random_at = self._given = 0
        self._seen: set[int] = set()  # rows that came by chance come again in their order

    def next(self) -> tuple[int, float] | None:
        """(position, score), each once; None at the end."""
        while self._at < len(self.rows):
            use_random = self._random_at < len(self.random) and self._given % RANDOM_EVERY == RANDOM_EVERY - 1
            at = int(self.random[self._random_at]) if use_random else self._at
            self._random_at, self._at = self._random_at + use_random, self._at + (not use_random)
            if at not in self._seen:
                self._seen.add(at)
                return int(self.rows[at]), float(self.scores[at])
        return None

    def took(self) -> None:
        """The last one became a question."""
        self._given += 1


def _queue(
    index: VectorIndex,
    answers: Answers,
    label: str,
    examples: np.ndarray | None,
    order: str,
    rng: np.random.Generator,
) -> _Queue:
    known = known_rows(index, answers, label)
    head = train_head(index, known, examples)
    nothing = np.zeros(0, np.int64)
    if head is not None:
        scores = scan(index, head_scores(head))[index.sounds]
        wish = scores if order == "likely" else -np.abs(scores - 0.5)
        by_wish = np.argsort(-wish, kind="stable")
        return _Queue(index.sounds[by_wish], scores[by_wish], nothing)
    liked = [index.values(known.positions[known.heard])] + ([] if examples is None else [examples])
    wanted = np.concatenate(liked)
    if len(wanted):
        scores = scan(index, similar(unit_rows(wanted, index.size)))[index.sounds]
        by_wish = np.argsort(-scores, kind="stable")
        random = nothing if order == "likely" else rng.permutation(len(by_wish))
        return _Queue(index.sounds[by_wish], scores[by_wish], random)
    rows = _far_apart(index, known.positions, rng)
    return _Queue(rows, np.full(len(rows), 0.5), nothing)


def _far_apart(index: VectorIndex, known: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Rows of a sample, each as unlike all before it, and what was answered, as can be."""
    sounds = index.sounds
    sample = np.sort(rng.choice(sounds, min(SAMPLE, len(sounds)), replace=False))
    values = index.values(sample)
    values /= np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-30)
    begin = index.values(known) if len(known) else values.mean(axis=0, keepdims=True)
    begin = begin / np.maximum(np.linalg.norm(begin, axis=1, keepdims=True), 1e-30)
    likeness, ordered = (values @ begin.T).max(axis=1), []
    for _ in range(min(len(sample), LOOKED_AT)):
        row = int(np.argmin(likeness))
        ordered.append(row)
        likeness = np.maximum(likeness, values @ values[row])
        likeness[row] = np.inf
    return sample[np.array(ordered)]


def _next(
    index: VectorIndex,
    answers: Answers,
    label: str,
    queue: _Queue,
    taken: Mapping[str, list[tuple[float, float]]],
    gap: float,
    heard: Sequence[Stretch],
) -> Question | None:
    while (found := queue.next()) is not None:
        position, score = found
        [path], [(start, end)] = index.paths(np.array([position])), index.spans(np.array([position]))
        near = any(begin - gap + 1e-9 < start < stop - 1e-9 for begin, stop in taken.get(path, []))
        names = index.all_named(path)
        known = [stretch for name in names for stretch in answers.asked(name, label)]
        known += [stretch[1:] for stretch in heard if stretch[0] in names]
        answered = any(start < stop - 1e-9 and begin + 1e-9 < end for begin, stop in known)
        if not near and not answered:
            queue.took()
            return Question(path, float(start), float(end), label, score)
    return None
