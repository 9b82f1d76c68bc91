"""Verbs over embeddings: embed."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from auricle.cli.destinations import engine_for, refuse_overwriting, shared_cores
from auricle.cli.options import (
    Address,
    End,
    EngineName,
    EngineOption,
    Quiet,
    Raw,
    Start,
    Threads,
    check_address,
    check_excerpt,
    raw_format,
)
from auricle.cli.output import describe, print_error, print_warning
from auricle.cli.results import STDIN, naming
from auricle.remote import address_of, join, look_up
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
        typer.Argument(
            help="Recordings, folders, globs, addresses, - for a pipe; or one pack.", metavar="PATHS"
        ),
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
    jobs: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Processes; for many files, as many as cores.")
    ] = None,
    engine: EngineOption = EngineName.local,
    address: Address = None,
    quiet: Quiet = False,
) -> None:
    """Write a model's embeddings of recordings, or of a pack.

    Those of recordings go to a Parquet file, those of a pack into the pack.
    The file has a row a window: path, start, end, embedding. Which model made it, and how its windows stood,
    is in the file's metadata. A recording that cannot be read is named, the others go on, and the exit
    status is 1. Killed, the same command goes on where it was.
    """
    check_excerpt(start, end)
    check_address(engine, address)
    if device != "cpu":
        if engine is EngineName.ray or (jobs or 1) > 1:
            raise typer.BadParameter(
                f"{device} is used by one process of this machine", param_hint="--device"
            )
        jobs = 1
    given = {"--out": out, "--hop": hop, "--clips": clips or None, "--model": model}
    if len(paths) == 1 and _is_pack(paths[0]):
        media = {"--start": start or None, "--end": end, "--raw": raw}
        _refuse(media, "is for recordings; a pack is embedded clip by clip")
        if from_ is not None and address_of(paths[0]) is not None:
            raise typer.BadParameter("stores in a pack on a disk of this machine", param_hint="--from")
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
            name=name,
            out=out,
            replace=replace,
            where=(engine, address, jobs),
            model=model or "default",
            hop=hop,
            clips=clips,
            precision=(precision or Precision.float32).value,
            threads=threads,
            device=device,
        )
    _refuse({"--name": name, "--from": from_, "--replace": replace or None}, "needs one path, a pack")
    if out is None:
        raise typer.BadParameter("name the Parquet file to write, say x.parquet", param_hint="--out")
    wishes = {
        "hop": hop,
        "clips": clips,
        "precision": (precision or Precision.float32).value,
        "start": start,
        "end": end,
        "raw": None if raw is None else raw_format(raw),
        "device": device,
    }
    _embed_recordings(paths, model or "default", out, threads, wishes, (engine, address, jobs))


def _embed_recordings(
    paths: list[str],
    model: str,
    out: Path,
    threads: int | None,
    wishes: dict[str, Any],
    where: tuple[EngineName, str | None, int | None],
) -> None:
    """To a Parquet file; status 1 where one could not be."""
    from auricle.media_files import find_media

    found = find_media(paths)
    refuse_overwriting(str(out), [path for path, problem in found if problem is None])
    _check_suffix(out)
    problems = [problem for _, problem in found if problem is not None]
    for problem in problems:
        print_error(problem)
    files = [path for path, problem in found if problem is None]
    if where[0] is EngineName.ray and STDIN in files:
        raise typer.BadParameter("standard input is read here, not on Ray", param_hint="--engine")
    away = address_of(out) is not None
    if away and STDIN in files:
        raise typer.BadParameter("what comes from a pipe is written to a disk", param_hint="--out")
    if where[0] is EngineName.local and not (away and files) and (len(files) < 2 or STDIN in files):
        result = _embed_one(files, model, out, threads, wishes)
    else:
        result = _embed_job(files, model, out, threads, wishes, where)
    failures = result["failures"] + len(problems)
    if result["windows"]:
        recordings = counted(result["files"] - result["failures"], "recording")
        print(f"{address_of(out) or out}: {counted(result['windows'], 'window')} of {recordings}")
    if failures and len(found) > 1:
        print_error(f"{failures} of {len(found)} inputs could not be embedded: they are named above")
    if failures:
        raise typer.Exit(1)


def _embed_one(
    files: list[str], model: str, out: Path, threads: int | None, wishes: dict[str, Any]
) -> dict[str, Any]:
    """A recording, or a pipe: there is nothing to go on with."""
    from auricle.embedding import embed_files

    return embed_files(
        files,
        model,
        out,
        threads=threads,
        quiet=not files,  # nothing to wait for
        fail=lambda path, error: print_error(naming(path, describe(error))),
        warn=lambda path, text: print_warning(naming(path, text)),
        **wishes,
    )


def _embed_job(
    files: list[str],
    model: str,
    out: Path,
    threads: int | None,
    wishes: dict[str, Any],
    where: tuple[EngineName, str | None, int | None],
) -> dict[str, Any]:
    """Several recordings; what failed is told when all are done, in their order."""
    from auricle.engine.embedding import EmbedOptions, embed_many

    engine, threads = _engine(where, threads, len(files))
    options = EmbedOptions(model=model, threads=threads, **wishes)
    result = embed_many(files, out, options, engine=engine, explain=describe)
    for path, told in zip(files, result["told"], strict=True):
        for warning in told["warnings"]:
            print_warning(naming(path, warning))
        if told["error"] is not None:
            print_error(naming(path, told["error"]))
    return result | {"failures": sum(1 for told in result["told"] if told["error"] is not None)}


def _is_pack(path: str) -> bool:
    address = address_of(path)
    if address is None:
        return (Path(path) / "manifest.json").is_file()
    return look_up(join(address, "manifest.json")) is not None


def _engine(
    where: tuple[EngineName, str | None, int | None], threads: int | None, count: int
) -> tuple[Any, int | None]:
    """Where a job over so many files or clips runs, and the threads of each process."""
    name, address, jobs = where
    if name is EngineName.ray:
        threads = threads or 1
    else:
        jobs, threads = shared_cores(jobs, threads, count)
    return engine_for(name, address, jobs, count), threads


def _check_suffix(out: Path) -> None:
    if out.suffix.lower() not in PARQUET:
        raise typer.BadParameter(f"{out}: the name must end in .parquet", param_hint="--out")


def _refuse(given: dict[str, Any], why: str) -> None:
    for option, value in given.items():
        if value is not None:
            raise typer.BadParameter(why, param_hint=option)


def _embed_pack(
    pack: str,
    *,
    name: str | None,
    out: Path | None,
    replace: bool,
    where: tuple[EngineName, str | None, int | None],
    threads: int | None,
    **wishes: Any,
) -> None:
    from auricle.engine.embedding import EmbedOptions, embed_clips
    from auricle.shards import Pack

    engine, threads = _engine(where, threads, len(Pack(pack)))
    options = EmbedOptions(threads=threads, **wishes)
    result = embed_clips(pack, options, name=name, out=out, replace=replace, engine=engine)
    _report(address_of(out) or str(out) if out is not None else f"{pack}: {name or result['model']}", result)


def _store(pack: str, table: Path, name: str | None, replace: bool) -> None:
    from auricle.embedding import add_table

    if name is None:
        raise typer.BadParameter("say how the set is to be called", param_hint="--name")
    result = add_table(pack, table, name, replace=replace)
    if result["clips_without"]:
        print_warning(
            f"{table}: says nothing of {result['clips_without']:,} of {counted(result['clips'], 'clip')}"
        )
    _report(f"{pack}: {name}", result)


def _report(where: str, result: dict[str, Any]) -> None:
    clips = counted(result["clips"], "clip")
    print(f"{where}: {counted(result['windows'], 'window')} of {clips}, {result['size']} values each")
