"""A verb that says whether recordings are like what a model was trained on: doctor."""

import json
import sys
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from auricle.cli.corpora import ReportFormat
from auricle.cli.options import Quiet, Raw, raw_format
from auricle.cli.output import describe, print_error, print_warning
from auricle.text import for_terminal

if TYPE_CHECKING:
    from auricle.doctor import Reference


def doctor(
    model: Annotated[
        str, typer.Argument(help="A bundled model's name, an artifact's folder, an .onnx file.")
    ],
    paths: Annotated[
        list[str], typer.Argument(help="Recordings, folders, globs in quotes; - for standard input.")
    ],
    format: Annotated[ReportFormat, typer.Option(help="For people, programs.")] = ReportFormat.table,
    raw: Raw = None,
    jobs: Annotated[
        int, typer.Option(min=1, metavar="N", help="Recordings that are looked at at once, in processes.")
    ] = 1,
    quiet: Quiet = False,
) -> None:
    """Say whether recordings are like what the model learned.

    And what to do where they are not.
    Looks for silence, too little or too much level, clipping, DC, dead channels and ones that cancel each
    other, a rate too low for the model, up-sampling, aliasing, and bands far from those of the training.
    A line a finding; a recording without any is ok. Exit status 1 where there is a finding, other than
    what only "may be", or a recording cannot be read. docs/doctor.md says what each finding means, and how
    often it is wrong.
    """
    from auricle.artifact import load_artifact
    from auricle.cli.results import naming
    from auricle.doctor import reference
    from auricle.media_files import find_media

    options = {"raw": None if raw is None else raw_format(raw)}
    known = reference(load_artifact(model))
    if not known.audio:
        print_warning(
            f"{model}: does not say what its training sounded like, so loudness has fixed limits and bands "
            "have none; models trained with this version say it"
        )
    found = find_media(paths)
    count = ill = failed = 0
    if format is ReportFormat.json:
        head = {"model": model, "audio": known.audio}
        print(json.dumps(head, ensure_ascii=False)[:-1] + ', "recordings": [')
    for result in _examined(found, known, options, jobs):
        path = result["path"]
        for warning in result.get("warnings", ()):
            print_warning(naming(path, warning))
        if "error" in result:
            failed += 1
            print_error(naming(path, result["error"]))
        ill += any(finding["sure"] for finding in result.get("findings", ()))
        if format is ReportFormat.json:
            print((",\n" if count else "") + json.dumps(result, ensure_ascii=False), end="", flush=True)
        elif "error" not in result:
            for line in lines(result):
                print(for_terminal(line), flush=True)
        count += 1
    if format is ReportFormat.json:
        print("\n]}")
    if count > 1 and (ill or failed):
        unread = f"; {failed} could not be read" if failed else ""
        print_error(f"{ill} of {count} recordings have findings{unread}")
    if ill or failed:
        sys.stdout.flush()
        raise typer.Exit(1)


def lines(result: dict[str, Any]) -> list[str]:
    """What is printed of a recording: a line for each finding, or that there is none.

    >>> lines({"path": "a.wav", "findings": [], "level": -20.0, "rate": 8000, "duration": 2.0})
    ['a.wav: ok (2.0 s, 8000 Hz, -20 dB)']
    >>> lines({"path": "a.wav", "findings": [{"kind": "quiet", "what": "too quiet", "do": "amplify it"}]})
    ['a.wav: too quiet; amplify it']
    """
    if not result["findings"]:
        about = f"{result['duration']:.1f} s, {result['rate']} Hz, {result['level']:z.0f} dB"
        return [f"{result['path']}: ok ({about})"]
    return [f"{result['path']}: {finding['what']}; {finding['do']}" for finding in result["findings"]]


def _examined(
    found: list[tuple[str, str | None]], known: "Reference", options: dict[str, Any], jobs: int
) -> Iterator[dict[str, Any]]:
    """What is said of each input, in their order; of one that cannot be read {"path", "error"}."""
    from auricle.cli.results import STDIN
    from auricle.doctor import examine
    from auricle.engine import run_files
    from auricle.progress import Progress

    files = [path for path, problem in found if problem is None]
    quiet = sys.stdout is not None and sys.stdout.isatty()  # results are progress enough
    with Progress(len(files), "examining", quiet=quiet or len(files) < 2) as progress:
        if jobs > 1 and len(files) > 1 and STDIN not in files:
            work = partial(examine, model=known, **options)
            outcomes = (outcome for _, outcome in run_files(work, files, jobs=jobs, ordered=True))
        else:
            outcomes = (_attempt(path, known, options) for path in files)
        for path, problem in found:
            if problem is not None:
                yield {"path": path, "error": problem}
                continue
            outcome = next(outcomes)
            if isinstance(outcome, Exception):
                yield {"path": path, "error": describe(outcome)}
            else:
                progress.hear(outcome["duration"])
                yield outcome
            progress.advance()


def _attempt(path: str, known: "Reference", options: dict[str, Any]) -> dict[str, Any] | Exception:
    from auricle.doctor import examine

    try:
        return examine(path, known, **options)
    except Exception as error:
        return error
