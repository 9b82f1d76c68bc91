"""Examples of somebody's own classes: recordings, what is heard in them, which belong together, embedded.

Shape letters: N clips, K labels, W windows of all clips, D values of an embedding.
"""

import dataclasses
import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from auricle.datasets import Clip, open_corpus
from auricle.embedding import gives, pack_embeddings
from auricle.engine import pack
from auricle.own_classes.copies import join_copies
from auricle.remote import address_of, join, look_up
from auricle.runners import load_runner
from auricle.shards import Pack
from auricle.shards.contents import sound_hashes
from auricle.shards.layout import MANIFEST

MADE_OF = "examples"  # of a pack's manifest: what it was made of
FOLDERS = "folders"  # the reader of a folder of folders named by class


@dataclass(frozen=True, kw_only=True)
class Examples:
    """Clips of a pack that teach and judge.

    Args:
        pack: where they are.
        clips: (N,) their positions in it.
        labels: K names, in the order of the columns.
        targets: (N, K) bool.
        kind: "one": no clip has more than one label; or "several".
        recordings: (N,) name of what each was cut from.
        splits: (N,) of the pack.
        label_set: of the pack.
        sounds: (N,) equal where clips are the same sound, whose recordings then have one name; none where
            nobody looked.
    """

    pack: Pack
    clips: np.ndarray
    labels: tuple[str, ...]
    targets: np.ndarray
    kind: str
    recordings: np.ndarray
    splits: np.ndarray
    label_set: str
    sounds: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0, np.uint64))

    @property
    def softmax_targets(self) -> np.ndarray:
        """(N, K) as the classifier learns them; of "one", a further column where clips have no label."""
        none = ~self.targets.any(axis=1, keepdims=True)
        return np.hstack([self.targets, none]) if self.kind == "one" and none.any() else self.targets


def open_examples(
    source: str | Path,
    folder: Path,
    *,
    rate: int,
    kind: str = "auto",
    background: str = "",
    label_set: str = "labels",
    splits: Sequence[str] = (),
    in_folds: bool = False,
    quiet: bool = False,
) -> Examples:
    """What somebody gave as examples, as clips of a pack.

    Args:
        source: a folder of folders named by class, a manifest, whatever else `auricle pack` takes; or a pack.
        folder: where the pack is made, if the source is none; made anew where the examples have changed.
        rate: Hz, of the model that hears them.
        kind: "one" label a clip, "several", or "auto": several where a clip has more than one.
        background: a class that is no label: its clips are examples of none of the others.
        label_set: of the pack.
        splits: only clips of these; all at first.
        in_folds: they are to be judged by folds of recordings.
        quiet: show no progress.

    Raises:
        ValueError: no such source; fewer than two things to tell apart; a class without a clip that could be
            read; kind "one" where a clip has several labels; a background or split that is not there; a
            single recording that is to make folds.
    """
    if is_pack(source):
        opened = Pack(source)
    else:
        opened = _packed(source, folder, rate, in_folds, quiet)
    clips = opened.select(splits) if splits else np.arange(len(opened))
    recordings = opened.recordings[clips].astype(str)
    if in_folds:
        _refuse_one_recording(recordings.tolist())
    names, targets = opened.label_names(label_set), opened.targets(clips, label_set).astype(bool)
    if background:
        if background not in names:
            known = ", ".join(names[:20])
            raise ValueError(f"background is {background!r}, which is no label of {source}: {known}")
        targets = np.delete(targets, names.index(background), axis=1)
        names = [name for name in names if name != background]
    heard = np.asarray(targets.any(axis=0))
    names = [name for name, there in zip(names, heard, strict=True) if there]
    targets = targets[:, heard]
    most = int(targets.sum(axis=1).max(initial=0))
    if kind == "auto":
        kind = "one" if most <= 1 else "several"
    elif kind == "one" and most > 1:
        clip = opened.ids[clips[int(targets.sum(axis=1).argmax())]]
        raise ValueError(f"kind is one label a clip, but {clip} has {most}; set kind=several")
    silent = bool((~targets.any(axis=1)).any())
    if len(names) + silent < 2:
        raise ValueError(
            f"{source}: {', '.join(names) or 'no class'}, and nothing to tell it from; add a folder of other "
            "sounds, and name it with --set background=NAME where it is no class of its own"
        )
    sounds = sound_hashes(opened, clips)
    recordings = join_copies(recordings, sounds)
    if in_folds:
        _refuse_one_recording(recordings.tolist())
    return Examples(
        pack=opened,
        clips=clips,
        labels=tuple(names),
        targets=targets,
        kind=kind,
        recordings=recordings,
        splits=opened.splits[clips].astype(str),
        label_set=label_set,
        sounds=sounds,
    )


