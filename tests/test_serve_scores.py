"""Scores that are kept: the same numbers as the command line's, on the model's grid and on a finer one."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
import tiny_model

from auricle import formats
from auricle.artifact import Artifact, load_artifact
from auricle.events import EventConfig, events_of, find_events, stretches, with_onset
from auricle.probabilities import to_scores
from auricle.serve import keptscores
from auricle.serve.keptscores import KeptScores, ScoreWriter, fine_hop
from auricle.tagging import Tagger, Windows

HOP = 500  # a quarter of the model's
CALIBRATION = {"kind": "affine", "scale": [0.5, 2.0, 1.25], "offset": [0.1, -0.4, 0.0]}


def kept_of(model: Path | str, sound: Path, folder: Path, hop: int = HOP) -> KeptScores:
    folder.mkdir(exist_ok=True)
    tagger, writer = Tagger(model, threads=1), ScoreWriter(folder, lambda size: None)
    for part in tagger.windows(sound, hop=hop):
        writer.add(part)
    writer.finish()
    return KeptScores(folder, tagger.artifact, hop)


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("calibrated") / "model"
    tiny_model.save(folder, calibration=CALIBRATION, tail="align")
    return folder


def sound(folder: Path, samples: int) -> Path:
    rng = np.random.default_rng(samples)
    path = folder / f"{samples}.wav"
    level = np.abs(np.sin(np.arange(samples) / 1500))  # sounds come and go
    soundfile.write(path, level * rng.uniform(-1, 1, samples), tiny_model.RATE)
    return path


# Shorter than a window, exactly one, on the model's grid, on the finer one only, on neither.
@pytest.mark.parametrize("samples", [900, 2000, 24_000, 24_500, 25_123])
@pytest.mark.parametrize("kind", ["model", "calibrated"])
def test_what_is_kept_gives_what_the_tagger_gives(
    samples: int, kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    model = request.getfixturevalue(kind)
    path = sound(tmp_path, samples)
    kept = kept_of(model, path, tmp_path / "kept")
    tagger = Tagger(model, threads=1)
    for hop in (500, 1000, 2000):
        wanted: dict[str, Any] = {"hop": hop / tiny_model.RATE, "top": None}
        for more in ({"windows": True}, {"windows": False, "events": EventConfig(onset=0.4, offset=0.3)}):
            expected = list(tagger.follow(path, **wanted, **more))
            assert list(kept.tagger().follow(path, **wanted, **more)) == expected
        scored = list(kept.tagger().follow(path, hop=wanted["hop"], scores=True))[:-1]
        for window, expected in zip(
            scored, tagger.follow(path, hop=wanted["hop"], scores=True), strict=False
        ):
            assert window["on_grid"] == expected["on_grid"]
            assert window["scores"].tobytes() == expected["scores"].tobytes()


def test_a_hop_that_was_not_scored_is_refused(model: Path, tmp_path: Path) -> None:
    kept = kept_of(model, sound(tmp_path, 8000), tmp_path / "kept")
    for hop in (499, 750, 2500, 0):
        with pytest.raises(ValueError, match=r"expected 0.0625 s or a whole multiple, up to 0.25 s"):
            kept.rows(hop)


CONFIGS = [
    EventConfig(),
    EventConfig(onset=0.45, offset=0.35),
    EventConfig(onset=0.3, max_gap=0.5),
    EventConfig(onset=0.4, offset=0.3, min_length=0.3, max_gap=0.2),
    EventConfig(onset=0.4, labels={"dog": {"onset": 0.2}, "rain": {"smooth": 0.3}}),
    EventConfig(onset=0.4, smooth=0.4),
    EventConfig(onset=0.0),
    EventConfig(onset=1.0),
]


def restless(folder: Path, model: Path) -> KeptScores:
    """Logits that go up and down, at the ends of a recording too."""
    folder.mkdir()
    rng, count = np.random.default_rng(5), 400
    writer = ScoreWriter(folder, lambda size: None)
    starts = np.append(np.arange(count - 1) * HOP, (count - 2) * HOP + 123)
    logits = np.cumsum(rng.normal(0, 1, (count, 3)), axis=0).astype(np.float32)
    logits -= logits.mean(0)
    for at in range(0, count, 7):
        part = slice(at, at + 7)
        grid = np.arange(count)[part] < count - 1
        writer.add(Windows(starts[part], starts[part] + 2000, grid, logits[part], np.zeros((0, 0))))
    writer.finish()
    return KeptScores(folder, load_artifact(model), HOP)


@pytest.mark.parametrize("portion", [1 << 20, 500])
@pytest.mark.parametrize("config", CONFIGS)
def test_events_found_at_once_are_those_found_one_by_one(
    config: EventConfig, portion: int, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keptscores, "PORTION", portion)
    kept = restless(tmp_path / "kept", model)
    for hop in (500, 2000):
        rows, _ = kept.rows(hop)
        times = kept.windows[rows, :2] / tiny_model.RATE
        scores = to_scores(kept.artifact)(np.asarray(kept.logits[rows]))
        expected = find_events(times, scores, tiny_model.LABELS, config)
        found, total = kept.events(config, hop)
        assert found == expected and total == len(expected)
        assert kept.events(config, hop, 3) == (expected[:3], total)


def test_smoothed_scores_are_kept_and_found_again(tmp_path: Path) -> None:
    smoothing = EventConfig(onset=0.4, smooth=0.4, labels={"dog": {"smooth": 0.0}, "rain": {"smooth": 0.2}})
    tiny_model.save(tmp_path / "model", events=smoothing.as_dict())
    kept = restless(tmp_path / "kept", tmp_path / "model")
    for config in (smoothing, with_onset(smoothing, 0.6), with_onset(smoothing, 0.2)):
        before = [kept.events(config, hop) for hop in (500, 2000)]
        if config is smoothing:
            assert not (tmp_path / "kept" / "smoothed").exists()
            kept.keep_smoothed(lambda size: None)
        assert (tmp_path / "kept" / "smoothed").stat().st_size == kept.logits.size * 8
        assert [kept.events(config, hop) for hop in (500, 2000)] == before
        (whole,) = kept.tagger().follow("a", windows=False, events=config, hop=500 / tiny_model.RATE)
        assert whole["events"] == before[0][0] and before[0][1] > 5
        # The best score of an event's stretch is its own, as exports and the time-line tell it.
        for hop, (events, _) in zip((500, 2000), before, strict=True):
            peak = kept.peaks(config, hop)
            assert all(peak(e["label"], e["start"], e["end"]) == e["score"] for e in events)
        for event in before[0][0]:
            place, span = (
                kept.artifact.labels.index(event["label"]),
                (event["start"] + 1e-6, event["end"] - 1e-6),
            )
            assert kept.columns(*span, 1, [place], smooth=True)[0, 0] == pytest.approx(
                event["score"], rel=1e-5
            )


def test_there_are_events_to_be_found(model: Path, tmp_path: Path) -> None:
    kept = restless(tmp_path / "kept", model)
    counts = [kept.events(config, 500)[1] for config in CONFIGS]
    assert sum(count > 5 for count in counts) >= 6, counts


def test_the_slider_sets_where_every_sound_begins() -> None:
    config = EventConfig(
        onset=0.5,
        offset=0.4,
        max_gap=1.0,
        labels={"dog": {"onset": 0.9, "offset": 0.8}, "cat": {"smooth": 2.0}},
    )
    low = with_onset(config, 0.2)
    assert (low.of("dog").onset, low.of("dog").offset) == (0.2, 0.2)
    assert (low.of("cat").onset, low.of("cat").offset, low.of("cat").smooth) == (0.2, 0.2, 2.0)
    assert with_onset(config, 0.95).of("dog").offset == 0.8
    assert with_onset(config, 0.95).max_gap == 1.0


def test_columns_are_the_best_of_the_windows_that_stand_for_them(model: Path, tmp_path: Path) -> None:
    kept = kept_of(model, sound(tmp_path, 25_123), tmp_path / "kept")
    times = kept.windows[:, :2] / tiny_model.RATE
    bounds, scores = stretches(*times.T), to_scores(kept.artifact)(np.asarray(kept.logits))
    for start, end, columns in (
        (0.0, 3.2, 5),
        (0.0, 3.2, 300),
        (1.01, 1.02, 4),
        (2.9, 9.0, 7),
        (5.0, 6.0, 2),
    ):
        found = kept.columns(start, end, columns, [2, 0])
        assert found.dtype == np.float32 and found.shape == (2, columns)
        for column in range(columns):
            low, high = (start + (end - start) * (column + n) / columns for n in (0, 1))
            inside = [w for w in range(len(scores)) if bounds[w] < high - 1e-9 and bounds[w + 1] > low + 1e-9]
            if not inside:
                assert np.isnan(found[:, column]).all()
                continue
            # A bound that is met may count the window beside it.
            expected = scores[inside][:, [2, 0]].max(0).astype(np.float32)
            near = [w for w in range(len(scores)) if bounds[w] <= high + 1e-9 and bounds[w + 1] >= low - 1e-9]
            most = scores[near][:, [2, 0]].max(0).astype(np.float32)
            assert (found[:, column] >= expected).all() and (found[:, column] <= most).all()


def test_the_best_of_a_label_is_that_of_its_windows(model: Path, tmp_path: Path) -> None:
    kept = kept_of(model, sound(tmp_path, 25_123), tmp_path / "kept")
    scores, times = kept.best()
    every = to_scores(kept.artifact)(np.asarray(kept.logits))
    assert scores.tolist() == every.max(0).tolist()
    assert times.tolist() == (kept.windows[every.argmax(0), 0] / tiny_model.RATE).tolist()


def artifact_of(hop: float, rate: int = 16_000, events: dict[str, Any] | None = None) -> Any:
    about = {"events": events, "thresholds": None, "labels": ("dog",)}
    return SimpleNamespace(hop=round(hop * rate), rate=rate, **about)


def test_the_time_line_has_a_row_a_second_or_more_often_on_a_grid_that_has_the_models() -> None:
    hops = {2.0: 1.0, 1.0: 1.0, 0.96: 0.96, 5.0: 1.0, 2.5: 0.625, 10.0: 1.0, 0.02: 0.02}
    for hop, expected in hops.items():
        assert fine_hop(artifact_of(hop)) / 16_000 == expected
    assert fine_hop(artifact_of(2.0, events={"hop": 0.5})) / 16_000 == 0.5
    assert fine_hop(artifact_of(2.0, events={"hop": 0.333})) / 16_000 == 1.0  # no part of both


def test_formats_write_what_was_kept(model: Path, tmp_path: Path) -> None:
    path = sound(tmp_path, 25_123)
    kept = kept_of(model, path, tmp_path / "kept")
    artifact: Artifact = load_artifact(model)
    config = events_of(artifact)
    about = formats.About(labels=artifact.labels, rate=artifact.rate)
    for name in sorted(set(formats.SUFFIXES) - {"parquet"}):
        texts = []
        for tagger in (Tagger(model, threads=1), kept.tagger()):
            (result,) = tagger.follow(path, windows=False, events=config, hop=HOP / artifact.rate)
            with (tmp_path / "out").open("w", newline="") as stream:
                formats.write(name, [result], stream, about)
            texts.append((tmp_path / "out").read_text())
        assert texts[0] == texts[1] and texts[0]
