"""PANNs: the released files become models that answer as the published networks; a wrong one is one line."""

import dataclasses
import hashlib
import math
import os
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="torch is not installed")
import safetensors.numpy
import safetensors.torch
import soundfile
import torch
from panns_oracles import PANNS_ORACLES
from panns_release import CLASSES, front_end, frozen_arrays, released_shapes, write_checkpoint
from running import run

from auricle.artifact import load_artifact
from auricle.features import log_mel
from auricle.interop import panns as importer
from auricle.interop.panns import ARCHITECTURES, import_panns, released_names
from auricle.models import build
from auricle.models.size import count_weights
from auricle.presets import panns
from auricle.runners import check, load_runner

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*taken for cnn14; Cnn14_DecisionLevelMax has the same"),
    pytest.mark.filterwarnings("ignore:.*has the name of the released file"),  # of stand-ins
]
NAMES = list(PANNS_ORACLES)
LABELS = ("Speech", "Dog", "Rain", "Siren", "Music")
WINDOW = 1.5  # seconds
WIDTH = 0.125
# Kong et al. 2020, table XII; the release's Cnn14_DecisionLevelMax has the layers of Cnn14.
PUBLISHED = {
    "cnn14": (80_753_615, 2048),
    "cnn14_decision": (80_753_615, 2048),
    "cnn10": (5_219_279, 512),
    "cnn6": (4_837_455, 512),
    "resnet38": (73_783_247, 2048),
    "mobilenet_v1": (4_796_303, 1024),
    "wavegram_logmel_cnn14": (81_065_487, 2048),
}


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def arrays_of(name: str, rate: int = 32000) -> dict[str, np.ndarray]:
    return frozen_arrays(released_shapes(name, width=WIDTH)) | front_end(rate)


def file_name(name: str) -> str:
    return "Cnn14_DecisionLevelMax_mAP=0.385.pth" if name == "cnn14_decision" else "weights_mAP=0.4.pth"


def published_logits(
    name: str, arrays: dict[str, np.ndarray], waveforms: np.ndarray, rate: int
) -> np.ndarray:
    """By the second implementation, on the file's own arrays in the order in which they are used."""
    oracle, _ = PANNS_ORACLES[name]
    used = [
        torch.from_numpy(arrays[key])
        for key in released_shapes(name, width=WIDTH)
        if not key.endswith("num_batches_tracked")
    ]
    heard: Any = waveforms
    if name != "wavegram_logmel_cnn14":
        heard = np.stack([log_mel(one, panns(rate), np.float64) for one in waveforms])[:, None]
    with torch.inference_mode():
        return oracle(torch.from_numpy(heard.astype(np.float32)), iter(used)).numpy()


@pytest.mark.parametrize("name", NAMES)
def test_weights_are_as_many_as_published_and_outputs_of_the_published_shapes(name: str) -> None:
    weights, size = PUBLISHED[name]
    with torch.device("meta"):
        net = build(name, num_classes=527).eval()
        clip = torch.zeros(2, *net.input_shape)
    assert count_weights(net) == weights and net.embedding_size == size
    with torch.inference_mode():
        assert net(clip).shape == (2, 527) and net.embed(clip).shape == (2, size)
        if name == "cnn14_decision":
            assert net.forward_steps(clip)[0].shape == (2, 31, 527)  # of 32 frames each, of 1001


@pytest.mark.parametrize("name", NAMES)
def test_keys_and_shapes_are_those_of_the_release(name: str) -> None:
    with torch.device("meta"):
        net = build(name, num_classes=527)
    names, state = released_names(name, net), net.state_dict()
    ours = {names[key]: tuple(state[key].shape) for key in state}
    assert ours == released_shapes(name, classes=527) and len(names) == len(set(names.values()))


