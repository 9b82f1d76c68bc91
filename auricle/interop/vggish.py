"""The released VGGish as an artifact: its weights, and the PCA, whitening and quantisation that go with it.

Source: Hershey et al., "CNN Architectures for Large-Scale Audio Classification", ICASSP 2017, whose VGG-like
embedding Google released (tensorflow/models, research/audioset/vggish); weights as the PyTorch port of
2019 (torchvggish) keeps them. Post-processing is Google's: clipped to [-2, 2], 0..255, truncated.
"""

import hashlib
import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
import torch

from auricle.artifact import Artifact, save_artifact
from auricle.features import FeatureConfig
from auricle.frontend import LogMel
from auricle.interop.download import fetch
from auricle.models.vggish import VGGish

WINDOW, HOP = 15600, 15360  # samples: 96 frames of 25 ms every 10 ms, and the next 0.96 s later
LICENCE = "Apache-2.0"  # of Google's release
QUANTISED_TOLERANCE = 1.0  # one step of 255: rounding elsewhere may move a value over an edge
FLOAT_TOLERANCE = 1e-3
KEY = re.compile(r"(features|embeddings)\.(\d+)\.(weight|bias)")
CALLED = re.compile(r"[Uu]nsupported (?:\w+: )?(?:GLOBAL )?(\w+\.[\w.]+)")  # in what torch says of a pickle
PCA_MEANS, PCA_VECTORS = "pca_means", "pca_eigen_vectors"


def import_vggish(
    weights: str,
    out: str | Path,
    *,
    pca: str | None = None,
    sha256: str = "",
    pca_sha256: str = "",
    cache: Path | None = None,
    quiet: bool = False,
    **fields: Any,
) -> Artifact:
    """Make a model that embeds, 128 values each 0.96 s, of the released weights.

    Args:
        weights: path or URL of the state dict: keys `features.N.*` and `embeddings.N.*`, as a PyTorch file or
            as .safetensors. A PCA that stands in it (`pproc.*`) is used where `pca` is not given.
        out: the new folder.
        pca: path or URL of the PCA's parameters, `pca_means` and `pca_eigen_vectors`, as the released .npz or
            as a PyTorch file. With them embeddings are whole numbers 0..255, as in the released features of
            AudioSet and YouTube-8M; without, they are the network's own, before any ReLU.
        sha256: the first 8 to 64 digits of the weights' SHA-256, see `auricle.interop.download.fetch`.
        pca_sha256: those of the PCA's file.
        cache: where downloads are kept.
        quiet: show no progress.
        **fields: further fields of `Artifact` (name, licence, notes).

    Raises:
        ValueError: a file is not what was released: unreadable, another checksum, a key or a shape too many
            or too few. The message names the file.

    >>> import_vggish("vggish-10086976.pth", "vggish", pca="vggish_pca_params.npz").labels  # doctest: +SKIP
    ()
    """
    path = fetch(weights, sha256=sha256, cache=cache, quiet=quiet)
    arrays = read_arrays(path)
    found = {
        name.removeprefix("pproc."): arrays.pop(name) for name in list(arrays) if name.startswith("pproc.")
    }
    training = {"file": path.name, "sha256": _digest(path)}
    if pca is not None:
        pca_path = fetch(pca, sha256=pca_sha256, cache=cache, quiet=quiet)
        found = read_arrays(pca_path)
        training |= {"pca_file": pca_path.name, "pca_sha256": _digest(pca_path)}
    arguments = {"num_classes": 0, "postprocess": bool(found)}
    net = VGGish(**arguments)  # type: ignore[arg-type]
    state = _renamed(arrays, path)
    if found:
        state |= _pca(found, pca or weights)
    _check_shapes(state, net, path)
    net.load_state_dict({name: torch.from_numpy(array) for name, array in state.items()})
    config = FeatureConfig()
    waveforms = check_waveforms()
    with torch.inference_mode():
        embeddings = net.eval().embed(LogMel(config)(torch.from_numpy(waveforms))).numpy()
    return save_artifact(
        out,
        weights=state,
        check=(waveforms, embeddings),
        architecture={"name": "vggish", "arguments": arguments},
        inputs=[{"kind": "logmel", "rate": config.rate, "features": config.as_dict()}],
        labels=(),
        window=WINDOW,
        hop=HOP,
        tail="drop",
        embedding_size=net.embedding_size,
        tolerance=QUANTISED_TOLERANCE if found else FLOAT_TOLERANCE,
        training=training,
        **{"licence": LICENCE, **fields},
    )


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Arrays by name from a PyTorch file, an .npz or a .safetensors; code in a file is never run.

    In a checkpoint of a training loop they stand under "state_dict" or "model". Beside them NumPy's arrays
    and numbers may stand, as PANNs' checkpoints have them, and nothing else that would have to be called.

    Raises:
        ValueError: it is none of these, or holds something else than arrays.

    >>> read_arrays(Path("vggish_pca_params.npz"))["pca_means"].shape  # doctest: +SKIP
    (128,)
    """
    content: Any
    try:
        if path.suffix == ".safetensors":
            content = safetensors.numpy.load_file(path)
        elif path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as stored:
                content = dict(stored)
        else:
            with torch.serialization.safe_globals(_numpys_own()):
                content = torch.load(path, map_location="cpu", weights_only=True)
    except (
        OSError,
        RuntimeError,
        ValueError,
        EOFError,
        LookupError,  # of text that is taken for a pickle
        pickle.UnpicklingError,
        zipfile.BadZipFile,
        safetensors.SafetensorError,
    ) as error:
        if called := CALLED.search(str(error)):
            raise ValueError(
                f"{path}: not a file of weights: it would call {called[1]}; nothing of it was run"
            ) from error
        cause = str(error).strip().split("\n")[0]
        raise ValueError(f"{path}: not a file of weights that can be read ({cause})") from error
    for name in ("state_dict", "model"):  # as checkpoints of training loops have it
        if isinstance(content, Mapping) and isinstance(content.get(name), Mapping):
            content = content[name]
    if not isinstance(content, Mapping) or not all(
        isinstance(value, torch.Tensor | np.ndarray) for value in content.values()
    ):
        raise ValueError(f"{path}: expected arrays by name (a state dict), got {type(content).__name__}")
    return {str(name): np.asarray(value) for name, value in content.items()}


def check_waveforms() -> np.ndarray:
    """(2, WINDOW) float32: noise that swells, and a rising tone.

    >>> check_waveforms().shape
    (2, 15600)
    """
    time = np.arange(WINDOW) / FeatureConfig().rate
    noise = 0.1 * np.random.default_rng(0).standard_normal(WINDOW) * np.linspace(0, 1, WINDOW)
    tone = 0.5 * np.sin(2 * np.pi * (200 + 1000 * time) * time)
    return np.stack([noise, tone]).astype(np.float32)


def _numpys_own() -> list[Any]:
    """What a pickle of NumPy's arrays and numbers calls, by the names of NumPy 1 and 2."""
    rebuild, scalar = (value.__reduce__()[0] for value in (np.zeros(1), np.float64(0)))
    kinds = [np.dtype(kind) for kind in ("bool", "uint8", "int32", "int64", "float32", "float64")]
    allowed: list[Any] = [np.ndarray, np.dtype, *(type(kind) for kind in kinds)]
    for module in ("numpy.core.multiarray", "numpy._core.multiarray"):
        allowed += [(rebuild, f"{module}._reconstruct"), (scalar, f"{module}.scalar")]
    return allowed


