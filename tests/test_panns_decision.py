"""A net that decides for steps within its window: time-lines have a row for each, equal to the net's own."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed")
import soundfile
import torch
from panns_release import front_end, frozen_arrays, released_shapes, write_checkpoint
from running import run
from scipy.special import expit

from auricle.artifact import Artifact, load_artifact, save_artifact
from auricle.embedding import embed_recording
from auricle.evaluation.lines import score_lines
from auricle.events import EventConfig
from auricle.frontend import LogMel
from auricle.interop.panns import import_panns
from auricle.presets import panns
from auricle.report.timeline import gather
from auricle.runners import load_runner
from auricle.runners.torch import build_net
from auricle.runners.windows import step_spans
from auricle.tagging import Tagger

LABELS = ("Speech", "Dog", "Rain", "Siren", "Music")
RATE, WINDOW, STEP = 32000, 64000, 10240  # 2 s of 6 steps, the last of 0.4 s


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("decision")
    arrays = frozen_arrays(released_shapes("cnn14_decision", width=0.125)) | front_end(RATE)
    path = write_checkpoint(folder / "Cnn14_DecisionLevelMax.pth", arrays)
    return import_panns(path, folder / "model", labels=LABELS, window=WINDOW / RATE)


@pytest.fixture(scope="module")
def tagger(artifact: Artifact) -> Tagger:
    return Tagger(artifact.path, threads=1, batch=2)


@pytest.fixture(scope="module")
def samples() -> np.ndarray:
    """Five seconds whose loudness and colour change: windows at 0 and 2 s, and one aligned to the end."""
    rng = np.random.default_rng(0)
    noise = rng.standard_normal(5 * RATE) * (0.02 + 0.2 * np.sin(np.arange(5 * RATE) / 9000) ** 2)
    return noise.clip(-1, 1).astype(np.float32)


@pytest.fixture(scope="module")
def recording(samples: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sound") / "noise.wav"
    soundfile.write(path, samples, RATE, subtype="FLOAT")
    return path


def by_hand(artifact: Artifact, window: np.ndarray) -> np.ndarray:
    """(S, K) scores of a window's steps, straight from the net."""
    padded = np.zeros(WINDOW, np.float32)
    padded[: len(window)] = window
    with torch.inference_mode():
        logits, _ = build_net(artifact).forward_steps(LogMel(panns())(torch.from_numpy(padded[None])))  # type: ignore[operator]
    return expit(logits[0].numpy())


def expected_rows(artifact: Artifact, samples: np.ndarray) -> list[tuple[float, float, np.ndarray]]:
    first, second, last = (by_hand(artifact, samples[start:][:WINDOW]) for start in (0, 64000, 96000))
    rows = []
    for begin, steps in ((0, first), (64000, second)):
        for step, scores in enumerate(steps):
            end = begin + (WINDOW if step == 5 else (step + 1) * STEP)
            rows.append((begin + step * STEP, end, scores))
    for step, scores in enumerate(last):  # from 3 s on, of which up to 4 s are told already
        begin, end = 96000 + step * STEP, 160000 if step == 5 else 96000 + (step + 1) * STEP
        if end > 128000:
            rows.append((max(begin, 128000), end, scores))
    return [(begin / RATE, end / RATE, scores) for begin, end, scores in rows]


def test_rows_are_the_nets_own_steps_each_moment_once_and_the_clips_score_is_the_greatest(
    artifact: Artifact, tagger: Tagger, samples: np.ndarray, recording: Path
) -> None:
    assert artifact.step == STEP and artifact.architecture["step"] == STEP
    result = tagger.tag(recording, windows=True, scores=True, top=None, threshold=0.0)
    rows, expected = result["windows"], expected_rows(artifact, samples)
    assert len(rows) == len(expected) == 6 + 6 + 3
    for row, (start, end, scores) in zip(rows, expected, strict=True):
        assert (row["start"], row["end"]) == pytest.approx((start, end))
        np.testing.assert_allclose(row["scores"], scores, atol=1e-5)
    assert [row["on_grid"] for row in rows] == [True] * 12 + [False] * 3
    np.testing.assert_array_equal([row["start"] for row in rows[1:]], [row["end"] for row in rows[:-1]])
    told = {tag["label"]: tag["score"] for tag in result["tags"]}
    greatest = np.max([scores for _, _, scores in expected], axis=0)
    np.testing.assert_allclose([told[label] for label in LABELS], greatest, atol=1e-5)
    assert np.ptp([row["scores"] for row in rows], axis=0).max() > 0.05, "all steps are alike"


