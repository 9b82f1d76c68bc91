"""EfficientAT's released files: names and shapes become a model that gives what a second one gives.

The released files are not at hand: state dicts with their names and shapes stand for them, see
efficientat_release.py, and numbers with which a wrong order, axis or constant moves the logits.
"""

import json
import re
import warnings
from pathlib import Path
from typing import Any

import efficientat_release as release
import mobile_oracles
import numpy as np
import pytest
from running import run

pytest.importorskip("torch", reason="torch is not installed")
import model_oracles
import torch

from auricle.artifact import load_artifact
from auricle.features import log_mel
from auricle.interop.efficientat import import_efficientat, released_names, state_of
from auricle.models import build
from auricle.models.size import count_multiplies, count_weights
from auricle.presets import efficientat
from auricle.runners import check, load_runner
from auricle.tagging import Tagger

pytestmark = pytest.mark.filterwarnings("ignore:.*the file has no released name")
CLASSES = 9
LABELS = [f"sound {number}" for number in range(CLASSES)]
NARROW = 0.2
# README of the release: weights in millions, multiplies of 10 s in billions.
PUBLISHED = {
    0.4: (0.983, 0.11),
    0.5: (1.43, 0.16),
    1.0: (4.88, 0.54),
    2.0: (17.91, 2.06),
    3.0: (39.09, 4.55),
    4.0: (68.43, 8.03),
}
PUBLISHED_DYNAMIC = {0.4: (1.97, 0.12), 1.0: (10.57, 0.58), 2.0: (40.02, 2.2)}
PUBLISHED_VARIANTS = {  # mn10: frames of 10 s, bands -> billions of multiplies
    (667, 128): 0.36,
    (500, 128): 0.27,
    (400, 128): 0.22,
    (1000, 40): 0.21,
    (1000, 64): 0.27,
    (1000, 256): 1.08,
}


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def on_meta(name: str, **arguments: Any) -> torch.nn.Module:
    with torch.device("meta"):
        return build(name, num_classes=527, **arguments)


def rounds_to(count: float, published: float, unit: float) -> bool:
    digits = len(str(published).partition(".")[2])
    return abs(count / unit - published) < 10.0**-digits


def sounds(seconds: float = 1.0, count: int = 2) -> np.ndarray:
    draw = np.random.default_rng(4)
    time = np.arange(round(seconds * 32000)) / 32000
    tones = [0.3 * np.sin(2 * np.pi * (200 + 1900 * k) * time * (1 + time)) for k in range(count)]
    levels = np.linspace(0.02, 0.2, count)[:, None]
    return (np.stack(tones) + levels * draw.standard_normal((count, len(time)))).astype(np.float32)


def features_of(waveforms: np.ndarray, **settings: int) -> torch.Tensor:
    return torch.from_numpy(np.stack([log_mel(one, efficientat(**settings)) for one in waveforms]))[:, None]


def write(path: Path, **options: Any) -> dict[str, torch.Tensor]:
    arrays = release.arrays_of(options.pop("width", NARROW), **{"classes": CLASSES} | options)
    torch.save(arrays, path)
    return arrays


@pytest.mark.parametrize("width", PUBLISHED)
def test_plain_networks_are_as_large_as_published(width: float) -> None:
    net = on_meta("mn", width=width)
    weights, multiplies = PUBLISHED[width]
    assert rounds_to(count_weights(net), weights, 1e6)
    assert rounds_to(count_multiplies(net, net.input_shape), multiplies, 1e9)
    released = release.shapes_of(width)
    trained = [shape for name, shape in released.items() if "running" not in name and "tracked" not in name]
    assert sum(int(np.prod(shape)) for shape in trained) == count_weights(net)


