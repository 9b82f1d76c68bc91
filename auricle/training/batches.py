"""Batches for the training loop, read from the pack by a thread while the network computes."""

import queue
import threading
from types import TracebackType
from typing import Self

import numpy as np
import torch
from torch import Tensor

from auricle.sampling import PatchSampler
from auricle.shards import Pack

AHEAD = 4  # batches that wait ready


class Batches:
    """Yields (waveform (B, N) int16, targets (B, K) float32) of one step after the other.

    Args:
        pack: where the audio is.
        clips: (M,) the pack's clips that the sampler's numbers stand for.
        sampler: draws what comes at a step.
        samples: N, length of what is read; shorter clips are padded with zeros.
        label_set: which labels.
        steps: the steps to yield, in order.
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
        pin: bool = False,
    ):
        self._pack, self._clips, self._sampler, self._samples = pack, clips, sampler, samples
        self._label_set, self._steps, self._pin = label_set, steps, pin
        self._ready: queue.Queue[tuple[Tensor, Tensor] | BaseException] = queue.Queue(AHEAD)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="batches", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def next(self) -> tuple[Tensor, Tensor]:
        """The batch of the next step; what went wrong in the thread is raised here."""
        item = self._ready.get()
        if isinstance(item, BaseException):
            raise item
        return item

    def read(self, step: int) -> tuple[Tensor, Tensor]:
        """The batch of any step."""
        drawn, offsets = self._sampler.draw(step)
        clips = self._clips[drawn]
        waveform = torch.from_numpy(self._pack.patches(clips, offsets, self._samples))
        targets = torch.from_numpy(self._pack.targets(clips, self._label_set, soft=True))
        return (waveform.pin_memory(), targets.pin_memory()) if self._pin else (waveform, targets)

    def _work(self) -> None:
        try:
            for step in self._steps:
                self._put(self.read(step))
                if self._stop.is_set():
                    return
        except BaseException as error:  # noqa: BLE001 - raised again where the batch is awaited
            self._put(error)

    def _put(self, item: tuple[Tensor, Tensor] | BaseException) -> None:
        while not self._stop.is_set():
            try:
                return self._ready.put(item, timeout=0.1)
            except queue.Full:
                continue
