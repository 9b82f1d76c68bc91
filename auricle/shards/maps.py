"""Shards as memory-mapped arrays, some hundred at a time: a pack may have more than may be open at once."""

from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import numpy as np

from auricle.shards.layout import shard_file

# Each mapping holds a file open, and 1,024 open files are a usual limit. A pack of less than 80 GB or so has
# fewer shards than this (see source.py): then none is ever mapped twice.
MOST_MAPS = 600


class ShardMaps:
    """The shards of a pack, each mapped when it is first read; the longest mapped makes way for another.

    Args:
        path: the pack's folder.
        sizes: (S,) bytes of each shard.
        fetch: of a pack elsewhere: shard -> its copy on this machine.
    """

    def __init__(self, path: Path, sizes: np.ndarray, fetch: Callable[[int], Path] | None = None):
        self.path, self.fetch = path, fetch
        self.sizes = sizes
        self._maps: OrderedDict[int, np.ndarray] = OrderedDict()

    def __getitem__(self, shard: int) -> np.ndarray:
        """A shard as int16 words, read-only.

        Raises:
            FileNotFoundError: it is missing.
            ValueError: it has not its size.
        """
        mapped = self._maps.get(shard)
        if mapped is None:
            file = self.path / shard_file(shard) if self.fetch is None else self.fetch(shard)
            size = int(self.sizes[shard])
            if (found := file.stat().st_size) != size:
                raise ValueError(f"it has {found} bytes of {size}")
            # A plain array over the mapping: slices of np.memmap cost three times as much.
            mapped = np.asarray(np.memmap(file, dtype=np.int16, mode="r", shape=(size // 2,))).view(
                np.ndarray
            )
            while len(self._maps) >= MOST_MAPS:
                self._maps.popitem(last=False)  # one step, so that threads may share a pack
            self._maps[shard] = mapped
        return mapped
