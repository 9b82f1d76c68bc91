"""EfficientAT's released weights as artifacts: mn04 to mn40 and dymn04 to dymn20, and their variants.

Source: Schmid et al. (2022), https://arxiv.org/abs/2211.04772, and (2023), https://arxiv.org/abs/2310.15648.
Names of arrays as in the authors' release (fschmid56/EfficientAT, v0.0.1; models/mn/model.py,
models/dymn/model.py); the front end is `auricle.presets.efficientat`.
"""

import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from auricle.artifact import Artifact
from auricle.interop.state import (
    COUNTER,
    check_arrays,
    in_words,
    label_names,
    licence_of_release,
    prefix_told,
    read_arrays,
    save_network,
    with_counters,
)
from auricle.models import build
from auricle.models.dymn import KERNELS, SLOPE_SCALE, SLOPE_START, DynamicConv
from auricle.models.mobile import EXPANDED_LAST, LAST, STRIDES, UNITS
from auricle.presets import efficientat

RATE, SECONDS = 32000, 10
LICENCE = "MIT"  # of the release
FRAME_HOP, BANDS = 10.0, 128  # milliseconds, mel bands
MOST_BANDS = 512  # the transform of 1024 samples has no more bins with sound in them
VARIANT = re.compile(
    r"(?:_hop_(?P<hop>\d+))?(?:_mels_(?P<bands>\d+))?(?:_fc_s(?P<strides>[12]{4}))?(?:_|\.|$)"
)
RELEASED = re.compile(  # whole names, so that what they do not say is known too
    r"(?:dy)?mn\d\d(?:_replace_se)?_as(?:_hop_\d+)?(?:_mels_\d+)?(?:_fc(?:_s[12]{4})?)?(?:_ext|_no_im_pre)?"
    r"(?:_mAP_\d+)?(?: ?\(\d+\))?\.\w+"
)
IMAGENET = re.compile(r"(?:dy)?mn\d\d_im(?![a-z0-9])")  # how names of networks that saw pictures only begin
NORM_EPSILON = 1e-5  # of the batch norm in a fully convolutional head
# Ours -> the release's, by the beginnings of names; those of a block follow its own.
PLAIN = {"stem": "features.0", "last": "features.16", "block": "features.{after}"}
DYNAMIC = {"stem": "in_c", "last": "out_c", "block": "layers.{number}"}
HEAD = {"head.0": "classifier.2", "head.3": "classifier.5"}
PARTS = ("expand", "depth", "squeeze", "project")  # of a plain block, numbered by those that it has
SQUEEZE = {"squeeze.down": "conc_se_layers.0.fc1", "squeeze.up": "conc_se_layers.0.fc2"}
DYNAMIC_PARTS = {
    "context.joint.0": "context_gen.joint_conv",
    "context.joint.1": "context_gen.joint_norm",
    "context.bands": "context_gen.conv_f",
    "context.frames": "context_gen.conv_t",
    "expand.shares": "exp_conv.residuals.0",
    "expand_norm": "exp_norm",
    "expand": "exp_conv",
    "depth.shares": "depth_conv.residuals.0",
    "depth_norm": "depth_norm",
    "depth": "depth_conv",
    "relu.lines": "depth_act.coef_net.0",
    "project.shares": "proj_conv.residuals.0",
    "project_norm": "proj_norm",
    "project": "proj_conv",
}
FIXED = {"depth_act.lambdas": SLOPE_SCALE, "depth_act.init_v": SLOPE_START}  # arrays that nobody trained


