"""Scenes, planned and mixed: a pack of single sounds -> a pack of scenes with the truth about them beside it.

The plan is made whole and written into the new pack before anything is mixed; then the scenes are "decoded"
by the packing engine, which calls `mix` for each. Mixing goes by the plan's rows alone.
"""

import hashlib
import json
import shutil
from collections.abc import Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from auricle.datasets import Clip
from auricle.datasets.scene_recipe import FADE, LOOP_FADE, NOISE_PEAK, SceneRecipe, SceneSplit, Sources
from auricle.datasets.scenes import plan_scenes
from auricle.engine.packing import Range, pack
from auricle.progress import Progress
from auricle.shards.reader import Pack, find_damage
from auricle.shards.writer import Decoded, to_int16

EVENTS = "events.parquet"
FRAMES_PER_SECOND = 100
FULL_SCALE = 32768.0
SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("event", pa.int32()),
        ("kind", pa.string()),
        ("label", pa.string()),
        ("onset", pa.float64()),
        ("offset", pa.float64()),
        ("source", pa.string()),
        ("source_group", pa.string()),
        ("source_onset", pa.float64()),
        ("source_seconds", pa.float64()),
        ("level_db", pa.float64()),
        ("gain_db", pa.float64()),
        ("background", pa.bool_()),
        ("noise", pa.string()),
    ]
)


def make_scenes(
    source: str | Path,
    out: str | Path,
    splits: Sequence[SceneSplit],
    recipe: SceneRecipe | None = None,
    *,
    label_set: str = "labels",
    jobs: int | None = None,
    verify: bool = False,
    quiet: bool = False,
) -> dict[str, Any]:
    """Mix scenes from the clips of a pack into a new pack of the same rate, with `events.parquet` in it.

    Killed at any moment, the same call goes on where it was. The bytes written do not depend on `jobs`.

    Args:
        source: a pack whose clips have one label each; clips without one are left out.
        out: the new pack's folder.
        splits: which scenes, from which of the source's splits.
        recipe: how they are mixed.
        label_set: the source's labels to go by.
        jobs: number of processes; by default one for each core.
        verify: read everything again and compare checksums.
        quiet: show no progress.

    Returns:
        What `pack` returns, and `mixed_from` as it stands in the manifest.

    Raises:
        ValueError: as `plan_scenes` and `pack`; a damaged source; too little room on the disk.

    >>> make_scenes("out/pack", "out/scenes",
    ...             [SceneSplit(name="train", sources=("train",), scenes=1000)])  # doctest: +SKIP
    """
    source, out = Path(source), Path(out)
    recipe = recipe or SceneRecipe()
    if source.resolve() in (out.resolve(), *out.resolve().parents):
        which = "is" if source.resolve() == out.resolve() else "lies in"
        raise ValueError(f"{out}: {which} the source itself; give the scenes a folder of their own")
    clips = Pack(source)
    if damage := find_damage(source, clips.manifest, read=False):
        raise ValueError(f"{source}: {damage[0]}")
    plan = plan_scenes(measure(clips, label_set, quiet=quiet), splits, recipe)
    _check_room(out, len(plan.scenes) * round(recipe.seconds * clips.rate) * 2)
    mixed_from = {
        "heading": f"Scenes mixed from recordings of {clips.manifest['source']}",
        "source": clips.manifest["source"],
        "fingerprint": clips.fingerprint,
        "label_set": label_set,
        "recipe": recipe.as_dict(),
        "splits": plan.report,
        "plan": hashlib.blake2b(json.dumps(plan.events).encode(), digest_size=16).hexdigest(),
    }
    scenes = [_at(out, scene) for scene in plan.scenes]
    rows = [row | {"background": row["kind"] != "foreground"} for row in plan.events]
    report = pack(
        scenes,
        out,
        rate=clips.rate,
        jobs=jobs,
        verify=verify,
        quiet=quiet,
        decode=partial(mix, str(source.absolute()), str((out / EVENTS).absolute())),
        about={"mixed_from": mixed_from},
        tables={EVENTS: pa.Table.from_pylist(rows, schema=SCHEMA)},
    )
    return report | {"mixed_from": mixed_from}


def _at(out: Path, scene: Clip) -> Clip:
    return Clip(
        id=scene.id,
        path=str(out / scene.id),  # no file: the name by which `mix` finds its rows
        end=scene.end,
        labels=scene.labels,
        split=scene.split,
        group=scene.group,
        attributes=scene.attributes,
    )


def _check_room(out: Path, needed: int) -> None:
    there = sum(file.stat().st_size for file in out.glob("shards/*"))  # of a run that was killed
    parent = out.absolute()
    while not parent.exists():
        parent = parent.parent
    free = shutil.disk_usage(parent).free
    if needed > free + there:
        raise ValueError(
            f"{out}: the scenes need {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free on its disk; "
            "make room, or ask for fewer or shorter scenes"
        )


