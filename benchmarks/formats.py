"""Writing results: a day of windows, one a second, in every format, beside a bare loop over the same windows.

Scoring is left out: windows are made as they are asked for, five tags each, for Parquet every label's score.

    python benchmarks/formats.py [--labels 50] [--hours 24] [--quick]
"""

import argparse
import platform
import resource
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from auricle.formats import SUFFIXES, About, Result, write


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--labels", type=int, default=50)
    parser.add_argument("--hours", type=float, default=24)
    parser.add_argument("--quick", action="store_true", help="an hour")
    options = parser.parse_args()
    count = round(3600 * (1 if options.quick else options.hours))
    names = tuple(f"label {number}" for number in range(options.labels))
    about = About(model="benchmark", labels=names, rate=16_000)
    print(f"{platform.processor() or platform.machine()}, {count:,} windows, {options.labels} labels")
    print(f"{'':10}{'seconds':>9}{'bare loop':>11}{'MB':>8}{'peak memory MB':>16}")
    for format in SUFFIXES:
        scores = format == "parquet"
        bare = seconds_of(partial(deque, windows(count, names, scores, {}), maxlen=0))
        result: Result = {"path": "day.flac"}
        result["windows"] = windows(count, names, scores, result)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "out")
            with path.open("w", encoding="utf-8", newline="") as stream:
                spent = seconds_of(partial(write, format, [result], stream, about))
            size = path.stat().st_size / 1e6
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
        print(f"{format:10}{spent:9.2f}{bare:11.2f}{size:8.1f}{peak:16.0f}", flush=True)


def windows(count: int, names: tuple[str, ...], scores: bool, result: Result) -> Iterator[dict[str, Any]]:
    """Windows with the scores of a model that hears little: logits around -4."""
    random = np.random.default_rng(0)
    for second in range(count):
        values = 1 / (1 + np.exp(4 - 2 * random.standard_normal(len(names), np.float32)))
        span: dict[str, Any] = {"start": float(second), "end": second + 1.0}
        if scores:
            yield span | {"on_grid": True, "scores": values}
        else:
            best = np.argsort(-values)[:5].tolist()
            yield span | {"tags": [{"label": names[k], "score": float(f"{values[k]:.6g}")} for k in best]}
    result.update(duration=float(count), tags=[])


def seconds_of(work: Callable[[], object]) -> float:
    """Processor time, which other processes do not lengthen."""
    begin = time.process_time()
    work()
    return time.process_time() - begin


if __name__ == "__main__":
    main()
