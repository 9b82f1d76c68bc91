"""The released PANNs as artifacts: CNN14 and its siblings, ResNet38, MobileNetV1, Wavegram-Logmel-CNN.

Source: Kong et al., "PANNs: Large-Scale Pretrained Audio Neural Networks for Audio Pattern Recognition",
2020, https://arxiv.org/abs/1912.10211; files as the authors released them, with the keys of their networks
(audioset_tagging_cnn, pytorch/models.py) under "model", beside "iteration" and the state of a sampler.
"""

import hashlib
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from auricle.artifact import Artifact
from auricle.features import FeatureConfig, hann_window, mel_matrix
from auricle.interop.published import PUBLISHED
from auricle.interop.state import (
    COUNTER,
    check_arrays,
    in_words,
    label_names,
    licence_of_release,
    prefix_told,
    read_arrays,
    rounding,
    save_network,
    with_counters,
)
from auricle.models import build, step_of
from auricle.presets import panns

SECONDS = 10.0  # of the clips that they were trained on
LICENCE = "CC-BY-4.0"  # of the released files
RATES = {1024: 32000, 512: 16000, 256: 8000}  # length of the transform's kernels -> rate
TOLERANCE = 1e-4  # of the front end's arrays, relative to the largest
MEL = "logmel_extractor.melW"
COSINES, SINES = (f"spectrogram_extractor.stft.conv_{part}.weight" for part in ("real", "imag"))
UNITS = {"mobilenet_v1": 1024, "cnn10": 512, "cnn6": 512}  # of the embedding; of all others 2048
DECISION = "DecisionLevelMax"  # in a file's name: its keys are those of CNN14
RELEASED_CNN14 = re.compile(r"Cnn14_mAP", re.IGNORECASE)  # how its file's name begins
WAVEGRAM = "wavegram_logmel_cnn14"
ARCHITECTURES = ("cnn14", "cnn14_decision", "cnn10", "cnn6", "resnet38", "mobilenet_v1", WAVEGRAM)
# Places in our blocks of two convolutions -> the release's names.
BLOCK = {"0": "conv1", "1": "bn1", "3": "conv2", "4": "bn2"}
RESIDUAL = {"inner.0": "conv1", "inner.1": "bn1", "inner.4": "conv2", "inner.5": "bn2"}
SHORTCUT = {"shortcut.0": "downsample.1", "shortcut.1": "downsample.2"}
ENDS = {"norm.norm": "bn0", "summary.linear": "fc1", "head": "fc_audioset"}
DECISION_ENDS = {"norm.norm": "bn0", "linear": "fc1", "classify": "fc_audioset"}


def import_panns(
    file: str | Path,
    out: str | Path,
    *,
    labels: str | Path | Sequence[str] | None = None,
    architecture: str = "",
    window: float = SECONDS,
    hop: float | None = None,
    **fields: Any,
) -> Artifact:
    """Make a model of a released file of weights; network and rate are found out from its arrays.

    The arrays of Cnn14_DecisionLevelMax are those of Cnn14: it is taken for such where the file's published
    MD5 or its name says so, and a warning tells where neither says which it is. The transform's kernels and
    the mel bands that stand in the file are compared with our front end's.

    Args:
        file: the release's checkpoint, or a state dict, as a PyTorch file or as .safetensors.
        out: the new folder.
        labels: the names in the order of the outputs, or a file of them, see `label_names`; None takes
            AudioSet's 527.
        architecture: one of `ARCHITECTURES`; empty: found out.
        window: seconds scored at once; the networks were trained on ten and take any number.
        hop: seconds from window to window; None is the window.
        **fields: further fields of `Artifact` (name, licence, notes). The licence is at first the release's
            where the labels are its own, too; else it is empty.

    Raises:
        ValueError: the file is not what was released: unreadable, holding code, an array or a shape too many
            or too few, another front end; the labels are not as many as its outputs; or the window is too
            short for the network. The message names the file.

    >>> import_panns("Cnn14_mAP=0.431.pth", "cnn14").embedding_size  # doctest: +SKIP
    2048
    """
    path = Path(file)
    if architecture not in ("", *ARCHITECTURES):
        raise ValueError(f"architecture is {architecture!r}; known: {', '.join(ARCHITECTURES)}")
    arrays = read_arrays(path)
    name, known = (architecture, "given") if architecture else (_architecture(arrays, path), "its arrays")
    config = _front_end(arrays, path)
    if name == "cnn14" and not architecture:
        name, known = _told_apart(path, config.rate)
    if name == WAVEGRAM and config.rate != 32000:
        raise ValueError(f"{path}: kernels for {config.rate} Hz, but {name} hears 32000 Hz only")
    arguments = _arguments(name, arrays, path)
    names = label_names(labels, "panns", arguments["num_classes"], path)
    net = build(name, **arguments)
    samples = round(window * config.rate)
    return save_network(
        out,
        path=path,
        net=net,
        state=state_of(arrays, net, name, path),
        config=config,
        window=samples,
        hop=samples if hop is None else round(hop * config.rate),
        architecture={"name": name, "arguments": arguments} | step_of(net, config.hop),
        labels=names,
        told=f"{in_words(name, arguments)} ({known}), {config.rate} Hz (its arrays), frame hop "
        f"{1000 * config.hop / config.rate:g} ms, {config.bands} bands",
        **{"licence": licence_of_release(LICENCE, names, "panns", path), **fields},
    )


