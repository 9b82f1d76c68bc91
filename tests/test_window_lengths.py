"""Windows of another length than the model's own: the scores of those stretches, or one clear refusal."""

import dataclasses
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import soundfile
import tiny_model
import tiny_onnx
from running import run
from tiny_model import CONFIG, RATE, WINDOW

from auricle.artifact import Artifact, embedding_input, load_artifact, save_artifact, save_changed
from auricle.evaluation.events import open_model
from auricle.events import EventConfig, event_config, events_of
from auricle.features import FeatureConfig
from auricle.probabilities import of_window
from auricle.runners import load_runner
from auricle.runners.lengths import at_window, runner_at, with_window
from auricle.tagging import Tagger, TagOptions, tag_file

SCENE = Path(__file__).parents[1] / "examples" / "scene.ogg"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose windows overlap: half a window of 0.25 s."""
    return tiny_model.save(tmp_path_factory.mktemp("lengths") / "tiny", hop=WINDOW // 2).path


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sound") / "a.wav"
    return write(path, 3.01)


def write(path: Path, seconds: float, seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    level = np.repeat(10 ** rng.uniform(-2.5, -0.5, math.ceil(seconds * 8)), RATE // 8)[
        : round(seconds * RATE)
    ]
    soundfile.write(path, level * rng.standard_normal(len(level)).clip(-3, 3) / 3, RATE, subtype="PCM_16")
    return path


def samples_of(path: Path) -> np.ndarray:
    return soundfile.read(path, dtype="float32")[0]


def by_hand(model: Path, slices: list[np.ndarray]) -> np.ndarray:
    """(W, K) logits of stretches, each given to the graph alone."""
    session = onnxruntime.InferenceSession(str(model / "model.onnx"), providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(["logits"], {"waveform": part[None]})[0] for part in slices])


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x.astype(np.float64)))


# --- scores


@pytest.mark.parametrize("length", [400, 1001, 3000], ids=str)
def test_scores_are_those_of_the_stretches_by_themselves(model: Path, recording: Path, length: int) -> None:
    """The hop is the model's share of a window, half of it; the last window is aligned to the end."""
    parts = list(Tagger(model, threads=1, window=length / RATE).windows(recording))
    starts = np.concatenate([part.starts for part in parts])
    sound, hop = samples_of(recording), round(length / 2)
    last = len(sound) - length
    assert starts.tolist() == sorted({*range(0, last + 1, hop), last})
    assert np.concatenate([part.stops for part in parts]).tolist() == (starts + length).tolist()
    expected = by_hand(model, [sound[start : start + length] for start in starts])
    logits = np.concatenate([part.logits for part in parts])
    np.testing.assert_allclose(logits, expected, atol=1e-4)
    own = by_hand(model, [np.pad(sound, (0, WINDOW))[start : start + WINDOW] for start in starts])
    assert np.abs(own - expected).max() > 0.02, "of the model's own windows they would be others"


def test_a_window_and_a_hop_that_are_given_are_those(model: Path, recording: Path) -> None:
    result = Tagger(model, threads=1).tag(recording, windows=True, top=None, window=0.1, hop=0.025)
    sound = samples_of(recording)
    spans = [(round(one["start"] * RATE), round(one["end"] * RATE)) for one in result["windows"]]
    last = len(sound) - 800
    assert spans == [(start, start + 800) for start in sorted({*range(0, last + 1, 200), last})]
    scores = sigmoid(by_hand(model, [sound[start:stop] for start, stop in spans]))
    told = [{tag["label"]: tag["score"] for tag in one["tags"]} for one in result["windows"]]
    labels = tiny_model.LABELS
    np.testing.assert_allclose([[one[label] for label in labels] for one in told], scores, atol=1e-4)
    on_grid = np.array([start % 200 == 0 for start, _ in spans])  # this model drops the tail
    whole = {tag["label"]: tag["score"] for tag in result["tags"]}
    np.testing.assert_allclose([whole[label] for label in labels], scores[on_grid].mean(0), atol=1e-4)


