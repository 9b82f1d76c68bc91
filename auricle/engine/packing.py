"""A corpus -> a pack: decoded in parallel, shard by shard; what is finished stays finished.

A shard is the unit of work. A worker writes it under a temporary name, gives it its own once it is on the
disk, and then does the same with its journal entry: these entries are all that a later run goes by. The
tables are written at the end from the source's order and the journal, the manifest last.
"""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq

from auricle.audio import AudioError, blocks
from auricle.datasets import Clip, check_ids, check_leaks, open_corpus
from auricle.disk import full_disk_told
from auricle.engine.processes import WorkerDied, default_jobs, run_files
from auricle.progress import Progress
from auricle.shards.labels import check_labels
from auricle.shards.layout import (
    CLIPS,
    JOURNAL,
    LOCK,
    MANIFEST,
    REMEDY,
    RUN,
    TEMPORARY,
    journal_file,
    locked,
    read_journal,
    shard_file,
    write_json,
    write_table,
)
from auricle.shards.reader import find_damage, read_manifest
from auricle.shards.source import audio_fingerprint, cut_into_shards, file_sizes, label_fingerprint
from auricle.shards.writer import (
    Decoded,
    finish_pack,
    manifest_header,
    to_int16,
    write_shard,
    write_source_labels,
)
from auricle.text import as_utf8, one_line

HEADER = "header.json"
LOWEST_RATE, HIGHEST_RATE = 1_000, 768_000  # Hz


class Range(NamedTuple):
    """What a worker needs to know of a clip: seconds in a file; None is its beginning or end."""

    path: str
    start: float | None
    end: float | None


class Task(NamedTuple):
    """One shard: what to decode, and which of its clips (by position) are known to kill a worker."""

    out: str
    shard: int
    rate: int
    ranges: list[Range]
    decode: Callable[[Range, int], Decoded]
    given_up: dict[int, str]


class Plan(NamedTuple):
    """What is to be packed: `shards` are positions of clips, `root` the folder that paths are kept from."""

    source: str
    clips: Sequence[Clip]
    root: Path
    shards: Sequence[range]
    header: dict[str, Any]
    about: Mapping[str, Any]  # as `pack` takes them
    tables: Mapping[str, Any]


def decode_clip(clip: Range, rate: int) -> Decoded:
    """A clip as 16-bit mono at `rate`; the memory it takes is its PCM and a block.

    Raises:
        AudioError: the file cannot be read, or has nothing in this range.
    """
    pcm = bytearray()
    clipped = 0
    warnings: list[str] = []
    for block in blocks(clip.path, rate, start=clip.start or 0.0, end=clip.end, warn=warnings.append):
        samples, more = to_int16(block.samples)
        clipped += more
        pcm += samples.data
    if not pcm:
        where = f"from {clip.start or 0.0} s to {'its end' if clip.end is None else f'{clip.end} s'}"
        raise AudioError(f"{_name(clip.path)}: has no samples {where}; correct the range, or leave it out")
    return Decoded(pcm=np.frombuffer(pcm, dtype=np.int16), clipped=clipped, warnings=warnings)


