"""What the review loop's choice of moments is worth: answers it needs, beside moments drawn at random.

An oracle stands in for the listener: it knows the class of each clip of a corpus with folds, and says no to
digital silence. For each class and seed a fold is held out, the next one with the next seed; one moment of
the other folds is the example, and then moments of these folds are asked about, ten at a time, chosen by
`auricle review` (--order uncertain, --order likely) or at random. After each round the head of `auricle
review` scores the fold's clips (the mean of the windows): average precision against the number of answers,
and how often the label was heard. All choices begin with the same example. Before there is a head, clips are
scored by their similarity to it.

    auricle pack ../shared/data/esc50/meta.csv out/esc50
    auricle embed out/esc50 --model yamnet --name yamnet
    python benchmarks/review.py --data out/esc50 --embeddings yamnet --out runs/review

The embeddings' model must not have been trained on these clips. Intervals are of draws of classes with all
their runs, differences of runs on the same class, fold, seed and example. A run that was stopped goes on.
"""

import argparse
import json
import platform
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from auricle.search import VectorIndex
from auricle.search.answers import Answers, Question
from auricle.search.examples import is_silent
from auricle.search.layout import begin
from auricle.search.nearest import unit_rows
from auricle.search.proposals import known_rows, propose, train_head
from auricle.search.writing import Heard, commit
from auricle.shards import Pack

CHOICES = ("uncertain", "likely", "random")
DRAWS, LEVEL = 2000, 0.95


class Corpus(NamedTuple):
    """Windows of all clips: whose they are, what they hold."""

    values: np.ndarray  # (W, E) float32
    clip: np.ndarray  # (W,) int64
    silent: np.ndarray  # (W,) bool
    spans: np.ndarray  # (W, 2) float64 seconds
    about: dict[str, Any]


def read_corpus(pack: Pack, name: str) -> Corpus:
    """The windows of an embedding set, and which of them are digital silence."""
    found = pack.embeddings(name)
    about = dict(found.about)
    rate, window, hop = (int(about[key]) for key in ("rate", "window", "hop"))
    if pack.rate != rate:
        raise SystemExit(f"{pack.path}: packed at {pack.rate} Hz, the embeddings were made at {rate} Hz")
    counts = np.diff(found.indptr)
    clip = np.repeat(np.arange(len(counts)), counts)
    place = np.arange(len(clip)) - found.indptr[:-1][clip]
    starts = place * hop
    silent = np.zeros(len(clip), bool)
    for number in range(len(counts)):
        samples = pack.samples(number).astype(np.float32) / 32768
        rows = np.arange(found.indptr[number], found.indptr[number + 1])
        cut = np.zeros((len(rows), window), np.float32)
        for row, start in enumerate(starts[rows]):
            part = samples[start : start + window]
            cut[row, : len(part)] = part
        if len(rows):
            silent[rows] = is_silent(cut, rate)
    spans = np.stack([starts, starts + window], axis=1) / rate
    return Corpus(np.asarray(found.values, np.float32), clip, silent, spans, about)


def make_index(folder: Path, corpus: Corpus, clips: np.ndarray) -> VectorIndex:
    """An index of these clips, as `auricle index` writes it, each a recording named by its number."""
    names = ("model", "fingerprint", "rate", "window", "hop", "size")
    folder.mkdir()
    begin(folder, {name: corpus.about[name] for name in names} | {"given": corpus.about["model"]})

    def heard() -> Iterator[Heard]:
        for clip in clips.tolist():
            rows = np.flatnonzero(corpus.clip == clip)
            spans = corpus.spans[rows]
            yield Heard(str(clip), 1, "", "", [(spans[:, 0], spans[:, 1], corpus.values[rows])])

    commit(folder, lambda piece: True, heard(), int(corpus.about["size"]))
    return VectorIndex(folder)


def average_precision(scores: np.ndarray, targets: np.ndarray) -> float:
    """As in `auricle.metrics.ranking`, of one class."""
    from auricle.metrics.ranking import average_precision as of_class

    return float(of_class(targets.astype(np.int64), scores))


