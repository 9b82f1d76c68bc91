"""A model's embeddings of recordings and packs: streamed to Parquet, stored in a pack, read back.

A table has a row a window: `path` (or `clip`, the id of a pack's clip), `start` and `end` in seconds,
`embedding`, a list of fixed size. Its schema's metadata say what made it: model, fingerprint, rate, window
and hop in samples, tail, size, pooling.

Shape letters: W windows, E values of an embedding.
"""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from auricle.artifact import load_artifact
from auricle.artifact.embeddings import embedding_fingerprint
from auricle.audio import RawFormat
from auricle.embedding_tables import EmbeddingTable, TableRows
from auricle.listening import Heard, part_heard, source_name
from auricle.progress import Progress
from auricle.remote import sizes_of
from auricle.runners import load_runner
from auricle.runners.windows import window_starts
from auricle.shards import Pack, add_embeddings
from auricle.tagging import BATCH, Tagger

PACK_BATCH = 64  # windows of a pack at a time: two interpreters are kept fed


class Embedded(NamedTuple):
    """Embeddings of some windows of a recording, or of the whole of it."""

    starts: np.ndarray  # (W,) seconds
    ends: np.ndarray  # (W,) seconds
    embeddings: np.ndarray  # (W, E) float32


def embed_recording(
    tagger: Tagger,
    source: Any,
    *,
    hop: float | None = None,
    clips: bool = False,
    start: float = 0.0,
    end: float | None = None,
    raw: RawFormat | None = None,
    warn: Callable[[str], None] | None = None,
    heard: Heard | None = None,
) -> Iterator[Embedded]:
    """Embeddings of a recording's windows, as it is read, in memory that does not grow.

    Which windows there are follows the model: an incomplete last one is left out where its `tail` is "drop",
    as in training. A recording shorter than a window is padded with zeros.

    Args:
        tagger: the model.
        source: as in `Tagger.windows`, and so are start, end, raw and warn.
        hop: seconds from window to window; None takes the model's.
        clips: give one embedding of the whole, the mean over its windows.
        start: see above.
        end: see above.
        raw: see above.
        warn: see above.
        heard: is told, after every batch, how many seconds were heard.

    Raises:
        AudioError, ValueError: as `Tagger.windows`; the hop is shorter than a sample.

    >>> for part in embed_recording(Tagger("default"), "day.flac"):  # doctest: +SKIP
    ...     print(part.starts, part.embeddings.shape)
    """
    artifact = tagger.artifact
    samples = hop_samples(hop, artifact)
    total_E, count, span = np.zeros(artifact.embedding_size), 0, [0.0, 0.0]
    for part in tagger.windows(source, start=start, end=end, raw=raw, hop=samples, warn=warn, whole=True):
        if heard is not None:
            heard(float(part.stops[-1]) / artifact.rate - start)
        kept = part.on_grid if artifact.tail == "drop" else np.ones_like(part.on_grid)
        if not kept.any():
            continue
        starts, ends = part.starts[kept] / artifact.rate, part.stops[kept] / artifact.rate
        if not clips:
            yield Embedded(starts, ends, part.embeddings[kept])
            continue
        span = [starts[0] if not count else span[0], ends[-1]]
        for embedding in part.embeddings[kept]:  # one by one: the same however windows are batched
            total_E += embedding
        count += int(kept.sum())
    if clips:
        mean = (total_E / count).astype(np.float32)
        yield Embedded(np.array(span[:1]), np.array(span[1:]), mean[None])


