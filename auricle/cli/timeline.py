"""Verbs that draw: timeline, a recording and its tags over time; report, figures of evaluations and runs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from auricle.cli.options import End, Quiet, Start, Window, check_excerpt
from auricle.cli.output import print_table, print_warning, refuse_file
from auricle.text import for_terminal

if TYPE_CHECKING:
    from auricle.report.timeline import Timeline
    from auricle.tagging import Tagger

PICTURES, PAGES, FILMS = (".png", ".svg", ".pdf"), (".html", ".htm"), (".mp4",)


def timeline(
    path: Annotated[
        str, typer.Argument(help="A recording or film; it is read more than once.", metavar="PATH")
    ],
    out: Annotated[
        Path, typer.Option(metavar="FILE", help="x.png (or .svg, .pdf), x.html or x.mp4: what is drawn.")
    ],
    model: Annotated[
        str, typer.Option(help="A bundled model's name, an artifact's folder, an .onnx file.")
    ] = "default",
    top: Annotated[int, typer.Option(min=1, metavar="K", help="The K classes with the greatest peaks.")] = 16,
    start: Start = 0.0,
    end: End = None,
    hop: Annotated[
        float | None,
        typer.Option(
            metavar="S", help="Seconds from window to window; smaller draws finer. Else the model's."
        ),
    ] = None,
    window: Window = None,
    threads: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Threads that score; else every core.")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Draw which sounds are where in a recording.

    A picture has the spectrogram and a row for each class. A page has the same, to point at, and plays the
    recording. A film is the recording's own picture, or its spectrogram where it has none, with the scores
    drawn over it and the sound kept. Of a model with thresholds, what reaches them is marked.
    """
    check_excerpt(start, end)
    if hop is not None and not 0 < hop < float("inf"):
        raise typer.BadParameter(f"{hop:g}; expected a number of seconds above 0", param_hint="--hop")
    check_names(path, out, (*PICTURES, *PAGES, *FILMS))
    from auricle.artifact import load_artifact
    from auricle.probabilities import of_window, of_windows
    from auricle.tagging import Tagger

    tagger = Tagger(model, threads=threads, window=window)
    if not tagger.artifact.labels:
        raise ValueError(f"{tagger.artifact.path}: has no labels, it embeds only: use `auricle embed`")
    step = None if hop is None else max(1, round(hop * tagger.artifact.rate))
    if out.suffix.lower() in FILMS:
        from auricle.report.film import check_film  # before the scoring, which may take long

        check_film(path)
    loaded = load_artifact(model)
    if said := of_window(loaded, window) or of_windows(loaded, None if step is None else step / loaded.rate):
        print_warning(said)
    line = _scored(tagger, path, top=top, start=start, end=end, hop=step)
    first, last = float(line.starts[0]), float(line.stops[-1])
    if out.suffix.lower() not in PAGES:
        from auricle.report.style import undrawable

        for warning in undrawable([*line.labels, Path(path).name]):
            print_warning(warning)
    if out.suffix.lower() in FILMS:
        from auricle.report.film import write_film

        write_film(path, line, out, whole=start == 0 and end is None, warn=print_warning)
        return
    from auricle.report.timeline import spectrogram

    picture = spectrogram(path, first, last, warn=lambda _: None)  # it was told when the scores were made
    if out.suffix.lower() in PAGES:
        from auricle.report.timeline_page import timeline_html

        out.write_text(timeline_html(line, picture, Path(path), out), encoding="utf-8")
        return
    from auricle.report.style import save
    from auricle.report.timeline import draw_timeline

    save(draw_timeline(line, picture), out)


def check_names(path: str, out: Path, suffixes: tuple[str, ...]) -> None:
    """What is wrong with the names alone is said at once.

    >>> check_names("-", Path("day.png"), PICTURES)
    Traceback (most recent call last):
    ValueError: standard input: a pipe cannot be read twice; save it as a file first
    """
    if path == "-":
        raise ValueError("standard input: a pipe cannot be read twice; save it as a file first")
    if out.suffix.lower() not in suffixes:
        ending = f"ends in {out.suffix!r}" if out.suffix else "has no suffix"
        raise typer.BadParameter(
            f"{out}: {ending}; expected one of {', '.join(suffixes)}", param_hint="--out"
        )
    if not out.parent.is_dir():
        raise ValueError(f"{out}: the folder {out.parent} does not exist; create it or write elsewhere")
    if out.is_dir():
        raise ValueError(f"{out}: is a folder; name a file")
    if out.exists() and Path(path).exists() and out.samefile(path):
        raise ValueError(f"{out}: is the recording itself; name another file")
    fresh = not out.exists()
    with out.open("ab"):  # an error that names the file, before anything is scored
        pass
    if fresh:
        out.unlink()


def _scored(
    tagger: "Tagger",
    path: str,
    *,
    top: int,
    start: float,
    end: float | None,
    hop: int | None,
) -> "Timeline":
    from auricle.audio import probe
    from auricle.probabilities import calibrated, chosen_thresholds
    from auricle.progress import Progress
    from auricle.report.timeline import gather

    artifact = tagger.artifact
    ends = [value for value in (probe(path).duration, end) if value is not None]
    total = max(1, round(min(ends) - start)) if ends else None
    with Progress(total, "scoring", unit="seconds", quiet=total is not None and total < 60) as progress:

        def parts() -> Any:
            for part in tagger.windows(path, start=start, end=end, hop=hop, warn=print_warning):
                yield part
                done = int(part.stops[-1] / artifact.rate - start)
                progress.advance(max(0, min(done, total or done) - progress.done))

        return gather(
            parts(),
            artifact.labels,
            artifact.rate,
            path=path,
            model=artifact.name,
            top=top,
            calibrate=calibrated(artifact),
            thresholds=None if artifact.thresholds is None else chosen_thresholds(artifact),
        )


def report(
    folders: Annotated[
        list[Path],
        typer.Argument(help="What auricle evaluate --out and auricle train --out wrote.", metavar="FOLDERS"),
    ],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the figures.")],
    share: Annotated[
        float, typer.Option(metavar="X", help="Share of the classes that is drawn, at random, say 0.2.")
    ] = 1.0,
    seed: Annotated[int, typer.Option(min=0, help="Of the random share.")] = 0,
) -> None:
    """Draw figures of an evaluation, learning curves of runs.

    Of an evaluation: d' by label prior, tables class by class, whether scores are probabilities, and what is
    taken for what where each clip has one label. Of runs, laid over each other: loss, validation figures and
    learning rate.
    """
    import sys

    from auricle.report.folders import write_report
    from auricle.report.priors import DECADE_HEADS, decade_cells

    if not 0 < share <= 1:
        raise typer.BadParameter(f"{share:g}; expected more than 0 and at most 1", param_hint="--share")
    refuse_file(out)
    made = write_report(folders, out, share=share, seed=seed)
    if made.priors is not None:
        heads = [f"{head}>" for head in DECADE_HEADS]
        if made.heading:
            print(for_terminal(made.heading))
        print_table(
            sys.stdout, heads, decade_cells(made.priors["decades"]), "d′ by decade of the label prior"
        )
        if made.priors["slope"] is not None:
            print(
                f"slope {made.priors['slope']:+.3f} ± {made.priors['slope_error']:.3f} a decade; "
                f"distance from that line {made.priors['scatter_slope']:+.3f} a decade"
            )
        print()
    for path in made.paths:
        print(path)
    for warning in made.warnings:
        print_warning(warning)
