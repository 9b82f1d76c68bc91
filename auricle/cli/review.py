"""The verb that has moments labelled: review."""

import sys
from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from auricle.cli.options import Quiet, Threads, check_excerpt
from auricle.cli.output import print_error, print_warning
from auricle.cli.search import MODEL_HELP, STDIN, ExampleEnd, ExampleStart, embedded, shown, whole
from auricle.progress import say
from auricle.text import as_utf8, counted, for_terminal

if TYPE_CHECKING:
    import numpy as np

    from auricle.search import VectorIndex
    from auricle.search.answers import Answers, Question
    from auricle.search.proposals import Stretch

QUIT = ("q", "quit")


class Order(StrEnum):
    """Which moments are asked about first."""

    uncertain = "uncertain"
    likely = "likely"


def review(
    index: Annotated[Path, typer.Argument(help="The folder that `auricle index` wrote.", metavar="INDEX")],
    label: Annotated[
        list[str], typer.Option(metavar="LABEL", help="What to ask for; may be given several times.")
    ],
    out: Annotated[
        Path, typer.Option(metavar="LABELS.csv", help="The labels, a table for `auricle pack`; it grows.")
    ],
    example: Annotated[
        list[str] | None,
        typer.Option(metavar="[LABEL=]PATH", help="What a label sounds like; may be given several times."),
    ] = None,
    start: ExampleStart = 0.0,
    end: ExampleEnd = None,
    answers: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Take the answers of this table; nobody is asked.")
    ] = None,
    propose: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the next questions here, to be answered there.")
    ] = None,
    count: Annotated[
        int, typer.Option(min=1, metavar="N", help="Questions before the head is trained anew.")
    ] = 10,
    order: Annotated[Order, typer.Option(help="What to ask first.")] = Order.uncertain,
    gap: Annotated[
        float | None,
        typer.Option(
            min=0.0, metavar="S", help="Questions of a recording are S seconds apart; else a window."
        ),
    ] = None,
    sounds: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Cut out what is asked about, to be listened to: WAV files."),
    ] = None,
    model: Annotated[str | None, typer.Option(help=MODEL_HELP)] = None,
    threads: Threads = None,
    seed: Annotated[int, typer.Option(help="Of what is drawn at random.")] = 0,
    quiet: Quiet = False,
) -> None:
    """Label moments, the most telling first.

    Those are what a classifier of the answers so far is least sure of.
    In the terminal, an answer is y, n, or the labels that are heard (separated by ;), Enter skips, q ends. Or
    --propose writes questions as CSV, and --answers takes it back with its column `answer` filled in. After
    each round a linear head is trained on all answers. The labels are kept after every answer.
    """
    from auricle.search import VectorIndex
    from auricle.search.answers import read_labels, read_questions, write_labels

    opened_index, labels = VectorIndex(index), list(dict.fromkeys(label))
    _check_labels(labels)
    check_excerpt(start, end)
    if (start or end is not None) and len(example or []) != 1:
        raise typer.BadParameter(
            f"is of one --example, and {len(example or [])} are given",
            param_hint="--start" if start else "--end",
        )
    # before anything is written
    given = read_questions(answers, opened_index.by_path) if answers is not None else []
    copies = opened_index.copies
    known = read_labels(out, copies)
    examples, heard = _examples(
        example or [], labels, opened_index, model, threads, {"start": start, "end": end}
    )
    chosen: dict[str, Any] = {
        "examples": examples,
        "heard": heard,
        "count": count,
        "order": order.value,
        "gap": gap,
        "seed": seed,
    }
    if copies:
        more = len(copies) - len(set(copies.values()))
        same = (
            "is the same sound as another: that is"
            if more == 1
            else "are the same sound as others: those are"
        )
        say(f"{counted(more, 'recording')} {same} asked about, and an answer counts for all")
    if answers is not None:
        taken = sum(known.add(question, text) for question, text in given)
        write_labels(out, known)
        if taken < len(given):
            print_warning(f"{answers}: {counted(len(given) - taken, 'question')} without an answer")
    _warn_of_contradictions(known)
    if propose is not None:
        _propose(opened_index, known, labels, propose, sounds, chosen)
    elif answers is None:
        _ask(opened_index, known, labels, out, sounds, chosen)
    print(f"{out}: {counted(len(known), 'moment')}{_tally(known, labels)}")


def _warn_of_contradictions(known: "Answers") -> None:
    """Copies of one sound that were answered differently: the first, and how many."""
    if not (differing := known.contradictions):
        return
    one, other, label = differing[0]
    more = f" ({counted(len(differing), 'such answer')} in all)" if len(differing) > 1 else ""
    print_warning(
        f"{shown(one.path)} and {shown(other.path)} are the same sound, and {for_terminal(label)} is heard "
        f"in one of them alone at {one.start:.1f} s: each keeps its answer{more}"
    )


