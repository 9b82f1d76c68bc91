"""Export to ONNX: the graph answers as torch does, and carries what is needed to use it."""

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("onnxscript", reason="onnxscript is not installed")
import onnx
import onnxruntime
import torch
from torch import nn

from auricle.artifact import load_artifact, onnx_metadata, save_artifact
from auricle.features import FeatureConfig
from auricle.frontend import LogMel
from auricle.interop.onnx import export_artifact, export_onnx
from auricle.models import MODELS
from auricle.probabilities import to_scores
from auricle.runners import check, load_runner
from auricle.runners import torch as torch_runner

CONFIG = FeatureConfig(bands=32)
LABELS = ("dog", "rain", "clock")


ARGUMENTS = {"num_classes": len(LABELS), "stem": 4, "widths": [4, 8, 16], "blocks": [1, 1, 1]}


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def save_tiny(path: Path, window: int = 8000) -> Path:
    torch.manual_seed(0)
    net = MODELS["compact"](**ARGUMENTS)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):  # statistics that folding has to get right
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            nn.init.normal_(module.weight)
    net.eval()
    waveform = np.random.default_rng(1).uniform(-0.5, 0.5, (1, window)).astype(np.float32)
    with torch.inference_mode():
        logits = net(LogMel(CONFIG)(torch.from_numpy(waveform))).numpy()
    save_artifact(
        path,
        weights={name: tensor.numpy() for name, tensor in net.state_dict().items()},
        check=(waveform, logits),
        architecture={"name": "compact", "arguments": ARGUMENTS},
        inputs=[{"kind": "logmel", "rate": 16000, "features": dataclasses.asdict(CONFIG)}],
        labels=LABELS,
        window=window,
        hop=window,
        embedding_size=16,
        licence="CC-BY-4.0",
        metrics={"accuracy": 0.5},
    )
    return path


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("export")
    return save_tiny(folder / "tiny"), export_onnx(folder / "tiny", folder / "out" / "tiny.onnx")


