"""Files of published weights: their arrays, read and held against those a network takes; models of them."""

import pickle
import re
import struct
import warnings
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch
from torch import nn

from auricle.artifact import Artifact, save_artifact
from auricle.datasets.audioset_labels import labels as audioset_labels
from auricle.features import FeatureConfig
from auricle.frontend import LogMel
from auricle.interop.given import check_waveforms, origin, read_labels, refuse_far_hop, refuse_text
from auricle.interop.published import other_than_released
from auricle.progress import say

NAMED = 3  # keys that a refusal names
WITHIN = ("state_dict", "model", "model_state_dict")  # where training loops keep the weights
WRAPPERS = ("module.", "_orig_mod.", "model.", "net.")  # before the names of a net that ran within another
PIECE = 1 << 20  # bytes read at a time
COUNTER = "num_batches_tracked"  # of a batch norm: what no inference needs, and not every file has
HDF5_MAGIC, ZIP_MAGIC = b"\x89HDF\r\n\x1a\n", b"PK\x03\x04"
CALLED = re.compile(r"[Uu]nsupported (?:\w+: )?(?:GLOBAL )?(\w+\.[\w.]+)")  # in what torch says of a pickle
BUILT = re.compile(r"Can only build .*but got <class '([\w.]+)'>")  # the same
# What NumPy's arrays may hold; not Python's objects, nor records, which could hold these.
KINDS = ("?", *"bBhHiIlLqQ", *"efdgFDG", "S", "U")


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Arrays by name from a PyTorch file, an .npz or a .safetensors; code in a file is never run.

    In a checkpoint of a training loop they stand under "state_dict", "model" or "model_state_dict". Beside
    them NumPy's arrays of numbers and texts may stand, as PANNs' checkpoints have them, and nothing else that
    would have to be called. Half precision and bfloat16 become float32. Names lose what DataParallel,
    torch.compile and a module around the net (`model.`, `net.`) put before all.

    Raises:
        ValueError: it is none of these, or holds something else than arrays.

    >>> read_arrays(Path("vggish_pca_params.npz"))["pca_means"].shape  # doctest: +SKIP
    (128,)
    """
    content: Any
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    refuse_text(path)
    try:
        _refuse_damaged(path)
        if path.suffix == ".safetensors":
            content = safetensors.torch.load_file(path)
        elif path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as stored:
                content = dict(stored)
        else:
            with torch.serialization.safe_globals(_numpys_own()), warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # of pickles that torch did not write
                content = torch.load(path, map_location="cpu", weights_only=True)
    except (
        OSError,
        RuntimeError,
        ValueError,
        EOFError,
        LookupError,  # this and the next three of bytes that are taken for a pickle
        TypeError,
        AttributeError,
        struct.error,
        pickle.UnpicklingError,
        zipfile.BadZipFile,
        zlib.error,
        safetensors.SafetensorError,
    ) as error:
        raise ValueError(f"{path}: not a file of weights{_unread(path, error)}") from error
    while isinstance(content, Mapping) and (
        name := next((one for one in WITHIN if isinstance(content.get(one), Mapping)), "")
    ):
        content = content[name]
    if not isinstance(content, Mapping) or not all(
        isinstance(value, torch.Tensor | np.ndarray) for value in content.values()
    ):
        got = type(content).__name__
        if isinstance(content, Mapping):
            got = f"{_some([str(name) for name in content]) or 'nothing'} in a {got}"
        raise ValueError(f"{path}: expected arrays by name (a state dict), got {got}")
    arrays = {str(name): _as_array(value, str(name), path) for name, value in content.items()}
    while wrapper := next((one for one in WRAPPERS if arrays and all(n.startswith(one) for n in arrays)), ""):
        arrays = {name.removeprefix(wrapper): array for name, array in arrays.items()}
    return arrays


def _refuse_damaged(path: Path) -> None:
    """Refuse a ZIP file, as PyTorch and NumPy write them, that is damaged: torch looks at no CRC.

    Where no entry of PyTorch's fits, it was written without (`torch.serialization.set_crc32_options`).
    """
    with path.open("rb") as stream:
        if stream.read(len(ZIP_MAGIC)) != ZIP_MAGIC or not zipfile.is_zipfile(path):
            return
    damaged, checked = [], 0
    with zipfile.ZipFile(path) as stored:
        for entry in stored.infolist():
            checked += entry.file_size > 0
            try:
                with stored.open(entry) as stream:
                    while stream.read(PIECE):
                        pass
            except zipfile.BadZipFile as error:
                if "CRC" not in str(error):
                    raise
                damaged.append(entry.filename)
        without = len(damaged) == checked and any(name.endswith("data.pkl") for name in damaged)
    if damaged and not without:
        raise zipfile.BadZipFile(
            f"damaged: {_some(damaged)} within it is not what its CRC says; fetch it again"
        )


def _unread(path: Path, error: Exception) -> str:
    """Why a file is no file of weights that can be read, in one line; torch's is an advice to run it."""
    text = " ".join(str(error).split())
    if called := CALLED.search(text):
        return f": it would call {called[1]}; nothing of it was run"
    if built := BUILT.search(text):
        return f" that can be read: it holds a {built[1]}, which is no plain array; nothing of it was run"
    beginning = b""
    if path.is_file():
        with path.open("rb") as stream:
            beginning = stream.read(len(HDF5_MAGIC))
    if beginning == HDF5_MAGIC:
        cause = "an HDF5 file, as Keras writes them: of these only YAMNet's is known, to import yamnet"
    elif beginning.startswith(ZIP_MAGIC) and not zipfile.is_zipfile(path):
        cause = "a ZIP file without its end: damaged, or not fetched to the end"
    elif "weights_only" in text:
        cause = "neither a ZIP file nor a pickle as PyTorch writes them"
    else:
        cause = str(error).strip().split("\n")[0]
    return f" that can be read ({cause})"


