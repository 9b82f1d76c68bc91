"""Every architecture of the package as one ONNX graph: its logits are torch's, to 1e-4."""

import dataclasses
import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_model

pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("onnxscript", reason="onnxscript is not installed")
import model_oracles as oracles
import onnx
import onnxruntime
import soxr
import torch
from panns_oracles import PANNS_ORACLES
from scipy.special import expit

from auricle.artifact import Artifact, embedding_input, load_artifact, save_artifact
from auricle.artifact.linear_graph import linear_graph
from auricle.evaluation.choice import clips_heard
from auricle.family import save_family
from auricle.features import FeatureConfig, num_frames
from auricle.gating import follow_gates, plan_gates
from auricle.interop.hushed import hushed
from auricle.interop.onnx import export_onnx
from auricle.interop.onnx_graph import Assembly
from auricle.interop.onnx_joins import gates, resample, resampling_kernel, scores
from auricle.models import MODELS
from auricle.models.attention import logit_of_mean
from auricle.presets import librosa_defaults, panns
from auricle.probabilities import as_function
from auricle.runners import check, load_runner
from auricle.tagging import Tagger

LABELS = ("dog", "rain", "clock", "siren", "saw")
T, D = 3, 4  # windows and values of tiny_model's embeddings
HOP = 1500  # of the embedder, at 8 kHz
URBAN = dataclasses.replace(librosa_defaults(rate=22050), hop=64)  # centred, decibels; the same net sooner
URBAN_WINDOW = 64 * 784  # samples of the fewest frames that the net takes
# What each architecture is made with; the largest graphs take torch's exporter longest.
SMALL: dict[str, dict[str, Any]] = {
    "compact": {"stem": 4, "widths": [4, 8], "blocks": [1, 1]},
    "fully_connected": {"width": 0.05},
    "alexnet": {"width": 0.1},
    "vgg": {"width": 0.1},
    "inception_v3": {"width": 0.1},
    "resnet50": {"width": 0.1},
    "vggish": {"width": 0.1},
    "raw_waveform": {"depth_2d": 18, "bands": 16, "width": 0.1, "input_shape": [8000]},
    "urban_cnn": {"width": 0.1, "input_shape": [1, 785, 128]},
    "urban_fusion": {"width": 0.1, "input_shape": [[1, 785, 128], [T, D]]},
    "mn": {"width": 0.1},
    "dymn": {"width": 0.1},
    "yamnet": {"width": 0.1},
    "single_attention": {"width": 0.05, "input_shape": [T, D]},
    "multi_attention": {"width": 0.05, "input_shape": [T, D]},
    **{name: {"width": 0.125} for name in PANNS_ORACLES},
}
# Torch's exporter takes seconds for each. Quick tests have compact in test_interop_onnx.py, raw_waveform in
# test_waveform_models.py, a fusion in test_fusion.py, and the other kinds of inputs here.
SLOW = {"compact", "alexnet", "vgg", "inception_v3", "resnet50", "raw_waveform", "urban_cnn", "urban_fusion"}
SLOW |= {"mn", "dymn", "yamnet"}
SLOW |= set(PANNS_ORACLES)
NAMES = [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in MODELS]
FREE = {"compact", "raw_waveform", "single_attention", "multi_attention", "mn", "dymn"}  # of any length
FREE |= set(PANNS_ORACLES)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    tiny_model.save(folder / "embedder", hop=HOP, training={"data": "heard below"})
    return folder


