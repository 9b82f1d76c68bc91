"""A trained raw-waveform network as an artifact: tagged, checked, embedded, exported like any other."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest

pytest.importorskip("torch", reason="torch is not installed")
import model_oracles as oracles
import soundfile
import torch

from auricle.artifact import load_artifact, save_artifact
from auricle.cli import main
from auricle.features import FeatureConfig
from auricle.models import logits_and_embedding
from auricle.runners import check, load_runner
from auricle.tagging import Tagger

RATE, WINDOW = 16_000, 8000
LABELS = ("low", "middle", "high", "noise", "other")
DEPTH = {"depth_2d": 18}


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def net() -> torch.nn.Module:
    return oracles.frozen("raw_waveform", **DEPTH)


def save(path: Path, net: torch.nn.Module, *, window: int = WINDOW, **fields: Any) -> Path:
    waveform = np.random.default_rng(1).uniform(-0.5, 0.5, (2, window)).astype(np.float32)
    with torch.inference_mode():
        logits = net(torch.from_numpy(waveform)).numpy()
    arguments = {"num_classes": len(LABELS), **oracles.SMALL["raw_waveform"], **DEPTH}
    described = {
        "architecture": {"name": "raw_waveform", "arguments": arguments},
        "inputs": [{"kind": "waveform", "rate": RATE}],
        "embedding_size": net.embedding_size,
    }
    save_artifact(
        path,
        weights={name: tensor.numpy() for name, tensor in net.state_dict().items()},
        check=(waveform, logits),
        labels=LABELS,
        window=window,
        hop=window,
        **described | fields,
    )
    return path


@pytest.fixture(scope="module")
def model(net: torch.nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("waveform") / "tiny", net)


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1.3 s at twice the model's rate, in stereo."""
    path = tmp_path_factory.mktemp("recording") / "tones.wav"
    time = np.arange(int(1.3 * 2 * RATE)) / (2 * RATE)
    both = np.stack([np.sin(2 * np.pi * 500 * time), np.sin(2 * np.pi * 3000 * time)], 1)
    soundfile.write(path, 0.3 * both, 2 * RATE)
    return path


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    def call(*arguments: object) -> str:
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        assert not ended.value.code, captured.err
        return captured.out

    return call


def test_a_runner_gives_what_the_net_gives(model: Path, net: torch.nn.Module) -> None:
    runner = load_runner(load_artifact(model), threads=1, batch=2)
    x = oracles.frozen_input(net, batch=3)
    with torch.inference_mode():
        logits, embeddings = logits_and_embedding(net, x)
    given = runner.run(x.numpy())
    np.testing.assert_allclose(given[0], logits.numpy(), atol=1e-5)
    np.testing.assert_allclose(given[1], embeddings.numpy(), rtol=1e-4, atol=1e-5)
    assert check(runner)["ok"]


def test_the_tagger_cuts_windows_and_mixes_down(model: Path, recording: Path, net: torch.nn.Module) -> None:
    """Two windows on the grid, one aligned to the end; the sound a net hears is mono at its rate."""
    parts = list(Tagger(model, threads=1).windows(recording))
    starts = np.concatenate([part.starts for part in parts])
    logits = np.concatenate([part.logits for part in parts])
    assert starts.tolist() == [0, 8000, 12_800] and logits.shape == (3, len(LABELS))
    time = np.arange(int(1.3 * RATE)) / RATE
    mono = 0.15 * (np.sin(2 * np.pi * 500 * time) + np.sin(2 * np.pi * 3000 * time))
    with torch.inference_mode():
        expected = net(torch.from_numpy(mono[None, :8000].astype(np.float32)))[0]
    np.testing.assert_allclose(logits[0], expected.numpy(), atol=0.05)  # resampled, so not to the last bit


def test_a_recording_shorter_than_a_window_is_padded(
    model: Path, tmp_path: Path, net: torch.nn.Module
) -> None:
    """Also one shorter than the net's total stride: that is the Tagger's to pad."""
    soundfile.write(tmp_path / "click.wav", np.full(100, 0.5), RATE)
    (part,) = Tagger(model, threads=1).windows(tmp_path / "click.wav")
    padded = torch.zeros(1, WINDOW)
    padded[0, :100] = 0.5
    with torch.inference_mode():
        np.testing.assert_allclose(part.logits, net(padded).numpy(), atol=1e-3)


def test_tag_check_and_embed_work_from_the_command_line(
    model: Path, recording: Path, tmp_path: Path, run: Callable[..., str]
) -> None:
    assert "ok, largest difference" in run("check", model)
    (line,) = run("tag", recording, "--model", model, "--format", "jsonl", "--windows").splitlines()
    tags = json.loads(line)
    assert {tag["label"] for tag in tags["tags"]} <= set(LABELS) and len(tags["windows"]) == 3
    table = run("tag", recording, "--model", model, "--format", "csv").splitlines()
    assert len(list(csv.reader(table))) > 1
    run("embed", recording, "--model", model, "--out", tmp_path / "e.parquet")
    rows = pyarrow.parquet.read_table(tmp_path / "e.parquet").to_pylist()
    assert len(rows) == 2 and len(rows[0]["embedding"]) == 128


def test_an_exported_graph_answers_as_torch_does_at_any_length(
    net: torch.nn.Module, recording: Path, tmp_path: Path, run: Callable[..., str]
) -> None:
    """Of a model with the shortest window: its last map has one column, the graph must not keep to one."""
    pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    import onnxruntime

    model, file = save(tmp_path / "tiny", net, window=2048), tmp_path / "tiny.onnx"
    assert run("export", model, file).strip() == str(file)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].shape == ["batch", "samples"]
    rng = np.random.default_rng(2)
    for batch, length in ((1, 2048), (3, 2049), (2, WINDOW), (2, 25_001)):
        waveforms = (rng.uniform(-1, 1, (batch, length)) * np.linspace(0, 1, length)).astype(np.float32)
        logits, embeddings = session.run(["logits", "embedding"], {"waveform": waveforms})
        with torch.inference_mode():
            expected = logits_and_embedding(net, torch.from_numpy(waveforms))
        np.testing.assert_allclose(logits, expected[0].numpy(), atol=1e-4)
        np.testing.assert_allclose(embeddings, expected[1].numpy(), atol=1e-4, rtol=1e-4)
    assert check(load_runner(load_artifact(file), threads=1))["ok"]
    plain, graph = (
        json.loads(run("tag", recording, "--model", which, "--format", "jsonl")) for which in (model, file)
    )
    assert [tag["label"] for tag in plain["tags"]] == [tag["label"] for tag in graph["tags"]]


def test_an_artifact_that_says_another_input_than_its_net_takes_is_refused(
    net: torch.nn.Module, tmp_path: Path
) -> None:
    features = {name: getattr(FeatureConfig(), name) for name in FeatureConfig.__dataclass_fields__}
    entry = {"kind": "logmel", "rate": RATE, "features": features}
    artifact = load_artifact(save(tmp_path / "wrong", net, inputs=[entry]))
    with pytest.raises(ValueError, match="raw_waveform takes 'waveform', but field 'inputs' says 'logmel'"):
        load_runner(artifact)


def test_a_window_too_short_for_the_net_is_refused_when_it_is_loaded(
    net: torch.nn.Module, tmp_path: Path
) -> None:
    path = save(tmp_path / "short", net, window=2048)
    text = (path / "model.json").read_text()
    (path / "model.json").write_text(text.replace('"window": 2048', '"window": 2000'))
    with pytest.raises(ValueError, match="field 'window': 2000 samples, but raw_waveform takes 2048 or more"):
        load_runner(load_artifact(path))
