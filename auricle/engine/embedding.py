"""Embeddings of many recordings, or of a pack, as a job: parts in Arrow's file format, joined in their order.

What is joined is what `auricle.embedding` writes in one go, by the same functions: the bytes are the same.

Shape letters: W windows, E values of an embedding.
"""

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from auricle import remote
from auricle.artifact import load_artifact
from auricle.audio import RawFormat
from auricle.embedding import PACK_BATCH, check_rate, describe_model, embed_recording, pack_embeddings
from auricle.embedding_tables import EmbeddingTable, as_stored
from auricle.engine.jobs import Engine, describe_files, describe_job
from auricle.engine.joined import write_joined
from auricle.engine.journals import result_file
from auricle.engine.underway import listening
from auricle.listening import source_name
from auricle.runners import load_runner
from auricle.shards import Pack, add_embeddings
from auricle.shards.embedding_sets import embedding_file
from auricle.shards.layout import MANIFEST, write_json
from auricle.tagging import BATCH, Tagger


@dataclass(frozen=True, kw_only=True)
class EmbedOptions:
    """What embeds, and what of it; fit to be sent to another process. See `embed_files`."""

    model: str = "default"
    hop: float | None = None
    clips: bool = False
    precision: str = "float32"
    start: float = 0.0
    end: float | None = None
    raw: RawFormat | None = None
    threads: int | None = None
    device: str = "cpu"


def embed_many(
    files: Sequence[str],
    out: str | Path,
    options: EmbedOptions,
    *,
    engine: Engine | None = None,
    explain: Callable[[Exception], str] = str,
    quiet: bool = False,
    task_bytes: int | None = None,
) -> dict[str, Any]:
    """`auricle.embedding.embed_files`, as a job: the same file, from several processes, killed or not.

    Args:
        files: the recordings.
        out: the file, which appears when it is complete; or its address.
        options: what embeds.
        engine: where; by default in processes of this machine.
        explain: what is said of an error; picklable.
        quiet: show no progress.
        task_bytes: as in `split_by_bytes`.

    Returns:
        {"files", "windows", "seconds"}; "told": {"error" or None, "warnings"} of each file, in order.

    Raises:
        ValueError: as `write_joined`; no such model.

    >>> embed_many(["a.wav", "b.mp3"], "x.parquet", EmbedOptions())["windows"]  # doctest: +SKIP
    14
    """
    with result_file(out) as (target, away):
        return _embed_into(files, target, away, options, engine or Engine(), explain, quiet, task_bytes)


def _embed_into(
    files: Sequence[str],
    target: Path,
    away: str,
    options: EmbedOptions,
    engine: Engine,
    explain: Callable[[Exception], str],
    quiet: bool,
    task_bytes: int | None,
) -> dict[str, Any]:
    """`embed_many` to a file, or, through it, to an address."""
    artifact = load_artifact(options.model)
    about = describe_model(artifact, hop=options.hop, clips=options.clips)
    EmbeddingTable(target, about, precision=options.precision)  # says what is wrong with these
    sizes = remote.sizes_of(files)
    told: list[dict[str, Any]] = []

    def join(parts: Iterator[tuple[Path, dict[str, Any]]], temporary: Path) -> int:
        with EmbeddingTable(target, about, precision=options.precision, temporary=temporary) as table:
            for part, entry in parts:
                first = len(told)
                for item, starts, ends, rows in read_rows(part):
                    table.add(source_name(files[first + item]), starts, ends, rows)
                told.extend(entry["told"])
        if away:
            remote.put(target, away)
        return table.rows

    windows = write_joined(
        target,
        files,
        sizes,
        partial(write_rows, options, artifact.embedding_size, explain),
        partial(try_embedding, options, explain),
        join,
        header=describe_job(artifact, options, describe_files(files, sizes)),
        engine=engine,
        label="embedding",
        quiet=quiet,
        task_bytes=task_bytes,
        away=away,
    )
    seconds = sum(piece for entry in told for piece in entry.pop("seconds"))
    return {"files": len(files), "windows": windows, "seconds": seconds, "told": told}