def embed_files(
    paths: Iterable[str],
    model: str | Path,
    out: str | Path,
    *,
    hop: float | None = None,
    clips: bool = False,
    precision: str = "float32",
    start: float = 0.0,
    end: float | None = None,
    raw: RawFormat | None = None,
    threads: int | None = None,
    device: str = "cpu",
    batch: int = BATCH,
    fail: Callable[[str, Exception], None] | None = None,
    warn: Callable[[str, str], None] | None = None,
    quiet: bool = False,
) -> dict[str, Any]:
    """Write the embeddings of recordings to one Parquet file, which appears when it is complete.

    Args:
        paths: recordings; "-" is standard input.
        model: name, folder or .onnx file, see `load_artifact`.
        out: the file.
        hop: as in `embed_recording`, and so are clips, start, end and raw.
        clips: see above.
        precision: of the stored values, "float32" or "float16".
        start: see above.
        end: see above.
        raw: see above.
        threads: as in `Tagger`, and so are device and batch.
        device: see above.
        batch: see above.
        fail: is told of a recording that cannot be read, and the others go on; None raises. Windows before
            the place where a recording breaks off stay in the table.
        warn: is told (path, text) what could be got over.
        quiet: show no progress.

    Returns:
        {"files", "failures", "windows": rows written, "seconds": of sound in them}.

    Raises:
        ValueError: no such model, or a setting that makes no sense.

    >>> embed_files(["a.wav", "b.mp3"], "default", "x.parquet")  # doctest: +SKIP
    {'files': 2, 'failures': 0, 'windows': 14, 'seconds': 13.2}
    """
    paths = list(paths)
    tagger = Tagger(model, threads=threads, batch=batch, device=device)
    place: dict[str, Any] = {"hop": hop, "clips": clips, "start": start, "end": end, "raw": raw}
    about = describe_model(tagger.artifact, hop=hop, clips=clips)
    failures, seconds = 0, 0.0
    sizes = {path: max(size, 0) for path, size in zip(paths, sizes_of(paths), strict=True)}
    with (
        EmbeddingTable(out, about, key="path", precision=precision) as table,
        Progress(len(paths), "embedding", quiet=quiet, size=sum(map(sizes.__getitem__, paths))) as progress,
    ):
        for path in paths:
            hear, before = _hearing(path, progress, sizes[path], start, end, raw), seconds
            told = None if warn is None else (lambda text, path=path: warn(path, text))
            last = start
            try:
                for part in embed_recording(tagger, path, warn=told, heard=hear, **place):
                    table.add(source_name(path), *part)
                    seconds += float(part.ends[-1]) - last
                    last = float(part.ends[-1])
            except Exception as error:
                if fail is None:
                    raise
                failures += 1
                fail(path, error)
            progress.under_way = 0.0, 0.0
            progress.advance(size=sizes[path], seconds=seconds - before)
        count = table.rows
    return {"files": len(paths), "failures": failures, "windows": count, "seconds": seconds}


def _hearing(
    path: str, progress: Progress, size: int, start: float, end: float | None, raw: RawFormat | None
) -> Heard:
    """Shows how much of a recording was heard."""
    part = part_heard(path, start=start, end=end, raw=raw)

    def hear(seconds: float) -> None:
        progress.under_way = size * part(seconds), seconds
        progress.hear(0.0)

    return hear


def pack_embeddings(
    runner: Any,
    pack: Pack,
    *,
    hop: float | None = None,
    clips: bool = False,
    batch: int = PACK_BATCH,
    part: Sequence[int] | None = None,
    quiet: bool = False,
) -> Iterator[Embedded]:
    """Embeddings of a pack, clip by clip in its order, windows gathered into batches across clips.

    Args:
        runner: as `auricle.runners.load_runner` gives it.
        pack: of the model's rate, or of a higher one, which is resampled.
        hop: as in `embed_recording`, and so is clips. A clip without samples is heard as silence.
        clips: see above.
        batch: windows at a time.
        part: only these clips; their embeddings are the same, to the last bit, as among all others.
        quiet: show no progress.

    Raises:
        ValueError: the pack's rate is below the model's.

    >>> runner = load_runner(load_artifact("default"))  # doctest: +SKIP
    >>> for clip in pack_embeddings(runner, Pack("out/pack")):  # doctest: +SKIP
    ...     print(clip.embeddings.shape)
    """
    artifact = runner.artifact
    check_rate(pack, artifact)
    part = range(len(pack)) if part is None else part
    samples = hop_samples(hop, artifact) or artifact.hop
    buffer = np.empty((batch, artifact.window), np.float32)
    pieces: list[np.ndarray] = []  # embeddings of the clips under way, in order
    waiting: list[tuple[np.ndarray, np.ndarray]] = []  # starts and ends of clips that are not given yet
    filled = scored = 0

    def ready() -> Iterator[Embedded]:
        nonlocal scored
        while waiting and scored >= len(waiting[0][0]):
            starts, ends = waiting.pop(0)
            rows = np.concatenate(pieces) if len(pieces) > 1 else pieces[0]
            pieces[:] = [rows[len(starts) :]]
            scored -= len(starts)
            yield _clip(starts, ends, rows[: len(starts)], clips)

    with Progress(len(part), "embedding", unit="clips", quiet=quiet) as progress:
        for clip in part:
            waveform = _waveform(pack, clip, artifact.rate)
            starts = window_starts(len(waveform), artifact.window, samples, artifact.tail)
            starts = starts if len(starts) else np.zeros(1, np.int64)
            ends = np.minimum(starts + artifact.window, max(len(waveform), 1))
            waiting.append((starts / artifact.rate, ends / artifact.rate))
            for first in starts:
                window = waveform[first : first + artifact.window]
                buffer[filled, : len(window)], buffer[filled, len(window) :] = window, 0
                filled += 1
                if filled == batch:
                    pieces.append(runner.run(buffer)[1])
                    filled, scored = 0, scored + batch
                    yield from ready()
            progress.advance()
        if filled:
            pieces.append(runner.run(buffer[:filled])[1])
            scored += filled
            yield from ready()


