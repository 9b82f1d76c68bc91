"""Events and their figures once more, slow and obvious, and random recordings to try them on."""

import importlib.util
import itertools
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from auricle.events import EventConfig, stretches

Row = tuple[int, int, float, float]  # clip, label, start, end


def random_windows(rng: np.random.Generator, *, most: int = 30) -> np.ndarray:
    """(W, 2) starts and stops in seconds, multiples of 20 ms: with overlap or gaps, the last to the end."""
    hop = int(rng.choice([10, 25, 50, 60])) * 20
    window = 1000
    count = int(rng.integers(1, most))
    starts = np.arange(count) * hop
    if rng.random() < 0.5:
        starts = np.append(starts, starts[-1] + int(rng.integers(1, hop // 20)) * 20)
    return np.stack([starts, starts + window], axis=1) / 1000 + float(rng.choice([0.0, 3600.0]))


def slow_events(
    times: np.ndarray, scores: np.ndarray, labels: list[str], config: EventConfig
) -> list[dict[str, Any]]:
    """`find_events` on a raster of 5 ms, every step as the documentation says it."""
    raster = 5
    windows = [(round(start * 1000), round(stop * 1000)) for start, stop in times.tolist()]
    middles = [start + stop for start, stop in windows]  # doubled, so that they are whole
    begin, finish = windows[0][0], windows[-1][1]
    found = []
    for k, label in enumerate(labels):
        own = config.of(label)
        assert own.offset is not None
        values = []
        for middle in middles:
            near = [i for i, m in enumerate(middles) if abs(m - middle) <= 1000 * own.smooth]
            values.append(float(np.median([scores[i, k] for i in near])))
        line = []
        for at in range(begin, finish, raster):
            nearest = min(range(len(middles)), key=lambda i: (abs(middles[i] - (2 * at + raster)), -i))
            line.append(values[nearest])
        runs = []
        for high, group in itertools.groupby(range(len(line)), key=lambda at: line[at] >= own.offset):
            inside = list(group)
            if high and max(line[at] for at in inside) >= own.onset:
                runs.append([inside[0], inside[-1] + 1])
        joined: list[list[int]] = []
        for run in runs:
            if joined and (run[0] - joined[-1][1]) * raster <= own.max_gap * 1000 + 1e-3:
                joined[-1][1] = run[1]
            else:
                joined.append(run)
        for first, stop in joined:
            if (stop - first) * raster >= own.min_length * 1000 - 1e-3:
                best = max(value for value in line[first:stop] if value >= own.offset)
                edges = {"start": (begin + first * raster) / 1000, "end": (begin + stop * raster) / 1000}
                found.append(edges | {"label": label, "score": best})
    return sorted(found, key=lambda event: (event["start"], event["label"]))


def random_corpus(
    rng: np.random.Generator, clips: int, classes: int, *, steps: int = 20
) -> tuple[list[tuple[np.ndarray, np.ndarray]], list[Row], np.ndarray]:
    """(bounds and scores of each clip, true events, durations): scores know something, and have ties."""
    scored, truth, durations = [], [], []
    for clip in range(clips):
        count = int(rng.integers(3, 25))
        starts = np.arange(count) * 0.4
        bounds = stretches(starts, starts + 1.0)
        scores = 0.6 * rng.integers(0, steps, (count, classes)) / steps
        rows = []
        for label in range(classes):
            at = 0.0
            while rng.random() < 0.6 and at < bounds[-1] - 0.5:
                start = round(float(rng.uniform(at, bounds[-1] - 0.3)), 2)
                end = round(float(min(start + rng.uniform(0.3, 3.0), bounds[-1])), 2)
                rows.append((clip, label, start, end))
                at = end + 0.1
        for _, label, start, end in rows:
            inside = (bounds[:-1] < end - 0.2) & (bounds[1:] > start + 0.2)
            scores[inside, label] = np.round(scores[inside, label] + 0.3, 3)
        scored.append((bounds, scores))
        truth += rows
        durations.append(float(bounds[-1]))
    truth += [(0, label, 0.1, 0.9) for label in range(classes) if label not in {row[1] for row in truth}]
    return scored, truth, np.array(durations)


def events_above(bounds: np.ndarray, column: np.ndarray, threshold: float) -> list[tuple[float, float]]:
    """Runs of scores of at least a threshold."""
    runs = itertools.groupby(range(len(column)), key=lambda window: column[window] >= threshold)
    lists = [list(group) for high, group in runs if high]
    edges = np.round(bounds, 6).tolist()
    return [(edges[run[0]], edges[run[-1] + 1]) for run in lists]


def slow_segments(
    truth: list[Row], found: list[Row], durations: np.ndarray, classes: int, length: float
) -> np.ndarray:
    """(3, K) hits, false, missed, one segment after the other."""
    counts = np.zeros((3, classes), np.int64)
    for clip, duration in enumerate(durations):
        segment = 0
        while segment * length < duration - 1e-9:
            low, high = round(segment * length, 6), round((segment + 1) * length, 6)
            for label in range(classes):
                there, said = (
                    any(c == clip and k == label and a < high and b > low for c, k, a, b in rows)
                    for rows in (truth, found)
                )
                counts[:, label] += [there and said, said and not there, there and not said]
            segment += 1
    return counts


def slow_hits(truth: list[Row], found: list[Row], label: int, collars: tuple[float, float, float]) -> int:
    """The most pairs, by trying them all."""
    onset, offset, share = collars
    hits = 0
    for clip in {row[0] for row in truth}:
        there = [row[2:] for row in truth if row[:2] == (clip, label)]
        said = [row[2:] for row in found if row[:2] == (clip, label)]

        def fits(a: tuple[float, float], b: tuple[float, float]) -> bool:
            late = max(offset, share * (a[1] - a[0]))
            return abs(a[0] - b[0]) <= onset + 1e-7 and abs(a[1] - b[1]) <= late + 1e-7

        def most(left: list[Any], right: list[Any], fits: Any = fits) -> int:
            if not left:
                return 0
            best = most(left[1:], right)
            for i, other in enumerate(right):
                if fits(left[0], other):
                    best = max(best, 1 + most(left[1:], right[:i] + right[i + 1 :]))
            return best

        hits += most(there, said)
    return hits


def slow_psds(
    scored: list[tuple[np.ndarray, np.ndarray]], truth: list[Row], durations: np.ndarray, rules: Any
) -> float:
    """The score by its definition: every threshold is an operating point of its own."""
    classes = scored[0][1].shape[1]
    present = sorted({row[1] for row in truth})
    seconds = {label: sum(b - a for _, k, a, b in truth if k == label) for label in present}
    curves = []
    for label in present:
        thresholds = sorted({float(s) for _, scores in scored for s in scores[:, label]}, reverse=True)
        points = [(0.0, 0.0)]
        for threshold in thresholds:
            hits, false, cross = 0, 0, dict.fromkeys(present, 0)
            for clip, (bounds, scores) in enumerate(scored):
                own = [row[2:] for row in truth if row[:2] == (clip, label)]
                right = []
                for a, b in events_above(bounds, scores[:, label], threshold):
                    if round(_common((a, b), own), 6) >= round(rules.dtc * (b - a), 6):
                        right.append((a, b))
                        continue
                    false += 1
                    for other in present:
                        theirs = [row[2:] for row in truth if row[:2] == (clip, other)]
                        if other != label and rules.cttc and theirs:
                            crosses = round(_common((a, b), theirs), 6) >= round(rules.cttc * (b - a), 6)
                            cross[other] += crosses
                hits += sum(
                    round(_common(event, right), 6) >= round(rules.gtc * (event[1] - event[0]), 6)
                    for event in own
                )
            rate = false / durations.sum()
            if rules.cttc and len(present) > 1:
                each = [cross[other] / seconds[other] for other in present if other != label]
                rate += rules.alpha_ct * sum(each) / len(each)
            points.append((3600 * rate, hits / sum(row[1] == label for row in truth)))
        curves.append(points)
    assert len(present) <= classes
    edges = sorted({rate for points in curves for rate, _ in points if rate < rules.most})
    area = 0.0
    for low, high in zip(edges, [*edges[1:], rules.most], strict=True):
        reached = [max(share for rate, share in points if rate <= low + 1e-9) for points in curves]
        area += (high - low) * max(0.0, float(np.mean(reached) - rules.alpha_st * np.std(reached)))
    return area / rules.most


def _common(event: tuple[float, float], others: list[tuple[float, float]]) -> float:
    return sum(max(0.0, min(event[1], b) - max(event[0], a)) for a, b in others)


def sed_scores_eval() -> Any:
    """The package of that name; skips where it is not installed.

    Of sed_eval, which it imports for one function and which imports half a toolbox that does not go with
    every setuptools, only the file of that function is loaded.
    """
    found = importlib.util.find_spec("sed_eval")
    if found is None or found.origin is None or importlib.util.find_spec("sed_scores_eval") is None:
        pytest.skip("sed_scores_eval is not installed: pip install 'auricle[dev]'")
    if "sed_scores_eval" not in sys.modules:
        file = Path(found.origin).parent / "util" / "event_matching.py"
        spec = importlib.util.spec_from_file_location("sed_eval.util", file)
        assert spec is not None and spec.loader is not None
        util = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(util)
        sys.modules |= {"sed_eval": types.ModuleType("sed_eval"), "sed_eval.util": util}
        try:
            importlib.import_module("sed_scores_eval")
            from sed_scores_eval.base_modules import detection, statistics

            # Its compiled twin of this function does not take the read-only columns of pandas 3.
            statistics.onset_offset_curves = detection.onset_offset_curves
        finally:
            del sys.modules["sed_eval"], sys.modules["sed_eval.util"]
    return sys.modules["sed_scores_eval"]