class Course(NamedTuple):
    """One run: after each round, average precision and how often the label was heard."""

    precision: list[float]
    heard: list[int]


def run_course(
    index: VectorIndex,
    corpus: Corpus,
    test: tuple[np.ndarray, np.ndarray],
    yes: np.ndarray,
    example: int,
    choice: str,
    seed: int,
    *,
    rounds: int,
    count: int,
) -> Course:
    """Ask, answer, train, judge, round after round.

    Args:
        index: what is asked about.
        corpus: all windows.
        test: clips that are scored, and whether they hold the label.
        yes: (clips,) bool, whether each clip holds the label.
        example: a window of a clip of the index.
        choice: one of CHOICES.
        seed: of what is drawn.
        rounds: how many.
        count: questions a round.
    """
    silent = {
        (str(corpus.clip[row]), round(float(corpus.spans[row, 0]), 6))
        for row in np.flatnonzero(corpus.silent)
    }
    known = (str(corpus.clip[example]), *map(float, corpus.spans[example]))
    query = corpus.values[example][None]
    free = index.alive
    order = np.random.default_rng([seed, example]).permutation(len(free))  # of the choice at random
    apart = [row for row in free[order].tolist() if _question(index, row)[:2] != known[:2]]
    test_rows = np.flatnonzero(np.isin(corpus.clip, test[0]))
    answers, course = Answers(), Course([], [])
    for turn in range(rounds + 1):
        head = train_head(index, known_rows(index, answers, "label"), query)
        values = corpus.values[test_rows]
        if head is not None:
            scores = head.scores(values)[:, 0]
        else:
            unit = unit_rows(query, index.size)
            scores = values @ unit[0] / np.maximum(np.linalg.norm(values, axis=1), 1e-30)
        means = [scores[corpus.clip[test_rows] == clip].mean() for clip in test[0]]
        course.precision.append(average_precision(np.array(means), test[1]))
        course.heard.append(sum("label" in moment.yes for moment in answers.moments))
        if turn == rounds:
            return course
        if choice == "random":
            asked = [_question(index, row) for row in apart[turn * count : (turn + 1) * count]]
        else:
            asked = propose(
                index,
                answers,
                ["label"],
                examples={"label": query},
                heard={"label": [known]},
                count=count,
                order=choice,
                seed=seed,
            )
        for question in asked:
            there = yes[int(question.path)] and (question.path, round(question.start, 6)) not in silent
            answers.add(question, "y" if there else "n")
    raise AssertionError("not reached")


def _question(index: VectorIndex, row: int) -> Question:
    [path], [(start, end)] = index.paths(np.array([row])), index.spans(np.array([row]))
    return Question(path, float(start), float(end), "label", 0.5)