def test_the_bundled_model_hears_other_windows() -> None:
    tagger = Tagger("default", threads=1, window=1.0)
    artifact = load_artifact("default")
    assert tagger.artifact.hop == round(16000 * artifact.hop / artifact.window)
    own = load_runner(artifact, threads=1)
    parts = list(tagger.windows(SCENE, start=4, end=8, hop=8000))
    session = onnxruntime.InferenceSession(str(artifact.state_path), providers=["CPUExecutionProvider"])
    from auricle.audio import blocks

    sound = np.concatenate([b.samples for b in blocks(SCENE, 16000, start=4, end=8)])
    starts = range(0, len(sound) - 16000 + 1, 8000)
    slices = np.stack([sound[start : start + 16000] for start in starts])
    expected = session.run(["logits"], {"waveform": slices})[0]
    on_grid = np.concatenate([part.logits[part.on_grid] for part in parts])
    np.testing.assert_allclose(on_grid, expected, atol=1e-3)
    padded = np.pad(slices, ((0, 0), (0, artifact.window - 16000)))
    assert np.abs(own.run(padded)[0] - expected).max() > 1


def test_a_recording_shorter_than_a_window_is_padded(model: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "short.wav", 0.2)
    (part,) = Tagger(model, threads=1, window=0.5).windows(path)
    assert (part.starts.tolist(), part.stops.tolist()) == ([0], [1600])
    expected = by_hand(model, [np.pad(samples_of(path), (0, 4000 - 1600))])
    np.testing.assert_allclose(part.logits, expected, atol=1e-4)