def embed_clips(
    pack: str | Path,
    options: EmbedOptions,
    *,
    name: str | None = None,
    out: str | Path | None = None,
    replace: bool = False,
    engine: Engine | None = None,
    quiet: bool = False,
    task_bytes: int | None = None,
) -> dict[str, Any]:
    """`auricle.embedding.embed_pack`, as a job.

    Args:
        pack: the pack's folder, or its address.
        options: what embeds.
        name: of the set; None takes the model's name.
        out: write this Parquet file, and leave the pack as it is.
        replace: overwrite a set of the same name.
        engine: as in `embed_many`, and so are quiet and task_bytes.
        quiet: see above.
        task_bytes: see above.

    Returns:
        As `embed_pack`.

    Raises:
        ValueError: as `embed_pack` and `write_joined`; a clip that kills whoever embeds it.

    >>> embed_clips("out/pack", EmbedOptions(model="yamnet"))["windows"]  # doctest: +SKIP
    10000
    """
    opened, artifact = Pack(pack), load_artifact(options.model)
    check_rate(opened, artifact)
    about = describe_model(artifact, hop=options.hop, clips=options.clips)
    name = artifact.name if name is None else name
    with ExitStack() as held:
        if out is None:
            if name in opened.embedding_sets and not replace:
                raise ValueError(
                    f"{pack}: embedding set {name!r} is there already: choose another name, or --replace it"
                )
            target, away = _place_of_set(opened, name, held)
        else:
            target, away = held.enter_context(result_file(out))
            EmbeddingTable(target, about, key="clip", precision=options.precision)

        def join(parts: Iterator[tuple[Path, dict[str, Any]]], temporary: Path) -> dict[str, Any]:
            rows = _by_clip(parts, len(opened))
            if out is None:
                return _add_set(opened, name, target, (row[-1] for row in rows), about, replace)
            described = about | {"pack": opened.fingerprint}
            kept: dict[str, Any] = {"precision": options.precision, "temporary": temporary}
            with EmbeddingTable(target, described, key="clip", **kept) as table:
                for clip, row in zip(opened.ids, rows, strict=True):
                    table.add(clip, *row)
            if away:
                remote.put(target, away)
            return {"clips": len(opened), "windows": table.rows, "size": artifact.embedding_size}

        return write_joined(
            target,
            range(len(opened)),
            [2 * int(samples) for samples in opened.lengths],
            partial(_write_clips, opened.name, options, artifact.embedding_size),
            partial(_probe_clip, opened.name, options),
            join,
            header=describe_job(artifact, options, opened.fingerprint),
            engine=engine or Engine(),
            label="embedding",
            unit="clips",
            quiet=quiet,
            task_bytes=task_bytes,
            away=away,
        )


def _place_of_set(opened: Pack, name: str, held: ExitStack) -> tuple[Path, str]:
    """What a set's parts lie beside, and its address: of a pack elsewhere, in a folder like the pack's."""
    if opened.address is None:
        target = Path(opened.path, embedding_file(name)).with_suffix("").resolve()
        target.parent.mkdir(exist_ok=True)
        return target, ""
    folder = held.enter_context(tempfile.TemporaryDirectory(prefix="auricle-"))
    write_json(Path(folder, MANIFEST), opened.manifest)  # all that `add_embeddings` reads
    target = Path(folder, embedding_file(name)).with_suffix("").resolve()
    target.parent.mkdir()
    return target, remote.join(opened.address, embedding_file(name).removesuffix(".json"))


def _add_set(
    opened: Pack, name: str, target: Path, rows: Iterator[np.ndarray], about: dict[str, Any], replace: bool
) -> dict[str, Any]:
    """Put a set beside its pack, the description last."""
    if opened.address is None:
        return add_embeddings(opened.path, name, rows, about, replace=replace)
    entry = add_embeddings(target.parent.parent, name, rows, about)
    described = embedding_file(name)
    if replace:  # killed from here on, the pack has no such set rather than half of two
        remote.remove([remote.join(opened.address, described)])
    for file in (*entry["files"], described):
        remote.put(target.parent.parent / file, remote.join(opened.address, file))
    return entry


@lru_cache(maxsize=1)
def _tagger(model: str, threads: int | None, device: str) -> Tagger:
    return Tagger(model, threads=threads, batch=BATCH, device=device)


@lru_cache(maxsize=1)
def _runner(model: str, threads: int | None, device: str) -> Any:
    return load_runner(load_artifact(model), threads=threads, batch=PACK_BATCH, device=device)


@lru_cache(maxsize=1)
def _pack(path: str) -> Pack:
    return Pack(path)


def _schema(size: int, precision: str) -> pa.Schema:
    value = pa.float32() if precision == "float32" else pa.float16()
    fields = [("item", pa.int32()), ("start", pa.float64()), ("end", pa.float64())]
    return pa.schema([*fields, ("embedding", pa.list_(value, size))])