@pytest.mark.parametrize(
    ("name", "rate"), [*((name, 32000) for name in NAMES), ("cnn14", 16000), ("cnn14", 8000)]
)
def test_a_released_file_becomes_a_model_that_answers_as_published(
    name: str, rate: int, tmp_path: Path
) -> None:
    arrays = arrays_of(name, rate)
    path = write_checkpoint(tmp_path / file_name(name), arrays)
    artifact = import_panns(path, tmp_path / "model", labels=LABELS, window=WINDOW)
    step = {"step": 10240} if name == "cnn14_decision" else {}
    arguments = {"num_classes": CLASSES, "width": WIDTH}
    assert artifact.architecture == {"name": name, "arguments": arguments, **step}
    assert (artifact.rate, artifact.window, artifact.hop) == (rate, 1.5 * rate, 1.5 * rate)
    assert (artifact.tail, artifact.licence, artifact.labels) == ("align", "", LABELS), "own weights"
    if name != "wavegram_logmel_cnn14":
        assert artifact.features == panns(rate)
    runner = load_runner(load_artifact(artifact.path), threads=1, batch=2)
    assert check(runner)["ok"] and hasattr(runner, "run_steps") == (name == "cnn14_decision")
    rng = np.random.default_rng(0)
    waveforms = rng.standard_normal((2, artifact.window)) * np.linspace(0.01, 0.3, artifact.window)
    waveforms = waveforms.astype(np.float32)
    logits, embedding = runner.run(waveforms)
    expected = published_logits(name, arrays, waveforms, rate)
    scale = max(1.0, np.abs(expected).max())
    np.testing.assert_allclose(logits, expected, atol=1e-4 * scale, rtol=0)
    assert embedding.shape == (2, artifact.embedding_size) and (embedding >= 0).all()
    assert np.ptp(expected) > 0.1


