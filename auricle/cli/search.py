"""Verbs that find and label moments: index, find, review."""

import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from auricle.cli.options import End, Quiet, Raw, Start, Threads, check_excerpt, raw_format
from auricle.cli.output import describe, opened, print_error, print_table, print_warning
from auricle.cli.recordings import engine_for, shared_cores
from auricle.cli.results import STDIN, naming
from auricle.remote import address_of, look_up
from auricle.text import as_utf8, counted, for_terminal

if TYPE_CHECKING:
    import numpy as np

    from auricle.search import Moment, VectorIndex
    from auricle.search.answers import Answers, Question

MODEL_HELP = "A bundled model's name, an artifact's folder, an .onnx file; at first the index's."
GLOB = "*?["
QUIT = ("q", "quit")


class FindFormat(StrEnum):
    """How moments are written."""

    table = "table"
    csv = "csv"
    jsonl = "jsonl"


class Order(StrEnum):
    """Which moments are asked about first."""

    uncertain = "uncertain"
    likely = "likely"


def index(
    paths: Annotated[
        list[str],
        typer.Argument(
            help="Recordings, films, folders, globs, also by address (s3://...).", metavar="PATHS"
        ),
    ],
    out: Annotated[
        Path, typer.Option(metavar="INDEX", help="The folder of the index, new or to be renewed.")
    ],
    model: Annotated[str | None, typer.Option(help=MODEL_HELP)] = None,
    hop: Annotated[
        float | None, typer.Option(metavar="S", help="Seconds from window to window; at first the model's.")
    ] = None,
    threads: Threads = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Processes; for many files, as many as cores.")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, or cuda for a model of torch.")] = "cpu",
    quiet: Quiet = False,
) -> None:
    """Make recordings searchable by the embeddings of their windows, for `auricle find` and `auricle review`.

    Given again, it hears only what is new or has changed, and drops what is gone from the folders that are
    named. A recording that cannot be read is named, the others go on, and the exit status is 1. Killed, the
    same command goes on where it was. Without usearch (the extra `search`) every search looks at all windows.
    """
    from auricle.engine.embedding import EmbedOptions
    from auricle.engine.indexing import index_files
    from auricle.media_files import find_media

    if device != "cpu":
        if (jobs or 1) > 1:
            raise typer.BadParameter(f"{device} is used by one process", param_hint="--device")
        jobs = 1
    if STDIN in paths:
        raise typer.BadParameter("what comes from a pipe has no name to be found by", param_hint="PATHS")
    model, hop = _model_of(out, model, hop)
    found = find_media(paths)
    problems = dict((path, problem) for path, problem in found if problem is not None)
    for problem in problems.values():
        print_error(problem)
    files = [path for path, problem in found if problem is None]
    jobs, threads = shared_cores(jobs, threads, len(files))
    result = index_files(
        files,
        out,
        EmbedOptions(model=model, hop=hop, precision="float16", threads=threads, device=device),
        gone=gone_from([path for path in paths if path not in problems]),
        engine=engine_for_index(jobs, len(files)),
        explain=describe,
    )
    failures = len(problems)
    for path, told in result["told"].items():
        for warning in told["warnings"]:
            print_warning(naming(path, warning))
        if told["error"] is not None:
            failures += 1
            print_error(naming(path, told["error"]))
    recordings = counted(result["recordings"], "recording")
    print(
        f"{out}: {counted(result['windows'], 'window')} of {recordings} "
        f"({result['heard']:,} heard, {result['unchanged']:,} unchanged, {result['removed']:,} removed)"
    )
    if failures:
        raise typer.Exit(1)


