"""Verbs that find moments: index, find."""

import json
import os
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from auricle.cli.destinations import engine_for, shared_cores
from auricle.cli.options import Quiet, Raw, Threads, check_excerpt, raw_format
from auricle.cli.output import describe, opened, print_error, print_table, print_warning
from auricle.cli.results import STDIN, naming
from auricle.remote import address_of, look_up
from auricle.text import as_utf8, counted

if TYPE_CHECKING:
    import numpy as np

    from auricle.search import Moment, VectorIndex

MODEL_HELP = "A bundled model's name, an artifact's folder, an .onnx file; at first the index's."
GLOB = "*?["
ExampleStart = Annotated[
    float, typer.Option(min=0.0, metavar="S", help="The example begins S seconds into its recording.")
]
ExampleEnd = Annotated[
    float | None, typer.Option(min=0.0, metavar="S", help="The example ends S seconds into its recording.")
]


class FindFormat(StrEnum):
    """How moments are written."""

    table = "table"
    csv = "csv"
    jsonl = "jsonl"


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
    """Make recordings searchable, for `find` and `review`.

    They are found by the embeddings of their windows.
    Given again, it hears only what is new or has changed, and drops what is gone from the folders that are
    named. A recording that cannot be read is named, the others go on, and the exit status is 1. Killed, the
    same command goes on where it was. Without usearch (the extra `search`) every search looks at all windows.
    """
    from auricle.engine.embedding import EmbedOptions
    from auricle.engine.indexing import index_files
    from auricle.media_files import find_media
    from auricle.search.layout import ABOUT

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
    if not files and not (out / ABOUT).is_file():
        print_error(f"{out}: no index was made: there is nothing to put into it")
        raise typer.Exit(1)
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
    if not (out / ABOUT).is_file():
        print_error(f"{out}: no index was made: nothing could be heard of {counted(len(files), 'recording')}")
        raise typer.Exit(1)
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
    start: ExampleStart = 0.0,
    end: ExampleEnd = None,
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
    quiet: Quiet = False,
) -> None:
    """Find the moments that sound most like an example.

    The similarity is the cosine of two embeddings, 1 at most. Of an example of several windows, that window
    counts which a moment is most similar to. The example itself, where it is in the index, is left out.
    """
    check_excerpt(start, end)
    from auricle.search import VectorIndex, find_moments

    opened_index = VectorIndex(index)
    asked: dict[str, Any] = {"start": start, "end": end, "raw": None if raw is None else raw_format(raw)}
    queries = embedded(example, opened_index, model, threads, asked)
    itself = None if example == STDIN else (whole(example), start, float("inf") if end is None else end)
    moments = find_moments(
        opened_index, queries, count=top, gap=gap, per_file=per_file, exact=exact, without=itself
    )
    with opened(out) as stream:
        write_moments(moments, stream, format)


def write_moments(moments: "Iterable[Moment]", stream: TextIO, format: FindFormat) -> None:
    """Write moments as one of the formats.

    >>> import sys
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
        roots.append(whole(path).rstrip("/" + os.sep))

    def gone(path: str) -> bool:
        if not any(path == root or path.startswith((root + "/", root + os.sep)) for root in roots):
            return False
        return look_up(path) is None if address_of(path) is not None else not os.path.lexists(path)

    return gone


def engine_for_index(jobs: int, files: int) -> Any:
    """See `auricle.cli.destinations.engine_for`.

    >>> engine_for_index(1, 2).kind
    'here'
    """
    from auricle.cli.options import EngineName

    return engine_for(EngineName.local, None, jobs, files)


def whole(path: str) -> str:
    """A recording's path as an index has it.

    >>> whole("s3://bucket/a.wav")
    's3://bucket/a.wav'
    """
    return address_of(path) or os.path.abspath(path)  # noqa: PTH100  links stay as they were given


def _model_of(out: Path, model: str | None, hop: float | None) -> tuple[str, float | None]:
    """What an index that is there was made with, where nothing else is asked for."""
    from auricle.search.layout import ABOUT, read_about

    if not (out / ABOUT).is_file():
        return model or "default", hop
    about = read_about(out)
    return model or str(about["given"]), about["hop"] / about["rate"] if hop is None else hop


def embedded(
    path: str, opened_index: "VectorIndex", model: str | None, threads: int | None, place: dict[str, Any]
) -> "np.ndarray":
    """The embeddings of an example, by the index's own model and hop, those of silence left out.

    Args:
        path: of the example; "-": standard input.
        opened_index: in which something like it is to be found.
        model: None takes the index's; of a model that stands on that one's embeddings, its embedder is taken.
        threads: as in `auricle.tagging.Tagger`.
        place: start, end and raw, as in `auricle.embedding.embed_recording`.

    Raises:
        ValueError: another model, or an example that is silent.
        AudioError: no such recording, or it cannot be decoded.

    >>> embedded("siren.wav", VectorIndex("out/index"), None, None, {}).shape  # doctest: +SKIP
    (1, 256)
    """
    import numpy as np

    from auricle.artifact import load_artifact
    from auricle.embedding import embed_recording
    from auricle.engine.indexing import fitting_model
    from auricle.search.examples import SilenceMarker, audible
    from auricle.tagging import Tagger

    about = opened_index.about
    hop = about["hop"] / about["rate"]
    given = load_artifact(model or about["given"])
    tagger = Tagger(fitting_model(opened_index.path, about, given, hop).path, threads=threads)
    tagger.runner = SilenceMarker(tagger.runner)

    def warn(text: str) -> None:
        print_warning(naming(path, text))

    parts = list(embed_recording(tagger, path, hop=hop, warn=warn, **place))
    heard = parts[-1].ends[-1] - parts[0].starts[0]
    if heard < 0.75 * opened_index.window_seconds:
        warn(
            f"{heard:.2f} s are less than the {opened_index.window_seconds:g} s of a window, the rest of "
            "which is silence; an excerpt as long as a window finds better"
        )
    try:
        return audible(np.concatenate([part.embeddings for part in parts]), warn)
    except ValueError as error:
        raise ValueError(naming(path, str(error))) from None
