"""YAMNet's float weights: Keras' names and axes become a model, and the int8 graph's weights agree with it.

`yamnet.h5` is not at hand. Frozen, well-scaled numbers under its names stand for it. The published int8 graph
is: its weights, taken back to floats, make the network give that graph's scores on real recordings, which
edges, order and axes of the real weights have to be right for.
"""

import re
from pathlib import Path
from typing import Any

import mobile_oracles
import numpy as np
import pytest
import scipy.signal
from running import run
from yamnet_release import CLASSES, keras_paths, released_arrays, write_hdf5

pytest.importorskip("torch", reason="torch is not installed")
import torch

from auricle.artifact import load_artifact
from auricle.features import FeatureConfig, hann_window, log_mel, mel_matrix
from auricle.frontend import LogMel
from auricle.interop.published import PUBLISHED
from auricle.interop.tflite import read_labels
from auricle.interop.yamnet import FEATURES, HOP, WINDOW, import_yamnet, read_released, released_names
from auricle.models.size import count_weights
from auricle.models.yamnet import EPSILON, YAMNet, same_edges
from auricle.runners import check, load_runner

# tensorflow/models, research/audioset/yamnet, yamnet.py: strides of the separable layers 2 to 14.
STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)
RELEASED = 3_751_369  # values in yamnet.h5: what Keras' summary of the released network counts


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def released() -> dict[str, np.ndarray]:
    return released_arrays()


def in_order(arrays: dict[str, np.ndarray]) -> list[torch.Tensor]:
    """For the second implementation: kernels turned."""
    found = []
    for name, array in arrays.items():
        if name == "logits/kernel":
            array = array.T
        elif name.endswith("depthwise_kernel"):
            array = np.moveaxis(array[..., 0], -1, 0)[:, None]
        elif name.endswith("kernel"):
            array = np.moveaxis(np.moveaxis(array, -1, 0), -1, 1)
        found.append(array)
    return [torch.from_numpy(np.ascontiguousarray(array)) for array in found]


def labels() -> list[str]:
    return [f"sound {number}" for number in range(CLASSES)]


def sounds(count: int = 2) -> np.ndarray:
    draw, time = np.random.default_rng(4), np.arange(WINDOW) / 16000
    tones = [0.3 * np.sin(2 * np.pi * (200 + 900 * k) * time * (1 + time)) for k in range(count)]
    return (np.stack(tones) + 0.05 * draw.standard_normal((count, WINDOW))).astype(np.float32)


def test_the_front_end_is_hersheys_with_a_smaller_offset() -> None:
    assert FeatureConfig(log_offset=0.001) == FEATURES, "tensorflow/models, params.py: log_offset 0.001"
    assert (WINDOW, HOP) == (round(0.975 * 16000), round(0.48 * 16000)) and EPSILON == 1e-4


def by_scipy(samples: np.ndarray, offset: float) -> np.ndarray:
    """The published front end out of SciPy's parts: its window and STFT; triangles over mel by NumPy's."""

    def mel(hertz: np.ndarray) -> np.ndarray:
        return 1127 * np.log1p(hertz / 700)

    window = scipy.signal.get_window("hann", 400, fftbins=True)
    _, _, spectra = scipy.signal.stft(
        samples, window=window, nperseg=400, noverlap=240, nfft=512, boundary=None, padded=False
    )
    magnitudes = np.abs(spectra).T * window.sum()  # it gives spectra of a full-scale sine the height 1/2
    bounds = mel(np.array([125.0, 7500.0]))
    edges = np.linspace(bounds[0], bounds[1], 66)
    at = mel(np.arange(257) * 16000 / 512)
    triangles = zip(edges, edges[1:], edges[2:], strict=False)
    weights = [np.interp(at, edge, [0, 1, 0], left=0, right=0) for edge in triangles]
    return np.log(magnitudes @ np.array(weights).T + offset)


