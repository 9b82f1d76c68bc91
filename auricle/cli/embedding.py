"""Verbs over embeddings: embed."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from auricle.cli.options import End, Raw, Start, Threads, check_excerpt, raw_format
from auricle.cli.output import describe, print_error, print_warning
from auricle.cli.recordings import naming, refuse_overwriting
from auricle.text import counted

MODEL_HELP = "A bundled model's name, an artifact's folder, an .onnx file; at first default."
PARQUET = (".parquet", ".pq")


class Precision(StrEnum):
    """How the values of a Parquet file are stored."""

    float32 = "float32"
    float16 = "float16"


def embed(
    paths: Annotated[
        list[str],
        typer.Argument(help="Recordings, folders, globs, - for a pipe; or one pack.", metavar="PATHS"),
    ],
    model: Annotated[str | None, typer.Option(help=MODEL_HELP)] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The Parquet file to write; of a pack, in its place.")
    ] = None,
    hop: Annotated[
        float | None, typer.Option(metavar="S", help="Seconds from window to window; at first the model's.")
    ] = None,
    clips: Annotated[
        bool, typer.Option("--clips", help="One embedding a recording: the mean over its windows.")
    ] = False,
    precision: Annotated[
        Precision | None,
        typer.Option(help="Of the file's values, at first float32; a pack's sets are float16."),
    ] = None,
    start: Start = 0.0,
    end: End = None,
    threads: Threads = None,
    device: Annotated[str, typer.Option(help="cpu, or cuda for a model of torch.")] = "cpu",
    raw: Raw = None,
    name: Annotated[
        str | None, typer.Option(metavar="NAME", help="Of the set in the pack; at first the model's name.")
    ] = None,
    from_: Annotated[
        Path | None, typer.Option("--from", metavar="FILE", help="Store this Parquet file in the pack.")
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Overwrite the pack's set of the same name.")
    ] = False,
) -> None:
    """Write a model's embeddings: of recordings to a Parquet file, of a pack into the pack.

    The file has a row a window: path, start, end, embedding. Which model made it, and how its windows stood,
    is in the file's metadata. A recording that cannot be read is named, the others go on, and the exit
    status is 1.
    """
    check_excerpt(start, end)
    given = {"--out": out, "--hop": hop, "--clips": clips or None, "--model": model}
    if len(paths) == 1 and (Path(paths[0]) / "manifest.json").is_file():
        media = {"--start": start or None, "--end": end, "--raw": raw}
        _refuse(media, "is for recordings; a pack is embedded clip by clip")
        if from_ is not None:
            _refuse(given, "does not go with --from")
            return _store(paths[0], from_, name, replace)
        if out is not None:
            _refuse({"--name": name, "--replace": replace or None}, "does not go with --out")
            _check_suffix(out)
        elif precision is Precision.float32:
            raise typer.BadParameter(
                "a pack's sets are float16; --out FILE has a choice", param_hint="--precision"
            )
        return _embed_pack(
            paths[0],
            model or "default",
            name=name,
            out=out,
            hop=hop,
            clips=clips,
            precision=(precision or Precision.float32).value,
            replace=replace,
            threads=threads,
            device=device,
        )
    _refuse({"--name": name, "--from": from_, "--replace": replace or None}, "needs one path, a pack")
    if out is None:
        raise typer.BadParameter("name the Parquet file to write, say x.parquet", param_hint="--out")
    from auricle.media_files import find_media

    found = find_media(paths)
    refuse_overwriting(str(out), [path for path, problem in found if problem is None])
    _check_suffix(out)
    problems = [problem for _, problem in found if problem is not None]
    for problem in problems:
        print_error(problem)
    from auricle.embedding import embed_files

    result = embed_files(
        [path for path, problem in found if problem is None],
        model or "default",
        out,
        hop=hop,
        clips=clips,
        precision=(precision or Precision.float32).value,
        start=start,
        end=end,
        raw=None if raw is None else raw_format(raw),
        threads=threads,
        device=device,
        quiet=len(problems) == len(found),  # nothing to wait for
        fail=lambda path, error: print_error(naming(path, describe(error))),
        warn=lambda path, text: print_warning(naming(path, text)),
    )
    failures = result["failures"] + len(problems)
    if result["windows"]:
        recordings = counted(result["files"] - result["failures"], "recording")
        print(f"{out}: {counted(result['windows'], 'window')} of {recordings}")
    if failures and len(found) > 1:
        print_error(f"{failures} of {len(found)} inputs could not be embedded: they are named above")
    if failures:
        raise typer.Exit(1)


def _check_suffix(out: Path) -> None:
    if out.suffix.lower() not in PARQUET:
        raise typer.BadParameter(f"{out}: the name must end in .parquet", param_hint="--out")


def _refuse(given: dict[str, Any], why: str) -> None:
    for option, value in given.items():
        if value is not None:
            raise typer.BadParameter(why, param_hint=option)


def _embed_pack(pack: str, model: str, *, out: Path | None, **options: Any) -> None:
    from auricle.embedding import embed_pack

    result = embed_pack(pack, model, out=out, **options)
    _report(str(out) if out is not None else f"{pack}: {options['name'] or result['model']}", result)


def _store(pack: str, table: Path, name: str | None, replace: bool) -> None:
    from auricle.embedding import add_table

    if name is None:
        raise typer.BadParameter("say how the set is to be called", param_hint="--name")
    result = add_table(pack, table, name, replace=replace)
    if result["clips_without"]:
        print_warning(f"{table}: says nothing of {result['clips_without']} of {result['clips']} clips")
    _report(f"{pack}: {name}", result)


def _report(where: str, result: dict[str, Any]) -> None:
    clips = counted(result["clips"], "clip")
    print(f"{where}: {counted(result['windows'], 'window')} of {clips}, {result['size']} values each")