def find(
    example: Annotated[
        str, typer.Argument(help="What to look for: a recording; - for a pipe.", metavar="EXAMPLE")
    ],
    index: Annotated[Path, typer.Option(metavar="INDEX", help="The folder that `auricle index` wrote.")],
    top: Annotated[int, typer.Option(min=1, metavar="K", help="At most K moments.")] = 10,
    start: Start = 0.0,
    end: End = None,
    gap: Annotated[
        float | None,
        typer.Option(
            min=0.0, metavar="S", help="Moments of a recording begin S seconds apart; else a window."
        ),
    ] = None,
    per_file: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="At most N moments of each recording.")
    ] = None,
    exact: Annotated[
        bool, typer.Option("--exact", help="Look at every window; slower in large indexes.")
    ] = False,
    format: Annotated[
        FindFormat, typer.Option(help="For people, spreadsheets, programs.")
    ] = FindFormat.table,
    out: Annotated[str, typer.Option(metavar="FILE", help="Where results go; -: standard output.")] = STDIN,
    model: Annotated[str | None, typer.Option(help=MODEL_HELP)] = None,
    raw: Raw = None,
    threads: Threads = None,
) -> None:
    """Find the moments of indexed recordings that sound most like an example.

    The similarity is the cosine of two embeddings, 1 at most. Of an example of several windows, that window
    counts which a moment is most similar to. The example itself, where it is in the index, is left out.
    """
    check_excerpt(start, end)
    from auricle.search import VectorIndex, find_moments

    opened_index = VectorIndex(index)
    asked: dict[str, Any] = {"start": start, "end": end, "raw": None if raw is None else raw_format(raw)}
    queries = _embedded(example, opened_index, model, threads, asked)
    itself = None if example == STDIN else (_whole(example), start, float("inf") if end is None else end)
    moments = find_moments(
        opened_index, queries, count=top, gap=gap, per_file=per_file, exact=exact, without=itself
    )
    with opened(out) as stream:
        write_moments(moments, stream, format)


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
) -> None:
    """Label moments, the most telling first: those that a classifier of the answers so far is least sure of.

    In the terminal, an answer is y, n, or the labels that are heard (separated by ;), Enter skips, q ends. Or
    --propose writes questions as CSV, and --answers takes it back with its column `answer` filled in. After
    each round a linear head is trained on all answers. The labels are kept after every answer.
    """
    from auricle.search import VectorIndex
    from auricle.search.answers import read_labels, read_questions, write_labels

    opened_index, labels = VectorIndex(index), list(dict.fromkeys(label))
    _check_labels(labels)
    given = read_questions(answers) if answers is not None else []  # before anything is written
    known = read_labels(out)
    examples = _examples(example or [], labels, opened_index, model, threads)
    chosen: dict[str, Any] = {
        "examples": examples,
        "count": count,
        "order": order.value,
        "gap": gap,
        "seed": seed,
    }
    if answers is not None:
        taken = sum(known.add(question, text) for question, text in given)
        write_labels(out, known)
        if taken < len(given):
            print_warning(f"{answers}: {counted(len(given) - taken, 'question')} without an answer")
    if propose is not None:
        _propose(opened_index, known, labels, propose, sounds, chosen)
    elif answers is None:
        _ask(opened_index, known, labels, out, sounds, chosen)
    print(f"{out}: {counted(len(known), 'moment')}{_tally(known, labels)}")


def write_moments(moments: "Iterable[Moment]", stream: TextIO, format: FindFormat) -> None:
    """Write moments as one of the formats.

    >>> from auricle.search import Moment
    >>> write_moments([Moment("a.wav", 4.0, 6.0, 0.9)], sys.stdout, FindFormat.csv)
    path,start,end,similarity
    a.wav,4,6,0.9
    """
    import csv

    rows = [(shown(moment.path), *moment[1:]) for moment in moments]
    if format is FindFormat.table:
        lines = [[f"{score:.3f}", f"{start:.1f}", f"{end:.1f}", path] for path, start, end, score in rows]
        print_table(stream, ["similarity>", "from>", "to>", "recording"], lines)
    elif format is FindFormat.csv:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["path", "start", "end", "similarity"])
        for path, start, end, score in rows:
            writer.writerow([as_utf8(path), f"{start:.15g}", f"{end:.15g}", f"{score:.6g}"])
    else:
        for row in rows:
            print(
                json.dumps(dict(zip(("path", "start", "end", "similarity"), row, strict=True))), file=stream
            )


def shown(path: str) -> str:
    """A recording's path as it is shown: from the current folder where it lies in that.

    >>> shown(os.path.abspath("a.wav")), shown("s3://bucket/a.wav")
    ('a.wav', 's3://bucket/a.wav')
    """
    here = os.path.join(os.getcwd(), "")  # noqa: PTH109, PTH118
    return path.removeprefix(here) if address_of(path) is None else path


