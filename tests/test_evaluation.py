"""Evaluation scores each clip by the artifact's windows, matches labels by name, and writes what it says."""

import csv
import json
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
from auricle.evaluation import evaluate, score_clips, select_clips
from auricle.metrics.ranking import bootstrap_intervals, summarise
from auricle.runners.windows import sigmoid
from auricle.shards import Pack

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
    assert rows[0] == "label,positives,ap,auc,d_prime,prior,training_prior"
    assert rows[2] == "loud,0,,,,0.0,0.0"
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


def test_a_model_that_shares_no_label_is_refused(pack: Pack) -> None:
    runner = LoudnessRunner()
    runner.artifact.labels = ("Loud", "Quiet", "other")
    with pytest.raises(ValueError, match="shares no label with the model .Loud, Quiet, other"):
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
    assert out[-6:] == [
        "4 clips of 4 recordings, 2 classes",
        "mAP is not defined for 1 of 2 classes: left out of its mean: rain",
        "AUC is not defined for 1 of 2 classes: left out of its mean: rain",
        "labels of the pack that the model lacks, left out: 8: bird 1, bird 2, bird 3, bird 4, bird 5, ...",
        "labels of the model that the pack lacks, left out: 1: clock",
        "clips without any of the 2 labels, left out of accuracy: 3",
    ]
    assert not [line for line in err if "warning" in line]


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
