"""Random access to a pack: memory-mapped, no copy until a patch is asked for."""

import json
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from auricle.grids import block_ends
from auricle.remote import address_of, cached_shard, join
from auricle.shards.elsewhere import copy_embeddings, copy_of_pack
from auricle.shards.embedding_sets import Embeddings, open_embeddings, set_names
from auricle.shards.layout import (
    CLIPS,
    FAILURES,
    REMEDY,
    SHARDS,
    grid_file,
    label_file,
    shard_file,
    subset_file,
)
from auricle.shards.manifest import find_damage, read_manifest
from auricle.shards.maps import ShardMaps
from auricle.text import counted

AT_A_TIME_MAPPED = 256  # clips of a batch whose shards are held open together, whoever else is mapped
AT_A_TIME = 1 << 18  # clips that are counted or named at a time, so that memory does not grow with the pack
ALONE = "\x1f"  # before the id of a clip that belongs to no group: no group's name begins so


class Pack:
    """A pack, opened for reading; cheap to open, and to send to another process.

    Args:
        path: the folder that `auricle pack` wrote, or its address elsewhere: then its tables and index are
            copied into the cache at once, and a shard when it is first read.

    Raises:
        ValueError: no pack, an unfinished one, or (also later, as it is read) one with a damaged file.
    """

    def __init__(self, path: str | Path):
        self.address = address_of(path)  # None for a folder of this machine
        self.path = Path(path) if self.address is None else copy_of_pack(self.address)
        self.name = self.address or str(self.path)  # for messages
        self.manifest = read_manifest(self.path)
        self.rate: int = self.manifest["rate"]
        self.fingerprint: str = self.manifest["fingerprint"]
        self.lengths = self._array("samples")  # (N,) int64, samples of each clip
        self.audible = self._array("audible")  # (N,) int64, of these up to the last that is not zero
        self._shards = self._array("shard")
        self._offsets = self._array("offset")
        self._csr: dict[str, np.ndarray] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return Pack, (self.address or self.path,)

    def __len__(self) -> int:
        return len(self.lengths)

    def __repr__(self) -> str:
        return f"Pack({self.name!r}: {counted(len(self), 'clip')}, {self.rate} Hz)"

    @cached_property
    def ids(self) -> np.ndarray:
        """(N,) clip ids."""
        return self._column("id")

    @cached_property
    def splits(self) -> np.ndarray:
        """(N,) splits; "" where there is none."""
        names, codes = self._split_codes()
        # Each name once, however many clips: millions of texts would take a hundred times the room.
        return names[codes]

    def _split_codes(self) -> tuple[np.ndarray, np.ndarray]:
        """Names of splits, and (N,) which of them each clip has."""
        column = self._table(CLIPS, ["split"], read_dictionary=["split"])["split"]
        column = column.unify_dictionaries().combine_chunks()
        return np.array(column.dictionary.to_pylist(), dtype=object), column.indices.to_numpy()

    @cached_property
    def groups(self) -> np.ndarray:
        """(N,) source recording of each clip; "" where the source named none."""
        return self._column("group")

    @cached_property
    def recordings(self) -> np.ndarray:
        """(N,) name of what each clip was cut from: its group, or the clip itself where it has none."""
        groups = self.groups
        alone = np.flatnonzero((groups == "") | (groups == None))  # noqa: E711 - elementwise
        if not len(alone):
            return groups
        names = groups.copy()
        names[alone] = [ALONE + name for name in self.ids[alone].tolist()]
        return names

    def recordings_in_parts(self) -> Iterator[list[str]]:
        """The same names, some thousand at a time: all of millions of clips take gigabytes."""
        import pyarrow.parquet as pq

        try:
            file = pq.ParquetFile(self.path / CLIPS)
        except (FileNotFoundError, ValueError) as error:
            raise self._broken(CLIPS, error) from None
        with file:
            for part in file.iter_batches(AT_A_TIME, columns=["id", "group"]):
                both = zip(part["group"].to_pylist(), part["id"].to_pylist(), strict=True)
                yield [group or ALONE + name for group, name in both]

    def places(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(paths, starts, ends), each (N,): where each clip lies; NaN seconds for a whole recording."""
        table = self._table(CLIPS, ["path", "start", "end"])
        seconds = [table[name].cast("float64").to_numpy().astype(np.float64) for name in ("start", "end")]
        return table["path"].to_numpy(), seconds[0], seconds[1]

    def attributes(self, name: str) -> np.ndarray:
        """(N,) values of a further column of the source, as text; None where a row had none."""
        if name not in self.attribute_names:
            known = ", ".join(self.attribute_names) or "none"
            raise ValueError(f"{self.name}: no attribute {name!r}; there are: {known}")
        return self._attribute_table.field(name).to_numpy(zero_copy_only=False)

    @cached_property
    def attribute_names(self) -> list[str]:
        """Names of the further columns of the source."""
        table = self._attribute_table
        return [] if table is None else [field.name for field in table.type]

    @cached_property
    def _attribute_table(self) -> Any:
        if "attributes" not in self._schema(CLIPS).names:
            return None
        return self._table(CLIPS, ["attributes"])["attributes"].combine_chunks()

    @cached_property
    def failures(self) -> list[dict[str, str]]:
        """Clips of the source that could not be read: id, path, error."""
        return self._table(FAILURES).to_pylist()

    def samples(self, clip: int) -> np.ndarray:
        """(n,) int16: a whole clip, as a read-only view of the mapped file."""
        start = int(self._offsets[clip])
        return self._map(int(self._shards[clip]))[start : start + int(self.lengths[clip])]

    def patch(self, clip: int, offset: int, length: int) -> np.ndarray:
        """(length,) int16 from sample `offset` on, as a view; shorter where the clip ends."""
        if offset < 0 or length < 0:
            raise ValueError(f"offset and length must not be negative, got {offset} and {length}")
        return self.samples(clip)[offset : offset + length]

    def patches(
        self, clips: np.ndarray, offsets: np.ndarray, length: int, out: np.ndarray | None = None
    ) -> np.ndarray:
        """(B, length) int16: one patch for each of B clips, zeros where a clip ends before its patch.

        Args:
            clips: (B,) positions of clips in the pack.
            offsets: (B,) first sample of each patch within its clip.
            length: samples.
            out: (B, length) int16 to write to.

        Raises:
            ValueError: an offset is negative, or `out` has another shape or type.
            IndexError: there is no such clip.
        """
        clips, offsets = np.asarray(clips), np.asarray(offsets)
        if out is None:
            out = np.empty((len(clips), length), dtype=np.int16)
        elif out.shape != (len(clips), length) or out.dtype != np.int16:
            raise ValueError(f"out: expected {(len(clips), length)} int16, got {out.shape} {out.dtype}")
        if offsets.shape != clips.shape or (offsets.size and offsets.min() < 0):
            raise ValueError("offsets: expected one for each clip, none negative")
        if len(clips) > AT_A_TIME_MAPPED:
            for first in range(0, len(clips), AT_A_TIME_MAPPED):
                part = slice(first, first + AT_A_TIME_MAPPED)
                self.patches(clips[part], offsets[part], length, out[part])
            return out
        counts = np.clip(self.lengths[clips] - offsets, 0, length)
        starts = self._offsets[clips] + offsets
        shards = self._shards[clips]
        maps = {int(shard): self._map(shard) for shard in np.unique(shards)}
        if counts.size and counts.min() == length:
            for row, shard, start in zip(out, shards.tolist(), starts.tolist(), strict=True):
                row[:] = maps[shard][start : start + length]
            return out
        for row, shard, start, count in zip(
            out, shards.tolist(), starts.tolist(), counts.tolist(), strict=True
        ):
            row[:count] = maps[shard][start : start + count]
            row[count:] = 0
        return out

    def patch_ends(self, patch: int, hop: int) -> np.ndarray:
        """(ceil(N / 64),) int64: patches of a grid in the first 64, 128, ... clips, up to their last sound.

        Stored with the pack for patches of 0.975 s every 0.96 s; counted, once over all clips, for others and
        in packs of before they were stored.

        Args:
            patch: samples of a patch.
            hop: samples from one to the next.
        """
        name = grid_file(patch, hop)
        return self._load(name) if name in self.manifest["files"] else block_ends(self.audible, patch, hop)

    @property
    def label_sets(self) -> list[str]:
        """Names of the label sets that lie over this audio."""
        return list(self.manifest["label_sets"])

    def label_names(self, label_set: str = "labels") -> list[str]:
        """The ordered labels of a set: the columns of `targets`."""
        self._check_label_set(label_set)
        return json.loads(self._schema(label_file(label_set)).metadata[b"labels"])

    def taxonomy(self, label_set: str = "labels") -> dict[str, Any] | None:
        """The taxonomy that a label set was written with, as `Taxonomy.from_dict` reads it; None without one.

        A view has the taxonomy of the set it is of, also where it lacks some of its labels.
        """
        self._check_label_set(label_set)
        return self.manifest["label_sets"][label_set].get("taxonomy")

    def clip_labels(self, label_set: str = "labels") -> tuple[np.ndarray, np.ndarray]:
        """CSR (indptr, indices): the positive labels of each clip."""
        return self._index(label_set, "indptr"), self._index(label_set, "indices")

    def label_clips(self, label_set: str = "labels") -> tuple[np.ndarray, np.ndarray]:
        """CSR (indptr, clips): the positive clips of each label."""
        return self._index(label_set, "label_indptr"), self._index(label_set, "label_clips")

    def label_index(self, label_set: str, part: str) -> np.ndarray | None:
        """An array of a label set's index, memory-mapped; None where the set has no such part."""
        self._check_label_set(label_set)
        known = self.manifest["label_sets"][label_set]["files"]
        return self._index(label_set, part) if f"index/{label_set}.{part}.npy" in known else None

    def label_counts(self, label_set: str = "labels", clips: np.ndarray | None = None) -> np.ndarray:
        """(K,) int64: how many clips have each label.

        Args:
            label_set: which labels.
            clips: positions of the clips that are counted, each once; None counts all.
        """
        indptr, _ = self.label_clips(label_set)
        if clips is None:
            return np.diff(indptr)
        counts = np.zeros(len(indptr) - 1, dtype=np.int64)
        clips = self.checked_clips(clips)
        for start in range(0, len(clips), AT_A_TIME):
            _, _, labels = self._pairs(clips[start : start + AT_A_TIME], label_set, "indptr", "indices")
            counts += np.bincount(labels, minlength=len(counts))
        return counts

    def checked_clips(self, clips: np.ndarray) -> np.ndarray:
        """(M,) int64: positions of clips, ascending, each once.

        Raises:
            ValueError: one that is not in the pack.
        """
        clips = np.unique(np.asarray(clips, dtype=np.int64))
        if clips.size and not 0 <= clips[0] <= clips[-1] < len(self):
            raise ValueError(
                f"{self.name}: clips are numbered from 0 to {len(self) - 1}, got {clips[0]} to {clips[-1]}"
            )
        return clips

    def targets(self, clips: np.ndarray, label_set: str = "labels", soft: bool = False) -> np.ndarray:
        """(B, K) float32: 1 for the labels of each clip, or its soft scores where there are some.

        Args:
            clips: (B,) positions of clips in the pack.
            label_set: which labels.
            soft: give the soft scores in place of 0 and 1; else 1 is what scores above 0.5 in a soft set.
        """
        rows, columns, values = self.target_pairs(clips, label_set, soft)
        out = np.zeros((len(clips), self.manifest["label_sets"][label_set]["labels"]), dtype=np.float32)
        out[rows, columns] = values
        return out

    def target_pairs(
        self, clips: np.ndarray, label_set: str = "labels", soft: bool = False
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The same as `targets`, sparse: what is not named is 0.

        Args:
            clips: (B,) positions of clips in the pack.
            label_set: which labels.
            soft: give the soft scores in place of 1.

        Returns:
            rows (P,) int64 in [0, B), rising; columns (P,) int64 in [0, K); values (P,) float32.
        """
        self._check_label_set(label_set)
        if soft and self.manifest["label_sets"][label_set]["soft"]:
            rows, positions, columns = self._pairs(clips, label_set, "soft_indptr", "soft_indices")
            values = self._index(label_set, "soft_scores")[positions]
        else:
            rows, _, columns = self._pairs(clips, label_set, "indptr", "indices")
            values = np.ones(len(rows), dtype=np.float32)
        return rows, columns.astype(np.int64), values

    def _pairs(self, clips: np.ndarray, label_set: str, indptr: str, indices: str) -> tuple[np.ndarray, ...]:
        """CSR rows of some clips, flat: row in the batch, position in the index, column."""
        bounds = self._index(label_set, indptr)
        clips = np.asarray(clips, dtype=np.int64)
        counts = bounds[clips + 1] - bounds[clips]
        rows = np.repeat(np.arange(len(clips)), counts)
        within = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
        positions = np.repeat(bounds[clips], counts) + within
        return rows, positions, self._index(label_set, indices)[positions]

    @property
    def embedding_sets(self) -> list[str]:
        """Names of the embedding sets beside this audio, as `auricle embed PACK` makes them."""
        return set_names(self.path)

    def embeddings(self, name: str) -> Embeddings:
        """An embedding set: `.clip(i)` are the windows of clip i, (w, D) float16.

        Raises:
            ValueError: no such set, one that was made on another pack, or a file of it is damaged.
        """
        if self.address is not None:
            copy_embeddings(self.address, self.path, name)
        found = open_embeddings(self.path, name)
        if found.about["pack"] != self.fingerprint:
            raise ValueError(f"{self.name}: embedding set {name!r} was made on another pack; make it again")
        return found

    def unknown(self, clips: np.ndarray, label_set: str = "labels") -> np.ndarray:
        """(B, K) bool: labels of which it is not known whether they hold; False everywhere in most sets."""
        rows, columns = self.unknown_pairs(clips, label_set)
        out = np.zeros((len(clips), self.manifest["label_sets"][label_set]["labels"]), dtype=bool)
        out[rows, columns] = True
        return out

    def unknown_pairs(self, clips: np.ndarray, label_set: str = "labels") -> tuple[np.ndarray, np.ndarray]:
        """The same as `unknown`, sparse: rows (P,) int64 in [0, B), rising; columns (P,) int64 in [0, K)."""
        if self.label_index(label_set, "unknown_indptr") is None:
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        rows, _, columns = self._pairs(clips, label_set, "unknown_indptr", "unknown_indices")
        return rows, columns.astype(np.int64)

    def select(
        self,
        splits: Iterable[str] | None = None,
        where: Mapping[str, tuple[str, ...]] | None = None,
    ) -> np.ndarray:
        """(M,) int64: positions of the clips in some splits, whose attributes have some values.

        Args:
            splits: names of splits; None takes all.
            where: attribute -> the values that are let through.

        Raises:
            ValueError: there is no such split or attribute.
        """
        mask = np.ones(len(self), dtype=bool)
        if splits is not None:
            wanted = {splits} if isinstance(splits, str) else set(splits)
            names, codes = self._split_codes()
            if unknown := sorted(wanted - set(names)):
                raise ValueError(
                    f"{self.name}: no split {unknown[0]!r}; there are: {', '.join(sorted(names))}"
                )
            mask &= np.array([name in wanted for name in names], dtype=bool)[codes]
        for name, values in (where or {}).items():
            allowed = {values} if isinstance(values, str) else set(values)
            mask &= np.fromiter((value in allowed for value in self.attributes(name)), bool, len(self))
        return np.flatnonzero(mask)

    @property
    def subset_names(self) -> list[str]:
        """Names of the subsets of clips that lie in this pack."""
        return list(self.manifest.get("subsets", {}))

    def subset(self, name: str) -> np.ndarray:
        """(M,) int64: positions of the clips of a subset, ascending.

        Raises:
            ValueError: there is no such subset.
        """
        if name not in self.manifest.get("subsets", {}):
            raise ValueError(
                f"{self.name}: no subset {name!r}; there are: {', '.join(self.subset_names) or 'none'}"
            )
        return self._load(subset_file(name))

    def verify(self) -> list[str]:
        """Read every file again and compare checksums; one line for each that is missing or damaged."""
        return find_damage(self.path, self.manifest, read=True, address=self.address or "")

    def _column(self, name: str) -> np.ndarray:
        return self._table(CLIPS, [name])[name].to_numpy()

    def _table(self, name: str, columns: list[str] | None = None, **options: Any) -> Any:
        import pyarrow.parquet as pq

        try:
            return pq.read_table(self.path / name, columns=columns, **options)
        except (FileNotFoundError, ValueError) as error:
            raise self._broken(name, error) from None

    def _schema(self, name: str) -> Any:
        import pyarrow.parquet as pq

        try:
            return pq.read_schema(self.path / name)
        except (FileNotFoundError, ValueError) as error:
            raise self._broken(name, error) from None

    def _array(self, name: str) -> np.ndarray:
        return self._load(f"index/{name}.npy")

    def _load(self, file: str) -> np.ndarray:
        try:
            # A plain array over the mapping: slices of np.memmap cost three times as much.
            return np.asarray(np.load(self.path / file, mmap_mode="r")).view(np.ndarray)
        except (FileNotFoundError, EOFError, ValueError) as error:
            raise self._broken(file, error) from None

    def _broken(self, name: str, error: Exception) -> ValueError:
        cause = "missing" if isinstance(error, FileNotFoundError) else f"damaged ({error})"
        where = self.path / name if self.address is None else join(self.address, name)
        return ValueError(f"{where}: {cause}; {REMEDY}")

    def _index(self, label_set: str, part: str) -> np.ndarray:
        name = f"{label_set}.{part}"
        if name not in self._csr:
            self._check_label_set(label_set)
            self._csr[name] = self._array(name)
        return self._csr[name]

    def _check_label_set(self, label_set: str) -> None:
        if label_set not in self.manifest["label_sets"]:
            raise ValueError(
                f"{self.name}: no label set {label_set!r}; there are: {', '.join(self.label_sets)}"
            )

    @cached_property
    def _maps(self) -> ShardMaps:
        if "shards" in self.manifest:  # packs of before the table of shards
            sizes = np.array([shard["bytes"] for shard in self.manifest["shards"]], dtype=np.int64)
        else:
            sizes = self._array("shard_bytes")
        return ShardMaps(self.path, sizes, None if self.address is None else self._fetch_shard)

    def _fetch_shard(self, shard: int) -> Path:
        assert self.address is not None
        return cached_shard(
            join(self.address, shard_file(shard)), int(self._maps.sizes[shard]), self._checksums[shard]
        )

    @cached_property
    def _checksums(self) -> list[str]:
        if "shards" in self.manifest:
            return [shard["blake2b"] for shard in self.manifest["shards"]]
        return self._table(SHARDS, ["blake2b"])["blake2b"].to_pylist()

    def _map(self, shard: int) -> np.ndarray:
        try:
            return self._maps[shard]
        except (FileNotFoundError, ValueError) as error:
            raise self._broken(shard_file(shard), error) from None