def test_the_graph_answers_as_torch_does_at_any_batch_and_length(exported: tuple[Path, Path]) -> None:
    frontend, net = torch_runner.build(load_artifact(exported[0]))
    session = onnxruntime.InferenceSession(exported[1], providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(2)
    for batch, length in ((1, 400), (7, 8000), (2, 25_001)):
        waveforms = rng.uniform(-1, 1, (batch, length)).astype(np.float32)
        logits, embeddings = session.run(["logits", "embedding"], {"waveform": waveforms})
        with torch.inference_mode():
            expected = net.embed(frontend(torch.from_numpy(waveforms)))
            np.testing.assert_allclose(embeddings, expected.numpy(), atol=1e-4)
            np.testing.assert_allclose(logits, net.head(expected).numpy(), atol=1e-4)
    assert np.abs(logits).max() > 0.01


def test_batch_norm_is_folded_and_no_local_file_is_named(exported: tuple[Path, Path]) -> None:
    graph = onnx.load(exported[1])
    made_by = {output: node.op_type for node in graph.graph.node for output in node.output}
    norms = [node for node in graph.graph.node if node.op_type == "BatchNormalization"]
    assert "Conv" in made_by.values() and "Conv" not in [made_by[node.input[0]] for node in norms]
    assert b"site-packages" not in exported[1].read_bytes() and b".py" not in exported[1].read_bytes()
    onnx.checker.check_model(graph)


def test_an_exported_file_is_a_model_of_its_own(exported: tuple[Path, Path]) -> None:
    source, artifact = load_artifact(exported[0]), load_artifact(exported[1])
    assert artifact.backend == "onnx" and artifact.labels == LABELS and artifact.licence == "CC-BY-4.0"
    assert (artifact.window, artifact.rate, artifact.features) == (source.window, 16000, CONFIG)
    result = check(load_runner(artifact, threads=1, batch=2))
    assert result["ok"] and result["max_difference"] < 1e-4
    # The reader of ours, which knows no protobuf schema, sees what the onnx package sees.
    properties = {p.key: p.value for p in onnx.load(exported[1]).metadata_props}
    assert onnx_metadata(exported[1]) == properties


def test_a_foreign_user_finds_what_the_numbers_mean(exported: tuple[Path, Path]) -> None:
    """With onnxruntime alone: no file of ours is read."""
    session = onnxruntime.InferenceSession(exported[1], providers=["CPUExecutionProvider"])
    (given,), outputs = session.get_inputs(), session.get_outputs()
    assert (given.name, given.type, given.shape) == ("waveform", "tensor(float)", ["batch", "samples"])
    assert [(output.name, output.shape) for output in outputs] == [
        ("logits", ["batch", 3]), ("embedding", ["batch", 16]), ("scores", ["batch", 3])
    ]  # fmt: skip
    meta = session.get_modelmeta()
    told = meta.custom_metadata_map
    assert json.loads(told["labels"]) == list(LABELS) and told["sample_rate"] == "16000"
    assert (told["window_samples"], told["hop_samples"]) == ("8000", "8000")
    assert told["model_license"] == "CC-BY-4.0" and told["precision"] == "float32"
    assert json.loads(told["thresholds"]) is None and told["calibrated"] == "no"
    assert meta.producer_name == "auricle" and meta.graph_name == "tiny"
    assert "windows of 8000 samples (0.5 s at 16000 Hz), each 8000 after" in meta.description
    graph = onnx.load(exported[1])
    assert (graph.opset_import[0].version, graph.ir_version) == (18, 8) and len(graph.opset_import) == 1
    assert graph.graph.input[0].doc_string.startswith("(batch, samples) float32, mono, 16000 Hz, -1 to 1")


def test_calibration_and_thresholds_of_a_calibrated_graph_are_inside(
    exported: tuple[Path, Path], tmp_path: Path
) -> None:
    """A graph that was calibrated after it was made: its old scores go, and torch is not needed."""
    fields = {
        "calibration": {"kind": "affine", "scale": [0.5, 1.0, 2.0], "offset": [1.0, 0.0, -1.0]},
        "thresholds": [0.5, 0.25, 0.125],
    }
    folder = export_artifact(exported[1], tmp_path / "calibrated", **fields)
    again = load_artifact(export_onnx(folder.path, tmp_path / "again.onnx"))
    assert again.calibration == folder.calibration == fields["calibration"] and not again.changed_parts()
    waveforms = np.random.default_rng(8).uniform(-1, 1, (6, 8000)).astype(np.float32)
    session = onnxruntime.InferenceSession(again.path, providers=["CPUExecutionProvider"])
    logits, scores = session.run(["logits", "scores"], {"waveform": waveforms})
    np.testing.assert_allclose(logits, load_runner(load_artifact(exported[0])).run(waveforms)[0], atol=1e-4)
    np.testing.assert_allclose(scores, to_scores(again)(logits), atol=1e-6)
    told = session.get_modelmeta().custom_metadata_map
    assert json.loads(told["thresholds"]) == fields["thresholds"] and told["calibrated"] == "yes"


def test_a_torch_model_becomes_a_folder_that_runs_without_torch(
    exported: tuple[Path, Path], tmp_path: Path
) -> None:
    artifact = export_artifact(
        exported[0], tmp_path / "light", licence="CC0-1.0", attachments={"ATTRIBUTION.csv": b"who,what\n"}
    )
    assert artifact == load_artifact(tmp_path / "light") and artifact.backend == "onnx"
    assert artifact.licence == "CC0-1.0" and artifact.metrics == {"accuracy": 0.5}
    assert artifact.labels == LABELS and artifact.name == "tiny"
    assert (tmp_path / "light" / "ATTRIBUTION.csv").read_bytes() == b"who,what\n"
    assert check(load_runner(artifact, threads=1, batch=2))["ok"]
    assert artifact.checksum and artifact.changed_parts() == []
    # the graph in the folder says the same of itself, and may leave it
    alone = load_artifact(tmp_path / "light" / "model.onnx")
    assert alone.licence == "CC0-1.0" and alone.labels == LABELS
    assert alone.checksum and alone.changed_parts() == []
    again = export_onnx(tmp_path / "light", tmp_path / "again.onnx")
    assert again.read_bytes() == (tmp_path / "light" / "model.onnx").read_bytes()


def test_an_exported_file_that_was_changed_says_which_part(
    exported: tuple[Path, Path], tmp_path: Path
) -> None:
    assert load_artifact(exported[1]).checksum and load_artifact(exported[1]).changed_parts() == []
    content, model = exported[1].read_bytes(), onnx.load(exported[1])
    at = content.index(model.graph.initializer[-1].raw_data)  # a bit of a weight, too small for the logits
    (tmp_path / "m.onnx").write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
    assert load_artifact(tmp_path / "m.onnx").changed_parts() == ["graph"]
    (tmp_path / "m.onnx").write_bytes(content.replace(b'["dog", "rain"', b'["rain", "dog"', 1))
    assert load_artifact(tmp_path / "m.onnx").changed_parts() == ["description"]
    check = next(p.value for p in model.metadata_props if p.key == "auricle.check").encode()
    other = check[:-8] + (b"AAAA" if check[-8:-4] != b"AAAA" else b"BBBB") + check[-4:]
    (tmp_path / "m.onnx").write_bytes(content.replace(check, other, 1))
    assert load_artifact(tmp_path / "m.onnx").changed_parts() == ["check"]


def test_a_graph_that_differs_from_torch_is_refused(
    exported: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = torch_runner.build

    def wrong(artifact: object, *, method: str = "fft") -> tuple[nn.Module, nn.Module]:
        frontend, net = build(artifact, method=method)
        if method == "convolution":
            frontend.mel.mul_(1.01)
        return frontend, net

    monkeypatch.setattr(torch_runner, "build", wrong)
    with pytest.raises(ValueError, match=r"logits differ from torch's by .* nothing was written"):
        export_onnx(exported[0], tmp_path / "wrong.onnx")
    assert not list(tmp_path.iterdir())


def test_missing_extras_are_named(
    exported: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ImportError, match=r"onnxscript.*pip install auricle\[train,export\]"):
        export_onnx(exported[0], tmp_path / "x.onnx")


def test_out_must_be_an_onnx_file(exported: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"ends in \.onnx"):
        export_onnx(exported[0], tmp_path / "model.tflite")


def test_a_net_that_torch_cannot_export_is_one_line(
    exported: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    forward = MODELS["compact"].embed

    def embed(self: nn.Module, x: torch.Tensor) -> torch.Tensor:
        return forward(self, x * 2 if x.sum().item() > 1e9 else x)

    monkeypatch.setattr(MODELS["compact"], "embed", embed)
    with pytest.raises(ValueError, match=r"torch cannot export this net to ONNX: [^\n]*$"):
        export_onnx(exported[0], tmp_path / "x.onnx")
    assert capfd.readouterr().out == "", "standard output is for results"
