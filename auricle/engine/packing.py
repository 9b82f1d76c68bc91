"""A corpus -> a pack: decoded in parallel, shard by shard; what is finished stays finished.

A job as `auricle.engine.jobs` describes them: a task is a shard. The tables are written at the end from the
source's order and the journal, the manifest last.
"""

import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq

from auricle import remote
from auricle.audio import AudioError, blocks
from auricle.datasets import Clip, check_ids, check_leaks, corpus_root, open_corpus
from auricle.disk import full_disk_told
from auricle.engine.jobs import (
    HEADER,
    Engine,
    Job,
    Task,
    open_journal,
    read_entry,
    remove_journal,
    remove_leftovers,
    run_job,
    unfinished,
)
from auricle.engine.journals import put_header, take_entries, take_header
from auricle.progress import Progress
from auricle.shards.labels import check_labels
from auricle.shards.layout import (
    CLIPS,
    JOURNAL,
    LOCK,
    MANIFEST,
    REMEDY,
    RUN,
    journal_file,
    locked,
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

LOWEST_RATE, HIGHEST_RATE = 1_000, 768_000  # Hz


class Range(NamedTuple):
    """What a worker needs to know of a clip: seconds in a file; None is its beginning or end."""

    path: str
    start: float | None
    end: float | None


class Plan(NamedTuple):
    """What is to be packed: `shards` are positions of clips, `root` the folder that paths are kept from."""

    source: str
    clips: Sequence[Clip]
    sizes: Sequence[int]  # bytes of their files
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
    engine: str = "local",
    address: str | None = None,
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
        source: a folder, a table (see `open_corpus`), or clips; or an address of a folder or table elsewhere.
        out: the pack's folder; new, or as an earlier call with the same arguments left it; or an address.
        rate: Hz, of all clips.
        jobs: number of processes; by default one for each core. The bytes written do not depend on it.
        engine: "local" or "ray", see `Engine`, nor on this.
        address: of a Ray cluster.
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
    started, away = time.monotonic(), remote.address_of(out)
    out, workers = Path(out), Engine(kind=engine, jobs=jobs, address=address)
    if not LOWEST_RATE <= rate <= HIGHEST_RATE:
        raise ValueError(f"rate: expected {LOWEST_RATE} to {HIGHEST_RATE} Hz, got {rate}")
    plan = _plan(_open(source, media), source, rate, label_set, about or {}, tables or {})
    if away is not None:
        return _pack_away(plan, away, decode, workers, label_set, verify, quiet, started)
    with full_disk_told(out, "make room and give the same command again, which goes on where it was"):
        if out.exists() and not out.is_dir():
            raise ValueError(f"{out}: is a file; give a folder")
        out.mkdir(parents=True, exist_ok=True)
        with locked(out):
            finished_before = (out / MANIFEST).is_file()
            if finished_before:
                _on_finished(out, plan, label_set, verify)
            else:
                _write(plan, out, decode, workers, quiet)
            if (out / JOURNAL).is_dir():
                remove_journal(out / JOURNAL)
            manifest = read_manifest(out)
            report = {key: manifest[key] for key in ("clips", "failures", "seconds")}
            report |= {"elapsed": time.monotonic() - started, "finished_before": finished_before}
            if not finished_before:
                write_json(out / RUN, report | {"source": plan.source})
    return report | {"problems": find_damage(out, manifest, read=True) if verify else []}


def _pack_away(
    plan: Plan,
    address: str,
    decode: Callable[[Range, int], Decoded],
    workers: Engine,
    label_set: str,
    verify: bool,
    quiet: bool,
    started: float,
) -> dict[str, Any]:
    """`pack` to an address: workers put shards and entries; the rest is written here, and put at the end."""
    journal, shards = f"{JOURNAL}/", "shards/"
    with (
        full_disk_told(tempfile.gettempdir(), "make room, or name another folder in TMPDIR"),
        remote.working_copy(address, last=(MANIFEST,)) as copy,
        remote.held(address) as check,
    ):
        out = copy.folder
        finished_before = remote.look_up(remote.join(address, MANIFEST)) is not None
        if finished_before:
            copy.fetch(lambda name: not name.startswith((journal, shards, "embeddings/")))
            _on_finished(out, plan, label_set, verify, address)
        else:
            _write(plan, out, decode, workers, quiet, address, check)
        check()
        copy.put(lambda name: not name.startswith((journal, shards)))
        remote.remove_folder(remote.join(address, JOURNAL))
        manifest = read_manifest(out)
        report = {key: manifest[key] for key in ("clips", "failures", "seconds")}
        report |= {"elapsed": time.monotonic() - started, "finished_before": finished_before}
        if not finished_before:
            write_json(out / RUN, report | {"source": plan.source})
            remote.put(out / RUN, remote.join(address, RUN))
        problems = find_damage(out, manifest, read=True, address=address) if verify else []
    return report | {"problems": problems}


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
    return Plan(given, clips, sizes, root, shards, header | dict(about), about, tables)


def _write(
    plan: Plan,
    out: Path,
    decode: Callable[[Range, int], Decoded],
    engine: Engine,
    quiet: bool,
    address: str = "",
    check: Callable[[], None] = lambda: None,
) -> None:
    _prepare(out, plan.header, address)
    for name, table in plan.tables.items():
        if not (out / name).is_file():
            write_table(out / name, table)
    job = _job(plan, out, decode, address)
    take_entries(out, address, job.tasks)
    _write_shards(job, engine, quiet, check)
    remove_leftovers(out / JOURNAL, out / "shards")  # of workers that outlived a killed run
    finish_pack(
        out, plan.clips, partial(_read_entry, job), root=plan.root, header=plan.header, tables=plan.tables
    )


def _job(plan: Plan, out: Path, decode: Callable[[Range, int], Decoded], address: str) -> Job:
    sizes = plan.sizes
    tasks = [
        Task(
            [_range(plan.clips[i]) for i in part],
            sum(max(sizes[i], 0) for i in part),
            (shard_file(number),),
            journal_file(number),
            [sizes[i] for i in part],
        )
        for number, part in enumerate(plan.shards)
    ]
    rate = plan.header["rate"]
    return Job(
        folder=out,
        tasks=tasks,
        write=partial(_pack_shard, decode, rate),
        probe=partial(_probe, decode, rate),
        away=address,
    )


def _open(source: str | Path | Sequence[Clip], media: str | Path | None) -> tuple[str, list[Clip], Path]:
    if isinstance(source, str | Path):
        name, clips = open_corpus(source, media)
        if media is not None:
            return name, clips, Path(media)
        if (address := remote.address_of(str(source).removeprefix(f"{name}:"))) is not None:
            return name, clips, Path(corpus_root(name, address))
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


def _prepare(out: Path, header: dict[str, Any], address: str = "") -> None:
    journal, away = out / JOURNAL, remote.join(address, JOURNAL) if address else ""
    take_header(journal, away, HEADER)
    names = (
        [name.split("/")[0] for name in remote.list_files(address)]
        if address
        else [path.name for path in out.iterdir()]
    )
    if not (journal / HEADER).is_file() and (
        foreign := sorted(name for name in names if name not in (LOCK, JOURNAL))
    ):
        raise ValueError(
            f"{address or out}: the folder holds something else ({foreign[0]}); give a new or empty folder"
        )
    # Before anything else: a run that ends here would leave a folder of unknown things.
    open_journal(journal, header, lambda found: _check_same(address or out, header, found, list(header)))
    put_header(journal, away, HEADER)
    for folder in (out / "shards", out / "labels", out / "index"):
        folder.mkdir(exist_ok=True)
    remove_leftovers(out, journal, out / "shards", out / "labels", out / "index")


def _check_same(out: Path | str, header: dict[str, Any], found: dict[str, Any], keys: list[str]) -> None:
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


def _on_finished(out: Path, plan: Plan, label_set: str, verify: bool, address: str = "") -> None:
    """Check that the pack is of this source, and all there; add its labels if they are new."""
    manifest, header, where = read_manifest(out), plan.header, address or out
    _check_same(where, header, manifest, ["rate", "source", "fingerprint", *plan.about])
    if damage := find_damage(out, manifest, read=False, address=address):
        if verify:
            return  # which names every file
        more = f" (and {len(damage) - 1} more files; --verify names them)" if len(damage) > 1 else ""
        raise ValueError(
            f"{where}: was packed before, but {damage[0].removesuffix(f'; {REMEDY}')}{more}; {REMEDY}"
        )
    source = header["label_sets"][label_set]
    if label_set in manifest["label_sets"]:
        if manifest["label_sets"][label_set].get("source") != source:
            raise ValueError(
                f"{where}: these recordings are packed, but label set {label_set!r} holds other labels; "
                "give the new ones another name: they are added without decoding"
            )
        return
    kept = set(pq.read_table(out / CLIPS, columns=["id"])["id"].to_pylist())
    entry = write_source_labels(out, label_set, [clip for clip in plan.clips if as_utf8(clip.id) in kept])
    sets = manifest["label_sets"] | {label_set: entry | {"source": source}}
    write_json(out / MANIFEST, manifest | {"label_sets": dict(sorted(sets.items()))})


def _read_entry(job: Job, shard: int) -> dict[str, Any]:
    task = job.tasks[shard]
    entry = read_entry(job, task)
    if entry is None:
        raise ValueError(f"{job.folder / task.entry}: lost while packing; run the same `auricle pack` again")
    return entry | entry["files"][task.results[0]]


def _write_shards(job: Job, engine: Engine, quiet: bool, check: Callable[[], None]) -> None:
    todo = unfinished(job)
    total = sum(len(task.items) for task in job.tasks)
    with Progress(total, "packing", "clips", quiet=quiet) as progress:
        progress.resume_at(total - sum(len(job.tasks[shard].items) for shard in todo))
        for shard, entry in run_job(job, todo, engine, progress.note):
            check()
            for row in entry["clips"]:
                if "error" in row:
                    progress.note(f"failed: {row['error']}")
            progress.advance(len(job.tasks[shard].items))


def _range(clip: Clip) -> Range:
    return Range(clip.path, clip.start, clip.end)


def _pack_shard(
    decode: Callable[[Range, int], Decoded],
    rate: int,
    paths: Sequence[Path],
    items: Sequence[Range],
    given_up: Mapping[int, str],
) -> dict[str, Any]:
    """Decode and write one shard; the errors of its clips are told in its entry."""
    decoded = (
        f"{_name(clip.path)}: {given_up[position]}" if position in given_up else _try(decode, rate, clip)
        for position, clip in enumerate(items)
    )
    return {"clips": write_shard(paths[0], decoded)}


def _probe(decode: Callable[[Range, int], Decoded], rate: int, clip: Range) -> None:
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