def test_a_window_alone_scores_what_the_net_says_of_the_clip(
    artifact: Artifact, tagger: Tagger, samples: np.ndarray, tmp_path: Path
) -> None:
    soundfile.write(tmp_path / "clip.wav", samples[:WINDOW], RATE, subtype="FLOAT")
    result = tagger.tag(tmp_path / "clip.wav", top=None, threshold=0.0)
    logits, _ = load_runner(artifact, threads=1, batch=1).run(samples[None, :WINDOW])
    told = {tag["label"]: tag["score"] for tag in result["tags"]}
    np.testing.assert_allclose([told[label] for label in LABELS], expit(logits[0]), atol=1e-5)


def test_what_is_padding_has_no_step(tagger: Tagger, samples: np.ndarray, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "short.wav", samples[:20000], RATE, subtype="FLOAT")
    rows = tagger.tag(tmp_path / "short.wav", windows=True)["windows"]
    assert [(row["start"], row["end"]) for row in rows] == [(0, 0.32), (0.32, 0.625)]


def test_events_and_time_lines_and_their_evaluation_see_the_same_steps(
    artifact: Artifact, tagger: Tagger, samples: np.ndarray, recording: Path
) -> None:
    expected = expected_rows(artifact, samples)
    level = float(np.median([scores[0] for _, _, scores in expected]))
    found = tagger.tag(recording, events=EventConfig(onset=level, offset=level))["events"]
    edges = {event[name] for event in found for name in ("start", "end") if event["label"] == LABELS[0]}
    assert edges and any(round(edge % 2 / 0.32, 6).is_integer() for edge in edges - {0.0, 5.0})
    line = gather(tagger.windows(recording), LABELS, RATE, path="noise.wav", top=5)
    assert len(line.scores) == len(expected)
    pack: Any = SimpleNamespace(rate=RATE, samples=lambda clip: np.round(samples * 32768).astype(np.int16))
    runner = load_runner(artifact, threads=1, batch=4)
    clips = np.zeros(3, np.int64)
    for scored in score_lines(runner, pack, clips, [3, 0], hop=WINDOW, batch=4):
        np.testing.assert_allclose(scored.times, [row[:2] for row in expected], atol=1e-9)
        np.testing.assert_allclose(scored.scores, [row[2][[3, 0]] for row in expected], atol=1e-3)


def test_embeddings_stay_those_of_windows(tagger: Tagger, recording: Path) -> None:
    parts = list(embed_recording(tagger, str(recording)))
    assert np.concatenate([part.starts for part in parts]).tolist() == [0, 2, 3]
    assert sum(len(part.embeddings) for part in parts) == 3


def test_a_graph_has_a_row_for_each_window_and_the_greatest_of_them_for_a_clip(
    tagger: Tagger, recording: Path
) -> None:
    """As every runner that cannot tell steps apart: the service's, and ONNX."""

    class Plain:
        artifact, run = tagger.artifact, tagger.runner.run

    result = Tagger(runner=Plain()).tag(recording, windows=True, scores=True, top=None, threshold=0.0)
    assert [row["start"] for row in result["windows"]] == [0, 2, 3]
    told = {tag["label"]: tag["score"] for tag in result["tags"]}
    greatest = np.max([row["scores"] for row in result["windows"]], axis=0)
    np.testing.assert_allclose([told[label] for label in LABELS], greatest, atol=1e-5)


def test_the_command_line_tells_steps(
    artifact: Artifact, recording: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ("tag", recording, "--model", artifact.path, "--windows", "--top", "1", "--format", "csv")
    code, said, _ = run(capsys, *arguments)
    rows = [line.split(",") for line in said.splitlines()[1:]]
    assert code == 0 and any("0.32" in row and "0.64" in row for row in rows)


def test_steps_of_windows_that_overlap_go_on_where_the_others_ended() -> None:
    told, starts, stops = step_spans(100, 200, step=30, count=3, covered=165)
    assert told.tolist() == [False, False, True] and (starts.tolist(), stops.tolist()) == ([165], [200])
    told, starts, stops = step_spans(0, 40, step=30, count=3, covered=0)
    assert told.tolist() == [True, True, False] and (starts.tolist(), stops.tolist()) == ([0, 30], [30, 40])


def test_a_step_longer_than_a_window_is_refused(artifact: Artifact, tmp_path: Path) -> None:
    described = load_artifact(artifact.path).description()
    described = {name: value for name, value in described.items() if name not in ("checksum", "attachments")}
    for step in (WINDOW + 1, 0.5, -3, "long"):
        described["architecture"] = artifact.architecture | {"step": step}
        with pytest.raises(ValueError, match="architecture.step': expected samples, at most a window"):
            save_artifact(
                tmp_path / "model",
                weights=artifact.read_weights(),
                check=artifact.read_check()[:2],
                **described,
            )
