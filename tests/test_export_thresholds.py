"""What an exported graph says of its thresholds is true; the lines in docs/export.md find what tag shows."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import soundfile
import tiny_model

from auricle.cli import main
from auricle.interop.onnx import export_onnx
from auricle.probabilities import pooled, to_scores
from auricle.runners import load_runner
from auricle.tagging import Tagger
from auricle.thresholds import NEVER

DOCS = Path(__file__).parents[1] / "docs"
AFFINE = {"kind": "affine", "scale": [1.5, 0.8, 2.0], "offset": [0.5, -0.3, 1.0]}
BENT = [{"x": [-2.0, 0.0, 1.5], "y": [-4.0, k - 1.0, 3.0]} for k in range(3)]
CLIPS = {
    "affine": AFFINE | {"clips": {"kind": "affine", "scale": [2.0, 3.0, 1.0], "offset": [1.0, 0.0, -1.0]}},
    "isotonic": AFFINE | {"clips": {"kind": "isotonic", "labels": BENT}},
    "none": AFFINE,
}


def metrics(**goal: float) -> dict[str, Any]:
    """As `auricle calibrate` keeps them."""
    about = {"clips": 9, "recordings": 9, "pack": "p", "method": "affine", "goal": goal, "thresholds": {}}
    return {"calibration": about}


def lines_of_the_page() -> str:
    """The Python of docs/export.md that runs with onnxruntime and NumPy alone."""
    return "\n".join(re.findall(r"```python\n(.*?)```", (DOCS / "export.md").read_text("utf-8"), re.S))


def run_page(file: Path, waveform: np.ndarray) -> dict[str, Any]:
    found: dict[str, Any] = {"waveform": waveform}
    exec(lines_of_the_page().replace("urban.onnx", str(file)), found)
    return found


@pytest.mark.parametrize("tail", ["align", "drop"])
@pytest.mark.parametrize(
    ("clips", "pooling"), [*((clips, "") for clips in CLIPS), ("affine", "max"), ("none", "attention")]
)
def test_the_lines_of_the_page_show_what_tag_shows(
    tmp_path: Path, clips: str, pooling: str, tail: str
) -> None:
    rng = np.random.default_rng(0)
    fields: dict[str, Any] = {"calibration": CLIPS[clips], "tail": tail, "metrics": metrics(precision=0.9)}
    fields["pooling"] = pooling
    tiny_model.save(tmp_path / "plain", **fields)
    sounds = [rng.uniform(-level, level, 2000 + 700 * n) for n, level in enumerate((0.1, 0.4, 0.8, 0.9))]
    every = []
    for n, sound in enumerate(sounds):
        soundfile.write(tmp_path / f"{n}.wav", sound, tiny_model.RATE, subtype="FLOAT")
        tags = Tagger(tmp_path / "plain", threads=1).tag(tmp_path / f"{n}.wav", top=None)["tags"]
        every.append([{tag["label"]: tag["score"] for tag in tags}[label] for label in tiny_model.LABELS])
    thresholds = [*np.median(every, axis=0).tolist()[:2], NEVER]
    tiny_model.save(tmp_path / "m", thresholds=thresholds, **fields)
    file = export_onnx(tmp_path / "m", tmp_path / "m.onnx")
    shown = []
    for n, sound in enumerate(sounds):
        found = run_page(file, sound.astype(np.float32))
        np.testing.assert_allclose(found["clip"], every[n], rtol=1e-4, atol=1e-6)
        tags = Tagger(file, threads=1).tag(tmp_path / f"{n}.wav", top=None)["tags"]
        shown.append([label for label, there in zip(found["labels"], found["shown"], strict=True) if there])
        assert sorted(tag["label"] for tag in tags) == sorted(shown[-1])
    assert len({tuple(some) for some in shown}) > 1  # some reach them, some do not


def told(file: Path) -> tuple[str, dict[str, str]]:
    about = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"]).get_modelmeta()
    texts = {output.name: output.doc_string for output in onnx.load(file).graph.output}
    return texts["scores"], about.custom_metadata_map


def test_a_graph_says_of_which_scores_its_thresholds_are(tmp_path: Path) -> None:
    def exported(name: str, about: Any, **fields: Any) -> tuple[str, dict[str, str]]:
        tiny_model.save(tmp_path / name, metrics=about, **fields)
        return told(export_onnx(tmp_path / name, tmp_path / f"{name}.onnx"))

    clips = {"calibration": CLIPS["affine"], "thresholds": [0.5, 1.0, 0.2]}
    said, about = exported("clips", metrics(precision=0.9), **clips)
    assert said.startswith(
        "0 to 1, of each window, calibrated; metadata 'thresholds' are of clips: of the mean"
    )
    assert said.endswith("through metadata 'clip_calibration'") and about["thresholds_of"] == "clips"
    assert json.loads(about["clip_calibration"]) == CLIPS["affine"]["clips"]
    assert json.loads(about["thresholds"]) == [0.5, NEVER, 0.2]  # 1 was never, once
    assert about["thresholds_hop_samples"] == ""
    said, about = exported("windows", metrics(false_alarms=2.0), **clips)
    assert said.endswith("a label is heard from its score in metadata 'thresholds' on")
    assert about["thresholds_of"] == "windows" and about["tail"] == "drop"
    assert about["thresholds_hop_samples"] == about["hop_samples"]  # nobody said another
    said, about = exported("none", {})
    assert said == "0 to 1, of each window" and about["thresholds_of"] == ""
    assert json.loads(about["clip_calibration"]) is None and json.loads(about["thresholds"]) is None


def test_thresholds_of_windows_are_put_to_the_graphs_own_scores(tmp_path: Path) -> None:
    about, thresholds = metrics(false_alarms=2.0), [0.4, 0.5, 0.6]
    fields: dict[str, Any] = {"calibration": CLIPS["affine"], "thresholds": thresholds, "tail": "align"}
    tiny_model.save(tmp_path / "m", metrics=about, **fields)
    file = export_onnx(tmp_path / "m", tmp_path / "m.onnx")
    waveform = np.random.default_rng(1).uniform(-0.7, 0.7, 9000).astype(np.float32)
    found = run_page(file, waveform)
    soundfile.write(tmp_path / "a.wav", waveform, tiny_model.RATE, subtype="FLOAT")
    windows = Tagger(file, threads=1).tag(tmp_path / "a.wav", top=None, windows=True)["windows"]
    there = [
        [label in {tag["label"] for tag in window["tags"]} for label in found["labels"]] for window in windows
    ]
    assert found["shown"].tolist() == there and found["shown"].shape == (5, 3)
    logits = load_runner(Tagger(file, threads=1).artifact, threads=1).run(
        np.stack([waveform[at : at + 2000] for at in found["starts"]])
    )[0]
    artifact = Tagger(file, threads=1).artifact
    np.testing.assert_allclose(found["scores"], to_scores(artifact)(logits), atol=1e-5)
    np.testing.assert_allclose(found["clip"], pooled(artifact, logits), atol=1e-5)


def test_the_lines_cut_by_the_hop_that_thresholds_hold_for(tmp_path: Path) -> None:
    about = metrics(false_alarms=2.0)
    about["calibration"]["goal_hop"] = 0.1  # seconds; the model's own is 2000 samples
    tiny_model.save(tmp_path / "m", metrics=about, thresholds=[0.4, 0.5, 0.6], tail="align")
    file = export_onnx(tmp_path / "m", tmp_path / "m.onnx")
    hop = round(0.1 * tiny_model.RATE)
    assert (told(file)[1]["thresholds_hop_samples"], told(file)[1]["hop_samples"]) == (str(hop), "2000")
    waveform = np.random.default_rng(1).uniform(-0.7, 0.7, 9000).astype(np.float32)
    found = run_page(file, waveform)
    assert found["starts"][:3] == [0, hop, 2 * hop]
    soundfile.write(tmp_path / "a.wav", waveform, tiny_model.RATE, subtype="FLOAT")
    tagged = Tagger(file, threads=1).tag(tmp_path / "a.wav", top=None, windows=True, hop=0.1)
    there = [
        [label in {tag["label"] for tag in window["tags"]} for label in found["labels"]]
        for window in tagged["windows"]
    ]
    assert found["shown"].tolist() == there
    whole = Tagger(file, threads=1).tag(tmp_path / "a.wav", top=None, threshold=0.0, hop=0.1)["tags"]
    scores = {tag["label"]: tag["score"] for tag in whole}
    np.testing.assert_allclose(found["clip"], [scores[label] for label in found["labels"]], atol=1e-5)


@pytest.mark.parametrize(
    ("options", "noted"),
    [
        (("--windows",), 1),
        (("--events",), 1),
        (("--format", "csv", "--windows"), 1),
        (("--windows", "--threshold", "0.5"), 0),
        ((), 0),
        (("--format", "csv"), 0),
    ],
)
def test_thresholds_of_clips_put_to_windows_are_noted_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], noted: int
) -> None:
    about = metrics(precision=0.9)
    model = tiny_model.save(tmp_path / "m", calibration=AFFINE, thresholds=[0.5] * 3, metrics=about)
    sound = np.random.default_rng(0).uniform(-0.5, 0.5, 6000)
    for name in "ab":
        soundfile.write(tmp_path / f"{name}.wav", sound, tiny_model.RATE)
    files = [str(tmp_path / f"{name}.wav") for name in "ab"]
    with pytest.raises(SystemExit) as ended:
        main(["tag", *files, "--model", str(model.path), "--quiet", *options])
    err = capsys.readouterr().err
    assert not ended.value.code and err.count("precision 0.9 of whole clips") == noted == len(
        err.splitlines()
    )


def test_the_timeline_and_live_note_it_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tiny_model.save(tmp_path / "m", thresholds=[0.5] * 3, metrics=metrics(recall=0.8))
    soundfile.write(tmp_path / "a.wav", np.random.default_rng(0).uniform(-0.5, 0.5, 12000), tiny_model.RATE)
    for verb in (("timeline", "--out", str(tmp_path / "a.html")), ("tag", "--live", "--quiet")):
        with pytest.raises(SystemExit) as ended:
            main([verb[0], str(tmp_path / "a.wav"), *verb[1:], "--model", str(model.path)])
        assert not ended.value.code and capsys.readouterr().err.count("recall 0.8 of whole clips") == 1


def test_what_is_never_shown_is_shown_by_no_graph(tmp_path: Path) -> None:
    """Logits of about 30: a score is 1 in float32, a little less in float64, and passes neither."""
    sure = {"kind": "affine", "scale": [1e-3] * 3, "offset": [30.0] * 3}
    soundfile.write(tmp_path / "a.wav", np.zeros(4000), tiny_model.RATE)
    for thresholds, count in (([NEVER] * 3, 0), ([0.5] * 3, 3)):
        name = f"m{count}"
        tiny_model.save(
            tmp_path / name, calibration=sure, thresholds=thresholds, metrics=metrics(false_alarms=1.0)
        )
        file = export_onnx(tmp_path / name, tmp_path / f"{name}.onnx")
        found = run_page(file, np.zeros(2000, np.float32))
        assert (found["scores"] == 1).all() and found["shown"].sum() == count
        tags = Tagger(file, threads=1).tag(tmp_path / "a.wav", windows=True)["windows"][0]["tags"]
        assert len(tags) == count