def with_counters(
    arrays: Mapping[str, np.ndarray], expected: Mapping[str, tuple[int, ...]]
) -> dict[str, np.ndarray]:
    """Arrays, and zero for each of batch norm's counters that is expected and not among them.

    >>> with_counters({}, {"bn.num_batches_tracked": ()})
    {'bn.num_batches_tracked': array(0)}
    """
    missing = [name for name in expected if name.endswith(COUNTER) and name not in arrays]
    return {**arrays, **{name: np.array(0) for name in missing}}


def check_arrays(
    arrays: Mapping[str, np.ndarray], expected: Mapping[str, tuple[int, ...]], path: Path, whose: str
) -> None:
    """Refuse a file that does not hold exactly these arrays, of these shapes, finite.

    Args:
        arrays: of the file, by its own names.
        expected: shapes by the same names.
        path: of the file, for the message.
        whose: the network, for the message.

    Raises:
        ValueError: the one line that says which arrays are missing, too many, misshapen or not finite.

    >>> check_arrays({"a": np.zeros(2)}, {"a": (3,)}, Path("net.pt"), "mn")
    Traceback (most recent call last):
    ValueError: net.pt: a is (2,), expected (3,); not weights of mn
    """
    if missing := [name for name in expected if name not in arrays]:
        raise ValueError(f"{path}: no {_some(missing)}; not weights of {whose}")
    if extra := [name for name in arrays if name not in expected]:
        raise ValueError(f"{path}: holds {_some(extra)}, which {whose} has not")
    for name, shape in expected.items():
        if arrays[name].shape != shape:
            raise ValueError(
                f"{path}: {name} is {arrays[name].shape}, expected {shape}; not weights of {whose}"
            )
        if not np.isfinite(arrays[name]).all():
            raise ValueError(f"{path}: {name} holds values that are not finite")


def label_names(
    labels: str | Path | Sequence[str] | None, vocabulary: str, classes: int | None, path: Path
) -> list[str]:
    """Names of a network's outputs.

    Args:
        labels: the names in order, or a file of them, see `auricle.interop.given.read_labels`; None takes
            AudioSet's, which come with the package.
        vocabulary: whose, see `auricle.datasets.audioset_labels.labels`.
        classes: how many outputs there are; None where the file has no array that says it.
        path: of the file, for the message.

    Raises:
        ValueError: the names are not as many as the outputs.

    >>> label_names(None, "yamnet", 521, Path("yamnet.h5"))[:2]
    ['Speech', 'Child speech, kid speaking']
    """
    if labels is None:
        names = audioset_labels(vocabulary)
    else:
        names = read_labels(labels) if isinstance(labels, str | Path) else list(labels)
    if classes is not None and len(names) != classes:
        raise ValueError(f"{path}: {classes} outputs, but {len(names)} labels; give the list made for it")
    return names


def licence_of_release(licence: str, labels: Sequence[str], vocabulary: str, path: Path) -> str:
    """The released files' licence, for weights of the released labels; nothing for weights of others.

    Nor for a file that has a released one's name and not its checksum, of which a warning tells.

    >>> licence_of_release("MIT", ["my dog", "my cat"], "efficientat", Path("own.pt"))
    ''
    """
    if differs := other_than_released(path):
        warnings.warn(differs, stacklevel=3)
    return licence if list(labels) == audioset_labels(vocabulary) and not differs else ""