def test_the_front_end_of_real_recordings_is_scipys_parts_put_together(shared_data: Path) -> None:
    """With the release's offset; that of VGGish, ten times larger, is far away where it is quiet."""
    soundfile, soxr = pytest.importorskip("soundfile"), pytest.importorskip("soxr")
    frontend, worst = LogMel(FEATURES), []
    for path in sorted((shared_data / "esc50" / "audio").glob("*.ogg"))[::100]:
        samples, rate = soundfile.read(path, dtype="float64", always_2d=True)
        single = soxr.resample(samples.mean(axis=1), rate, 16000).astype(np.float32)
        samples = single.astype(np.float64)
        expected = by_scipy(samples, 0.001)
        np.testing.assert_allclose(log_mel(samples, FEATURES, np.float64), expected, atol=1e-9, rtol=0)
        found = frontend(torch.from_numpy(single[None]))[0, 0].numpy()
        worst += [np.abs(each - expected).max() for each in (found, log_mel(single, FEATURES))]
        assert np.abs(by_scipy(samples, 0.01) - expected).max() > 0.05
    assert len(worst) >= 40 and max(worst) < 5e-4, max(worst)  # of float32, where bands are quietest


@pytest.mark.filterwarnings("ignore:.*has the name of the released file")  # of stand-ins
@pytest.mark.parametrize("suffix", [".h5", ".npz", ".safetensors"])
def test_the_imported_model_gives_what_the_second_implementation_gives(
    released: dict[str, np.ndarray], tmp_path: Path, suffix: str
) -> None:
    file = tmp_path / f"yamnet{suffix}"
    if suffix == ".h5":
        write_hdf5(file, released)
    elif suffix == ".npz":
        np.savez(file, **released)
    else:
        import safetensors.numpy

        plain = {name: np.ascontiguousarray(array) for name, array in keras_paths(released).items()}
        safetensors.numpy.save_file(plain, file)
    model = import_yamnet(file, tmp_path / "model", labels=labels())
    assert (model.window, model.hop, model.rate, model.embedding_size) == (WINDOW, HOP, 16000, 1024)
    assert model.licence == "" and len(model.labels) == CLASSES
    runner = load_runner(model, threads=1, batch=2)
    assert check(runner)["ok"]
    logits, embeddings = runner.run(sounds())
    assert embeddings.shape == (2, 1024) and np.ptp(logits) > 1
    patches = torch.from_numpy(np.stack([log_mel(one, FEATURES) for one in sounds()]))[:, None]
    expected = mobile_oracles.yamnet(patches, iter(in_order(released))).numpy()
    np.testing.assert_allclose(logits, expected, atol=1e-4 * np.abs(expected).max())
    wrong = mobile_oracles.yamnet(patches, iter(in_order(released)), "edges on both sides").numpy()
    assert np.abs(wrong - expected).max() > 0.1


def test_the_command_makes_the_model_of_the_file_and_the_class_map(
    released: dict[str, np.ndarray], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(tmp_path / "yamnet.npz", **released)
    rows = [f"{number},/m/{number},{name}" for number, name in enumerate(labels())]
    (tmp_path / "map.csv").write_text("\n".join(["index,mid,display_name", *rows]) + "\n")
    out = tmp_path / "model"
    command = ("import", "yamnet", tmp_path / "yamnet.npz", "--labels", tmp_path / "map.csv", "--out", out)
    told = (
        "auricle: yamnet.npz: yamnet, 16000 Hz, frame hop 10 ms, 64 bands; windows of 0.975 s each 0.48 s, "
        "521 labels\n"
    )
    assert run(capsys, *command) == (0, f"{out}\n", told)
    assert load_artifact(out).labels[520] == "sound 520"
    status, _, told = run(capsys, *command)
    assert status == 1 and "holds a model; --replace overwrites it" in told


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda a: a.pop("layer9/pointwise_conv/kernel"),
            "no layer9/pointwise_conv/kernel; not weights of YAMNet",
        ),
        (
            lambda a: a.update({"layer15/conv/kernel": np.zeros(3)}),
            "holds layer15/conv/kernel, which YAMNet has not",
        ),
        (
            lambda a: a.update({"layer1/conv/kernel": a["layer1/conv/kernel"].T}),
            r"layer1/conv/kernel is \(32, 1, 3, 3\), expected \(3, 3, 1, 32\)",
        ),
        (lambda a: a.update({"logits/bias": np.zeros(527)}), "527 outputs, but 521 labels"),
        (
            lambda a: a.update({"layer1/conv/bn/beta": np.full(32, np.nan)}),
            "beta holds values that are not finite",
        ),
    ],
)
def test_other_weights_are_refused_by_name(
    change: Any, message: str, released: dict[str, np.ndarray], tmp_path: Path
) -> None:
    arrays = dict(released)
    change(arrays)
    np.savez(tmp_path / "other.npz", **arrays)
    with pytest.raises(ValueError, match=message) as caught:
        import_yamnet(tmp_path / "other.npz", tmp_path / "model", labels=labels())
    assert "\n" not in str(caught.value) and not (tmp_path / "model").exists()


