"""Imported graphs are exported: ONNX also where its batch is fixed, TFLite as the file that it is."""

import json
import re
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import tiny_onnx
from running import run
from tiny_onnx import LABELS, RATE, WINDOW

from auricle.artifact import Artifact, load_artifact, save_changed
from auricle.heads import save_head
from auricle.interop.onnx import export_onnx
from auricle.interop.onnx_import import import_onnx
from auricle.interop.tflite_export import export_tflite
from auricle.linear import Linear
from auricle.runners import check, load_runner


def waves(count: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(-0.3, 0.3, (count, WINDOW)).astype(np.float32)


def imported(folder: Path, shape: tuple[int | str, ...]) -> Artifact:
    (folder / "tiny.onnx").write_bytes(tiny_onnx.content(shape))
    given = {"rate": RATE, "labels": LABELS, "scores": False, "embedding": "hidden", "window": WINDOW}
    return import_onnx(folder / "tiny.onnx", folder / "m", **given)


@pytest.mark.parametrize(("shape", "many"), [(("b", "t"), "batch"), ((1, WINDOW), 1), ((4, 1, WINDOW), 4)])
@pytest.mark.parametrize("quantize", ["", "int8"])
def test_an_imported_onnx_graph_is_exported_with_the_batch_that_it_takes(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    shape: tuple[int | str, ...],
    many: int | str,
    quantize: str,
) -> None:
    saved, out = imported(tmp_path, shape), tmp_path / "out.onnx"
    options = ["--quantize", quantize] if quantize else []
    status, printed, said = run(capsys, "export", saved.path, out, *options)
    assert (status, printed) == (0, f"{out}\n"), said
    session = onnxruntime.InferenceSession(out, providers=["CPUExecutionProvider"])
    shapes = [value.shape for value in (*session.get_inputs(), *session.get_outputs())]
    assert shapes == [[many, WINDOW], [many, 3], [many, 8], [many, 3]]
    about = session.get_modelmeta()
    fixed = many if isinstance(many, int) else ""
    assert about.custom_metadata_map["batch_size"] == str(fixed)
    assert (f"It takes {many} at once, no more and no fewer." in about.description) == bool(fixed)
    runner = load_runner(load_artifact(out), threads=1)
    assert check(runner)["ok"] and runner.artifact.changed_parts() == []
    far = 0.2 if quantize else 1e-4
    for ours, expected in zip(runner.run(waves(7)), tiny_onnx.by_hand(waves(7)), strict=True):
        np.testing.assert_allclose(ours, expected, atol=far)
    page = (Path(__file__).parents[1] / "docs" / "export.md").read_text("utf-8")
    lines = re.findall(r"```python\n(.*?)```", page, re.S)[0].replace("urban.onnx", str(out))
    found = {"waveform": waves(7).ravel()}
    exec(lines, found)
    np.testing.assert_allclose(found["scores"], 1 / (1 + np.exp(-runner.run(waves(7))[0])), atol=1e-5)
    if quantize:
        assert "int8 against float32 on 2 windows" in said


def own_classes(embedder: Artifact) -> Artifact:
    """Two labels on the embeddings of a model."""
    weights = np.random.default_rng(2).standard_normal((embedder.embedding_size, 2))
    linear = Linear(weights, np.zeros(2), "several", 1.0, 0.0, 0.0)
    return save_head(embedder.path.with_name("own"), embedder, linear, ["mine", "yours"])


def test_own_classes_on_a_graph_are_exported_where_it_takes_any_number_of_windows(tmp_path: Path) -> None:
    own, out = own_classes(imported(tmp_path, ("b", "t"))), tmp_path / "own.onnx"
    export_onnx(own.path, out)
    expected = load_runner(own, threads=1).run(waves(5))[0]
    np.testing.assert_allclose(
        load_runner(load_artifact(out), threads=1).run(waves(5))[0], expected, atol=1e-4
    )
    own = own_classes(imported(tmp_path, (1, WINDOW)))
    with pytest.raises(ValueError, match="cannot be part of an exported graph: .* takes one window at once"):
        export_onnx(own.path, tmp_path / "x.onnx")
    with pytest.raises(ValueError, match="and auricle makes none; tag with its folder as it is"):
        export_tflite(own.path, tmp_path / "x.tflite")
    assert not list(tmp_path.glob("x.*"))


def test_a_tflite_model_is_exported_as_its_file_with_its_labels_beside_it(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ai_edge_litert")
    import tiny_tflite

    from auricle.interop.tflite import import_tflite

    (tmp_path / "tiny.tflite").write_bytes(tiny_tflite.content())
    given = {"rate": 8000, "labels": LABELS, "embedding": tiny_tflite.EMBEDDING, "licence": "MIT"}
    saved = import_tflite(tmp_path / "tiny.tflite", tmp_path / "m", **given)
    calibration = {"kind": "affine", "scale": [1.0, 2.0, 1.0], "offset": [0.0, 1.0, 0.0]}
    save_changed(saved, tmp_path / "c", calibration=calibration, thresholds=[0.5, 0.25, 0.75])
    out = tmp_path / "new" / "a.tflite"
    status, printed, said = run(capsys, "export", tmp_path / "c", out)
    assert (status, printed) == (0, f"{out}\n")
    assert "beside it: a.tflite.labels.txt, a.tflite.json" in said
    assert sorted(path.name for path in out.parent.iterdir()) == [
        "a.tflite", "a.tflite.json", "a.tflite.labels.txt"
    ]  # fmt: skip
    assert out.read_bytes() == tiny_tflite.content()
    about = json.loads((out.parent / "a.tflite.json").read_text())
    expected = {
        "labels": LABELS, "sample_rate": 8000, "window_samples": 400, "hop_samples": 400, "batch_size": 1,
        "outputs": "scores", "output": 0, "embedding": tiny_tflite.EMBEDDING, "peak": 0.0,
        "model_license": "MIT", "thresholds": [0.5, 0.25, 0.75], "calibration": calibration,
    }  # fmt: skip
    assert {name: about[name] for name in expected} == expected
    assert about["source"]["file"] == "tiny.tflite" and "calibrated" not in about
    again = import_tflite(
        out, tmp_path / "again", rate=about["sample_rate"], labels=out.parent / "a.tflite.labels.txt",
        embedding=about["embedding"],
    )  # fmt: skip
    for ours, theirs in zip(load_runner(again).run(waves(3)), load_runner(saved).run(waves(3)), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    monkeypatch.setattr("auricle.progress._silent", False)
    options = ("--rate", 8000, "--labels", out.parent / "a.tflite.labels.txt", "--replace")
    lost = "its calibration and thresholds are only in the folder that it was exported from"
    missing = f"import it with --embedding {tiny_tflite.EMBEDDING} --replace to have what it says; "
    for given, told in (((), missing), (("--embedding", tiny_tflite.EMBEDDING), "")):
        said = run(capsys, "import", "tflite", out, "--out", tmp_path / "again", *options, *given)[2]
        assert said.splitlines()[1:] == [f"auricle: a.tflite.json beside the graph is not read: {told}{lost}"]
    assert f"tflite {out} --out DIR" in run(capsys, "check", out)[2]
    status, _, said = run(capsys, "export", saved.path, tmp_path / "a.onnx")
    assert status == 1 and "export the graph itself to a name that ends in .tflite" in said
    own = own_classes(saved)
    for name, message in (
        ("b.onnx", "embedder: cannot be exported to ONNX: it is a TFLite graph"),
        ("b.tflite", "stands on a TFLite graph and is none itself, .*; tag with its folder as it is"),
    ):
        status, _, said = run(capsys, "export", own.path, tmp_path / name)
        assert status == 1 and re.search(message, said)
    status, _, said = run(capsys, "export", saved.path, tmp_path / "b.tflite", "--quantize", "int8")
    assert status == 2 and "is for .onnx: a TFLite graph stays as it is" in said


def test_what_is_no_tflite_graph_is_not_written_as_one(tmp_path: Path) -> None:
    saved = imported(tmp_path, ("b", "t"))
    with pytest.raises(ValueError, match="m: is no TFLite graph, and auricle makes none"):
        export_tflite(saved.path, tmp_path / "x.tflite")
    with pytest.raises(ValueError, match=r"ends in \.tflite"):
        export_tflite(saved.path, tmp_path / "x.onnx")
    (tmp_path / ".x.onnx.tmp").mkdir()
    with pytest.raises(OSError, match=r"directory: '[^']*/x\.onnx'$"):  # the name that was given
        export_onnx(saved.path, tmp_path / "x.onnx")
    (tmp_path / ".x.onnx.tmp").rmdir()
    with pytest.raises(ValueError, match=r"ends in \.onnx"):
        export_onnx(saved.path, tmp_path / "x.tflite")
    assert not list(tmp_path.glob("x.*"))