def interval(values_CR: np.ndarray, seed: int = 0) -> tuple[float, float, float]:
    """Mean of a table of classes and runs, and its interval: classes are drawn, with all their runs."""
    of_class = values_CR.mean(axis=1)
    drawn = np.random.default_rng(seed).integers(len(of_class), size=(DRAWS, len(of_class)))
    low, high = np.quantile(of_class[drawn].mean(axis=1), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(of_class.mean()), float(low), float(high)


def courses(asked: argparse.Namespace, pack: Pack, corpus: Corpus) -> dict[str, dict[str, Course]]:
    """Every run, by class/fold/seed and choice; those that are finished in --out are taken from there."""
    names = pack.label_names()
    targets = pack.targets(np.arange(len(pack)), "labels") > 0
    splits = pack.splits.astype(str)
    folds = sorted(set(splits.tolist()))
    done: dict[str, dict[str, Any]] = {}
    file = asked.out / "courses.json"
    settings = {name: getattr(asked, name) for name in ("embeddings", "rounds", "count")}
    settings |= {"pack": pack.fingerprint, "model": corpus.about["fingerprint"]}
    if file.is_file():
        before = json.loads(file.read_text())
        if before["settings"] != settings:
            raise SystemExit(f"{file}: made with other settings; name another --out")
        done = before["courses"]
    began, made = time.perf_counter(), 0
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(asked.first_seed, asked.first_seed + asked.seeds):
            for at, fold in enumerate(folds):
                index = None
                inside = splits == fold
                for k, name in list(enumerate(names))[: asked.classes]:
                    if (k + seed) % len(folds) != at:  # each class is judged on one fold a seed
                        continue
                    key = f"{name}/{fold}/{seed}"
                    if set(done.get(key, {})) >= set(asked.choices):
                        continue
                    if index is None:
                        place = Path(folder) / f"{seed}-{at}"
                        index = make_index(place, corpus, np.flatnonzero(~inside))
                    yes = targets[:, k]
                    rng = np.random.default_rng([seed, at, k])
                    fits = np.flatnonzero(yes[corpus.clip] & ~inside[corpus.clip] & ~corpus.silent)
                    example = int(rng.choice(fits))
                    test = np.flatnonzero(inside), yes[inside]
                    done[key] = done.get(key, {}) | {
                        choice: run_course(
                            index, corpus, test, yes, example, choice, seed,
                            rounds=asked.rounds, count=asked.count,
                        )
                        for choice in asked.choices
                    }  # fmt: skip
                    made += 1
                asked.out.mkdir(parents=True, exist_ok=True)
                file.write_text(json.dumps({"settings": settings, "courses": done}))
                print(f"seed {seed}, {fold}: {made} in {time.perf_counter() - began:.0f} s", flush=True)
    return {
        key: {choice: Course(*course) for choice, course in runs.items()}
        for key, runs in done.items()
        if 0 <= int(key.rpartition("/")[2]) - asked.first_seed < asked.seeds
    }


def table(found: dict[str, dict[str, Course]], choices: list[str], count: int) -> list[str]:
    """Lines of Markdown: a row for each number of answers."""
    classes = sorted({key.split("/")[0] for key in found})
    runs = {name: [found[key] for key in sorted(found) if key.split("/")[0] == name] for name in classes}

    def values(choice: str, turn: int, what: str) -> np.ndarray:
        return np.array([[getattr(run[choice], what)[turn] for run in runs[name]] for name in classes], float)

    others = [choice for choice in choices if choice != "random"]
    heads = [
        "answers",
        *choices,
        *(f"{choice} - random" for choice in others),
        *(f"heard, {c}" for c in choices),
    ]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for turn in range(len(next(iter(found.values()))[choices[0]].precision)):
        cells = [str(turn * count)]
        cells += [f"{values(choice, turn, 'precision').mean():.3f}" for choice in choices]
        for choice in others:
            mean, low, high = interval(
                values(choice, turn, "precision") - values("random", turn, "precision")
            )
            cells.append(f"{mean:+.3f} ({low:+.3f} to {high:+.3f})")
        cells += [f"{values(choice, turn, 'heard').mean():.1f}" for choice in choices]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def main() -> None:
    """Run, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="a pack with folds as splits")
    parser.add_argument("--embeddings", default="yamnet", help="an embedding set of the pack")
    parser.add_argument("--out", type=Path, required=True, help="folder of results; what is there is kept")
    parser.add_argument("--choices", nargs="+", default=list(CHOICES), choices=CHOICES)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--count", type=int, default=10, help="questions a round")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0, metavar="N")
    parser.add_argument("--classes", type=int, default=None, help="only the first N classes")
    parser.add_argument("--quick", action="store_true", help="two rounds of two classes, one seed")
    asked = parser.parse_args()
    if asked.quick:
        asked.rounds, asked.seeds, asked.classes = 2, 1, 2
    pack = Pack(asked.data)
    corpus = read_corpus(pack, asked.embeddings)
    found = courses(asked, pack, corpus)
    print(
        f"{len(found)} runs, {corpus.about['model']}; Python {platform.python_version()}, "
        f"NumPy {np.__version__}"
    )
    print(*table(found, asked.choices, asked.count), sep="\n")


if __name__ == "__main__":
    main()