def pack(
    source: str | Path | Sequence[Clip],
    out: str | Path,
    *,
    rate: int = 16000,
    jobs: int | None = None,
    verify: bool = False,
    label_set: str = "labels",
    media: str | Path | None = None,
    quiet: bool = False,
    decode: Callable[[Range, int], Decoded] = decode_clip,
    about: Mapping[str, Any] | None = None,
    tables: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Decode a corpus once into a pack; killed at any moment, the same call goes on where it was.

    On a finished pack of the same recordings nothing is decoded; under a new name of `label_set`, the
    source's labels are added to it.

    Args:
        source: a folder, a table (see `open_corpus`), or clips.
        out: the pack's folder; new, or as an earlier call with the same arguments left it.
        rate: Hz, of all clips.
        jobs: number of processes; by default one for each core. The bytes written do not depend on it.
        verify: read everything again and compare checksums.
        label_set: what the source's labels are called.
        media: the folder of recordings, for AudioSet's lists and annotations.
        quiet: show no progress.
        decode: picklable, clip and rate -> its samples; for recordings that no file reader knows.
        about: further entries of the manifest, as JSON holds them; they are part of its fingerprint.
        tables: file name -> Arrow table, put into the pack before anything is decoded.

    Returns:
        `clips`, `failures`, `seconds` of audio, `elapsed` seconds; `finished_before`: nothing was left to
        decode; `problems`: what `verify` found, one line a file.

    Raises:
        ValueError: a source that cannot be read, or leaks between splits; a folder that holds something
            else or a damaged pack, or is being written by another process; a full disk.

    >>> pack("esc50/meta.csv", "out/pack")["clips"]  # doctest: +SKIP
    2000
    """
    started = time.monotonic()
    out = Path(out)
    if not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise ValueError(f"rate: expected {LOWEST_RATE} to {HIGHEST_RATE} Hz, got {rate}")
    plan = _plan(_open(source, media), source, rate, label_set, about or {}, tables or {})
    with full_disk_told(out, "make room and give the same command again, which goes on where it was"):
        if out.exists() and not out.is_dir():
            raise ValueError(f"{out}: is a file; give a folder")
        out.mkdir(parents=True, exist_ok=True)
        with locked(out):
            finished_before = (out / MANIFEST).is_file()
            if finished_before:
                _on_finished(out, plan, label_set, verify)
            else:
                _write(plan, out, decode, jobs, quiet)
            _remove_journal(out)
            manifest = read_manifest(out)
            report = {key: manifest[key] for key in ("clips", "failures", "seconds")}
            report |= {"elapsed": time.monotonic() - started, "finished_before": finished_before}
            if not finished_before:
                write_json(out / RUN, report | {"source": plan.source})
    return report | {"problems": find_damage(out, manifest, read=True) if verify else []}


def _plan(
    opened: tuple[str, list[Clip], Path],
    source: str | Path | Sequence[Clip],
    rate: int,
    label_set: str,
    about: Mapping[str, Any],
    tables: Mapping[str, Any],
) -> Plan:
    name, clips, root = opened
    check_leaks(clips)
    check_labels(label_set, (clip.labels for clip in clips))
    sizes = file_sizes(clips)
    shards = cut_into_shards(clips, sizes, rate)
    header = manifest_header(
        rate=rate,
        source=name,
        fingerprint=audio_fingerprint(clips, sizes, root, rate, about),
        num_shards=len(shards),
        label_sets={label_set: label_fingerprint(clips)},
    )
    given = str(source) if isinstance(source, str | Path) else name
    return Plan(given, clips, root, shards, header | dict(about), about, tables)


def _write(
    plan: Plan, out: Path, decode: Callable[[Range, int], Decoded], jobs: int | None, quiet: bool
) -> None:
    _prepare(out, plan.header)
    for name, table in plan.tables.items():
        if not (out / name).is_file():
            write_table(out / name, table)
    tasks = [
        Task(str(out), number, plan.header["rate"], [_range(plan.clips[i]) for i in part], decode, {})
        for number, part in enumerate(plan.shards)
    ]
    _write_shards(tasks, out, jobs, quiet)
    read_entry = partial(_read_entry, out)
    finish_pack(out, plan.clips, read_entry, root=plan.root, header=plan.header, tables=plan.tables)


def _open(source: str | Path | Sequence[Clip], media: str | Path | None) -> tuple[str, list[Clip], Path]:
    if isinstance(source, str | Path):
        name, clips = open_corpus(source, media)
        if media is not None:
            return name, clips, Path(media)
        path = Path(source if Path(source).exists() else str(source).removeprefix(f"{name}:"))
        return name, clips, path if path.is_dir() else path.parent
    clips = list(source)
    if media is not None:
        raise ValueError(
            "a folder of media is for AudioSet's lists and annotations; clips name their files themselves"
        )
    if not clips:
        raise ValueError("no clips to pack")
    check_ids(clips)
    return "clips", clips, Path(os.path.commonpath([Path(clip.path).absolute().parent for clip in clips]))


def _prepare(out: Path, header: dict[str, Any]) -> None:
    journal = out / JOURNAL
    if (found := read_journal(journal / HEADER)) is not None:
        _check_same(out, header, found, list(header))
    elif foreign := sorted(path.name for path in out.iterdir() if path.name not in (LOCK, JOURNAL)):
        raise ValueError(f"{out}: the folder holds something else ({foreign[0]}); give a new or empty folder")
    journal.mkdir(exist_ok=True)
    if found is None:  # before anything else, or a run that ends here would leave a folder of unknown things
        write_json(journal / HEADER, header)
    for folder in (out, journal, out / "shards", out / "labels", out / "index"):
        folder.mkdir(exist_ok=True)
        for leftover in folder.glob(f"*{TEMPORARY}"):
            leftover.unlink(missing_ok=True)


def _check_same(out: Path, header: dict[str, Any], found: dict[str, Any], keys: list[str]) -> None:
    different = [key for key in keys if found.get(key) != header[key]]
    follow = ("fingerprint", "num_shards", "label_sets")  # from any other, which is then the cause
    different = [key for key in different if key not in follow] or different
    if not different:
        return
    reasons = [
        {
            "fingerprint": "its clips, splits, attributes or files are not those of the source",
            "label_sets": "its labels, or the name of its label set, are not those of the source",
            "mixed_from": "its scenes are of another recipe, of other splits or of another pack",
        }.get(key, f"{key} is {found.get(key)} there and {header[key]} here")
        for key in different
    ]
    raise ValueError(f"{out}: a pack of something else is there: {'; '.join(reasons)}. Give a new folder")


def _on_finished(out: Path, plan: Plan, label_set: str, verify: bool) -> None:
    """Check that the pack is of this source, and all there; add its labels if they are new."""
    manifest, header = read_manifest(out), plan.header
    _check_same(out, header, manifest, ["rate", "source", "fingerprint", *plan.about])
    if damage := find_damage(out, manifest, read=False):
        if verify:
            return  # which names every file
        more = f" (and {len(damage) - 1} more files; --verify names them)" if len(damage) > 1 else ""
        raise ValueError(
            f"{out}: was packed before, but {damage[0].removesuffix(f'; {REMEDY}')}{more}; {REMEDY}"
        )
    source = header["label_sets"][label_set]
    if label_set in manifest["label_sets"]:
        if manifest["label_sets"][label_set].get("source") != source:
            raise ValueError(
                f"{out}: these recordings are packed, but label set {label_set!r} holds other labels; "
                "give the new ones another name: they are added without decoding"
            )
        return
    kept = set(pq.read_table(out / CLIPS, columns=["id"])["id"].to_pylist())
    entry = write_source_labels(out, label_set, [clip for clip in plan.clips if as_utf8(clip.id) in kept])
    sets = manifest["label_sets"] | {label_set: entry | {"source": source}}
    write_json(out / MANIFEST, manifest | {"label_sets": dict(sorted(sets.items()))})


def _read_entry(out: Path, shard: int) -> dict[str, Any]:
    entry = read_journal(out / journal_file(shard))
    if entry is None:
        raise ValueError(
            f"{out / journal_file(shard)}: lost while packing; run the same `auricle pack` again"
        )
    return entry


def _is_finished(out: Path, shard: int) -> bool:
    entry, file = read_journal(out / journal_file(shard)), out / shard_file(shard)
    return entry is not None and file.is_file() and file.stat().st_size == entry["bytes"]


def _remove_journal(out: Path) -> None:
    journal = out / JOURNAL
    if journal.is_dir():
        for file in journal.iterdir():
            file.unlink()
        journal.rmdir()


def _write_shards(tasks: Sequence[Task], out: Path, jobs: int | None, quiet: bool) -> None:
    todo = [task for task in tasks if not _is_finished(out, task.shard)]
    total = sum(len(task.ranges) for task in tasks)
    with Progress(total, "packing", "clips", quiet=quiet) as progress:
        progress.resume_at(total - sum(len(task.ranges) for task in todo))
        for index, result in run_files(_pack_shard, todo, jobs=jobs or default_jobs()):
            if isinstance(result, WorkerDied):
                progress.note(f"shard {todo[index].shard}: its worker was killed; looking for the clip")
                result = _pack_carefully(todo[index])
            if isinstance(result, BaseException):
                raise result  # not of a clip: the disk is full, the pack's folder is gone
            for error in result:
                progress.note(f"failed: {error}")
            progress.advance(len(todo[index].ranges))


def _range(clip: Clip) -> Range:
    return Range(clip.path, clip.start, clip.end)


def _pack_shard(task: Task) -> list[str]:
    """Decode and write one shard; the errors of its clips are returned."""
    decoded = (
        task.given_up[position] if position in task.given_up else _try(task.decode, task.rate, clip)
        for position, clip in enumerate(task.ranges)
    )
    entry = write_shard(Path(task.out), task.shard, decoded)
    return [row["error"] for row in entry["clips"] if "error" in row]


def _pack_carefully(task: Task) -> Any:
    """Find the clips that kill their worker, then write the shard without them."""
    given_up = {}
    for position, result in run_files(partial(_read_only, task.decode, task.rate), task.ranges, jobs=1):
        if isinstance(result, WorkerDied):
            given_up[position] = f"{_name(task.ranges[position].path)}: {result}"
    [(_, result)] = run_files(_pack_shard, [task._replace(given_up=given_up)], jobs=1)
    return result


def _read_only(decode: Callable[[Range, int], Decoded], rate: int, clip: Range) -> None:
    _try(decode, rate, clip)


def _try(decode: Callable[[Range, int], Decoded], rate: int, clip: Range) -> Decoded | str:
    try:
        return decode(clip, rate)
    except AudioError as error:
        return str(error)
    except Exception as error:  # whatever a damaged file sets off in a decoder stays that file's own
        return one_line(f"{as_utf8(clip.path)}: {type(error).__name__}: {error}")


def _name(path: str) -> str:
    """A path as messages spell it."""
    return one_line(as_utf8(path))