def gone_from(paths: Sequence[str]) -> Callable[[str], bool]:
    """Whether a recording, by its absolute path, was in one of some folders, or is one of them, and is gone.

    >>> gone_from(["tests"])(os.path.abspath("tests/no-such.wav")), gone_from(["docs"])("/elsewhere/a.wav")
    (True, False)
    """
    roots = []
    for path in paths:
        while any(mark in path for mark in GLOB) and not os.path.lexists(path) and address_of(path) is None:
            path = os.path.dirname(path) or "."  # noqa: PTH120
        roots.append(_whole(path).rstrip("/" + os.sep))

    def gone(path: str) -> bool:
        if not any(path == root or path.startswith((root + "/", root + os.sep)) for root in roots):
            return False
        return look_up(path) is None if address_of(path) is not None else not os.path.lexists(path)

    return gone


def engine_for_index(jobs: int, files: int) -> Any:
    """See `auricle.cli.recordings.engine_for`.

    >>> engine_for_index(1, 2).kind
    'here'
    """
    from auricle.cli.options import EngineName

    return engine_for(EngineName.local, None, jobs, files)


def _whole(path: str) -> str:
    return address_of(path) or os.path.abspath(path)  # noqa: PTH100  links stay as they were given


def _model_of(out: Path, model: str | None, hop: float | None) -> tuple[str, float | None]:
    """What an index that is there was made with, where nothing else is asked for."""
    from auricle.search.layout import ABOUT, read_about

    if not (out / ABOUT).is_file():
        return model or "default", hop
    about = read_about(out)
    return model or str(about["given"]), about["hop"] / about["rate"] if hop is None else hop


def _embedded(
    path: str, opened_index: "VectorIndex", model: str | None, threads: int | None, place: dict[str, Any]
) -> "np.ndarray":
    """The embeddings of an example, by the index's own model and hop."""
    import numpy as np

    from auricle.embedding import describe_model, embed_recording
    from auricle.search.layout import refuse_other_model
    from auricle.tagging import Tagger

    about = opened_index.about
    tagger = Tagger(model or about["given"], threads=threads)
    hop = about["hop"] / about["rate"]
    refuse_other_model(opened_index.path, about, describe_model(tagger.artifact, hop=hop))
    parts = list(
        embed_recording(tagger, path, hop=hop, warn=lambda text: print_warning(naming(path, text)), **place)
    )
    heard = parts[-1].ends[-1] - parts[0].starts[0]
    if heard < 0.75 * opened_index.window_seconds:
        print_warning(
            naming(
                path,
                f"{heard:.2f} s are less than the {opened_index.window_seconds:g} s of a window, the rest of "
                "which is silence; an excerpt as long as a window finds better",
            )
        )
    return np.concatenate([part.embeddings for part in parts])


def _check_labels(labels: Sequence[str]) -> None:
    from auricle.search.answers import NO, NOTHING, YES

    for label in labels:
        if ";" in label or not label.strip() or label.lower() in (*YES, *NO, *NOTHING, *QUIT):
            raise typer.BadParameter(f"{label!r} cannot be told from an answer", param_hint="--label")


def _examples(
    texts: Sequence[str],
    labels: Sequence[str],
    opened_index: "VectorIndex",
    model: str | None,
    threads: int | None,
) -> "dict[str, np.ndarray]":
    """Label -> embeddings, of LABEL=PATH; PATH alone is of the only label."""
    import numpy as np

    found: dict[str, list[Any]] = {}
    for text in texts:
        label, equals, path = text.partition("=")
        if not equals or label not in labels:
            if len(labels) > 1:
                raise typer.BadParameter(
                    f"{text!r}: say of which label, e.g. {labels[0]}={text}", param_hint="--example"
                )
            label, path = labels[0], text
        found.setdefault(label, []).append(_embedded(path, opened_index, model, threads, {}))
    return {label: np.concatenate(parts) for label, parts in found.items()}


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
    print("nothing is left to ask about", file=sys.stderr)


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
