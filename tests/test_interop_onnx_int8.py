"""Export in 8 bits: what it costs is measured, said and stored, and the front end is left alone."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import tiny_model
from onnx import TensorProto, helper, numpy_helper
from scipy.special import expit

from auricle.artifact import load_artifact
from auricle.cli import main
from auricle.engine import pack as pack_source
from auricle.interop import onnx_int8
from auricle.interop.onnx import export_onnx
from auricle.interop.onnx_graph import Assembly
from auricle.interop.onnx_joins import resample
from auricle.runners import check, load_runner
from auricle.shards import Pack

RATE, WINDOW, CHANNELS = 8000, 2000, 8


def graph() -> bytes:
    """Waveform -> frames, squares, logarithm -> two convolutions, a pool that rounds up -> logits."""
    rng = np.random.default_rng(3)
    shapes = {
        "matrix": (80, 15),
        "k1": (CHANNELS, 1, 3, 3),
        "k2": (CHANNELS, CHANNELS, 3, 3),
        "last": (CHANNELS, 3),
    }
    arrays: dict[str, Any] = {
        name: (rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)
        for name, shape in shapes.items()
    }
    arrays |= {"frames": np.array([0, -1, 80]), "one": np.array([1]), "small": np.array([0.01], np.float32)}
    arrays |= {"bias": np.zeros(3, np.float32), "places": np.array([2, 3])}

    def node(kind: str, inputs: str, output: str, **more: Any) -> Any:
        return helper.make_node(kind, inputs.split(), [output], name=output, **more)

    nodes = [
        node("Reshape", "waveform frames", "x"), node("MatMul", "x matrix", "y"), node("Mul", "y y", "z"),
        node("Add", "z small", "a"), node("Log", "a", "log"), node("Unsqueeze", "log one", "map"),
        node("Conv", "map k1", "c1", pads=[1] * 4), node("Relu", "c1", "r1"),
        node("AveragePool", "r1", "p1", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1,
             count_include_pad=1),
        node("Conv", "p1 k2", "c2", pads=[1] * 4), node("Relu", "c2", "r2"),
        node("ReduceMean", "r2 places", "embedding", keepdims=0),
        node("Gemm", "embedding last bias", "logits"),
    ]  # fmt: skip
    body = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("waveform", TensorProto.FLOAT, ["batch", WINDOW])],
        [
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3]),
            helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", CHANNELS]),
        ],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    model = helper.make_model(body, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return bytes(model.SerializeToString())


def answer(content: bytes, waveforms: np.ndarray, *, plain: bool = False) -> np.ndarray:
    """Logits; `plain`: every operator as it stands there, rounding simulated in float32."""
    options = onnxruntime.SessionOptions()
    if plain:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return session.run(["logits"], {"waveform": waveforms})[0]


def noise(count: int) -> np.ndarray:
    rng = np.random.default_rng(5)
    return (10 ** rng.uniform(-2, -0.5, (count, 1)) * rng.standard_normal((count, WINDOW))).astype(np.float32)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    waveforms = noise(1)
    folder = tmp_path_factory.mktemp("int8") / "model"
    content = graph()
    calibration = {"kind": "affine", "scale": [1.0, 2.0, 0.5], "offset": [0.0, 1.0, 0.0]}
    tiny_model.save(
        folder, content=content, check=(waveforms, answer(content, waveforms)), embedding_size=CHANNELS,
        calibration=calibration, metrics={"accuracy": 0.5},
    )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips of noise at twice the model's rate, of different levels and lengths."""
    import soundfile

    folder = tmp_path_factory.mktemp("sounds")
    (folder / "dog").mkdir()
    rng = np.random.default_rng(6)
    for number in range(12):
        samples = 0.02 * 1.3**number * rng.standard_normal(3000 + 400 * number)
        soundfile.write(folder / "dog" / f"{number:02}.wav", samples.clip(-1, 1), 2 * RATE)
    out = folder.parent / "int8pack"
    pack_source(folder, out, rate=2 * RATE, jobs=1, quiet=True)
    return out