def import_efficientat(
    file: str | Path,
    out: str | Path,
    *,
    labels: str | Path | Sequence[str] | None = None,
    frame_hop: float | None = None,
    bands: int | None = None,
    strides: Sequence[int] | None = None,
    window: float = SECONDS,
    hop: float | None = None,
    **fields: Any,
) -> Artifact:
    """Make a model of a released file of weights; network and width are found out from its arrays.

    Three settings leave no trace in the arrays. Where they are None they are read from the file's name, as
    the release gives it: `mn10_as_hop_15...`, `mn10_as_mels_64...`, `mn10_as_fc_s2221...`; else they are
    10 ms, 128 bands and strides of 2, and a warning tells of it where the name is not a released one.

    Args:
        file: a state dict, as a PyTorch file or as .safetensors.
        out: the new folder.
        labels: the names in the order of the outputs, or a file of them, see
            `auricle.interop.given.read_labels`; None takes AudioSet's 527.
        frame_hop: milliseconds from frame to frame of the log-mel.
        bands: its mel bands.
        strides: of the four blocks that halve the map.
        window: seconds scored at once; the networks were trained on ten and take any number.
        hop: seconds from window to window; None is the window.
        **fields: further fields of `Artifact` (name, licence, notes). The licence is at first the release's
            where the labels are its own, too; else it is empty.

    Raises:
        ValueError: the file is not what was released: unreadable, of a network trained on pictures
            only, an array or a shape too many or too few; or the labels are not as many as its outputs. The
            message names the file.

    >>> import_efficientat("mn10_as_mAP_471.pt", "mn10").embedding_size  # doctest: +SKIP
    960
    """
    path = Path(file)
    if IMAGENET.match(path.name):  # their last layer may have 527 outputs, too: random ones
        raise ValueError(
            f"{path}: by its name a network pre-trained on ImageNet, whose outputs know no sound: take one "
            "with _as_ in its name, or give a file of other weights another name"
        )
    arrays = read_arrays(path)
    if bands is not None and not 8 <= bands <= MOST_BANDS:
        raise ValueError(f"bands is {bands}; expected 8 to {MOST_BANDS}, the released ones have 40 to 256")
    taken, sources = _settings(path, {"hop": frame_hop, "bands": bands, "strides": strides})
    config = efficientat(hop=round(taken["hop"] * RATE / 1000), bands=int(taken["bands"]))
    architecture = _architecture(arrays, path, taken["strides"])
    names = label_names(labels, "efficientat", architecture["arguments"]["num_classes"], path)
    net = build(architecture["name"], **architecture["arguments"])
    state = state_of(arrays, net, path)
    _warn_of_assumed(path, sources)
    samples = round(window * RATE)
    return save_network(
        out,
        path=path,
        net=net,
        state=state,
        config=config,
        window=samples,
        hop=samples if hop is None else round(hop * RATE),
        architecture=architecture,
        labels=names,
        told=f"{in_words(**architecture)} (its arrays), {RATE} Hz, frame hop {taken['hop']:g} ms "
        f"({sources['hop']}), {config.bands} bands ({sources['bands']}), strides "
        f"{''.join(map(str, taken['strides']))} ({sources['strides']})",
        **{"licence": licence_of_release(LICENCE, names, "efficientat", path), **fields},
    )


def released_names(net: nn.Module) -> dict[str, str]:
    """Names of the release by those of a net of ours, `mn` or `dymn`, with a hidden layer in its head.

    >>> names = released_names(build("mn", num_classes=5, width=0.4))
    >>> names["stem.0.weight"], names["blocks.3.squeeze.up.bias"], names["head.3.bias"]
    ('features.0.0.weight', 'features.4.block.2.conc_se_layers.0.fc2.bias', 'classifier.5.bias')
    """
    ours = list(net.state_dict())
    dynamic = any(".context." in name for name in ours)
    tops = DYNAMIC if dynamic else PLAIN
    return {name: _released_name(name, ours, tops) for name in ours}