def sounds(count: int, samples: int, seed: int = 0) -> np.ndarray:
    """Noise whose spectrum and level change from one to the next, louder towards the end."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((count, samples)) * np.linspace(0.2, 1, samples)
    noise[::2] = np.cumsum(noise[::2], axis=1) / 30
    level = 10.0 ** rng.uniform(-2, -0.3, (count, 1))
    return (level * noise).clip(-1, 1).astype(np.float32)


def save(folder: Path, name: str, *, to: str = "", **fields: Any) -> Artifact:
    """An architecture with frozen weights as an artifact, whatever it stands on; saved once."""
    if (folder / name / "model.json").is_file() and not to:
        return load_artifact(folder / name)
    net = oracles.frozen(name, **({"width": 1.0} if name != "compact" else {}) | SMALL[name])
    embedder = load_artifact(folder / "embedder")
    logmel = {"kind": "logmel", "rate": 16000, "features": dataclasses.asdict(FeatureConfig())}
    urban = {"kind": "logmel", "rate": 22050, "features": dataclasses.asdict(URBAN)}
    below = embedding_input(embedder, T)
    heard = {"kind": "logmel", "rate": 32000, "features": panns().as_dict()}
    inputs, window = {
        **{name: ([heard], 32000) for name in PANNS_ORACLES},
        "wavegram_logmel_cnn14": ([{"kind": "waveform", "rate": 32000}], 32000),
        "raw_waveform": ([{"kind": "waveform", "rate": 16000}], 8000),
        "urban_cnn": ([urban], URBAN_WINDOW),
        "urban_fusion": ([urban, below], URBAN_WINDOW),
        "single_attention": ([below], tiny_model.WINDOW + (T - 1) * HOP),
        "multi_attention": ([below], tiny_model.WINDOW + (T - 1) * HOP),
    }.get(name, ([logmel], 15600))
    described: dict[str, Any] = {
        "architecture": {"name": name, "arguments": {"num_classes": len(LABELS), **SMALL[name]}},
        "inputs": inputs,
        "labels": LABELS,
        "window": window,
        "hop": window,
        "embedding_size": net.embedding_size,
        "licence": "CC-BY-4.0",
    } | fields
    path = folder / (to or name)
    waveforms = sounds(2, window, seed=5)

    def write(logits: np.ndarray) -> Artifact:
        weights = {key: tensor.numpy() for key, tensor in net.state_dict().items()}
        below_it = embedder.path if below in inputs else None
        return save_artifact(path, **described, weights=weights, embedder=below_it, check=(waveforms, logits))

    def torchs(artifact: Artifact) -> np.ndarray:
        return load_runner(artifact, threads=1, batch=2).run(waveforms)[0]

    logits = torchs(write(np.zeros((2, len(LABELS)), np.float32)))
    if (largest := np.abs(logits).max()) > 4:  # as a trained net's: frozen weights let some grow to thousands
        head = net.classify if name == "cnn14_decision" else net.head
        last = head[-1] if isinstance(head, torch.nn.Sequential) else head
        with torch.no_grad():
            last.weight.mul_(3 / largest)
        logits = torchs(write(logits))
    return write(logits)


def answers(path: Path, waveforms: np.ndarray) -> dict[str, np.ndarray]:
    """What a foreign user gets."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"waveform": waveforms}), strict=True))


def test_the_mean_of_scores_is_exact_where_the_runtimes_sigmoid_is_not() -> None:
    class Mean(torch.nn.Module):
        def forward(self, logits_3BK: torch.Tensor) -> torch.Tensor:
            return logit_of_mean(logits_3BK, -math.log(3), 0)

    logits = torch.linspace(-13, 13, 300).reshape(1, -1) + torch.tensor([[[0.0]], [[-0.5]], [[0.5]]])
    with hushed("torch.onnx"):
        program = torch.onnx.export(Mean().eval(), (logits,), dynamo=True, verbose=False)
    assert program is not None
    content = program.model_proto.SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: logits.numpy()})
    expected = logits.double().sigmoid().mean(0).logit().numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_every_architecture_answers_as_torch_does(name: str, folder: Path) -> None:
    artifact = save(folder, name)
    path = export_onnx(artifact.path, folder / f"{name}.onnx")
    waveforms = sounds(3, artifact.window)
    expected = load_runner(artifact, threads=1, batch=3).run(waveforms)
    for rows in (slice(None), slice(1, 2)):  # any batch
        found = answers(path, waveforms[rows])
        np.testing.assert_allclose(found["logits"], expected[0][rows], atol=1e-4, rtol=0)
        scale = max(1.0, float(np.abs(expected[1]).max()))  # embeddings have none of their own
        np.testing.assert_allclose(found["embedding"], expected[1][rows], atol=1e-4 * scale, rtol=0)
        np.testing.assert_allclose(found["scores"], expit(expected[0][rows]), atol=3e-5)
    assert np.ptp(expected[0], axis=0).max() > 0.01, "the sounds are all alike to this net"
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].shape == ["batch", "samples" if name in FREE else artifact.window]
    exported = load_artifact(path)
    assert check(load_runner(exported, threads=1, batch=2))["ok"] and exported.checksum


def test_there_is_an_export_of_each_model() -> None:
    assert set(SMALL) == set(MODELS)