@pytest.mark.parametrize("width", PUBLISHED_DYNAMIC)
def test_dynamic_networks_are_as_large_as_published(width: float) -> None:
    """The published numbers of weights hold batch norm's running means and variances too."""
    net = on_meta("dymn", width=width)
    running = sum(value.numel() for name, value in net.named_buffers() if "running" in name)
    weights, multiplies = PUBLISHED_DYNAMIC[width]
    assert rounds_to(count_weights(net) + running, weights, 1e6)
    assert not rounds_to(count_weights(net), weights, 1e6) or width == 0.4
    assert rounds_to(count_multiplies(net, net.input_shape), multiplies, 1e9)
    released = release.shapes_of(width, dynamic="all")
    kept = [shape for name, shape in released.items() if not name.endswith(("tracked", "lambdas", "init_v"))]
    assert sum(int(np.prod(shape)) for shape in kept) == count_weights(net) + running


def test_variants_multiply_as_often_as_published() -> None:
    for (frames, bands), published in PUBLISHED_VARIANTS.items():
        assert rounds_to(count_multiplies(on_meta("mn"), (1, frames, bands)), published, 1e9)


@pytest.mark.parametrize("dynamic", ["", "all", "replace_se"])
@pytest.mark.parametrize("width", [0.1, 0.4, 0.5, 1.0, 2.0, 3.0, 4.0])
def test_every_released_name_and_shape_has_its_place(width: float, dynamic: str) -> None:
    arguments = {"dynamic": dynamic} if dynamic else {}
    net = on_meta("dymn" if dynamic else "mn", width=width, **arguments)
    released = release.shapes_of(width, dynamic=dynamic)
    names = released_names(net)
    fixed = {name for name in released if name.endswith(("lambdas", "init_v"))}
    assert set(names.values()) == set(released) - fixed and len(set(names.values())) == len(names)
    for ours, value in net.state_dict().items():
        assert value.numel() == int(np.prod(released[names[ours]])), ours


def test_more_bands_than_the_transform_can_fill_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "net.pt")
    with pytest.raises(ValueError, match="bands is 4000; expected 8 to 512, the released ones have 40"):
        import_efficientat(tmp_path / "net.pt", tmp_path / "model", labels=LABELS, bands=4000)


@pytest.mark.parametrize("dynamic", ["", "all"])
def test_an_imported_model_gives_what_the_second_implementation_gives(dynamic: str, tmp_path: Path) -> None:
    arrays = write(tmp_path / "net.pt", dynamic=dynamic)
    model = import_efficientat(tmp_path / "net.pt", tmp_path / "model", labels=LABELS, window=1.0)
    assert (model.rate, model.window, model.hop, model.tail) == (32000, 32000, 32000, "align")
    assert model.features == efficientat() and model.licence == ""
    said = json.loads((model.path / "model.json").read_text())["architecture"]
    assert said["name"] == ("dymn" if dynamic else "mn") and said["arguments"]["width"] == NARROW
    runner = load_runner(model, threads=1, batch=2)
    assert check(runner)["ok"]
    logits, embeddings = runner.run(sounds())
    assert embeddings.shape == (2, 6 * release.divisible(160 * NARROW))
    second = mobile_oracles.dymn if dynamic else mobile_oracles.mn
    expected = second(features_of(sounds()), release.oracles_order(arrays)).numpy()
    np.testing.assert_allclose(logits, expected, atol=1e-4 * np.abs(expected).max())
    assert np.abs(logits[0] - logits[1]).max() > 1e-3, "the sounds are all alike to this net"
    for fault in mobile_oracles.MOBILE_ORACLES["dymn" if dynamic else "mn"][1]:
        wrong = second(features_of(sounds()), release.oracles_order(arrays), fault).numpy()
        assert np.abs(wrong - expected).max() > 0.003 * np.abs(expected).max(), fault