def test_a_wrong_order_of_keys_would_be_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The two batch norms of a block have the same shapes, and so have most convolutions of a stage."""
    arrays = arrays_of("cnn14")
    path = write_checkpoint(tmp_path / "weights.pth", arrays)
    for fault in ({"0": "conv1", "1": "bn2", "3": "conv2", "4": "bn1"},):
        monkeypatch.setattr(importer, "BLOCK", fault)
        artifact = import_panns(path, tmp_path / "model", labels=LABELS, window=WINDOW)
        waveforms = 0.1 * np.random.default_rng(1).standard_normal((1, artifact.window), np.float32)
        logits, _ = load_runner(artifact, threads=1, batch=1).run(waveforms)
        expected = published_logits("cnn14", arrays, waveforms, 32000)
        assert np.abs(logits - expected).max() > 0.05 * np.abs(expected).max()


def test_other_kinds_of_files_do_as_well_and_a_name_tells_what_keys_do_not(tmp_path: Path) -> None:
    arrays = arrays_of("cnn14_decision")
    safetensors.numpy.save_file(arrays, tmp_path / "Cnn14_DecisionLevelMax.safetensors")
    plain = {key: torch.from_numpy(array) for key, array in arrays.items() if "num_batches" not in key}
    torch.save(plain, tmp_path / "plain.pth")
    made = {}
    for file, architecture in (
        ("Cnn14_DecisionLevelMax.safetensors", ""),
        ("plain.pth", "cnn14_decision"),
        ("plain.pth", ""),
    ):
        artifact = import_panns(
            tmp_path / file, tmp_path / "model", labels=LABELS, architecture=architecture, window=1, hop=0.5
        )
        assert (artifact.window, artifact.hop) == (32000, 16000)
        made[file, architecture] = artifact.architecture["name"]
    assert list(made.values()) == ["cnn14_decision", "cnn14_decision", "cnn14"]


@pytest.mark.parametrize(
    ("file", "rate", "released", "told"),
    [
        ("Cnn14_mAP=0.431.pth", 32000, "", "cnn14, width 0.125 (its name)"),
        ("Cnn14_DecisionLevelMax_mAP=0.385.pth", 32000, "", "cnn14_decision, width 0.125 (its name)"),
        ("renamed.pth", 32000, "panns-cnn14-decision", "cnn14_decision, width 0.125 (its MD5)"),
        ("Cnn14_DecisionLevelMax.pth", 32000, "panns-cnn14", "cnn14, width 0.125 (its MD5)"),
        ("renamed.pth", 16000, "", "cnn14, width 0.125 (its arrays), 16000 Hz"),
        ("renamed.pth", 32000, "", "cnn14, width 0.125 (assumed)"),
    ],
)
def test_two_networks_of_the_same_arrays_are_told_apart_by_md5_and_name_or_it_is_said(
    file: str,
    rate: int,
    released: str,
    told: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = write_checkpoint(tmp_path / file, arrays_of("cnn14", rate))
    if released:
        md5 = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
        entry = dataclasses.replace(importer.PUBLISHED[released], md5=md5)
        monkeypatch.setitem(importer.PUBLISHED, released, entry)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        import_panns(path, tmp_path / "model", labels=LABELS, window=1)
    assert sum("say --architecture" in str(one.message) for one in caught) == ("assumed" in told)
    assert sum("has the name of the released" in str(one.message) for one in caught) == ("mAP" in file)
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_weights_kept_in_fewer_bits_or_within_another_net_are_read(
    kind: torch.dtype, suffix: str, tmp_path: Path
) -> None:
    """The front end's arrays are rounded too, and still another front end's are seen."""
    state = {}
    for key, array in arrays_of("cnn6").items():
        value = torch.from_numpy(array)
        state[f"module.{key}"] = value.to(kind) if value.is_floating_point() else value
    path = tmp_path / f"weights{suffix}"
    write = safetensors.torch.save_file if suffix == ".safetensors" else torch.save
    write(state, path)
    saved = import_panns(path, tmp_path / "model", labels=LABELS, window=1)
    weights = saved.read_weights()
    np.testing.assert_array_equal(weights["head.bias"], state["module.fc_audioset.bias"].float().numpy())
    assert weights["head.bias"].dtype == np.float32
    state[f"module.{MEL}"] = state[f"module.{MEL}"] * 1.01
    write(state, path)
    with pytest.raises(ValueError, match="melW differs from the front end at 32000 Hz"):
        import_panns(path, tmp_path / "other", labels=LABELS, window=1)


def test_numbers_of_another_kind_are_one_line(tmp_path: Path) -> None:
    state = {key: torch.from_numpy(array) for key, array in arrays_of("cnn6").items()}
    state["fc1.weight"] = state["fc1.weight"].to_sparse()
    torch.save(state, tmp_path / "sparse.pth")
    with pytest.raises(ValueError, match=r"fc1.weight is an array of float32, sparse_coo; expected plain"):
        import_panns(tmp_path / "sparse.pth", tmp_path / "model", labels=LABELS)
    state["fc1.weight"] = torch.zeros(64, 64, dtype=torch.complex64)
    torch.save(state, tmp_path / "complex.pth")
    with pytest.raises(ValueError, match=r"fc1.weight is an array of complex64; expected plain"):
        import_panns(tmp_path / "complex.pth", tmp_path / "model", labels=LABELS)


MEL, COSINES, SINES = importer.MEL, importer.COSINES, importer.SINES
WRONG: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "bands that weigh more": (
        lambda a: a.update({MEL: a[MEL] * 1.001}),
        rf"{MEL} differs from the front end at 32000 Hz by",
    ),
    "bands of another rate": (
        lambda a: a.update({MEL: front_end(16000)[MEL]}),
        r"melW is \(257, 64\), expected",
    ),
    "another window": (lambda a: a.update({COSINES: a[COSINES] * 0.999}), "conv_real.weight differs"),
    "sines the other way": (lambda a: a.update({SINES: -a[SINES]}), "conv_imag.weight differs"),
    "no bands": (lambda a: a.pop(MEL), f"no {MEL}, which tells the front end"),
    "kernels of no known rate": (
        lambda a: a.update({COSINES: np.zeros((401, 1, 800), np.float32)}),
        r"\(401, 1, 800\), expected kernels of 1024 \(32000 Hz\), 512",
    ),
    "a layer missing": (
        lambda a: a.pop("conv_block3.bn2.bias"),
        "no conv_block3.bn2.bias; not weights of cnn10",
    ),
    "a layer too many": (
        lambda a: a.update({"att_block.att.weight": np.zeros(3, np.float32)}),
        "holds att_block.att.weight, which cnn10 has not",
    ),
    "a layer of another shape": (
        lambda a: a.update({"conv_block2.conv1.weight": np.zeros((16, 8, 5, 5), np.float32)}),
        r"conv_block2.conv1.weight is \(16, 8, 5, 5\), expected \(16, 8, 3, 3\)",
    ),
    "no number": (lambda a: a["fc1.bias"].fill(math.nan), "fc1.bias holds values that are not finite"),
    "no output": (lambda a: a.pop("fc_audioset.weight"), "no fc1.weight or fc_audioset.weight"),
    "another network": (
        lambda a: [a.pop(key) for key in list(a) if key.startswith("conv_block")],
        "holds .* and the like; known are the keys of cnn14, cnn14_decision",
    ),
}


@pytest.mark.parametrize("fault", WRONG)
def test_a_file_that_is_not_as_released_is_refused_in_one_line(fault: str, tmp_path: Path) -> None:
    change, message = WRONG[fault]
    arrays = arrays_of("cnn10")
    change(arrays)
    safetensors.numpy.save_file(arrays, tmp_path / "weights.safetensors")
    with pytest.raises(ValueError, match=message) as caught:
        import_panns(tmp_path / "weights.safetensors", tmp_path / "model", labels=LABELS, window=1)
    assert "\n" not in str(caught.value) and "weights.safetensors" in str(caught.value)
    assert not (tmp_path / "model").exists()


def test_what_is_asked_of_an_import_must_fit_the_file(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "weights.pth", arrays_of("cnn14"))
    for options, message in (
        ({"labels": LABELS[:3]}, "5 outputs, but 3 labels; give the list made for it"),
        ({"labels": LABELS, "window": 0.2}, "a window of 0.2 s is too short: expected log-mel.*at least 32"),
        ({"labels": LABELS, "hop": 11}, "weights.pth: hop is 352000 samples, more than a window of 320000"),
        ({"labels": LABELS, "architecture": "cnn7"}, "architecture is 'cnn7'; known: cnn14, "),
        ({"labels": LABELS, "architecture": "resnet38"}, "no conv_block1|no stem|no resnet"),
    ):
        with pytest.raises(ValueError, match=message):
            import_panns(path, tmp_path / "model", **options)  # type: ignore[arg-type]
    wave = write_checkpoint(tmp_path / "wave.pth", arrays_of("wavegram_logmel_cnn14", 16000))
    with pytest.raises(
        ValueError, match="kernels for 16000 Hz, but wavegram_logmel_cnn14 hears 32000 Hz only"
    ):
        import_panns(wave, tmp_path / "model", labels=LABELS)
    assert set(ARCHITECTURES) == set(PANNS_ORACLES)


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("exit 1",)


@pytest.mark.parametrize(
    ("beside", "named"),
    [(Evil(), "posix.system|nt.system"), (np.random.RandomState(0), "numpy.random"), (Path("x"), "pathlib")],
)
def test_a_checkpoint_that_would_call_anything_but_arrays_is_not_run(
    beside: Any, named: str, tmp_path: Path
) -> None:
    torch.save({"model": {"bn0.weight": torch.zeros(64)}, "sampler": beside}, tmp_path / "evil.pth")
    with pytest.raises(
        ValueError, match=f"not a file of weights: it would call ({named}).*nothing of it was run"
    ):
        import_panns(tmp_path / "evil.pth", tmp_path / "model", labels=LABELS)


def test_the_verb_makes_a_model_that_tags(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_checkpoint(tmp_path / "Cnn6_mAP=0.343.pth", arrays_of("cnn6"))
    (tmp_path / "labels.csv").write_text(
        "index,mid,display_name\n"
        + "".join(f"{number},/m/{number},{label}\n" for number, label in enumerate(LABELS))
    )
    out = tmp_path / "cnn6"
    arguments = ("import", "panns", path, "--out", out, "--labels", tmp_path / "labels.csv", "--window", "2")
    code, said, errors = run(capsys, *arguments)
    assert (code, said.strip()) == (0, str(out))
    assert errors == (
        "auricle: Cnn6_mAP=0.343.pth: cnn6, width 0.125 (its arrays), 32000 Hz (its arrays), frame hop 10 "
        "ms, 64 bands; windows of 2 s each 2 s, 5 labels\n"
    )
    soundfile.write(tmp_path / "noise.wav", 0.1 * np.random.default_rng(2).standard_normal(44100), 44100)
    code, said, errors = run(capsys, "tag", tmp_path / "noise.wav", "--model", out, "--format", "csv")
    assert code == 0 and not errors and re.search("|".join(LABELS), said)
    code, _, errors = run(capsys, *arguments)
    assert code and "holds a model; --replace overwrites it" in errors
    code, said, _ = run(
        capsys, *arguments, "--replace", "--architecture", "cnn6", "--hop", "1", "--licence", "MIT"
    )
    assert (code, load_artifact(out).hop, load_artifact(out).licence) == (0, 32000, "MIT")
