"""Clip rows and their samples -> the files of a pack. What runs where is the engine's business."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from auricle import __version__
from auricle.datasets import Clip
from auricle.grids import block_ends, stored_grids
from auricle.shards.labels import Labels, write_labels
from auricle.shards.layout import (
    CLIPS,
    FAILURES,
    FORMAT,
    MANIFEST,
    SHARDS,
    file_facts,
    grid_file,
    shard_file,
    sync_folder,
    write_array,
    write_json,
    write_table,
)
from auricle.shards.source import relative
from auricle.text import as_utf8, one_line

SCHEMA = pa.schema([pa.field("samples", pa.large_list(pa.field("item", pa.int16(), nullable=False)))])
SHARD_SCHEMA = pa.schema(
    {"file": pa.string(), "clips": pa.int64(), "bytes": pa.int64(), "blake2b": pa.string()}
)
INDEX = {"shard": np.int32, "offset": np.int64, "samples": np.int64, "audible": np.int64}
MEASURED = ("samples", "audible", "clipped", "warnings")  # of each clip; audible: up to its last sound
LOOK_BACK = 4096  # samples looked at at a time for the last that is not zero


@dataclass(frozen=True, kw_only=True)
class Decoded:
    """A clip as it goes into a shard: (N,) int16 samples, how many were clipped, what was odd about it."""

    pcm: np.ndarray
    clipped: int
    warnings: list[str]


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


def write_shard(path: Path, decoded: Iterable[Decoded | str]) -> list[dict[str, Any]]:
    """Write the samples of one shard.

    Args:
        path: its file, under whatever name it has until it is complete.
        decoded: for every clip of the shard in order, its samples, or why there are none.

    Returns:
        What a journal says of each clip: where it lies and what was measured of it, or its error.
    """
    rows: list[dict[str, Any]] = []
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, SCHEMA) as writer:
        for item in decoded:
            if isinstance(item, str):
                rows.append({"error": as_utf8(item)})
                continue
            offsets = pa.array([0, item.pcm.size], pa.int64())
            column = pa.LargeListArray.from_arrays(offsets, pa.array(item.pcm), type=SCHEMA.field(0).type)
            # One batch a clip: memory holds one clip at a time, however long the shard.
            writer.write_batch(pa.record_batch([column], schema=SCHEMA))
            rows.append(
                {
                    "samples": item.pcm.size,
                    "audible": _audible(item.pcm),
                    "clipped": item.clipped,
                    "warnings": [as_utf8(warning) for warning in item.warnings],
                }
            )
    good = [row for row in rows if "error" not in row]
    for row, offset in zip(good, _sample_offsets(path), strict=True):
        row["offset"] = offset
    return rows


def _audible(pcm: np.ndarray) -> int:
    """Samples up to the last that is not zero, looked for from the end."""
    for end in range(len(pcm), 0, -LOOK_BACK):
        start = max(end - LOOK_BACK, 0)
        if (found := np.flatnonzero(pcm[start:end])).size:
            return start + int(found[-1]) + 1
    return 0


def _sample_offsets(path: Path) -> Iterator[int]:
    """Where the samples of each row begin, in 16-bit words from the start of the file."""
    with pa.memory_map(str(path)) as file:
        base = file.read_buffer().address
        reader = pa.ipc.open_file(file)
        for index in range(reader.num_record_batches):
            position = reader.get_batch(index).column(0).values.buffers()[1].address - base
            assert position % 2 == 0, "Arrow aligns buffers to 8 bytes"
            yield position // 2


def finish_pack(
    out: Path,
    clips: Sequence[Clip],
    read_entry: Callable[[int], dict[str, Any]],
    *,
    root: Path,
    header: dict[str, Any],
    tables: Iterable[str] = (),
) -> dict[str, Any]:
    """Write tables, index and, last, the manifest, from the journal of all shards.

    Args:
        out: the pack's folder.
        clips: all clips of the source, in order.
        read_entry: shard number -> its journal entry: `clips`, as `write_shard` gave them, bytes, blake2b.
        root: the source's folder.
        header: as `manifest_header` made it.
        tables: further files of the pack, which are there already.

    Returns:
        The manifest.
    """
    kept, failed, columns, shards = _collect(clips, read_entry, root, header["num_shards"])
    write_table(out / CLIPS, _clip_table(kept, columns, root))
    write_table(out / FAILURES, _failure_table(failed, root))
    write_table(out / SHARDS, pa.table(shards, schema=SHARD_SCHEMA))
    write_array(out / "index/shard_bytes.npy", np.array(shards["bytes"], dtype=np.int64))
    files = [CLIPS, FAILURES, SHARDS, "index/shard_bytes.npy", *tables]
    for name, dtype in INDEX.items():
        files.append(f"index/{name}.npy")
        write_array(out / files[-1], np.array(columns[name], dtype=dtype))
    for patch, hop in stored_grids(header["rate"]):
        files.append(grid_file(patch, hop))
        write_array(out / files[-1], block_ends(np.array(columns["audible"], dtype=np.int64), patch, hop))
    total = sum(columns["samples"])
    manifest = header | {
        "clips": len(kept),
        "failures": len(failed),
        "samples": total,
        "seconds": total / header["rate"],
        "clipped_samples": sum(columns["clipped"]),
        "clips_with_warnings": sum(1 for messages in columns["warnings"] if messages),
        "label_sets": {
            name: write_source_labels(out, name, kept) | {"source": source}
            for name, source in header["label_sets"].items()
        },
        **file_facts(out, files),
    }
    for folder in ("shards", "labels", "index"):
        sync_folder(out / folder)
    write_json(out / MANIFEST, manifest)
    sync_folder(out)
    return manifest


def _collect(
    clips: Sequence[Clip], read_entry: Callable[[int], dict[str, Any]], root: Path, num_shards: int
) -> tuple[list[Clip], list[tuple[Clip, str]], dict[str, list[Any]], dict[str, list[Any]]]:
    """What the journal says: clips that are there, those that failed, columns of the former and of shards."""
    kept: list[Clip] = []
    failed: list[tuple[Clip, str]] = []
    columns: dict[str, list[Any]] = {name: [] for name in ("shard", "row", "offset", *MEASURED)}
    shards: dict[str, list[Any]] = {name: [] for name in SHARD_SCHEMA.names}
    queue = iter(clips)
    for shard in range(num_shards):
        entry = read_entry(shard)
        row = 0
        for result in entry["clips"]:
            clip = next(queue)
            if "error" in result:
                failed.append((clip, _unrooted(result["error"], clip, root)))
                continue
            kept.append(clip)
            warnings = [_unrooted(warning, clip, root) for warning in result["warnings"]]
            for name, value in (result | {"shard": shard, "row": row, "warnings": warnings}).items():
                columns[name].append(value)
            row += 1
        facts = {
            "file": shard_file(shard),
            "clips": row,
            "bytes": entry["bytes"],
            "blake2b": entry["blake2b"],
        }
        for name, value in facts.items():
            shards[name].append(value)
    assert next(queue, None) is None, "the journal covers all clips"
    return kept, failed, columns, shards


def _unrooted(message: str, clip: Clip, root: Path) -> str:
    """A message that names the clip's file, as messages spell names, by its path from the source's folder."""
    return message.replace(one_line(as_utf8(clip.path)), one_line(relative(clip.path, root)))


def write_source_labels(out: Path, label_set: str, clips: Sequence[Clip]) -> dict[str, Any]:
    """Write the labels that a pack's clips bring as a label set; its entry for the manifest is returned."""
    labels: list[Labels] = [
        clip.labels if clip.scores is None else dict(zip(clip.labels, clip.scores, strict=True))
        for clip in clips
    ]
    return write_labels(out, label_set, [as_utf8(clip.id) for clip in clips], labels)