def embed_pack(
    pack: str | Path,
    model: str | Path,
    *,
    name: str | None = None,
    out: str | Path | None = None,
    hop: float | None = None,
    clips: bool = False,
    precision: str = "float32",
    replace: bool = False,
    threads: int | None = None,
    device: str = "cpu",
    quiet: bool = False,
) -> dict[str, Any]:
    """Store a model's embeddings of a pack in it, as an embedding set; or write them as a Parquet file.

    Args:
        pack: the pack's folder.
        model: name, folder or .onnx file, see `load_artifact`.
        name: of the set; None takes the model's name.
        out: write this Parquet file, and leave the pack as it is.
        hop: as in `embed_recording`, and so is clips.
        clips: see above.
        precision: of a Parquet file; a pack's sets are float16.
        replace: overwrite a set of the same name.
        threads: of the runner; None takes every core.
        device: of the runner.
        quiet: show no progress.

    Returns:
        What `embeddings/NAME.json` holds, or {"clips", "windows", "size"} of the file.

    Raises:
        ValueError: no such pack or model, the pack's rate is too low, or the set is there already.

    >>> embed_pack("out/pack", "yamnet", name="yamnet")["windows"]  # doctest: +SKIP
    10000
    """
    opened, artifact = Pack(pack), load_artifact(model)
    if out is None:
        name = artifact.name if name is None else name
        if name in opened.embedding_sets and not replace:
            raise ValueError(
                f"{pack}: embedding set {name!r} is there already: choose another name, or --replace it"
            )
    runner = load_runner(artifact, threads=threads, batch=PACK_BATCH, device=device)
    about = describe_model(artifact, hop=hop, clips=clips)
    rows = pack_embeddings(runner, opened, hop=hop, clips=clips, quiet=quiet)
    if out is None:
        assert name is not None
        return add_embeddings(pack, name, (row.embeddings for row in rows), about, replace=replace)
    about |= {"pack": opened.fingerprint}
    with EmbeddingTable(out, about, key="clip", precision=precision) as table:
        for clip, row in zip(opened.ids, rows, strict=True):
            table.add(clip, *row)
    return {"clips": len(opened), "windows": table.rows, "size": artifact.embedding_size}


def add_table(pack: str | Path, table: str | Path, name: str, *, replace: bool = False) -> dict[str, Any]:
    """Store the embeddings of a Parquet file in a pack, as an embedding set.

    Rows belong to clips by their ids (column `clip`), or by the paths of their recordings (column `path`):
    a row's path is the clip's path in the pack or ends with it. Of a clip that is a part of a recording,
    these are the windows that lie in it. Clips that the file says nothing of have no rows.

    Args:
        pack: the pack's folder.
        table: the Parquet file, as `embed_files` or `embed_pack` write it.
        name: of the set.
        replace: overwrite a set of the same name.

    Returns:
        What `embeddings/NAME.json` holds; "clips_without": how many clips have no rows.

    Raises:
        ValueError: no such pack or file, rows of clips that are not in the pack, or paths that several
            recordings share.

    >>> add_table("out/pack", "x.parquet", "mine")["clips_without"]  # doctest: +SKIP
    0
    """
    opened, rows = Pack(pack), TableRows(table)
    owned = rows.of_clips(opened.ids) if rows.key == "clip" else rows.of_paths(*opened.places())
    without = sum(1 for positions in owned if not len(positions))
    if without == len(owned):
        raise ValueError(
            f"{table}: no row is of a clip of {pack}; compare its {rows.key}s with clips.parquet"
        )
    about = rows.about | {"clips_without": without}
    return add_embeddings(pack, name, (rows.take(positions) for positions in owned), about, replace=replace)