def _renamed(arrays: Mapping[str, np.ndarray], path: Path) -> dict[str, np.ndarray]:
    """The release's names as ours: the second group is called `embedding` here."""
    state = {}
    for name, array in arrays.items():
        if not KEY.fullmatch(name):
            raise ValueError(
                f"{path}: holds {name!r}, which VGGish has not; expected features.N.* and embeddings.N.*"
            )
        state[name.replace("embeddings.", "embedding.", 1)] = np.asarray(array, np.float32)
    return state


def _pca(found: Mapping[str, np.ndarray], source: str) -> dict[str, np.ndarray]:
    if missing := {PCA_MEANS, PCA_VECTORS} - set(found):
        raise ValueError(f"{source}: no {' and no '.join(sorted(missing))}; expected VGGish's PCA parameters")
    return {
        "pca_means": np.asarray(found[PCA_MEANS], np.float64).reshape(-1),
        "pca_eigenvectors": np.asarray(found[PCA_VECTORS], np.float64),
    }


def _check_shapes(state: Mapping[str, np.ndarray], net: VGGish, path: Path) -> None:
    expected = {name: tuple(value.shape) for name, value in net.state_dict().items()}
    if missing := sorted(set(expected) - set(state)):
        raise ValueError(f"{path}: no {_there(missing[0])}; not VGGish's weights")
    for name, array in state.items():
        if array.shape != expected.get(name):
            raise ValueError(
                f"{path}: {_there(name)} is {array.shape}, expected {expected.get(name, 'no such array')}"
            )
        if not np.isfinite(array).all():
            raise ValueError(f"{path}: {_there(name)} holds values that are not finite")


def _there(name: str) -> str:
    """A name of ours as the release has it."""
    return name.replace("embedding.", "embeddings.", 1)


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