def released_names(name: str, net: nn.Module) -> dict[str, str]:
    """Names of the release by those of a net of ours.

    >>> names = released_names("cnn14", build("cnn14", num_classes=5, width=0.125))
    >>> names["blocks.5.3.weight"], names["head.bias"]
    ('conv_block6.conv2.weight', 'fc_audioset.bias')
    """
    layers = _layers(name)
    split = [key.rpartition(".") for key in net.state_dict()]
    return {f"{layer}.{part}": f"{layers[layer]}.{part}" for layer, _, part in split}


def state_of(
    arrays: Mapping[str, np.ndarray], net: nn.Module, name: str, path: Path
) -> dict[str, np.ndarray]:
    """The release's arrays as a state dict of our net, without those of the front end.

    Args:
        arrays: of the file, by its own names.
        net: of the same width and number of classes.
        name: of the net, in MODELS.
        path: of the file, for messages.

    Raises:
        ValueError: an array is missing, too many, misshapen or not finite.

    >>> state_of(read_arrays(path), build("cnn14", num_classes=527), "cnn14", path)  # doctest: +SKIP
    """
    names = released_names(name, net)
    expected = {names[key]: tuple(value.shape) for key, value in net.state_dict().items()}
    rest = {key: array for key, array in arrays.items() if key not in (MEL, COSINES, SINES)}
    rest = with_counters(rest, expected)
    check_arrays(rest, expected, path, name)
    kinds = {key: np.int64 if key.endswith(COUNTER) else np.float32 for key in names}
    return {key: np.asarray(rest[theirs], kinds[key]) for key, theirs in names.items()}


def _layers(name: str) -> dict[str, str]:
    """Layers of a net of ours -> those of the release."""
    if name == "mobilenet_v1":
        blocks = {
            f"blocks.{block}.{place}": f"features.{block}.{place}"
            for block in range(14)
            for place in range(7)
        }
        return ENDS | blocks
    if name == "resnet38":
        stages = {
            f"stages.{stage}.{block}.{ours}": f"resnet.layer{stage + 1}.{block}.{theirs}"
            for stage in range(4)
            for block in range(6)
            for ours, theirs in (RESIDUAL | SHORTCUT).items()
        }
        return ENDS | _block("stem.0", "conv_block1") | stages | _block("last.2", "conv_block_after1")
    if name == WAVEGRAM:
        layers = ENDS | {"wave.0": "pre_conv0", "wave.1": "pre_bn0"}
        for block in range(3):
            layers |= _block(f"wave.{3 + block}.layers", f"pre_block{1 + block}")
        layers |= _block("wave_block.0", "pre_block4") | _block("mel_block.0", "conv_block1")
        for block in range(5):
            layers |= _block(f"blocks.{block}", f"conv_block{2 + block}")
        return layers
    layers = dict(DECISION_ENDS if name == "cnn14_decision" else ENDS)
    for block in range(6):
        layers |= _block(f"blocks.{block}", f"conv_block{1 + block}")
    return layers