def manifest_header(
    *, rate: int, source: str, fingerprint: str, num_shards: int, label_sets: dict[str, str]
) -> dict[str, Any]:
    """The part of a manifest that is known before anything is decoded; `label_sets`: name -> fingerprint."""
    import soxr

    return {
        "format": FORMAT,
        "rate": rate,
        "encoding": "int16",
        "resampler": f"soxr {soxr.__version__} HQ",
        "auricle": __version__,
        "source": source,
        "fingerprint": fingerprint,
        "num_shards": num_shards,
        "label_sets": label_sets,
    }


def _clip_table(clips: Sequence[Clip], columns: dict[str, list[Any]], root: Path) -> pa.Table:
    table = {
        "id": _text(clip.id for clip in clips),
        "path": _text(relative(clip.path, root) for clip in clips),
        "start": pa.array([clip.start for clip in clips], pa.float64()),
        "end": pa.array([clip.end for clip in clips], pa.float64()),
        "group": _text(clip.group for clip in clips),
        "split": _text(clip.split for clip in clips),
        "shard": pa.array(columns["shard"], pa.int32()),
        "row": pa.array(columns["row"], pa.int32()),
        "samples": pa.array(columns["samples"], pa.int64()),
        "audible": pa.array(columns["audible"], pa.int64()),
        "clipped": pa.array(columns["clipped"], pa.int64()),
        "warnings": pa.array(columns["warnings"], pa.list_(pa.string())),
    }
    names = list(dict.fromkeys(name for clip in clips for name in clip.attributes))
    if names:
        values = [_text(clip.attributes.get(name) for clip in clips) for name in names]
        table["attributes"] = pa.StructArray.from_arrays(values, names)
    return pa.table(table)


def _failure_table(failed: Sequence[tuple[Clip, str]], root: Path) -> pa.Table:
    return pa.table(
        {
            "id": _text(clip.id for clip, _ in failed),
            "path": _text(relative(clip.path, root) for clip, _ in failed),
            "error": _text(error for _, error in failed),
        }
    )


def _text(values: Iterable[str | None]) -> pa.Array:
    return pa.array([None if value is None else as_utf8(value) for value in values], pa.string())