@pytest.mark.parametrize("format", ["table", "csv", "jsonl", "audacity", "raven", "webvtt"])
def test_the_models_own_length_gives_the_same_bytes(
    format: str, model: Path, recording: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = ["tag", recording, "--model", model, "--threads", 1, "--format", format]
    for more in (["--windows"], ["--windows", "--hop", 0.1], ["--events"]):
        without = run(capsys, *plain, *more)
        assert run(capsys, *plain, *more, "--window", 0.25) == without and without[0] == 0 and without[1]
        assert run(capsys, *plain, *more, "--window", 0.125)[1] not in ("", without[1])


def test_parquet_has_the_windows_that_were_asked_for(
    model: Path, recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import pyarrow.parquet as pq

    verb = ["tag", recording, "--model", model, "--format", "parquet", "--threads", 1, "--out"]
    assert run(capsys, *verb, tmp_path / "a.parquet", "--window", 0.125, "--quiet") == (0, "", "")
    rows = pq.read_table(tmp_path / "a.parquet").to_pylist()
    spans = [(row["start"], round(row["end"] - row["start"], 6)) for row in rows]
    assert spans[:3] == [(0.0, 0.125), (0.0625, 0.125), (0.125, 0.125)]


def test_processes_and_live_hear_what_one_process_hears(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [write(tmp_path / f"{seed}.wav", 1.3 + seed, seed) for seed in range(3)]
    verb = ["--model", model, "--threads", 1, "--format", "csv", "--window", 0.1, "--quiet"]
    one = run(capsys, "tag", *files, *verb, "--windows")
    assert one[0] == 0 and run(capsys, "tag", *files, *verb, "--windows", "--jobs", 2) == one
    alone = run(capsys, "tag", files[0], *verb, "--windows")
    assert run(capsys, "tag", "--live", files[0], *verb) == alone, "its hop is the share, below a second"
    assert alone[1] != run(capsys, "tag", files[0], *verb, "--windows", "--window", 0.2)[1]


def test_a_window_longer_than_a_second_is_begun_every_second_while_it_sounds(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "a.wav", 7)
    verb = ["tag", "--live", path, "--model", model, "--format", "csv", "--top", 1, "--window", 4, "--quiet"]
    rows = [line.split(",") for line in run(capsys, *verb)[1].splitlines()[1:]]
    assert [(row[1], row[2]) for row in rows] == [("0", "4"), ("1", "5"), ("2", "6"), ("3", "7")]


def test_a_run_into_a_folder_is_done_anew_for_other_windows(
    model: Path, recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "b.wav", 1)
    verb = ["tag", recording, tmp_path / "b.wav", "--model", model, "--threads", 1, "--format", "csv"]
    verb += ["--windows", "--out", f"{tmp_path}/tags/"]
    seen = []
    for more in ([], ["--window", 0.125], ["--window", 0.125], ["--window", 0.1], []):
        status, _, err = run(capsys, *verb, *more)
        assert status == 0
        (result,) = (tmp_path / "tags").rglob("a.wav.csv")
        seen.append((result.read_bytes(), "nothing to do" in err))
    assert [skipped for _, skipped in seen] == [False, False, True, False, False]
    assert len({content for content, _ in seen}) == 3 and seen[0][0] == seen[4][0]


def test_a_job_into_a_file_has_the_windows_of_one_recording_after_the_other(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [write(tmp_path / f"{seed}.wav", 1.3, seed) for seed in range(2)]
    verb = ["tag", *files, "--model", model, "--threads", 1, "--format", "csv", "--windows", "--quiet"]
    verb += ["--window", 0.1]
    plain = run(capsys, *verb)[1]
    assert run(capsys, *verb, "--out", tmp_path / "all.csv") == (0, "", "")
    assert (tmp_path / "all.csv").read_text() == plain and ",0.1," in plain


def test_a_time_line_is_drawn_of_the_windows(
    model: Path, recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from auricle.report import timeline_page

    drawn: list[Any] = []
    true = timeline_page.timeline_html
    with pytest.MonkeyPatch.context() as patch:

        def note(line: Any, *rest: Any) -> str:
            drawn.append(line)
            return true(line, *rest)

        patch.setattr(timeline_page, "timeline_html", note)
        for more in ([], ["--window", 0.25], ["--window", 0.125], ["--window", 0.125, "--hop", 0.125]):
            verb = ["timeline", recording, "--out", tmp_path / "x.html", "--model", model, "--threads", 1]
            assert run(capsys, *verb, *more) == (0, "", "")
    spans = [(line.starts[1] - line.starts[0], line.stops[0] - line.starts[0]) for line in drawn]
    assert spans == [(0.125, 0.25), (0.125, 0.25), (0.0625, 0.125), (0.125, 0.125)]


# --- in Python


def test_a_tagger_has_a_network_for_each_length_once(model: Path, recording: Path) -> None:
    tagger = Tagger(model, threads=1)
    assert tagger.at(None) is tagger and tagger.at(0.25) is tagger
    other = tagger.at(0.1)
    assert other is tagger.at(0.1) and other.artifact.window == 800 and tagger.artifact.window == WINDOW
    told = tagger.tag(recording, windows=True, window=0.1)
    assert told == other.tag(recording, windows=True)
    assert told == Tagger(model, threads=1, window=0.1).tag(recording, windows=True)
    assert told == tag_file(str(recording), TagOptions(model=str(model), windows=True, window=0.1, threads=1))
    assert told != tagger.tag(recording, windows=True)
    assert other.at(0.25).tag(recording) == tagger.tag(recording)


def test_a_runner_that_was_given_has_its_windows_alone(model: Path, recording: Path) -> None:
    tagger = Tagger(runner=load_runner(load_artifact(model), threads=1))
    assert tagger.tag(recording, window=0.25) == tagger.tag(recording)
    message = r"window is 0\.1 s; what scores here was made for windows of 0\.25 s"
    for asked in ({"window": 0.1}, {"events": EventConfig(window=0.1)}):
        with pytest.raises(ValueError, match=message):
            tagger.tag(recording, **asked)
    with pytest.raises(ValueError, match=message):
        Tagger(runner=tagger.runner, window=0.1)


# --- what takes no other length


def refused(capsys: pytest.CaptureFixture[str], model: Path, sound: Path, out: Path, window: float) -> str:
    out.write_text("as it was")
    status, printed, err = run(capsys, "tag", sound, "--model", model, "--window", window, "--out", out)
    assert (status, printed, out.read_text()) == (1, "", "as it was") and err.count("\n") == 1
    return err


@pytest.mark.parametrize(
    "window, said",
    [
        (0.007, "window is 0.007 s; tiny takes windows of 0.008 s or more"),
        (0.0001, "window is 0.0001 s; expected a sample or more, and at most 600 s"),
        (601, "window is 601 s; expected a sample or more, and at most 600 s"),
        (-1, "window is -1 s; expected a sample or more"),
        ("nan", "window is nan s; expected a sample or more"),
    ],
)
def test_a_length_that_no_window_has_is_one_line(
    window: float, said: str, model: Path, recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The graph's convolution is 64 samples long: 63 give no frame."""
    assert said in refused(capsys, model, recording, tmp_path / "out.csv", window)


def test_the_shortest_window_is_taken_and_the_hop_fits_into_it(
    model: Path, recording: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert with_window(load_artifact(model), 0.008).window == 64
    verb = ["tag", recording, "--model", model, "--threads", 1]
    assert run(capsys, *verb, "--window", 0.008)[0] == 0
    status, _, err = run(capsys, *verb, "--window", 0.1, "--hop", 0.2)
    assert status == 1 and "hop is 0.2 s; expected a sample or more, and at most 0.1 s" in err
    assert run(capsys, *verb, "--window", 0.5, "--hop", 0.3)[0] == 0, "longer than the model's own window"


def onnx_of_one_length(folder: Path) -> Artifact:
    from auricle.interop.onnx_import import import_onnx

    (folder / "m.onnx").write_bytes(tiny_onnx.content(("batch", tiny_onnx.WINDOW)))
    return import_onnx(
        folder / "m.onnx", folder / "m", rate=RATE, labels=list(tiny_model.LABELS), scores=False
    )


def onnx_that_cuts(folder: Path) -> Artifact:
    """Its input is of any length by its shape, and cut into rows of 400 samples: two are not one answer."""
    from auricle.interop.onnx_import import import_onnx

    (folder / "m.onnx").write_bytes(tiny_onnx.content(("batch", "samples")))
    return import_onnx(
        folder / "m.onnx",
        folder / "m",
        rate=RATE,
        labels=list(tiny_model.LABELS),
        window=tiny_onnx.WINDOW,
        scores=False,
    )


def tflite_of_one_length(folder: Path) -> Artifact:
    pytest.importorskip("ai_edge_litert")
    import tiny_tflite

    from auricle.interop.tflite import import_tflite

    (folder / "m.tflite").write_bytes(tiny_tflite.content())
    return import_tflite(
        folder / "m.tflite",
        folder / "m",
        rate=RATE,
        labels=list(tiny_model.LABELS),
        embedding=tiny_tflite.EMBEDDING,
    )


def torch_net(
    folder: Path,
    name: str,
    *,
    config: FeatureConfig = CONFIG,
    window: int = WINDOW,
    step: int = 0,
    **arguments: Any,
) -> Artifact:
    torch = pytest.importorskip("torch")
    from auricle.frontend import LogMel
    from auricle.models import build

    torch.set_num_threads(1)
    torch.manual_seed(0)
    net = build(name, num_classes=3, **arguments).eval()
    waveforms = np.random.default_rng(0).uniform(-1, 1, (1, window)).astype(np.float32)
    with torch.inference_mode():
        logits = net(LogMel(config)(torch.from_numpy(waveforms))).numpy()
    described: dict[str, Any] = {"name": name, "arguments": {"num_classes": 3} | arguments}
    fields = tiny_model.description() | {
        "inputs": [{"kind": "logmel", "rate": RATE, "features": dataclasses.asdict(config)}],
        "architecture": described | ({"step": step} if step else {}),
        "embedding_size": net.embedding_size,
        "window": window,
        "hop": window // 2,
    }
    weights = {key: value.numpy() for key, value in net.state_dict().items()}
    return save_artifact(folder / "m", weights=weights, check=(waveforms, logits), **fields)


def fully_connected(folder: Path) -> Artifact:
    return torch_net(folder, "fully_connected", input_shape=[1, 23, 16], units=4, layers=2)


def on_embeddings(folder: Path) -> Artifact:
    import test_embedding_models as heads

    below = tiny_model.save(folder / "embeds", hop=heads.HOP).path
    return heads.save_head(folder / "m", below)


def family(folder: Path) -> Artifact:
    from auricle.family import save_family

    members = {name: tiny_model.save(folder / name, labels=["dog", "rain", "clock"]).path for name in "ab"}
    parents = {"dog": [], "rain": [], "clock": ["dog"]}
    return save_family(
        folder / "m", members=members, gates={"dog": "b"}, labels=list(parents), parents=parents
    )


@pytest.mark.parametrize(
    "make, more",
    [
        (onnx_of_one_length, ""),
        (onnx_that_cuts, ""),
        (tflite_of_one_length, ""),
        (fully_connected, ""),
        (on_embeddings, ", so many of its embedder's make one"),
        (family, ", the length of its members'"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
@pytest.mark.parametrize("times", [0.5, 2])
def test_a_model_of_one_length_says_so_in_one_line(
    make: Any,
    more: str,
    times: float,
    recording: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    artifact = make(tmp_path)
    own = artifact.window / artifact.rate
    said = refused(capsys, artifact.path, recording, tmp_path / "out.csv", times * own)
    expected = f"window is {times * own:g} s; {artifact.name} takes windows of {own:g} s alone{more}"
    assert said == f"auricle: error: {expected}\n"
    assert run(capsys, "tag", recording, "--model", artifact.path, "--window", own)[0] == 0, "but its own"


@pytest.mark.parametrize("name", ["compact", "mn"])
def test_a_torch_net_of_any_length_hears_other_windows(name: str, tmp_path: Path, recording: Path) -> None:
    arguments: dict[str, Any] = {"stem": 4, "widths": [4, 8], "blocks": [1, 1]} if name == "compact" else {}
    artifact = torch_net(tmp_path, name, **({"width": 0.4} if name == "mn" else arguments))
    import torch

    from auricle.runners.torch import build

    (first, *_) = Tagger(artifact.path, threads=1, window=0.1).windows(recording)
    frontend, net = build(artifact)
    with torch.inference_mode():
        expected = net(frontend(torch.from_numpy(samples_of(recording)[None, :800]))).numpy()
    np.testing.assert_allclose(first.logits[:1], expected, atol=1e-4)


def test_a_net_that_decides_for_steps_does_so_in_other_windows(tmp_path: Path) -> None:
    step, bands = 32 * CONFIG.hop, dataclasses.replace(CONFIG, bands=32)
    heard: dict[str, Any] = {"config": bands, "window": 4 * step, "step": step}
    artifact = torch_net(tmp_path, "cnn14_decision", **heard, input_shape=[1, 126, 32], width=0.125)
    path, length = write(tmp_path / "a.wav", 3), 2 * step + CONFIG.window  # two steps, to the frame
    tagger = Tagger(artifact.path, threads=1, window=length / RATE)
    assert (tagger.artifact.window, tagger.artifact.hop) == (length, length // 2)
    (first, *_) = tagger.windows(path)
    steps, _ = runner_at(artifact, length / RATE, threads=1).run_steps(samples_of(path)[None, :length])
    assert steps.shape[1] == 2 and first.starts[:2].tolist() == [0, step]
    np.testing.assert_allclose(first.logits[:2], steps[0], atol=1e-4)


def test_a_model_that_is_broken_says_that_and_nothing_of_windows(tmp_path: Path) -> None:
    broken = tiny_model.save(
        tmp_path / "m", content=b"no graph", check=tiny_model.check_vector(tiny_model.graph())
    )
    with pytest.raises(ValueError, match="onnxruntime cannot load it"):
        with_window(broken, 0.1)


# --- what was fitted on other windows


def test_what_was_fitted_on_other_windows_is_told_in_one_line(
    model: Path, recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fitted = {
        "calibration": {"kind": "affine", "scale": [1.0] * 3, "offset": [0.0] * 3},
        "thresholds": [0.5, 0.5, 0.5],
    }
    made = save_changed(load_artifact(model), tmp_path / "m", name="m", **fitted).path
    verb = ["tag", recording, "--model", made, "--threads", 1]
    for more in ([], ["--windows"], ["--windows", "--window", 0.25], ["--events"]):
        assert run(capsys, *verb, *more)[2] == ""
    both = (
        "auricle: warning: the model's calibration and thresholds are for windows of 0.25 s; those of 0.1 s "
        "score otherwise, and how well these fit was not measured\n"
    )
    for more in ([], ["--windows"], ["--events"], ["--windows", "--hop", 0.05]):
        assert run(capsys, *verb, *more, "--window", 0.1)[2] == both
    typed = run(capsys, *verb, "--window", 0.1, "--threshold", 0.4)[2]
    assert typed == both.replace("calibration and thresholds are", "calibration is")
    live = run(capsys, "tag", "--live", recording, "--model", made, "--window", 0.1, "--quiet")
    assert live[2] == both
    line = ["timeline", recording, "--out", tmp_path / "x.html", "--model", made, "--window", 0.1]
    assert run(capsys, *line)[2] == both


def test_settings_of_events_say_of_which_windows_they_are(model: Path, tmp_path: Path) -> None:
    artifact = dataclasses.replace(load_artifact(model), events=EventConfig(window=0.5).as_dict())
    config = events_of(artifact)
    assert of_window(artifact, 0.5, config=config) == ""
    said = "the model's settings of events are for windows of 0.5 s; those of 0.25 s score otherwise"
    assert of_window(artifact, None, config=config).startswith(said)
    assert of_window(artifact, None) == "", "windows are no events"


# --- events


def test_settings_have_a_window_and_say_it_only_where_it_is_one() -> None:
    assert "window" not in EventConfig().as_dict(), "older versions read what is stored without one"
    assert event_config(EventConfig(window=1.5).as_dict()).window == 1.5
    for wrong in (0, -1, "x", math.inf, True):
        with pytest.raises(ValueError, match="window: expected seconds above 0"):
            EventConfig(window=wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="'dog': expected some of"):
        EventConfig(labels={"dog": {"window": 1.0}})


def test_a_window_that_is_stored_is_obeyed_and_a_typed_one_goes_before_it(
    model: Path, recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = ["--set", "onset=0.3", "--set", "smooth=0.2"]
    for wish in (["--window", 0.1], ["--set", "window=0.1"]):
        status, out, _ = run(capsys, "events", model, *typed, *wish, "--out", tmp_path / "mine")
        assert status == 0 and re.search(r"window +0.1$", out, re.M)
        assert load_artifact(tmp_path / "mine").events["window"] == 0.1  # type: ignore[index]
    stored = load_artifact(tmp_path / "mine")
    assert (stored.window, run(capsys, "check", tmp_path / "mine")[0]) == (WINDOW, 0)
    common = ["--threads", 1, "--format", "jsonl"]
    mine = ["tag", recording, "--model", tmp_path / "mine", "--events", *common]
    plain = ["tag", recording, "--model", model, "--events", *typed, *common]
    obeyed = run(capsys, *mine)
    assert obeyed == run(capsys, *plain, "--window", 0.1) == run(capsys, *plain, "--set", "window=0.1")
    assert json.loads(obeyed[1])["events"] and obeyed[1] != run(capsys, *plain)[1]
    assert run(capsys, *mine, "--window", 0.25)[1] == run(capsys, *plain)[1], "what is typed goes before"
    assert run(capsys, *mine, "--set", "window=none")[1] == run(capsys, *plain)[1]
    tagger = Tagger(tmp_path / "mine", threads=1)
    told = tagger.tag(str(recording), events=events_of(tagger.artifact))
    assert told["events"] == json.loads(obeyed[1])["events"]
    folder = run(capsys, *mine, "--out", f"{tmp_path}/found/")
    assert folder[0] == 0 and (tmp_path / "found" / "a.wav.jsonl").read_text() == obeyed[1]
    windows = ["tag", recording, "--windows", *common, "--model"]
    assert run(capsys, *windows, tmp_path / "mine") == run(capsys, *windows, model), "of events alone"


def test_settings_that_the_model_cannot_hear_are_not_stored(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for wish, said in (
        (["--window", 0.001], "window is 0.001 s; tiny takes windows of 0.008 s or more"),
        (["--window", 0.1, "--hop", 0.2], "hop is 0.2 s; expected at most 0.1 s"),
        (["--window", 0], "window: expected seconds above 0, got 0.0"),
    ):
        status, _, err = run(capsys, "events", model, *wish, "--out", tmp_path / "mine")
        assert status in (1, 2) and said in err and not (tmp_path / "mine").exists()


def test_a_service_does_not_start_with_events_of_other_windows(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("fastapi")
    settings = EventConfig(window=0.1).as_dict()
    made = save_changed(load_artifact(model), tmp_path / "m", name="m", events=settings).path
    status, _, err = run(capsys, "serve", "--model", made, "--port", 0, "--data", tmp_path / "data")
    assert status == 1 and "its events are of windows of 0.1 s, and a service hears in the model's own" in err


# --- descriptions and runners


def test_a_description_for_other_windows_is_the_models_but_for_them(model: Path) -> None:
    artifact = load_artifact(model)
    assert at_window(artifact, None) is artifact and at_window(artifact, 0.25) is artifact
    changed = at_window(artifact, 0.1)
    assert (changed.window, changed.hop) == (800, 400)
    assert dataclasses.replace(changed, window=artifact.window, hop=artifact.hop) == artifact
    assert changed.fingerprint != artifact.fingerprint, "so embeddings of one do not pass for the other's"
    runner = runner_at(artifact, 0.1, threads=1, batch=3)
    assert runner.artifact == changed and runner.run(np.zeros((5, 800), np.float32))[0].shape == (5, 3)
    given, own = open_model(runner_at(artifact, None, threads=1), _Rate(), 0.1)
    assert (given.artifact.window, own.window) == (800, WINDOW)


class _Rate:
    path, rate = Path("x"), RATE


def test_the_embeddings_input_of_a_model_is_of_its_own_windows(model: Path) -> None:
    """Why --window is none of embed's: who stands on embeddings knows the model by its window, too."""
    artifact = load_artifact(model)
    assert (
        embedding_input(artifact, 1)["fingerprint"]
        != embedding_input(at_window(artifact, 0.1), 1)["fingerprint"]
    )