def test_small_parts_of_dynamic_blocks_are_seen_in_double_precision() -> None:
    net = model_oracles.frozen("dymn")
    weights = [one.double() for one in model_oracles.weights_of(net)]
    x = model_oracles.frozen_input(net)[1:].double()
    with torch.inference_mode():
        logits = net.double()(x)

    def error(fault: str = "") -> float:
        clips = [mobile_oracles.dymn_of_one(clip[None], iter(weights), fault) for clip in x]
        return float((torch.cat(clips) - logits).abs().max() / logits.abs().max())

    assert error() < 1e-12
    for fault in ("context of both means", "ends not counted"):
        assert error(fault) > 1e-4, fault


def test_a_fully_convolutional_head_is_averaged_after_its_batch_norm(tmp_path: Path) -> None:
    path = tmp_path / "mn10_as_fc_s2221_mAP_466.pt"
    arrays = write(path, convolutional=True)
    torch.save({name: value for name, value in arrays.items() if "num_batches" not in name}, path)
    model = import_efficientat(path, tmp_path / "model", labels=LABELS, window=1.0)
    arguments = {"num_classes": CLASSES, "width": NARROW, "strides": [2, 2, 2, 1], "head": "linear"}
    assert model.architecture["arguments"] == arguments
    logits, embeddings = load_runner(model, threads=1, batch=2).run(sounds())
    kernel = arrays["classifier.0.weight"][:, :, 0, 0].double().numpy()
    factor, bias, mean, variance = (
        arrays[f"classifier.1.{name}"].double().numpy()
        for name in ("weight", "bias", "running_mean", "running_var")
    )
    expected = (embeddings @ kernel.T - mean) / np.sqrt(variance + 1e-5) * factor + bias
    np.testing.assert_allclose(logits, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.filterwarnings("ignore:.*has the name of the released file")  # of stand-ins
@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("mn10_as_mAP_471.pt", {}, (320, 128, None)),
        ("mn10_as_hop_5_mAP_475.pt", {}, (160, 128, None)),
        ("mn10_as_hop_15_mAP_463.pt", {}, (480, 128, None)),
        ("mn10_as_hop_25_mAP_447.pt", {}, (800, 128, None)),
        ("mn10_as_mels_40_mAP_453.pt", {}, (320, 40, None)),
        ("mn10_as_mels_256_mAP_474.pt", {}, (320, 256, None)),
        ("mn40_as_ext_mAP_487.pt", {}, (320, 128, None)),
        ("mn40_as_no_im_pre_mAP_483(2).pt", {}, (320, 128, None)),
        ("mine.pt", {"frame_hop": 20.0, "bands": 64, "strides": (2, 2, 1, 1)}, (640, 64, [2, 2, 1, 1])),
        ("mn10_as_hop_15_mAP_463.pt", {"frame_hop": 10.0}, (320, 128, None)),
    ],
)
def test_what_the_arrays_do_not_say_is_in_the_name_or_in_the_options(
    name: str, options: dict[str, Any], expected: tuple[int, int, list[int] | None], tmp_path: Path
) -> None:
    write(tmp_path / name)
    model = import_efficientat(tmp_path / name, tmp_path / "model", labels=LABELS, window=0.5, **options)
    assert (model.features.hop, model.features.bands) == expected[:2]
    assert model.architecture["arguments"].get("strides") == expected[2]


