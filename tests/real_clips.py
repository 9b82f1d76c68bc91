"""Real recordings for tests, where they are."""

from pathlib import Path

import numpy as np
import pytest


def clips(shared_data: Path, rate: int) -> list[np.ndarray]:
    """Five recordings of five seconds at a rate."""
    soundfile, soxr = pytest.importorskip("soundfile"), pytest.importorskip("soxr")
    paths = sorted((shared_data / "esc50" / "audio").glob("*.ogg"))[::400]
    assert len(paths) >= 4
    found = []
    for path in paths:
        samples, at = soundfile.read(path, dtype="float32", always_2d=True)
        found.append(soxr.resample(samples.mean(axis=1), at, rate))
    return found