def test_a_file_of_keras_without_h5py_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    (tmp_path / "yamnet.h5").write_bytes(b"")
    with pytest.raises(ModuleNotFoundError, match=r"need h5py.*pip install 'auricle\[hdf5\]'"):
        import_yamnet(tmp_path / "yamnet.h5", tmp_path / "model", labels=labels())


def test_a_file_that_is_no_hdf5_is_one_line(tmp_path: Path) -> None:
    pytest.importorskip("h5py", reason="h5py is not installed")
    (tmp_path / "yamnet.h5").write_text("<html>not found</html>")
    with pytest.raises(ValueError, match="not a file of weights that can be read"):
        read_released(tmp_path / "yamnet.h5")


def test_a_whole_model_of_keras_under_any_name_has_the_same_arrays(
    released: dict[str, np.ndarray], tmp_path: Path
) -> None:
    h5py = pytest.importorskip("h5py", reason="h5py is not installed")
    with h5py.File(tmp_path / "yamnet", "w") as file:
        for name, array in keras_paths(released).items():
            file[f"model_weights/{name}"] = array
        file["optimizer_weights/Adam/iterations:0"] = np.int64(3)
    found = read_released(tmp_path / "yamnet")
    assert found.keys() == released.keys()


def test_without_a_list_the_sounds_are_those_of_the_published_class_map(
    released: dict[str, np.ndarray], tmp_path: Path, shared_data: Path
) -> None:
    np.savez(tmp_path / "yamnet.npz", **released)
    model = import_yamnet(tmp_path / "yamnet.npz", tmp_path / "model")
    assert list(model.labels) == read_labels(shared_data / "yamnet" / "class_map.csv")
    assert model.licence == "Apache-2.0"


def test_names_stand_for_all_arrays_and_these_are_as_many_values_as_the_released_file_has(
    released: dict[str, np.ndarray],
) -> None:
    names = released_names()
    assert {theirs for theirs, _ in names.values()} == set(released)
    with torch.device("meta"):
        ours = YAMNet(num_classes=CLASSES).state_dict()
    rest = {name for name in ours if name not in names}
    assert all(name.endswith("num_batches_tracked") for name in rest) and len(rest) == 27
    values = {name: array.size for name, array in released.items()}
    assert sum(values.values()) == RELEASED == PUBLISHED["yamnet"].weights
    trained = sum(count for name, count in values.items() if "/moving_" not in name)
    with torch.device("meta"):
        assert trained == count_weights(YAMNet(num_classes=CLASSES)) == 3_729_481
    assert trained == PUBLISHED["yamnet-int8"].weights, "batch norms are in its kernels and biases"


def test_edges_are_tensorflows() -> None:
    """Its rule for "same": ceil(n / s) outputs; of an odd number of zeros one more behind."""
    for size in range(1, 30):
        for stride in (1, 2, 3):
            before, after = same_edges(size, 3, stride)
            assert (size + before + after - 3) // stride + 1 == -(-size // stride)
            assert after - before in (0, 1)


# --- the published int8 graph ---


def int8_weights(path: Path) -> tuple[Any, dict[str, torch.Tensor]]:
    """The interpreter, and its weights as floats in a state dict of ours; batch norms are in them already."""
    interpreter = pytest.importorskip("ai_edge_litert.interpreter", reason="ai-edge-litert is not installed")
    graph = interpreter.Interpreter(str(path), num_threads=1)
    graph.allocate_tensors()
    state = {name: value.clone() for name, value in YAMNet(num_classes=CLASSES).state_dict().items()}
    for name, value in state.items():
        if name.endswith("running_var"):
            value.fill_(1 - EPSILON)
    for tensor in graph.get_tensor_details():
        quantised = tensor["quantization_parameters"]
        found = re.match(r"(?:tower0/)?network/layer(\d+)/(conv|sepconv|fc)/", tensor["name"])
        if not found or (len(quantised["scales"]) < 2 and tensor["name"] != "network/layer29/fc/biases"):
            continue
        values = graph.get_tensor(tensor["index"]).astype(np.float64)
        axis = quantised["quantized_dimension"]
        values *= quantised["scales"].reshape([-1 if place == axis else 1 for place in range(values.ndim)])
        number = int(found[1])
        where = f"blocks.{number // 2 - 1}.{number % 2}" if number > 1 else "stem"
        if found[2] == "fc":
            key = "head.bias" if values.ndim == 1 else "head.weight"
        elif values.ndim == 1:
            key = f"{where}.norm.bias"
        else:  # (out, height, width, in), or (1, height, width, channels)
            key = f"{where}.conv.weight"
            values = values.transpose((3, 0, 1, 2) if found[2] == "sepconv" else (0, 3, 1, 2))
        assert state[key].shape == values.shape, key
        state[key] = torch.from_numpy(np.ascontiguousarray(values)).float()
    return graph, state


