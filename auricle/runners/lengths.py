"""A model on windows of another length than its own, where its network takes any.

Which lengths a network takes, no list says: it is tried. A graph or net of one length refuses others by
itself, and so does one of any length what is too short for its frames.
"""

import dataclasses
import math
from typing import Any

import numpy as np

from auricle.runners import load_runner

LONGEST_SECONDS = 600.0  # longer ones cost gigabytes a batch


def at_window(artifact: Any, seconds: float | None) -> Any:
    """The description of a model that hears windows of a length; whether it can, nobody has tried.

    Its hop keeps its share of the window: half a window, of a model whose own is half of its own.

    Args:
        artifact: the model.
        seconds: of a window; None, or the model's own length, gives the model as it is.

    Raises:
        ValueError: less than a sample, more than `LONGEST_SECONDS`, or the model hears by way of other
            models, which have their own windows.

    >>> from auricle.artifact import load_artifact
    >>> model = load_artifact("default")
    >>> at_window(model, model.window / model.rate) is model, at_window(model, 1).window
    (True, 16000)
    """
    if seconds is None:
        return artifact
    longest = max(LONGEST_SECONDS, artifact.window / artifact.rate)
    if not 1 <= seconds * artifact.rate <= longest * artifact.rate:
        raise ValueError(f"window is {seconds:g} s; expected a sample or more, and at most {longest:g} s")
    length = round(seconds * artifact.rate)
    if length == artifact.window:
        return artifact
    if artifact.members or artifact.embedding_entry:
        why = "the length of its members'" if artifact.members else "so many of its embedder's make one"
        raise ValueError(f"{_alone(artifact, length)}, {why}")
    hop = max(1, round(length * artifact.hop / artifact.window))
    return dataclasses.replace(artifact, window=length, hop=hop)


def runner_at(artifact: Any, seconds: float | None, **options: Any) -> Any:
    """A runner of a model for windows of a length, which it has been tried on.

    Args:
        artifact: the model.
        seconds: as in `at_window`.
        options: of `load_runner`.

    Raises:
        ValueError: as `at_window` and `load_runner`; the network takes no window of this length. The message
            says which it takes.

    >>> from auricle.artifact import load_artifact
    >>> runner_at(load_artifact("default"), 1.0, threads=1).artifact.window
    16000
    """
    changed = at_window(artifact, seconds)
    if changed is artifact:
        return load_runner(artifact, **options)
    try:
        runner = load_runner(changed, **options)
        _try(runner)
    except ModuleNotFoundError:
        raise
    except Exception as error:  # torch and onnxruntime have no common class for what they raise
        device = options.get("device", "cpu")
        raise ValueError(_what_it_takes(artifact, changed.window, device, error)) from error
    return runner


def with_window(artifact: Any, seconds: float | None, *, device: str = "cpu") -> Any:
    """As `at_window`, of a model that was tried on a window of this length.

    Raises:
        ValueError: as `runner_at`.

    >>> from auricle.artifact import load_artifact
    >>> with_window(load_artifact("default"), 0.001)
    Traceback (most recent call last):
    ValueError: window is 0.001 s; auricle-esc50 takes windows of 0.025 s or more
    """
    changed = at_window(artifact, seconds)
    if changed is not artifact:
        runner_at(artifact, seconds, batch=1, device=device)
    return changed


def _try(runner: Any) -> None:
    """Score a window of noise; an error where the network takes none of this length."""
    window = runner.artifact.window
    noise_1N = np.random.default_rng(0).standard_normal((1, window)).astype(np.float32) / 10
    if not all(np.isfinite(part).all() for part in runner.run(noise_1N)):
        raise ValueError("the scores are no numbers")  # the mean of no frames is none


def _takes(artifact: Any, length: int, device: str) -> bool:
    try:
        _try(load_runner(dataclasses.replace(artifact, window=length), batch=1, device=device))
    except Exception:
        return False
    return True


def _what_it_takes(artifact: Any, length: int, device: str, error: Exception) -> str:
    """One line; it is the model's own error where the model takes not even its own window."""
    own, rate = artifact.window, artifact.rate
    _try(load_runner(artifact, batch=1, device=device))
    if not _takes(artifact, own + own // 2 + 123, device):
        return _alone(artifact, length)
    wished = f"window is {length / rate:g} s; {artifact.name}"
    if length > own:
        return f"{wished} cannot be run on it: {str(error).strip().splitlines()[0]}"
    fails, takes = length, own
    while takes - fails > 1:
        middle = (fails + takes) // 2
        fails, takes = (fails, middle) if _takes(artifact, middle, device) else (middle, takes)
    return f"{wished} takes windows of {math.ceil(1000 * takes / rate) / 1000:g} s or more"


def _alone(artifact: Any, length: int) -> str:
    rate = artifact.rate
    return (
        f"window is {length / rate:g} s; {artifact.name} takes windows of {artifact.window / rate:g} s alone"
    )
