"""Clip rows and their samples -> the files of a pack. What runs where is the engine's business."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from auricle import __version__
from auricle.datasets import Clip
from auricle.shards.labels import write_labels
from auricle.shards.layout import (
    CLIPS,
    FAILURES,
    FORMAT,
    JOURNAL,
    MANIFEST,
    TEMPORARY,
    digest,
    publish,
    shard_file,
    write_array,
    write_json,
    write_table,
)

SCHEMA = pa.schema([pa.field("samples", pa.large_list(pa.field("item", pa.int16(), nullable=False)))])
MEASURED = (
    "samples",
    "audible",
    "clipped",
    "warnings",
)  # of each clip; audible: up to the last non-zero sample
# A pack has at most this many shards, so that a reader can keep all of them mapped (1024 open files are usual).
MOST_SHARDS = 512
FEWEST_CLIPS = 64


def clips_per_shard(num_clips: int) -> int:
    """How many clips go into a shard: a function of the corpus alone.

    >>> clips_per_shard(2000), clips_per_shard(2_000_000)
    (64, 3907)
    """
    return max(FEWEST_CLIPS, -(-num_clips // MOST_SHARDS))


def to_int16(samples: np.ndarray) -> tuple[np.ndarray, int]:
    """Float samples in [-1, 1) as 16-bit PCM, rounded to the nearest; how many had to be clipped.

    >>> to_int16(np.array([0.5, -1.0, 1.25], dtype=np.float32))
    (array([ 16384, -32768,  32767], dtype=int16), 1)
    """
    scaled = samples * np.float32(32768.0)
    np.rint(scaled, out=scaled)
    clipped = 0
    if scaled.size and (scaled.max() > 32767.0 or scaled.min() < -32768.0):
        clipped = int(np.count_nonzero((scaled > 32767.0) | (scaled < -32768.0)))
        np.clip(scaled, -32768.0, 32767.0, out=scaled)
    return scaled.astype(np.int16), clipped


def write_shard(
    out: Path, shard: int, decoded: Iterator[tuple[np.ndarray, list[str]] | str]
) -> dict[str, Any]:
    """Write one shard and its journal entry.

    Args:
        out: the pack's folder.
        shard: its number.
        decoded: for every clip of the shard in order, ((N,) float32 samples, warnings), or why it failed.

    Returns:
        The journal entry: checksum, and a row for each clip.
    """
    path = out / shard_file(shard)
    temporary = path.with_name(f"{path.name}.{os.getpid()}{TEMPORARY}")
    rows: list[dict[str, Any]] = []
    with pa.OSFile(str(temporary), "wb") as sink, pa.ipc.new_file(sink, SCHEMA) as writer:
        for item in decoded:
            if isinstance(item, str):
                rows.append({"error": item})
                continue
            pcm, clipped = to_int16(item[0])
            offsets = pa.array([0, pcm.size], pa.int64())
            column = pa.LargeListArray.from_arrays(offsets, pa.array(pcm), type=SCHEMA.field(0).type)
            # One batch a clip: memory holds one clip at a time, however long the shard.
            writer.write_batch(pa.record_batch([column], schema=SCHEMA))
            audible = int(pcm.size - np.argmax(pcm[::-1] != 0)) if pcm.any() else 0
            rows.append({"samples": pcm.size, "audible": audible, "clipped": clipped, "warnings": item[1]})
    good = [row for row in rows if "error" not in row]
    for row, offset in zip(good, _sample_offsets(temporary), strict=True):
        row["offset"] = offset
    entry = {"shard": shard, "bytes": temporary.stat().st_size, "blake2b": digest(temporary), "clips": rows}
    publish(temporary, path)
    write_json(out / JOURNAL / f"{shard:05d}.json", entry)
    return entry


def _sample_offsets(path: Path) -> Iterator[int]:
    """Where the samples of each row begin, in 16-bit words from the start of the file."""
    with pa.memory_map(str(path)) as file:
        base = file.read_buffer().address
        reader = pa.ipc.open_file(file)
        for index in range(reader.num_record_batches):
            values = reader.get_batch(index).column(0).values
            position = values.buffers()[1].address - base if len(values) else 0
            assert position % 2 == 0, "Arrow aligns buffers to 8 bytes"
            yield position // 2


def fingerprint(clips: Sequence[Clip], root: Path, rate: int, *, labels: bool) -> str:
    """What identifies a source: its clips in order, the sizes of their files, the rate, and the labels if asked."""
    state = hashlib.blake2b(digest_size=16)
    sizes: dict[str, int] = {}
    for clip in clips:
        if clip.path not in sizes:
            sizes[clip.path] = _size(clip.path)
        row: list[Any] = [clip.id, relative(clip.path, root), sizes[clip.path], clip.start, clip.end]
        if labels:
            row = [clip.id, clip.labels, clip.scores]
        else:
            row += [clip.split, clip.group, sorted(clip.attributes.items())]
        state.update(json.dumps(row, ensure_ascii=True).encode() + b"\n")
    state.update(f"rate {rate}".encode())
    return state.hexdigest()


def _size(path: str) -> int:
    try:
        return Path(path).stat().st_size
    except OSError:
        return -1


def relative(path: str, root: Path) -> str:
    """A path as the pack keeps it: from the source's folder, so that a pack does not depend on where that is.

    >>> relative("data/a/b.wav", Path("data"))
    'a/b.wav'
    """
    return Path(os.path.relpath(path, root)).as_posix()


def finish_pack(
    out: Path,
    clips: Sequence[Clip],
    read_entry: Callable[[int], dict[str, Any]],
    *,
    root: Path,
    num_shards: int,
    label_set: str,
    header: dict[str, Any],
) -> dict[str, Any]:
    """Write tables, index and, last, the manifest, from the journal of all shards.

    Args:
        out: the pack's folder.
        clips: all clips of the source, in order.
        read_entry: shard number -> its journal entry.
        root: the source's folder.
        num_shards: how many there are.
        label_set: name of the set that holds the clips' labels.
        header: what the manifest says first.

    Returns:
        The manifest.
    """
    kept: list[Clip] = []
    failed: list[tuple[Clip, str]] = []
    columns: dict[str, list[Any]] = {name: [] for name in ("shard", "row", *MEASURED)}
    offsets: list[int] = []
    shards = []
    queue = iter(clips)
    for shard in range(num_shards):
        entry = read_entry(shard)
        row = 0
        for result in entry["clips"]:
            clip = next(queue)
            if "error" in result:
                failed.append((clip, result["error"]))
                continue
            kept.append(clip)
            offsets.append(result["offset"])
            for name, value in (("shard", shard), ("row", row)):
                columns[name].append(value)
            for name in MEASURED:
                columns[name].append(result[name])
            row += 1
        shards.append(
            {"file": shard_file(shard), "clips": row, "bytes": entry["bytes"], "blake2b": entry["blake2b"]}
        )
    assert next(queue, None) is None, "the journal covers all clips"
    write_table(out / CLIPS, _clip_table(kept, columns, root))
    write_table(out / FAILURES, _failure_table(failed, root))
    files = {name: digest(out / name) for name in (CLIPS, FAILURES)}
    for name, array in {
        "shard": np.array(columns["shard"], dtype=np.int32),
        "offset": np.array(offsets, dtype=np.int64),
        "samples": np.array(columns["samples"], dtype=np.int64),
        "audible": np.array(columns["audible"], dtype=np.int64),
    }.items():
        write_array(out / f"index/{name}.npy", array)
        files[f"index/{name}.npy"] = digest(out / f"index/{name}.npy")
    labels = [
        clip.labels if clip.scores is None else dict(zip(clip.labels, clip.scores, strict=True))
        for clip in kept
    ]
    label_entry = write_labels(out, label_set, [clip.id for clip in kept], labels)
    total = sum(columns["samples"])
    manifest = header | {
        "clips": len(kept),
        "failures": len(failed),
        "samples": total,
        "seconds": total / header["rate"],
        "clipped_samples": sum(columns["clipped"]),
        "clips_with_warnings": sum(1 for messages in columns["warnings"] if messages),
        "label_sets": {label_set: label_entry},
        "shards": shards,
        "files": files,
    }
    write_json(out / MANIFEST, manifest)
    return manifest


def manifest_header(
    *, rate: int, source: str, source_print: str, label_print: str, per_shard: int
) -> dict[str, Any]:
    """The part of a manifest that is known before anything is decoded."""
    import soxr

    return {
        "format": FORMAT,
        "rate": rate,
        "encoding": "int16",
        "resampler": f"soxr {soxr.__version__} HQ",
        "auricle": __version__,
        "source": source,
        "fingerprint": source_print,
        "label_fingerprint": label_print,
        "clips_per_shard": per_shard,
    }


def _clip_table(clips: Sequence[Clip], columns: dict[str, list[Any]], root: Path) -> pa.Table:
    table = {
        "id": pa.array([clip.id for clip in clips], pa.string()),
        "path": pa.array([relative(clip.path, root) for clip in clips], pa.string()),
        "start": pa.array([clip.start for clip in clips], pa.float64()),
        "end": pa.array([clip.end for clip in clips], pa.float64()),
        "group": pa.array([clip.group for clip in clips], pa.string()),
        "split": pa.array([clip.split for clip in clips], pa.string()),
        "shard": pa.array(columns["shard"], pa.int32()),
        "row": pa.array(columns["row"], pa.int32()),
        "samples": pa.array(columns["samples"], pa.int64()),
        "audible": pa.array(columns["audible"], pa.int64()),
        "clipped": pa.array(columns["clipped"], pa.int64()),
        "warnings": pa.array(columns["warnings"], pa.list_(pa.string())),
    }
    names = list(dict.fromkeys(name for clip in clips for name in clip.attributes))
    if names:
        values = [pa.array([clip.attributes.get(name) for clip in clips], pa.string()) for name in names]
        table["attributes"] = pa.StructArray.from_arrays(values, names)
    return pa.table(table)


def _failure_table(failed: Sequence[tuple[Clip, str]], root: Path) -> pa.Table:
    return pa.table(
        {
            "id": pa.array([clip.id for clip, _ in failed], pa.string()),
            "path": pa.array([relative(clip.path, root) for clip, _ in failed], pa.string()),
            "error": pa.array([error for _, error in failed], pa.string()),
        }
    )