def capped(net: YAMNet) -> YAMNet:
    """The int8 graph's ReLUs end at 6, which the release's float code does not say."""
    for module in net.modules():
        if type(module).__name__ == "ConvNorm":
            module.register_forward_hook(lambda _module, _inputs, output: output.clamp(max=6))
    return net


def scores_of_both(shared_data: Path, every: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """(N, 521) scores of the interpreter and of our network, capped and not, on real recordings."""
    soundfile, soxr = pytest.importorskip("soundfile"), pytest.importorskip("soxr")
    graph, state = int8_weights(shared_data / "yamnet" / "yamnet-int8.tflite")
    nets = {"plain": YAMNet(num_classes=CLASSES), "capped": capped(YAMNet(num_classes=CLASSES))}
    for net in nets.values():
        net.load_state_dict(state)
        net.eval()
    frontend = LogMel(FEATURES)
    theirs: list[np.ndarray] = []
    ours: dict[str, list[np.ndarray]] = {name: [] for name in nets}
    for path in sorted((shared_data / "esc50" / "audio").glob("*.ogg"))[::every]:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
        samples = soxr.resample(samples.mean(axis=1), rate, 16000)
        windows = np.stack([samples[k : k + WINDOW] for k in range(0, len(samples) - WINDOW + 1, 2 * HOP)])
        place, result = graph.get_input_details()[0], graph.get_output_details()[0]
        for window in windows:
            graph.set_tensor(place["index"], window.reshape(place["shape"]))
            graph.invoke()
            theirs.append(graph.get_tensor(result["index"]).reshape(-1).copy())
        with torch.inference_mode():
            patches = frontend(torch.from_numpy(windows))
            for name, net in nets.items():
                ours[name].append(net(patches).sigmoid().numpy())
    return np.stack(theirs), {name: np.concatenate(parts) for name, parts in ours.items()}


def agreement(theirs: np.ndarray, ours: np.ndarray) -> dict[str, float]:
    return {
        "correlation": float(np.corrcoef(theirs.ravel(), ours.ravel())[0, 1]),
        "top 1": float((theirs.argmax(1) == ours.argmax(1)).mean()),
        "mean difference": float(np.abs(theirs - ours).mean()),
        "largest": float(np.abs(theirs - ours).max()),
    }


def test_the_weights_of_the_published_int8_graph_give_its_scores_on_real_recordings(
    shared_data: Path,
) -> None:
    theirs, ours = scores_of_both(shared_data, every=200)
    found = agreement(theirs, ours["capped"])
    assert len(theirs) >= 40 and theirs.max() > 0.9
    assert found["correlation"] > 0.97 and found["top 1"] > 0.8 and found["mean difference"] < 0.002, found


def test_the_front_end_of_the_published_int8_graph_is_ours(shared_data: Path) -> None:
    """Its window and its mel matrix stand in it."""
    graph, _ = int8_weights(shared_data / "yamnet" / "yamnet-int8.tflite")
    named = {tensor["name"]: tensor["index"] for tensor in graph.get_tensor_details()}
    window, bands = (graph.get_tensor(named[name]) for name in ("stft/hann_window/sub_2", "mel_spectrogram"))
    np.testing.assert_allclose(window, hann_window(FEATURES), atol=1e-6)
    np.testing.assert_allclose(bands.T, mel_matrix(FEATURES), atol=1e-6)
    np.testing.assert_allclose(graph.get_tensor(named["add"]), 0.001)