@pytest.mark.parametrize(
    ("name", "options", "warned", "told"),
    [
        ("mn10_as_hop_15_mAP_463.pt", {}, "", "hop 15 ms (its name), 128 bands (its name), strides 2222"),
        ("dymn10_replace_se_as.pt", {}, "", "hop 10 ms (its name), 128 bands (its name)"),
        ("mn40_as_no_im_pre_mAP_483(2).pt", {}, "", "hop 10 ms (its name), 128 bands (its name)"),
        ("mn10_as_fc_s2221_mAP_466.pt", {}, "", "strides 2221 (its name)"),
        ("mn10_as_hop_15_mine.pt", {}, "assumed 128 bands, strides 2222:.*say --bands, --strides$", "15 ms"),
        ("mn10_as_own.pt", {"bands": 64}, "assumed frame hop 10 ms, strides 2222:", "64 bands (given)"),
        ("own.pt", {"bands": 64, "frame_hop": 10, "strides": (2, 2, 2, 2)}, "", "strides 2222 (given)"),
    ],
)
def test_where_settings_were_taken_from_is_said_and_warned_of_where_from_nowhere(
    name: str,
    options: dict[str, Any],
    warned: str,
    told: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write(tmp_path / name)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        import_efficientat(tmp_path / name, tmp_path / "model", labels=LABELS, window=0.5, **options)
    assert len(caught) == bool(warned) and all(re.search(warned, str(one.message)) for one in caught)
    assert told in capsys.readouterr().err


def test_the_command_makes_a_model_that_tags(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import soundfile

    arrays = release.arrays_of(NARROW, classes=CLASSES)
    import safetensors.torch

    safetensors.torch.save_file(arrays, tmp_path / "net.safetensors")
    (tmp_path / "labels.txt").write_text("\n".join(LABELS))
    command = ["import", "efficientat", tmp_path / "net.safetensors", "--labels", tmp_path / "labels.txt"]
    out = tmp_path / "model"
    options = ("--out", out, "--window", 1, "--hop", 0.5)
    warnings.filterwarnings("default", message=".*the file has no released name")
    status, said, told = run(capsys, *command, *options)
    warned, line = told.splitlines()
    assert (status, said) == (0, f"{out}\n") and "assumed frame hop 10 ms, 128 bands, strides 2222" in warned
    assert warned.endswith("say --frame-hop, --bands, --strides")
    assert line == (
        "auricle: net.safetensors: mn, width 0.2 (its arrays), 32000 Hz, frame hop 10 ms (assumed), 128 "
        "bands (assumed), strides 2222 (assumed); windows of 1 s each 0.5 s, 9 labels"
    )
    settings = ("--frame-hop", 10, "--bands", 128, "--strides", "2222", "--replace", "--quiet")
    assert run(capsys, *command, *options, *settings) == (0, f"{out}\n", "")
    soundfile.write(tmp_path / "a.wav", sounds(2.0, 1)[0], 32000, "FLOAT")
    tagged = Tagger(str(out), threads=1).tag(str(tmp_path / "a.wav"))
    assert {one["label"] for one in tagged["tags"]} <= set(LABELS) == set(load_artifact(out).labels)
    status, _, told = run(capsys, *command, "--out", tmp_path / "b", "--strides", "2223")
    assert status == 2 and "expected four digits, each 1 or 2, as 2221" in told
    status, _, told = run(capsys, *command, "--out", out)
    assert status == 1 and "holds a model; --replace overwrites it" in told


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda a: a.pop("features.4.block.2.conc_se_layers.0.fc1.bias"),
            "no features.4.block.2.conc_se_layers",
        ),
        (lambda a: a.update(extra=torch.zeros(2)), "holds extra, which a network of EfficientAT has not"),
        (
            lambda a: a.update({"features.0.0.weight": torch.zeros(8, 1, 5, 5)}),
            r"features.0.0.weight is \(8, 1, 5, 5\), expected \(8, 1, 3, 3\)",
        ),
        (
            lambda a: a.update({"features.0.1.bias": torch.full((8,), torch.nan)}),
            "values that are not finite",
        ),
        (
            lambda a: [a.pop(name) for name in list(a) if name.startswith("features.16")],
            "expected arrays features",
        ),
        (lambda a: a.update({"classifier.5.weight": torch.zeros(4, 256)}), "4 outputs, but 9 labels"),
    ],
)
def test_other_weights_are_refused_by_name(change: Any, message: str, tmp_path: Path) -> None:
    arrays = release.arrays_of(NARROW, classes=CLASSES)
    change(arrays)
    torch.save(arrays, tmp_path / "other.pt")
    with pytest.raises(ValueError, match=message) as caught:
        import_efficientat(tmp_path / "other.pt", tmp_path / "model", labels=LABELS, window=0.5)
    assert "\n" not in str(caught.value) and not (tmp_path / "model").exists()


