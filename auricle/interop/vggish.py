"""The released VGGish as an artifact: its weights, and the PCA, whitening and quantisation that go with it.

Source: Hershey et al., "CNN Architectures for Large-Scale Audio Classification", ICASSP 2017, whose VGG-like
embedding Google released (tensorflow/models, research/audioset/vggish); weights as the PyTorch port of
2019 (torchvggish) keeps them. Post-processing is Google's: clipped to [-2, 2], 0..255, truncated.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from auricle.artifact import Artifact, save_artifact
from auricle.features import FeatureConfig
from auricle.frontend import LogMel
from auricle.interop.download import fetch
from auricle.interop.given import check_waveforms, origin
from auricle.interop.state import check_arrays, read_arrays
from auricle.models.vggish import VGGish

WINDOW, HOP = 15600, 15360  # samples: 96 frames of 25 ms every 10 ms, and the next 0.96 s later
LICENCE = "Apache-2.0"  # of Google's release
QUANTISED_TOLERANCE = 1.0  # one step of 255: rounding elsewhere may move a value over an edge
FLOAT_TOLERANCE = 1e-3
KEY = re.compile(r"(features|embeddings)\.(\d+)\.(weight|bias)")
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
    training = origin(path)
    if pca is not None:
        pca_path = fetch(pca, sha256=pca_sha256, cache=cache, quiet=quiet)
        found = read_arrays(pca_path)
        training |= {f"pca_{key}": value for key, value in origin(pca_path).items()}
    arguments = {"num_classes": 0, "postprocess": bool(found)}
    net = VGGish(**arguments)  # type: ignore[arg-type]
    state = _renamed(arrays, path)
    if found:
        state |= _pca(found, pca or weights)
    expected = {_there(name): tuple(value.shape) for name, value in net.state_dict().items()}
    check_arrays({_there(name): array for name, array in state.items()}, expected, path, "VGGish")
    net.load_state_dict({name: torch.from_numpy(array) for name, array in state.items()})
    config = FeatureConfig()
    waveforms = check_waveforms(WINDOW, config.rate)
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


def _there(name: str) -> str:
    """A name of ours as the release has it."""
    return name.replace("embedding.", "embeddings.", 1)