def _check_labels(labels: Sequence[str]) -> None:
    from auricle.formats.reading import NO, NOTHING, YES

    for label in labels:
        if ";" in label or not label.strip() or label.lower() in (*YES, *NO, *NOTHING, *QUIT):
            raise typer.BadParameter(f"{label!r} cannot be told from an answer", param_hint="--label")


def _examples(
    texts: Sequence[str],
    labels: Sequence[str],
    opened_index: "VectorIndex",
    model: str | None,
    threads: int | None,
    place: dict[str, Any],
) -> "tuple[dict[str, np.ndarray], dict[str, list[Stretch]]]":
    """Label -> embeddings and label -> stretches, of LABEL=PATH; PATH alone is of the only label."""
    import numpy as np

    found: dict[str, list[Any]] = {}
    heard: dict[str, list[Stretch]] = {}
    end = float("inf") if place["end"] is None else place["end"]
    for text in texts:
        label, equals, path = text.partition("=")
        if not equals or label not in labels:
            if len(labels) > 1:
                raise typer.BadParameter(
                    f"{text!r}: say of which label, e.g. {labels[0]}={text}", param_hint="--example"
                )
            label, path = labels[0], text
        found.setdefault(label, []).append(embedded(path, opened_index, model, threads, place))
        if path != STDIN:
            heard.setdefault(label, []).append((whole(path), place["start"], end))
    return {label: np.concatenate(parts) for label, parts in found.items()}, heard


def _propose(
    opened_index: "VectorIndex",
    known: "Answers",
    labels: Sequence[str],
    file: Path,
    sounds: Path | None,
    chosen: dict[str, Any],
) -> None:
    from auricle.search.answers import write_questions
    from auricle.search.proposals import propose

    questions = propose(opened_index, known, labels, **chosen)
    cut = None if sounds is None else {q: str(path) for q, path in _cut(questions, sounds, opened_index)}
    write_questions(file, questions, cut)
    print(
        f"{file}: {counted(len(questions), 'question')}; fill in the column `answer` and give it to --answers"
    )


def _ask(
    opened_index: "VectorIndex",
    known: "Answers",
    labels: Sequence[str],
    out: Path,
    sounds: Path | None,
    chosen: dict[str, Any],
) -> None:
    """Ask on the terminal until somebody ends it, or there is nothing left to ask."""
    from auricle.search.answers import write_labels
    from auricle.search.proposals import propose

    skipped: list[Question] = []
    while questions := propose(opened_index, known, labels, also_without=skipped, **chosen):
        cut = {} if sounds is None else dict(_cut(questions, sounds, opened_index))
        for number, question in enumerate(questions, 1):
            where = f"{for_terminal(shown(question.path))} {question.start:.1f}-{question.end:.1f} s"
            heard = f" ({for_terminal(str(cut[question]))})" if question in cut else ""
            asked = f"{number}/{len(questions)} {where}{heard}: {question.label}? [{question.score:.2f}] "
            while True:
                print(asked, end="", file=sys.stderr, flush=True)
                line = sys.stdin.readline() if sys.stdin is not None else ""
                if not line or line.strip().lower() in QUIT:
                    print(file=sys.stderr)
                    return
                try:
                    if known.add(question, line):
                        write_labels(out, known)
                    else:
                        skipped.append(question)
                    break
                except ValueError as error:
                    print_error(str(error))
    say("nothing is left to ask about")


def _cut(
    questions: "Sequence[Question]", folder: Path, opened_index: "VectorIndex"
) -> "Iterator[tuple[Question, Path]]":
    """Write what is asked about as WAV files."""
    import soundfile

    from auricle.audio import AudioError, read

    folder.mkdir(parents=True, exist_ok=True)
    rate = int(opened_index.about["rate"])
    for number, question in enumerate(questions, 1):
        name = f"{number:02d}_{Path(question.path).stem}_{question.start:.2f}-{question.end:.2f}.wav"
        try:
            samples = read(
                question.path, rate, start=question.start, end=question.end, warn=lambda text: None
            )
        except (AudioError, OSError) as error:  # it may be gone, or on a disk that is not there
            print_warning(str(error))
            continue
        soundfile.write(folder / as_utf8(name), samples, rate)
        yield question, folder / as_utf8(name)


def _tally(known: "Answers", labels: Sequence[str]) -> str:
    """How often each label was and was not heard."""
    lines = [
        f"{for_terminal(label)} {sum(label in m.yes for m in known.moments)} yes, "
        f"{sum(label in m.no for m in known.moments)} no"
        for label in dict.fromkeys([*labels, *known.labels])
    ]
    return "; " + "; ".join(lines) if lines else ""
