"""The scorer that all clients share: the same bits as alone, and nobody's mistake is another's."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_model

from auricle.artifact import load_artifact
from auricle.runners import load_runner
from auricle.serve.scoring import Scorer, ScorerClosed
from auricle.tagging import BATCH

WINDOW = tiny_model.WINDOW


@pytest.fixture
def scorer(model: Path) -> Iterator[Scorer]:
    scorer = Scorer(load_artifact(model), threads=1)
    yield scorer
    scorer.close()
    assert not any(thread.name == "auricle-score" for thread in threading.enumerate())


class Held:
    """A runner that waits before each batch until it is let go, and notes what it was given."""

    def __init__(self, scorer: Scorer):
        self.inner, self.go, self.sizes = scorer._runner, threading.Semaphore(0), list[int]()
        scorer._runner = self

    def run(self, waveforms: np.ndarray) -> Any:
        self.go.acquire()
        self.sizes.append(len(waveforms))
        if (waveforms == 99).any():
            raise ValueError("broken")
        return self.inner.run(waveforms)


def noise(seed: int, windows: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (windows, WINDOW)).astype(np.float32)


def test_windows_of_many_clients_score_as_alone_to_the_last_bit(scorer: Scorer) -> None:
    alone = load_runner(scorer.artifact, threads=1, batch=BATCH)
    assert scorer._runner.batch == scorer.runner().batch == BATCH  # the shape that the command line takes
    asked = [noise(seed, 1 + seed % 7) for seed in range(60)]
    with ThreadPoolExecutor(16) as pool:
        given = list(pool.map(scorer.runner().run, asked))
    for waveforms, (logits, embeddings) in zip(asked, given, strict=True):
        expected = alone.run(waveforms)
        assert np.array_equal(logits, expected[0]) and np.array_equal(embeddings, expected[1])
    windows, batches = scorer.fill
    assert windows == sum(map(len, asked)) and batches < len(asked) * 7 / 4


def test_windows_that_wait_are_gathered_into_full_batches(scorer: Scorer) -> None:
    held = Held(scorer)
    with ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(scorer.run, noise(0, 1))]
        while not scorer._began:  # the first is being scored while the others come
            pass
        waiting += [pool.submit(scorer.run, noise(seed, size)) for seed, size in enumerate((3, 3, 1, 2, 4))]
        while len(scorer._asked) < 5:
            pass
        held.go.release(10)
        shapes = [len(future.result()[0]) for future in waiting]
    assert shapes == [1, 3, 3, 1, 2, 4]
    assert held.sizes == [1, 4, 4, 4, 1]


def test_an_error_of_the_model_reaches_those_whose_windows_were_in_the_batch_and_no_others(
    scorer: Scorer,
) -> None:
    held = Held(scorer)
    held.go.release(10)
    with pytest.raises(ValueError, match="broken"):
        scorer.run(np.full((2, WINDOW), 99, np.float32))
    assert scorer.alive and len(scorer.run(noise(1, 2))[0]) == 2


def test_waveforms_of_another_length_are_refused_before_they_wait(scorer: Scorer) -> None:
    with pytest.raises(ValueError, match="expected waveforms"):
        scorer.run(np.zeros((1, 3), np.float32))


def test_no_windows_are_no_scores(scorer: Scorer) -> None:
    logits, embeddings = scorer.run(np.zeros((0, WINDOW), np.float32))
    assert logits.shape == (0, 3) and embeddings.shape == (0, 4)


def test_a_closed_scorer_tells_those_who_wait(scorer: Scorer) -> None:
    held = Held(scorer)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(scorer.run, noise(0, 1))
        while not scorer._began:
            pass
        second = pool.submit(scorer.run, noise(1, 1))
        while not scorer._asked:
            pass
        closing = threading.Thread(target=scorer.close)
        closing.start()
        held.go.release(10)
        closing.join()
        assert len(first.result()[0]) == 1
        with pytest.raises(ScorerClosed):
            second.result()
    assert not scorer.alive
    with pytest.raises(ScorerClosed):
        scorer.run(noise(2, 1))