def _block(ours: str, theirs: str) -> dict[str, str]:
    return {f"{ours}.{place}": f"{theirs}.{layer}" for place, layer in BLOCK.items()}


def _architecture(arrays: Mapping[str, np.ndarray], path: Path) -> str:
    """The network whose keys these are."""
    signs = {  # in the order in which they are looked for
        WAVEGRAM: "pre_conv0.weight",
        "resnet38": "resnet.layer3.5.conv2.weight",
        "mobilenet_v1": "features.13.4.weight",
        "cnn14": "conv_block6.conv2.weight",
        "cnn10": "conv_block4.conv2.weight",
        "cnn6": "conv_block4.conv1.weight",
    }
    name = next((name for name, key in signs.items() if key in arrays), "")
    if not name:
        first = next(iter(arrays), "nothing")
        raise ValueError(
            f"{path}: holds {first} and the like; known are the keys of {', '.join(ARCHITECTURES)}"
            f"{prefix_told(arrays, signs.values())}"
        )
    return name


def _told_apart(path: Path, rate: int) -> tuple[str, str]:
    """Which of the two networks with the arrays of Cnn14 it is, and what says so."""
    with path.open("rb") as stream:
        md5 = hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    for name, published in (("cnn14", "panns-cnn14"), ("cnn14_decision", "panns-cnn14-decision")):
        if md5 == PUBLISHED[published].md5:
            return name, "its MD5"
    if DECISION.lower() in path.name.lower():
        return "cnn14_decision", "its name"
    if rate != 32000:  # at which only one was released
        return "cnn14", "its arrays"
    if RELEASED_CNN14.match(path.name):
        return "cnn14", "its name"
    warnings.warn(
        f"{path}: taken for cnn14; Cnn14_{DECISION} has the same arrays, and neither this file's name nor "
        "its MD5 is the released one: say --architecture cnn14 or cnn14_decision",
        stacklevel=3,
    )
    return "cnn14", "assumed"


def _arguments(name: str, arrays: Mapping[str, np.ndarray], path: Path) -> dict[str, Any]:
    """Of our net, from the shapes of the last two layers."""
    shapes = [arrays[key].shape if key in arrays else () for key in ("fc_audioset.weight", "fc1.weight")]
    if not all(len(shape) == 2 for shape in shapes):
        raise ValueError(f"{path}: no fc1.weight or fc_audioset.weight; not weights of {name}")
    width = shapes[1][1] / UNITS.get(name, 2048)
    return {"num_classes": shapes[0][0], **({} if width == 1 else {"width": width})}


def _front_end(arrays: Mapping[str, np.ndarray], path: Path) -> FeatureConfig:
    """Ours, if it is the one that stands in the file."""
    if missing := [key for key in (MEL, COSINES, SINES) if key not in arrays]:
        raise ValueError(f"{path}: no {missing[0]}, which tells the front end; take the file as released")
    length = arrays[COSINES].shape[-1] if arrays[COSINES].ndim == 3 else 0
    if length not in RATES:
        lengths = ", ".join(f"{size} ({rate} Hz)" for size, rate in RATES.items())
        raise ValueError(f"{path}: {COSINES} is {arrays[COSINES].shape}, expected kernels of {lengths}")
    config = panns(RATES[length])
    angle = 2 * np.pi / config.fft * np.outer(np.arange(config.fft // 2 + 1), np.arange(config.fft))
    window = hann_window(config)
    ours = {MEL: mel_matrix(config), COSINES: (window * np.cos(angle))[:, None]}
    ours[SINES] = -(window * np.sin(angle))[:, None]
    for key, expected in ours.items():
        if arrays[key].shape != expected.shape:
            raise ValueError(f"{path}: {key} is {arrays[key].shape}, expected {expected.shape}")
        off = float(np.abs(arrays[key] - expected).max() / np.abs(expected).max())
        if not off <= (tolerance := TOLERANCE + rounding(arrays[key])):
            raise ValueError(
                f"{path}: {key} differs from the front end at {config.rate} Hz by {off:.2g} of its largest "
                f"value, expected at most {tolerance:.2g}: these weights were made for other features"
            )
    return config
