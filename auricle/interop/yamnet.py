"""YAMNet's released float weights, `yamnet.h5`, as an artifact.

Source: Plakal and Ellis (2020), tensorflow/models, research/audioset/yamnet: names of layers and arrays as
Keras wrote them (yamnet.py), the front end of params.py and features.py: 16 kHz, Hershey's log-mel with
log(x + 0.001), patches of 96 frames each 48.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from auricle.artifact import Artifact
from auricle.features import FeatureConfig
from auricle.interop.given import refuse_text
from auricle.interop.state import (
    HDF5_MAGIC,
    check_arrays,
    label_names,
    licence_of_release,
    read_arrays,
    save_network,
)
from auricle.models.yamnet import BLOCKS, YAMNet

FEATURES = FeatureConfig(log_offset=0.001)
WINDOW, HOP = 15600, 7680  # samples: 96 frames of 25 ms each 10 ms, and the next patch 48 frames later
LICENCE = "Apache-2.0"
HDF5 = (".h5", ".hdf5")
WHOLE, OPTIMISER = "model_weights/", "optimizer_weights/"  # in a file of a whole Keras model
HEAD = "logits"
NORM = {
    "norm.bias": "bn/beta",
    "norm.running_mean": "bn/moving_mean",
    "norm.running_var": "bn/moving_variance",
}


def import_yamnet(
    file: str | Path,
    out: str | Path,
    *,
    labels: str | Path | Sequence[str] | None = None,
    hop: float = HOP / FEATURES.rate,
    **fields: Any,
) -> Artifact:
    """Make a model of YAMNet's float weights: scores and 1,024 values each 0.48 s.

    Args:
        file: `yamnet.h5`, or its arrays by the same names as .npz or .safetensors.
        out: the new folder.
        labels: the 521 names in order, or a file of them, see `auricle.interop.given.read_labels`; None
            takes those of the release's class map.
        hop: seconds from window to window.
        **fields: further fields of `Artifact` (name, licence, notes). The licence is at first the release's
            where the labels are its own, too; else it is empty.

    Raises:
        ValueError: the file is not what was released: unreadable, an array or a shape too many or too few;
            or the labels are not as many as its outputs. The message names the file.
        ModuleNotFoundError: the file is HDF5, and h5py is not installed.

    >>> import_yamnet("yamnet.h5", "yamnet").embedding_size  # doctest: +SKIP
    1024
    """
    path = Path(file)
    arrays = read_released(path)
    bias = arrays.get(f"{HEAD}/bias")
    names = label_names(labels, "yamnet", None if bias is None else bias.size, path)
    net = YAMNet(num_classes=len(names))
    return save_network(
        out,
        path=path,
        net=net,
        state=state_of(arrays, net, path),
        config=FEATURES,
        window=WINDOW,
        hop=round(hop * FEATURES.rate),
        architecture={"name": "yamnet", "arguments": {"num_classes": len(names)}},
        labels=names,
        told=f"yamnet, {FEATURES.rate} Hz, frame hop 10 ms, {FEATURES.bands} bands",
        **{"licence": licence_of_release(LICENCE, names, "yamnet", path), **fields},
    )


def read_released(path: Path) -> dict[str, np.ndarray]:
    """Arrays of a file by Keras' names, `layer1/conv/kernel`.

    They may lie under the layer's own name, as in the release, and all of them in a whole model's file, whose
    optimiser's arrays are left out.

    Raises:
        ValueError: it cannot be read.
        ModuleNotFoundError: it is HDF5, and h5py is not installed.

    >>> read_released(Path("yamnet.h5"))["layer1/conv/kernel"].shape  # doctest: +SKIP
    (3, 3, 1, 32)
    """
    arrays = _read_hdf5(path) if _is_hdf5(path) else read_arrays(path)
    return {_plain_name(name): array for name, array in arrays.items() if not name.startswith(OPTIMISER)}


def state_of(arrays: dict[str, np.ndarray], net: YAMNet, path: Path) -> dict[str, np.ndarray]:
    """The release's arrays as a state dict of our net.

    Keras has kernels as (height, width, in, out), those of each channel by itself as (height, width,
    channels, 1), matrices as (in, out).

    Raises:
        ValueError: an array is missing, too many, misshapen or not finite.

    >>> state_of(read_released(path), YAMNet(num_classes=521), path)["head.bias"].shape  # doctest: +SKIP
    (521,)
    """
    ours = {name: np.asarray(value) for name, value in net.state_dict().items()}
    turned = {name: (theirs, axes) for name, (theirs, axes) in released_names().items()}
    expected = {
        theirs: tuple(int(ours[name].shape[axis]) for axis in np.argsort(axes)) if axes else ours[name].shape
        for name, (theirs, axes) in turned.items()
    }
    check_arrays(arrays, expected, path, "YAMNet")
    state = {name: np.zeros_like(value) for name, value in ours.items() if name.endswith("tracked")}
    for name, (theirs, axes) in turned.items():
        array = np.asarray(arrays[theirs], np.float32)
        state[name] = np.ascontiguousarray(array.transpose(axes) if axes else array)
    assert state.keys() == ours.keys()
    return state


def released_names() -> dict[str, tuple[str, tuple[int, ...]]]:
    """For each array of ours that the release has: its name there, and how its axes are turned to be ours.

    >>> names = released_names()
    >>> names["stem.conv.weight"], names["blocks.12.1.norm.bias"]
    (('layer1/conv/kernel', (3, 2, 0, 1)), ('layer14/pointwise_conv/bn/beta', ()))
    """
    layers = {"stem": "layer1/conv"}
    for number in range(len(BLOCKS)):
        layers[f"blocks.{number}.0"] = f"layer{number + 2}/depthwise_conv"
        layers[f"blocks.{number}.1"] = f"layer{number + 2}/pointwise_conv"
    names: dict[str, tuple[str, tuple[int, ...]]] = {}
    for ours, theirs in layers.items():
        own = theirs.endswith("depthwise_conv")
        kernel = ("depthwise_kernel", (2, 3, 0, 1)) if own else ("kernel", (3, 2, 0, 1))
        names[f"{ours}.conv.weight"] = (f"{theirs}/{kernel[0]}", kernel[1])
        for mine, after in NORM.items():
            names[f"{ours}.{mine}"] = (f"{theirs}/{after}", ())
    names["head.weight"] = (f"{HEAD}/kernel", (1, 0))
    names["head.bias"] = (f"{HEAD}/bias", ())
    return names


def _plain_name(name: str) -> str:
    """A name without what Keras adds: ":0", the layer's group before it, and "dense" for the last layer.

    >>> _plain_name("layer2/depthwise_conv/bn/layer2/depthwise_conv/bn/beta:0")
    'layer2/depthwise_conv/bn/beta'
    >>> _plain_name("dense/dense/bias:0")
    'logits/bias'
    """
    parts = name.removeprefix(WHOLE).removesuffix(":0").split("/")
    layer = (len(parts) - 1) // 2
    if len(parts) % 2 and parts[:layer] == parts[layer:-1]:
        parts = parts[layer:]
    if len(parts) == 2 and parts[0] == "dense":  # the release's code names it so, its file does not
        parts[0] = HEAD
    return "/".join(parts)


def _is_hdf5(path: Path) -> bool:
    """By the name or, of another name, by the first bytes."""
    if path.suffix.lower() in HDF5 or not path.is_file():
        return path.suffix.lower() in HDF5
    with path.open("rb") as stream:
        return stream.read(len(HDF5_MAGIC)) == HDF5_MAGIC


def _read_hdf5(path: Path) -> dict[str, np.ndarray]:
    try:
        import h5py
    except ModuleNotFoundError:
        raise ModuleNotFoundError(
            f"{path}: files of Keras need h5py, which is not installed: pip install 'auricle[hdf5]'",
            name="h5py",
        ) from None
    if path.is_file():
        refuse_text(path)
    arrays: dict[str, np.ndarray] = {}

    def keep(name: str, there: Any) -> None:
        if isinstance(there, h5py.Dataset):
            arrays[name] = np.asarray(there)

    try:
        with h5py.File(path) as stored:
            stored.visititems(keep)
    except OSError as error:
        cause = str(error).strip().split("\n")[0]
        raise ValueError(f"{path}: not a file of weights that can be read ({cause})") from error
    return arrays