def measure(clips: Pack, label_set: str = "labels", *, quiet: bool = True) -> Sources:
    """Power and peak of every 10 ms of every clip, exact: sums of integers.

    Samples after the last full frame are left out.

    Args:
        clips: a pack.
        label_set: which labels the clips get.
        quiet: show no progress.

    >>> measure(Pack("out/pack")).hop  # doctest: +SKIP
    160
    """
    hop = clips.rate // FRAMES_PER_SECOND
    names = clips.label_names(label_set)
    bounds, columns = clips.clip_labels(label_set)
    powers, peaks, rows = [], [], []
    counts = np.zeros(len(clips) + 1, dtype=np.int64)
    facts = zip(clips.ids.tolist(), clips.splits.tolist(), clips.groups.tolist(), strict=True)
    with Progress(len(clips), "measuring", "clips", quiet=quiet) as progress:
        for index, (name, split, group) in enumerate(facts):
            pcm = clips.samples(index)
            frames = pcm[: len(pcm) // hop * hop].reshape(-1, hop).astype(np.float64)
            powers.append(np.einsum("fs,fs->f", frames, frames) / (hop * FULL_SCALE**2))
            peaks.append(np.abs(frames).max(axis=1) / FULL_SCALE)
            counts[index + 1] = len(frames)
            own = tuple(names[column] for column in columns[bounds[index] : bounds[index + 1]])
            rows.append(Clip(id=name, path=name, labels=own, split=split, group=group or ""))
            progress.advance()
    return Sources(
        clips=rows,
        rate=clips.rate,
        hop=hop,
        power=np.concatenate(powers),
        peak=np.concatenate(peaks),
        indptr=np.cumsum(counts),
    )


def mix(source: str, events: str, scene: Range, rate: int) -> Decoded:
    """One scene as its rows of the plan say: the sum of stretches of clips, each with fades and a gain.

    Args:
        source: the pack of single sounds.
        events: the plan, `events.parquet`.
        scene: its name is the last part of its path.
        rate: Hz, that of the source.

    >>> mix("out/pack", "out/scenes/events.parquet",
    ...     Range("train-000000", None, 10.0), 16000).pcm.shape  # doctest: +SKIP
    (160000,)
    """
    clips, index, rows, places = _opened(source, events)
    name = Path(scene.path).name
    assert scene.end is not None
    mixed = np.zeros(round(scene.end * rate), dtype=np.float32)
    for row in range(*places.get(name, (0, 0))):
        event = {key: column[row] for key, column in rows.items()}
        start, end = round(event["onset"] * rate), round(event["offset"] * rate)
        gain = np.float32(10 ** (event["gain_db"] / 20))
        if event["kind"] == "noise":
            mixed[start:end] += gain * noise(event["noise"], end - start, f"{event['id']} {event['noise']}")
            continue
        first, length = round(event["source_onset"] * rate), round(event["source_seconds"] * rate)
        stretch = clips.patch(index[event["source"]], first, length) * (gain / np.float32(FULL_SCALE))
        if event["kind"] == "background":
            fade = round(LOOP_FADE * FRAMES_PER_SECOND) * (rate // FRAMES_PER_SECOND)
            for at in range(start, end, length - fade):
                mixed[at : at + length] += faded(stretch[: end - at], fade)
        else:
            mixed[start:end] += faded(stretch, round(FADE * rate))
    pcm, clipped = to_int16(mixed)
    return Decoded(pcm=pcm, clipped=clipped, warnings=[])


@lru_cache(maxsize=1)
def _opened(source: str, events: str) -> tuple[Pack, dict[str, int], dict[str, Any], dict[str, Any]]:
    """The source, where its clips are, the plan's columns, and each scene's rows among them."""
    clips = Pack(source)
    table = pq.read_table(events)
    rows = {name: table[name].to_pylist() for name in table.column_names}
    places: dict[str, tuple[int, int]] = {}
    for row, name in enumerate(rows["id"]):
        places[name] = (places.get(name, (row, row))[0], row + 1)
    return clips, {name: index for index, name in enumerate(clips.ids.tolist())}, rows, places


def faded(sound: np.ndarray, fade: int) -> np.ndarray:
    """(N,) sound with its first and last `fade` samples faded by a quarter of a sine: power sums to one.

    >>> faded(np.ones(6), 2).round(2).tolist()
    [0.38, 0.92, 1.0, 1.0, 0.92, 0.38]
    """
    fade = min(fade, len(sound) // 2)
    ramp = np.sin((np.arange(fade) + 0.5) * (np.pi / 2 / max(fade, 1))).astype(sound.dtype)
    out = sound.copy()
    out[:fade] *= ramp
    out[len(out) - fade :] *= ramp[::-1]
    return out


def noise(colour: str, samples: int, name: str) -> np.ndarray:
    """(samples,) float32 noise with RMS 1 and no sample beyond 4, drawn by a name.

    White is flat over frequency, pink falls by 3 dB and brown by 6 dB an octave above 20 Hz or so.

    >>> noise("pink", 16000, "train-000001").shape
    (16000,)
    """
    from scipy.fft import irfft  # NumPy's knows no single precision, which takes half the time

    seed = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest())
    generator = np.random.default_rng(seed)
    if colour == "white":
        sound = generator.standard_normal(samples, dtype=np.float32)
    else:
        bins = samples // 2 + 1
        spectrum = generator.standard_normal(2 * bins, dtype=np.float32).view(np.complex64)
        lowest = max(bins // 400, 1)  # flat below, so that the level is not spent on what nobody hears
        slope = np.maximum(np.arange(bins, dtype=np.float32), lowest)
        spectrum /= np.sqrt(slope) if colour == "pink" else slope
        spectrum[0] = 0.0
        sound = irfft(spectrum, samples)
    sound *= np.float32(1 / np.sqrt(np.mean(np.square(sound), dtype=np.float64)))
    return np.clip(sound, -NOISE_PEAK, NOISE_PEAK)
