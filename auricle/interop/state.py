"""Arrays of a published file against those that a network takes: none missing, none over, of their shapes."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from auricle.datasets.audioset_labels import labels as audioset_labels
from auricle.interop.tflite import read_labels

NAMED = 3  # keys that a refusal names


def check_arrays(
    arrays: Mapping[str, np.ndarray], expected: Mapping[str, tuple[int, ...]], path: Path, whose: str
) -> None:
    """Refuse a file that does not hold exactly these arrays, of these shapes, finite.

    Args:
        arrays: of the file, by its own names.
        expected: shapes by the same names.
        path: of the file, for the message.
        whose: the network, for the message.

    Raises:
        ValueError: the one line that says which arrays are missing, too many, misshapen or not finite.

    >>> check_arrays({"a": np.zeros(2)}, {"a": (3,)}, Path("net.pt"), "mn")
    Traceback (most recent call last):
    ValueError: net.pt: a is (2,), expected (3,); not weights of mn
    """
    if missing := [name for name in expected if name not in arrays]:
        raise ValueError(f"{path}: no {_some(missing)}; not weights of {whose}")
    if extra := [name for name in arrays if name not in expected]:
        raise ValueError(f"{path}: holds {_some(extra)}, which {whose} has not")
    for name, shape in expected.items():
        if arrays[name].shape != shape:
            raise ValueError(
                f"{path}: {name} is {arrays[name].shape}, expected {shape}; not weights of {whose}"
            )
        if not np.isfinite(arrays[name]).all():
            raise ValueError(f"{path}: {name} holds values that are not finite")


def label_names(labels: str | Path | Sequence[str] | None, vocabulary: str) -> list[str]:
    """Names of a network's outputs.

    Args:
        labels: the names in order, or a file of them, see `auricle.interop.tflite.read_labels`; None takes
            AudioSet's, which come with the package.
        vocabulary: whose, see `auricle.datasets.audioset_labels.labels`.

    >>> label_names(None, "yamnet")[:2], label_names(["hum"], "yamnet")
    (['Speech', 'Child speech, kid speaking'], ['hum'])
    """
    if labels is None:
        return audioset_labels(vocabulary)
    return read_labels(labels) if isinstance(labels, str | Path) else list(labels)


def _some(names: list[str]) -> str:
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")