def prefix_told(arrays: Mapping[str, np.ndarray], signs: Iterable[str]) -> str:
    """What a refusal adds where names of a network are there, but after something else.

    >>> prefix_told({"backbone.bn0.weight": np.zeros(1)}, ["bn0.weight"])
    "; names here begin with 'backbone.': save the weights without that, and nothing beside them"
    """
    ends = tuple(f".{sign}" for sign in signs)
    name = next((name for name in arrays if name.endswith(ends)), "")
    end = next((end for end in ends if name.endswith(end)), "")
    before = name.removesuffix(end[1:])
    return (
        before
        and f"; names here begin with {before!r}: save the weights without that, and nothing beside them"
    )


def save_network(
    out: str | Path,
    *,
    path: Path,
    net: nn.Module,
    state: Mapping[str, np.ndarray],
    config: FeatureConfig,
    window: int,
    hop: int,
    labels: Sequence[str],
    told: str,
    **fields: Any,
) -> Artifact:
    """Fill a net with its published weights, hear what it says of two sounds, and save both.

    Args:
        out: the new folder.
        path: of the published file.
        net: takes log-mel or a waveform, and gives logits.
        state: its state dict.
        config: its front end; of one that takes a waveform only the rate counts.
        window: samples scored at once.
        hop: samples from window to window.
        labels: names of the outputs.
        told: network and settings, and where each was taken from, for the line that says what was taken.
        **fields: further fields of `Artifact`: architecture, licence and others.

    Raises:
        ValueError: the window is too short for the net, or for the hop. The message names the file.

    >>> save_network("out", path=path, net=net, config=panns(), window=320000, **rest)  # doctest: +SKIP
    """
    try:
        refuse_far_hop(hop, window)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    net.load_state_dict({name: torch.from_numpy(array) for name, array in state.items()})
    waveforms = check_waveforms(window, config.rate)
    entry: dict[str, Any] = {"kind": net.input_kind, "rate": config.rate}
    front: nn.Module = nn.Identity()
    if net.input_kind == "logmel":
        entry["features"] = config.as_dict()
        front = LogMel(config)
    try:
        with torch.inference_mode():
            logits = net.eval()(front(torch.from_numpy(waveforms))).numpy()
    except ValueError as error:
        raise ValueError(f"{path}: a window of {window / config.rate:g} s is too short: {error}") from error
    seconds, each = window / config.rate, hop / config.rate
    say(f"{path.name}: {told}; windows of {seconds:g} s each {each:g} s, {len(labels)} labels")
    return save_artifact(
        out,
        weights=dict(state),
        check=(waveforms, logits),
        inputs=[entry],
        labels=labels,
        window=window,
        hop=hop,
        tail="align",
        embedding_size=net.embedding_size,
        training=origin(path),
        **fields,
    )


def in_words(name: str, arguments: Mapping[str, Any]) -> str:
    """A network and its arguments, for the line that says what was taken.

    >>> in_words("mn", {"num_classes": 527, "width": 0.4})
    'mn, width 0.4'
    """
    return ", ".join([name, *(f"{key} {value}" for key, value in arguments.items() if key == "width")])


def rounding(array: np.ndarray) -> float:
    """How far, of the largest of float32 values, what they were kept in before may have moved one of them.

    >>> rounding(np.float32([0.1])), rounding(np.float32(np.float16([0.1]))) == 2**-11
    (0.0, True)
    """
    single = np.ascontiguousarray(array, np.float32)
    with np.errstate(over="ignore"):
        half = single.astype(np.float16)
    if np.array_equal(half, single):
        return 2.0**-11
    return 0.0 if (single.view(np.uint32) & 0xFFFF).any() else 2.0**-8  # the latter of bfloat16


def _as_array(value: torch.Tensor | np.ndarray, name: str, path: Path) -> np.ndarray:
    if isinstance(value, torch.Tensor):
        kind = f"{value.dtype}, {value.layout}".replace("torch.", "")
        try:
            value = value.detach()
            value = (value.float() if value.is_floating_point() and value.itemsize < 4 else value).numpy()
        except (TypeError, RuntimeError) as error:  # quantised and sparse ones
            raise ValueError(f"{path}: {name} is an array of {kind}; expected plain numbers") from error
    if value.dtype.kind not in "biuf":
        raise ValueError(f"{path}: {name} is an array of {value.dtype}; expected plain numbers")
    return value.astype(np.float32) if value.dtype == np.float16 else value


def _numpys_own() -> list[Any]:
    """What a pickle of NumPy's arrays, numbers and texts calls, by the names of NumPy 1 and 2."""
    rebuild, scalar = (value.__reduce__()[0] for value in (np.zeros(1), np.float64(0)))
    allowed: list[Any] = [np.ndarray, np.dtype, *dict.fromkeys(type(np.dtype(kind)) for kind in KINDS)]
    for module in ("numpy.core.multiarray", "numpy._core.multiarray"):
        allowed += [(rebuild, f"{module}._reconstruct"), (scalar, f"{module}.scalar")]
    return allowed


def _some(names: list[str]) -> str:
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")
