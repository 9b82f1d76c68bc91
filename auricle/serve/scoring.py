"""One model for all clients: their windows are gathered into its batches, and every score stays what it is.

A model's runner fills every batch up to one shape, so that a window's neighbours do not change its score (see
`auricle.runners.load_runner`). One thread has the runner; whoever wants windows scored waits for it.

Shape letters: B windows, N samples of a window, K classes, E embedding.
"""

import threading
import time
from collections import deque

import numpy as np

from auricle.artifact import Artifact
from auricle.runners import load_runner
from auricle.runners.windows import check_windows
from auricle.tagging import BATCH

JOIN_SECONDS = 10.0  # a batch takes a fraction of a second


class ScorerClosed(Exception):
    """The service ends: nothing is scored any more."""


class Scorer:
    """A model that any number of threads may ask.

    Windows are taken in the order in which they were asked for, across clients: each of these has at most a
    batch of them waiting, so nobody waits for another's long recording.

    Args:
        artifact: the model.
        threads: processor threads; None takes every core.

    Raises:
        ValueError, ModuleNotFoundError: as `load_runner`.

    >>> from auricle.artifact import load_artifact
    >>> scorer = Scorer(load_artifact("default"), threads=1)  # doctest: +SKIP
    >>> Tagger(runner=scorer.runner()).tag("dog.wav")  # doctest: +SKIP
    """

    def __init__(self, artifact: Artifact, *, threads: int | None = None):
        self.artifact = artifact
        self.windows = self.batches = 0  # scored so far
        self._runner = load_runner(artifact, threads=threads, batch=BATCH)
        self._asked: deque[_Request] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._began: float | None = None  # of the batch that is being scored
        self._thread = threading.Thread(target=self._work, name="auricle-score", daemon=True)
        self._thread.start()

    def runner(self) -> "SharedRunner":
        """A runner of the model, for one client: `Tagger(runner=scorer.runner())`."""
        return SharedRunner(self)

    def run(self, waveforms_BN: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(B, N) float32 -> logits (B, K) and embeddings (B, E), float32; waits until they are there.

        Raises:
            ValueError: the waveforms are not (B, N).
            ScorerClosed: the service ends.
        """
        check_windows(waveforms_BN, self.artifact.window)
        request = _Request(waveforms_BN)
        if not len(waveforms_BN):
            return self._runner.run(waveforms_BN)
        with self._changed:
            if self._closed:
                raise ScorerClosed("the service ends")
            self._asked.append(request)
            self._changed.notify()
        request.done.wait()
        if request.error is not None:
            raise request.error
        return np.concatenate(request.logits), np.concatenate(request.embeddings)

    @property
    def alive(self) -> bool:
        """Whether what is asked for will be scored."""
        return self._thread.is_alive() and not self._closed

    @property
    def busy_seconds(self) -> float:
        """How long the batch that is being scored has taken so far."""
        began = self._began
        return 0.0 if began is None else time.monotonic() - began

    @property
    def fill(self) -> tuple[int, int]:
        """Windows scored so far, and the batches they came in."""
        return self.windows, self.batches

    def close(self) -> None:
        """Score nothing more; who waits is told."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(JOIN_SECONDS)

    def _work(self) -> None:
        while (parts := self._gathered()) is not None:
            rows = [request.waveforms[start:stop] for request, start, stop in parts]
            self._began = time.monotonic()
            try:
                logits, embeddings = self._runner.run(np.concatenate(rows))
            except Exception as error:  # whatever it is, those who wait are the ones to hear of it
                for request, _, _ in parts:
                    request.fail(error)
                continue
            finally:
                self._began = None
            self.windows += len(logits)
            self.batches += 1
            place = 0
            for request, start, stop in parts:
                upto = place + stop - start
                request.give(logits[place:upto], embeddings[place:upto])
                place = upto
        with self._changed:
            for request in self._asked:
                request.fail(ScorerClosed("the service ends"))
            self._asked.clear()

    def _gathered(self) -> "list[tuple[_Request, int, int]] | None":
        """Windows for the next batch: whose they are, from which to which; None at the end."""
        with self._changed:
            while not self._asked and not self._closed:
                self._changed.wait()
            if self._closed:
                return None
            parts, free = [], BATCH
            while self._asked and free:
                request = self._asked[0]
                start = request.taken
                request.taken = min(len(request.waveforms), start + free)
                free -= request.taken - start
                parts.append((request, start, request.taken))
                if request.taken == len(request.waveforms):
                    self._asked.popleft()
            return parts


class SharedRunner:
    """What a client of a `Scorer` has: a runner as `auricle.runners.load_runner` gives it."""

    def __init__(self, scorer: Scorer):
        self.artifact, self.batch = scorer.artifact, BATCH
        self._scorer = scorer

    def run(self, waveforms_BN: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `Scorer.run`."""
        return self._scorer.run(waveforms_BN)


class _Request:
    """Windows that somebody waits for."""

    def __init__(self, waveforms_BN: np.ndarray):
        self.waveforms = waveforms_BN
        self.taken = self.given = 0
        self.logits: list[np.ndarray] = []
        self.embeddings: list[np.ndarray] = []
        self.error: Exception | None = None
        self.done = threading.Event()

    def give(self, logits: np.ndarray, embeddings: np.ndarray) -> None:
        self.logits.append(logits)
        self.embeddings.append(embeddings)
        self.given += len(logits)
        if self.given == len(self.waveforms):
            self.done.set()

    def fail(self, error: Exception) -> None:
        self.error = error
        self.done.set()
        self.taken = len(self.waveforms)