def test_a_longer_waveform_is_heard_whole_by_attention_over_embeddings(folder: Path) -> None:
    """Two embeddings more; what is left over at the end is dropped."""
    artifact = save(folder, "multi_attention")
    path = folder / "multi_attention.onnx"
    if not path.is_file():
        export_onnx(artifact.path, path)
    waveforms = sounds(2, artifact.window + 2 * HOP)
    cut = [waveforms[:, start : start + tiny_model.WINDOW] for start in range(0, (T + 2) * HOP, HOP)]
    runner = load_runner(load_artifact(folder / "embedder"), threads=1)
    embeddings = np.stack([runner.run(part)[1] for part in cut], axis=1)
    net = oracles.frozen("multi_attention", **{"width": 1.0} | SMALL["multi_attention"])
    with torch.inference_mode():
        expected = net(torch.from_numpy(embeddings)).numpy()
    for rest in (0, 700):
        longer = np.pad(waveforms, ((0, 0), (0, rest)), constant_values=0.5)
        np.testing.assert_allclose(answers(path, longer)["logits"], expected, atol=1e-4)


def test_a_classifier_of_own_classes_becomes_one_graph_without_torch(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It answers as its source; that the embedder heard some data is not forgotten."""
    rng = np.random.default_rng(2)
    embedder = load_artifact(folder / "embedder")
    content = linear_graph(rng.standard_normal((D, 3)), rng.standard_normal(3), softmax=True)
    waveforms = sounds(4, embedder.window)
    described: dict[str, Any] = {
        "onnx": content,
        "embedder": embedder.path,
        "inputs": [embedding_input(embedder, 1)],
        "labels": LABELS[:3],
        "window": embedder.window,
        "hop": embedder.hop,
        "embedding_size": D,
        "training": {"data": "heard on top"},
    }
    first = save_artifact(folder / "own", **described, check=(waveforms, np.zeros((4, 3), np.float32)))
    logits = load_runner(first, threads=1, batch=4).run(waveforms)[0]
    artifact = save_artifact(folder / "own", **described, check=(waveforms, logits))
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setitem(sys.modules, "auricle.interop.onnx_parts", None)
    exported = load_artifact(export_onnx(artifact.path, folder / "own.onnx"))
    found = answers(exported.path, waveforms)
    np.testing.assert_allclose(found["logits"], logits, atol=1e-5)
    # Logits are those of a softmax's shares.
    np.testing.assert_allclose(found["scores"].sum(1), 1, atol=1e-5)
    assert exported.inputs == [{"kind": "waveform", "rate": 8000}] and exported.embedder is None
    assert exported.training["data"] == "heard on top"
    assert exported.training["within"] == [{"data": "heard below"}]

    class Pack:
        fingerprint, manifest, recordings = "heard below", {}, np.arange(3)

        def __len__(self) -> int:
            return 3

        def select(self, *_: Any) -> np.ndarray:
            return np.arange(3)

    assert clips_heard(artifact, Pack()).tolist() == clips_heard(exported, Pack()).tolist() == [0, 1, 2]
    plain, graph = (Tagger(path, threads=1).runner for path in (artifact.path, exported.path))
    np.testing.assert_allclose(plain.run(waveforms)[0], graph.run(waveforms)[0], atol=1e-5)


@pytest.mark.slow
def test_embeddings_in_whole_numbers_may_differ_by_a_step_and_what_stands_on_them_by_nothing_else(
    tmp_path: Path,
) -> None:
    """VGGish with its post-processing, 0..255, and attention over two of its windows, in torch both."""
    arguments = {"num_classes": 0, "postprocess": True, "width": 0.1}
    net = oracles.build("vggish", **arguments).eval()
    waveforms = sounds(3, 15600 + 15360)
    logmel = {"kind": "logmel", "rate": 16000, "features": dataclasses.asdict(FeatureConfig())}
    described: dict[str, Any] = {
        "weights": {key: tensor.numpy() for key, tensor in net.state_dict().items()},
        "architecture": {"name": "vggish", "arguments": arguments},
        "inputs": [logmel],
        "labels": (),
        "window": 15600,
        "hop": 15360,
        "embedding_size": 128,
        "tolerance": 1.0,
    }
    heard = waveforms[:1, :15600]
    below = save_artifact(tmp_path / "below", **described, check=(heard, np.zeros((1, 128))))
    embedding = load_runner(below, threads=1, batch=1).run(heard)[1]
    below = save_artifact(tmp_path / "below", **described, check=(heard, embedding))
    arguments = {"num_classes": 5, "width": 0.05, "input_shape": [2, 128], "quantised": True}
    top = oracles.frozen(
        "multi_attention", **{key: arguments[key] for key in arguments if key != "num_classes"}
    )
    described |= {
        "weights": {key: tensor.numpy() for key, tensor in top.state_dict().items()},
        "architecture": {"name": "multi_attention", "arguments": arguments},
        "inputs": [embedding_input(below, 2)],
        "labels": LABELS,
        "window": 15600 + 15360,
        "embedding_size": top.embedding_size,
        "tolerance": 1e-4,
        "embedder": below.path,
    }
    model = save_artifact(tmp_path / "top", **described, check=(waveforms, np.zeros((3, 5))))
    expected = load_runner(model, threads=1, batch=3).run(waveforms)[0]
    assert len(np.unique(embedding)) > 3, "the embeddings are all alike"
    found = answers(export_onnx(model.path, tmp_path / "top.onnx"), waveforms)["logits"]
    np.testing.assert_allclose(found, expected, atol=0.02)  # a step or two; mostly none


def test_an_embedder_that_is_another_one_is_refused(folder: Path, tmp_path: Path) -> None:
    artifact = save(folder, "single_attention", to="mixed")
    tiny_model.save(artifact.path / "embedder", hop=HOP, tail="align")
    with pytest.raises(ValueError, match="is not the embedder that the model was trained with"):
        export_onnx(artifact.path, tmp_path / "x.onnx")


def test_what_no_graph_can_be_made_of_is_refused_with_a_way_out(tmp_path: Path) -> None:
    tiny_tflite = pytest.importorskip("tiny_tflite", reason="ai-edge-litert is not installed")
    from auricle.interop.tflite import import_tflite

    (tmp_path / "yam.tflite").write_bytes(tiny_tflite.content())
    (tmp_path / "labels.txt").write_text("\n".join(tiny_tflite.LABELS))
    model = import_tflite(
        tmp_path / "yam.tflite", tmp_path / "yam", rate=tiny_tflite.RATE, labels=tmp_path / "labels.txt"
    ).path
    with pytest.raises(
        ValueError, match="cannot be exported to ONNX: it is a TFLite graph.*tag with it as it"
    ):
        export_onnx(model, tmp_path / "x.onnx")
    assert not (tmp_path / "x.onnx").exists()


def test_weights_that_no_file_can_hold_are_refused_before_anything_is_built(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = save(folder, "multi_attention")
    monkeypatch.setattr("auricle.interop.onnx_graph.LARGEST", 1000)
    with pytest.raises(
        ValueError, match=r"multi_attention.*: the weights are 0.0 GB.*width.*, or run this one"
    ):
        export_onnx(artifact.path, tmp_path / "x.onnx")


# --- what joins networks, each against the package's own ---


def run(graph: Assembly, value: str, inputs: dict[str, np.ndarray]) -> np.ndarray:
    content = graph.model({"out": (value, ("a", "b"))}).SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    return session.run(["out"], inputs)[0]


@pytest.mark.parametrize(
    "rates", [(44100, 16000), (22050, 8000), (48000, 16000), (22050, 16000), (8000, 8000)]
)
@pytest.mark.parametrize("needed", [2000, 9999])  # fewer samples than there are, and zeros after them
def test_the_resampler_in_the_graph_is_soxr(rates: tuple[int, int], needed: int) -> None:
    waveforms = sounds(2, 10_007, seed=1)
    graph = Assembly({"waveform": ("batch", 10_007)})
    found = run(graph, resample(graph, "waveform", 10_007, rates, needed), {"waveform": waveforms})
    expected = np.zeros((2, needed), np.float32)
    for row, waveform in zip(expected, waveforms, strict=True):
        heard = soxr.resample(waveform, *rates, quality="HQ")[:needed]
        row[: len(heard)] = heard
    np.testing.assert_allclose(found, expected, atol=2e-6)


def test_rates_with_nothing_in_common_are_refused() -> None:
    with pytest.raises(ValueError, match="from 44101 to 16000 Hz inside one graph needs .* more than 8 M"):
        resampling_kernel(44101, 16000)


@pytest.mark.parametrize("unasked", ["zero", "top"])
@pytest.mark.parametrize("seed", range(3))
def test_the_gates_in_the_graph_are_those_of_the_package(unasked: str, seed: int) -> None:
    """A label below two others, one that inherits, and ties: as `follow_gates`, to the last bit."""
    parents = {
        "engine": [], "dog": [], "machine": [], "boat": ["engine"], "truck": ["engine", "machine"],
        "barking": ["dog"], "saw": ["machine"], "idling": ["truck"], "howl": ["barking"],
    }  # fmt: skip
    members = {
        "top": ["dog", "engine", "machine"],
        "engines": ["boat", "other", "truck"],
        "machines": ["truck", "saw"],
        "trucks": ["idling"],
    }
    if unasked == "top":
        members["top"] = [*members["top"], "boat", "truck", "saw", "idling"]
    labels = list(parents)
    places = {"engine": "engines", "machine": "machines", "truck": "trucks"}
    plan = plan_gates(labels, [parents[label] for label in labels], members, places, unasked)
    rng = np.random.default_rng(seed)
    says = {name: rng.normal(-0.3, 2, (64, len(own))).astype(np.float32) for name, own in members.items()}
    for array in says.values():
        array[:16] = array[:16].round()  # ties
    graph = Assembly({name: ("batch", array.shape[1]) for name, array in says.items()})
    found = run(graph, gates(graph, plan, {name: name for name in says}), says)
    np.testing.assert_array_equal(found, follow_gates(plan, 64, lambda name, rows: says[name][rows]))
    assert len(np.unique(found[:, -1])) > 5


CALIBRATIONS: list[dict[str, Any] | None] = [
    None,
    {"kind": "affine", "scale": [0.5, 2.0, 1.0], "offset": [0.0, -1.0, 3.0]},
    {
        "kind": "isotonic",
        "labels": [
            {"x": [-2.0, 2.0], "y": [-1.0, 0.5]},
            {"x": [-6.0, -5.99, 0.0, 3.0], "y": [-9.0, 2.0, 2.001, 8.0]},
            {"x": [-1.0, 0.0, 1.0], "y": [-0.5, 0.0, 4.0]},
        ],
    },
]


@pytest.mark.parametrize("calibration", CALIBRATIONS, ids=["none", "affine", "isotonic"])
def test_the_calibration_in_the_graph_is_that_of_the_package(calibration: dict[str, Any] | None) -> None:
    logits = np.random.default_rng(3).normal(0, 6, (200, 3)).astype(np.float32)
    graph = Assembly({"logits_in": ("batch", 3)})
    found = run(graph, scores(graph, "logits_in", calibration), {"logits_in": logits})
    expected = expit(as_function(calibration)(logits))
    np.testing.assert_allclose(found, expected, atol=3e-6)
    assert np.ptp(found) > 0.9


# --- families ---


@pytest.fixture(scope="module")
def family(folder: Path) -> Artifact:
    """Two graphs that hear alike; behind one label, the second says which."""
    for name, labels in (("top", ("animal", "machine")), ("animals", ("dog", "cat", "bird"))):
        content = tiny_model.graph(classes=len(labels))
        tiny_model.save(folder / name, labels=labels, content=content)
    return save_family(
        folder / "family",
        members={"top": folder / "top", "animals": folder / "animals"},
        gates={"animal": "animals"},
        labels=["dog", "cat", "bird", "animal", "machine"],
        parents={"dog": ["animal"], "cat": ["animal"], "bird": ["animal"]},
        calibration={"kind": "affine", "scale": [2.0] * 5, "offset": [0.5] * 5},
        thresholds=[0.1, 0.2, 0.3, 0.4, 0.5],
    )


def test_a_family_becomes_one_graph_with_what_members_share_once(family: Artifact, folder: Path) -> None:
    path = export_onnx(family.path, folder / "family.onnx")
    waveforms = sounds(24, family.window, seed=4)
    expected, embeddings = load_runner(family, threads=1, batch=4).run(waveforms)
    found = answers(path, waveforms)
    np.testing.assert_allclose(found["logits"], expected, atol=1e-4)
    np.testing.assert_allclose(found["embedding"], embeddings, atol=1e-4)
    np.testing.assert_allclose(found["scores"], expit(2 * expected + 0.5), atol=1e-4)
    asked = expected[:, 0] > -13
    assert 2 < asked.sum() < 22, "all windows go the same way"
    operators = [node.op_type for node in onnx.load(path).graph.node]
    assert operators.count("Conv") == 1, "each member has its own"
    exported = load_artifact(path)
    assert exported.backend == "onnx" and not exported.members and exported.parents == family.parents
    assert exported.thresholds == family.thresholds and exported.calibration == family.calibration
    assert check(load_runner(exported, threads=1, batch=2))["ok"]
    told = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).get_modelmeta()
    assert json.loads(told.custom_metadata_map["thresholds"]) == family.thresholds
    assert json.loads(told.custom_metadata_map["labels"]) == list(family.labels)


def test_the_urban_net_hears_the_frames_it_was_made_for() -> None:
    assert num_frames(URBAN_WINDOW, URBAN) == 785
