"""A model's folder: written whole, read with every field looked at, and never a pickle."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_model

from auricle import artifact as artifact_module
from auricle.artifact import (
    bundled_models,
    load_artifact,
    onnx_metadata,
    read_check,
    save_artifact,
    saving,
)


def save_torch(path: Path, **fields: Any) -> artifact_module.Artifact:
    weights = {"b": np.arange(6, dtype=np.float32).reshape(2, 3), "a": np.ones(3, np.int64)}
    check = (np.zeros((1, tiny_model.WINDOW), np.float32), np.zeros((1, 3), np.float32))
    return save_artifact(path, weights=weights, check=check, **(tiny_model.description() | fields))


def test_what_was_saved_is_what_is_loaded(tmp_path: Path) -> None:
    metrics = {"map": np.float32(0.5), "clips": np.int64(3), "per_class": {"dog": {"ap": float("nan")}}}
    saved = save_torch(
        tmp_path / "m", metrics=metrics, thresholds=[0.1, 0.2, 0.3], parents=[["animal"], [], []]
    )
    loaded = load_artifact(tmp_path / "m")
    assert loaded == saved
    assert loaded.metrics == {"map": 0.5, "clips": 3, "per_class": {"dog": {"ap": None}}}
    assert (loaded.name, loaded.backend, loaded.rate, loaded.labels) == (
        "m",
        "torch",
        8000,
        tiny_model.LABELS,
    )
    assert loaded.features == tiny_model.CONFIG
    weights = loaded.read_weights()
    np.testing.assert_array_equal(weights["b"], [[0, 1, 2], [3, 4, 5]])
    assert weights["a"].dtype == np.int64
    waveforms, logits, tolerance = read_check(loaded)
    assert (waveforms.shape, logits.shape, tolerance) == ((1, 2000), (1, 3), 1e-4)
    files = {path.name for path in (tmp_path / "m").iterdir()}
    assert files == {"model.json", "weights.safetensors", "check.safetensors", "README.md"}
    assert [path.name for path in tmp_path.iterdir()] == ["m"], "nothing is left beside the folder"


@pytest.mark.skipif(os.name == "nt", reason="no such modes")
def test_who_may_read_a_folder_may_read_all_that_is_in_it(tmp_path: Path) -> None:
    for mask, mode in ((0o022, 0o644), (0o077, 0o600)):
        before = os.umask(mask)
        try:
            saved = save_torch(tmp_path / f"{mode:o}")
        finally:
            os.umask(before)
        assert {path.name: path.stat().st_mode & 0o777 for path in saved.path.iterdir()} == dict.fromkeys(
            ("model.json", "weights.safetensors", "check.safetensors", "README.md"), mode
        )


def test_equal_models_are_equal_bytes(tmp_path: Path) -> None:
    for name in "ab":
        save_torch(tmp_path / name, name="same")
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name


def test_fingerprint_follows_answers_and_nothing_else(tmp_path: Path) -> None:
    first = save_torch(tmp_path / "a").fingerprint
    assert save_torch(tmp_path / "b", licence="other", metrics={"map": 1.0}).fingerprint == first
    assert save_torch(tmp_path / "c", labels=["rain", "dog", "clock"]).fingerprint != first
    assert save_torch(tmp_path / "d", hop=1000).fingerprint != first
    weights = (tmp_path / "a" / "weights.safetensors").read_bytes()
    (tmp_path / "a" / "weights.safetensors").write_bytes(weights[:-1] + b"\x01")
    assert load_artifact(tmp_path / "a").fingerprint != first


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("format", 2, "'format': version 2, newer than the 1 known here; update auricle"),
        ("format", "1", "'format': expected a version number, got '1'"),
        ("window", 0, "'window': expected a positive integer, got 0"),
        ("window", 2000.0, "'window': expected a positive integer, got 2000.0"),
        ("hop", None, "'hop': expected a positive integer, got None"),
        ("tail", "keep", """'tail': expected "drop" or "align", got 'keep'"""),
        ("backend", "caffe", "'backend': expected one of onnx, torch, tflite, family, got 'caffe'"),
        ("labels", ["dog", 1], "'labels': expected a list of names, empty for a model that embeds only"),
        ("labels", ["dog", "rain", "dog"], "'labels': 'dog' stands there twice"),
        ("labels", "dog", "'labels': expected a list"),
        ("thresholds", [0.5], "'thresholds': expected one entry a label"),
        ("tolerance", 0, "'tolerance': expected a number"),
        ("licence", None, "'licence': expected text"),
        ("inputs", [], "'inputs': expected a list of objects"),
        ("inputs", [{"kind": "image", "rate": 1}], "'inputs[0].kind': expected one of logmel"),
        ("inputs", [{"kind": "waveform"}], "'inputs[0].rate': expected samples a second, got None"),
        (
            "inputs",
            [{"kind": "logmel", "rate": 8000, "features": {"bands": 3}}],
            "'inputs[0].features': expected",
        ),
        ("attachments", ["../x"], "'attachments': expected names of further files"),
        ("colour", 1, "'colour': unknown; known are architecture"),
    ],
)
def test_a_wrong_field_is_refused_by_name(tmp_path: Path, field: str, value: Any, message: str) -> None:
    save_torch(tmp_path / "m")
    path = tmp_path / "m" / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {field: value}))
    with pytest.raises(ValueError) as caught:
        load_artifact(tmp_path / "m")
    assert str(caught.value).startswith(f"{path}: field {message}"), str(caught.value)


@pytest.mark.parametrize("field", ["labels", "inputs", "window", "embedding_size", "backend"])
def test_a_missing_field_is_named(tmp_path: Path, field: str) -> None:
    save_torch(tmp_path / "m")
    path = tmp_path / "m" / "model.json"
    raw = json.loads(path.read_text())
    del raw[field]
    path.write_text(json.dumps(raw))
    with pytest.raises(ValueError, match=rf"model\.json: field '{field}': missing"):
        load_artifact(tmp_path / "m")


def test_a_front_end_at_another_rate_than_the_input_is_refused(tmp_path: Path) -> None:
    inputs = [dict(tiny_model.description()["inputs"][0], rate=16000)]
    with pytest.raises(ValueError, match=r"16000 Hz, but its features are for 8000 Hz"):
        save_torch(tmp_path / "m", inputs=inputs)
    assert not list(tmp_path.iterdir())


def test_broken_json_weights_and_check_are_named(tmp_path: Path) -> None:
    saved = save_torch(tmp_path / "m")
    (tmp_path / "m" / "check.safetensors").write_bytes(b"\x80\x04pickle")
    with pytest.raises(ValueError, match=r"check\.safetensors: not a waveform and its logits"):
        saved.read_check()
    (tmp_path / "m" / "weights.safetensors").write_bytes(b"\x80\x04pickle")
    with pytest.raises(ValueError, match=r"weights\.safetensors: damaged"):
        saved.read_weights()
    (tmp_path / "m" / "weights.safetensors").unlink()
    with pytest.raises(ValueError, match=r"weights\.safetensors: missing; backend 'torch' needs it"):
        load_artifact(tmp_path / "m")
    (tmp_path / "m" / "model.json").write_text("{")
    with pytest.raises(ValueError, match=r"model\.json: not JSON"):
        load_artifact(tmp_path / "m")


def test_a_check_that_does_not_fit_is_refused_when_saved(tmp_path: Path) -> None:
    for waveforms, logits, message in (
        (np.zeros((1, 5)), np.zeros((1, 3)), r"expected waveforms \(B, 2000\), got \(1, 5\)"),
        (np.zeros((1, 2000)), np.zeros((1, 4)), r"expected logits \(1, 3\), got \(1, 4\)"),
        (np.zeros((1, 2000)), np.full((1, 3), np.nan), r"not finite"),
    ):
        with pytest.raises(ValueError, match=message):
            save_artifact(tmp_path / "m", weights={}, check=(waveforms, logits), **tiny_model.description())


def test_saving_replaces_a_model_but_nothing_else(tmp_path: Path) -> None:
    save_torch(tmp_path / "m", licence="old")
    save_torch(tmp_path / "m", licence="new")
    assert load_artifact(tmp_path / "m").licence == "new"
    (tmp_path / "m" / "thesis.txt").write_text("years of work")
    with pytest.raises(ValueError, match=r"holds thesis\.txt, no part of a model"):
        save_torch(tmp_path / "m", licence="newer")
    assert load_artifact(tmp_path / "m").licence == "new"
    (tmp_path / "file").write_text("x")
    with pytest.raises(ValueError, match="a file is in the way"):
        save_torch(tmp_path / "file")


def test_a_failed_save_leaves_the_old_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_torch(tmp_path / "m", licence="old")

    def full_disk(artifact: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(saving, "model_card", full_disk)
    with pytest.raises(OSError, match="No space left"):
        save_torch(tmp_path / "m", licence="new")
    assert load_artifact(tmp_path / "m").licence == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_a_writer_killed_between_its_renames_leaves_a_model(tmp_path: Path) -> None:
    save_torch(tmp_path / "m", licence="old")
    (tmp_path / "m").rename(tmp_path / ".m.previous")
    assert load_artifact(tmp_path / "m").licence == "old"
    save_torch(tmp_path / "m", licence="new")
    assert load_artifact(tmp_path / "m").licence == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_attachments_travel_and_may_be_replaced(tmp_path: Path) -> None:
    for text in (b"first", b"second"):
        save_torch(tmp_path / "m", attachments={"ATTRIBUTION.csv": text})
        assert (tmp_path / "m" / "ATTRIBUTION.csv").read_bytes() == text
    assert load_artifact(tmp_path / "m").attachments == ("ATTRIBUTION.csv",)
    assert "ATTRIBUTION.csv" in (tmp_path / "m" / "README.md").read_text()


def test_the_model_card_says_what_matters(tmp_path: Path) -> None:
    per_class = {"dog": {"ap": 0.91234, "clips": 40}, "rain": {"ap": 0.5, "clips": 40}}
    save_torch(tmp_path / "m", licence="CC-BY-4.0", metrics={"accuracy": 0.8123456, "per_class": per_class})
    card = (tmp_path / "m" / "README.md").read_text()
    for line in (
        "# m",
        "| licence of the weights | CC-BY-4.0 |",
        "| accuracy | 0.8123 |",
        "| dog | 0.9123 | 40 |",
    ):
        assert line in card.splitlines()
    assert "logmel at 8000 Hz" in card and "0.25 s every 0.25 s" in card and "dog, rain, clock" in card


def test_an_unknown_name_lists_the_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artifact_module, "BUNDLED", tmp_path)
    monkeypatch.setattr(artifact_module, "DEFAULT_MODEL", "birds")
    save_torch(tmp_path / "birds")
    assert bundled_models() == ["birds"]
    assert load_artifact("default").name == load_artifact("birds").name == "birds"
    with pytest.raises(ValueError, match=r"no model dogs: .* one of default, birds"):
        load_artifact("dogs")
    save_torch(tmp_path / "run" / "last")
    with pytest.raises(ValueError, match=r"a run's models are in it, say .*run/last"):
        load_artifact(tmp_path / "run")


def test_an_onnx_file_with_metadata_is_a_model(tmp_path: Path) -> None:
    path = tiny_model.save_file(tmp_path / "tiny.onnx")
    loaded = load_artifact(path)
    assert (loaded.backend, loaded.labels, loaded.state_path) == ("onnx", tiny_model.LABELS, path)
    waveforms, logits, _ = loaded.read_check()
    np.testing.assert_array_equal(logits, tiny_model.check_vector(tiny_model.graph())[1])
    assert len(loaded.fingerprint) == 64


def test_an_onnx_file_that_is_not_ours_says_so(tmp_path: Path) -> None:
    path = tmp_path / "x.onnx"
    path.write_bytes(tiny_model.graph())
    with pytest.raises(ValueError, match="its metadata has no 'auricle' entry"):
        load_artifact(path)
    for content in (b"RIFF\x00\x00\x00\x00WAVE", tiny_model.graph()[:-5], b"\xff" * 40):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"x\.onnx: not an ONNX model"):
            onnx_metadata(path)


def test_reading_a_model_loads_no_engine(tmp_path: Path) -> None:
    save_torch(tmp_path / "m")
    code = (
        "import sys; from auricle.artifact import load_artifact; load_artifact(sys.argv[1]).read_check();"
        "print([m for m in ('torch', 'onnxruntime', 'onnx', 'av', 'pyarrow') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "m")], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr
