"""Batches for the training loop, read from the pack by a thread while the network computes.

Targets stay pairs of row and column until they are on the device: a batch of 128 patches with 30,871 labels
is 16 MB of zeros, which a thread would write, a GPU fetch and the next step throw away.

Shape letters: B patches, N samples, T windows, D values of an embedding, K classes, P pairs.
"""

import queue
import threading
import time
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from auricle.sampling import PatchSampler
from auricle.shards import Pack

AHEAD = 4  # batches that wait ready


class Batch(NamedTuple):
    """What one step needs from the pack.

    Args:
        inputs: (B, N) int16 waveform, or (B, T, D) float16 embeddings.
        rows: (P,) int64, patch of each target that is not 0.
        columns: (P,) int64, its class.
        values: (P,) float32, the target.
        unknown_rows: (Q,) int64, patch of each target that is not known.
        unknown_columns: (Q,) int64, its class.
        embeddings: (B, T, D) float16, stored beside the waveforms; (B, 0, 0) where there are none.
    """

    inputs: Tensor
    rows: Tensor
    columns: Tensor
    values: Tensor
    unknown_rows: Tensor
    unknown_columns: Tensor
    embeddings: Tensor

    def to(self, device: torch.device) -> "Batch":
        """The same on another device, without waiting for it."""
        return Batch(*(part.to(device, non_blocking=True) for part in self))

    def targets(self, num_classes: int) -> Tensor:
        """(B, K) float32, where the pairs are."""
        dense_BK = torch.zeros(len(self.inputs), num_classes, device=self.values.device)
        return dense_BK.index_put_((self.rows, self.columns), self.values)

    def unknown(self, num_classes: int) -> Tensor:
        """(B, K) bool, where the targets are not known."""
        dense_BK = torch.zeros(len(self.inputs), num_classes, dtype=torch.bool, device=self.values.device)
        return dense_BK.index_put_((self.unknown_rows, self.unknown_columns), dense_BK.new_ones(()))


class Batches:
    """Yields the `Batch` of one step after the other.

    Args:
        pack: where the audio is.
        clips: (M,) the pack's clips that the sampler's numbers stand for.
        sampler: draws what comes at a step: places in samples, or in windows of embeddings.
        samples: N, length of what is read; shorter clips are padded with zeros. With embeddings it is T.
        label_set: which labels.
        steps: the steps to yield, in order.
        embeddings: read these of the pack (`Pack.embeddings`) in place of the audio.
        beside: (C, T) for every clip of the pack the rows of these embeddings that are read beside the audio.
        pin: keep the tensors where a GPU can fetch them.
    """

    def __init__(
        self,
        pack: Pack,
        clips: np.ndarray,
        sampler: PatchSampler,
        *,
        samples: int,
        label_set: str,
        steps: range,
        embeddings: Any = None,
        beside: np.ndarray | None = None,
        pin: bool = False,
    ):
        self._pack, self._clips, self._sampler, self._samples = pack, clips, sampler, samples
        self._label_set, self._steps, self._pin = label_set, steps, pin
        self._embeddings, self._beside = embeddings, beside
        self._ready: queue.Queue[Batch | BaseException] = queue.Queue(AHEAD)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="batches", daemon=True)
        self._waited, self._asked = 0.0, time.monotonic()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def next(self) -> Batch:
        """The batch of the next step; what went wrong in the thread is raised here."""
        before = time.monotonic()
        item = self._ready.get()
        self._waited += time.monotonic() - before
        if isinstance(item, BaseException):
            raise item
        return item

    def waited(self) -> float:
        """Share of the time since this was last asked that `next` stood waiting for the thread."""
        now = time.monotonic()
        share = self._waited / max(now - self._asked, 1e-9)
        self._waited, self._asked = 0.0, now
        return round(share, 4)

    def read(self, step: int) -> Batch:
        """The batch of any step."""
        drawn, offsets = self._sampler.draw(step)
        clips = self._clips[drawn]
        stored = np.zeros((len(clips), 0, 0), np.float16)
        if self._embeddings is not None and self._beside is not None:
            stored = self._embeddings.values[self._beside[clips]]
        if self._embeddings is None or self._beside is not None:
            inputs = self._pack.patches(clips, offsets, self._samples)
        else:
            inputs = embedding_windows(self._embeddings, clips, offsets, self._samples)
        pairs = self._pack.target_pairs(clips, self._label_set, soft=True)
        unknown = self._pack.unknown_pairs(clips, self._label_set)
        batch = Batch(*(torch.from_numpy(part) for part in (inputs, *pairs, *unknown, stored)))
        return Batch(*(part.pin_memory() for part in batch)) if self._pin else batch

    def _work(self) -> None:
        try:
            for step in self._steps:
                self._put(self.read(step))
                if self._stop.is_set():
                    return
        except BaseException as error:  # noqa: BLE001 - raised again where the batch is awaited
            self._put(error)

    def _put(self, item: Batch | BaseException) -> None:
        while not self._stop.is_set():
            try:
                return self._ready.put(item, timeout=0.1)
            except queue.Full:
                continue


def embedding_windows(embeddings: Any, clips: np.ndarray, offsets: np.ndarray, count: int) -> np.ndarray:
    """(B, T, D) float16: `count` windows of each of B clips from window `offsets` on, then zeros.

    >>> from types import SimpleNamespace
    >>> values = np.array([[0.0], [1.0], [2.0]], np.float16)
    >>> of_two_clips = SimpleNamespace(values=values, indptr=np.array([0, 1, 3]))
    >>> embedding_windows(of_two_clips, np.array([0, 1]), np.array([0, 0]), 2)[..., 0].tolist()
    [[0.0, 0.0], [1.0, 2.0]]
    """
    place = offsets[:, None] + np.arange(count)
    starts, ends = embeddings.indptr[clips], embeddings.indptr[clips + 1]
    rows = starts[:, None] + place
    out = embeddings.values[np.minimum(rows, len(embeddings.values) - 1)]
    out[rows >= ends[:, None]] = 0
    return out