def is_pack(source: str | Path) -> bool:
    """Whether a pack lies there.

    >>> is_pack("no-such-folder")
    False
    """
    if (address := address_of(source)) is not None:
        return look_up(join(address, MANIFEST)) is not None
    return (Path(source) / MANIFEST).is_file()


def _refuse_one_recording(names: Sequence[str]) -> None:
    if len(names) > 1 and len(set(names)) == 1:
        raise ValueError(
            "all clips are of one recording, so no fold can be kept from it: --set folds=0 trains without a "
            "report"
        )


def _packed(source: str | Path, folder: Path, rate: int, in_folds: bool, quiet: bool) -> Pack:
    reader, clips = open_corpus(source)
    if reader == FOLDERS:
        clips = [by_folder(clip) for clip in clips]
    if in_folds:  # before anything is decoded
        _refuse_one_recording([clip.group or f"{MADE_OF}/{clip.id}" for clip in clips])
    about = {MADE_OF: digest_of(clips, rate)}
    if (folder / MANIFEST).is_file():
        before = Pack(folder).manifest.get(MADE_OF)
        if before is not None and before != about[MADE_OF]:  # made here, of examples as they were then
            shutil.rmtree(folder)
    pack(clips, folder, rate=rate, jobs=None if len(clips) > 500 else 1, quiet=quiet, about=about)
    opened = Pack(folder)
    lost = {failure["id"] for failure in opened.failures}
    gone = {label for clip in clips for label in clip.labels}
    gone -= {label for clip in clips if clip.id not in lost for label in clip.labels}
    if gone:
        why = opened.failures[0]
        raise ValueError(
            f"{source}: no recording of {', '.join(sorted(gone)[:3])} could be read, e.g. {why['error']}"
        )
    return opened


def digest_of(clips: Sequence[Clip], rate: int) -> str:
    """What tells these clips from others, and from the same files as they were before.

    >>> digest_of([Clip(id="a", path="no-such-file")], 16000) != digest_of([Clip(id="a", path="b")], 16000)
    True
    """
    digest = hashlib.blake2b(str(rate).encode(), digest_size=16)
    for clip in clips:
        path = Path(clip.path)
        stat = path.stat() if path.is_file() else None
        digest.update(repr((clip, stat and (stat.st_size, stat.st_mtime_ns))).encode())
    return digest.hexdigest()


def by_folder(clip: Clip) -> Clip:
    """A clip of a folder of classes whose group is the folder below the class, where it lies in one.

    CLASS/RECORDING/1.wav and CLASS/RECORDING/2.wav are parts of one recording, CLASS/1.wav is one.

    >>> by_folder(Clip(id="owl/night/1.wav", path="1.wav", labels=("owl",), group="owl/night/1.wav")).group
    'owl/night'
    """
    parts = clip.id.split("/")
    below = len(parts) - 2 - parts.index(clip.labels[0])
    return dataclasses.replace(clip, group="/".join(parts[:-1])) if below > 0 else clip


def embed_examples(
    examples: Examples, embedder: Any, *, stored: str = "", threads: int | None = None, quiet: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings of all windows of the clips, and whose they are.

    Args:
        examples: N clips.
        embedder: an artifact.
        stored: an embedding set of the pack; "": one that this model made, if there is one, else it is asked.
        threads: of the runner.
        quiet: show no progress.

    Returns:
        (W, D) float32, and (W,) the clip of each, 0 to N - 1, rising.

    Raises:
        ValueError: the set is of another model, or of one embedding a clip; a clip has none.
    """
    sets = [stored] if stored else examples.pack.embedding_sets
    for name in sets:
        found = examples.pack.embeddings(name)
        usable = found.about.get("pooling") != "mean" and gives(embedder, found.about)
        if stored and not usable:
            raise ValueError(
                f"{examples.pack.name}: embedding set {stored!r} was made by {found.about['model']}, "
                f"which is not {embedder.name} as it is here (or with --hop or --clips); leave out embeddings"
            )
        if usable:
            rows = [found.clip(int(clip)) for clip in examples.clips]
            break
    else:
        runner = load_runner(embedder, threads=threads, batch=64)
        made = pack_embeddings(runner, examples.pack, part=examples.clips.tolist(), quiet=quiet)
        rows = [row.embeddings for row in made]
    counts = np.array([len(row) for row in rows])
    if not counts.all():
        raise ValueError(f"clip {examples.pack.ids[examples.clips[int(counts.argmin())]]} has no embedding")
    return np.concatenate(rows).astype(np.float32), np.repeat(np.arange(len(rows)), counts)