def _batch(schema: pa.Schema, item: int, starts: Any, ends: Any, rows_WE: np.ndarray) -> pa.RecordBatch:
    lists = pa.FixedSizeListArray.from_arrays(pa.array(rows_WE.reshape(-1)), rows_WE.shape[1])
    columns = [pa.array([item] * len(rows_WE), pa.int32()), pa.array(starts), pa.array(ends), lists]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def read_rows(part: Path) -> Iterator[tuple[int, np.ndarray, np.ndarray, np.ndarray]]:
    """A part that `write_rows` wrote, in the pieces in which it was made.

    Yields:
        (position of the recording in its task, starts, ends, embeddings).

    >>> for position, starts, ends, rows in read_rows(Path("00000.part")):  # doctest: +SKIP
    ...     print(position, rows.shape)
    """
    with pa.memory_map(str(part)) as file:
        reader = pa.ipc.open_file(file)
        for number in range(reader.num_record_batches):
            batch = reader.get_batch(number)
            rows_WE = batch["embedding"].flatten().to_numpy(zero_copy_only=False)
            size = batch.schema.field("embedding").type.list_size
            starts, ends = batch["start"].to_numpy(), batch["end"].to_numpy()
            yield batch["item"][0].as_py(), starts, ends, rows_WE.reshape(-1, size)


def _by_clip(
    parts: Iterable[tuple[Path, dict[str, Any]]], num_clips: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    count = 0
    for part, _ in parts:
        for _, *row in read_rows(part):
            count += 1
            yield row[0], row[1], row[2]
    assert count == num_clips, "a batch a clip"


def _embedded(path: str, options: EmbedOptions, warn: Callable[[str], None]) -> Iterator[Any]:
    tagger = _tagger(options.model, options.threads, options.device)
    wishes: dict[str, Any] = {
        name: getattr(options, name) for name in ("hop", "clips", "start", "end", "raw")
    }
    wishes |= listening(path, start=options.start, end=options.end, raw=options.raw)
    return embed_recording(tagger, path, warn=warn, **wishes)


def write_rows(
    options: EmbedOptions,
    size: int,
    explain: Callable[[Exception], str],
    paths: Sequence[Path],
    items: Sequence[str],
    given_up: Mapping[int, str],
) -> dict[str, Any]:
    """`auricle.engine.jobs.Write` of recordings: their embeddings as one part.

    Returns:
        "told": of each recording its "error" or None, "warnings", and "seconds", of sound in each piece;
        "seconds" of all.

    >>> write_rows(EmbedOptions(), 256, str, [Path("00000.part")], ["a.wav"], {})  # doctest: +SKIP
    """
    _tagger(options.model, options.threads, options.device)  # its error is no recording's
    schema, told = _schema(size, options.precision), []
    with pa.OSFile(str(paths[0]), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        for position, path in enumerate(items):
            entry: dict[str, Any] = {"error": None, "warnings": [], "seconds": []}
            told.append(entry)
            last = options.start
            for starts, ends, rows in _kept(path, options, explain, entry, given_up.get(position)):
                writer.write_batch(_batch(schema, position, starts, ends, rows))
                entry["seconds"].append(float(ends[-1]) - last)
                last = float(ends[-1])
    return {"told": told, "seconds": sum(sum(entry["seconds"]) for entry in told)}


def _kept(
    path: str,
    options: EmbedOptions,
    explain: Callable[[Exception], str],
    entry: dict[str, Any],
    killed: str | None,
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """A recording's embeddings as they are stored; where it breaks off, that is put into its entry."""
    try:
        if killed is not None:
            raise ValueError(f"{path}: {killed}")
        for starts, ends, rows in _embedded(path, options, entry["warnings"].append):
            yield starts, ends, as_stored(path, rows, options.precision)
    except Exception as error:
        entry["error"] = explain(error)


def try_embedding(options: EmbedOptions, explain: Callable[[Exception], str], path: str) -> None:
    """Embed a recording and keep nothing: it shows whether that kills a worker.

    >>> try_embedding(EmbedOptions(), str, "a.wav")  # doctest: +SKIP
    """
    for _ in _kept(path, options, explain, {"warnings": []}, None):
        pass


def _write_clips(
    pack: str,
    options: EmbedOptions,
    size: int,
    paths: Sequence[Path],
    items: Sequence[int],
    given_up: Mapping[int, str],
) -> dict[str, Any]:
    opened, runner = _pack(pack), _runner(options.model, options.threads, options.device)
    for position, why in given_up.items():
        raise ValueError(f"{pack}: clip {opened.ids[items[position]]} cannot be embedded: {why}")
    schema = _schema(size, "float32")
    part = range(items[0], items[-1] + 1)
    rows = pack_embeddings(runner, opened, hop=options.hop, clips=options.clips, part=part, quiet=True)
    with pa.OSFile(str(paths[0]), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        for position, row in enumerate(rows):
            writer.write_batch(_batch(schema, position, *row))
    return {}


def _probe_clip(pack: str, options: EmbedOptions, clip: int) -> None:
    runner = _runner(options.model, options.threads, options.device)
    for _ in pack_embeddings(
        runner, _pack(pack), hop=options.hop, clips=options.clips, part=range(clip, clip + 1), quiet=True
    ):
        pass
