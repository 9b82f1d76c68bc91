"""YAMNet's int8 file on ESC-50 by a label map, class by class; its speed beside the interpreter's own loop.

    auricle pack ../shared/data/esc50/meta.csv out/esc50
    python benchmarks/yamnet.py --data out/esc50 [--folds runs/long] [--out out/yamnet]
    python benchmarks/yamnet.py --speed [--quick]

With --data: accuracy by class, by the bundled map from AudioSet's labels; beside it, on the same clips and
among the same classes, models of a recipe out of fold (--folds: what benchmarks/esc50_folds.py left).  With
--speed: windows from memory, one thread and one a core; rounds alternate, so that what else the machine does
hits all.  Processor seconds a second say whether all cores work.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq
from esc50_folds import FOLDS, command_line, commit_name, device_name, hours_of, seed_of

from auricle.artifact import Artifact, load_artifact
from auricle.evaluation import evaluate
from auricle.experiments.lines import write_lines
from auricle.interop.tflite import import_tflite
from auricle.metrics.ranking import summarise
from auricle.runners import load_runner
from auricle.runners.cores import usable_cores

YAMNET = Path(__file__).parents[2] / "shared" / "data" / "yamnet" / "yamnet-int8.tflite"
EMBEDDING, RATE, MAP = "layer28/reduce_mean", 16000, "audioset-esc50"
METRICS = ("accuracy", "map", "auc", "d_prime")
DRAWS = 2000


class Scored(NamedTuple):
    """Clips, each with its one label, its recording and a score for each class."""

    ids: list[str]
    truth: list[str]
    groups: list[str]
    scores: np.ndarray  # (M, S)
    labels: list[str]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--yamnet", type=Path, default=YAMNET, help="the TFLite file")
    parser.add_argument("--data", type=Path, help="ESC-50 as a pack")
    parser.add_argument("--folds", type=Path, help="scores of a recipe out of fold")
    parser.add_argument("--recipe", default="compact-esc50-long", help="of these, for the table's rows")
    parser.add_argument("--out", type=Path, help="keep the evaluation here")
    parser.add_argument("--results", type=Path, help="put the rows into this CSV")
    parser.add_argument("--speed", action="store_true", help="measure speed, too")
    parser.add_argument("--quick", action="store_true", help="a tenth of the windows, three rounds")
    options = parser.parse_args()
    if not options.yamnet.is_file():
        raise SystemExit(f"no YAMNet here: {options.yamnet}; give --yamnet FILE.tflite")
    if options.data is None and not options.speed:
        parser.error("nothing to do; give --data PACK or --speed")
    with tempfile.TemporaryDirectory() as folder:
        model = import_tflite(options.yamnet, Path(folder) / "yamnet", rate=RATE, embedding=EMBEDDING)
        if options.data is not None:
            out = options.out or Path(folder) / "eval"
            judge(model, options.data, options.folds, options.recipe, out, options.results)
        if options.speed:
            speed(model, quick=options.quick)


def judge(
    model: Artifact, data: Path, folds: Path | None, recipe: str, out: Path, results: Path | None
) -> None:
    """Print accuracies by class, and what the recipe's fold models have beside them."""
    sources = evaluate(model, data, label_map=MAP, out=out)["label_map"]["sources"]
    yamnet = read(out / "scores.parquet")
    columns, all_right = {"YAMNet": yamnet}, {}
    if folds is not None:
        parts = [read(path) for path in sorted(folds.glob("fold*/scores.parquet"))]
        columns["out of fold"] = same_clips(joined(parts), yamnet)
    print(f"| class | sources | {' | '.join(columns)} |\n|---|---|{'---|' * len(columns)}")
    for name, scored in columns.items():
        all_right[name] = right(scored)
    truth, groups = np.array(yamnet.truth), np.array(yamnet.groups)
    for label in sorted(yamnet.labels):
        shares = [f"{hits[truth == label].mean():.3f}" for hits in all_right.values()]
        print(f"| {label} | {len(sources[label])} | {' | '.join(shares)} |")
    heard = np.isin(truth, yamnet.labels)
    for name, hits in all_right.items():
        low, high = interval(hits[heard], groups[heard])
        print(f"{name}: {hits[heard].mean():.4f} ({low:.4f} to {high:.4f}) of {heard.sum()} clips")
    if folds is not None:
        first, second = (hits[heard] for hits in all_right.values())
        low, high = interval(second - first, groups[heard])
        print(f"out of fold less YAMNet: {(second - first).mean():+.4f} ({low:+.4f} to {high:+.4f})")
    rows, where = [], f"ESC-50, {len(yamnet.labels)} of 50 classes by the map {MAP}"
    for name, scored in columns.items():
        whole = summarise(truth[:, None] == np.array(scored.labels), scored.scores)
        print(f"{name}: { ({key: round(whole[key], 4) for key in METRICS}) }")
        of, fold, spent, seed = "YAMNet int8", "all", "", ""
        if folds is not None and scored is not yamnet:
            runs = [folds / fold / "run" for fold in FOLDS]
            of, fold, seed = recipe, "all, out of fold", seed_of(runs[0])
            spent = f"{sum(map(hours_of, runs)):.3f}"
        begin, end = [of, where, fold], ["", commit_name(), spent, device_name(), seed, command_line()]
        rows += [[*begin, key, f"{whole[key]:.4f}", *end] for key in METRICS]
    if results is not None:
        write_lines(rows, results)


def read(path: Path) -> Scored:
    """What `auricle evaluate --out` wrote, of clips with one label."""
    table = pq.read_table(path)
    return Scored(
        ids=table["id"].to_pylist(),
        truth=[labels[0] for labels in table["labels"].to_pylist()],
        groups=table["group"].to_pylist(),
        scores=np.stack(table["scores"].to_numpy()),
        labels=json.loads(table.schema.metadata[b"labels"]),
    )


def joined(parts: list[Scored]) -> Scored:
    """All folds as one."""
    ids, truth, groups = ([one for part in parts for one in part[k]] for k in range(3))
    assert all(part.labels == parts[0].labels for part in parts)
    return Scored(ids, truth, groups, np.concatenate([part.scores for part in parts]), parts[0].labels)


def same_clips(scored: Scored, other: Scored) -> Scored:
    """The clips and classes of another, in its order; each clip has to be there, with the same label."""
    row, column = ({one: k for k, one in enumerate(names)} for names in (scored.ids, scored.labels))
    rows, columns = [row[one] for one in other.ids], [column[label] for label in other.labels]
    assert [scored.truth[k] for k in rows] == other.truth
    return other._replace(scores=scored.scores[np.ix_(rows, columns)])


def right(scored: Scored) -> np.ndarray:
    """(M,) 1 where the best class is the clip's."""
    best = [scored.labels[k] for k in scored.scores.argmax(axis=1)]
    return np.array([one == true for one, true in zip(best, scored.truth, strict=True)], np.float64)


def interval(values: np.ndarray, groups: np.ndarray) -> tuple[float, float]:
    """95% of bootstrap draws of recordings of the mean."""
    _, which = np.unique(groups, return_inverse=True)
    sums, counts = np.bincount(which, values), np.bincount(which)
    drawn = np.random.default_rng(0).integers(len(sums), size=(DRAWS, len(sums)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)


def speed(model: Artifact, *, quick: bool) -> None:
    """Print how many times real time each way is, and how many cores it keeps busy."""
    cores, count, rounds = usable_cores(), 100 if quick else 1000, 3 if quick else 11
    bundled = load_artifact("default")
    drawn = np.random.default_rng(0).uniform(-0.5, 0.5, (count, bundled.window)).astype(np.float32)
    windows, longer = np.ascontiguousarray(drawn[:, : model.window]), drawn[: max(1, count // 2)]
    seconds = len(windows) * model.window / RATE
    contenders: dict[str, tuple[Callable[[], Any], float]] = {}
    for threads in (1, cores):
        contenders |= {
            f"the interpreter's own loop, {threads} at once": (loop(model, windows, threads), seconds),
            f"auricle, YAMNet with embeddings, {threads} threads": (ours(model, windows, threads), seconds),
            f"auricle, the bundled model, {threads} threads": (
                ours(bundled, longer, threads),
                longer.size / bundled.rate,
            ),
        }
    took = measured({name: work for name, (work, _) in contenders.items()}, rounds)
    print(f"ai-edge-litert {version('ai-edge-litert')}, {cores} cores; {count} windows, {rounds} rounds")
    print(f"{'':48}{'x real time':>12}{'best round':>12}{'cores busy':>12}")
    for name, (_, heard) in contenders.items():
        clock, processor = (statistics.median(one[k] for one in took[name]) for k in (0, 1))
        best = min(one[0] for one in took[name])
        print(f"{name:48}{heard / clock:>12,.0f}{heard / best:>12,.0f}{processor / clock:>12.2f}")
    names = list(contenders)
    for threads, (hand, mine) in zip((1, cores), ((names[0], names[1]), (names[3], names[4])), strict=True):
        ratios = [a[0] / b[0] for a, b in zip(took[hand], took[mine], strict=True)]
        print(f"auricle's speed by the interpreter's own, {threads} at once: {statistics.median(ratios):.3f}")


def measured(contenders: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[tuple[float, float]]]:
    """Seconds by the clock and of the processor, for each round."""
    for work in contenders.values():
        work()  # warm
    took: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, work in contenders.items():
            begin, used = time.perf_counter(), _processor()
            work()
            took[name].append((time.perf_counter() - begin, _processor() - used))
    return took


def _processor() -> float:
    times = os.times()
    return times.user + times.system


def ours(model: Artifact, windows: np.ndarray, threads: int) -> Callable[[], Any]:
    runner = load_runner(model, threads=threads)
    return lambda: [runner.run(windows[start : start + 16]) for start in range(0, len(windows), 16)]


def loop(model: Artifact, windows: np.ndarray, at_once: int) -> Callable[[], Any]:
    """What one writes by hand: an interpreter, and window after window; several side by side."""
    from ai_edge_litert.interpreter import Interpreter

    def one(part: np.ndarray) -> Callable[[], Any]:
        interpreter = Interpreter(str(model.state_path), num_threads=1)
        interpreter.allocate_tensors()
        (given,), (scores,) = interpreter.get_input_details(), interpreter.get_output_details()

        def run() -> None:
            for window in part:
                interpreter.set_tensor(given["index"], window)
                interpreter.invoke()
                interpreter.get_tensor(scores["index"])

        return run

    works = [one(part) for part in np.array_split(windows, at_once)]
    if at_once == 1:
        return works[0]
    pool = ThreadPoolExecutor(at_once)
    return lambda: [job.result() for job in [pool.submit(work) for work in works]]


if __name__ == "__main__":
    main()