def state_of(arrays: Mapping[str, np.ndarray], net: nn.Module, path: Path) -> dict[str, np.ndarray]:
    """The release's arrays as a state dict of our net.

    A fully convolutional head is one linear layer here: its batch norm is multiplied into its weights.

    Args:
        arrays: of the file, by its own names.
        net: `mn` or `dymn` of the same width and head.
        path: of the file, for messages.

    Raises:
        ValueError: an array is missing, too many, misshapen, not finite, or a fixed one is another.

    >>> state_of(read_arrays(path), build("mn", num_classes=527), path)["head.3.bias"].shape  # doctest: +SKIP
    (527,)
    """
    arrays = _without_fixed(arrays, path)
    linear = "head.3.weight" not in net.state_dict()
    if linear:
        arrays = _folded_head(arrays, path)
    names = released_names(net)
    ours = {name: tuple(value.shape) for name, value in net.state_dict().items()}
    mixed = {f"{name}.weight" for name, layer in net.named_modules() if isinstance(layer, DynamicConv)}
    expected = {
        names[name]: (1, 1, KERNELS, int(np.prod(shape)) // KERNELS) if name in mixed else shape
        for name, shape in ours.items()
    }
    arrays = with_counters(arrays, expected)
    check_arrays(arrays, expected, path, "a network of EfficientAT")
    return {
        name: np.asarray(arrays[theirs], np.int64 if name.endswith(COUNTER) else np.float32).reshape(
            ours[name]
        )
        for name, theirs in names.items()
    }


def _released_name(name: str, ours: Sequence[str], tops: Mapping[str, str]) -> str:
    if name.startswith("head."):
        part = next(part for part in HEAD if name.startswith(part))
        return name.replace(part, HEAD[part], 1)
    top, _, rest = name.partition(".")
    if top != "blocks":
        return f"{tops[top]}.{rest}"
    number, _, rest = rest.partition(".")
    block = tops["block"].format(number=number, after=int(number) + 1)
    if any(other.startswith(f"blocks.{number}.context.") for other in ours):
        part = next(part for part in DYNAMIC_PARTS if rest.startswith(f"{part}."))
        return f"{block}.{DYNAMIC_PARTS[part]}{rest.removeprefix(part)}"
    there = [part for part in PARTS if any(o.startswith(f"blocks.{number}.{part}.") for o in ours)]
    part = rest.partition(".")[0]
    inner = rest.removeprefix(f"{part}.")
    for mine, theirs in SQUEEZE.items():
        if rest.startswith(f"{mine}."):
            inner = theirs + rest.removeprefix(mine)
    return f"{block}.block.{there.index(part)}.{inner}"


def _architecture(arrays: Mapping[str, np.ndarray], path: Path, strides: Sequence[int]) -> dict[str, Any]:
    """Name and arguments, from the arrays' names and shapes."""
    dynamic, plain = "in_c.0.weight" in arrays, "features.0.0.weight" in arrays
    last = arrays.get("out_c.0.weight" if dynamic else "features.16.0.weight")
    top = arrays.get("classifier.5.weight", arrays.get("classifier.0.weight"))
    if not (dynamic or plain) or last is None or top is None:
        raise ValueError(
            f"{path}: expected arrays features.*, or in_c.*, layers.* and out_c.*, and a classifier.*, as "
            f"EfficientAT's files have them; got {', '.join(list(arrays)[:3]) or 'none'}"
            f"{prefix_told(arrays, ('features.0.0.weight', 'in_c.0.weight'))}"
        )
    hidden = arrays.get("classifier.2.weight")
    wide = len(last) / (EXPANDED_LAST * LAST) if hidden is None else len(hidden) / UNITS
    arguments: dict[str, Any] = {"num_classes": len(top), "width": wide}
    if tuple(strides) != STRIDES:
        arguments["strides"] = list(strides)
    if dynamic and "layers.0.block.0.0.weight" in arrays:
        arguments["dynamic"] = "replace_se"
    if hidden is None:
        arguments["head"] = "linear"
    return {"name": "dymn" if dynamic else "mn", "arguments": arguments}


def _settings(path: Path, given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """What the arrays do not tell, and where each of it was taken from."""
    said, released = _said_by(path.name), RELEASED.fullmatch(path.name)
    taken: dict[str, Any] = {"hop": FRAME_HOP, "bands": BANDS, "strides": STRIDES}
    sources = dict.fromkeys(taken, "its name" if released else "assumed")
    for key, value in given.items():
        if value is not None:
            taken[key], sources[key] = value, "given"
        elif key in said:
            taken[key], sources[key] = said[key], "its name"
    return taken, sources


def _warn_of_assumed(path: Path, sources: Mapping[str, str]) -> None:
    """Of settings that neither the file's name nor an option said."""
    if assumed := [key for key, source in sources.items() if source == "assumed"]:
        told = {"hop": f"frame hop {FRAME_HOP:g} ms", "bands": f"{BANDS} bands", "strides": "strides 2222"}
        listed = ", ".join(told[key] for key in assumed)
        options = ", ".join("--frame-hop" if key == "hop" else f"--{key}" for key in assumed)
        warnings.warn(
            f"{path}: assumed {listed}: they are not in the arrays, and the file has no released name; "
            f"scores are wrong without an error where they are others: say {options}",
            stacklevel=3,
        )


def _said_by(name: str) -> dict[str, Any]:
    """Settings in a released file's name.

    >>> _said_by("mn10_as_hop_15_mAP_463.pt"), _said_by("mn10_as_fc_s2221_mAP_466.pt"), _said_by("own.pt")
    ({'hop': 15.0}, {'strides': (2, 2, 2, 1)}, {})
    """
    match = re.match(r"(?:dy)?mn\d\d_as", name)
    found = VARIANT.match(name, match.end()) if match else None
    said: dict[str, Any] = {}
    for key, value in (found.groupdict() if found else {}).items():
        if value:
            said[key] = tuple(int(digit) for digit in value) if key == "strides" else float(value)
    return said


def _without_fixed(arrays: Mapping[str, np.ndarray], path: Path) -> dict[str, np.ndarray]:
    """The arrays but for the constants of Dy-ReLU, if those are the published ones."""
    kept = {}
    for name, array in arrays.items():
        constant = next((value for end, value in FIXED.items() if name.endswith(end)), None)
        if constant is None:
            kept[name] = array
        elif not np.array_equal(array, np.asarray(constant, array.dtype)):
            raise ValueError(f"{path}: {name} is {array.tolist()}, expected {list(constant)}")
    return kept


def _folded_head(arrays: Mapping[str, np.ndarray], path: Path) -> dict[str, np.ndarray]:
    """A 1 x 1 convolution and its batch norm, averaged afterwards, as the linear layer on the average."""
    there = {name: array for name, array in arrays.items() if name.startswith("classifier.")}
    classes, channels = there["classifier.0.weight"].shape[:2]
    expected: dict[str, tuple[int, ...]] = {"classifier.0.weight": (classes, channels, 1, 1)}
    for name in ("weight", "bias", "running_mean", "running_var"):
        expected[f"classifier.1.{name}"] = (classes,)
    expected[f"classifier.1.{COUNTER}"] = ()
    check_arrays(with_counters(there, expected), expected, path, "a fully convolutional head")
    factor, bias, mean, variance = (
        there[f"classifier.1.{name}"].astype(np.float64)
        for name in ("weight", "bias", "running_mean", "running_var")
    )
    factor = factor / np.sqrt(variance + NORM_EPSILON)
    folded = {name: array for name, array in arrays.items() if name not in there}
    folded["classifier.2.weight"] = there["classifier.0.weight"][:, :, 0, 0] * factor[:, None]
    folded["classifier.2.bias"] = bias - mean * factor
    return folded