def test_the_loss_is_told_stored_and_what_two_runs_differ_by(
    model: Path, pack: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "small.onnx"
    with pytest.raises(SystemExit) as ended:
        main(["export", str(model), str(file), "--quantize", "int8", "--data", str(pack)])
    assert not ended.value.code
    out, said = capsys.readouterr()
    assert out.strip() == str(file)
    assert "int8 against float32 on 6 windows of int8pack: scores differ by 0.0" in said
    small = load_artifact(file)
    loss = small.metrics["int8"]
    assert small.metrics["accuracy"] == 0.5 and loss["on"] == "int8pack" and loss["windows"] == 6
    import soxr

    windows = np.zeros((6, WINDOW), np.float32)
    for row, clip in zip(windows, range(1, 12, 2), strict=True):  # the others chose the ranges
        heard = soxr.resample(
            Pack(pack).samples(clip).astype(np.float32) / 32768, 2 * RATE, RATE, quality="HQ"
        )
        row[: len(heard)] = heard[:WINDOW]
    logits = [load_runner(load_artifact(each), threads=1, batch=4).run(windows)[0] for each in (model, file)]
    scores = [expit(each * [1.0, 2.0, 0.5] + [0.0, 1.0, 0.0]) for each in logits]
    assert loss["score_difference"] == pytest.approx(np.abs(scores[0] - scores[1]).max(), abs=1e-5)
    assert loss["mean_score_difference"] == pytest.approx(np.abs(scores[0] - scores[1]).mean(), abs=1e-5)
    assert loss["logit_difference"] == pytest.approx(np.abs(logits[0] - logits[1]).max(), abs=1e-5)
    assert 1e-4 < loss["score_difference"] < 0.05
    assert small.tolerance == pytest.approx(max(1e-4, loss["logit_difference"]))
    assert check(load_runner(small, threads=1))["ok"] and small.changed_parts() == []
    with pytest.raises(ValueError, match="is in 8 bits already; quantize the model that it was made of"):
        export_onnx(file, tmp_path / "again.onnx", quantize="int8")


def test_the_front_end_and_the_last_layer_stay_float32(model: Path, tmp_path: Path) -> None:
    said: list[str] = []
    file = export_onnx(model, tmp_path / "small.onnx", quantize="int8", say=said.append)
    assert "on 1 windows of its check, whose sound was also used to choose the ranges" in said[0]
    content = onnx.load(file)
    made_by = {output: node for node in content.graph.node for output in node.output}
    rounded = {
        node.op_type: [name in made_by and made_by[name].op_type == "DequantizeLinear" for name in node.input]
        for node in content.graph.node
        if node.op_type in ("MatMul", "Conv", "Gemm")
    }
    assert all(rounded["Conv"]) and not any(rounded["MatMul"]) and not any(rounded["Gemm"])
    told = {entry.key: entry.value for entry in content.metadata_props}
    assert (
        told["precision"] == "int8"
        and content.ir_version == 8
        and "scores" in [output.name for output in content.graph.output]
    )


def test_pools_that_round_up_cost_nothing_in_8_bits(model: Path) -> None:
    """As torch writes them, onnxruntime's would: see `_with_plain_pools`."""
    waveforms, plain = noise(16), onnx.load_from_string(graph())
    other = onnx_int8._with_plain_pools(plain)
    np.testing.assert_allclose(
        answer(other.SerializeToString(), waveforms), answer(graph(), waveforms), atol=1e-5
    )
    content = onnx_int8._rounded(plain, waveforms).SerializeToString()
    fused, simulated = answer(content, waveforms), answer(content, waveforms, plain=True)
    loss = np.abs(answer(graph(), waveforms) - simulated).max()
    assert np.abs(fused - simulated).max() < 0.5 * loss, (np.abs(fused - simulated).max(), loss)


def test_a_resampler_stays_float32_also_before_a_net_without_a_front_end() -> None:
    rng = np.random.default_rng(0)
    graph = Assembly({"waveform": ("batch", 4800)})
    signal = graph.node("Unsqueeze", resample(graph, "waveform", 4800, (48000, 16000), 1600), np.array([1]))
    first = graph.node("Conv", signal, rng.standard_normal((4, 1, 9)).astype(np.float32), strides=[4])
    means = graph.node("ReduceMean", graph.node("Relu", first), np.array([2]), keepdims=0)
    last = graph.node("Gemm", means, rng.standard_normal((4, 3)).astype(np.float32))
    model = graph.model({"logits": (last, ("batch", 3)), "embedding": (means, ("batch", 4))})
    alone = set(onnx_int8._left_alone(model))
    layers = {node.name for node in model.graph.node if node.op_type in onnx_int8.LAYERS}
    assert layers - alone == {first} and len(layers) == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--quantize", "int4"], "'int4'; expected int8"),
        (["--data", "pack"], "is for --quantize int8"),
    ],
)
def test_what_cannot_be_asked_for_is_refused(
    model: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["export", str(model), "x.onnx", *arguments])
    assert message in " ".join(capsys.readouterr().err.replace("│", " ").split())


def test_a_pack_below_the_models_rate_is_refused(model: Path, tmp_path: Path, recordings: Path) -> None:
    (tmp_path / "classes").mkdir()
    recordings.rename(tmp_path / "classes" / "dog")
    pack_source(tmp_path / "classes", tmp_path / "low", rate=4000, jobs=1, quiet=True)
    with pytest.raises(ValueError, match="packed at 4000 Hz, but the model needs 8000 Hz"):
        export_onnx(model, tmp_path / "x.onnx", quantize="int8", data=tmp_path / "low")