def describe_model(artifact: Any, *, hop: float | None = None, clips: bool = False) -> dict[str, Any]:
    """What stands beside stored embeddings: the model that made them, and how windows stood.

    The fingerprints are of the model with this hop: a net that was trained on these embeddings is refused by
    the same model with another. `embedding_fingerprint` is the one that tells embeddings apart, see
    `auricle.artifact.embeddings`.

    >>> describe_model(load_artifact("default"))["tail"]  # doctest: +SKIP
    'drop'
    """
    made = dataclasses.replace(artifact, hop=hop_samples(hop, artifact) or artifact.hop)
    return {
        "model": made.name,
        "path": str(Path(artifact.path).absolute()),
        "fingerprint": made.fingerprint,
        "embedding_fingerprint": embedding_fingerprint(made),
        "rate": made.rate,
        "window": made.window,
        "hop": made.hop,
        "tail": artifact.tail,
        "size": artifact.embedding_size,
        "pooling": "mean" if clips else "none",
    }


def gives(artifact: Any, about: Mapping[str, Any], *, hop: float | None = None) -> bool:
    """Whether a model gives the embeddings that are stored somewhere, whatever is made of them then.

    What was stored before there were embedding fingerprints has that of the model that it names, where that
    one is still there as it was.

    Args:
        artifact: the model.
        about: as `describe_model` gave it.
        hop: seconds from window to window of the model; None takes its own.

    >>> gives(load_artifact("runs/calibrated"), Pack("out/pack").embeddings("mine").about)  # doctest: +SKIP
    True
    """
    made = describe_model(artifact, hop=hop)
    if made["fingerprint"] == about["fingerprint"]:
        return True
    return made["embedding_fingerprint"] == (about.get("embedding_fingerprint") or _of_old(about))


def _of_old(about: Mapping[str, Any]) -> str:
    for name in ("given", "path", "model"):
        try:
            described = describe_model(load_artifact(about[name]), hop=about["hop"] / about["rate"])
        except (KeyError, ValueError, OSError, ImportError):  # not there, or not as it was
            continue
        if described["fingerprint"] == about["fingerprint"]:
            return str(described["embedding_fingerprint"])
    return ""


def check_rate(pack: Pack, artifact: Any) -> None:
    """Refuse a pack that holds less than the model hears.

    >>> check_rate(Pack("out/pack"), load_artifact("default"))  # doctest: +SKIP
    """
    if pack.rate < artifact.rate:
        raise ValueError(
            f"{pack.path}: holds {pack.rate} Hz and the model takes {artifact.rate} Hz; pack again with "
            f"--rate {artifact.rate} or more"
        )


def hop_samples(hop: float | None, artifact: Any) -> int | None:
    """Seconds from window to window as samples; None stays None.

    >>> hop_samples(0.5, load_artifact("default"))  # doctest: +SKIP
    8000
    """
    if hop is None:
        return None
    samples = round(hop * artifact.rate)
    if samples < 1:
        raise ValueError(f"hop is {hop:g} s; expected at least a sample, {1 / artifact.rate:.2g} s")
    return samples


def _waveform(pack: Pack, clip: int, rate: int) -> np.ndarray:
    samples = pack.samples(clip).astype(np.float32) / 32768
    if pack.rate == rate:
        return samples
    import soxr

    return soxr.resample(samples, pack.rate, rate, quality="HQ")


def _clip(starts: np.ndarray, ends: np.ndarray, rows: np.ndarray, mean: bool) -> Embedded:
    if not mean:
        return Embedded(starts, ends, rows)
    total = np.add.accumulate(rows.astype(np.float64), axis=0)[-1]
    return Embedded(starts[:1], ends[-1:], (total / len(rows)).astype(np.float32)[None])