def test_without_a_list_the_sounds_are_the_527_of_audioset(tmp_path: Path) -> None:
    write(tmp_path / "net.pt", classes=527)
    model = import_efficientat(tmp_path / "net.pt", tmp_path / "model", window=0.5)
    assert len(model.labels) == 527 and model.labels[0] == "Speech" and model.labels[74] == "Dog"
    assert model.licence == "MIT"
    for name in ("mn10_im_pytorch.pt", "dymn04_im.pt", "mn40_im(1).pt"):
        (tmp_path / "net.pt").rename(tmp_path / name)
        with pytest.raises(ValueError, match=rf"{re.escape(name)}: .*pre-trained on ImageNet"):
            import_efficientat(tmp_path / name, tmp_path / "other", window=0.5)
        (tmp_path / name).rename(tmp_path / "net.pt")
    write(tmp_path / "net.pt", classes=1000)
    with pytest.raises(ValueError, match="1000 outputs, but 527 labels"):
        import_efficientat(tmp_path / "net.pt", tmp_path / "other", window=0.5)


def test_constants_that_are_not_the_published_ones_are_refused(tmp_path: Path) -> None:
    arrays = release.arrays_of(NARROW, dynamic="all", classes=CLASSES)
    arrays["layers.7.depth_act.lambdas"] = torch.ones(4)
    with pytest.raises(ValueError, match=r"layers.7.depth_act.lambdas is \[1.0, 1.0, 1.0, 1.0\], expected"):
        state_of(
            {name: value.numpy() for name, value in arrays.items()},
            build("dymn", num_classes=CLASSES, width=NARROW),
            tmp_path / "net.pt",
        )


def test_replace_se_is_known_by_its_arrays(tmp_path: Path) -> None:
    write(tmp_path / "dymn04_replace_se_as.pt", dynamic="replace_se")
    model = import_efficientat(
        tmp_path / "dymn04_replace_se_as.pt", tmp_path / "model", labels=LABELS, window=0.5
    )
    assert model.architecture["arguments"]["dynamic"] == "replace_se"
    assert check(load_runner(model, threads=1))["ok"]


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("mn", {"strides": [2, 2, 2]}, r"strides is \[2, 2, 2\]; expected four numbers, each 1 or 2"),
        ("mn", {"head": "attention"}, "head is 'attention'; known: mlp, linear"),
        ("mn", {"dropout": 1.0}, "dropout is 1.0; expected a share"),
        ("dymn", {"dynamic": "some"}, "dynamic is 'some'; known: all, replace_se"),
        ("dymn", {"temperature": 0.0}, "temperature is 0.0; expected a number above 0"),
    ],
)
def test_arguments_that_cannot_be_are_refused(name: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(name, num_classes=3, **arguments)


@pytest.mark.slow
def test_an_imported_model_becomes_one_graph_with_its_front_end(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    from auricle.interop.onnx import export_onnx

    write(tmp_path / "net.pt")
    model = import_efficientat(tmp_path / "net.pt", tmp_path / "model", labels=LABELS, window=1.0)
    graph = load_artifact(export_onnx(model.path, tmp_path / "net.onnx"))
    assert check(load_runner(graph))["ok"]
    for ours, theirs in zip(
        load_runner(model, threads=1).run(sounds()), load_runner(graph, threads=1).run(sounds()), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


@pytest.mark.parametrize("name", ["mn", "dymn"])
def test_one_clip_of_one_place_cannot_be_trained_on(name: str) -> None:
    net = build(name, num_classes=3, width=NARROW)
    with pytest.raises(ValueError, match="more than one clip in training, or longer ones"):
        net.train()(torch.zeros(1, 1, 32, 32))
    assert net(torch.zeros(2, 1, 32, 32)).shape == (2, 3)
    assert net.eval()(torch.zeros(1, 1, 1, 1)).shape == (1, 3)
