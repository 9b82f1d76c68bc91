"""The largest and smallest values of the columns of a picture, whatever lies in each: rows that may overlap.

Shape letters: C columns, R rows.
"""

import numpy as np


def column_times(start: float, end: float, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Where each of so many columns of equal width begins and ends, (C,) each, in seconds."""
    bounds = np.linspace(start, end, columns + 1)
    return bounds[:-1], bounds[1:]


def reduced(values: np.ndarray, first_C: np.ndarray, last_C: np.ndarray, kind: np.ufunc) -> np.ndarray:
    """(C, ...): of rows `first` up to `last` (that one too) of each column the largest, or smallest.

    Args:
        values: (R, ...).
        first_C: 0 to R - 1.
        last_C: `first_C` or more, up to R - 1.
        kind: np.maximum or np.minimum.
    """
    low, high = int(first_C.min()), int(last_C.max()) + 1
    part = np.asarray(values[low:high])
    # reduceat wants bounds one after the other: of every second of its stretches, nothing is wanted. The row
    # that is added is never taken; it lets a stretch end at the end.
    part = np.concatenate([part, part[-1:]])
    bounds = np.stack([first_C - low, last_C + 1 - low], axis=1).ravel()
    return kind.reduceat(part, bounds, axis=0)[::2]
