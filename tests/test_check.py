"""`auricle check` sees a model that is not the one that was saved, before it asks what the model answers."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_model
from running import run

from auricle.artifact import load_artifact
from auricle.runners import check, load_runner


def edit(folder: Path, **fields: Any) -> None:
    path = folder / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def test_a_model_as_it_was_saved_passes_and_says_that_it_was_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny_model.save(tmp_path / "m")
    status, out, _ = run(capsys, "check", tmp_path / "m")
    assert status == 0 and out.rstrip().endswith("checksum as saved")
    assert check(load_runner(load_artifact(tmp_path / "m"), threads=1))["changed"] == []


def test_any_flipped_byte_of_the_graph_is_seen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    artifact = tiny_model.save(tmp_path / "m")
    content = artifact.state_path.read_bytes()
    for place in range(0, len(content), 7):
        flipped = bytearray(content)
        flipped[place] ^= 1
        artifact.state_path.write_bytes(flipped)
        assert load_artifact(artifact.path).changed_parts() == ["model.onnx"], place
    status, out, err = run(capsys, "check", artifact.path)
    assert status == 1 and not out
    assert err.count("\n") == 1 and "m: model.onnx: not as saved" in err


@pytest.mark.parametrize(
    "fields",
    [
        {"labels": ["rain", "dog", "clock"]},
        {"hop": 1000},
        {"tail": "align"},
        {"tolerance": 0.5},
        {"thresholds": [0.5, 0.5, 0.5]},
    ],
)
def test_an_edited_description_is_seen_though_the_logits_are_right(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], fields: dict[str, Any]
) -> None:
    tiny_model.save(tmp_path / "m")
    edit(tmp_path / "m", **fields)
    result = check(load_runner(load_artifact(tmp_path / "m"), threads=1))
    assert result["max_difference"] <= 1e-4 and not result["ok"]
    status, _, err = run(capsys, "check", tmp_path / "m")
    assert status == 1 and "m: model.json: not as saved" in err


def test_what_decides_no_answer_may_be_edited(tmp_path: Path) -> None:
    tiny_model.save(tmp_path / "m")
    edit(tmp_path / "m", name="other", licence="CC-BY-4.0", notes="for birds", metrics={"map": 0.5})
    assert load_artifact(tmp_path / "m").changed_parts() == []


def test_another_check_vector_is_seen(tmp_path: Path) -> None:
    tiny_model.save(tmp_path / "m")
    waveform, logits = tiny_model.check_vector(tiny_model.graph())
    tiny_model.save(tmp_path / "other", check=(waveform, logits + np.float32(1e-6)))
    (tmp_path / "other" / "check.safetensors").replace(tmp_path / "m" / "check.safetensors")
    assert load_artifact(tmp_path / "m").changed_parts() == ["check.safetensors"]
    (tmp_path / "m" / "check.safetensors").unlink()
    assert load_artifact(tmp_path / "m").changed_parts() == ["check.safetensors"]


def test_a_model_from_before_there_were_checksums_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny_model.save(tmp_path / "m")
    raw = json.loads((tmp_path / "m" / "model.json").read_text())
    del raw["checksum"]
    (tmp_path / "m" / "model.json").write_text(json.dumps(raw))
    for model in (tmp_path / "m", tiny_model.save_file(tmp_path / "tiny.onnx")):
        status, out, err = run(capsys, "check", model)
        assert (status, err) == (0, "") and out.rstrip().endswith("no checksum"), err


def test_a_checksum_that_is_none_is_refused(tmp_path: Path) -> None:
    tiny_model.save(tmp_path / "m")
    edit(tmp_path / "m", checksum="abc")
    with pytest.raises(ValueError, match="field 'checksum': expected three SHA-256"):
        load_artifact(tmp_path / "m")


def test_saving_a_description_again_does_not_keep_its_checksum(tmp_path: Path) -> None:
    first = tiny_model.save(tmp_path / "m")
    second = tiny_model.save(tmp_path / "n", checksum=first.checksum, hop=1000)
    assert second.checksum.split()[0] != first.checksum.split()[0]
    assert second.checksum.split()[1:] == first.checksum.split()[1:]
    assert load_artifact(tmp_path / "n").changed_parts() == []
