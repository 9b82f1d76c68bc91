"""Evaluation scores each clip by the artifact's windows, matches labels by name, and writes what it says."""

import csv
import json
import shutil
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
import soxr
import tiny_model

from auricle.cli import main
from auricle.engine import pack as pack_corpus
from auricle.evaluation import affordable_draws, evaluate, score_clips, select_clips
from auricle.evaluation.choice import clips_trained_on
from auricle.evaluation.scoring import stream_scores
from auricle.metrics.ranking import METRICS, bootstrap_intervals, summarise
from auricle.runners.windows import PooledScores, sigmoid
from auricle.shards import Pack
from auricle.shards.subsets import add_subset, fraction_of_groups

RATE = 1000
LABELS = ("quiet", "loud", "unheard of")


class LoudnessRunner:
    """A placeholder model: its logits are the mean, the largest and the last sample of a window."""

    def __init__(self, *, window: int = 100, hop: int = 100, tail: str = "drop", rate: int = RATE):
        self.artifact = SimpleNamespace(
            name="loudness", labels=LABELS, window=window, hop=hop, tail=tail, rate=rate, fingerprint="f00d"
        )
        self.artifact.training = {}
        self.batches: list[int] = []

    def run(self, waveforms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        assert waveforms.dtype == np.float32 and waveforms.shape[1] == self.artifact.window
        self.batches.append(len(waveforms))
        logits = np.stack([waveforms.mean(1) * 8, waveforms.max(1) * 4, waveforms[:, -1]], axis=1)
        return logits.astype(np.float32), np.zeros((len(waveforms), 2), np.float32)


def make_pack(folder: Path, *, rate: int = RATE, clips: int = 12) -> Pack:
    """Clips of 30 to 360 samples, labelled by how loud they are; two to a group, in two splits."""
    rng, rows = np.random.default_rng(0), ["path,id,labels,split,group,licence"]
    for index in range(clips):
        samples = rng.uniform(-1, 1, 30 + 30 * index) * (index + 1) / clips
        soundfile.write(folder / f"{index}.wav", samples, rate, subtype="PCM_16")
        labels = ("loud;a bird", "quiet", "")[index % 3]
        split, licence = "test" if index >= 4 else "train", "CC0" if index % 2 else "CC-BY"
        rows.append(f"{index}.wav,clip {index},{labels},{split},group {index // 2},{licence}")
    (folder / "clips.csv").write_text("\n".join(rows))
    pack_corpus(folder / "clips.csv", folder / "pack", rate=rate, jobs=1, quiet=True)
    return Pack(folder / "pack")


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pack(tmp_path_factory.mktemp("corpus")).path


@pytest.fixture
def pack(packed: Path) -> Pack:
    return Pack(packed)


def slow_scores(runner: LoudnessRunner, samples: np.ndarray) -> np.ndarray:
    """Windows one by one, each through the model on its own."""
    artifact, starts = runner.artifact, []
    start = 0
    while start + artifact.window <= len(samples):
        starts.append(start)
        start += artifact.hop
    if not starts:
        starts = [0]
    elif artifact.tail == "align" and starts[-1] + artifact.window < len(samples):
        starts.append(len(samples) - artifact.window)
    scores = []
    for start in starts:
        window = np.zeros(artifact.window, np.float32)
        part = samples[start : start + artifact.window]
        window[: len(part)] = part
        scores.append(sigmoid(runner.run(window[None])[0][0]))
    return np.mean(scores, axis=0)


@pytest.mark.parametrize("batch", [1, 3, 16])
@pytest.mark.parametrize(("hop", "tail"), [(100, "drop"), (100, "align"), (37, "drop")])
def test_a_clip_scores_the_mean_of_its_own_windows(pack: Pack, hop: int, tail: str, batch: int) -> None:
    runner = LoudnessRunner(hop=hop, tail=tail)
    clips = np.array([11, 0, 5, 3, 7])  # 360 samples, 30 (shorter than a window), 180, 120, 240
    scores = score_clips(runner, pack, clips, batch=batch, quiet=True)
    assert set(runner.batches[:-1]) <= {batch} and runner.batches[-1] <= batch
    assert scores.dtype == np.float32
    for row, clip in zip(scores, clips, strict=True):
        samples = pack.samples(clip).astype(np.float32) / 32768
        np.testing.assert_allclose(row, slow_scores(LoudnessRunner(hop=hop, tail=tail), samples), atol=1e-7)


def test_a_pack_of_a_higher_rate_is_resampled_and_of_a_lower_rate_refused(tmp_path: Path) -> None:
    pack = make_pack(tmp_path, rate=2 * RATE)
    scores = score_clips(LoudnessRunner(), pack, np.arange(12), quiet=True)
    for row, clip in zip(scores, range(12), strict=True):
        samples = soxr.resample(pack.samples(clip).astype(np.float32) / 32768, 2 * RATE, RATE)
        np.testing.assert_allclose(row, slow_scores(LoudnessRunner(), samples), atol=1e-6)
    assert evaluate(LoudnessRunner(), pack, draws=0, quiet=True)["resampled_from"] == 2 * RATE
    with pytest.raises(ValueError, match=r"packed at 2000 Hz.*needs 4000 Hz.*--rate 4000"):
        evaluate(LoudnessRunner(rate=4000), pack, quiet=True)


def test_figures_are_those_of_the_shared_labels_of_the_chosen_clips(pack: Pack) -> None:
    figures = evaluate(LoudnessRunner(), pack, splits=["test"], draws=50, seed=3, quiet=True)
    clips = np.arange(4, 12)
    assert (figures["clips"], figures["classes"], figures["groups"]) == (8, 2, 4)
    assert figures["labels_not_in_model"] == ["a bird"]
    assert figures["labels_not_in_pack"] == ["unheard of"]
    scores = score_clips(LoudnessRunner(), pack, clips, quiet=True)[:, :2]
    names = pack.label_names()
    targets = pack.targets(clips)[:, [names.index("quiet"), names.index("loud")]] > 0
    expected = summarise(targets, scores)
    for name in ("map", "auc", "accuracy", "micro_ap", "micro_auc", "excluded_accuracy"):
        assert figures[name] == expected[name], name
    intervals = bootstrap_intervals(targets, scores, pack.groups[clips], draws=50, seed=3)
    assert figures["intervals"]["map"] == list(intervals["map"])
    assert figures["splits"] == ["test"] and figures["model_fingerprint"] == "f00d"
    assert figures["pack_fingerprint"] == pack.fingerprint


def test_what_is_written_says_the_same_and_the_figures_follow_from_the_scores(
    pack: Pack, tmp_path: Path
) -> None:
    out = tmp_path / "results" / "one"
    figures = evaluate(LoudnessRunner(), pack, where={"licence": ("CC0",)}, out=out, draws=20, quiet=True)
    assert sorted(path.name for path in out.iterdir()) == ["metrics.json", "per_class.csv", "scores.parquet"]

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    assert json.loads((out / "metrics.json").read_text(), parse_constant=refuse) == figures
    assert figures["where"] == {"licence": ["CC0"]}

    table = pq.read_table(out / "scores.parquet")
    assert table.column_names == ["id", "path", "split", "group", "scores", "labels"]
    names = json.loads(table.schema.metadata[b"labels"])
    assert names == list(LABELS)
    assert table["id"].to_pylist() == [f"clip {n}" for n in (1, 3, 5, 7, 9, 11)]
    assert table["path"].to_pylist()[0] == "1.wav"
    assert table["labels"].to_pylist()[1] == ["a bird", "loud"]
    scores = np.array(table["scores"].to_pylist(), np.float32)[:, :2]
    targets = np.array([[name in row for name in names[:2]] for row in table["labels"].to_pylist()])
    again = summarise(targets, scores)
    assert figures["map"] == pytest.approx(again["map"], abs=1e-12)
    assert figures["auc"] == pytest.approx(again["auc"], abs=1e-12)

    with (out / "per_class.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["label"] for row in rows] == ["quiet", "loud"]
    assert [int(row["positives"]) for row in rows] == targets.sum(axis=0).tolist()
    assert np.mean([float(row["ap"]) for row in rows]) == pytest.approx(figures["map"], abs=1e-12)


def test_a_class_without_positives_is_null_in_json_and_empty_in_csv(pack: Pack, tmp_path: Path) -> None:
    # Clips 1 and 4 are quiet, 2 and 5 have no label: of these, none is loud.
    pack.select = lambda splits=None, where=None: np.array([1, 2, 4, 5])  # type: ignore[method-assign]
    figures = evaluate(LoudnessRunner(), pack, out=tmp_path / "out", draws=5, quiet=True)
    assert (figures["excluded_ap"], figures["excluded_auc"], figures["classes"]) == (1, 1, 2)
    assert (figures["classes_without_ap"], figures["classes_without_auc"]) == (["loud"], ["loud"])
    assert figures["map"] is not None
    rows = (tmp_path / "out" / "per_class.csv").read_text().splitlines()
    assert rows[0] == "label,positives,ap,auc,d_prime,prior,training_prior,ece"
    assert rows[2].startswith("loud,0,,,,0.0,0.0,")
    pack.select = lambda splits=None, where=None: np.array([2, 5])  # type: ignore[method-assign]
    nothing = evaluate(LoudnessRunner(), pack, draws=5, quiet=True)
    assert nothing["map"] is None and nothing["accuracy"] is None
    assert nothing["intervals"]["map"] == [None, None]
    assert nothing["excluded_ap"] == 2


def test_unknown_choices_name_what_there_is(pack: Pack) -> None:
    with pytest.raises(ValueError, match="no split 'tset'; there are: test, train"):
        evaluate(LoudnessRunner(), pack, splits=["tset"], quiet=True)
    with pytest.raises(ValueError, match="no licence equal to 'GPL'; there are: CC-BY, CC0"):
        evaluate(LoudnessRunner(), pack, where={"licence": ("GPL",)}, quiet=True)
    with pytest.raises(ValueError, match="no attribute 'license'; there are: licence"):
        evaluate(LoudnessRunner(), pack, where={"license": ("CC0",)}, quiet=True)
    with pytest.raises(ValueError, match="no label set 'coarse'; there are: labels"):
        evaluate(LoudnessRunner(), pack, label_set="coarse", quiet=True)
    with pytest.raises(ValueError, match="no model nonesuch"):
        evaluate("nonesuch", pack, quiet=True)


def test_choices_that_leave_no_clip_are_refused(tmp_path: Path) -> None:
    pack = make_pack(tmp_path, clips=5)  # the one test clip is CC-BY
    with pytest.raises(ValueError, match="no clips with split test and licence CC0; choose others"):
        select_clips(pack, ["test"], {"licence": ("CC0",)})
    assert select_clips(pack, "test").tolist() == [4]
    assert select_clips(pack).tolist() == [0, 1, 2, 3, 4]
    assert select_clips(pack, clips=np.array([3, 1])).tolist() == [1, 3]
    with pytest.raises(ValueError, match="no clips with split test"):
        select_clips(pack, "test", clips=np.array([3, 1]))
    with pytest.raises(ValueError, match="numbered from 0 to 4, got 1 to 5"):
        select_clips(pack, clips=np.array([1, 5]))


def test_a_model_that_shares_no_label_is_refused(pack: Pack) -> None:
    runner = LoudnessRunner()
    runner.artifact.labels = ("Loud", "Quiet", "other")
    with pytest.raises(ValueError, match="shares no label with the model .Loud, Quiet, other"):
        evaluate(runner, pack, quiet=True)


def test_a_model_that_embeds_only_is_refused_as_such(pack: Pack) -> None:
    runner = LoudnessRunner()
    runner.artifact.labels, runner.artifact.path = (), "vggish"
    with pytest.raises(ValueError, match="has no labels, it embeds only: use `auricle embed`"):
        evaluate(runner, pack, quiet=True)


def test_a_failed_write_leaves_the_earlier_result(
    pack: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    evaluate(LoudnessRunner(), pack, out=out, draws=0, quiet=True)
    before = {path.name: path.read_bytes() for path in out.iterdir()}

    def full(*_: object, **__: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("auricle.evaluation.files.pq.ParquetWriter", full)
    with pytest.raises(OSError, match="disk full"):
        evaluate(LoudnessRunner(), pack, out=out, draws=0, quiet=True)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_clips_without_a_group_are_drawn_one_by_one(
    packed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = Pack(packed)
    monkeypatch.setattr(alone, "groups", np.array([""] * len(alone), dtype=object))
    figures = evaluate(LoudnessRunner(), alone, draws=50, quiet=True)
    assert figures["groups"] == len(alone)
    low, high = figures["intervals"]["map"]
    assert low < high


def test_what_a_pack_of_scenes_was_mixed_from_goes_along(pack: Pack, tmp_path: Path) -> None:
    assert evaluate(LoudnessRunner(), pack, draws=0, quiet=True)["mixed_from"] is None
    pack.manifest["mixed_from"] = {"heading": "Scenes mixed from recordings of x", "recipe": {}}
    figures = evaluate(LoudnessRunner(), pack, out=tmp_path, draws=0, quiet=True)
    assert figures["mixed_from"] == "Scenes mixed from recordings of x"
    assert json.loads((tmp_path / "metrics.json").read_text())["mixed_from"] == figures["mixed_from"]


@pytest.mark.parametrize(
    ("config", "heard"),
    [
        ({"train_splits": ["fold1"]}, 4),
        ({"train_splits": None, "validation_splits": ["fold3"]}, 4),
        ({"train_splits": None, "validation_splits": ["fold3"], "validation_subset": "few"}, 12),
        ({"train_splits": ["fold1", "fold3"]}, 12),
        ({"train_splits": ["fold4"]}, 0),
    ],
)
def test_scenes_mixed_from_what_the_model_was_trained_on_are_counted(
    pack: Pack, config: dict[str, object], heard: int
) -> None:
    runner = LoudnessRunner()
    made = {"train": {"from": ["fold1", "fold2"]}, "test": {"from": ["fold3"]}}
    pack.manifest["mixed_from"] = {"heading": "Scenes", "fingerprint": "source", "splits": made}
    runner.artifact.training = {"data": "source", "config": config}
    assert evaluate(runner, pack, draws=0, quiet=True)["clips_in_training"] == heard
    runner.artifact.training["data"] = "another"
    assert evaluate(runner, pack, draws=0, quiet=True)["clips_in_training"] == 0


@pytest.mark.parametrize(
    ("config", "clips", "scenes"),
    [
        ({"train_splits": ["train"]}, 4, 8),  # mixed from the pack's split train
        ({"train_splits": ["test"]}, 8, 4),
        ({"validation_splits": ["test"]}, 4, 8),
        ({}, 12, 12),
    ],
)
def test_clips_of_which_scenes_were_trained_on_are_counted_and_other_scenes_of_them(
    pack: Pack, config: dict[str, object], clips: int, scenes: int
) -> None:
    runner = LoudnessRunner()
    made = {"train": ["train"], "test": ["test"]}
    facts = {"data": pack.fingerprint, "splits": made}
    runner.artifact.training = {"data": "scenes", "config": config, "mixed_from": facts}
    assert evaluate(runner, pack, draws=0, quiet=True)["clips_in_training"] == clips
    other = {"test": {"from": ["train"]}, "train": {"from": ["test"]}}  # eight and four scenes
    runner.artifact.training["mixed_from"] = {"data": "source", "splits": made}
    pack.manifest["mixed_from"] = {"heading": "Scenes", "fingerprint": "source", "splits": other}
    assert evaluate(runner, pack, draws=0, quiet=True)["clips_in_training"] == scenes
    pack.manifest["mixed_from"]["fingerprint"] = "of other recordings"
    assert evaluate(runner, pack, draws=0, quiet=True)["clips_in_training"] == 0


def test_infinite_d_prime_is_null_and_counted(pack: Pack, monkeypatch: pytest.MonkeyPatch) -> None:
    names = pack.label_names()

    def perfect(runner: object, pack: Pack, clips: np.ndarray, **_: object) -> np.ndarray:
        columns = pack.targets(clips)[:, [names.index("quiet"), names.index("loud")]]
        return np.hstack([columns, columns[:, :1]])

    monkeypatch.setattr("auricle.evaluation.stream_scores", perfect)
    figures = evaluate(LoudnessRunner(), pack, draws=0, quiet=True)
    assert (figures["map"], figures["auc"], figures["infinite_d_prime"]) == (1.0, 1.0, 2)
    assert figures["d_prime"] is None and figures["d_prime_mean"] is None
    assert "intervals" not in figures


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, 12),  # trained on all, for all it says
        ({"train_splits": None, "validation_splits": [], "where": {}}, 12),
        ({"train_splits": ["train"]}, 4),
        ({"train_splits": None, "validation_splits": ["test"]}, 4),
        ({"train_splits": None, "where": {"licence": ["CC0"]}}, 6),
        ({"train_splits": ["test"], "where": {"licence": ["CC0"]}}, 4),
    ],
)
def test_clips_that_training_let_through_are_counted(
    pack: Pack, config: dict[str, object], expected: int
) -> None:
    runner = LoudnessRunner()
    runner.artifact.training = {"data": pack.fingerprint, "config": config}
    assert evaluate(runner, pack, draws=0, quiet=True)["clips_in_training"] == expected
    runner.artifact.training["data"] = "another pack"
    assert evaluate(runner, pack, draws=0, quiet=True)["clips_in_training"] == 0


def test_clips_that_the_embedder_was_trained_on_are_counted(pack: Pack) -> None:
    runner = LoudnessRunner()
    training = {"data": pack.fingerprint, "config": {"train_splits": ["train"]}}
    runner.artifact.within = {"embedder": ("", SimpleNamespace(training=training))}
    assert evaluate(runner, pack, draws=0, quiet=True)["clips_in_training"] == 4


class ManyLabels:
    """A placeholder with many labels: fixed weights over a few sums of the window; ties are common."""

    def __init__(self, labels: int, **options: object):
        self.artifact = LoudnessRunner(**options).artifact  # type: ignore[arg-type]
        self.artifact.labels = tuple(f"label {k}" for k in range(labels))
        self.weights = np.random.default_rng(1).standard_normal((4, labels)).astype(np.float32)

    def run(self, waveforms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        sums = waveforms[:, : len(waveforms[0]) // 4 * 4].reshape(len(waveforms), 4, -1).mean(axis=2)
        return np.round(sums @ self.weights * 50) / 8 - 4, sums


def many_labels_pack(folder: Path, *, clips: int, labels: int) -> Pack:
    """Clips of one and two windows, each with some of the labels."""
    rng, rows = np.random.default_rng(0), ["path,id,labels,split,group"]
    for index in range(clips):
        some = np.unique(rng.zipf(1.3, 4) % labels) if index else range(labels)
        chosen = ";".join(f"label {k}" for k in some)
        soundfile.write(folder / f"{index}.wav", rng.uniform(-1, 1, 100 + index % 2 * 100), RATE)
        rows.append(f"{index}.wav,clip {index},{chosen},{'train' if index < 9 else 'test'},g{index // 3}")
    (folder / "clips.csv").write_text("\n".join(rows))
    pack_corpus(folder / "clips.csv", folder / "pack", rate=RATE, jobs=1, quiet=True)
    return Pack(folder / "pack")


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Pack:
    return many_labels_pack(tmp_path_factory.mktemp("many"), clips=60, labels=40)


def dense(pack: Pack, scores: np.ndarray, labels: int) -> tuple[np.ndarray, np.ndarray]:
    """Targets and scores of the labels that both have, as tables of all pairs."""
    names = pack.label_names()
    shared = [k for k in range(labels) if f"label {k}" in names]
    columns = [names.index(f"label {k}") for k in shared]
    return pack.targets(np.arange(len(pack)))[:, columns] > 0, scores[:, shared]


@pytest.mark.parametrize("batch", [1, 7, 64])
@pytest.mark.parametrize("memory", [1, 5000, 2**29])
def test_streamed_figures_equal_those_of_the_whole_table_to_the_last_bit(
    many: Pack, monkeypatch: pytest.MonkeyPatch, batch: int, memory: int
) -> None:
    monkeypatch.setattr("auricle.evaluation.MEMORY", memory)
    runner = ManyLabels(40)
    figures = evaluate(runner, many, batch=batch, draws=20, seed=5, quiet=True)
    table = dense(many, score_clips(runner, many, np.arange(60), quiet=True), 40)
    for name, value in summarise(*table).items():
        assert figures[name] == value or (figures[name] is None and not np.isfinite(value)), name
    intervals = bootstrap_intervals(*table, many.groups, draws=20, seed=5)
    for name in ("map", "auc", "accuracy", "micro_ap", "micro_auc"):
        assert figures["intervals"][name] == list(intervals[name])


def test_half_keeps_logits_and_ranks_as_the_means_do_but_for_ties(many: Pack, tmp_path: Path) -> None:
    runner, means = ManyLabels(40), []
    for mean in stream_scores(runner, many, np.arange(60)):
        means.append(mean)
    exact = np.array(means)
    logits = (np.log(exact) - np.log1p(-exact)).astype(np.float16)
    figures = evaluate(runner, many, half=True, out=tmp_path, draws=0, quiet=True)
    table = pq.read_table(tmp_path / "scores.parquet")
    assert table.column_names == ["id", "path", "split", "group", "logits", "labels"]
    written = np.array(table["logits"].to_pylist(), np.float16)
    np.testing.assert_array_equal(written, logits)
    expected = summarise(*dense(many, logits.astype(np.float64), 40))
    assert all(figures[name] == expected[name] for name in ("map", "auc", "micro_ap", "accuracy"))
    # Rounding keeps the order: what was apart may tie, but never changes sides.
    order = np.argsort(exact, axis=0, kind="stable")
    assert (np.diff(np.take_along_axis(written, order, axis=0).astype(float), axis=0) >= 0).all()
    full = evaluate(runner, many, draws=0, quiet=True)
    assert figures["auc"] == pytest.approx(full["auc"], abs=2e-3)


def test_certain_scores_survive_as_logits(pack: Pack, tmp_path: Path) -> None:
    runner = LoudnessRunner()
    runner.run = lambda waveforms: (  # type: ignore[method-assign]
        np.tile(np.float32([1000, -1000, 0]), (len(waveforms), 1)),
        np.zeros((len(waveforms), 2)),
    )
    evaluate(runner, pack, half=True, out=tmp_path, draws=0, quiet=True)
    written = np.array(pq.read_table(tmp_path / "scores.parquet")["logits"].to_pylist())
    assert (written == [np.inf, -np.inf, 0]).all()


def slow_pool(scores_WK: np.ndarray, pooling: str) -> list[float]:
    pooled = []
    for column in scores_WK.T:
        weights = [np.exp(score) / np.exp(column).sum() for score in column]
        attended = sum(weight * score for weight, score in zip(weights, column, strict=True))
        pooled.append({"mean": column.mean(), "max": max(column), "attention": attended}[pooling])
    return pooled


@pytest.mark.parametrize("pooling", ["mean", "max", "attention"])
def test_clips_are_pooled_by_the_rule_asked_for(pack: Pack, pooling: str) -> None:
    runner, clips = LoudnessRunner(hop=37), np.arange(12)
    pooled = score_clips(runner, pack, clips, pooling=pooling, batch=5, quiet=True)
    for row, clip in zip(pooled, clips, strict=True):
        samples = np.pad(pack.samples(clip).astype(np.float32) / 32768, (0, 100))[
            : max(100, pack.lengths[clip])
        ]
        windows = [samples[s : s + 100] for s in range(0, len(samples) - 99, 37)]
        logits = LoudnessRunner().run(np.stack(windows))[0]
        np.testing.assert_allclose(row, slow_pool(sigmoid(logits), pooling), atol=1e-7)
    assert evaluate(runner, pack, pooling=pooling, draws=0, quiet=True)["pooling"] == pooling


def test_pooling_does_not_depend_on_how_windows_arrive() -> None:
    logits = np.random.default_rng(0).standard_normal((50, 6)) * 4
    for pooling in ("mean", "max", "attention"):
        whole = PooledScores(6, pooling).add(logits).score()
        for cut in (1, 7, 49):
            parts = PooledScores(6, pooling)
            for start in range(0, 50, cut):
                parts.add(logits[start : start + cut])
            assert (parts.add(logits[:0]).score() == whole).all()
        with pytest.raises(ValueError, match="no windows"):
            PooledScores(6, pooling).score()
    with pytest.raises(ValueError, match="pooling is 'median'; expected one of mean, max, attention"):
        PooledScores(6, "median")


def test_only_the_clips_of_a_subset_are_evaluated(packed: Path, tmp_path: Path) -> None:
    shutil.copytree(packed, tmp_path / "pack")
    add_subset(tmp_path / "pack", "few", np.array([1, 5, 7, 8]))
    pack = Pack(tmp_path / "pack")
    assert select_clips(pack, ["test"], None, "few").tolist() == [5, 7, 8]
    figures = evaluate(LoudnessRunner(), pack, splits=["test"], subset="few", draws=0, quiet=True)
    assert (figures["clips"], figures["subset"]) == (3, "few")
    with pytest.raises(ValueError, match="no subset 'many'; there are: few"):
        evaluate(LoudnessRunner(), pack, subset="many", quiet=True)
    add_subset(tmp_path / "pack", "early", np.array([0, 1]))
    with pytest.raises(ValueError, match="no clips with split test and subset early; choose others"):
        select_clips(Pack(tmp_path / "pack"), ["test"], None, "early")


def test_a_share_of_the_classes_is_drawn_by_the_seed(many: Pack, tmp_path: Path) -> None:
    def drawn(seed: int) -> list[str]:
        out = tmp_path / str(seed)
        figures = evaluate(ManyLabels(40), many, class_share=0.2, seed=seed, out=out, draws=10, quiet=True)
        rows = list(csv.DictReader((out / "per_class.csv").read_text().splitlines()))
        assert figures["classes"] == len(rows) == round(0.2 * whole["classes"])
        ap = [float(row["ap"]) for row in rows if row["ap"]]
        assert figures["map"] == pytest.approx(np.mean(ap), abs=1e-12)
        for row in rows:
            assert row == every[row["label"]]
        names = json.loads(pq.read_schema(out / "scores.parquet").metadata[b"labels"])
        assert len(names) == 40  # scores are of all labels all the same
        return [row["label"] for row in rows]

    whole = evaluate(ManyLabels(40), many, out=tmp_path / "whole", draws=0, quiet=True)
    rows = csv.DictReader((tmp_path / "whole" / "per_class.csv").read_text().splitlines())
    every = {row["label"]: row for row in rows}
    assert drawn(0) == drawn(0) != drawn(1)
    for share in (0.0, 1.5):
        with pytest.raises(ValueError, match="class_share is .*: expected more than 0 and at most 1"):
            evaluate(ManyLabels(40), many, class_share=share, quiet=True)


def test_classes_carry_their_priors(pack: Pack, tmp_path: Path) -> None:
    def priors(runner: LoudnessRunner) -> tuple[list[tuple[float, ...]], object]:
        figures = evaluate(runner, pack, splits=["test"], out=tmp_path, draws=0, quiet=True)
        rows = csv.DictReader((tmp_path / "per_class.csv").read_text().splitlines())
        return [(float(row["prior"]), float(row["training_prior"])) for row in rows], figures[
            "training_prior_of"
        ]

    names, targets = pack.label_names(), pack.targets(np.arange(12)) > 0
    share = [targets[:, names.index(name)] for name in ("quiet", "loud")]
    expected = [(column[4:].mean(), column[:4].mean()) for column in share]
    assert priors(LoudnessRunner()) == (expected, "split train")
    runner = LoudnessRunner()
    runner.artifact.training = {"data": pack.fingerprint, "config": {"where": {"licence": ["CC0"]}}}
    expected = [(column[4:].mean(), column[1::2].mean()) for column in share]
    assert priors(runner) == (expected, "the model's training")


def test_training_on_a_subset_or_a_fraction_is_taken_at_its_word(packed: Path, tmp_path: Path) -> None:
    shutil.copytree(packed, tmp_path / "pack")
    add_subset(tmp_path / "pack", "few", np.array([1, 5, 7, 8]))
    pack, runner = Pack(tmp_path / "pack"), LoudnessRunner()

    def trained(**config: object) -> list[int]:
        runner.artifact.training = {"data": pack.fingerprint, "config": config}
        return clips_trained_on(runner.artifact, pack).tolist()

    assert trained(train_subset="few") == [1, 5, 7, 8]
    assert trained(train_splits=["test"], train_subset="few") == [5, 7, 8]
    assert trained(validation_subset="few") == [0, 2, 3, 4, 6, 9, 10, 11]
    assert trained(validation_subset="few", validation_splits=["train"]) == [0, *range(2, 12)]
    third = np.flatnonzero(fraction_of_groups(pack.groups, 1 / 3)).tolist()
    assert trained(train_fraction=1 / 3) == third and len(third) == 4
    # Of which clips a third was taken is not known here: all are counted.
    assert trained(train_fraction=1 / 3, validation_fraction=0.2) == list(range(12))


def test_memory_does_not_grow_with_the_clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("auricle.evaluation.MEMORY", 2**19)
    monkeypatch.setattr("auricle.evaluation.files.BUFFER", 2**16)
    pack, runner = many_labels_pack(tmp_path, clips=240, labels=3000), ManyLabels(3000)
    evaluate(runner, pack, draws=0, quiet=True)  # what is loaded once is loaded
    select, peaks = pack.select, []
    for clips in (60, 240):
        pack.select = lambda splits=None, where=None, n=clips: select(splits, where)[:n]  # type: ignore
        tracemalloc.start()
        try:
            evaluate(runner, pack, batch=4, draws=0, threads=1, out=tmp_path / "out", quiet=True)
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    # As tables of all pairs, the further 180 clips would be 2.2 MB of scores, as much turned, and targets.
    assert peaks[1] < peaks[0] + 0.7e6, peaks


def test_draws_are_as_many_as_can_be_paid_for(many: Pack, monkeypatch: pytest.MonkeyPatch) -> None:
    assert affordable_draws(400, 50) == affordable_draws(1, 1) == 1000
    assert affordable_draws(100_000, 3087) == 64
    assert affordable_draws(1_000_000, 30_871) == 0
    assert affordable_draws(1_000_000, 1) == 268  # weights of draws and clips are held
    monkeypatch.setattr("auricle.evaluation.DRAWN_PAIRS", 100)
    figures = evaluate(ManyLabels(40), many, quiet=True)
    assert "intervals" not in figures and "50 draws of 60 clips x" in figures["intervals_left_out"]
    monkeypatch.setattr("auricle.evaluation.MICRO_PAIRS", 100)
    asked = evaluate(ManyLabels(40), many, draws=7, quiet=True)
    assert asked["interval_draws"] == 7 and "intervals_left_out" not in asked
    assert set(METRICS) - set(asked["intervals"]) == {"micro_ap", "micro_auc"}


def evaluate_verb(
    capsys: pytest.CaptureFixture[str], model: Path, pack: Path, *options: str
) -> tuple[list[str], list[str]]:
    """Lines of standard output and of standard error."""
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", str(model), str(pack), *options])
    assert not ended.value.code
    printed = capsys.readouterr()
    return printed.out.splitlines(), printed.err.splitlines()


@pytest.fixture(scope="module")
def barks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pack in which the tiny model knows dog and rain, and not eight birds."""
    folder = tmp_path_factory.mktemp("barks")
    rows, noise = ["path,labels,split"], np.random.default_rng(0).uniform(-1, 1, tiny_model.WINDOW)
    labels = ("dog", "rain", "dog;bird 1", "bird 2;bird 3", "", "bird 4;bird 5;bird 6;bird 7;bird 8")
    for index, label in enumerate(labels):
        soundfile.write(folder / f"{index}.wav", noise * (index + 1) / 9, tiny_model.RATE)
        rows.append(f"{index}.wav,{label},{'train' if index < 2 else 'test'}")
    (folder / "clips.csv").write_text("\n".join(rows))
    pack_corpus(folder / "clips.csv", folder / "pack", rate=tiny_model.RATE, jobs=1, quiet=True)
    return folder / "pack"


def test_the_table_says_over_what_the_figures_are(
    barks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tiny_model.save(tmp_path / "model").path
    out, err = evaluate_verb(capsys, model, barks, "--split", "test")
    assert out[-7:] == [
        "4 clips of 4 recordings, 2 classes",
        "no interval of auc, ece_top: draws of 4 recordings all give the same figure",
        "mAP is not defined for 1 of 2 classes: left out of its mean: rain",
        "AUC is not defined for 1 of 2 classes: left out of its mean: rain",
        "labels of the pack that the model lacks, left out: 8: bird 1, bird 2, bird 3, bird 4, bird 5, ...",
        "labels of the model that the pack lacks, left out: 1: clock",
        "clips without any of 2 labels, left out of accuracy: 3",
    ]
    warned = [line for line in err if "warning" in line]
    assert len(warned) == 1 and "model does not keep which clips it was trained on" in warned[0]


def test_evaluating_on_the_clips_of_the_training_is_warned_of(
    barks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    training = {"data": Pack(barks).fingerprint, "config": {"train_splits": ["train"]}}
    model = tiny_model.save(tmp_path / "model", training=training).path
    for options, words in (
        (["--split", "train"], "was trained on these clips, or on some of them"),
        (["--format", "json"], "was trained on 2 of these 6 clips, or on some of them"),
        (["--split", "test"], None),
    ):
        _, err = evaluate_verb(capsys, model, barks, *options)
        warned = [line for line in err if line.startswith("auricle: warning")]
        assert len(warned) == (words is not None) and all(words in line for line in warned)


def test_the_verb_takes_every_choice(
    barks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_model.save(tmp_path / "model").path
    shutil.copytree(barks, tmp_path / "pack")
    add_subset(tmp_path / "pack", "some", np.arange(5))
    options = "--subset some --pooling attention --class-share 0.5 --half --draws 3 --seed 4 --format json"
    out, _ = evaluate_verb(capsys, model, tmp_path / "pack", *options.split())
    figures = json.loads("\n".join(out))
    found = {name: figures[name] for name in ("subset", "pooling", "class_share", "interval_draws", "seed")}
    assert found == {
        "subset": "some",
        "pooling": "attention",
        "class_share": 0.5,
        "interval_draws": 3,
        "seed": 4,
    }
    assert (figures["clips"], figures["classes"], figures["stored_as"]) == (5, 1, "logits")
    monkeypatch.setattr("auricle.evaluation.DRAWN_PAIRS", 1)
    out, _ = evaluate_verb(capsys, model, tmp_path / "pack", "--class-share", "0.5")
    assert "the figures are over a random 50% of the classes, by seed 0" in out
    assert any(line.startswith("no intervals: 50 draws of 6 clips x 1 classes") for line in out)
